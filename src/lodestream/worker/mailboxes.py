"""The loop that reads mailboxes: claim those that are due, read each in a thread of its own.

A mailbox is held by a lease that this loop extends; when its process dies, the lease runs out and
another process reads the mailbox, from where the bucket's sync states tell. So a page may be read
twice, which is harmless, and none is left out. What is temporary is tried again after a pause that
doubles; what somebody has to repair switches the mailbox or its integration off.
"""

from __future__ import annotations

import logging
import os
import random
import secrets
import socket
import threading
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from msgspec import UNSET

from lodestream.actions import mailboxes as actions
from lodestream.actions.integrations import Opener, Outside
from lodestream.actions.mailboxes import BucketTarget, MailboxLost
from lodestream.connectors.mailboxes import MailboxRefused, Temporary
from lodestream.connectors.open import open_mailbox
from lodestream.connectors.sync import Progress, sync_mailbox
from lodestream.domain.connections import without_secrets
from lodestream.domain.errors import LodestreamError, QuotaExceeded, Unavailable
from lodestream.domain.integrations import ExchangeConfiguration, ImapConfiguration, Mailbox
from lodestream.domain.times import now_us
from lodestream.store.db import Database
from lodestream.store.mailboxes import Claim

LONGEST_PAUSE_S: Final = 900.0
LONGEST_ASKED_S: Final = 6 * 3600.0
"""A mail system may ask for a longer pause than ours; not for any."""
_END_WITHIN_S: Final = 20.0

log = logging.getLogger("lodestream.mailboxes")


@dataclass(frozen=True)
class MailboxPace:
    """How often mailboxes are read, how many at once, and how long one is held without a sign.

    One of which `turn_emails` were read, and for `turn_s`, is left for its next turn while others
    wait. By time alone, one of many folders would never come to the last of them.
    """

    interval_s: float = 60.0
    threads: int = 4
    turn_s: float = 60.0
    turn_emails: int = 1000
    poll_s: float = 1.0
    lease_s: float = 120.0
    first_pause_s: float = 15.0


@dataclass
class _Reading:
    """A mailbox that is being read."""

    claim: Claim
    thread: threading.Thread | None = None
    lost: threading.Event = field(default_factory=threading.Event)
    progress: Progress = field(default_factory=Progress)
    hidden: tuple[str, ...] = ()  # secrets, which no message may show
    started_s: float = field(default_factory=time.monotonic)
    begun_us: int = field(default_factory=now_us)

    def told(self, text: str) -> str:
        """Return a message as it may be shown."""
        for one in self.hidden:
            text = text.replace(one, "…")
        return text


