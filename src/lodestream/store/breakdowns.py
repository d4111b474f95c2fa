"""By what counts are broken down: values of properties, participants and threads by comment."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Literal

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import JSONB

from lodestream.store.db import Reader
from lodestream.store.query import rows_of, stream_rows
from lodestream.store.statistics import Selection, property_pairs
from lodestream.store.tables import comment, field_mark, stream_exception

ThreadProperty = Literal["duration", "num_messages", "num_participants", "response_time"]

_US: Any = sa.literal(1e6, sa.Double)


def property_rows(
    tx: Reader, selection: Selection, full_name: str
) -> Iterator[list[tuple[int, str]]]:
    """Return (position, value as it stands among the facets) of a user property, in parts."""
    pairs = property_pairs(tx, selection, [full_name])
    yield from stream_rows(tx, sa.select(pairs.c.pos, pairs.c.value))


def participant_rows(tx: Reader, selection: Selection) -> Iterator[list[tuple[int, str]]]:
    """Return (position, participants as the facets hold them) of comments that have any."""
    text = _participants(tx)
    yield from rows_of(tx, selection, comment.c.pos, text, where=[text.is_not(None)])


def _participants(tx: Reader) -> sa.ColumnElement[str]:
    if tx.dialect_name == "postgresql":
        text: sa.ColumnElement[str] = sa.type_coerce(comment.c.facets, JSONB)["p"].astext
        return text
    return sa.func.json_extract(comment.c.facets, "$.p", type_=sa.Text)


def thread_rows(
    tx: Reader, selection: Selection, name: ThreadProperty
) -> Iterator[list[tuple[int, float]]]:
    """Return (position, value) of a property of the threads that comments are in; times in seconds.

    Threads are those of the whole sources, whatever passes the filters. The first comment of a
    thread has no response time. Participants are not counted here.
    """
    thread = (comment.c.source, comment.c.thread_id)
    in_order = (comment.c.timestamp_us, comment.c.pos)
    time = comment.c.timestamp_us
    value: sa.ColumnElement[Any]
    if name == "num_messages":
        value = sa.func.count().over(partition_by=thread)
    elif name == "duration":
        last, first = (f(time).over(partition_by=thread) for f in (sa.func.max, sa.func.min))
        value = sa.cast(last - first, sa.Double) / _US
    else:
        before = sa.func.lag(time).over(partition_by=thread, order_by=in_order)
        value = sa.cast(time - before, sa.Double) / _US
    threads = (
        sa.select(comment.c.pos, value.label("value"))
        .where(comment.c.source.in_(selection.keys), comment.c.thread_id.is_not(None))
        .subquery("threads")
    )
    query = (
        sa.select(comment.c.pos, threads.c.value)
        .select_from(comment.join(threads, threads.c.pos == comment.c.pos))
        .where(*selection.where(), threads.c.value.is_not(None))
    )
    if selection.sources:
        yield from stream_rows(tx, query)


def thread_participants(
    tx: Reader, selection: Selection
) -> Iterator[list[tuple[int, int, str, str | None]]]:
    """Return (position, source, thread, participants) of every comment of the sources' threads."""
    everything = Selection(selection.sources, None)
    columns = (comment.c.pos, comment.c.source, comment.c.thread_id, _participants(tx))
    in_thread = comment.c.thread_id.is_not(None)
    yield from rows_of(tx, everything, *columns, where=[in_thread])


def count_fields(tx: Reader, dataset_id: str, sources: Iterable[int]) -> dict[str, int]:
    """Return in how many comments of the sources each field type is assigned, by its id."""
    query = (
        sa.select(
            field_mark.c.entity_def_id,
            sa.func.count(sa.distinct(field_mark.c.pos)).label("comments"),
        )
        .select_from(field_mark.join(comment, comment.c.pos == field_mark.c.pos))
        .where(
            field_mark.c.dataset_id == dataset_id,
            sa.not_(field_mark.c.dismissed),
            comment.c.source.in_(list(sources)),
        )
        .group_by(field_mark.c.entity_def_id)
    )
    return {row.entity_def_id: row.comments for row in tx.execute(query)}


def exception_types(tx: Reader, stream_ids: Sequence[str]) -> list[tuple[str, str]]:
    """Return (stream id, type) of the exceptions that streams have, each once, in order."""
    query = (
        sa.select(stream_exception.c.stream_id, stream_exception.c.type)
        .where(stream_exception.c.stream_id.in_(stream_ids))
        .distinct()
        .order_by(stream_exception.c.stream_id, stream_exception.c.type)
    )
    return [(row.stream_id, row.type) for row in tx.execute(query)]
