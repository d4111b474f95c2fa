"""Streams: definitions, positions, exception tags and what consumers did last."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
import sqlalchemy as sa
from sqlalchemy import bindparam

from lodestream.domain.errors import NotFound
from lodestream.domain.streams import Activity, Stream, StreamModel
from lodestream.store import sinks
from lodestream.store.db import Reader, Writer
from lodestream.store.dialect import Prepared, upsert
from lodestream.store.order import LAST_POSITION
from lodestream.store.tables import counter, stream, stream_activity, stream_exception

EPOCH = sa.select(counter.c.value).where(counter.c.name == "catalogue").scalar_subquery()


def find(tx: Reader, dataset_id: str, name: str) -> Stream | None:
    """Return the stream of a dataset with this name, or None."""
    query = sa.select(stream).where(stream.c.dataset_id == dataset_id, stream.c.name == name)
    row = tx.execute(query).first()
    return None if row is None else _stream(row)


def get(tx: Reader, dataset_id: str, name: str) -> Stream:
    """Return the stream of a dataset with this name. Raises NotFound."""
    found = find(tx, dataset_id, name)
    if found is None:
        raise NotFound(f"No such stream: {name}")
    return found


def list_streams(tx: Reader, dataset_ids: Sequence[str]) -> list[Stream]:
    """Return the streams of these datasets, by name."""
    query = sa.select(stream).where(stream.c.dataset_id.in_(dataset_ids))
    return [_stream(row) for row in tx.execute(query.order_by(stream.c.name, stream.c.id))]


def count(tx: Reader, dataset_id: str | None = None) -> int:
    """Return how many streams there are, in all or in one dataset."""
    query = sa.select(sa.func.count()).select_from(stream)
    if dataset_id is not None:
        query = query.where(stream.c.dataset_id == dataset_id)
    number: int = tx.execute(query).scalar_one()
    return number


def insert(tx: Writer, values: Stream) -> None:
    """Store a new stream."""
    tx.execute(sa.insert(stream).values(**_row(msgspec.structs.asdict(values))))


def update(tx: Writer, stream_id: str, changes: Mapping[str, Any]) -> None:
    """Set columns of a stream; `changes` maps the names of `Stream` fields to values."""
    tx.execute(sa.update(stream).where(stream.c.id == stream_id).values(**_row(changes)))


def delete(tx: Writer, stream_id: str) -> None:
    """Delete a stream with its exception tags and sinks."""
    sinks.delete_of_stream(tx, stream_id)
    tx.execute(sa.delete(stream_exception).where(stream_exception.c.stream_id == stream_id))
    tx.execute(sa.delete(stream_activity).where(stream_activity.c.stream_id == stream_id))
    tx.execute(sa.delete(stream).where(stream.c.id == stream_id))


def _ahead(stream_id: Any, to: Any) -> sa.Update:
    # The comparison is part of the update, so of two consumers the further one wins.
    return sa.update(stream).where(stream.c.id == stream_id, stream.c.position < to)


def advance(tx: Writer, stream_id: str, *, to: int, now_us: int, by: str) -> bool:
    """Move the position forward to `to`; return False if it is already there or past it."""
    moved = _ahead(stream_id, to).values(position=to, advanced_us=now_us, advanced_by=by)
    return tx.execute(moved).rowcount == 1


def advance_statement(dialect_name: str) -> Prepared:
    """Return `advance` as one statement, which does nothing when it would have to be looked at.

    That is when the catalogue is not at `epoch`, or `to` lies behind the last position handed out.
    Parameters: id, to, now_us, by, epoch.
    """
    moved = (
        _ahead(bindparam("id"), bindparam("to", type_=sa.BigInteger))
        .where(bindparam("to", type_=sa.BigInteger) <= LAST_POSITION.scalar_subquery())
        .where(bindparam("epoch", type_=sa.BigInteger) == EPOCH)
        .values(
            position=bindparam("to", type_=sa.BigInteger),
            advanced_us=bindparam("now_us", type_=sa.BigInteger),
            advanced_by=bindparam("by"),
        )
    )
    return Prepared(moved, dialect_name)


def position_statement(dialect_name: str) -> Prepared:
    """Return the query of (catalogue epoch, position) of the stream `id`."""
    query = sa.select(EPOCH, stream.c.position).where(stream.c.id == bindparam("id"))
    return Prepared(query, dialect_name)


def set_position(tx: Writer, stream_id: str, *, to: int) -> None:
    """Move the position to `to`, wherever it was."""
    tx.execute(sa.update(stream).where(stream.c.id == stream_id).values(position=to))


def tag(tx: Writer, stream_id: str, *, pos: int, kind: str, now_us: int, by: str) -> None:
    """Tag a comment as an exception of a stream; a tag that is there is replaced."""
    tx.execute(
        upsert(
            stream_exception,
            tx.dialect_name,
            values={
                "stream_id": stream_id,
                "pos": pos,
                "type": kind,
                "tagged_us": now_us,
                "tagged_by": by,
            },
            update=("type", "tagged_us", "tagged_by"),
        )
    )


def untag(tx: Writer, stream_id: str, positions: Sequence[int]) -> int:
    """Remove tags; return how many there were."""
    here = stream_exception.c.stream_id == stream_id
    return tx.execute(
        sa.delete(stream_exception).where(here, stream_exception.c.pos.in_(positions))
    ).rowcount


def exceptions_at(
    tx: Reader, dataset_id: str, positions: Sequence[int]
) -> dict[int, list[tuple[str, str]]]:
    """Return, by position, (stream id, reason) of the comments tagged in a dataset's streams."""
    query = (
        sa.select(stream_exception.c.pos, stream_exception.c.stream_id, stream_exception.c.type)
        .join(stream, stream.c.id == stream_exception.c.stream_id)
        .where(stream.c.dataset_id == dataset_id, stream_exception.c.pos.in_(list(positions)))
        .order_by(stream.c.name)
    )
    found: dict[int, list[tuple[str, str]]] = {}
    for row in tx.execute(query):
        found.setdefault(row.pos, []).append((row.stream_id, row.type))
    return found


