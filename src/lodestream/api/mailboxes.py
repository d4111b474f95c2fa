"""Integrations of every kind, and how their mailboxes do. In our own namespace."""

from __future__ import annotations

from typing import Literal

import msgspec
from msgspec import UNSET, Struct, UnsetType

from lodestream.actions import integrations as actions
from lodestream.actions.integrations import IntegrationChanges
from lodestream.api.calls import Call
from lodestream.api.integrations import (
    IntegrationErrorsReply,
    Title,
    changes_of,
    errors_reply,
    instant,
    named_integration,
)
from lodestream.domain import access
from lodestream.domain.buckets import Time
from lodestream.domain.errors import Unprocessable
from lodestream.domain.integrations import (
    Address,
    DisabledReason,
    ExchangeConfiguration,
    ImapConfiguration,
    Integration,
)
from lodestream.domain.times import format_us, now_us
from lodestream.store import integrations as store
from lodestream.store import mailboxes
from lodestream.store.mailboxes import MailboxState

Status = Literal["disabled", "failing", "syncing", "up_to_date", "waiting"]


class ImapSettings(Struct, tag="imap", tag_field="integration_type", forbid_unknown_fields=True):
    """What is set of an integration with an IMAP server."""

    title: Title | UnsetType = UNSET
    enabled: bool | UnsetType = UNSET
    configuration: ImapConfiguration | UnsetType = UNSET
    updated_at: Time | UnsetType = UNSET


class ExchangeSettings(
    Struct, tag="exchange_online", tag_field="integration_type", forbid_unknown_fields=True
):
    """What is set of an integration with Exchange."""

    title: Title | UnsetType = UNSET
    enabled: bool | UnsetType = UNSET
    configuration: ExchangeConfiguration | UnsetType = UNSET
    updated_at: Time | UnsetType = UNSET


class MailIntegrationRequest(Struct, forbid_unknown_fields=True):
    """What is set of an integration. `updated_at` is of an update, and refuses an older one."""

    integration: ImapSettings | ExchangeSettings


class MailboxStatus(Struct):
    """How a mailbox does.

    `lag_s` is how long ago it was last read to its end; null if it is disabled. `folders` are those
    that something was read of. `error` is why the last try failed; it is tried again by itself.
    """

    email: str
    status: Status
    last_synced_at: str | None
    next_sync_at: str | None
    lag_s: float | None
    emails_read: int
    emails_failed: int
    folders: int
    failures: int
    error: str | None


class MailIntegration(Struct, omit_defaults=True):
    """An integration of any kind, without secrets, and how its mailboxes do."""

    id: str
    owner: str
    name: str
    title: str
    type: str
    enabled: bool
    created_at: str
    updated_at: str
    configuration: msgspec.Raw
    mailbox_states: list[MailboxStatus]
    disabled_reason: DisabledReason | UnsetType = UNSET


class MailIntegrationReply(Struct):
    """One integration."""

    integration: MailIntegration
    status: str = "ok"


class MailIntegrationsReply(Struct):
    """Several integrations, by owner and name."""

    integrations: list[MailIntegration]
    status: str = "ok"


class SyncMailboxesRequest(Struct, forbid_unknown_fields=True):
    """Which mailbox is to be read now; without one, all."""

    mailbox: Address | UnsetType = UNSET


class SyncMailboxesReply(Struct):
    """How many mailboxes will be read now."""

    mailboxes: int
    status: str = "ok"


def list_integrations(call: Call[None]) -> MailIntegrationsReply:
    """Return every integration of every project in which the caller may see them."""
    projects = access.projects_with(call.actor, call.route.needs.permissions)
    return MailIntegrationsReply(_listed(call, projects))


def list_project_integrations(call: Call[None]) -> MailIntegrationsReply:
    """Return the integrations of one project."""
    return MailIntegrationsReply(_listed(call, frozenset({call.project_id})))


def get_integration(call: Call[None]) -> MailIntegrationReply:
    """Return an integration of any kind, and how its mailboxes do."""
    return _reply(call, named_integration(call))


def create_integration(call: Call[MailIntegrationRequest]) -> MailIntegrationReply:
    """Create an integration; buckets that its mailboxes feed are made where missing.

    Besides the row's permission it needs `buckets-write` in the project of every bucket.
    """
    given = call.body.integration
    made = actions.create_integration(
        call.service.db,
        call.service.outside,
        actor=call.actor,
        project_id=call.project_id,
        owner=call.values[0],
        name=call.values[1],
        kind="imap" if isinstance(given, ImapSettings) else "exchange_online",
        values=changes_of(given.title, given.enabled, given.configuration),
    )
    return _reply(call, made)


