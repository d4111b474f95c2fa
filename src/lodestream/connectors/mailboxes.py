"""What a mailbox, a place for its e-mails, and their errors look like to the loop that syncs.

`imap`, `ews` and `graph` implement `OpenMailbox`; the server (with its store) and the connector
that runs elsewhere (with the API's client) implement `Target`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from msgspec import Struct

from lodestream.domain.buckets import EmailNew, KeyedSyncState
from lodestream.domain.integrations import ErrorKind


class Folder(Struct, frozen=True):
    """A folder of a mailbox: the server's id for it, and its path from the root down."""

    id: str
    path: tuple[str, ...]


class Skipped(Struct, frozen=True):
    """An e-mail that is not read: which one, in words, and why."""

    which: str
    reason: str


class Page(Struct, frozen=True):
    """Some e-mails of a folder that are new or have changed, oldest change first.

    `fingerprint` is where to go on after them: it is stored, once they are, as the state of the
    folder. `more` tells that there are more of them now.
    """

    emails: list[EmailNew]
    fingerprint: str
    synced_until_us: int | None
    more: bool
    skipped: tuple[Skipped, ...] = ()


class OpenMailbox(Protocol):
    """A mailbox that was opened for reading. Nothing in it is ever changed."""

    def folders(self) -> Sequence[Folder]:
        """Return its mail folders; raises MailboxRefused or Temporary."""
        ...

    def changes(self, folder: Folder, fingerprint: str | None) -> Page:
        """Return the next changes of a folder after a fingerprint, or from the beginning.

        A fingerprint that has become invalid begins anew: repeats are harmless. Raises
        MailboxRefused or Temporary.
        """
        ...

    def close(self) -> None:
        """Leave the server."""
        ...


class Target(Protocol):
    """Where e-mails of a mailbox go: a bucket with its sync states."""

    def find_state(self, key: str) -> KeyedSyncState | None:
        """Return the state stored under a key."""
        ...

    def put_emails(self, emails: Sequence[EmailNew]) -> None:
        """Store e-mails durably, or replace those of the same id and mailbox; all or none.

        Raises EmailsRefused if one of them cannot be stored.
        """
        ...

    def put_state(self, key: str, state: KeyedSyncState) -> None:
        """Store a state durably."""
        ...


class EmailsRefused(Exception):
    """The target does not take these e-mails: at least one of them is not as it should be."""


class MailboxRefused(Exception):
    """The mail system refuses, and asking again will not help: somebody has to act.

    `kind` decides what is disabled: the mailbox, or the integration with all its mailboxes.
    """

    def __init__(self, kind: ErrorKind, text: str) -> None:
        super().__init__(text)
        self.kind = kind
        self.text = text


class Temporary(Exception):
    """The mail system cannot answer now: ask again, not before `retry_after_s` if given."""

    def __init__(self, text: str, *, retry_after_s: float | None = None) -> None:
        super().__init__(text)
        self.retry_after_s = retry_after_s
