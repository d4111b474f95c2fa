"""Comments to send, cut into batches that a server takes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

import msgspec

from lodestream.client.shapes import NewComment

Sendable = NewComment | Mapping[str, Any] | bytes
"""A comment to send: a struct, a mapping as the API has it, or JSON that is sent as it is."""

MOST_COMMENTS: Final = 1024
MOST_BYTES: Final = 8 << 20

_encoder: Final = msgspec.json.Encoder()
_FRAME: Final = len(b'{"comments":[]}')


def batches(
    comments: Iterable[Sendable], *, most: int = MOST_COMMENTS, most_bytes: int = MOST_BYTES
) -> Iterator[tuple[int, bytes]]:
    """Yield how many comments a batch has, and the body that sends it; in order, none left out.

    A batch has at most `most` comments and `most_bytes` bytes, but at least one comment: one that
    is larger goes alone. No more than one batch is held in memory.

    Raises ValueError for a limit below 1.
    """
    if most < 1 or most_bytes < 1:
        raise ValueError("a batch has room for at least one comment and one byte")
    ready: list[bytes] = []
    size = _FRAME
    for comment in comments:
        text = comment if isinstance(comment, bytes) else _encoder.encode(comment)
        if ready and (len(ready) == most or size + len(text) + 1 > most_bytes):
            yield len(ready), _body(ready)
            ready, size = [], _FRAME
        ready.append(text)
        size += len(text) + 1
    if ready:
        yield len(ready), _body(ready)


def _body(comments: list[bytes]) -> bytes:
    return b'{"comments":[' + b",".join(comments) + b"]}"
