"""Streams over HTTP, and triggers: the same objects under their old name."""

from __future__ import annotations

import itertools
from typing import Annotated, Any

import msgspec
from msgspec import UNSET, Meta, Raw, Struct, UnsetType

from lodestream.actions import streams as actions
from lodestream.actions.feeding import Labelled, labelled, ready_suffixes, without_hidden
from lodestream.api.attach import ModelDefinition, Prediction, definition, prediction
from lodestream.api.calls import Call, decode_json, token_digest
from lodestream.api.http import Reply, Request
from lodestream.api.service import Service
from lodestream.domain import access
from lodestream.domain.comments import SEQUENCE_BYTES
from lodestream.domain.errors import InvalidInput, LodestreamError, NotFound
from lodestream.domain.filters import canonical_echo, parse_filter
from lodestream.domain.ids import RESOURCE_NAME
from lodestream.domain.places import parse_sequence_id, sequence_id
from lodestream.domain.streams import LabelThreshold, Stream, StreamModel
from lodestream.domain.times import format_us, now_us, parse_us
from lodestream.store import streams as store
from lodestream.store.attached import Attached
from lodestream.store.catalogue import DatasetName, StreamPlan
from lodestream.store.feed import Batch

MOST_RESULTS = 1024
encode_json = msgspec.json.Encoder().encode
INLINE_ROWS = 128
"""Up to this many comments are read on the event loop: a thread would cost more than the read."""

ResultCount = Annotated[int, Meta(ge=1, le=MOST_RESULTS)]


class ThresholdWire(Struct, forbid_unknown_fields=True):
    """The least confidence at which a label is shown."""

    name: Annotated[
        list[Annotated[str, Meta(min_length=1, max_length=64)]], Meta(min_length=1, max_length=64)
    ]
    threshold: Annotated[float, Meta(ge=0, le=1)] = 0.0


class ModelWire(Struct, forbid_unknown_fields=True):
    """The model version of a stream."""

    version: Annotated[int, Meta(ge=0, le=2**31 - 1)]
    label_thresholds: Annotated[list[ThresholdWire], Meta(max_length=4096)] = []


class StreamDefinition(Struct, forbid_unknown_fields=True):
    """What a caller sets on a stream."""

    name: Annotated[str, Meta(pattern=RESOURCE_NAME)] | UnsetType = UNSET
    title: Annotated[str, Meta(max_length=128)] | UnsetType = UNSET
    description: Annotated[str, Meta(max_length=16_384)] | UnsetType = UNSET
    comment_filter: Raw | UnsetType = UNSET
    model: ModelWire | UnsetType | None = UNSET


class StreamRequest(Struct, forbid_unknown_fields=True):
    """The body of create and update on `/streams`."""

    stream: StreamDefinition


class TriggerRequest(Struct, forbid_unknown_fields=True):
    """The body of create and update on `/triggers`."""

    trigger: StreamDefinition


class FetchRequest(Struct, forbid_unknown_fields=True):
    """How much to fetch."""

    size: ResultCount
    max_filtered: ResultCount | UnsetType = UNSET


class AdvanceRequest(Struct, forbid_unknown_fields=True):
    """Where to advance to."""

    sequence_id: Annotated[str, Meta(min_length=1, max_length=64)]


class ResetRequest(Struct, forbid_unknown_fields=True):
    """The instant from which on stored comments are to be delivered."""

    to_comment_created_at: Annotated[str, Meta(max_length=64)]


class ExceptionMetadata(Struct, forbid_unknown_fields=True):
    """Why a comment is an exception."""

    type: Annotated[str, Meta(max_length=1024)]


class ExceptionTag(Struct, forbid_unknown_fields=True):
    """One tagged comment."""

    uid: Annotated[str, Meta(max_length=1041)]
    metadata: ExceptionMetadata


class ExceptionsRequest(Struct, forbid_unknown_fields=True):
    """Comments to tag."""

    exceptions: Annotated[list[ExceptionTag], Meta(min_length=1, max_length=4096)]


class StreamWire(Struct, omit_defaults=True):
    """A stream as clients see it."""

    id: str
    dataset_id: str
    name: str
    title: str
    description: str
    created_at: str
    updated_at: str
    comment_filter: Raw
    model: StreamModelWire | UnsetType = UNSET


