"""The feed of a dataset: its comments in the one total order, after a place.

A comment belongs to a dataset because its source does. One source is one range of the table;
several are merged: from each the next few places, in rounds, so that the cost follows what is
returned and not what other sources hold. Only places (and, with a filter, whether they match) are
merged; bodies are read once, for what is sent.

The sources are read one after the other while writers append. A place is only merged if it was
handed out before the first of them was read: else the end of a batch could lie behind a comment
that was stored in a source that had been read already, and advancing there would lose it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy import bindparam

from lodestream.domain.places import MAX_POSITION
from lodestream.store.db import Database
from lodestream.store.dialect import Prepared, prepared
from lodestream.store.order import LAST_POSITION
from lodestream.store.tables import comment, comment_text

SCAN_CAP: Final = 16_384
"""Most comments that one call examines against a filter, unless the caller sets a bound."""

_BIG = sa.BigInteger


@dataclass(frozen=True, slots=True)
class Batch:
    """Part of a feed.

    `rows` are (position, front) in order; `filtered` were examined and do not match; `end` is the
    last place examined (the place asked from, if there was nothing); `at_end` tells that nothing
    stood after it.
    """

    rows: Sequence[tuple[int, bytes]]
    filtered: int
    end: int
    at_end: bool


class Feed:
    """The comments of some sources that pass a condition on `comment` (None: all pass)."""

    def __init__(
        self, db: Database, sources: Sequence[int], condition: sa.ColumnElement[bool] | None
    ) -> None:
        self._db = db
        self._sources = list(sources)
        self.condition = condition
        self._filtered = condition is not None
        name = db.dialect_name
        self._range = Prepared(_range_query(name), name)
        self._next = Prepared(_next_query(), name)
        self._places = Prepared(_places_query(condition), name)
        self._count = Prepared(_count_query(), name)
        self._skip = Prepared(_skip_query(), name)
        self._tail = Prepared(_tail_query(), name)
        self._window = Prepared(_window_query(condition, name), name)
        self._last = Prepared(LAST_POSITION, name)
        if not db.is_sqlite:
            self._merge = Prepared(_merge_query(condition), name)

    @property
    def sources(self) -> tuple[int, ...]:
        """Keys of the sources."""
        return tuple(self._sources)

    @property
    def is_one_range(self) -> bool:
        """Whether a read is one query over one range: no filter, one source at most."""
        return not self._filtered and len(self._sources) <= 1

    def read(self, after: int, size: int, *, max_filtered: int | None = None) -> Batch:
        """Return up to `size` matching comments after the place `after`.

        At most `max_filtered` comments that do not match are passed over (without it as many as
        `SCAN_CAP` comments are examined).
        """
        if not self._sources:
            return Batch((), 0, after, True)
        if self.is_one_range:
            return self._read_range(after, size)
        if len(self._sources) == 1 and max_filtered is None:
            return self._read_window(after, size)
        return self._read_merged(after, size, max_filtered)

    def has_after(self, after: int) -> bool:
        """Tell whether any comment of the feed's sources stands after a place."""
        probe = self._db.probe()
        return any(self._next.rows(probe, source=key, after=after) for key in self._sources)

    def first_after(self, after: int) -> int | None:
        """Return the place of the first comment of the feed's sources after a place, or None."""
        probe, first = self._db.probe(), prepared(_FIRST, self._db.dialect_name)
        found = (first.rows(probe, source=key, after=after) for key in self._sources)
        return min((rows[0][0] for rows in found if rows), default=None)

    def count_after(self, after: int) -> int:
        """Count the comments of the feed's sources after a place, matching or not."""
        probe = self._db.probe()
        rows, until = self._count.rows, MAX_POSITION
        return sum(rows(probe, source=key, after=after, until=until)[0][0] for key in self._sources)

    def _read_range(self, after: int, size: int) -> Batch:
        probe, source = self._db.probe(), self._sources[0]
        # One more than is asked for tells whether anything follows, without another question.
        rows = self._range.rows(probe, source=source, after=after, limit=size + 1)
        more = len(rows) > size
        rows = rows[:size]
        return Batch(rows, 0, rows[-1][0] if rows else after, not more)

    def _read_window(self, after: int, size: int) -> Batch:
        """Read one source through the filter, examining and counting inside the database.

        The window is fixed before it is read, so what is stored meanwhile lies after it.
        """
        probe, source = self._db.probe(), self._sources[0]
        full = self._skip.rows(probe, source=source, after=after, skip=SCAN_CAP - 1)
        bound = full or self._tail.rows(probe, source=source, after=after)
        if not bound:
            return Batch((), 0, after, True)
        end = bound[0][0]
        rows = self._window.rows(probe, source=source, after=after, until=end, limit=size)
        if len(rows) == size:
            end = rows[-1][0]
        if full and len(rows) < size:
            examined = SCAN_CAP
        else:
            examined = self._count.rows(probe, source=source, after=after, until=end)[0][0]
        # A comment that was deleted since it was read is in `rows` but not counted any more.
        filtered = max(0, examined - len(rows))
        more = (full or len(rows) == size) and self._next.rows(probe, source=source, after=end)
        return Batch(rows, filtered, end, not more)

    def _read_merged(self, after: int, size: int, max_filtered: int | None) -> Batch:
        wanted = size
        if self._filtered:
            wanted = SCAN_CAP if max_filtered is None else size + max_filtered
        places, exhausted = self._merge_places(after, wanted, enough=size)
        if self._filtered:
            taken, matched = _cut(places, size, max_filtered)
        else:
            taken, matched = min(size, len(places)), [pos for pos, _ in places[:size]]
        if not taken:
            return Batch((), 0, after, True)
        end = places[taken - 1][0]
        at_end = taken == len(places) and (exhausted or not self.has_after(end))
        return Batch(self._bodies(matched), taken - len(matched), end, at_end)

    def _merge_places(
        self, after: int, wanted: int, *, enough: int
    ) -> tuple[list[tuple[int, bool]], bool]:
        """Return the next places in order, and whether there are no more after them.

        At most `wanted` places; no more are read once `enough` of them match. Each round asks
        every source that may have more for the same number of places; what lies up to the least
        of their last places is complete. The number grows from round to round.
        """
        merged: list[tuple[int, bool]] = []
        matching = 0
        open_sources = self._sources
        until: int | None = None
        limit = enough if len(open_sources) == 1 else 2 * enough // len(open_sources) + 16
        while open_sources:
            limit = min(limit, wanted - len(merged))
            runs, until = self._runs(open_sources, after, until, limit)
            full = [key for key, run in runs.items() if len(run) == limit]
            found = [place for run in runs.values() for place in run]
            found.sort()
            if full:
                bound = min(runs[key][-1][0] for key in full)
                found = [place for place in found if place[0] <= bound]
                after = bound
            merged += found
            if len(merged) >= wanted:
                return merged[:wanted], False
            matching += sum(1 for place in found if place[1])
            if matching >= enough:
                return merged, False
            # A source whose run was cut short by the bound is asked again, from the bound.
            open_sources = [
                key
                for key, run in runs.items()
                if len(run) == limit or (full and run and run[-1][0] > after)
            ]
            limit *= 4
        return merged, True

    def _runs(
        self, sources: Sequence[int], after: int, until: int | None, limit: int
    ) -> tuple[dict[int, list[tuple[int, bool]]], int]:
        """Return the next places of each source, and the bound for the rounds that follow.

        The first round has no bound yet (`until` is None) and finds it.
        """
        probe = self._db.probe()
        if self._db.is_sqlite or len(sources) == 1:
            if until is None:
                alone = len(sources) == 1
                until = MAX_POSITION if alone else self._last.rows(probe)[0][0]
            rows = self._places.rows
            return {
                key: rows(probe, source=key, after=after, until=until, limit=limit)
                for key in sources
            }, until
        # One statement reads every source as of one moment, and the bound as of the same.
        runs: dict[int, list[tuple[int, bool]]] = {}
        bound = MAX_POSITION if until is None else until
        found = self._merge.rows(
            probe, sources=list(sources), after=after, until=bound, limit=limit
        )
        for key, pos, matches, _ in found:
            runs.setdefault(key, []).append((pos, matches))
        if until is None and found:
            bound = found[0][3]
        return runs, bound

    def _bodies(self, positions: Sequence[int]) -> list[tuple[int, bytes]]:
        probe = self._db.probe()
        rows: list[tuple[int, bytes]] = []
        head = "SELECT pos, body FROM comment_text WHERE pos "
        if not self._db.is_sqlite:
            text = head + "= ANY(%s) ORDER BY pos"
            rows += probe.cursor(binary=True).execute(text, (list(positions),)).fetchall()
            return rows
        for start in range(0, len(positions), 1024):
            chunk = positions[start : start + 1024]
            marks = ",".join("?" * len(chunk))
            rows += probe.execute(f"{head} IN ({marks}) ORDER BY pos", chunk).fetchall()
        return rows


