"""What is computed from comments and kept: vectors, predictions, predictions ready to be sent.

All three are the same to the store: bytes by (owner, position), where the owner is a vector space,
a model or a rendering; and for each owner and source how far they reach. What changes a comment
only notes its position in `changed_comment`; whoever keeps things up to date does the rest.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import sqlalchemy as sa

from lodestream.store import bulk
from lodestream.store.db import Reader, Writer
from lodestream.store.dialect import upsert
from lodestream.store.tables import (
    changed_comment,
    comment,
    comment_text,
    comment_vector,
    model,
    prediction,
    prediction_progress,
    rendered,
    rendering_progress,
    vector_progress,
    vector_space,
)


@dataclass(frozen=True)
class Shelf:
    """One kind of derived bytes; the columns of both tables are (owner, position or source, …)."""

    table: sa.Table
    progress: sa.Table

    def read(self, tx: Reader, owner: int, positions: Iterable[int]) -> dict[int, bytes]:
        """Return what there is for the comments at `positions`."""
        own, pos, body = list(self.table.columns)
        rows = bulk.rows_in(tx, (pos, body), pos, positions, within=(own, owner))
        return {at: bytes(data) for at, data in rows}

    def write(self, tx: Writer, owner: int, rows: Sequence[tuple[int, bytes]]) -> None:
        """Store bytes by position; what was there is replaced."""
        if not rows:
            return
        # In the order of the key, so that writers of the same rows cannot wait for each other.
        _write(tx, self.table, [(owner, pos, body) for pos, body in sorted(rows)], key=2)

    def reached(self, tx: Reader, owner: int) -> dict[int, int]:
        """Return up to which position each source's comments are done, by the source's key."""
        own, source, upto = list(self.progress.columns)
        rows: Any = tx.execute(sa.select(source, upto).where(own == owner))
        return {row[0]: row[1] for row in rows}

    def reach(self, tx: Writer, owner: int, source: int, upto: int) -> None:
        """Note that a source's comments are done up to a position."""
        own, key, _ = list(self.progress.columns)
        values = {own.name: owner, key.name: source, "upto": upto}
        tx.execute(upsert(self.progress, tx.dialect_name, values=values, update=("upto",)))

    def forget(self, tx: Writer, owner: int, positions: Sequence[int]) -> None:
        """Remove what there is for the comments at `positions`."""
        own, pos, _ = list(self.table.columns)
        tx.execute(sa.delete(self.table).where(own == owner, pos.in_(positions)))

    def drop(self, tx: Writer, owner: int, *, limit: int) -> int:
        """Remove up to `limit` rows of an owner, and at last its progress; return how many rows."""
        own, pos, _ = list(self.table.columns)
        chunk = sa.select(pos).where(own == owner).order_by(pos).limit(limit)
        found = sa.delete(self.table).where(own == owner, pos.in_(chunk.scalar_subquery()))
        removed = tx.execute(found).rowcount
        if removed < limit:
            tx.execute(sa.delete(self.progress).where(self.progress.columns[0] == owner))
        return removed

    def owners(self, tx: Reader) -> list[int]:
        """Return the owners that have anything."""
        own = self.progress.columns[0]
        return [row[0] for row in tx.execute(sa.select(own).distinct())]

    def count(self, tx: Reader, owner: int, sources: Sequence[int]) -> int:
        """Count the rows of an owner that belong to comments of these sources."""
        own, pos, _ = list(self.table.columns)
        query = (
            sa.select(sa.func.count())
            .select_from(self.table.join(comment, comment.c.pos == pos))
            .where(own == owner, comment.c.source.in_(sources))
        )
        number: int = tx.execute(query).scalar_one()
        return number


def _write(tx: Writer, table: sa.Table, rows: Sequence[tuple[Any, ...]], *, key: int) -> None:
    """Insert rows; of one whose first `key` columns are there already, set the last column."""
    names = [column.name for column in table.columns]
    mark = "?" if tx.dialect_name == "sqlite" else "%s"
    text = (
        f"INSERT INTO {table.name} ({', '.join(names)}) "  # noqa: S608 (own names)
        f"VALUES ({', '.join([mark] * len(names))}) ON CONFLICT ({', '.join(names[:key])}) "
        f"DO UPDATE SET {names[-1]} = excluded.{names[-1]}"
    )
    if tx.dialect_name == "sqlite":
        tx.driver.executemany(text, rows)
        return
    with tx.driver.cursor() as cursor:
        cursor.executemany(text, rows)