class StreamModelWire(Struct):
    """A stream's model as clients see it: every field is always there."""

    version: int
    label_thresholds: list[StreamThresholdWire]


class StreamThresholdWire(Struct):
    """A label's threshold as clients see it."""

    name: tuple[str, ...]
    threshold: float


class StreamReply(Struct):
    """One stream."""

    stream: StreamWire
    status: str = "ok"


class TriggerReply(Struct):
    """One stream, under its old name."""

    trigger: StreamWire
    status: str = "ok"


class StreamsReply(Struct):
    """The streams of a dataset, by name."""

    streams: list[StreamWire]
    status: str = "ok"


class TriggersReply(Struct):
    """The streams of a dataset, under their old name."""

    triggers: list[StreamWire]
    status: str = "ok"


class AdvanceReply(Struct):
    """The position after the advance."""

    sequence_id: str
    status: str = "ok"


class ResetReply(Struct):
    """The position after the reset."""

    sequence_id: str
    stream: StreamWire
    status: str = "ok"


class TriggerResetReply(Struct):
    """The position after the reset, under the old name."""

    sequence_id: str
    trigger: StreamWire
    status: str = "ok"


class FetchResult(Struct, omit_defaults=True):
    """One comment of a batch; with its predictions if the stream has a model."""

    comment: Raw
    sequence_id: str
    labels: list[FetchedLabel] | UnsetType = UNSET
    entities: list[Any] | UnsetType = UNSET


class FetchedLabel(Struct, omit_defaults=True):
    """A predicted label; `name` is its levels."""

    name: list[str]
    probability: float
    sentiment: float | UnsetType = UNSET


class FetchReply(Struct):
    """A batch, oldest comment first."""

    results: list[FetchResult]
    filtered: int
    sequence_id: str
    is_end_sequence: bool
    status: str = "ok"


class StreamResult(Struct):
    """One comment of a batch, with its prediction if the stream has a model."""

    comment: Raw
    prediction: Prediction | None
    continuation: str


class ResultsReply(Struct):
    """A batch, oldest comment first."""

    results: list[StreamResult]
    num_filtered: int
    more_results: bool
    continuation: str
    model: ModelOfResults | UnsetType | None = UNSET
    status: str = "ok"


class ModelOfResults(Struct):
    """What the model of a batch knows."""

    definition: ModelDefinition


def wire(stream: Stream) -> StreamWire:
    """Return a stream as clients see it."""
    shown = StreamWire(
        stream.id,
        stream.dataset_id,
        stream.name,
        stream.title,
        stream.description,
        format_us(stream.created_us),
        format_us(stream.updated_us),
        Raw(stream.comment_filter),
    )
    if stream.model is not None:
        thresholds = [
            StreamThresholdWire(one.name, one.threshold) for one in stream.model.label_thresholds
        ]
        shown.model = StreamModelWire(stream.model.version, thresholds)
    return shown


def dataset_of(call: Call[Any]) -> DatasetName:
    """Return the dataset whose full name begins the path. Raises NotFound."""
    owner, name = call.values[:2]
    dataset = call.service.catalogue.find_dataset(owner, name)
    if dataset is None:
        raise NotFound(f"No such dataset: {owner}/{name}")
    return dataset


def create_stream(call: Call[StreamRequest]) -> StreamReply:
    """Create a stream."""
    return StreamReply(wire(_create(call, call.body.stream)))


def create_trigger(call: Call[TriggerRequest]) -> TriggerReply:
    """Create a stream, under its old name."""
    return TriggerReply(wire(_create(call, call.body.trigger)))


def update_stream(call: Call[StreamRequest]) -> StreamReply:
    """Change the given fields of a stream."""
    return StreamReply(wire(_update(call, call.body.stream)))


def update_trigger(call: Call[TriggerRequest]) -> TriggerReply:
    """Change the given fields of a stream, under its old name."""
    return TriggerReply(wire(_update(call, call.body.trigger)))


def get_stream(call: Call[None]) -> StreamReply:
    """Return a stream."""
    return StreamReply(wire(_get(call)))


def get_trigger(call: Call[None]) -> TriggerReply:
    """Return a stream, under its old name."""
    return TriggerReply(wire(_get(call)))


