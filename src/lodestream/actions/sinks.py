"""Sinks: define them, try them, move them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

import msgspec
from msgspec import UNSET

from lodestream.domain import sinks as rules
from lodestream.domain.audit import DatasetRef, ProjectRef, Refs
from lodestream.domain.deliveries import Done, Gone, Outcome, Refused
from lodestream.domain.errors import Conflict, InvalidInput, Unprocessable
from lodestream.domain.ids import new_id
from lodestream.domain.outbound import require_allowed
from lodestream.domain.places import MAX_POSITION, position_before
from lodestream.domain.secrets import Keyring
from lodestream.domain.sinks import (
    MOST_SINKS,
    Configuration,
    File,
    Sink,
    Sql,
    SqliteTarget,
    Webhook,
    hosts_of,
    kind_of,
    sql_target,
    target_of,
)
from lodestream.domain.streams import Stream
from lodestream.domain.times import now_us
from lodestream.sinks.folders import below
from lodestream.sinks.open import Place, open_sink
from lodestream.sinks.results import OpenSink
from lodestream.sinks.webhook import new_secret
from lodestream.store import audit, order, sinks, streams
from lodestream.store.catalogue import DatasetName, StreamPlan
from lodestream.store.db import Database, Writer

Start = Literal["stream", "beginning", "now"]
"""Where a sink begins: at the stream's position, at the first comment, behind the last one."""

_BEGIN: Final[Mapping[str, Any]] = {"head": None, "failures": 0, "waits": 0, "error": None}


@dataclass(frozen=True)
class Reach:
    """How far sinks reach: keys for their secrets, hosts, and the folder for files (None: none)."""

    keyring: Keyring
    hosts: tuple[str, ...] = ()
    folder: Path | None = None


def create_sink(
    db: Database,
    reach: Reach,
    *,
    actor_id: str,
    dataset: DatasetName,
    stream_name: str,
    name: str,
    configuration: Configuration,
    start: Start,
    values: Mapping[str, Any],
) -> tuple[Sink, str | None]:
    """Create a sink; return it, and the signing secret if one was made up.

    `values` maps names of `Sink` fields to what the caller gave. Raises NotFound for an unknown
    stream, Conflict if the name is taken or there are too many, Unprocessable for a configuration
    that cannot work here.
    """
    made = None
    if isinstance(configuration, Webhook) and configuration.secret is UNSET:
        made = new_secret()
        configuration = msgspec.structs.replace(configuration, secret=made)
    _require_reachable(reach, configuration)
    sink_id, now = new_id(), now_us()
    shown, secrets = rules.without_secrets(configuration)
    sealed = reach.keyring.seal(sink_id, secrets) if secrets else None
    with db.write() as tx:
        stream = streams.get(tx, dataset.id, stream_name)
        there = sinks.list_of_stream(tx, stream.id)
        if any(one.name == name for one in there):
            raise Conflict(f"a sink named {name} exists on the stream {stream_name}")
        if len(there) >= MOST_SINKS:
            raise Conflict(f"a stream has at most {MOST_SINKS} sinks")
        sink = Sink(
            id=sink_id,
            stream_id=stream.id,
            name=name,
            configuration=shown,
            sealed=sealed,
            enabled=values.get("enabled", True),
            disabled_reason=None if values.get("enabled", True) else "user",
            max_failures=values.get("max_failures", rules.MAX_FAILURES),
            include_sensitive=values.get("include_sensitive", False),
            created_us=now,
            updated_us=now,
            position=_start(tx, stream, start),
            size=rules.most_at_once(configuration),
            due_us=now,
        )
        sinks.insert(tx, sink)
        _record(tx, actor_id, "create_sink", dataset, stream, sink)
    return sink, made


def update_sink(
    db: Database,
    reach: Reach,
    *,
    actor_id: str,
    dataset: DatasetName,
    stream_name: str,
    name: str,
    configuration: Configuration | None,
    values: Mapping[str, Any],
) -> Sink:
    """Set the given fields of a sink; its cursor stays, and it is tried anew at once.

    Secrets that are left out stay, unless the configuration names another target. Raises NotFound,
    Unprocessable as `create_sink`, and InvalidInput for a configuration of another kind.
    """
    with db.write() as tx:
        stream = streams.get(tx, dataset.id, stream_name)
        sink = sinks.get(tx, stream.id, name)
        changes: dict[str, Any] = {**values, **_BEGIN, "due_us": now_us()}
        if "enabled" in values:
            changes["disabled_reason"] = None if values["enabled"] else "user"
        if configuration is not None:
            changes.update(_configured(reach, sink, configuration))
        changes["updated_us"] = max(now_us(), sink.updated_us + 1)
        sinks.update(tx, sink.id, changes)
        _record(tx, actor_id, "update_sink", dataset, stream, sink)
        return sinks.get(tx, stream.id, name)


def delete_sink(
    db: Database, *, actor_id: str, dataset: DatasetName, stream_name: str, name: str
) -> None:
    """Delete a sink with its cursor and attempts. Raises NotFound."""
    with db.write() as tx:
        stream = streams.get(tx, dataset.id, stream_name)
        sink = sinks.get(tx, stream.id, name)
        sinks.delete(tx, sink.id)
        _record(tx, actor_id, "delete_sink", dataset, stream, sink)


