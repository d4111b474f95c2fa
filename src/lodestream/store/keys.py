"""Keys of comments: from the hash of (source, comment id) to position and digest.

Hashes come in random order, so a batch of them touches as many pages of a large table as it has
entries, and each page touched is written whole. New entries therefore go into a small table first,
`fresh_comment_key`, and are moved to the large one, `comment_key`, many at a time and in order of
the hash (`settle`). An entry is in one of the two; who asks, asks both.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy import bindparam

from lodestream.store import bulk
from lodestream.store.db import Database, Reader, Writer
from lodestream.store.order import take_order
from lodestream.store.tables import comment_key, fresh_comment_key

SETTLED_FROM: Final = 16_384
"""How many fresh entries are worth moving: with fewer, a page gets hardly more than one."""

_SETTLED_AT_ONCE: Final = 4096
_TABLES: Final = (fresh_comment_key, comment_key)


@dataclass(frozen=True, slots=True)
class StoredKey:
    """Where a comment with some id may be, and the digest of its content."""

    pos: int
    digest: int


def find(tx: Reader, hashes: Iterable[int]) -> dict[int, list[StoredKey]]:
    """Return what is stored under each hash. Two ids may share a hash: compare the id too."""
    found: dict[int, list[StoredKey]] = {}
    wanted = sorted(set(hashes))
    for table in _TABLES:
        columns = (table.c.hash, table.c.pos, table.c.digest)
        for number, pos, digest in bulk.rows_in(tx, columns, table.c.hash, wanted):
            found.setdefault(number, []).append(StoredKey(pos, digest))
    return found


def insert(tx: Writer, rows: Iterable[tuple[int, int, int]]) -> None:
    """Store new (hash, position, digest)."""
    bulk.insert_rows(tx, fresh_comment_key, sorted(rows))


def update(tx: Writer, rows: Sequence[tuple[int, int, int]]) -> None:
    """Set the digests of stored (hash, position, digest)."""
    for table in _TABLES:
        bulk.update_rows(tx, table, key=("hash", "pos"), values=("digest",), rows=rows)


_DELETE: Final = [
    sa.delete(table).where(table.c.hash == bindparam("b_hash"), table.c.pos == bindparam("b_pos"))
    for table in _TABLES
]


def delete(tx: Writer, places: Sequence[tuple[int, int]]) -> None:
    """Remove the entries at (hash, position)."""
    rows = [{"b_hash": number, "b_pos": pos} for number, pos in places]
    for statement in _DELETE:
        bulk.run_many(tx, statement, rows)


def page(tx: Reader, *, after: tuple[int, int] | None, limit: int) -> list[tuple[int, int]]:
    """Return the next (hash, position) after a place, in order."""
    both = sa.union_all(*(_after(table, after) for table in _TABLES)).subquery()
    query = sa.select(both.c.hash, both.c.pos).order_by(both.c.hash, both.c.pos).limit(limit)
    return [(row.hash, row.pos) for row in tx.execute(query)]


def _after(table: sa.Table, after: tuple[int, int] | None) -> sa.Select[Any]:
    query = sa.select(table.c.hash, table.c.pos)
    if after is None:
        return query
    place = sa.tuple_(table.c.hash, table.c.pos)
    return query.where(place > sa.tuple_(*(sa.literal(one, sa.BigInteger) for one in after)))


def settle(db: Database, *, least: int = SETTLED_FROM) -> int:
    """Move the fresh entries to the large table if there are `least`; return how many were moved.

    Done in short transactions, each of which leaves every entry in one of the tables.
    """
    fresh = fresh_comment_key
    with db.read() as tx:
        some = sa.select(fresh.c.pos).limit(least).subquery()
        if tx.execute(sa.select(sa.func.count()).select_from(some)).scalar_one() < least:
            return 0
    settled, moved = 0, _SETTLED_AT_ONCE
    while moved == _SETTLED_AT_ONCE:
        with db.write(catalogue=False) as tx:
            take_order(tx)
            moved = _move(tx)
        settled += moved
    return settled


def _move(tx: Writer) -> int:
    fresh = fresh_comment_key
    rows = tx.execute(
        sa.select(fresh).order_by(fresh.c.hash, fresh.c.pos).limit(_SETTLED_AT_ONCE)
    ).all()
    if rows:
        bulk.insert_rows(tx, comment_key, [tuple(row) for row in rows])
        last = sa.tuple_(*(sa.literal(one, sa.BigInteger) for one in rows[-1][:2]))
        tx.execute(sa.delete(fresh).where(sa.tuple_(fresh.c.hash, fresh.c.pos) <= last))
    return len(rows)