def update_integration(call: Call[MailIntegrationRequest]) -> MailIntegrationReply:
    """Change what is given of an integration; absent secrets stay as they are.

    Besides the row's permission it needs `buckets-write` in the project of every bucket that is
    fed anew.
    """
    given = call.body.integration
    before = named_integration(call)
    if before.type != ("imap" if isinstance(given, ImapSettings) else "exchange_online"):
        raise Unprocessable(f"the integration is of type {before.type}, which cannot be changed")
    changed = actions.update_integration(
        call.service.db,
        call.service.outside,
        actor=call.actor,
        integration_id=before.id,
        changes=changes_of(given.title, given.enabled, given.configuration),
        seen_us=instant(given.updated_at),
    )
    return _reply(call, changed)


def delete_integration(call: Call[None]) -> None:
    """Delete an integration; its buckets stay, with where it was in each folder."""
    found = named_integration(call)
    actions.delete_integration(
        call.service.db, actor_id=call.actor.user_id, integration_id=found.id
    )


def list_errors(call: Call[None]) -> IntegrationErrorsReply:
    """Return why the server disabled an integration or mailboxes of it, the newest first."""
    return errors_reply(call, named_integration(call))


def enable_integration(call: Call[None]) -> MailIntegrationReply:
    """Switch an integration on; its mailboxes are read at once."""
    return _switched(call, enabled=True)


def disable_integration(call: Call[None]) -> MailIntegrationReply:
    """Switch an integration off; what is under way stops after its page."""
    return _switched(call, enabled=False)


def sync_now(call: Call[SyncMailboxesRequest]) -> SyncMailboxesReply:
    """Let the mailboxes of an integration, or one of them, be read at once.

    Otherwise each is read when the interval has passed, or the pause after a failure.
    """
    found = named_integration(call)
    wanted = call.body.mailbox
    due = actions.sync_now(
        call.service.db,
        actor_id=call.actor.user_id,
        integration_id=found.id,
        email=None if wanted is UNSET else wanted,
    )
    return SyncMailboxesReply(due)


def _switched(call: Call[None], *, enabled: bool) -> MailIntegrationReply:
    changed = actions.update_integration(
        call.service.db,
        call.service.outside,
        actor=call.actor,
        integration_id=named_integration(call).id,
        changes=IntegrationChanges(enabled=enabled),
    )
    return _reply(call, changed)


def _listed(call: Call[None], projects: frozenset[str] | None) -> list[MailIntegration]:
    now = now_us()
    with call.service.db.read() as tx:
        found = store.list_integrations(tx, projects=projects)
        ids = [one.id for one in found]
        states = mailboxes.list_states(tx, now_us=now, integration_ids=ids)
    by_id: dict[str, list[MailboxState]] = {}
    for state in states:
        by_id.setdefault(state.integration_id, []).append(state)
    return [_wire(one, by_id.get(one.id, []), now) for one in found]


def _reply(
    call: Call[None] | Call[MailIntegrationRequest], one: Integration
) -> MailIntegrationReply:
    now = now_us()
    with call.service.db.read() as tx:
        states = mailboxes.list_states(tx, now_us=now, integration_ids=[one.id])
    return MailIntegrationReply(_wire(one, states, now))


def _wire(one: Integration, states: list[MailboxState], now: int) -> MailIntegration:
    return MailIntegration(
        id=one.id,
        owner=one.owner,
        name=one.name,
        title=one.title,
        type=one.type,
        enabled=one.enabled,
        created_at=format_us(one.created_us),
        updated_at=format_us(one.updated_us),
        configuration=msgspec.Raw(msgspec.json.encode(one.configuration)),
        mailbox_states=[_status(state, now) for state in states],
        disabled_reason=UNSET if one.disabled_reason is None else one.disabled_reason,
    )


def _status(state: MailboxState, now: int) -> MailboxStatus:
    synced_us = state.synced_us
    return MailboxStatus(
        email=state.email,
        status=_word(state),
        last_synced_at=None if synced_us is None else format_us(synced_us),
        next_sync_at=format_us(state.due_us) if state.active else None,
        lag_s=state.lag_us(now) / 1e6 if state.active else None,
        emails_read=state.emails_read,
        emails_failed=state.emails_failed,
        folders=state.folders,
        failures=state.failures,
        error=state.error,
    )


def _word(state: MailboxState) -> Status:
    if not state.active:
        return "disabled"
    if state.error is not None:
        return "failing"
    if state.claimed:
        return "syncing"
    return "waiting" if state.synced_us is None else "up_to_date"
