"""A bucket in memory, and mailboxes of known content."""

from __future__ import annotations

from collections.abc import Sequence

from lodestream.connectors.mailboxes import EmailsRefused
from lodestream.domain.buckets import EmailNew, KeyedSyncState
from lodestream.domain.integrations import BucketSpecification, Mailbox

BUCKET = BucketSpecification("acme", "mail")


def mailbox(email: str = "help@example.com", **settings: object) -> Mailbox:
    """Return the settings of a mailbox."""
    return Mailbox(email, True, BUCKET, **settings)  # type: ignore[arg-type]


class Memory:
    """Keeps what it is given; notes the order of calls."""

    def __init__(self, *, refused: Sequence[str] = ()) -> None:
        self.emails: dict[str, EmailNew] = {}
        self.states: dict[str, KeyedSyncState] = {}
        self.calls: list[str] = []
        self.puts: list[str] = []
        self._refused = set(refused)

    def find_state(self, key: str) -> KeyedSyncState | None:
        return self.states.get(key)

    def put_emails(self, emails: Sequence[EmailNew]) -> None:
        self.calls.append("emails")
        if any(one.id in self._refused for one in emails):
            raise EmailsRefused("not this one")
        for one in emails:
            self.emails[one.id] = one
            self.puts.append(one.id)

    def put_state(self, key: str, state: KeyedSyncState) -> None:
        self.calls.append("state")
        self.states[key] = state
