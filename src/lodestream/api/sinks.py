"""Sinks of streams over HTTP, in our own namespace."""

from __future__ import annotations

from typing import Annotated, Any, Final

from msgspec import UNSET, Meta, Struct, UnsetType

from lodestream.actions import sinks as actions
from lodestream.api.calls import Call
from lodestream.api.streams import dataset_of
from lodestream.domain import access
from lodestream.domain.deliveries import Done
from lodestream.domain.errors import InvalidInput
from lodestream.domain.ids import RESOURCE_NAME
from lodestream.domain.places import sequence_id
from lodestream.domain.sinks import (
    MAX_FAILURES,
    Attempt,
    Configuration,
    Sink,
    state_word,
)
from lodestream.domain.times import format_us, now_us, parse_us
from lodestream.store import lag, sinks, streams
from lodestream.store.catalogue import StreamPlan

MOST_ATTEMPTS: Final = sinks.ATTEMPTS_KEPT

Failures = Annotated[int, Meta(ge=1, le=100)]
Name = Annotated[str, Meta(pattern=RESOURCE_NAME)]


class SinkNew(Struct, forbid_unknown_fields=True):
    """A sink as a caller makes it.

    `max_failures` is how often a comment may fail alone before it is given up. `include_sensitive`
    sends user properties that need an extra permission, and needs that permission.
    """

    name: Name
    configuration: Configuration
    start: actions.Start = "stream"
    enabled: bool = True
    max_failures: Failures = MAX_FAILURES
    include_sensitive: bool = False


class SinkChange(Struct, forbid_unknown_fields=True):
    """What a caller changes of a sink; what is left out stays."""

    configuration: Configuration | UnsetType = UNSET
    enabled: bool | UnsetType = UNSET
    max_failures: Failures | UnsetType = UNSET
    include_sensitive: bool | UnsetType = UNSET


class CreateSinkRequest(Struct, forbid_unknown_fields=True):
    """The body of a create."""

    sink: SinkNew


class UpdateSinkRequest(Struct, forbid_unknown_fields=True):
    """The body of an update."""

    sink: SinkChange


class ResetSinkRequest(Struct, forbid_unknown_fields=True):
    """Where a sink goes on: at a start, or at an instant of which on stored comments come."""

    to: actions.Start | UnsetType = UNSET
    to_comment_created_at: Annotated[str, Meta(max_length=64)] | UnsetType = UNSET


class SinkWire(Struct):
    """A sink as clients see it: without its secrets.

    `unread` is the least there can be if `unread_is_exact` is false. `failures` counts how often
    the comment that is next failed alone.
    """

    id: str
    name: str
    configuration: Configuration
    enabled: bool
    disabled_reason: str | None
    max_failures: int
    include_sensitive: bool
    created_at: str
    updated_at: str
    state: str
    sequence_id: str
    unread: int
    unread_is_exact: bool
    oldest_unread_at: str | None
    oldest_unread_age_s: float | None
    delivered: int
    failed_attempts: int
    dead_letters: int
    failures: int
    last_success_at: str | None
    last_failure_at: str | None
    last_error: str | None
    next_attempt_at: str | None


class SinkReply(Struct):
    """One sink."""

    sink: SinkWire
    status: str = "ok"


class CreateSinkReply(Struct):
    """The sink that was made; `secret` is shown this once if the server made it up."""

    sink: SinkWire
    secret: str | UnsetType = UNSET
    status: str = "ok"


class SinksReply(Struct):
    """The sinks of a stream, by name."""

    sinks: list[SinkWire]
    status: str = "ok"


class SinkAttempt(Struct):
    """One delivery that was tried.

    `result` is `delivered`; `waiting`: it stopped, and is tried again later; `split`: it is tried
    again with fewer comments; `dead_letter`: the comment was given up; or `disabled`.
    """

    number: int
    at: str
    took_ms: int
    comments: int
    delivered: int
    result: str
    reason: str | None
    detail: str | None
    uid: str | None


class SinkAttemptsReply(Struct):
    """The last attempts, the newest first."""

    attempts: list[SinkAttempt]
    status: str = "ok"


class TestSinkReply(Struct):
    """Whether the target could be reached and used; if not, why."""

    __test__ = False  # not a test of pytest, for all its name

    reached: bool
    reason: str | None
    detail: str | None
    status: str = "ok"


def create_sink(call: Call[CreateSinkRequest]) -> CreateSinkReply:
    """Create a sink."""
    new = call.body.sink
    _require_sensitive(call, new.include_sensitive)
    sink, secret = actions.create_sink(
        call.service.db,
        call.service.reach,
        actor_id=call.actor.user_id,
        dataset=dataset_of(call),
        stream_name=call.values[2],
        name=new.name,
        configuration=new.configuration,
        start=new.start,
        values={
            "enabled": new.enabled,
            "max_failures": new.max_failures,
            "include_sensitive": new.include_sensitive,
        },
    )
    return CreateSinkReply(_wire(call, sink), UNSET if secret is None else secret)


def update_sink(call: Call[UpdateSinkRequest]) -> SinkReply:
    """Change the given fields of a sink, and try it anew at once."""
    change = call.body.sink
    # Also for any change of what is sent so already: it could be turned to another place.
    _require_sensitive(call, change.include_sensitive is True or _get(call).include_sensitive)
    names = ("enabled", "max_failures", "include_sensitive")
    given = {name: getattr(change, name) for name in names}
    sink = actions.update_sink(
        call.service.db,
        call.service.reach,
        actor_id=call.actor.user_id,
        dataset=dataset_of(call),
        stream_name=call.values[2],
        name=call.values[3],
        configuration=None if change.configuration is UNSET else change.configuration,
        values={name: value for name, value in given.items() if value is not UNSET},
    )
    return SinkReply(_wire(call, sink))