def _cut(
    places: Sequence[tuple[int, bool]], size: int, max_filtered: int | None
) -> tuple[int, list[int]]:
    """Return how many of the places are examined, and the positions of those that match.

    Examination ends with the match number `size`, or when `max_filtered` did not match.
    """
    at = [index for index, place in enumerate(places) if place[1]]
    taken = len(places)
    if len(at) >= size:
        at = at[:size]
        taken = at[-1] + 1
    if max_filtered is not None:
        for rank, index in enumerate([*at, taken]):
            if index - rank >= max_filtered:
                # The bound was reached before this match: stop right after that many.
                return rank + max_filtered, [places[i][0] for i in at[:rank]]
    return taken, [places[i][0] for i in at]


def _range_query(dialect_name: str) -> sa.Select[Any]:
    return _texts_of(_range_places(), dialect_name)


def _range_places() -> sa.Select[Any]:
    return (
        sa.select(comment.c.pos)
        .where(comment.c.source == bindparam("source", type_=_BIG))
        .where(comment.c.pos > bindparam("after", type_=_BIG))
        .order_by(comment.c.pos)
        .limit(bindparam("limit", type_=_BIG))
    )


def _texts_of(places: sa.Select[Any], dialect_name: str) -> sa.Select[Any]:
    """Return the query of (position, text) of a query of places, in order."""
    if dialect_name == "sqlite":
        return places.add_columns(comment_text.c.body).join(
            comment_text, comment_text.c.pos == comment.c.pos
        )
    # Looking up a list of places costs PostgreSQL a third of what a join of the tables does.
    return (
        sa.select(comment_text.c.pos, comment_text.c.body)
        .where(comment_text.c.pos == sa.any_(sa.func.array(places.scalar_subquery())))
        .order_by(comment_text.c.pos)
    )


