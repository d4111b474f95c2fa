"""Mailboxes of integrations: whose turn it is, who reads them, and how that went."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
import sqlalchemy as sa

from lodestream.domain.buckets import name_hash
from lodestream.domain.integrations import (
    DisabledReason,
    ExchangeConfiguration,
    ImapConfiguration,
    Mailbox,
)
from lodestream.store.db import Reader, Writer
from lodestream.store.integrations import configuration_of
from lodestream.store.tables import bucket, integration, keyed_sync_state, mailbox, project


@dataclass(frozen=True, slots=True)
class Claim:
    """A mailbox that one reader has for itself until its lease runs out."""

    integration_id: str
    email_hash: str
    reader: str
    failures: int


@dataclass(frozen=True, slots=True)
class ClaimedMailbox:
    """All that is needed to read a mailbox; `sealed` are the secrets of the connection."""

    project: str
    integration: str
    configuration: ExchangeConfiguration | ImapConfiguration
    sealed: str | None
    mailbox: Mailbox


@dataclass(frozen=True, slots=True)
class MailboxState:
    """How reading a mailbox does. `folders` are those that something was read of."""

    integration_id: str
    project: str
    integration: str
    email: str
    active: bool
    begun_us: int
    due_us: int
    claimed: bool
    synced_us: int | None
    failures: int
    error: str | None
    emails_read: int
    emails_failed: int
    folders: int

    def lag_us(self, now_us: int) -> int:
        """Return how long ago the mailbox was last read to its end, or was switched on."""
        return max(0, now_us - (self.begun_us if self.synced_us is None else self.synced_us))


def hash_of(email: str) -> str:
    """Return the short form of an address by which a mailbox is found; letter case is nothing."""
    return name_hash(email.lower())


def replace_all(
    tx: Writer, integration_id: str, mailboxes: Sequence[Mailbox], *, now_us: int, anew: bool
) -> None:
    """Set the mailboxes of an integration; how those did that stay is kept.

    Whoever reads one of them loses it, and each is due at once. `anew` tells that the integration
    was switched on with this.
    """
    here = mailbox.c.integration_id == integration_id
    known = {
        row.email_hash: row.enabled
        for row in tx.execute(sa.select(mailbox.c.email_hash, mailbox.c.enabled).where(here))
    }
    for place, one in enumerate(mailboxes):
        email_hash = hash_of(one.email)
        values: dict[str, Any] = {
            "place": place,
            "settings": msgspec.json.encode(one).decode(),
            "enabled": one.enabled,
            "due_us": now_us,
            "failures": 0,
            "error": None,
            "claimed_by": None,
            "claimed_until_us": None,
        }
        if email_hash not in known:
            values |= {"begun_us": now_us, "emails_read": 0, "emails_failed": 0}
            row = {"integration_id": integration_id, "email_hash": email_hash, **values}
            tx.execute(sa.insert(mailbox).values(**row))
            continue
        if anew or (one.enabled and not known[email_hash]):
            values["begun_us"] = now_us
        tx.execute(sa.update(mailbox).where(*_one(integration_id, email_hash)).values(**values))
    gone = set(known) - {hash_of(one.email) for one in mailboxes}
    for email_hash in sorted(gone):
        tx.execute(sa.delete(mailbox).where(*_one(integration_id, email_hash)))


def disable(tx: Writer, integration_id: str, email: str, reason: DisabledReason) -> None:
    """Switch one mailbox off."""
    here = _one(integration_id, hash_of(email))
    text = tx.execute(sa.select(mailbox.c.settings).where(*here)).scalar_one_or_none()
    if text is None:
        return
    one = msgspec.json.decode(text, type=Mailbox)
    one.enabled, one.disabled_reason = False, reason
    settings = msgspec.json.encode(one).decode()
    tx.execute(sa.update(mailbox).where(*here).values(enabled=False, settings=settings, **_FREE))


def free_all(tx: Writer, integration_id: str) -> None:
    """Take the mailboxes of an integration away from those who read them."""
    here = mailbox.c.integration_id == integration_id
    tx.execute(sa.update(mailbox).where(here).values(**_FREE))


def make_due(tx: Writer, integration_id: str, email: str | None, *, now_us: int) -> int:
    """Let the mailboxes of an integration, or one of them, be read now; return how many."""
    here = [mailbox.c.integration_id == integration_id, mailbox.c.enabled]
    if email is not None:
        here.append(mailbox.c.email_hash == hash_of(email))
    return tx.execute(sa.update(mailbox).where(*here).values(due_us=now_us, failures=0)).rowcount


# Those who read


_FREE: dict[str, Any] = {"claimed_by": None, "claimed_until_us": None}


def _claimable(now_us: int) -> sa.Select[tuple[str, str]]:
    free = sa.or_(mailbox.c.claimed_until_us.is_(None), mailbox.c.claimed_until_us < now_us)
    return (
        sa.select(mailbox.c.integration_id, mailbox.c.email_hash)
        .join(integration, integration.c.id == mailbox.c.integration_id)
        .where(mailbox.c.due_us <= now_us, mailbox.c.enabled, integration.c.enabled, free)
        .order_by(mailbox.c.due_us, mailbox.c.integration_id, mailbox.c.email_hash)
        .limit(1)
    )


def any_due(tx: Reader, *, now_us: int) -> bool:
    """Tell whether a mailbox could be claimed now."""
    return tx.execute(_claimable(now_us)).first() is not None


def claim(tx: Writer, *, reader: str, now_us: int, until_us: int) -> Claim | None:
    """Claim the mailbox that has been due longest; None if none is due.

    One whose lease has run out, because its reader died, may be claimed again.
    """
    query = _claimable(now_us).with_for_update(skip_locked=True, of=mailbox)
    row = tx.execute(query).first()
    if row is None:
        return None
    here = _one(row.integration_id, row.email_hash)
    take = sa.update(mailbox).where(*here).values(claimed_by=reader, claimed_until_us=until_us)
    failures = tx.execute(take.returning(mailbox.c.failures)).scalar_one()
    return Claim(row.integration_id, row.email_hash, reader, failures)


def find_claimed(tx: Reader, claim: Claim) -> ClaimedMailbox | None:
    """Return what is needed to read a claimed mailbox; None if the claim was lost."""
    query = (
        sa.select(
            project.c.name.label("project"),
            integration.c.name,
            integration.c.type,
            integration.c.connection,
            integration.c.sealed,
            mailbox.c.settings,
        )
        .join(integration, integration.c.id == mailbox.c.integration_id)
        .join(project, project.c.id == integration.c.project_id)
        .where(*_mine(claim))
    )
    row = tx.execute(query).first()
    if row is None:
        return None
    configuration = configuration_of(row.type, row.connection, [])
    one = msgspec.json.decode(row.settings, type=Mailbox)
    return ClaimedMailbox(row.project, row.name, configuration, row.sealed, one)


def keep(tx: Writer, claim: Claim, *, until_us: int) -> bool:
    """Hold a claimed mailbox longer; return False if it was lost."""
    return _change(tx, claim, claimed_until_us=until_us)


def count_emails(tx: Writer, claim: Claim, *, read: int = 0, failed: int = 0) -> bool:
    """Count e-mails of a claimed mailbox; return False if it was lost.

    The row is locked until commit: nobody can claim it before what is written with this is there.
    """
    return _change(
        tx,
        claim,
        emails_read=mailbox.c.emails_read + read,
        emails_failed=mailbox.c.emails_failed + failed,
    )


def finish(tx: Writer, claim: Claim, *, synced_us: int, due_us: int) -> bool:
    """Give back a mailbox that was read to its end; return False if it was lost."""
    values = {"synced_us": synced_us, "due_us": due_us, "failures": 0, "error": None}
    return _change(tx, claim, **_FREE, **values)


def interrupt(tx: Writer, claim: Claim, *, due_us: int) -> bool:
    """Give back a mailbox that is not read to its end yet; return False if it was lost."""
    return _change(tx, claim, **_FREE, due_us=due_us)


def postpone(tx: Writer, claim: Claim, *, due_us: int, error: str) -> bool:
    """Give back a mailbox that could not be read now; return False if it was lost."""
    failures = mailbox.c.failures + 1
    return _change(tx, claim, **_FREE, due_us=due_us, error=error[:2000], failures=failures)


def _change(tx: Writer, claim: Claim, **values: object) -> bool:
    return tx.execute(sa.update(mailbox).where(*_mine(claim)).values(**values)).rowcount == 1


def _one(integration_id: str, email_hash: str) -> tuple[sa.ColumnElement[bool], ...]:
    return mailbox.c.integration_id == integration_id, mailbox.c.email_hash == email_hash


def _mine(claim: Claim) -> tuple[sa.ColumnElement[bool], ...]:
    here = _one(claim.integration_id, claim.email_hash)
    return (*here, mailbox.c.claimed_by == claim.reader)


# How they do


def list_states(
    tx: Reader,
    *,
    now_us: int,
    integration_ids: Sequence[str] | None = None,
    limit: int | None = None,
) -> list[MailboxState]:
    """Return how the mailboxes of some integrations do (None: of all), in their order."""
    query = (
        sa.select(
            mailbox,
            integration.c.name.label("integration"),
            integration.c.enabled.label("integration_enabled"),
            project.c.name.label("project"),
        )
        .join(integration, integration.c.id == mailbox.c.integration_id)
        .join(project, project.c.id == integration.c.project_id)
        .order_by(mailbox.c.integration_id, mailbox.c.place)
        .limit(limit)
    )
    if integration_ids is not None:
        query = query.where(mailbox.c.integration_id.in_(integration_ids))
    rows = list(tx.execute(query))
    folders = _folders(tx, {row.email_hash for row in rows})
    return [_state(row, folders, now_us) for row in rows]


def _folders(tx: Reader, hashes: set[str]) -> dict[tuple[str, str, str], int]:
    """Count the folders' states by project and name of the bucket, and mailbox."""
    found: dict[tuple[str, str, str], int] = {}
    wanted = sorted(hashes)
    for start in range(0, len(wanted), 500):
        query = (
            sa.select(
                project.c.name.label("project"),
                bucket.c.name.label("bucket"),
                keyed_sync_state.c.mailbox_hash,
                sa.func.count().label("folders"),
            )
            .join(bucket, bucket.c.key == keyed_sync_state.c.bucket)
            .join(project, project.c.id == bucket.c.project_id)
            .where(keyed_sync_state.c.mailbox_hash.in_(wanted[start : start + 500]))
            .group_by(project.c.name, bucket.c.name, keyed_sync_state.c.mailbox_hash)
        )
        for row in tx.execute(query):
            found[(row.project, row.bucket, row.mailbox_hash)] = row.folders
    return found


def _state(row: Any, folders: dict[tuple[str, str, str], int], now_us: int) -> MailboxState:
    one = msgspec.json.decode(row.settings, type=Mailbox)
    place = one.bucket_specification
    return MailboxState(
        integration_id=row.integration_id,
        project=row.project,
        integration=row.integration,
        email=one.email,
        active=bool(row.enabled and row.integration_enabled),
        begun_us=row.begun_us,
        due_us=row.due_us,
        claimed=row.claimed_until_us is not None and row.claimed_until_us >= now_us,
        synced_us=row.synced_us,
        failures=row.failures,
        error=row.error,
        emails_read=row.emails_read,
        emails_failed=row.emails_failed,
        folders=folders.get((place.project_name, place.name, row.email_hash), 0),
    )