def get_sink(call: Call[None]) -> SinkReply:
    """Return a sink, and how it does."""
    return SinkReply(_wire(call, _get(call)))


def list_sinks(call: Call[None]) -> SinksReply:
    """Return every sink of a stream, and how it does."""
    with call.service.db.read() as tx:
        stream = streams.get(tx, dataset_of(call).id, call.values[2])
        found = sinks.list_of_stream(tx, stream.id)
    return SinksReply([_wire(call, sink) for sink in found])


def delete_sink(call: Call[None]) -> None:
    """Delete a sink with its cursor and attempts."""
    actions.delete_sink(
        call.service.db,
        actor_id=call.actor.user_id,
        dataset=dataset_of(call),
        stream_name=call.values[2],
        name=call.values[3],
    )


def reset_sink(call: Call[ResetSinkRequest]) -> SinkReply:
    """Move a sink's cursor; the stream does not move."""
    body = call.body
    if (body.to is UNSET) == (body.to_comment_created_at is UNSET):
        raise InvalidInput("one of `to` and `to_comment_created_at` expected")
    to: actions.Start | int
    if body.to is not UNSET:
        to = body.to
    else:
        assert body.to_comment_created_at is not UNSET
        try:
            to = parse_us(body.to_comment_created_at)
        except (ValueError, OverflowError) as error:
            raise InvalidInput(f"to_comment_created_at: {error}") from None
    sink = actions.reset_sink(
        call.service.db,
        actor_id=call.actor.user_id,
        dataset=dataset_of(call),
        stream_name=call.values[2],
        name=call.values[3],
        to=to,
    )
    return SinkReply(_wire(call, sink))


def list_attempts(call: Call[None]) -> SinkAttemptsReply:
    """Return the last attempts of a sink."""
    limit = call.request.query_int("limit", default=50, low=1, high=MOST_ATTEMPTS)
    assert limit is not None
    sink = _get(call)
    with call.service.db.read() as tx:
        return SinkAttemptsReply(
            [_attempt(one) for one in sinks.list_attempts(tx, sink.id, limit=limit)]
        )


def test_sink(call: Call[None]) -> TestSinkReply:
    """Reach for the target: a webhook gets a sample, others are asked whether they are there."""
    sink, plan = _get(call), _plan(call)
    said = actions.try_sink(call.service.reach, plan, sink)
    actions.record_test(
        call.service.db,
        actor_id=call.actor.user_id,
        dataset=dataset_of(call),
        stream=plan.stream,
        sink=sink,
        said=said,
    )
    if isinstance(said, Done):
        return TestSinkReply(True, None, None)
    return TestSinkReply(False, said.reason, said.detail or None)


def _require_sensitive(call: Call[Any], wanted: bool) -> None:
    if wanted:
        access.require(
            call.actor,
            call.project_id,
            (access.SOURCES_READ_SENSITIVE,),
            not_found="404 Not Found",
        )


def _plan(call: Call[Any]) -> StreamPlan:
    call.service.catalogue.refresh()
    return call.service.catalogue.get_plan(*call.values[:3])


def _get(call: Call[Any]) -> Sink:
    with call.service.db.read() as tx:
        stream = streams.get(tx, dataset_of(call).id, call.values[2])
        return sinks.get(tx, stream.id, call.values[3])


def _wire(call: Call[Any], sink: Sink) -> SinkWire:
    feed = _plan(call).feed
    measured = lag.measure(call.service.db, feed.sources, feed.condition, position=sink.position)
    now = now_us()
    oldest = measured.oldest_us
    # Not all was examined: something may well be unread even if nothing was found.
    unread = measured.unread if measured.is_exact else max(1, measured.unread)
    waits = sink.enabled and sink.due_us > now
    return SinkWire(
        id=sink.id,
        name=sink.name,
        configuration=sink.configuration,
        enabled=sink.enabled,
        disabled_reason=sink.disabled_reason,
        max_failures=sink.max_failures,
        include_sensitive=sink.include_sensitive,
        created_at=format_us(sink.created_us),
        updated_at=format_us(sink.updated_us),
        state=state_word(sink, unread=unread),
        sequence_id=sequence_id(sink.position),
        unread=measured.unread,
        unread_is_exact=measured.is_exact,
        oldest_unread_at=_time(oldest),
        oldest_unread_age_s=None if oldest is None else max(0, now - oldest) / 1e6,
        delivered=sink.delivered,
        failed_attempts=sink.failed,
        dead_letters=sink.dead_letters,
        failures=sink.failures,
        last_success_at=_time(sink.succeeded_us),
        last_failure_at=_time(sink.failed_us),
        last_error=sink.error,
        next_attempt_at=format_us(sink.due_us) if waits else None,
    )


def _time(instant_us: int | None) -> str | None:
    return None if instant_us is None else format_us(instant_us)


def _attempt(one: Attempt) -> SinkAttempt:
    return SinkAttempt(
        number=one.number,
        at=format_us(one.at_us),
        took_ms=one.took_ms,
        comments=one.comments,
        delivered=one.delivered,
        result=one.result,
        reason=one.reason,
        detail=one.detail,
        uid=one.uid,
    )
