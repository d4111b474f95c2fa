"""How streams do: what is unread, how old it is, who consumes it. In our own namespace."""

from __future__ import annotations

from msgspec import Struct

from lodestream.api.calls import Call
from lodestream.api.service import Service
from lodestream.api.streams import dataset_of
from lodestream.domain.errors import NotFound
from lodestream.domain.places import sequence_id
from lodestream.domain.streams import Activity, Stream, state_word
from lodestream.domain.times import format_us, now_us
from lodestream.store import lag, streams
from lodestream.store.catalogue import StreamPlan
from lodestream.store.db import Reader
from lodestream.store.lag import Lag


class LastMove(Struct):
    """When a consumer last did something, and which: user, agent and address."""

    at: str
    client: str


class Poison(Struct):
    """A comment that begins every fetch without ever being advanced past."""

    uid: str
    fetches: int


class StreamStatus(Struct):
    """How a stream does.

    `unread` is the least there can be if `unread_is_exact` is false. Fetches are noted about once
    a second, so what is said of them may be that old.
    """

    id: str
    dataset_id: str
    name: str
    state: str
    unread: int
    unread_is_exact: bool
    oldest_unread_at: str | None
    oldest_unread_age_s: float | None
    sequence_id: str
    last_fetch: LastMove | None
    last_advance: LastMove | None
    poison: Poison | None


class StatusReply(Struct):
    """The status of one stream."""

    stream: StreamStatus
    status: str = "ok"


class StatusesReply(Struct):
    """The status of every stream of a dataset, by name."""

    streams: list[StreamStatus]
    status: str = "ok"


def get_status(call: Call[None]) -> StatusReply:
    """Return how a stream does."""
    return StatusReply(_status(call.service, *call.values))


def list_statuses(call: Call[None]) -> StatusesReply:
    """Return how every stream of a dataset does."""
    owner, dataset_name = call.values
    with call.service.db.read() as tx:
        names = [one.name for one in streams.list_streams(tx, [dataset_of(call).id])]
    found: list[StreamStatus] = []
    for name in names:
        try:
            found.append(_status(call.service, owner, dataset_name, name))
        except NotFound:
            continue  # deleted since it was listed
    return StatusesReply(found)


def _status(service: Service, owner: str, dataset_name: str, name: str) -> StreamStatus:
    plan = service.catalogue.get_plan(owner, dataset_name, name)
    with service.db.read() as tx:
        # The plan's own copy of the stream is older than its position.
        stream = streams.get(tx, plan.dataset.id, name)
        activity = streams.find_activity(tx, stream.id)
        poison = _poison(tx, plan, stream, activity, most=service.poison_fetches)
    feed = plan.feed
    measured = lag.measure(service.db, feed.sources, feed.condition, position=stream.position)
    return _describe(stream, activity, measured, poison)


def _describe(
    stream: Stream, activity: Activity | None, measured: Lag, poison: Poison | None
) -> StreamStatus:
    now = now_us()
    oldest = measured.oldest_us
    age_s = None if oldest is None else max(0, now - oldest) / 1e6
    fetched_us = None if activity is None else activity.fetched_us
    moves = [at for at in (fetched_us, stream.advanced_us) if at is not None]
    # Not all was examined: something may well be unread even if nothing was found.
    unread = measured.unread if measured.is_exact else max(1, measured.unread)
    return StreamStatus(
        id=stream.id,
        dataset_id=stream.dataset_id,
        name=stream.name,
        state=state_word(
            unread=unread,
            oldest_age_s=age_s,
            idle_s=(now - max(moves)) / 1e6 if moves else None,
        ),
        unread=measured.unread,
        unread_is_exact=measured.is_exact,
        oldest_unread_at=None if oldest is None else format_us(oldest),
        oldest_unread_age_s=age_s,
        sequence_id=sequence_id(stream.position),
        last_fetch=(
            None
            if activity is None
            else LastMove(format_us(activity.fetched_us), activity.fetched_by)
        ),
        last_advance=(
            None
            if stream.advanced_us is None
            else LastMove(format_us(stream.advanced_us), stream.advanced_by or "")
        ),
        poison=poison,
    )


def _poison(
    tx: Reader, plan: StreamPlan, stream: Stream, activity: Activity | None, *, most: int
) -> Poison | None:
    if activity is None or activity.head is None or activity.head_fetches <= most:
        return None
    advanced_since = stream.advanced_us is not None and stream.advanced_us > activity.fetched_us
    if activity.head <= stream.position or advanced_since:
        return None
    uid = lag.find_uid(tx, plan.feed.sources, activity.head)
    return None if uid is None else Poison(uid, activity.head_fetches)
