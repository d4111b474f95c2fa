"""Comments: rows in `comment`, `comment_text` and the keys, written together."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
import sqlalchemy as sa
from sqlalchemy import bindparam

from lodestream.domain.comments import Incoming
from lodestream.domain.times import now_us
from lodestream.store import bulk, derived, keys
from lodestream.store.db import Reader, Writer
from lodestream.store.tables import (
    annotated_comment,
    comment,
    comment_text,
    dataset_source,
    file_claim,
    source_content,
    stream_exception,
)


def read_fronts(tx: Reader, positions: Iterable[int]) -> dict[int, bytes]:
    """Return the fronts of the comments at `positions`; a place without comment is left out."""
    columns = (comment_text.c.pos, comment_text.c.body)
    return dict(bulk.rows_in(tx, columns, comment_text.c.pos, positions))


@dataclass(frozen=True, slots=True)
class StoredRow:
    """What listings and filters see of a stored comment."""

    id: str
    timestamp_us: int
    facets: Any
    thread_id: str | None


def read_rows(tx: Reader, source: int, positions: Iterable[int]) -> dict[int, StoredRow]:
    """Return the rows at those of `positions` that belong to `source`."""
    columns = (
        comment.c.source,
        comment.c.pos,
        comment.c.id,
        comment.c.timestamp_us,
        comment.c.facets,
        comment.c.thread_id,
    )
    rows = bulk.rows_in(tx, columns, comment.c.pos, positions, within=(comment.c.source, source))
    return {pos: StoredRow(*rest) for owner, pos, *rest in rows if owner == source}


def read_ids(tx: Reader, source: int, positions: Iterable[int]) -> dict[int, str]:
    """Return the comment ids at those of `positions` that belong to `source`."""
    return {pos: row.id for pos, row in read_rows(tx, source, positions).items()}


def _same_row(stored: StoredRow, incoming: Incoming, facets: bytes | None) -> bool:
    """Tell whether a new version leaves what listings and filters see as it is."""
    if (stored.timestamp_us, stored.thread_id) != (incoming.timestamp_us, incoming.thread_id):
        return False
    if facets is None or stored.facets is None:
        return facets is stored.facets
    # SQLite gives the text that was stored, PostgreSQL what it means.
    if isinstance(stored.facets, str):
        return stored.facets == facets.decode()
    return bool(stored.facets == msgspec.json.decode(facets))


def read_after(tx: Reader, source: int, *, after: int, limit: int) -> list[tuple[int, str]]:
    """Return up to `limit` (position, comment id) of a source after a place, in order."""
    query = (
        sa.select(comment.c.pos, comment.c.id)
        .where(comment.c.source == source, comment.c.pos > after)
        .order_by(comment.c.pos)
        .limit(limit)
    )
    return [(row.pos, row.id) for row in tx.execute(query)]


def find_positions(
    tx: Reader, source: int, hashes_by_id: dict[str, int]
) -> dict[str, tuple[int, int]]:
    """Return position and digest of each of the ids that `source` holds."""
    found = keys.find(tx, hashes_by_id.values())
    ids = read_ids(tx, source, (key.pos for same in found.values() for key in same))
    return {
        ids[key.pos]: (key.pos, key.digest)
        for same in found.values()
        for key in same
        if key.pos in ids and ids[key.pos] in hashes_by_id
    }


def insert(
    tx: Writer, source: int, fresh: Sequence[tuple[int, Incoming]], fronts: Sequence[bytes]
) -> None:
    """Store new comments at their positions, which rise. The caller holds the order."""
    if tx.dialect_name == "sqlite":
        rows: list[tuple[Any, ...]] = [
            (source, pos, c.timestamp_us, (f := c.facets()) and f.decode(), c.id, c.thread_id)
            for pos, c in fresh
        ]
    else:
        rows = [(source, pos, c.timestamp_us, c.facets(), c.id, c.thread_id) for pos, c in fresh]
    bulk.insert_rows(tx, comment, rows)
    bulk.insert_rows(
        tx, comment_text, [(pos, front) for (pos, _), front in zip(fresh, fronts, strict=True)]
    )
    keys.insert(tx, ((c.key_hash, pos, c.digest) for pos, c in fresh))


def update(
    tx: Writer,
    source: int,
    changed: Sequence[tuple[int, StoredRow, Incoming]],
    fronts: Sequence[bytes],
) -> None:
    """Replace the content of stored comments: (position, row as it is, new version), new front.

    Place and creation stay.
    """
    rows = [
        (source, pos, c.timestamp_us, facets and facets.decode(), c.thread_id)
        for pos, stored, c in changed
        if not _same_row(stored, c, facets := c.facets())
    ]
    bulk.update_rows(
        tx,
        comment,
        key=("source", "pos"),
        values=("timestamp_us", "facets", "thread_id"),
        rows=rows,
    )
    bulk.update_rows(
        tx,
        comment_text,
        key=("pos",),
        values=("body",),
        rows=[(pos, front) for (pos, _, _), front in zip(changed, fronts, strict=True)],
    )
    keys.update(tx, [(c.key_hash, pos, c.digest) for pos, _, c in changed])
    derived.note_changed(tx, [pos for pos, _, _ in changed], stamp=now_us())


def delete(tx: Writer, source: int, places: Sequence[tuple[int, int]]) -> int:
    """Delete the comments of `source` at (hash, position); return how many there were."""
    positions = [pos for _, pos in places]
    deleted = 0
    for start in range(0, len(positions), 1024):
        chunk = positions[start : start + 1024]
        here = (comment.c.source == source) & comment.c.pos.in_(chunk)
        deleted += tx.execute(sa.delete(comment).where(here)).rowcount
        tx.execute(sa.delete(comment_text).where(comment_text.c.pos.in_(chunk)))
        tx.execute(sa.delete(stream_exception).where(stream_exception.c.pos.in_(chunk)))
        claimed = (file_claim.c.source == source) & file_claim.c.pos.in_(chunk)
        tx.execute(sa.delete(file_claim).where(claimed))
    keys.delete(tx, places)
    derived.note_changed(tx, positions, stamp=now_us())
    return deleted


_COUNT_CONTENT = (
    sa.update(source_content)
    .where(source_content.c.source == bindparam("key", type_=sa.BigInteger))
    .values(
        comments=source_content.c.comments + bindparam("added", type_=sa.BigInteger),
        modified_us=bindparam("now_us", type_=sa.BigInteger),
    )
)
_TOTAL = sa.select(sa.func.sum(source_content.c.comments))


def count_content(tx: Writer, source: int, *, added: int, modified_us: int) -> None:
    """Note that `added` comments came (or, negative, went) and when."""
    tx.run(_COUNT_CONTENT, key=source, added=added, now_us=modified_us)


def total_comments(tx: Reader) -> int:
    """Return how many comments all sources hold."""
    return int(tx.rows(_TOTAL)[0][0] or 0)


def page_by_timestamp(
    tx: Reader,
    source: int,
    *,
    lower_us: int | None,
    upper_us: int | None,
    after: tuple[int, int] | None,
    descending: bool,
    limit: int,
) -> list[tuple[int, int, bytes]]:
    """Return up to `limit` (timestamp, position, front) in order of timestamp, then position.

    Both bounds are inclusive; `after` is the (timestamp, position) of the last one before.
    """
    place = sa.tuple_(comment.c.timestamp_us, comment.c.pos)
    query = sa.select(comment.c.timestamp_us, comment.c.pos).where(comment.c.source == source)
    if lower_us is not None:
        query = query.where(comment.c.timestamp_us >= lower_us)
    if upper_us is not None:
        query = query.where(comment.c.timestamp_us <= upper_us)
    if after is not None:
        bound = sa.tuple_(sa.literal(after[0]), sa.literal(after[1]))
        query = query.where(place < bound if descending else place > bound)
    orders: list[Any] = [comment.c.timestamp_us, comment.c.pos]
    if descending:
        orders = [column.desc() for column in orders]
    rows = tx.execute(query.order_by(*orders).limit(limit)).all()
    fronts = read_fronts(tx, [row.pos for row in rows])
    return [(row.timestamp_us, row.pos, fronts[row.pos]) for row in rows]


def annotated(tx: Reader, positions: Sequence[int]) -> frozenset[int]:
    """Return which of the comments a person has annotated, in any dataset that contains them."""
    own = annotated_comment.c
    columns = (own.pos, own.dataset_id, own.source, own.reviewed)
    rows = [row for row in bulk.rows_in(tx, columns, own.pos, positions) if row[3]]
    if not rows:
        return frozenset()
    query = sa.select(dataset_source.c.dataset_id, dataset_source.c.source).where(
        dataset_source.c.dataset_id.in_({row[1] for row in rows})
    )
    held = {(row.dataset_id, row.source) for row in tx.execute(query)}
    return frozenset(row[0] for row in rows if (row[1], row[2]) in held)
