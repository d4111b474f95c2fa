"""Changes that a mail system has told of a folder, handed on in pages that fit in memory."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Final, Generic, TypeVar

from msgspec import Struct

from lodestream.connectors.mailboxes import Page, Skipped
from lodestream.domain.buckets import EmailNew

PAGE_BYTES: Final = 8 << 20

_Item = TypeVar("_Item")


class Unread(Struct, Generic[_Item]):
    """Changes after a fingerprint that have not been handed on yet."""

    fingerprint: str | None
    items: deque[_Item]
    after: str  # the fingerprint when all of them are
    more: bool

    def next_page(self, read: Callable[[_Item], tuple[EmailNew, int] | Skipped | None]) -> Page:
        """Read the next e-mails, up to about `PAGE_BYTES`; `items` are those left for later.

        `read` returns an e-mail with the time of its receipt, or None for what is no e-mail. If it
        raises, its item comes again.
        """
        emails: list[EmailNew] = []
        skipped: list[Skipped] = []
        newest: int | None = None
        size = 0
        while self.items and size < PAGE_BYTES:
            made = read(self.items[0])
            self.items.popleft()
            if isinstance(made, Skipped):
                skipped.append(made)
            elif made is not None:
                emails.append(made[0])
                newest = max(made[1], newest or made[1])
                size += len(made[0].mime_content)
        if self.items:
            # Not to be held in memory at once. Killed now, all of them are asked for again.
            return Page(emails, self.fingerprint or "", newest, True, tuple(skipped))
        return Page(emails, self.after, newest, self.more, tuple(skipped))
