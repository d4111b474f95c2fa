"""Integrations: create, change, delete, and switch off what does not work."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import msgspec
from msgspec import UNSET

from lodestream.actions.buckets import insert_bucket
from lodestream.connectors.mailboxes import OpenMailbox
from lodestream.domain import access
from lodestream.domain.access import BUCKETS_WRITE, Actor
from lodestream.domain.audit import ProjectRef, Refs
from lodestream.domain.buckets import checked_time
from lodestream.domain.connections import (
    Connection,
    hosts,
    may_keep_secrets,
    require_sound,
    with_secrets,
    without_secrets,
)
from lodestream.domain.errors import (
    Conflict,
    InvalidInput,
    NotFound,
    PermissionMissing,
    Unprocessable,
)
from lodestream.domain.ids import is_resource_name, new_id
from lodestream.domain.integrations import (
    DisabledReason,
    ExchangeConfiguration,
    ImapConfiguration,
    Integration,
    IntegrationType,
    Mailbox,
)
from lodestream.domain.outbound import require_allowed
from lodestream.domain.secrets import Keyring
from lodestream.domain.times import now_us
from lodestream.store import audit, buckets, integrations, mailboxes, projects, quotas
from lodestream.store.db import Database, Writer


class Opener(Protocol):
    """Opens a mailbox; `connectors.open.open_mailbox` is the one that does."""

    def __call__(
        self,
        configuration: ExchangeConfiguration | ImapConfiguration,
        mailbox: Mailbox,
        *,
        allowed_hosts: Sequence[str] = (),
    ) -> OpenMailbox:
        """Return the opened mailbox. Raises MailboxRefused and Temporary."""
        ...


@dataclass(frozen=True, slots=True)
class Outside:
    """What reaching mail systems needs of the server: its keys, and where it may connect to."""

    keyring: Keyring
    allowed_hosts: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class IntegrationChanges:
    """What a caller sets; None leaves it as it is."""

    title: str | None = None
    enabled: bool | None = None
    disabled_reason: DisabledReason | None = None
    configuration: ExchangeConfiguration | ImapConfiguration | None = None


def create_integration(
    db: Database,
    outside: Outside,
    *,
    actor: Actor,
    project_id: str,
    owner: str,
    name: str,
    kind: IntegrationType,
    values: IntegrationChanges,
) -> Integration:
    """Create an integration, and the buckets that its mailboxes feed where they are missing.

    Raises InvalidInput for a bad name, Conflict if it is taken, QuotaExceeded, PermissionMissing
    for a bucket in a project where the caller may not write buckets, and Unprocessable for what
    cannot be reached from here, for secrets without a key to keep them, and for an unknown project.
    """
    if not is_resource_name(name):
        raise InvalidInput(
            f"integration name {name!r}: letters, digits, '-' and '_' only, at most 256"
        )
    now = now_us()
    enabled = values.enabled is not False
    empty = ImapConfiguration() if kind == "imap" else ExchangeConfiguration()
    made = Integration(
        id=new_id(),
        project_id=project_id,
        owner=owner,
        name=name,
        title=values.title or "",
        type=kind,
        enabled=enabled,
        disabled_reason=None if enabled else values.disabled_reason or "user",
        configuration=empty,
        sealed=None,
        created_us=now,
        updated_us=now,
    )
    with db.write() as tx:
        projects.require_exists(tx, project_id)
        if integrations.find_by_name(tx, owner, name) is not None:
            raise Conflict(f"an integration named {owner}/{name} exists")
        quotas.require_room(tx, "integrations", integrations.count(tx) + 1)
        configured = _configured(outside, made, values.configuration or empty)
        integrations.insert(tx, configured)
        _set_mailboxes(tx, actor, configured, before=(), anew=True)
        record(tx, actor.user_id, "create_integration", configured)
    return configured


def update_integration(
    db: Database,
    outside: Outside,
    *,
    actor: Actor,
    integration_id: str,
    changes: IntegrationChanges,
    seen_us: int | None = None,
) -> Integration:
    """Set what is given; a configuration replaces the former, which lends it absent secrets.

    `seen_us` is the time of the change that the caller knows of: Conflict if there is a newer one.
    Raises NotFound, and what `create_integration` raises.
    """
    with db.write() as tx:
        before = integrations.get(tx, integration_id)
        if seen_us is not None and seen_us != before.updated_us:
            raise Conflict(f"the integration {before.owner}/{before.name} was changed meanwhile")
        enabled = before.enabled if changes.enabled is None else changes.enabled
        after = msgspec.structs.replace(
            before,
            title=before.title if changes.title is None else changes.title,
            enabled=enabled,
            disabled_reason=_reason(enabled, before.enabled, before.disabled_reason),
            updated_us=max(now_us(), before.updated_us + 1),
        )
        if changes.configuration is not None:
            after = _configured(outside, after, changes.configuration)
        integrations.update(tx, after)
        anew = after.enabled and not before.enabled
        _set_mailboxes(tx, actor, after, before=before.configuration.mailboxes, anew=anew)
        record(tx, actor.user_id, "update_integration", after)
    return after


def delete_integration(db: Database, *, actor_id: str, integration_id: str) -> None:
    """Delete an integration. Its buckets stay, with where it was. Raises NotFound."""
    with db.write() as tx:
        found = integrations.get(tx, integration_id)
        integrations.delete(tx, found.id)
        record(tx, actor_id, "delete_integration", found)


def sync_now(db: Database, *, actor_id: str, integration_id: str, email: str | None) -> int:
    """Let the mailboxes of an integration, or one of them, be read at once; return how many.

    Raises NotFound for one that is not there, and Conflict if what is asked for is disabled.
    """
    # Takes turns with other changes of several mailboxes, which would lock them in another order.
    with db.write() as tx:
        found = integrations.get(tx, integration_id)
        known = {mailboxes.hash_of(one.email) for one in found.configuration.mailboxes}
        if email is not None and mailboxes.hash_of(email) not in known:
            raise NotFound(f"No such mailbox: {email}")
        if not found.enabled:
            raise Conflict(f"the integration {found.owner}/{found.name} is disabled")
        due = mailboxes.make_due(tx, found.id, email, now_us=now_us())
        if email is not None and not due:
            raise Conflict(f"the mailbox {email} is disabled")
        record(tx, actor_id, "sync_integration", found, {"mailboxes": due})
    return due


def opened_connection(
    outside: Outside, connection: Connection, *, owner: str, sealed: str | None
) -> Connection:
    """Return a connection with its stored secrets, if the server may go where it leads.

    Raises Unprocessable if not, or if the secrets cannot be opened.
    """
    require_sound(connection)
    for host in hosts(connection):
        require_allowed(host, outside.allowed_hosts)
    return with_secrets(connection, outside.keyring.unseal(owner, sealed))


def lent_connection(
    outside: Outside, connection: Connection, lender: Integration | None
) -> Connection:
    """Return a connection that somebody gave, with the secrets of an integration where it lacks
    them. Raises Unprocessable as `opened_connection`, and if they would be sent elsewhere.
    """
    if lender is None or lender.sealed is None:
        return opened_connection(outside, connection, owner="", sealed=None)
    _require_same_places(lender, connection)
    return opened_connection(outside, connection, owner=lender.id, sealed=lender.sealed)


def record(
    tx: Writer,
    actor_id: str,
    event_type: str,
    integration: Integration,
    more: dict[str, str | int] | None = None,
) -> None:
    """Write an audit entry; nothing of the connection is in it."""
    refs = Refs(
        projects=(ProjectRef(integration.project_id, integration.owner),),
        details={
            "integration_id": integration.id,
            "integration": integration.name,
            **(more or {}),
        },
    )
    audit.record(tx, actor_id=actor_id, event_type=event_type, refs=refs)


def _configured(
    outside: Outside, values: Integration, wanted: ExchangeConfiguration | ImapConfiguration
) -> Integration:
    """Return an integration with a checked configuration, and its secrets sealed."""
    boxes = _settled(wanted.mailboxes, values.configuration.mailboxes)
    connection = wanted.connection
    if connection is UNSET:
        bare = msgspec.structs.replace(wanted, mailboxes=boxes)
        return msgspec.structs.replace(values, configuration=bare, sealed=None)
    require_sound(connection)
    for host in hosts(connection):
        require_allowed(host, outside.allowed_hosts)
    shown, given = without_secrets(connection)
    sealed = _sealed(outside, values, connection, given)
    configuration = msgspec.structs.replace(wanted, connection=shown, mailboxes=boxes)
    return msgspec.structs.replace(values, configuration=configuration, sealed=sealed)


def _sealed(
    outside: Outside, before: Integration, connection: Connection, given: dict[str, str]
) -> str | None:
    """Return the secrets to store: those that are given, else those that were there."""
    if before.sealed is None:
        return outside.keyring.seal(before.id, given) if given else None
    if not given:
        _require_same_places(before, connection)
        return before.sealed
    if not outside.keyring.opens(before.id, before.sealed):
        return outside.keyring.seal(before.id, given)
    stored = outside.keyring.unseal(before.id, before.sealed)
    _, whole = without_secrets(with_secrets(connection, stored))
    if whole != given:
        _require_same_places(before, connection)
    return outside.keyring.seal(before.id, whole)


def _require_same_places(before: Integration, connection: Connection) -> None:
    former = before.configuration.connection
    if (
        former is UNSET
        or type(former) is not type(connection)
        or not may_keep_secrets(former, connection)
    ):
        raise Unprocessable(
            "the stored secrets are not sent to another host: give them together with it"
        )


def _settled(wanted: Sequence[Mailbox], before: Sequence[Mailbox]) -> list[Mailbox]:
    """Return mailboxes as they are stored: times in one form, reasons where they belong.

    Raises InvalidInput for a bad time, Unprocessable for an address that comes twice.
    """
    known = {mailboxes.hash_of(one.email): one for one in before}
    seen: set[str] = set()
    settled = []
    for one in wanted:
        email_hash = mailboxes.hash_of(one.email)
        if email_hash in seen:
            raise Unprocessable(f"the mailbox {one.email} is listed twice")
        seen.add(email_hash)
        former = known.get(email_hash)
        held = None if former is None else _given(former.disabled_reason)
        reason = _reason(
            one.enabled,
            former is None or former.enabled,
            _given(one.disabled_reason) if former is None else held,
        )
        start = one.start_timestamp
        settled.append(
            msgspec.structs.replace(
                one,
                disabled_reason=UNSET if reason is None else reason,
                start_timestamp=None if start is None else checked_time(start, "start_timestamp"),
            )
        )
    return settled


def _given(reason: DisabledReason | msgspec.UnsetType) -> DisabledReason | None:
    return None if reason is UNSET else reason


def _reason(
    enabled: bool, was_enabled: bool, before: DisabledReason | None
) -> DisabledReason | None:
    """Return why something is disabled now; who repeats that it is keeps the reason."""
    if enabled:
        return None
    return "user" if was_enabled or before is None else before


def _set_mailboxes(
    tx: Writer, actor: Actor, values: Integration, *, before: Sequence[Mailbox], anew: bool
) -> None:
    boxes = values.configuration.mailboxes
    quotas.require_room(tx, "mailboxes_per_integration", len(boxes))
    fed = {_bucket_of(one) for one in before}
    for one in boxes:
        if _bucket_of(one) not in fed:
            _require_bucket(tx, actor, one)
            fed.add(_bucket_of(one))
    mailboxes.replace_all(tx, values.id, boxes, now_us=now_us(), anew=anew)


def _bucket_of(one: Mailbox) -> tuple[str, str]:
    return one.bucket_specification.project_name, one.bucket_specification.name


def _require_bucket(tx: Writer, actor: Actor, one: Mailbox) -> None:
    """Make the bucket that a mailbox feeds if it is missing, as a caller who may write it."""
    wanted = one.bucket_specification
    missing = f"No such project: {wanted.project_name}"
    project = projects.find(tx, wanted.project_name)
    if project is None:
        raise Unprocessable(missing)
    try:
        access.require(actor, project.id, (BUCKETS_WRITE,), not_found=missing)
    except NotFound:
        raise Unprocessable(missing) from None
    except PermissionMissing as error:
        raise PermissionMissing(f"{error.needed} in {wanted.project_name}") from None
    if not is_resource_name(wanted.name):
        raise InvalidInput(
            f"bucket name {wanted.name!r}: letters, digits, '-' and '_' only, at most 256"
        )
    if buckets.find_by_name(tx, project.name, wanted.name) is None:
        insert_bucket(
            tx,
            actor_id=actor.user_id,
            project_id=project.id,
            owner=project.name,
            name=wanted.name,
            title=wanted.title,
        )
