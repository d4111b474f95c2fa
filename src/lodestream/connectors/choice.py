"""Which folders and e-mails of a mailbox are read. (Contract: e-mails, 7.3; integrations, E4, E10.)

Names of folders, addresses and domains compare without regard to case. An empty list is no list.
What is denied is left out, even if it is allowed, too.
"""

from __future__ import annotations

from collections.abc import Sequence

from lodestream.domain.buckets import EmailNew
from lodestream.domain.integrations import Mailbox
from lodestream.domain.times import parse_us
from lodestream.mail.as_text import headers_of_mime
from lodestream.mail.headers import address_of, domain_of, mailboxes


class Choice:
    """What a mailbox's settings let in."""

    def __init__(self, mailbox: Mailbox) -> None:
        self._folders_in = _paths(mailbox.folder_allowlist)
        self._folders_out = _paths(mailbox.folder_denylist)
        self._people_in = _names(mailbox.participant_allowlist)
        self._people_out = _names(mailbox.participant_denylist)
        self._domains_in = _domains(mailbox.participant_domain_allowlist)
        self._domains_out = _domains(mailbox.participant_domain_denylist)
        self._asks_for_people = bool(
            self._people_in or self._people_out or self._domains_in or self._domains_out
        )
        start = mailbox.start_timestamp
        self.start_us = None if start is None else parse_us(start)

    def has_folder(self, path: Sequence[str]) -> bool:
        """Tell whether a folder is read: a list means its folders and those below them."""
        folded = tuple(part.casefold() for part in path)
        above = {folded[:length] for length in range(1, len(folded) + 1)}
        if self._folders_out & above:
            return False
        return not self._folders_in or bool(self._folders_in & above)

    def has_email(self, email: EmailNew) -> bool:
        """Tell whether an e-mail is read, by when it was received and who takes part in it."""
        if self.start_us is not None and received_us(email) < self.start_us:
            return False
        return not self._asks_for_people or self._has_people(participants(email))

    def _has_people(self, people: set[str]) -> bool:
        domains = {domain_of(one) for one in people}
        if people & self._people_out or domains & self._domains_out:
            return False
        if not self._people_in and not self._domains_in:
            return True
        return bool(people & self._people_in or domains & self._domains_in)


def received_us(email: EmailNew) -> int:
    """Return when a mailbox received an e-mail, or if it does not say, when it was sent."""
    metadata = email.metadata
    received = None if metadata is None else metadata.received_at
    return parse_us(received or email.timestamp)


def participants(email: EmailNew) -> set[str]:
    """Return the addresses an e-mail is from and to, copies included, in lower case."""
    headers = headers_of_mime(email.mime_content)
    named = [value for name in ("from", "to", "cc", "bcc") for value in headers.all(name)]
    return {address for one in mailboxes(named) if (address := address_of(one))}


def _paths(given: Sequence[Sequence[str]] | None) -> set[tuple[str, ...]]:
    return {tuple(part.casefold() for part in path) for path in given or ()}


def _names(given: Sequence[str] | None) -> set[str]:
    return {name.strip().lower() for name in given or ()}


def _domains(given: Sequence[str] | None) -> set[str]:
    return {name.strip().lower().lstrip("@").rstrip(".") for name in given or ()}
