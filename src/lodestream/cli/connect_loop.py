"""The loop of a connector that runs elsewhere: its mailboxes in turn, again and again."""

from __future__ import annotations

import logging
import random
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge

from lodestream.client import ClientError
from lodestream.client.errors import Refused
from lodestream.connectors.mailboxes import MailboxRefused, OpenMailbox, Target, Temporary
from lodestream.connectors.sync import Progress, sync_mailbox
from lodestream.domain.integrations import Mailbox

log = logging.getLogger("lodestream.connectors")

TURN_S: Final = 60.0
"""How long one mailbox may keep the others waiting."""
_FIRST_PAUSE_S: Final = 5.0
_LONGEST_PAUSE_S: Final = 600.0


class Metrics:
    """What a connector tells to whoever scrapes it."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._counters = {
            name: Counter(f"lodestream_connector_emails_{name}", text, ["mailbox"], registry=None)
            for name, text in (
                ("read", "E-mails read from a mailbox."),
                ("stored", "E-mails stored in its bucket."),
                ("skipped", "E-mails that were too large, or that the server did not take."),
            )
        }
        self._failures = Counter(
            "lodestream_connector_failures", "Turns that failed.", ["mailbox"], registry=None
        )
        text = "Age of the newest e-mail that was read, while a mailbox is not level; else 0."
        self._lag = Gauge("lodestream_connector_lag_seconds", text, ["mailbox"], registry=None)
        for one in (*self._counters.values(), self._failures, self._lag):
            self.registry.register(one)

    def add(self, mailbox: str, done: Progress, *, failed: bool) -> None:
        """Count what was done in one turn."""
        for name, counter in self._counters.items():
            counter.labels(mailbox).inc(getattr(done, name))
        self._failures.labels(mailbox).inc(int(failed))
        if done.finished:
            self._lag.labels(mailbox).set(0)
        elif done.synced_until_us is not None:
            self._lag.labels(mailbox).set(max(0.0, time.time() - done.synced_until_us / 1e6))


@dataclass
class Seat:
    """A mailbox in the loop."""

    mailbox: Mailbox
    target: Target
    due_s: float = 0.0
    failures: int = 0
    refused: str = ""
    done: Progress = field(default_factory=Progress)


class Loop:
    """Gives each mailbox its turns until `stop` is set."""

    def __init__(
        self,
        seats: Sequence[Seat],
        open_one: Callable[[Mailbox], OpenMailbox],
        stop: threading.Event,
        *,
        poll_s: float,
        metrics: Metrics | None = None,
        turn_s: float = TURN_S,
    ) -> None:
        self._seats = seats
        self._open = open_one
        self._stop = stop
        self._poll_s = poll_s
        self._metrics = metrics or Metrics()
        self._turn_s = turn_s

    def run(self) -> None:
        """Go on until told to stop, or until every mailbox refuses for good."""
        while not self._stop.is_set():
            waiting = [seat for seat in self._seats if not seat.refused]
            if not waiting:
                return
            seat = min(waiting, key=lambda one: one.due_s)
            if self._stop.wait(max(0.0, seat.due_s - time.monotonic())):
                return
            self._turn(seat)

    def run_once(self) -> bool:
        """Bring every mailbox level once; return whether that succeeded for all."""
        for seat in self._seats:
            while not self._stop.is_set():
                self._turn(seat)
                if seat.done.finished or seat.refused or seat.failures > 2:
                    break
                self._stop.wait(max(0.0, seat.due_s - time.monotonic()))
        return all(seat.done.finished for seat in self._seats)

    def _turn(self, seat: Seat) -> None:
        done = seat.done = Progress()
        failed = True
        try:
            self._sync(seat, done)
            failed = False
            seat.failures = 0
            seat.due_s = time.monotonic() + (self._poll_s if done.finished else 0.0)
        except MailboxRefused as error:
            seat.refused = f"{error.kind}: {error.text}"
            self._tell("a mailbox refuses; it is not asked again", seat, seat.refused)
        except Temporary as error:
            self._postpone(seat, str(error), error.retry_after_s)
        except ClientError as error:
            # Also of a token that is not valid any more: somebody may bring that in order.
            asked = error.retry_after_s if isinstance(error, Refused) else None
            self._postpone(seat, str(error), asked)
        finally:
            self._metrics.add(seat.mailbox.email, done, failed=failed)

    def _sync(self, seat: Seat, done: Progress) -> None:
        until_s = time.monotonic() + self._turn_s

        def go_on() -> bool:
            return not self._stop.is_set() and time.monotonic() < until_s

        opened = self._open(seat.mailbox)
        try:
            sync_mailbox(opened, seat.mailbox, seat.target, go_on=go_on, progress=done)
        finally:
            opened.close()
        if done.stored or done.skipped:
            told = {"mailbox": seat.mailbox.email, "stored": done.stored, "skipped": done.skipped}
            log.info("a mailbox was read", extra=told)

    def _postpone(self, seat: Seat, reason: str, asked_s: float | None) -> None:
        seat.failures += 1
        pause_s = min(_FIRST_PAUSE_S * 2.0 ** min(seat.failures - 1, 10), _LONGEST_PAUSE_S)
        # With chance in it, so that shards that failed together do not come back together.
        pause_s = max(pause_s * random.uniform(0.75, 1.0), asked_s or 0.0)  # noqa: S311
        seat.due_s = time.monotonic() + pause_s
        self._tell(f"a mailbox is tried again in {pause_s:.0f} s", seat, reason)

    @staticmethod
    def _tell(what: str, seat: Seat, reason: str) -> None:
        log.warning(what, extra={"mailbox": seat.mailbox.email, "reason": reason[:500]})