class MailboxRunner:
    """Reads mailboxes until `stop` is set."""

    def __init__(
        self,
        db: Database,
        outside: Outside,
        stop: threading.Event,
        *,
        pace: MailboxPace | None = None,
        opener: Opener = open_mailbox,
    ) -> None:
        self._db = db
        self._outside = outside
        self._stop = stop
        self._pace = pace or MailboxPace()
        self._open = opener
        self._active: list[_Reading] = []
        self._others_wait = False
        self._kept_s = time.monotonic()
        self.name = f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(3)}"

    def run(self) -> None:
        """Read until told to stop; what is under way is given back at its next good place."""
        log.info("mailboxes: started", extra={"worker": self.name})
        while not self._stop.is_set():
            try:
                self.look()
            except Unavailable as error:
                log.warning("mailboxes: %s", error.message)
            except Exception:
                log.exception("mailboxes failed")
            self._stop.wait(self._pace.poll_s)
        until_s = time.monotonic() + _END_WITHIN_S
        for one in self._active:
            if one.thread is not None:
                one.thread.join(max(0.0, until_s - time.monotonic()))
        log.info("mailboxes: stopped", extra={"worker": self.name})

    def look(self) -> int:
        """Hold what is being read, begin what is due; return how many are being read."""
        self._active = [one for one in self._active if one.thread and one.thread.is_alive()]
        self._keep()
        while len(self._active) < self._pace.threads and not self._stop.is_set():
            reader = f"{self.name}-{secrets.token_hex(4)}"
            claim = actions.claim_mailbox(self._db, reader=reader, lease_s=self._pace.lease_s)
            if claim is None:
                break
            self._begin(_Reading(claim))
        full = len(self._active) >= self._pace.threads
        self._others_wait = full and actions.any_mailbox_due(self._db)
        return len(self._active)

    def _begin(self, reading: _Reading) -> None:
        # A thread that hangs in the network must not keep the process from ending.
        thread = threading.Thread(target=self._run, args=(reading,), name="mailbox", daemon=True)
        reading.thread = thread
        self._active.append(reading)
        thread.start()

    def _keep(self) -> None:
        if time.monotonic() - self._kept_s < self._pace.lease_s / 3:
            return
        self._kept_s = time.monotonic()
        for one in self._active:
            if not actions.keep_mailbox(self._db, one.claim, lease_s=self._pace.lease_s):
                one.lost.set()

    def _run(self, reading: _Reading) -> None:
        try:
            self._read(reading)
        except MailboxLost:
            log.info("a mailbox was taken away while it was read")
        except Unavailable as error:
            log.warning("mailboxes: %s", error.message)  # its lease runs out
        except Exception:
            log.exception("a mailbox could not be given back")

    def _read(self, reading: _Reading) -> None:
        claim = reading.claim
        claimed = actions.find_mailbox(self._db, claim)
        told = {
            "integration": f"{claimed.project}/{claimed.integration}",
            "mailbox": claimed.mailbox.email,
        }
        try:
            configuration = actions.opened_configuration(self._outside, claim, claimed)
            if configuration.connection is not UNSET:
                reading.hidden = tuple(without_secrets(configuration.connection)[1].values())
            target = BucketTarget(self._db, claim, claimed)
            self._sync(reading, configuration, claimed.mailbox, target)
        except MailboxRefused as error:
            text = reading.told(error.text)
            if actions.refuse_mailbox(self._db, claim, claimed, kind=error.kind, text=text):
                log.error("mailbox refused", extra={**told, "kind": error.kind, "reason": text})
        except QuotaExceeded as error:
            kind: Final = "comment_quota_hit"
            if actions.refuse_mailbox(self._db, claim, claimed, kind=kind, text=error.message):
                log.error("no room for e-mails", extra={**told, "reason": error.message})
        except MailboxLost:
            raise
        except Exception as error:
            self._postpone(reading, error, told)
        else:
            self._finish(reading, told)

    def _sync(
        self,
        reading: _Reading,
        configuration: ExchangeConfiguration | ImapConfiguration,
        mailbox: Mailbox,
        target: BucketTarget,
    ) -> None:
        hosts = self._outside.allowed_hosts
        opened = self._open(configuration, mailbox, allowed_hosts=hosts)
        try:
            go_on = self._go_on(reading)
            sync_mailbox(opened, mailbox, target, go_on=go_on, progress=reading.progress)
        finally:
            opened.close()

    def _go_on(self, reading: _Reading) -> Callable[[], bool]:
        def go_on() -> bool:
            if reading.lost.is_set():
                raise MailboxLost
            return not self._stop.is_set() and not (self._others_wait and self._is_over(reading))

        return go_on

    def _is_over(self, reading: _Reading) -> bool:
        took_s = time.monotonic() - reading.started_s
        return reading.progress.read >= self._pace.turn_emails and took_s >= self._pace.turn_s

    def _finish(self, reading: _Reading, told: dict[str, str]) -> None:
        progress = reading.progress
        actions.finish_mailbox(
            self._db,
            reading.claim,
            begun_us=reading.begun_us,
            # Jitter, so that mailboxes that began together do not stay together.
            again_in_s=self._pace.interval_s * random.uniform(0.9, 1.1),  # noqa: S311 (no secret)
            is_level=progress.finished,
            failed=progress.skipped,
        )
        if progress.stored or progress.skipped:
            counts = {"stored": progress.stored, "skipped": progress.skipped}
            log.info("mailbox read", extra={**told, **counts})

    def _postpone(self, reading: _Reading, error: Exception, told: dict[str, str]) -> None:
        expected = isinstance(error, Temporary | LodestreamError)
        text = reading.told(str(error)) if expected else type(error).__name__
        longest: float = self._pace.first_pause_s * 2 ** min(reading.claim.failures, 20)
        delay_s = min(longest, LONGEST_PAUSE_S) * random.uniform(0.75, 1.0)  # noqa: S311
        if isinstance(error, Temporary) and error.retry_after_s is not None:
            delay_s = max(delay_s, min(error.retry_after_s, LONGEST_ASKED_S))
        actions.postpone_mailbox(
            self._db,
            reading.claim,
            delay_s=delay_s,
            error=text,
            failed=reading.progress.skipped,
        )
        details = {**told, "reason": text, "pause_s": round(delay_s, 1)}
        if expected:
            log.warning("mailbox cannot be read now", extra=details)
        else:
            # Not as `exc_info`: an unforeseen message may show a secret.
            trace = reading.told("".join(traceback.format_exception(error)))
            log.error("mailbox cannot be read now\n%s", trace, extra=details)


class MailboxThread(threading.Thread):
    """A runner inside the process that ran `lodestream serve`."""

    def __init__(self, db: Database, outside: Outside, *, pace: MailboxPace) -> None:
        super().__init__(name="mailboxes", daemon=True)
        self._stop_event = threading.Event()
        self._runner = MailboxRunner(db, outside, self._stop_event, pace=pace)

    def run(self) -> None:
        """Read mailboxes until `stop` is called."""
        self._runner.run()

    def ask_to_stop(self) -> None:
        """Ask for the end; `join` waits for it."""
        self._stop_event.set()