def note_fetches(tx: Writer, stream_id: str, seen: Activity) -> None:
    """Add what was seen of a stream's fetches since the last note."""
    # A fetch after an advance is the first of a new row of fetches, whatever it begins with.
    advanced = sa.exists().where(
        stream.c.id == stream_activity.c.stream_id,
        stream.c.advanced_us > stream_activity.c.fetched_us,
    )
    same = sa.and_(stream_activity.c.head == seen.head, ~advanced)
    row = tx.execute(
        sa.update(stream_activity)
        .where(stream_activity.c.stream_id == stream_id)
        .values(
            fetched_us=seen.fetched_us,
            fetched_by=seen.fetched_by,
            head=seen.head,
            head_fetches=sa.case(
                (same, stream_activity.c.head_fetches + seen.head_fetches),
                else_=seen.head_fetches,
            ),
        )
    )
    if row.rowcount == 0:
        tx.execute(
            sa.insert(stream_activity).from_select(
                ["stream_id", "fetched_us", "fetched_by", "head", "head_fetches"],
                sa.select(
                    stream.c.id,
                    sa.literal(seen.fetched_us),
                    sa.literal(seen.fetched_by),
                    sa.literal(seen.head, sa.BigInteger),
                    sa.literal(seen.head_fetches),
                ).where(stream.c.id == stream_id),
            )
        )


def find_activity(tx: Reader, stream_id: str) -> Activity | None:
    """Return what consumers of a stream did last, or None if nobody ever fetched."""
    query = sa.select(stream_activity).where(stream_activity.c.stream_id == stream_id)
    row = tx.execute(query).first()
    if row is None:
        return None
    return Activity(row.fetched_us, row.fetched_by, row.head, row.head_fetches)


def _row(values: Mapping[str, Any]) -> dict[str, Any]:
    row = dict(values)
    if "comment_filter" in row:
        row["comment_filter"] = row["comment_filter"].decode()
    if row.get("model") is not None:
        row["model"] = msgspec.json.encode(row["model"]).decode()
    return row


def _stream(row: Any) -> Stream:
    return Stream(
        id=row.id,
        dataset_id=row.dataset_id,
        name=row.name,
        title=row.title,
        description=row.description,
        comment_filter=row.comment_filter.encode(),
        model=None if row.model is None else msgspec.json.decode(row.model, type=StreamModel),
        created_us=row.created_us,
        updated_us=row.updated_us,
        position=row.position,
        advanced_us=row.advanced_us,
        advanced_by=row.advanced_by,
    )
