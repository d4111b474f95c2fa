"""Annotations: the revisions that order their changes, the locks, and what training reads.

Every change of a dataset's annotations or definitions takes the next revision while it holds the
dataset's row of `learning`, so such changes take turns; nothing else waits for that row. What is
locked is locked in this order: the dataset, the comments by position, the row of `learning`. Who
also takes the catalogue's or the order of positions takes that first.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

import sqlalchemy as sa

from lodestream.domain.errors import NotFound
from lodestream.domain.labels import DEFAULT_GROUP
from lodestream.store.db import Reader, Writer
from lodestream.store.dialect import insert_ignoring
from lodestream.store.tables import (
    annotated_comment,
    comment,
    comment_text,
    dataset,
    dataset_source,
    label_def,
    label_mark,
    learning,
)

CHUNK: Final = 1024


def chunks(positions: Sequence[int]) -> Iterator[Sequence[int]]:
    """Return the positions in lists short enough for one statement."""
    for start in range(0, len(positions), CHUNK):
        yield positions[start : start + CHUNK]


def lock_dataset(tx: Writer, dataset_id: str) -> bool:
    """Keep a dataset from being deleted until the transaction ends; return if it has sentiment.

    Raises NotFound if it is gone.
    """
    query = sa.select(dataset.c.has_sentiment).where(dataset.c.id == dataset_id)
    found: bool | None = tx.execute(
        query.with_for_update(read=True, key_share=True)
    ).scalar_one_or_none()
    if found is None:
        raise NotFound("No such dataset")
    return found


def lock_comments(tx: Writer, source: int, positions: Iterable[int]) -> frozenset[int]:
    """Keep comments from being deleted until the transaction ends; return which are there."""
    found: set[int] = set()
    for chunk in chunks(sorted(positions)):
        query = (
            sa.select(comment.c.pos)
            .where(comment.c.source == source, comment.c.pos.in_(chunk))
            .order_by(comment.c.pos)
            .with_for_update(read=True, key_share=True)
        )
        found.update(tx.execute(query).scalars())
    return frozenset(found)


def lock_text(tx: Writer, pos: int) -> bytes | None:
    """Keep a comment's text as it is until the transaction ends; return its front."""
    query = sa.select(comment_text.c.body).where(comment_text.c.pos == pos)
    found: bytes | None = tx.execute(query.with_for_update(read=True)).scalar_one_or_none()
    return found


def hold(tx: Writer, dataset_id: str, *, now_us: int) -> int:
    """Make other changes of a dataset's annotations wait until the transaction ends.

    Return the last revision.
    """
    query = sa.select(learning.c.revision).where(learning.c.dataset_id == dataset_id)
    query = query.with_for_update()
    revision: int | None = tx.execute(query).scalar_one_or_none()
    if revision is not None:
        return revision
    fresh = insert_ignoring(learning, tx.dialect_name).values(
        dataset_id=dataset_id,
        revision=0,
        changed_us=now_us,
        stale_us=now_us,
        trained_revision=0,
        version=0,
        failures=0,
        retry_us=0,
    )
    tx.execute(fresh)
    held: int = tx.execute(query).scalar_one()
    return held


def take_revision(tx: Writer, dataset_id: str, now_us: int, *, count: int = 1) -> int:
    """Take the next `count` revisions of a dataset; return the last of them.

    Whoever takes one makes the dataset stale, and holds its annotations until the transaction ends.
    """
    last = next_revision(tx, dataset_id, now_us, count=count)
    if last is None:
        hold(tx, dataset_id, now_us=now_us)
        last = next_revision(tx, dataset_id, now_us, count=count)
    assert last is not None
    return last


def next_revision(tx: Writer, dataset_id: str, now_us: int, *, count: int = 1) -> int | None:
    """Take revisions like `take_revision`, but only if the dataset had one before; else None."""
    was_fresh = learning.c.trained_revision == learning.c.revision
    step = (
        sa.update(learning)
        .where(learning.c.dataset_id == dataset_id)
        .values(
            revision=learning.c.revision + count,
            changed_us=now_us,
            stale_us=sa.case(
                (was_fresh, sa.literal(now_us, sa.BigInteger)), else_=learning.c.stale_us
            ),
        )
        .returning(learning.c.revision)
    )
    last: int | None = tx.execute(step).scalar_one_or_none()
    return last


