"""HTTP/1.1 without input or output: what to send, and what to read next.

Both transports share this, the one that blocks and the one that awaits. `http.client` reads
headers with the parser for e-mails, which costs more than decoding a small batch does.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Generator
from typing import Final, NamedTuple

from lodestream.client.errors import BadAnswer

HEAD: Final = -1
LINE: Final = -2
REST: Final = -3
"""What `reading` may ask for beside a number of bytes: a head up to and including its empty line,
a line with its end, all that comes until the connection is closed."""

CHUNKED: Final = -4
"""A body that comes in chunks, each with its length."""

LONGEST_HEAD: Final = 65_536
"""Bytes of a head, or of a line, beyond which an answer is not believed."""

_CHUNK_SIZE: Final = re.compile(rb"^([0-9a-fA-F]{1,15})[ \t]*(?:;.*)?\r?\n$", re.DOTALL)
_STATUS_LINE: Final = re.compile(r"^HTTP/1\.([01]) ([1-9][0-9][0-9])(?: |$)")
GZIP_WINDOW: Final = 31
"""What tells zlib that data has the frame of gzip."""


class Reply(NamedTuple):
    """A whole answer. Header names are in lower case; `kept` tells whether the connection may be
    used again."""

    status: int
    headers: dict[str, str]
    content: bytes | bytearray
    kept: bool


def request(method: str, target: str, fields: str, body: bytes | None) -> bytes:
    """Return a request without its body; `fields` are whole header lines, of this client."""
    if body is None:
        # A server may wait for the body of a method that usually has one, unless told its length.
        length = "" if method in ("GET", "HEAD", "DELETE") else "Content-Length: 0\r\n"
    else:
        length = f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n"
    return f"{method} {target} HTTP/1.1\r\n{fields}{length}\r\n".encode("ascii")


def reading(method: str) -> Generator[int, bytes | bytearray, Reply]:
    """Read the answer to a request: yields what is needed next, gets it, returns the whole.

    Raises BadAnswer for what is no HTTP.
    """
    status, kept = 100, True
    headers: dict[str, str] = {}
    while status < 200:  # What comes before the answer itself has no body.
        status, headers, kept = parse_head((yield HEAD))
    if method == "HEAD" or status in (204, 304):
        return Reply(status, headers, b"", kept)
    length = length_of(headers)
    if length == CHUNKED:
        content: bytes | bytearray = yield from _chunks()
    elif length == REST:
        content, kept = (yield REST), False
    else:
        content = yield length
    return Reply(status, headers, _decoded(headers, content), kept)


def length_of(headers: dict[str, str]) -> int:
    """Return how long the body of an answer is: a number of bytes, `CHUNKED` or `REST`.

    Raises BadAnswer if that cannot be told.
    """
    coding = headers.get("transfer-encoding")
    length = headers.get("content-length")
    if coding is not None:
        if coding.lower() != "chunked" or length is not None:
            raise BadAnswer(f"an answer with the transfer encoding {coding!r} cannot be read")
        return CHUNKED
    if length is None:
        return REST
    if not length.isascii() or not length.isdigit():
        raise BadAnswer(f"an answer has the length {length!r}")
    return int(length)


def chunk_size(line: bytes | bytearray) -> int:
    """Return how long a chunk is by its first line; 0: it is the last. Raises BadAnswer."""
    found = _CHUNK_SIZE.match(line)
    if found is None:
        raise BadAnswer("an answer is badly divided into chunks")
    return int(found[1], 16)


def _chunks() -> Generator[int, bytes | bytearray, bytes]:
    parts: list[bytes | bytearray] = []
    while size := chunk_size((yield LINE)):
        parts.append((yield size + 2)[:size])
    while (yield LINE) not in (b"\r\n", b"\n"):  # Trailers say nothing to this client.
        pass
    return b"".join(parts)


def parse_head(head: bytes | bytearray) -> tuple[int, dict[str, str], bool]:
    """Return the status, the headers, and whether the connection stays open.

    Raises BadAnswer for what is no HTTP.
    """
    first, *lines = head.decode("latin-1").rstrip("\r\n").split("\r\n")
    found = _STATUS_LINE.match(first)
    if found is None:
        raise BadAnswer(f"what answers does not speak HTTP: {first[:60]!r}")
    headers: dict[str, str] = {}
    for line in lines:
        name, colon, value = line.partition(":")
        if not colon:
            raise BadAnswer(f"an answer has the header {line[:60]!r}")
        headers[name.lower()] = value.strip()
    wish = headers.get("connection", "").lower()
    kept = "close" not in wish if found[1] == "1" else "keep-alive" in wish
    return int(found[2]), headers, kept


def _decoded(headers: dict[str, str], content: bytes | bytearray) -> bytes | bytearray:
    coding = headers.get("content-encoding", "identity").lower()
    if coding == "identity" or not content:
        return content
    if coding not in ("gzip", "x-gzip"):
        raise BadAnswer(f"an answer has the encoding {coding!r}, which was not asked for")
    try:
        return zlib.decompress(content, GZIP_WINDOW)
    except zlib.error as error:
        raise BadAnswer(f"a compressed answer cannot be read: {error}") from error
