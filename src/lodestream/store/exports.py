"""Pages of a dataset's comments, in order of timestamp or of creation."""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Mapping, Sequence
from itertools import islice
from typing import Any

import sqlalchemy as sa
from msgspec import Struct

from lodestream.store.db import Reader
from lodestream.store.tables import comment


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
