"""Reading the comments of a dataset: pages by time, scans, and what people assigned to them."""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

import msgspec
import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import ARRAY

from lodestream.domain.labels import DEFAULT_GROUP, SEPARATOR
from lodestream.store.db import Reader
from lodestream.store.dialect import Prepared
from lodestream.store.statistics import Selection
from lodestream.store.tables import (
    annotated_comment,
    changed_comment,
    comment,
    counter,
    label_def,
    label_mark,
    learning,
    model,
    prediction,
    prediction_progress,
    source_content,
    stream,
    stream_exception,
)

CHUNK: Final = 8192
_NUMBERS = itertools.count(1)  # cursors of one transaction need names of their own

Condition = sa.ColumnElement[bool]


def stream_rows(
    tx: Reader, query: sa.Select[Any], size: int = CHUNK
) -> Iterator[list[tuple[Any, ...]]]:
    """Return the rows of a query in parts of up to `size`, as the driver gives them.

    A million rows pass without SQLAlchemy's work on each, and never are all of them in memory.
    """
    prepared = Prepared(query, tx.dialect_name)
    if tx.dialect_name == "sqlite":
        cursor = tx.driver.execute(prepared.text, prepared.constants)
        while rows := cursor.fetchmany(size):
            yield rows
        return
    with tx.driver.cursor(f"lodestream_{next(_NUMBERS)}") as cursor:
        cursor.execute(prepared.text, prepared.constants, binary=True)
        while rows := cursor.fetchmany(size):
            yield rows


def rows_of(
    tx: Reader,
    selection: Selection,
    *columns: sa.ColumnElement[Any],
    where: Sequence[Condition] = (),
) -> Iterator[list[tuple[Any, ...]]]:
    """Return columns of `comment` for every comment of a selection, in no order, in parts."""
    if selection.sources:
        yield from stream_rows(tx, sa.select(*columns).where(*selection.where(), *where))


def scores_between(
    tx: Reader, owner: int, first: int, last: int
) -> Iterator[list[tuple[int, bytes]]]:
    """Return (position, packed scores) by a model from one position to another, in order."""
    query = (
        sa.select(prediction.c.pos, prediction.c.scores)
        .where(prediction.c.model == owner, prediction.c.pos.between(first, last))
        .order_by(prediction.c.pos)
    )
    yield from stream_rows(tx, query)


def newest(
    tx: Reader, selection: Selection, *, after: tuple[int, int] | None, limit: int
) -> list[tuple[int, int]]:
    """Return up to `limit` (timestamp, position) of a selection, both falling, after a place."""
    place = (comment.c.timestamp_us, comment.c.pos)
    runs: list[list[tuple[int, int]]] = []
    for key in selection.keys:
        query = sa.select(*place).where(comment.c.source == key)
        if selection.condition is not None:
            query = query.where(selection.condition)
        if after is not None:
            bound = sa.tuple_(sa.literal(after[0]), sa.literal(after[1]))
            # The plain bound is what an index answers; the pair decides among equals.
            query = query.where(comment.c.timestamp_us <= after[0], sa.tuple_(*place) < bound)
        order = (column.desc() for column in place)
        rows = tx.execute(query.order_by(*order).limit(limit)).all()
        runs.append([(row.timestamp_us, row.pos) for row in rows])
    return list(itertools.islice(heapq.merge(*runs, reverse=True), limit))


def newest_of_threads(selection: Selection) -> Selection:
    """Return of each thread the newest comment of a selection, and comments without a thread."""
    alone = sa.case((comment.c.thread_id.is_(None), comment.c.pos), else_=0)
    place = sa.func.row_number().over(
        partition_by=(comment.c.source, comment.c.thread_id, alone),
        order_by=(comment.c.timestamp_us.desc(), comment.c.pos.desc()),
    )
    ranked = sa.select(comment.c.pos, place.label("place")).where(*selection.where()).subquery()
    chosen = comment.c.pos.in_(sa.select(ranked.c.pos).where(ranked.c.place == 1))
    return Selection(selection.sources, chosen, selection.hidden)


def is_reviewed(dataset_id: str) -> Condition:
    """Return the condition on `comment` under which somebody annotated it in a dataset."""
    here = (annotated_comment.c.dataset_id == dataset_id) & annotated_comment.c.reviewed
    return comment.c.pos.in_(sa.select(annotated_comment.c.pos).where(here))