def list_streams(call: Call[None]) -> StreamsReply:
    """Return every stream of a dataset."""
    return StreamsReply(_list(call))


def list_triggers(call: Call[None]) -> TriggersReply:
    """Return every stream of a dataset, under their old name."""
    return TriggersReply(_list(call))


def delete_stream(call: Call[None]) -> None:
    """Delete a stream with its position."""
    actions.delete_stream(
        call.service.db,
        actor_id=call.actor.user_id,
        dataset=dataset_of(call),
        name=call.values[2],
    )


def reset_stream(call: Call[ResetRequest]) -> ResetReply:
    """Move a stream to an instant, backwards or forwards."""
    stream = _reset(call)
    return ResetReply(sequence_id(stream.position), wire(stream))


def reset_trigger(call: Call[ResetRequest]) -> TriggerResetReply:
    """Move a stream to an instant, under its old name."""
    stream = _reset(call)
    return TriggerResetReply(sequence_id(stream.position), wire(stream))


def store_exceptions(call: Call[ExceptionsRequest]) -> None:
    """Tag comments that an automation could not handle."""
    actions.tag_exceptions(
        call.service.db,
        actor_id=call.actor.user_id,
        dataset=dataset_of(call),
        name=call.values[2],
        tags=[(tag.uid, tag.metadata.type) for tag in call.body.exceptions],
        salt=call.service.catalogue.salt(),
    )


def delete_exceptions(call: Call[None]) -> None:
    """Remove tags."""
    uids = call.request.query_all("uid")
    if not uids:
        raise InvalidInput("query parameter 'uid': at least one comment uid expected")
    actions.untag_exceptions(
        call.service.db,
        actor_id=call.actor.user_id,
        dataset=dataset_of(call),
        name=call.values[2],
        uids=uids,
        salt=call.service.catalogue.salt(),
    )


def advance_stream(call: Call[AdvanceRequest]) -> AdvanceReply:
    """Acknowledge everything up to and including a place."""
    to = _place(call.body)
    _, position = actions.advance_stream(
        call.service.db,
        dataset=dataset_of(call),
        name=call.values[2],
        to=to,
        by=client_of(call.request, call.actor.username),
    )
    given = call.body.sequence_id
    return AdvanceReply(given if position == to else sequence_id(position))


def fast_advance(service: Service, request: Request, values: tuple[str, ...]) -> Reply | None:
    """Advance by one statement, if nothing has changed that would have to be looked at first.

    None leaves the request, unanswered and without effect, to `advance_stream`.
    """
    # Read before anything that is kept, which is then at least as new; see `fast_fetch`.
    epoch = service.catalogue.epoch
    kept = _kept(service, request, values, needed=_ADVANCE_NEEDS)
    if kept is None:
        return None
    plan, who = kept
    body = decode_json(service.decoder(AdvanceRequest), request.body)
    changed = service.db.try_step(
        service.advance,
        id=plan.stream.id,
        to=_place(body),
        now_us=now_us(),
        by=client_of(request, who.username),
        epoch=epoch,
    )
    if changed != 1:
        return None
    return Reply(b'{"status":"ok","sequence_id":"%s"}' % body.sequence_id.encode())


def fetch(call: Call[FetchRequest]) -> Reply:
    """Return the next batch. A pure read: the same answer until the stream is advanced."""
    plan = call.service.catalogue.get_plan(*call.values)
    position = _position(call.service, plan)
    batch = _batch(plan, position, call.body)
    suffixes = None
    if plan.attached is not None:
        most = None if call.body.max_filtered is UNSET else call.body.max_filtered
        found = _labelled(call.service, plan, plan.attached, batch, position, most)
        batch, suffixes = found.batch, found.suffixes
    return _fetched(call.service, call.request, plan, call.actor, position, batch, suffixes)