VECTORS: Final = Shelf(comment_vector, vector_progress)
PREDICTIONS: Final = Shelf(prediction, prediction_progress)
RENDERED: Final = Shelf(rendered, rendering_progress)


def find_space(tx: Reader, name: str) -> int | None:
    """Return the key of a vector space, or None."""
    query = sa.select(vector_space.c.key).where(vector_space.c.name == name)
    key: int | None = tx.execute(query).scalar_one_or_none()
    return key


def take_space(tx: Writer, name: str, dim: int) -> int:
    """Return the key of a vector space, which is made if it is new."""
    found = find_space(tx, name)
    if found is not None:
        return found
    insert = sa.insert(vector_space).values(name=name, dim=dim).returning(vector_space.c.key)
    key: int = tx.execute(insert).scalar_one()
    return key


def list_spaces(tx: Reader) -> list[tuple[int, str]]:
    """Return (key, name) of every vector space."""
    query = sa.select(vector_space.c.key, vector_space.c.name).order_by(vector_space.c.key)
    return [(row.key, row.name) for row in tx.execute(query)]


def last_positions(tx: Reader, sources: Iterable[int]) -> dict[int, int]:
    """Return the position of each source's newest comment; empty sources are left out."""
    found = {}
    for key in sources:
        query = sa.select(sa.func.max(comment.c.pos)).where(comment.c.source == key)
        last = tx.execute(query).scalar_one()
        if last is not None:
            found[key] = last
    return found


def positions_of(tx: Reader, sources: Iterable[int]) -> list[int]:
    """Return the positions of all comments of these sources."""
    found: list[int] = []
    for key in sources:
        rows = tx.execute(sa.select(comment.c.pos).where(comment.c.source == key))
        found += [row.pos for row in rows]
    return found


def fronts_after(tx: Reader, source: int, *, after: int, limit: int) -> list[tuple[int, bytes]]:
    """Return up to `limit` (position, front) of a source's comments after a place, in order."""
    query = (
        sa.select(comment.c.pos, comment_text.c.body)
        .join(comment_text, comment_text.c.pos == comment.c.pos)
        .where(comment.c.source == source, comment.c.pos > after)
        .order_by(comment.c.pos)
        .limit(limit)
    )
    return [(row.pos, bytes(row.body)) for row in tx.execute(query)]


def scores_between(
    tx: Reader, owner: int, source: int, *, after: int, until: int, limit: int
) -> list[tuple[int, bytes]]:
    """Return (position, scores) of a source's comments in (after, until], in order."""
    query = (
        sa.select(comment.c.pos, prediction.c.scores)
        .join(prediction, (prediction.c.pos == comment.c.pos) & (prediction.c.model == owner))
        .where(comment.c.source == source, comment.c.pos > after, comment.c.pos <= until)
        .order_by(comment.c.pos)
        .limit(limit)
    )
    return [(row.pos, bytes(row.scores)) for row in tx.execute(query)]


def derives_anything(tx: Reader) -> bool:
    """Tell whether anything was ever derived, so that changes have to be noted."""
    spaces, models = sa.exists(sa.select(vector_space.c.key)), sa.exists(sa.select(model.c.key))
    return bool(tx.execute(sa.select(sa.or_(spaces, models))).scalar_one())


def note_changed(tx: Writer, positions: Sequence[int], *, stamp: int) -> None:
    """Note that the comments at `positions` changed, or are gone; `stamp` tells changes apart."""
    if not positions or not derives_anything(tx):
        return
    _write(tx, changed_comment, [(pos, stamp) for pos in sorted(positions)], key=1)


def changed(tx: Reader, *, limit: int) -> list[tuple[int, int]]:
    """Return up to `limit` (position, stamp) of comments that changed."""
    query = sa.select(changed_comment).order_by(changed_comment.c.pos).limit(limit)
    return [(row.pos, row.stamp) for row in tx.execute(query)]


def changed_among(tx: Reader, positions: Iterable[int]) -> frozenset[int]:
    """Return those of `positions` whose comments changed and are not done again yet."""
    rows = bulk.rows_in(tx, (changed_comment.c.pos,), changed_comment.c.pos, positions)
    return frozenset(row[0] for row in rows)


def settle(tx: Writer, changes: Sequence[tuple[int, int]]) -> None:
    """Remove notes of changes, unless a comment changed again since they were read."""
    for pos, stamp in changes:
        same = (changed_comment.c.pos == pos) & (changed_comment.c.stamp == stamp)
        tx.execute(sa.delete(changed_comment).where(same))
