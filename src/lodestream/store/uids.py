"""Comments by their uids."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from lodestream.domain.comments import key_hash, source_tag
from lodestream.domain.ids import split_uid
from lodestream.store import comments
from lodestream.store.db import Reader


@dataclass(frozen=True, slots=True)
class CommentPlace:
    """Where a comment is stored."""

    source: int
    pos: int


def find_places(
    tx: Reader, uids: Iterable[str], *, source_keys: Mapping[str, int], salt: int
) -> dict[str, CommentPlace]:
    """Return the places of those comments that the sources hold; `source_keys` are by id.

    A uid that is none is not found.
    """
    wanted: dict[str, dict[str, int]] = {}
    for uid in uids:
        parts = split_uid(uid)
        if parts is not None and parts[0] in source_keys:
            tag = source_tag(source_keys[parts[0]])
            number = key_hash(parts[1], salt=salt, source_tag=tag)
            wanted.setdefault(parts[0], {})[parts[1]] = number
    found: dict[str, CommentPlace] = {}
    for source_id, hashes in wanted.items():
        key = source_keys[source_id]
        for comment_id, (pos, _) in comments.find_positions(tx, key, hashes).items():
            found[f"{source_id}.{comment_id}"] = CommentPlace(key, pos)
    return found