def fast_fetch(service: Service, request: Request, values: tuple[str, ...]) -> Reply | None:
    """Fetch with what is kept in memory; None leaves it to `fetch` (as a large batch on SQLite)."""
    # Another thread may renew what is kept while this one works with the old: so the database has
    # to be at the epoch that was kept before anything was taken from there.
    epoch = service.catalogue.epoch
    kept = _kept(service, request, values, needed=_FETCH_NEEDS)
    if kept is None:
        return None
    plan, who = kept
    body = decode_json(service.decoder(FetchRequest), request.body)
    if service.db.is_sqlite and (body.size > INLINE_ROWS or not plan.feed.is_one_range):
        return None
    rows = service.position.rows(service.db.probe(), id=plan.stream.id)
    if not rows or rows[0][0] != epoch:
        return None
    batch = _batch(plan, rows[0][1], body)
    suffixes = None
    if plan.attached is not None:
        suffixes = ready_suffixes(plan, plan.attached, batch)
        if suffixes is None:
            return None  # a model takes its time
    service.activity.called(who.user_id)
    return _fetched(service, request, plan, who, rows[0][1], batch, suffixes)


def results(call: Call[None]) -> Reply:
    """Return the next batch in the newer form."""
    request = call.request
    size = request.query_int("max_results", default=16, low=1, high=MOST_RESULTS)
    most = request.query_int("max_filtered", default=MOST_RESULTS, low=1, high=MOST_RESULTS)
    assert size is not None
    plan = call.service.catalogue.get_plan(*call.values)
    position = _position(call.service, plan)
    batch = plan.feed.read(position, size, max_filtered=most)
    predictions: list[bytes] = [b"null"] * len(batch.rows)
    model = b""
    if plan.attached is not None:
        found = _labelled(call.service, plan, plan.attached, batch, position, most)
        batch = found.batch
        predictions = [encode_json(prediction(plan.attached, one)) for one in found.suffixes]
        model = b',"model":%s' % definition(call.service, plan.attached)
    _note(call.service, request, plan, call.actor.username, batch)
    # Front without its last member, then the newer names for the same things.
    ready = b",".join(
        b'%s,"prediction":%s,"continuation":%s}' % (front[:-SEQUENCE_BYTES], said, front[-34:])
        for front, said in zip(_shown(plan, call.actor, batch), predictions, strict=True)
    )
    return Reply(
        b'{"status":"ok","num_filtered":%d,"more_results":%s,"continuation":"%s"%s,"results":[%s]}'
        % (
            batch.filtered,
            b"false" if batch.at_end else b"true",
            _end_id(batch, position),
            model,
            ready,
        )
    )


_FETCH_NEEDS = (access.STREAMS_CONSUME, access.VOC_READONLY, access.SOURCES_READ)
_ADVANCE_NEEDS = (access.STREAMS_CONSUME, access.VOC_READONLY)


def _kept(
    service: Service, request: Request, values: tuple[str, ...], *, needed: tuple[str, ...]
) -> tuple[StreamPlan, access.Actor] | None:
    """Return plan and caller if both are in memory and the caller may; the slow path explains."""
    try:
        who = service.catalogue.find_kept_actor(token_digest(request.headers))
    except LodestreamError:
        return None
    if who is None:
        return None
    plan = service.catalogue.find_kept_plan(*values)
    if plan is None:
        return None
    held = access.permissions_in(who, plan.dataset.project_id)
    if not all(permission in held for permission in needed):
        return None
    return plan, who


def _position(service: Service, plan: StreamPlan) -> int:
    """Return where a stream stands. Raises NotFound if it went away since it was looked up."""
    rows = service.position.rows(service.db.probe(), id=plan.stream.id)
    if not rows:
        raise NotFound(f"No such stream: {plan.stream.name}")
    position: int = rows[0][1]
    return position


def _batch(plan: StreamPlan, position: int, body: FetchRequest) -> Batch:
    most = None if body.max_filtered is UNSET else body.max_filtered
    return plan.feed.read(position, body.size, max_filtered=most)


def _labelled(
    service: Service,
    plan: StreamPlan,
    attached: Attached,
    batch: Batch,
    position: int,
    most: int | None,
) -> Labelled:
    return labelled(
        service.db,
        service.predictor,
        plan,
        attached,
        batch,
        position=position,
        max_filtered=most,
    )


