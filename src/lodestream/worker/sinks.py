"""The loop that delivers to sinks: look which are due and have something, deliver to each.

A sink is delivered by one process at a time, the one that holds its lease, and there by one thread.
When the process dies the lease runs out, and another goes on after the last place that the target
acknowledged. A sink that fails waits longer each time; and those that failed last never take more
than half of the threads, so they do not keep the others from theirs.
"""

from __future__ import annotations

import logging
import os
import queue
import secrets
import socket
import threading
import time
from dataclasses import dataclass
from typing import Final

from lodestream.actions.delivering import Courier, find_plan, postpone
from lodestream.actions.predict import Predictor
from lodestream.actions.sinks import Reach, opened_sink
from lodestream.domain.errors import LodestreamError, Unavailable
from lodestream.domain.places import created_us
from lodestream.domain.sinks import Sink, linger_s
from lodestream.domain.times import now_us
from lodestream.sinks.results import OpenSink
from lodestream.store import sinks
from lodestream.store.catalogue import Catalogue, StreamPlan
from lodestream.store.db import Database
from lodestream.store.sinks import Placed

KEPT_OPEN_S: Final = 60.0
"""How long connections to a target are kept after a delivery."""
END_WITHIN_S: Final = 20.0

log = logging.getLogger("lodestream.sinks")


@dataclass(frozen=True)
class SinkPace:
    """How often to look, how many sinks at once, how long a lease and a turn last."""

    threads: int = 8
    poll_s: float = 0.5
    lease_s: float = 30.0
    turn_s: float = 10.0


@dataclass
class _Opened:
    """Connections to a target, and what they were made for."""

    key: tuple[object, ...]
    target: OpenSink
    used_s: float