def reset_sink(
    db: Database,
    *,
    actor_id: str,
    dataset: DatasetName,
    stream_name: str,
    name: str,
    to: Start | int,
) -> Sink:
    """Move a sink's cursor: to a start, or so that what was stored from an instant on comes.

    The instant is in microseconds. The stream itself does not move. Raises NotFound.
    """
    with db.write() as tx:
        stream = streams.get(tx, dataset.id, stream_name)
        sink = sinks.get(tx, stream.id, name)
        if isinstance(to, int):
            position = min(position_before(max(to, 0)), MAX_POSITION)
        else:
            position = _start(tx, stream, to)
        changes = {
            **_BEGIN,
            "position": position,
            "due_us": now_us(),
            "size": rules.most_at_once(sink.configuration),
            "updated_us": max(now_us(), sink.updated_us + 1),
        }
        sinks.update(tx, sink.id, changes)
        _record(tx, actor_id, "reset_sink", dataset, stream, sink)
        return sinks.get(tx, stream.id, name)


def try_sink(reach: Reach, plan: StreamPlan, sink: Sink) -> Outcome:
    """Reach for the target of a sink without delivering a comment. Raises Unprocessable."""
    opened = opened_sink(reach, plan, sink)
    try:
        return opened.check()
    except Gone as error:
        return Refused(error.reason)
    finally:
        opened.close()


def record_test(
    db: Database, *, actor_id: str, dataset: DatasetName, stream: Stream, sink: Sink, said: Outcome
) -> None:
    """Note in the audit log that a sink was tried."""
    with db.write(catalogue=False) as tx:
        event = "test_sink" if isinstance(said, Done) else "test_sink_failed"
        _record(tx, actor_id, event, dataset, stream, sink)


def opened_sink(reach: Reach, plan: StreamPlan, sink: Sink) -> OpenSink:
    """Return a sink that delivers.

    Raises Unprocessable if its secrets cannot be opened, its host is not allowed any more, or a
    folder or library is missing.
    """
    secrets = reach.keyring.unseal(sink.id, sink.sealed)
    configuration = rules.with_secrets(sink.configuration, secrets)
    _require_reachable(reach, configuration)
    labels = () if plan.attached is None else plan.attached.model.labels
    where = plan.dataset
    stream = f"{where.owner}/{where.name}/{plan.stream.name}"
    place = Place(sink.id, sink.name, stream, tuple(labels))
    return open_sink(configuration, place, root=reach.folder)


def _configured(reach: Reach, sink: Sink, configuration: Configuration) -> dict[str, Any]:
    if kind_of(configuration) != kind_of(sink.configuration):
        raise InvalidInput(f"a sink of kind {kind_of(sink.configuration)} stays one")
    shown, secrets = rules.without_secrets(configuration)
    if target_of(configuration) == target_of(sink.configuration):
        kept = reach.keyring.unseal(sink.id, sink.sealed) if sink.sealed else {}
        # Whoever signs in by a key does so no longer by a password, and the other way round.
        if "api_key" in secrets or "password" in secrets:
            kept = {k: v for k, v in kept.items() if k not in ("api_key", "password")}
        secrets = kept | secrets
    elif sink.sealed is not None and not secrets:
        raise Unprocessable("give the secrets anew: they were given for another target")
    configuration = rules.with_secrets(shown, secrets)
    if isinstance(configuration, Webhook) and configuration.secret is UNSET:
        raise Unprocessable("secret: give one for the new target")
    _require_reachable(reach, configuration)
    return {
        "configuration": shown,
        "sealed": reach.keyring.seal(sink.id, secrets) if secrets else None,
        "size": rules.most_at_once(shown),
    }


def _require_reachable(reach: Reach, configuration: Configuration) -> None:
    rules.check(configuration)
    for host in hosts_of(configuration):
        require_allowed(host, reach.hosts)
    match configuration:
        case File(folder=folder):
            below(reach.folder, folder)
        case Sql(url=url):
            target = sql_target(url)
            if isinstance(target, SqliteTarget):
                below(reach.folder, target.path)
        case _:
            pass


def _start(tx: Writer, stream: Stream, start: Start) -> int:
    match start:
        case "stream":
            return stream.position
        case "beginning":
            return 0
        case "now":
            # Under the order, so that "now" has one meaning for every writer.
            last = max(order.take_order(tx), position_before(now_us()))
            order.hand_out(tx, last=last, count=0, now_us=0)
            return last


def _record(
    tx: Writer, actor_id: str, event_type: str, dataset: DatasetName, stream: Stream, sink: Sink
) -> None:
    refs = Refs(
        projects=(ProjectRef(dataset.project_id, dataset.owner),),
        datasets=(DatasetRef(dataset.id, dataset.name, dataset.title, dataset.project_id),),
        streams=(stream.ref,),
        details={"sink": sink.name, "kind": kind_of(sink.configuration)},
    )
    audit.record(tx, actor_id=actor_id, event_type=event_type, refs=refs)
