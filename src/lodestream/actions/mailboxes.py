"""Reading mailboxes into buckets: whose turn it is, what is stored, and what failures do.

One mailbox is read by one reader at a time. A reader holds it by a lease; whoever changes the
integration takes it away. Each write of a reader proves, in its own transaction, that the mailbox
is still its own, so what was configured anew is never overrun by what was under way.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import msgspec
from msgspec import UNSET

from lodestream.actions.buckets import append_emails, insert_bucket
from lodestream.actions.integrations import Outside, opened_connection, record
from lodestream.connectors.mailboxes import EmailsRefused
from lodestream.domain.buckets import (
    Bucket,
    EmailNew,
    KeyedSyncState,
    checked_email,
    checked_keyed_state,
)
from lodestream.domain.errors import InvalidInput, NotFound
from lodestream.domain.integrations import (
    INTEGRATION_KINDS,
    ErrorKind,
    ExchangeConfiguration,
    ImapConfiguration,
    reason_of,
)
from lodestream.domain.times import now_us
from lodestream.domain.users import SYSTEM_USER
from lodestream.store import buckets, comments, integrations, mailboxes, projects, quotas
from lodestream.store import sync_states as states
from lodestream.store.db import Database, Reader, Writer
from lodestream.store.mailboxes import Claim, ClaimedMailbox

_LONGEST_TEXT: Final = 4000


class MailboxLost(Exception):
    """The mailbox was taken away: its lease ran out, or its integration was changed."""


def claim_mailbox(db: Database, *, reader: str, lease_s: float) -> Claim | None:
    """Claim the mailbox that has been due longest; None if there is none to be read now."""
    now = now_us()
    with db.read() as tx:
        if not mailboxes.any_due(tx, now_us=now):
            return None
    with db.write(catalogue=False) as tx:
        until_us = now + int(lease_s * 1e6)
        return mailboxes.claim(tx, reader=reader, now_us=now, until_us=until_us)


def any_mailbox_due(db: Database) -> bool:
    """Tell whether a mailbox waits for a reader."""
    with db.read() as tx:
        return mailboxes.any_due(tx, now_us=now_us())


def keep_mailbox(db: Database, claim: Claim, *, lease_s: float) -> bool:
    """Hold a mailbox longer; return False if it was lost."""
    with db.write(catalogue=False) as tx:
        return mailboxes.keep(tx, claim, until_us=now_us() + int(lease_s * 1e6))


def find_mailbox(db: Database, claim: Claim) -> ClaimedMailbox:
    """Return what is needed to read a claimed mailbox. Raises MailboxLost."""
    with db.read() as tx:
        found = mailboxes.find_claimed(tx, claim)
    if found is None:
        raise MailboxLost
    return found


def opened_configuration(
    outside: Outside, claim: Claim, claimed: ClaimedMailbox
) -> ExchangeConfiguration | ImapConfiguration:
    """Return the configuration of a claimed mailbox, with the secrets in it.

    Raises Unprocessable if they cannot be opened, or if the server may not go there.
    """
    configuration = claimed.configuration
    if configuration.connection is UNSET:
        return configuration
    connection = opened_connection(
        outside, configuration.connection, owner=claim.integration_id, sealed=claimed.sealed
    )
    return msgspec.structs.replace(configuration, connection=connection)


def finish_mailbox(
    db: Database, claim: Claim, *, begun_us: int, again_in_s: float, is_level: bool, failed: int
) -> None:
    """Give a mailbox back. If it is not level it comes again at once, behind those that wait."""
    now = now_us()
    with db.write(catalogue=False) as tx:
        if failed:
            mailboxes.count_emails(tx, claim, failed=failed)
        if is_level:
            due_us = now + int(again_in_s * 1e6)
            mailboxes.finish(tx, claim, synced_us=begun_us, due_us=due_us)
        else:
            mailboxes.interrupt(tx, claim, due_us=now)


def postpone_mailbox(
    db: Database, claim: Claim, *, delay_s: float, error: str, failed: int
) -> None:
    """Give a mailbox back that cannot be read now."""
    with db.write(catalogue=False) as tx:
        if failed:
            mailboxes.count_emails(tx, claim, failed=failed)
        mailboxes.postpone(tx, claim, due_us=now_us() + int(delay_s * 1e6), error=error)


def refuse_mailbox(
    db: Database, claim: Claim, claimed: ClaimedMailbox, *, kind: ErrorKind, text: str
) -> bool:
    """Switch off what an error concerns, the mailbox or the whole integration, and say why.

    Return False, and change nothing, if the mailbox was lost: what is wrong may be repaired.
    """
    name = claimed.mailbox.email
    whole = kind in INTEGRATION_KINDS
    with db.write() as tx:
        if not mailboxes.count_emails(tx, claim):
            return False
        found = integrations.get(tx, claim.integration_id)
        place = claimed.mailbox.bucket_specification
        bucket = buckets.find_by_name(tx, place.project_name, place.name)
        if whole:
            changed = {"enabled": False, "disabled_reason": reason_of(kind)}
            integrations.update(
                tx,
                msgspec.structs.replace(found, **changed, updated_us=_later(found.updated_us)),
            )
            mailboxes.free_all(tx, found.id)
        else:
            mailboxes.disable(tx, found.id, name, reason_of(kind))
            later = msgspec.structs.replace(found, updated_us=_later(found.updated_us))
            integrations.update(tx, later)
        integrations.add_error(
            tx,
            found.id,
            kind=kind,
            text=text[:_LONGEST_TEXT],
            mailbox_name=None if whole else name,
            bucket_id=None if whole or bucket is None else bucket.id,
            now_us=now_us(),
        )
        event = "integration_disabled" if whole else "mailbox_disabled"
        record(tx, SYSTEM_USER, event, found, {"mailbox": name, "kind": kind})
    return True


def _later(before_us: int) -> int:
    return max(now_us(), before_us + 1)


class BucketTarget:
    """The bucket of a claimed mailbox: a `Target` of the loop that reads it.

    Every write raises MailboxLost once the mailbox is another's, NotFound if the bucket went away
    meanwhile, and QuotaExceeded if there is no room for more comments.
    """

    def __init__(self, db: Database, claim: Claim, claimed: ClaimedMailbox) -> None:
        """Find the bucket, or make it. Raises NotFound if its project is gone, QuotaExceeded."""
        self._db = db
        self._claim = claim
        place = claimed.mailbox.bucket_specification
        with db.read() as tx:
            found = buckets.find_by_name(tx, place.project_name, place.name)
        self._bucket = found or self._make(place.project_name, place.name, place.title)

    def find_state(self, key: str) -> KeyedSyncState | None:
        """Return the state stored under a key."""
        with self._db.read() as tx:
            return states.find_keyed(tx, self._bucket.key, key)

    def put_emails(self, emails: Sequence[EmailNew]) -> None:
        """Store e-mails, all or none. Raises EmailsRefused."""
        checked = [_checked(one) for one in emails]
        with self._db.write(catalogue=False) as tx:
            if not mailboxes.count_emails(tx, self._claim, read=len(checked)):
                raise MailboxLost
            _require_room(tx, self._bucket)
            append_emails(tx, actor_id=SYSTEM_USER, bucket=self._bucket, emails=checked)

    def put_state(self, key: str, state: KeyedSyncState) -> None:
        """Store where the reader is with a folder."""
        checked = checked_keyed_state(state, now_us=now_us())
        with self._db.write(catalogue=False) as tx:
            if not mailboxes.count_emails(tx, self._claim):
                raise MailboxLost
            buckets.get_by_key(tx, self._bucket.key)
            states.store_keyed(tx, self._bucket.key, key, checked)

    def _make(self, owner: str, name: str, title: str) -> Bucket:
        with self._db.write() as tx:
            return _require_bucket(tx, owner, name, title)


def _require_bucket(tx: Writer, owner: str, name: str, title: str) -> Bucket:
    found = buckets.find_by_name(tx, owner, name)
    if found is not None:
        return found
    project = projects.find(tx, owner)
    if project is None:
        raise NotFound(f"the project {owner} of the bucket {name} is gone")
    return insert_bucket(
        tx, actor_id=SYSTEM_USER, project_id=project.id, owner=owner, name=name, title=title
    )


def _require_room(tx: Reader, bucket: Bucket) -> None:
    """Raise QuotaExceeded if the e-mails of a bucket cannot become comments any more."""
    fullest = buckets.fullest_source(tx, bucket.key)
    quotas.require_room(tx, "comments_per_source", fullest + 1)
    quotas.require_room(tx, "comments", comments.total_comments(tx) + 1)


def _checked(email: EmailNew) -> EmailNew:
    """Return an e-mail as the API would take it. Raises EmailsRefused."""
    try:
        email.mime_content.encode()
        return checked_email(msgspec.convert(msgspec.to_builtins(email), EmailNew))
    except msgspec.ValidationError as error:
        raise EmailsRefused(str(error)) from error
    except UnicodeEncodeError as error:
        raise EmailsRefused("its text is not Unicode") from error
    except InvalidInput as error:
        raise EmailsRefused(error.message) from error
