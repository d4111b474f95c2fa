"""Reading everything again, to see whether the tables agree: pages of rows, in bounded memory.

Each page is read in one snapshot, so that what writers do meanwhile is no finding.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import sqlalchemy as sa

from lodestream.store import comments, keys
from lodestream.store.db import Database, Reader
from lodestream.store.tables import (
    comment,
    comment_text,
    dataset_source,
    job,
    source,
    source_content,
    stream,
)

HashOf = Callable[[int, str], int]
"""From a source's key and a comment id to the number under which the comment is found."""


@dataclass(frozen=True, slots=True)
class CheckedSource:
    """A source to be read again; `id` is None if only its comments are left."""

    key: int
    id: str | None


@dataclass(frozen=True, slots=True)
class CheckedComment:
    """A comment as the three tables have it."""

    pos: int
    id: str
    front: bytes | None
    has_key: bool
    twins: tuple[int, ...]
    """Other positions of its source that hold the same comment id."""


@dataclass(frozen=True, slots=True)
class KeyRow:
    """An entry of the index of comment ids, and the text at its place, if there is one."""

    hash: int
    pos: int
    front: bytes | None


@dataclass(frozen=True, slots=True)
class TextRow:
    """A text."""

    pos: int
    front: bytes


@contextlib.contextmanager
def snapshot(db: Database) -> Iterator[Reader]:
    """Open a read that sees one state of the database throughout."""
    with db.read() as tx:
        if not db.is_sqlite:
            tx.execute(sa.text("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ"))
        yield tx


def list_sources(tx: Reader, dataset_id: str | None) -> list[CheckedSource]:
    """Return the sources of a dataset; or all, with those that only left comments behind."""
    query = sa.select(source.c.key, source.c.id).order_by(source.c.key)
    if dataset_id is not None:
        query = query.join(dataset_source, dataset_source.c.source == source.c.key)
        query = query.where(dataset_source.c.dataset_id == dataset_id)
    found = {row.key: CheckedSource(row.key, row.id) for row in tx.execute(query)}
    if dataset_id is None:
        for key in _keys_with_comments(tx):
            found.setdefault(key, CheckedSource(key, None))
    return [found[key] for key in sorted(found)]


def _keys_with_comments(tx: Reader) -> Iterator[int]:
    last = -1
    while True:
        # One look-up in the index for each source, however many comments it holds.
        query = sa.select(comment.c.source).where(comment.c.source > last)
        key = tx.execute(query.order_by(comment.c.source).limit(1)).scalar_one_or_none()
        if key is None:
            return
        yield key
        last = key


def is_purge_due(tx: Reader) -> bool:
    """Tell whether comments of deleted sources are still to be removed."""
    query = sa.select(job.c.id).where(job.c.kind == "purge_source").limit(1)
    return tx.execute(query).first() is not None


def page_of_source(
    tx: Reader, checked: CheckedSource, *, after: int, limit: int, hash_of: HashOf
) -> list[CheckedComment]:
    """Return the next comments of a source, in order, with what the other tables have of them."""
    rows = comments.read_after(tx, checked.key, after=after, limit=limit)
    fronts = comments.read_fronts(tx, [pos for pos, _ in rows])
    numbers = {pos: hash_of(checked.key, one) for pos, one in rows}
    found = keys.find(tx, numbers.values())
    places = {number: [key.pos for key in same] for number, same in found.items()}
    same = {pos for number in numbers.values() for pos in places.get(number, ())}
    ids = comments.read_ids(tx, checked.key, same)
    return [
        CheckedComment(
            pos,
            one,
            fronts.get(pos),
            pos in places.get(numbers[pos], ()),
            tuple(at for at in places.get(numbers[pos], ()) if at != pos and ids.get(at) == one),
        )
        for pos, one in rows
    ]


def page_of_texts(tx: Reader, *, after: int, limit: int) -> list[TextRow]:
    """Return the next texts, in order of position."""
    query = (
        sa.select(comment_text.c.pos, comment_text.c.body)
        .where(comment_text.c.pos > after)
        .order_by(comment_text.c.pos)
        .limit(limit)
    )
    return [TextRow(row.pos, bytes(row.body)) for row in tx.execute(query)]


def page_of_keys(tx: Reader, *, after: tuple[int, int] | None, limit: int) -> list[KeyRow]:
    """Return the next entries of the index of comment ids, in order of hash and position."""
    rows = keys.page(tx, after=after, limit=limit)
    fronts = comments.read_fronts(tx, [pos for _, pos in rows])
    return [KeyRow(number, pos, fronts.get(pos)) for number, pos in rows]


def has_comment(tx: Reader, source_key: int, pos: int, comment_id: str) -> bool:
    """Tell whether a source has a comment with this id at this position."""
    query = sa.select(comment.c.id).where(comment.c.source == source_key, comment.c.pos == pos)
    return tx.execute(query).scalar_one_or_none() == comment_id


def is_of_unlisted_source(tx: Reader, source_id: str) -> bool:
    """Tell whether a text may well be of a source that is not listed: a new or a purged one."""
    query = sa.select(source.c.key).where(source.c.id == source_id)
    return is_purge_due(tx) or tx.execute(query).first() is not None


def counts_of(tx: Reader, source_key: int) -> tuple[int, int | None]:
    """Return how many comments a source has, and how many the database says it has."""
    held = sa.select(sa.func.count()).select_from(comment).where(comment.c.source == source_key)
    kept = sa.select(source_content.c.comments).where(source_content.c.source == source_key)
    return tx.execute(held).scalar_one(), tx.execute(kept).scalar_one_or_none()


def stream_positions(tx: Reader, dataset_id: str | None) -> list[tuple[str, str, int]]:
    """Return (id, name, position) of the streams of a dataset, or of all."""
    query = sa.select(stream.c.id, stream.c.name, stream.c.position).order_by(stream.c.id)
    if dataset_id is not None:
        query = query.where(stream.c.dataset_id == dataset_id)
    return [(row.id, row.name, row.position) for row in tx.execute(query)]