def count_reviewed(tx: Reader, dataset_id: str) -> int:
    """Return how many comments have an annotation in a dataset."""
    here = annotated_comment.c.dataset_id == dataset_id
    query = sa.select(sa.func.count()).where(here, annotated_comment.c.reviewed)
    count: int = tx.execute(query.select_from(annotated_comment)).scalar_one()
    return count


def page_reviewed(tx: Reader, dataset_id: str, source: int, *, after: int, limit: int) -> list[int]:
    """Return up to `limit` positions of reviewed comments of a source behind a place, in order."""
    query = (
        sa.select(annotated_comment.c.pos)
        .where(
            annotated_comment.c.dataset_id == dataset_id,
            annotated_comment.c.source == source,
            annotated_comment.c.pos > after,
            annotated_comment.c.reviewed,
        )
        .order_by(annotated_comment.c.pos)
        .limit(limit)
    )
    return list(tx.execute(query).scalars())


def find_keys(tx: Reader, dataset_id: str, names: Iterable[str]) -> dict[str, int]:
    """Return the keys of those labels that the dataset has; annotations know one group only."""
    wanted = sorted(set(names))
    found: dict[str, int] = {}
    for start in range(0, len(wanted), CHUNK):
        query = sa.select(label_def.c.name, label_def.c.key).where(
            label_def.c.dataset_id == dataset_id,
            label_def.c.group_name == DEFAULT_GROUP,
            label_def.c.name.in_(wanted[start : start + CHUNK]),
        )
        found |= {row.name: row.key for row in tx.execute(query)}
    return found


@dataclass(frozen=True, slots=True)
class Reviewed:
    """What training needs of a reviewed comment; a mark is (label key, dismissed, negative)."""

    pos: int
    source: int
    marks: tuple[tuple[int, bool, bool], ...]
    uninformative_explicit: bool
    origin: str | None
    labelled_us: int | None


def training_state(tx: Reader, dataset_id: str) -> tuple[int, int]:
    """Return the dataset's revision and when it was taken; (0, 0) if nothing was ever said."""
    columns = (learning.c.revision, learning.c.changed_us)
    row = tx.execute(sa.select(*columns).where(learning.c.dataset_id == dataset_id)).first()
    return (0, 0) if row is None else (row.revision, row.changed_us)


def reviewed_for_training(tx: Reader, dataset_id: str) -> list[Reviewed]:
    """Return the reviewed comments of the dataset's present sources, in order of position.

    Marks are those that people made: what follows from the hierarchy is not among them.
    """
    marks: dict[int, list[tuple[int, bool, bool]]] = {}
    columns = (
        label_mark.c.pos,
        label_mark.c.label,
        label_mark.c.dismissed,
        label_mark.c.negative,
    )
    # No order is asked for: to sort in the database costs more than the dictionary.
    query: sa.Select[Any] = sa.select(*columns).where(label_mark.c.dataset_id == dataset_id)
    for row in tx.execute(query):
        marks.setdefault(row.pos, []).append((row.label, row.dismissed, row.negative))
    rows = tx.execute(
        sa.select(
            annotated_comment.c.pos,
            annotated_comment.c.source,
            annotated_comment.c.uninformative,
            annotated_comment.c.origin,
            annotated_comment.c.labelled_us,
        )
        .join(
            dataset_source,
            (dataset_source.c.dataset_id == annotated_comment.c.dataset_id)
            & (dataset_source.c.source == annotated_comment.c.source),
        )
        .where(annotated_comment.c.dataset_id == dataset_id, annotated_comment.c.reviewed)
    )
    found = [
        Reviewed(
            row.pos,
            row.source,
            tuple(sorted(marks.get(row.pos, ()))),
            # The mode stands in the JSON as it was written here.
            row.uninformative is not None and '"mode":"explicit"' in row.uninformative,
            row.origin,
            row.labelled_us,
        )
        for row in rows
    ]
    found.sort(key=lambda one: one.pos)
    return found


def label_keys(tx: Reader, dataset_id: str) -> list[tuple[int, str, int, str]]:
    """Return (key, name, creation time, JSON of the definition) of the labels, in their order."""
    columns = (label_def.c.key, label_def.c.name, label_def.c.created_us, label_def.c.body)
    query = (
        sa.select(*columns)
        .where(label_def.c.dataset_id == dataset_id, label_def.c.group_name == DEFAULT_GROUP)
        .order_by(label_def.c.rank, label_def.c.name)
    )
    return [tuple(row) for row in tx.execute(query)]
