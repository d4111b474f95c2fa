"""The audit log over HTTP."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Annotated, Final

from msgspec import UNSET, Meta, Struct, UnsetType

from lodestream.api.calls import Call
from lodestream.domain.audit import (
    AuditEvent,
    DatasetRef,
    ProjectRef,
    SourceRef,
    StreamRef,
    UserRef,
)
from lodestream.domain.errors import InvalidInput
from lodestream.domain.tenants import Tenant
from lodestream.domain.times import format_us, parse_us
from lodestream.store import audit as store
from lodestream.store import tenants

DEFAULT_EVENTS: Final = 128
MOST_EVENTS: Final = 1024
_CONTINUATION_RE = re.compile(r"[0-7][0-9a-f]{31}")

Instant = Annotated[str, Meta(max_length=64)]


class InstantRange(Struct, forbid_unknown_fields=True):
    """From `minimum` on, before `maximum`."""

    minimum: Instant | None = None
    maximum: Instant | None = None


class AuditFilter(Struct, forbid_unknown_fields=True):
    """Which events."""

    timestamp: InstantRange | None = None


class AuditRequest(Struct, forbid_unknown_fields=True):
    """Which events, how many on a page, and where the page begins."""

    filter: AuditFilter | None = None
    limit: Annotated[int, Meta(ge=1, le=MOST_EVENTS)] = DEFAULT_EVENTS
    continuation: Annotated[str, Meta(max_length=128)] | None = None


class AuditEventWire(Struct):
    """An event as clients see it; what the ids mean is in the lists of the page."""

    event_id: str
    event_type: str
    timestamp: str
    actor_user_id: str
    actor_tenant_id: str
    tenant_ids: list[str]
    user_ids: list[str]
    source_ids: list[str]
    dataset_ids: list[str]
    trigger_ids: list[str]
    project_ids: list[str]


class AuditTenant(Struct):
    """A tenant that events refer to."""

    id: str
    name: str


class AuditUser(Struct):
    """A user that events refer to."""

    id: str
    tenant_id: str
    username: str
    email: str
    display_name: str


class AuditProject(Struct):
    """A project that events refer to."""

    id: str
    tenant_id: str
    name: str


class AuditReply(Struct):
    """A page of events, and once each everything that they refer to.

    All lists are always there: clients look ids up in them. `continuation` is absent on the last
    page.
    """

    audit_events: list[AuditEventWire]
    tenants: list[AuditTenant]
    users: list[AuditUser]
    projects: list[AuditProject]
    datasets: list[DatasetRef]
    sources: list[SourceRef]
    triggers: list[StreamRef]
    continuation: str | UnsetType = UNSET
    status: str = "ok"


def query_events(call: Call[AuditRequest]) -> AuditReply:
    """Return a page of events, oldest first."""
    body = call.body
    limit = body.limit
    span = (body.filter and body.filter.timestamp) or InstantRange()
    with call.service.db.read() as tx:
        tenant = tenants.get(tx)
        events = store.list_events(
            tx,
            minimum_us=_instant("minimum", span.minimum),
            maximum_us=_instant("maximum", span.maximum),
            after=_place(body.continuation),
            limit=limit + 1,  # one more tells whether there is a next page
        )
    page = _page(tenant, events[:limit])
    if len(events) > limit:
        last = events[limit - 1]
        page.continuation = f"{last.at_us:016x}{last.id:016x}"
    return page


def _instant(name: str, text: str | None) -> int | None:
    if text is None:
        return None
    try:
        return parse_us(text)
    except ValueError as error:
        raise InvalidInput(f"filter.timestamp.{name} {text!r}: {error}") from None


def _place(continuation: str | None) -> tuple[int, int] | None:
    """Read (time, id) of the last event of the page before."""
    if continuation is None:
        return None
    if _CONTINUATION_RE.fullmatch(continuation) is None or continuation[16] > "7":
        raise InvalidInput("continuation: this is none that was handed out")
    return int(continuation[:16], 16), int(continuation[16:], 16)


def _page(tenant: Tenant, events: Sequence[AuditEvent]) -> AuditReply:
    # Of several copies of a thing's names, the newest on the page is shown.
    refs = [event.refs for event in events]
    users = {one.id: one for event in events for one in (event.actor, *event.refs.users)}
    return AuditReply(
        audit_events=[_wire(tenant, event) for event in events],
        tenants=[AuditTenant(tenant.id, tenant.name)] if events else [],
        users=[
            AuditUser(one.id, tenant.id, one.username, one.email, one.username)
            for one in users.values()
        ],
        projects=[
            AuditProject(one.id, tenant.id, one.name)
            for one in {ref.id: ref for one in refs for ref in one.projects}.values()
        ],
        datasets=list({ref.id: ref for one in refs for ref in one.datasets}.values()),
        sources=list({ref.id: ref for one in refs for ref in one.sources}.values()),
        triggers=list({ref.id: ref for one in refs for ref in one.streams}.values()),
    )


def _wire(tenant: Tenant, event: AuditEvent) -> AuditEventWire:
    second = (event.at_us + 500_000) // 1_000_000
    return AuditEventWire(
        event_id=f"{event.id:016x}",
        event_type=event.type,
        timestamp=format_us(second * 1_000_000)[:19] + "Z",
        actor_user_id=event.actor.id,
        actor_tenant_id=tenant.id,
        tenant_ids=[tenant.id],
        user_ids=_ids(event.refs.users),
        source_ids=_ids(event.refs.sources),
        dataset_ids=_ids(event.refs.datasets),
        trigger_ids=_ids(event.refs.streams),
        project_ids=_ids(event.refs.projects),
    )


def _ids(refs: Sequence[ProjectRef | SourceRef | DatasetRef | StreamRef | UserRef]) -> list[str]:
    return [ref.id for ref in refs]
