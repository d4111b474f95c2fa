"""How far a stream is behind: what it has not delivered yet, counted within a bound."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy import bindparam

from lodestream.domain.places import created_us
from lodestream.store.db import Database, Reader
from lodestream.store.dialect import Prepared
from lodestream.store.tables import comment, dataset, project, source, source_content, stream

EXAMINED_AT_MOST: Final = 1_000_000

_BIG = sa.BigInteger


@dataclass(frozen=True, slots=True)
class Lag:
    """What lies after a stream's position and passes its filter.

    Not `is_exact`: more comments lie there than were examined; `unread` is then the least there
    can be, and `oldest_us` (when the oldest one was stored) the oldest that was seen.
    """

    unread: int
    is_exact: bool
    oldest_us: int | None


@dataclass(frozen=True, slots=True)
class StreamPlace:
    """Where a stream is found, and its position."""

    id: str
    project: str
    dataset: str
    name: str
    position: int


def list_places(tx: Reader, *, limit: int) -> list[StreamPlace]:
    """Return up to `limit` streams of the whole instance, by project, dataset and name."""
    query = (
        sa.select(
            stream.c.id,
            project.c.name.label("project"),
            dataset.c.name.label("dataset"),
            stream.c.name,
            stream.c.position,
        )
        .join(dataset, dataset.c.id == stream.c.dataset_id)
        .join(project, project.c.id == dataset.c.project_id)
        .order_by(project.c.name, dataset.c.name, stream.c.name)
        .limit(limit)
    )
    return [
        StreamPlace(row.id, row.project, row.dataset, row.name, row.position)
        for row in tx.execute(query)
    ]


def find_uid(tx: Reader, sources: Sequence[int], pos: int) -> str | None:
    """Return the uid of the comment at a position, if it belongs to one of the sources."""
    query = (
        sa.select(source.c.id.label("source_id"), comment.c.id.label("comment_id"))
        .join(source, source.c.key == comment.c.source)
        .where(comment.c.source.in_(sources), comment.c.pos == pos)
    )
    row = tx.execute(query).first()
    return None if row is None else f"{row.source_id}.{row.comment_id}"


def measure(
    db: Database,
    sources: Sequence[int],
    condition: sa.ColumnElement[bool] | None,
    *,
    position: int,
    examine: int = EXAMINED_AT_MOST,
) -> Lag:
    """Count what some sources hold after `position` that passes a condition (None: everything).

    At most `examine` comments are looked at, shared out evenly among the sources that hold so
    many. A source of which nothing was delivered yet costs nothing without a condition, because
    how many comments a source holds is kept.
    """
    measurement = _Measurement(db, condition)
    after = {key: position for key in sources if measurement.has_after(key, position)}
    if condition is None:
        for key in list(after):
            if measurement.count_whole(key, position):
                del after[key]
    budget = examine
    while after and budget > 0:
        share = max(1, budget // len(after))
        for key, start in list(after.items()):
            examined, end = measurement.look(key, start, share)
            budget -= examined
            if examined < share:
                del after[key]
            else:
                after[key] = end
    is_exact = not any(measurement.has_after(key, end) for key, end in after.items())
    first = measurement.first
    return Lag(measurement.unread, is_exact, None if first is None else created_us(first))


class _Measurement:
    """The sum so far."""

    def __init__(self, db: Database, condition: sa.ColumnElement[bool] | None) -> None:
        self._probe = db.probe()
        name = db.dialect_name
        self._next = Prepared(_first_query().where(_AFTER), name)
        self._before = Prepared(_first_query().where(comment.c.pos <= _PLACE), name)
        self._held = Prepared(_HELD, name)
        self._window = Prepared(_window_query(condition), name)
        self.unread = 0
        self.first: int | None = None

    def has_after(self, key: int, place: int) -> bool:
        return bool(self._next.rows(self._probe, source=key, place=place))

    def count_whole(self, key: int, place: int) -> bool:
        """Count a source that has nothing at or before a place; return False if it has."""
        if self._before.rows(self._probe, source=key, place=place):
            return False
        held = self._held.rows(self._probe, source=key)
        self.unread += held[0][0] if held else 0
        self._see(self._next.rows(self._probe, source=key, place=place)[0][0])
        return True

    def look(self, key: int, place: int, limit: int) -> tuple[int, int]:
        """Count what matches among the next `limit`; return how many there were and the last."""
        rows = self._window.rows(self._probe, source=key, place=place, limit=limit)
        examined, matching, first, last = rows[0]
        self.unread += int(matching or 0)
        self._see(first)
        return examined, place if last is None else last

    def _see(self, first: int | None) -> None:
        if first is not None and (self.first is None or first < self.first):
            self.first = first


_PLACE = bindparam("place", type_=_BIG)
_AFTER = comment.c.pos > _PLACE
_HELD = sa.select(source_content.c.comments).where(
    source_content.c.source == bindparam("source", type_=_BIG)
)


def _first_query() -> sa.Select[Any]:
    return (
        sa.select(comment.c.pos)
        .where(comment.c.source == bindparam("source", type_=_BIG))
        .order_by(comment.c.pos)
        .limit(1)
    )


def _window_query(condition: sa.ColumnElement[bool] | None) -> sa.Select[Any]:
    matches = sa.true() if condition is None else sa.func.coalesce(condition, sa.false())
    window = (
        sa.select(comment.c.pos, sa.case((matches, 1), else_=0).label("matches"))
        .where(comment.c.source == bindparam("source", type_=_BIG), _AFTER)
        .order_by(comment.c.pos)
        .limit(bindparam("limit", type_=_BIG))
        .subquery("examined")
    )
    figures: list[sa.ColumnElement[Any]] = [
        sa.func.count(),
        sa.func.sum(window.c.matches),
        sa.func.min(sa.case((window.c.matches == 1, window.c.pos))),
        sa.func.max(window.c.pos),
    ]
    return sa.select(*figures).select_from(window)