class SinkRunner:
    """Delivers until `stop` is set."""

    def __init__(
        self,
        db: Database,
        predictor: Predictor,
        reach: Reach,
        stop: threading.Event,
        *,
        pace: SinkPace | None = None,
    ) -> None:
        self._db = db
        self._predictor = predictor
        self._reach = reach
        self._stop = stop
        self._pace = pace or SinkPace()
        self._catalogue = Catalogue(db)
        self._lock = threading.Lock()
        self._busy: dict[str, bool] = {}  # sink id → whether it failed last
        self._opened: dict[str, _Opened] = {}
        self._work: queue.SimpleQueue[Placed | None] = queue.SimpleQueue()
        self._threads: list[threading.Thread] = []
        self._kept_s = time.monotonic()
        self.name = f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(3)}"

    def run(self) -> None:
        """Deliver until told to stop; what is under way is waited for a while."""
        log.info("sinks: started", extra={"worker": self.name})
        while not self._stop.is_set():
            try:
                self.look()
            except Unavailable as error:
                log.warning("sinks: %s", error.message)
            except Exception:
                log.exception("sinks failed")
            self._stop.wait(self._pace.poll_s)
        self.close()
        log.info("sinks: stopped", extra={"worker": self.name})

    def look(self) -> int:
        """Keep the leases of what is under way, begin what is due; return how many are begun."""
        self._keep_leases()
        self._close_unused()
        with self._db.read() as tx:
            due = sinks.list_due(tx)
        if due:
            self._catalogue.refresh()
        begun = 0
        for place in due:
            if self._stop.is_set() or not self._has_room(place.sink):
                continue
            if self._has_work(place):
                self._begin(place)
                begun += 1
        return begun

    def close(self) -> None:
        """End the threads, waiting for a while, and close what is open."""
        for _ in self._threads:
            self._work.put(None)
        until_s = time.monotonic() + END_WITHIN_S
        for thread in self._threads:
            thread.join(max(0.0, until_s - time.monotonic()))
        with self._lock:
            for opened in self._opened.values():
                opened.target.close()
            self._opened.clear()

    def _has_room(self, sink: Sink) -> bool:
        with self._lock:
            if sink.id in self._busy or len(self._busy) >= self._pace.threads:
                return False
            failing = sum(self._busy.values())
        return not _is_failing(sink) or failing < max(1, self._pace.threads // 2)

    def _has_work(self, place: Placed) -> bool:
        """Tell whether anything stands after a sink's cursor, and is old enough."""
        plan = find_plan(self._catalogue, place)
        if plan is None:
            return False
        first = plan.feed.first_after(place.sink.position)
        if first is None:
            return False
        linger_us = linger_s(place.sink.configuration) * 1_000_000
        return created_us(first) + linger_us <= now_us()

    def _begin(self, place: Placed) -> None:
        with self._lock:
            self._busy[place.sink.id] = _is_failing(place.sink)
            # One more thread than there is work for would be one database connection too many.
            wanted = len(self._busy)
        if len(self._threads) < wanted:
            # A thread that hangs in the network must not keep the process from ending.
            thread = threading.Thread(target=self._deliver_all, name="sink", daemon=True)
            self._threads.append(thread)
            thread.start()
        self._work.put(place)

    def _deliver_all(self) -> None:
        while (place := self._work.get()) is not None:
            try:
                self._turn(place)
            except Unavailable as error:
                log.warning("sinks: %s", error.message)  # the lease runs out
            except Exception:
                log.exception("a delivery failed", extra={"sink": place.sink.name})
            finally:
                with self._lock:
                    self._busy.pop(place.sink.id, None)

    def _turn(self, place: Placed) -> None:
        """Claim a sink and deliver to it for a while."""
        sink_id, lease_s = place.sink.id, self._pace.lease_s
        with self._db.write(catalogue=False) as tx:
            sink = sinks.claim(tx, sink_id, worker=self.name, lease_s=lease_s)
        if sink is None:
            return
        try:
            self._deliver(place, sink)
        finally:
            with self._db.write(catalogue=False) as tx:
                sinks.release(tx, sink_id, worker=self.name)

    def _deliver(self, place: Placed, claimed: Sink) -> None:
        self._catalogue.refresh()
        plan = find_plan(self._catalogue, place)
        if plan is None:
            return
        try:
            opened = self._open(plan, claimed)
        except Unavailable:
            raise
        except LodestreamError as error:
            postpone(self._db, claimed, worker=self.name, reason=error.message)
            return
        courier = Courier(
            self._db,
            self._catalogue,
            self._predictor,
            worker=self.name,
            place=place,
            target=opened.target,
        )
        until_s = time.monotonic() + self._pace.turn_s
        sink: Sink | None = claimed
        while sink is not None and not self._stop.is_set() and time.monotonic() < until_s:
            sink = courier.step(sink)
        opened.used_s = time.monotonic()

    def _open(self, plan: StreamPlan, sink: Sink) -> _Opened:
        """Return connections to the target of a sink: those of its last turn, if they still fit."""
        labels = () if plan.attached is None else plan.attached.model.labels
        key = (sink.updated_us, plan.dataset.owner, plan.dataset.name, plan.stream.name, *labels)
        with self._lock:
            found = self._opened.get(sink.id)
        if found is not None and found.key == key:
            return found
        if found is not None:
            found.target.close()
        opened = _Opened(key, opened_sink(self._reach, plan, sink), time.monotonic())
        with self._lock:
            self._opened[sink.id] = opened
        return opened

    def _keep_leases(self) -> None:
        if time.monotonic() - self._kept_s < self._pace.lease_s / 3:
            return
        self._kept_s = time.monotonic()
        with self._lock:
            busy = list(self._busy)
        if busy:
            with self._db.write(catalogue=False) as tx:
                sinks.extend(tx, busy, worker=self.name, lease_s=self._pace.lease_s)

    def _close_unused(self) -> None:
        now_s = time.monotonic()
        with self._lock:
            unused = [
                sink_id
                for sink_id, one in self._opened.items()
                if sink_id not in self._busy and now_s - one.used_s > KEPT_OPEN_S
            ]
            gone = [self._opened.pop(sink_id) for sink_id in unused]
        for one in gone:
            one.target.close()


def _is_failing(sink: Sink) -> bool:
    return sink.waits > 0


class SinkThread(threading.Thread):
    """Delivers to sinks inside the process that ran `lodestream serve`."""

    def __init__(self, db: Database, predictor: Predictor, reach: Reach, *, pace: SinkPace) -> None:
        super().__init__(name="sinks", daemon=True)
        self._stop_event = threading.Event()
        self._runner = SinkRunner(db, predictor, reach, self._stop_event, pace=pace)

    def run(self) -> None:
        """Deliver until asked to stop."""
        self._runner.run()

    def ask_to_stop(self) -> None:
        """Ask for the end; `join` waits for it."""
        self._stop_event.set()