def is_unreviewed(dataset_id: str) -> Condition:
    """Return the condition on `comment` under which nobody annotated it in a dataset."""
    return sa.not_(is_reviewed(dataset_id))


def is_at(dialect_name: str, positions: Iterable[int]) -> Condition:
    """Return the condition on `comment` that it is at one of the positions: one bound value."""
    if dialect_name == "postgresql":
        return comment.c.pos == sa.any_(sa.literal(list(positions), ARRAY(sa.BigInteger)))
    array = sa.literal(msgspec.json.encode(list(positions)).decode())
    each = sa.func.json_each(array).table_valued("value", name="place")
    return comment.c.pos.in_(sa.select(each.c.value))


@dataclass(frozen=True, slots=True)
class Assigned:
    """The labels that people assigned to a comment: name to whether the sentiment is negative.

    Labels above an assigned one are there, too: negative only if all below them are.
    """

    pos: int
    labels: dict[str, bool]


def assigned_labels(tx: Reader, dataset_id: str, selection: Selection) -> Iterator[Assigned]:
    """Return the reviewed comments of a selection with their labels, by position."""
    if not selection.sources:
        return
    names = label_names(tx, dataset_id)
    marks = (
        (label_mark.c.dataset_id == dataset_id)
        & (label_mark.c.pos == comment.c.pos)
        & sa.not_(label_mark.c.dismissed)
    )
    own = (annotated_comment.c.dataset_id == dataset_id) & (
        annotated_comment.c.pos == comment.c.pos
    )
    query = (
        sa.select(comment.c.pos, label_mark.c.label, label_mark.c.negative)
        .select_from(comment.join(annotated_comment, own).outerjoin(label_mark, marks))
        .where(*selection.where(), annotated_comment.c.reviewed)
        .order_by(comment.c.pos)
    )
    last, labels = -1, dict[str, bool]()
    for part in stream_rows(tx, query):
        for pos, key, negative in part:
            if pos != last:
                if last >= 0:
                    yield Assigned(last, labels)
                last, labels = pos, {}
            if key in names:
                _note(labels, names[key], bool(negative))
    if last >= 0:
        yield Assigned(last, labels)


def _note(labels: dict[str, bool], name: str, negative: bool) -> None:
    parts = name.split(SEPARATOR)
    for depth in range(1, len(parts) + 1):
        level = SEPARATOR.join(parts[:depth])
        labels[level] = labels.get(level, True) and negative


def label_names(tx: Reader, dataset_id: str) -> dict[int, str]:
    """Return the names of a dataset's labels by key, in their order."""
    query = (
        sa.select(label_def.c.key, label_def.c.name)
        .where(label_def.c.dataset_id == dataset_id, label_def.c.group_name == DEFAULT_GROUP)
        .order_by(label_def.c.rank, label_def.c.name)
    )
    return {row.key: row.name for row in tx.execute(query)}


def content_stamp(tx: Reader, dataset_id: str, sources: Sequence[int]) -> Hashable:
    """Return what differs whenever a count over a dataset's comments may: equal, nothing changed.

    It covers comments, annotations, exceptions of streams, definitions and kept predictions.
    """
    content = sa.select(source_content).where(source_content.c.source.in_(sources))
    notes = sa.select(sa.func.count(), sa.func.max(changed_comment.c.stamp))
    reached = (
        sa.select(prediction_progress)
        .join(model, model.c.key == prediction_progress.c.model)
        .where(model.c.dataset_id == dataset_id)
    )
    tags = sa.select(sa.func.count(), sa.func.max(stream_exception.c.tagged_us)).select_from(
        stream_exception.join(stream, stream.c.id == stream_exception.c.stream_id)
    )
    parts = (
        sa.select(counter.c.value).where(counter.c.name == "catalogue"),
        sa.select(learning.c.revision).where(learning.c.dataset_id == dataset_id),
        sa.select(sa.func.max(model.c.key), sa.func.count(model.c.validation)).where(
            model.c.dataset_id == dataset_id, sa.not_(model.c.deleted)
        ),
        content,
        notes.select_from(changed_comment),
        tags.where(stream.c.dataset_id == dataset_id),
        reached,
    )
    return tuple(tuple(sorted(map(tuple, tx.execute(part)))) for part in parts)
