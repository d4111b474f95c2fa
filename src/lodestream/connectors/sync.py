"""The loop that brings what is new in a mailbox to its bucket.

For each page of a folder it stores the e-mails, and then where it is with the folder, in this
order: killed at any point it reads a page again, and loses none. To repeat a page is harmless, as
e-mails replace those of the same id. Folders take turns, page by page, so that one with years of
e-mails does not keep the others waiting.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Final

from msgspec import UNSET

from lodestream.connectors.choice import Choice
from lodestream.connectors.mailboxes import (
    EmailsRefused,
    Folder,
    OpenMailbox,
    Page,
    Skipped,
    Target,
    Temporary,
)
from lodestream.domain.buckets import EmailNew, KeyedSyncState
from lodestream.domain.integrations import Mailbox
from lodestream.domain.times import format_us, now_us, parse_us

log = logging.getLogger("lodestream.connectors")

MOST_EMAILS: Final = 128
MOST_BYTES: Final = 8 << 20
"""What one call of `put_emails` brings at most; an e-mail that is larger goes alone."""
_SHOWN_EVERY_US: Final = 300_000_000
"""How often a state is stored that has not changed, to tell that the folder was looked at."""
_MOST_TOLD: Final = 100


@dataclass(slots=True)
class Progress:
    """What was done with a mailbox so far."""

    folders: int = 0
    read: int = 0  # e-mails that the mailbox gave
    stored: int = 0  # those that were chosen, and are in the bucket now
    skipped: int = 0  # those that are too large, or that the bucket does not take
    told: list[Skipped] = field(default_factory=list)  # the first of those skipped
    finished: bool = False  # whether all folders are level
    synced_until_us: int | None = None  # when the newest of them was received

    def skip(self, one: Skipped, mailbox: str) -> None:
        """Count an e-mail that is passed over, and log it."""
        self.skipped += 1
        if len(self.told) < _MOST_TOLD:
            self.told.append(one)
        told = {"mailbox": mailbox, "email": one.which, "reason": one.reason}
        log.warning("an e-mail is skipped", extra=told)


def sync_mailbox(
    opened: OpenMailbox,
    mailbox: Mailbox,
    target: Target,
    *,
    go_on: Callable[[], bool] = lambda: True,
    clock: Callable[[], int] = now_us,
    progress: Progress | None = None,
) -> Progress:
    """Read what is new or has changed in the chosen folders until all are level.

    `go_on` is asked after every page: once it returns False, or raises, the rest is left for the
    next time. `progress` may be watched while it goes on. What the target raises is passed on,
    but for EmailsRefused: then e-mails are given one by one, and those refused are skipped.

    Raises MailboxRefused, and Temporary when the other folders have been tried.
    """
    return _Sync(opened, mailbox, target, clock, progress or Progress()).run(go_on)


def state_key(mailbox: str, folder_id: str) -> str:
    """Return the key of a folder's state: hex, as clients of states expect it."""
    return sha256(f"{mailbox.lower()}\n{folder_id}".encode()).hexdigest()


class _Sync:
    def __init__(
        self,
        opened: OpenMailbox,
        mailbox: Mailbox,
        target: Target,
        clock: Callable[[], int],
        progress: Progress,
    ) -> None:
        self._opened = opened
        self._mailbox = mailbox
        self._target = target
        self._clock = clock
        self._progress = progress
        self._choice = Choice(mailbox)

    def run(self, go_on: Callable[[], bool]) -> Progress:
        folders = [one for one in self._opened.folders() if self._choice.has_folder(one.path)]
        self._progress.folders = len(folders)
        waiting = deque((folder, self._state(folder)) for folder in folders)
        failed: Temporary | None = None
        while waiting and go_on():
            folder, state = waiting.popleft()
            try:
                more, state = self._sync_page(folder, state)
            except Temporary as error:
                if error.retry_after_s is not None:
                    raise  # the whole mailbox is throttled
                failed = failed or error
                continue
            if more:
                waiting.append((folder, state))
        if failed is not None:
            raise failed
        self._progress.finished = not waiting
        return self._progress

    def _state(self, folder: Folder) -> KeyedSyncState | None:
        state = self._target.find_state(state_key(self._mailbox.email, folder.id))
        if state is None or state.folder_path is UNSET:
            return None
        # A folder that was renamed is read anew: the path stands in its comments.
        return state if tuple(state.folder_path) == folder.path else None

    def _sync_page(
        self, folder: Folder, state: KeyedSyncState | None
    ) -> tuple[bool, KeyedSyncState]:
        page = self._opened.changes(folder, None if state is None else state.fingerprint)
        self._progress.read += len(page.emails) + len(page.skipped)
        for skipped in page.skipped:
            self._progress.skip(skipped, self._mailbox.email)
        self._store([one for one in page.emails if self._choice.has_email(one)])
        after = self._after(folder, state, page)
        if state is None or self._is_worth_storing(state, after):
            self._target.put_state(state_key(self._mailbox.email, folder.id), after)
            state = after
        return page.more, state

    def _store(self, emails: Sequence[EmailNew]) -> None:
        for batch in batches(emails):
            try:
                self._target.put_emails(batch)
                self._progress.stored += len(batch)
            except EmailsRefused:
                self._store_singly(batch)

    def _store_singly(self, emails: Sequence[EmailNew]) -> None:
        for email in emails:
            try:
                self._target.put_emails([email])
                self._progress.stored += 1
            except EmailsRefused as error:
                self._progress.skip(Skipped(email.id, str(error)), self._mailbox.email)

    def _after(self, folder: Folder, state: KeyedSyncState | None, page: Page) -> KeyedSyncState:
        before = None if state is None or state.synced_until is None else state.synced_until
        times = [page.synced_until_us] if page.synced_until_us is not None else []
        times += [parse_us(before)] if before is not None else []
        until_us = max(times, default=None)
        if until_us is not None:
            self._progress.synced_until_us = max(until_us, self._progress.synced_until_us or 0)
        return KeyedSyncState(
            mailbox_name=self._mailbox.email,
            status="IN_PROGRESS" if page.more else "UP_TO_DATE",
            folder_id=folder.id,
            folder_path=list(folder.path),
            synced_until=None if until_us is None else format_us(until_us),
            last_synced_at=format_us(self._clock()),
            fingerprint=page.fingerprint,
        )

    @staticmethod
    def _is_worth_storing(before: KeyedSyncState, after: KeyedSyncState) -> bool:
        if (before.fingerprint, before.status) != (after.fingerprint, after.status):
            return True
        if before.last_synced_at is UNSET or after.last_synced_at is UNSET:
            return True
        age_us = parse_us(after.last_synced_at) - parse_us(before.last_synced_at)
        return age_us >= _SHOWN_EVERY_US


def batches(
    emails: Sequence[EmailNew], *, most: int = MOST_EMAILS, most_bytes: int = MOST_BYTES
) -> Iterator[list[EmailNew]]:
    """Yield e-mails in order in batches of at most so many and so long, but at least one each."""
    batch: list[EmailNew] = []
    size = 0
    for email in emails:
        length = len(email.mime_content)
        if batch and (len(batch) == most or size + length > most_bytes):
            yield batch
            batch, size = [], 0
        batch.append(email)
        size += length
    if batch:
        yield batch
