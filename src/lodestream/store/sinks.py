"""Sinks: what they are, who delivers at the moment, and how far they came."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import msgspec
import sqlalchemy as sa

from lodestream.domain.errors import NotFound
from lodestream.domain.sinks import Attempt, Configuration, Sink
from lodestream.domain.times import now_us
from lodestream.store.db import Reader, Writer
from lodestream.store.tables import dataset, project, sink, sink_attempt, stream

ATTEMPTS_KEPT: Final = 200
"""Attempts that are kept of each sink."""

_COLUMNS: Final = tuple(sink.c[name] for name in Sink.__struct_fields__)
_decode = msgspec.json.Decoder(Configuration).decode


@dataclass(frozen=True, slots=True)
class Placed:
    """A sink, and where its stream is found."""

    sink: Sink
    project: str
    dataset: str
    stream: str


def find(tx: Reader, stream_id: str, name: str) -> Sink | None:
    """Return the sink of a stream with this name, or None."""
    query = sa.select(*_COLUMNS).where(sink.c.stream_id == stream_id, sink.c.name == name)
    row = tx.execute(query).first()
    return None if row is None else _sink(row)


def get(tx: Reader, stream_id: str, name: str) -> Sink:
    """Return the sink of a stream with this name. Raises NotFound."""
    found = find(tx, stream_id, name)
    if found is None:
        raise NotFound(f"No such sink: {name}")
    return found


def find_by_id(tx: Reader, sink_id: str) -> Sink | None:
    """Return the sink with this id, or None."""
    row = tx.execute(sa.select(*_COLUMNS).where(sink.c.id == sink_id)).first()
    return None if row is None else _sink(row)


def list_of_stream(tx: Reader, stream_id: str) -> list[Sink]:
    """Return the sinks of a stream, by name."""
    query = sa.select(*_COLUMNS).where(sink.c.stream_id == stream_id).order_by(sink.c.name)
    return [_sink(row) for row in tx.execute(query)]


def list_placed(tx: Reader, *, limit: int) -> list[Placed]:
    """Return up to `limit` sinks of the whole instance, by project, dataset, stream and name."""
    query = _placed().order_by(project.c.name, dataset.c.name, stream.c.name, sink.c.name)
    return [_place(row) for row in tx.execute(query.limit(limit))]


def list_due(tx: Reader) -> list[Placed]:
    """Return the enabled sinks that are due and that nobody delivers, due longest first."""
    now = now_us()
    query = _placed().where(sink.c.enabled, sink.c.due_us <= now, _is_free(now))
    return [_place(row) for row in tx.execute(query.order_by(sink.c.due_us, sink.c.id))]


def insert(tx: Writer, values: Sink) -> None:
    """Store a new sink."""
    row = {name: getattr(values, name) for name in Sink.__struct_fields__}
    tx.execute(sa.insert(sink).values(**_row(row)))


def update(tx: Writer, sink_id: str, changes: Mapping[str, Any]) -> None:
    """Set columns of a sink; `changes` maps the names of `Sink` fields to values."""
    tx.execute(sa.update(sink).where(sink.c.id == sink_id).values(**_row(changes)))


def delete(tx: Writer, sink_id: str) -> None:
    """Delete a sink with its attempts."""
    tx.execute(sa.delete(sink_attempt).where(sink_attempt.c.sink_id == sink_id))
    tx.execute(sa.delete(sink).where(sink.c.id == sink_id))


def delete_of_stream(tx: Writer, stream_id: str) -> None:
    """Delete every sink of a stream."""
    ids = sa.select(sink.c.id).where(sink.c.stream_id == stream_id)
    tx.execute(sa.delete(sink_attempt).where(sink_attempt.c.sink_id.in_(ids)))
    tx.execute(sa.delete(sink).where(sink.c.stream_id == stream_id))


def claim(tx: Writer, sink_id: str, *, worker: str, lease_s: float) -> Sink | None:
    """Claim a due sink for `lease_s` seconds; None if another was faster, or it is not due."""
    now = now_us()
    row = tx.execute(
        sa.update(sink)
        .where(sink.c.id == sink_id, sink.c.enabled, sink.c.due_us <= now, _is_free(now))
        .values(claimed_by=worker, claimed_until_us=now + int(lease_s * 1e6))
        .returning(*_COLUMNS)
    ).first()
    return None if row is None else _sink(row)


def extend(tx: Writer, sink_ids: Sequence[str], *, worker: str, lease_s: float) -> None:
    """Keep claimed sinks for `lease_s` seconds from now."""
    mine = sink.c.id.in_(list(sink_ids)) & (sink.c.claimed_by == worker)
    until = now_us() + int(lease_s * 1e6)
    tx.execute(sa.update(sink).where(mine).values(claimed_until_us=until))


def release(tx: Writer, sink_id: str, *, worker: str) -> None:
    """Give a claimed sink back."""
    mine = (sink.c.id == sink_id) & (sink.c.claimed_by == worker)
    tx.execute(sa.update(sink).where(mine).values(claimed_by=None, claimed_until_us=None))


def move(
    tx: Writer,
    before: Sink,
    *,
    worker: str,
    changes: Mapping[str, Any],
    attempts: Sequence[Attempt],
) -> Sink | None:
    """Set what an attempt changed, and note it; None if the sink is no longer as it was.

    That is when another process claimed it, somebody reset or changed it, or it is gone: then
    nothing is changed.
    """
    as_it_was = (
        (sink.c.id == before.id)
        & (sink.c.claimed_by == worker)
        & (sink.c.position == before.position)
        & (sink.c.updated_us == before.updated_us)
    )
    row = tx.execute(
        sa.update(sink).where(as_it_was).values(**_row(changes)).returning(*_COLUMNS)
    ).first()
    if row is None:
        return None
    if attempts:
        rows = [{"sink_id": before.id, **msgspec.structs.asdict(one)} for one in attempts]
        tx.execute(sa.insert(sink_attempt), rows)
        old = sink_attempt.c.number <= attempts[-1].number - ATTEMPTS_KEPT
        tx.execute(sa.delete(sink_attempt).where(sink_attempt.c.sink_id == before.id, old))
    return _sink(row)


def list_attempts(tx: Reader, sink_id: str, *, limit: int) -> list[Attempt]:
    """Return the last attempts of a sink, the newest first."""
    columns = [sink_attempt.c[name] for name in Attempt.__struct_fields__]
    query = sa.select(*columns).where(sink_attempt.c.sink_id == sink_id)
    rows = tx.execute(query.order_by(sink_attempt.c.number.desc()).limit(limit))
    return [Attempt(**row) for row in rows.mappings()]


def _is_free(now: int) -> sa.ColumnElement[bool]:
    return sa.or_(sink.c.claimed_until_us.is_(None), sink.c.claimed_until_us < now)


def _placed() -> sa.Select[Any]:
    names = (project.c.name, dataset.c.name, stream.c.name)
    return (
        sa.select(*_COLUMNS, *(one.label(f"place_{n}") for n, one in enumerate(names)))
        .join(stream, stream.c.id == sink.c.stream_id)
        .join(dataset, dataset.c.id == stream.c.dataset_id)
        .join(project, project.c.id == dataset.c.project_id)
    )


def _place(row: Any) -> Placed:
    return Placed(_sink(row), row.place_0, row.place_1, row.place_2)


def _row(values: Mapping[str, Any]) -> dict[str, Any]:
    row = dict(values)
    if "configuration" in row:
        row["configuration"] = msgspec.json.encode(row["configuration"]).decode()
    return row


def _sink(row: Any) -> Sink:
    values = {name: getattr(row, name) for name in Sink.__struct_fields__}
    values["configuration"] = _decode(row.configuration)
    return Sink(**values)