def _fetched(
    service: Service,
    request: Request,
    plan: StreamPlan,
    who: access.Actor,
    position: int,
    batch: Batch,
    suffixes: list[bytes] | None,
) -> Reply:
    """Answer a fetch; `suffixes` follow the fronts of comments, None without a model."""
    _note(service, request, plan, who.username, batch)
    fronts = _shown(plan, who, batch)
    if suffixes is None:
        joined = b"},".join(fronts) + b"}" if fronts else b""
    else:
        joined = b"".join(itertools.chain.from_iterable(zip(fronts, suffixes, strict=True)))[:-1]
    return Reply(
        b'{"status":"ok","filtered":%d,"is_end_sequence":%s,"sequence_id":"%s","results":[%s]}'
        % (
            batch.filtered,
            b"true" if batch.at_end else b"false",
            _end_id(batch, position),
            joined,
        )
    )


def _shown(plan: StreamPlan, who: access.Actor, batch: Batch) -> list[bytes]:
    """Return the fronts of a batch as the caller may see them."""
    fronts = [front for _, front in batch.rows]
    if not plan.hidden:
        return fronts
    held = access.permissions_in(who, plan.dataset.project_id)
    if access.SOURCES_READ_SENSITIVE in held:
        return fronts
    return [without_hidden(plan, front) for front in fronts]


def _end_id(batch: Batch, position: int) -> bytes:
    """Return the id of the batch's end: the last comment's own, where that is the end."""
    if batch.rows and batch.rows[-1][0] == batch.end:
        return batch.rows[-1][1][-33:-1]
    return sequence_id(max(batch.end, position)).encode()


def _note(
    service: Service, request: Request, plan: StreamPlan, username: str, batch: Batch
) -> None:
    head = batch.rows[0][0] if batch.rows else None
    service.activity.fetched(plan.stream.id, by=client_of(request, username), head=head)


def client_of(request: Request, username: str) -> str:
    """Name the client behind a request, for the stream's status: user, agent and address."""
    agent = request.header(b"user-agent")[:64]
    return f"{username} {agent} {request.client}".replace("\0", "")


def _place(body: AdvanceRequest) -> int:
    try:
        return parse_sequence_id(body.sequence_id)
    except ValueError as error:
        raise InvalidInput(f"sequence_id: {error}") from None


def _create(call: Call[Any], definition: StreamDefinition) -> Stream:
    if definition.name is UNSET:
        raise InvalidInput("Object missing required field `name`")
    return actions.create_stream(
        call.service.db,
        actor_id=call.actor.user_id,
        dataset=dataset_of(call),
        name=definition.name,
        values=_values(definition),
    )


def _update(call: Call[Any], definition: StreamDefinition) -> Stream:
    return actions.update_stream(
        call.service.db,
        actor_id=call.actor.user_id,
        dataset=dataset_of(call),
        name=call.values[2],
        values=_values(definition),
    )


def _get(call: Call[None]) -> Stream:
    with call.service.db.read() as tx:
        return store.get(tx, dataset_of(call).id, call.values[2])


def _list(call: Call[None]) -> list[StreamWire]:
    with call.service.db.read() as tx:
        return [wire(stream) for stream in store.list_streams(tx, [dataset_of(call).id])]


def _reset(call: Call[ResetRequest]) -> Stream:
    try:
        instant_us = parse_us(call.body.to_comment_created_at)
    except (ValueError, OverflowError) as error:
        raise InvalidInput(f"to_comment_created_at: {error}") from None
    return actions.reset_stream(
        call.service.db,
        actor_id=call.actor.user_id,
        dataset=dataset_of(call),
        name=call.values[2],
        instant_us=instant_us,
    )


def _values(definition: StreamDefinition) -> dict[str, Any]:
    values: dict[str, Any] = {
        name: getattr(definition, name)
        for name in ("name", "title", "description")
        if getattr(definition, name) is not UNSET
    }
    if definition.comment_filter is not UNSET:
        parse_filter(definition.comment_filter)
        values["comment_filter"] = canonical_echo(definition.comment_filter)
    if definition.model is not UNSET:
        values["model"] = None if definition.model is None else _model(definition.model)
    return values


def _model(given: ModelWire) -> StreamModel:
    names = [tuple(one.name) for one in given.label_thresholds]
    if len(set(names)) != len(names):
        raise InvalidInput("model.label_thresholds: a label is listed twice")
    return StreamModel(
        given.version,
        tuple(LabelThreshold(tuple(one.name), one.threshold) for one in given.label_thresholds),
    )
