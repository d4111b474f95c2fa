"""Streams: define them, move them, tag what their consumers could not handle."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from lodestream.domain.audit import DatasetRef, ProjectRef, Refs
from lodestream.domain.comments import key_hash, source_tag
from lodestream.domain.errors import Conflict, InvalidInput, NotFound, Unprocessable
from lodestream.domain.ids import new_stream_id, split_uid
from lodestream.domain.places import MAX_POSITION, created_us, position_before
from lodestream.domain.predictions import thresholds_key
from lodestream.domain.streams import Stream, StreamModel
from lodestream.domain.times import now_us
from lodestream.store import audit, comments, datasets, models, order, quotas, sources, streams
from lodestream.store.catalogue import DatasetName
from lodestream.store.db import Database, Writer


def create_stream(
    db: Database, *, actor_id: str, dataset: DatasetName, name: str, values: dict[str, Any]
) -> Stream:
    """Create a stream that delivers what is stored from now on.

    `values` maps names of `Stream` fields to what the caller gave. Raises Conflict if the name is
    taken, Unprocessable if the model version is not pinned, QuotaExceeded.
    """
    with db.write() as tx:
        # Under the order, so that "from now on" has one meaning for every writer.
        last = order.take_order(tx)
        datasets.require_exists(tx, dataset.id)
        if streams.find(tx, dataset.id, name) is not None:
            raise Conflict(f"a stream named {name} exists in {dataset.owner}/{dataset.name}")
        _require_pinned(tx, dataset.id, values.get("model"))
        quotas.require_room(tx, "triggers", streams.count(tx) + 1)
        quotas.require_room(tx, "triggers_per_dataset", streams.count(tx, dataset.id) + 1)
        now = now_us()
        stream = Stream(
            id=new_stream_id(),
            dataset_id=dataset.id,
            name=name,
            title=values.get("title", ""),
            description=values.get("description", ""),
            comment_filter=values.get("comment_filter", b"{}"),
            model=values.get("model"),
            created_us=now,
            updated_us=now,
            position=max(last, position_before(now)),
            advanced_us=None,
            advanced_by=None,
        )
        # A later batch may share this microsecond; its positions then begin after this one.
        order.hand_out(tx, last=max(last, stream.position), count=0, now_us=0)
        streams.insert(tx, stream)
        _prepare_rendering(tx, stream)
        _record(tx, actor_id, "create_stream", dataset, stream)
    return stream


def update_stream(
    db: Database, *, actor_id: str, dataset: DatasetName, name: str, values: dict[str, Any]
) -> Stream:
    """Set the given fields of a stream; position, id and tags stay.

    Raises NotFound, Conflict if a new name is taken, Unprocessable as `create_stream`.
    """
    with db.write() as tx:
        stream = streams.get(tx, dataset.id, name)
        changes = {key: value for key, value in values.items() if getattr(stream, key) != value}
        if not changes:
            return stream
        renamed = changes.get("name")
        if renamed is not None and streams.find(tx, dataset.id, renamed) is not None:
            raise Conflict(f"a stream named {renamed} exists in {dataset.owner}/{dataset.name}")
        _require_pinned(tx, dataset.id, changes.get("model"))
        changes["updated_us"] = max(now_us(), stream.updated_us + 1)
        streams.update(tx, stream.id, changes)
        stream = streams.get(tx, dataset.id, renamed or name)
        _prepare_rendering(tx, stream)
        _record(tx, actor_id, "update_stream", dataset, stream)
    return stream


def delete_stream(db: Database, *, actor_id: str, dataset: DatasetName, name: str) -> None:
    """Delete a stream with its position and tags. Raises NotFound."""
    with db.write() as tx:
        stream = streams.get(tx, dataset.id, name)
        streams.delete(tx, stream.id)
        _record(tx, actor_id, "delete_stream", dataset, stream)


def advance_stream(
    db: Database, *, dataset: DatasetName, name: str, to: int, by: str
) -> tuple[int, int]:
    """Acknowledge everything up to and including the place `to`; never moves back.

    Return the position before and the one now. Raises NotFound, and InvalidInput if `to` lies in
    the future: comments that are yet to come would be lost.
    """
    with db.write(catalogue=False) as tx:
        stream = streams.get(tx, dataset.id, name)
        if to <= stream.position:
            return stream.position, stream.position
        if to > order.last_position(tx):
            if created_us(to) > now_us():
                raise InvalidInput("sequence_id lies in the future")
            # A place that no comment has reached yet. Those to come must lie behind it, also if
            # the clock of the process that stores them lags behind this one's.
            last = order.take_order(tx)
            order.hand_out(tx, last=max(last, to), count=0, now_us=0)
        streams.advance(tx, stream.id, to=to, now_us=now_us(), by=by)
        return stream.position, streams.get(tx, dataset.id, name).position


def reset_stream(
    db: Database, *, actor_id: str, dataset: DatasetName, name: str, instant_us: int
) -> Stream:
    """Move a stream so that comments stored at or after an instant are delivered.

    Raises NotFound.
    """
    with db.write() as tx:
        stream = streams.get(tx, dataset.id, name)
        position = min(position_before(max(instant_us, 0)), MAX_POSITION)
        streams.set_position(tx, stream.id, to=position)
        stream = streams.get(tx, dataset.id, name)
        _record(tx, actor_id, "reset_stream", dataset, stream)
    return stream


def tag_exceptions(
    db: Database,
    *,
    actor_id: str,
    dataset: DatasetName,
    name: str,
    tags: Sequence[tuple[str, str]],
    salt: int,
) -> None:
    """Tag comments, given as (uid, reason), as exceptions of a stream: all of them or none.

    Raises NotFound for an unknown stream or uid, InvalidInput for a malformed uid.
    """
    now = now_us()
    with db.write(catalogue=False) as tx:
        stream = streams.get(tx, dataset.id, name)
        places = _find_uids(tx, dataset.id, [uid for uid, _ in tags], salt)
        for uid, kind in tags:
            if uid not in places:
                raise NotFound(f"No such comment in the dataset: {uid}")
            streams.tag(tx, stream.id, pos=places[uid], kind=kind, now_us=now, by=actor_id)
        _record(tx, actor_id, "store_exception", dataset, stream)


def untag_exceptions(
    db: Database,
    *,
    actor_id: str,
    dataset: DatasetName,
    name: str,
    uids: Sequence[str],
    salt: int,
) -> None:
    """Remove tags; a comment without one is passed over.

    Raises NotFound for an unknown stream, InvalidInput for a malformed uid.
    """
    with db.write(catalogue=False) as tx:
        stream = streams.get(tx, dataset.id, name)
        places = _find_uids(tx, dataset.id, uids, salt)
        if streams.untag(tx, stream.id, list(places.values())):
            _record(tx, actor_id, "delete_exception", dataset, stream)


def _find_uids(tx: Writer, dataset_id: str, uids: Sequence[str], salt: int) -> dict[str, int]:
    """Return the positions of those uids that belong to the dataset."""
    by_source: dict[str, dict[str, str]] = {}
    for uid in uids:
        parts = split_uid(uid)
        if parts is None:
            raise InvalidInput(f"uid {uid[:200]!r}: '<source id>.<comment id>' expected")
        by_source.setdefault(parts[0], {})[parts[1]] = uid
    places: dict[str, int] = {}
    members = datasets.source_ids(tx, dataset_id)
    for source_id, wanted in by_source.items():
        source = sources.find_by_id(tx, source_id) if source_id in members else None
        if source is None:
            continue
        tag = source_tag(source.key)
        hashes = {one: key_hash(one, salt=salt, source_tag=tag) for one in wanted}
        found = comments.find_positions(tx, source.key, hashes)
        places.update({wanted[one]: pos for one, (pos, _) in found.items()})
    return places


def _prepare_rendering(tx: Writer, stream: Stream) -> None:
    """Give what the stream shows a key, under which it will be kept ready to be sent."""
    if stream.model is not None:
        model = models.get(tx, stream.dataset_id, stream.model.version)
        models.take_rendering(tx, model.key, thresholds_key(stream.model))


def _require_pinned(tx: Writer, dataset_id: str, model: StreamModel | None) -> None:
    if model is not None and not models.is_pinned(tx, dataset_id, model.version):
        raise Unprocessable(f"model version {model.version} is not a pinned version")


def _record(
    tx: Writer, actor_id: str, event_type: str, dataset: DatasetName, stream: Stream
) -> None:
    refs = Refs(
        projects=(ProjectRef(dataset.project_id, dataset.owner),),
        datasets=(DatasetRef(dataset.id, dataset.name, dataset.title, dataset.project_id),),
        streams=(stream.ref,),
    )
    audit.record(tx, actor_id=actor_id, event_type=event_type, refs=refs)
