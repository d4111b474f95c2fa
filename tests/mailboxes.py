"""A mail system in memory, for what reads mailboxes."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from msgspec import UNSET

from lodestream.connectors.mailboxes import Folder, Page
from lodestream.domain.buckets import EmailMetadata, EmailNew
from lodestream.domain.connections import without_secrets
from lodestream.domain.integrations import ExchangeConfiguration, ImapConfiguration, Mailbox

MIME = (
    "Date: Fri, 09 Jan 2026 16:34:45 +0000\r\nFrom: Alice <alice@example.com>\r\n"
    "To: help@example.com\r\nSubject: Number {0}\r\nMessage-ID: <m{0}@example.com>\r\n"
    "Content-Type: text/plain; charset=utf-8\r\n\r\nHello {0}\r\n"
)


def an_email(number: int, mailbox: str, folder: str = "INBOX") -> EmailNew:
    """Return an e-mail as a connector gives it."""
    return EmailNew(
        id=f"<m{number}@example.com>",
        mailbox=mailbox,
        timestamp="2026-01-09T16:34:45Z",
        mime_content=MIME.format(number),
        metadata=EmailMetadata(folder=[folder]),
    )


@dataclass
class FakeMail:
    """Mailboxes by their addresses, each a number of e-mails in one folder.

    What is put into `raises` under an address is raised when it is opened. `held` keeps a reader
    inside its mailbox for as long as it is not set.
    """

    sizes: dict[str, int] = field(default_factory=dict)
    page: int = 10
    raises: dict[str, Exception] = field(default_factory=dict)
    held: dict[str, threading.Event] = field(default_factory=dict)
    opened: list[tuple[str, dict[str, str]]] = field(default_factory=list)
    reading: dict[str, int] = field(default_factory=dict)
    most_at_once: int = 0

    def __call__(
        self,
        configuration: ExchangeConfiguration | ImapConfiguration,
        mailbox: Mailbox,
        *,
        allowed_hosts: Sequence[str] = (),
    ) -> FakeMailbox:
        """Open a mailbox."""
        connection = configuration.connection
        assert connection is not UNSET
        self.opened.append((mailbox.email, without_secrets(connection)[1]))
        if mailbox.email in self.raises:
            raise self.raises[mailbox.email]
        self.reading[mailbox.email] = self.reading.get(mailbox.email, 0) + 1
        self.most_at_once = max(self.most_at_once, *self.reading.values())
        return FakeMailbox(self, mailbox.email)


@dataclass
class FakeMailbox:
    """One opened mailbox."""

    mail: FakeMail
    email: str

    def folders(self) -> list[Folder]:
        """Return the one folder."""
        return [Folder("1", ("INBOX",))]

    def changes(self, folder: Folder, fingerprint: str | None) -> Page:
        """Return the next e-mails; a fingerprint is the number of those read."""
        if self.email in self.mail.held:
            self.mail.held[self.email].wait(10)
        after = int(fingerprint or 0)
        until = min(after + self.mail.page, self.mail.sizes.get(self.email, 0))
        emails = [an_email(number, self.email) for number in range(after, until)]
        return Page(emails, str(until), None, until < self.mail.sizes.get(self.email, 0))

    def close(self) -> None:
        """Leave."""
        self.mail.reading[self.email] -= 1


def imap_settings(*emails: str, bucket: str = "acme/mail", **more: Any) -> dict[str, Any]:
    """Return the body that makes an IMAP integration of these mailboxes."""
    project, _, name = bucket.partition("/")
    return {
        "integration": {
            "integration_type": "imap",
            "configuration": {
                "connection": {
                    "host": "mail.example.com",
                    "access": {"kind": "password", "username": "u", "password": "hunter2"},
                },
                "mailboxes": [
                    {
                        "email": email,
                        "enabled": True,
                        "bucket_specification": {"project_name": project, "name": name},
                    }
                    for email in emails
                ],
            },
            **more,
        }
    }
