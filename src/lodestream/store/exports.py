"""Pages of a dataset's comments, in order of timestamp or of creation."""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Mapping, Sequence
from itertools import islice
from typing import Any

import sqlalchemy as sa
from msgspec import Struct
from sqlalchemy import bindparam

from lodestream.store.comments import read_fronts
from lodestream.store.db import Reader
from lodestream.store.dialect import Prepared
from lodestream.store.tables import comment

_BIG = sa.BigInteger


class Place(Struct, frozen=True):
    """A comment's place in a listing. `value` is its timestamp or, by creation, its position."""

    value: int
    pos: int


def list_places(
    tx: Reader,
    sources: Iterable[int],
    *,
    by_creation: bool,
    lower: int | None,
    below: int | None,
    after: Place | None,
    limit: int,
    only: Mapping[int, Sequence[int]] | None = None,
) -> list[tuple[Place, int]]:
    """Return up to `limit` (place, source) in order, from `lower`, before `below`, after `after`.

    `only` limits it to some positions of each source.
    """
    value = comment.c.pos if by_creation else comment.c.timestamp_us
    runs: list[list[tuple[int, int, int]]] = []
    for source in sources:
        query = sa.select(value, comment.c.pos).where(comment.c.source == source)
        if only is not None:
            query = query.where(comment.c.pos.in_(list(only.get(source, ()))))
        if lower is not None:
            query = query.where(value >= lower)
        if below is not None:
            query = query.where(value < below)
        if after is not None:
            bound = sa.tuple_(sa.literal(after.value), sa.literal(after.pos))
            # The plain bound is what an index answers; the pair decides among equals.
            query = query.where(value >= after.value, sa.tuple_(value, comment.c.pos) > bound)
        rows: Sequence[Any] = tx.execute(query.order_by(value, comment.c.pos).limit(limit)).all()
        runs.append([(row[0], row[1], source) for row in rows])
    merged = islice(heapq.merge(*runs), limit)
    return [(Place(found, pos), source) for found, pos, source in merged]


class Walk:
    """The comments of a source in order of creation, page by page, each page a question of its own.

    A comment keeps its place when it changes, so one that changes between two pages is neither
    left out nor read twice.
    """

    def __init__(self, dialect_name: str, condition: sa.ColumnElement[bool] | None) -> None:
        """`condition` on `comment` lets comments through; None: all."""
        query = (
            sa.select(comment.c.pos)
            .where(
                comment.c.source == bindparam("source", type_=_BIG),
                comment.c.pos > bindparam("after", type_=_BIG),
                comment.c.pos <= bindparam("upto", type_=_BIG),
            )
            .order_by(comment.c.pos)
            .limit(bindparam("size", type_=_BIG))
        )
        if condition is not None:
            query = query.where(condition)
        self._next = Prepared(query, dialect_name)

    def read(
        self, tx: Reader, source: int, *, after: int, upto: int, size: int
    ) -> list[tuple[int, bytes]]:
        """Return (position, front) of the next comments, up to `size`, in order."""
        rows = self._next.rows(tx.driver, source=source, after=after, upto=upto, size=size)
        positions = [row[0] for row in rows]
        fronts = read_fronts(tx, positions)
        return [(pos, fronts[pos]) for pos in positions]