def _next_query() -> sa.Select[Any]:
    return (
        sa.select(comment.c.pos)
        .where(comment.c.source == bindparam("source", type_=_BIG))
        .where(comment.c.pos > bindparam("after", type_=_BIG))
        .limit(1)
    )


_FIRST: Final = _next_query().order_by(comment.c.pos)


def _count_query() -> sa.Select[Any]:
    return (
        sa.select(sa.func.count())
        .select_from(comment)
        .where(comment.c.source == bindparam("source", type_=_BIG))
        .where(comment.c.pos > bindparam("after", type_=_BIG))
        .where(comment.c.pos <= bindparam("until", type_=_BIG))
    )


def _skip_query() -> sa.Select[Any]:
    return (
        sa.select(comment.c.pos)
        .where(comment.c.source == bindparam("source", type_=_BIG))
        .where(comment.c.pos > bindparam("after", type_=_BIG))
        .order_by(comment.c.pos)
        .limit(1)
        .offset(bindparam("skip", type_=_BIG))
    )


def _tail_query() -> sa.Select[Any]:
    return (
        sa.select(comment.c.pos)
        .where(comment.c.source == bindparam("source", type_=_BIG))
        .where(comment.c.pos > bindparam("after", type_=_BIG))
        .order_by(comment.c.pos.desc())
        .limit(1)
    )


def _window_query(condition: sa.ColumnElement[bool] | None, dialect_name: str) -> sa.Select[Any]:
    places = _range_places().where(comment.c.pos <= bindparam("until", type_=_BIG))
    return _texts_of(places if condition is None else places.where(condition), dialect_name)


def _places_query(condition: sa.ColumnElement[bool] | None) -> sa.Select[Any]:
    matches = sa.literal_column("1") if condition is None else sa.case((condition, 1), else_=0)
    return (
        sa.select(comment.c.pos, matches.label("matches"))
        .where(comment.c.source == bindparam("source", type_=_BIG))
        .where(comment.c.pos > bindparam("after", type_=_BIG))
        .where(comment.c.pos <= bindparam("until", type_=_BIG))
        .order_by(comment.c.pos)
        .limit(bindparam("limit", type_=_BIG))
    )


def _merge_query(condition: sa.ColumnElement[bool] | None) -> sa.Select[Any]:
    keys = (
        sa.func.unnest(bindparam("sources", type_=sa.dialects.postgresql.ARRAY(_BIG)))
        .table_valued("key")
        .render_derived(name="wanted")
    )
    matches = sa.true() if condition is None else sa.case((condition, sa.true()), else_=sa.false())
    run = (
        sa.select(comment.c.pos, matches.label("matches"))
        .where(comment.c.source == keys.c.key)
        .where(comment.c.pos > bindparam("after", type_=_BIG))
        .where(comment.c.pos <= bindparam("until", type_=_BIG))
        .order_by(comment.c.pos)
        .limit(bindparam("limit", type_=_BIG))
        .lateral("run")
    )
    return (
        sa.select(keys.c.key, run.c.pos, run.c.matches, LAST_POSITION.scalar_subquery())
        .select_from(keys.join(run, sa.true()))
        .order_by(keys.c.key, run.c.pos)
    )
