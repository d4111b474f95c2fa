"""The loop of background work: claim a job, run it, finish it.

A job is claimed for a lease that is extended while the job runs; when a worker dies, its lease runs
out and another worker takes the job up again. So a job may run more than once, and every action
behind a job can be repeated. A job that fails comes back after a pause that doubles each time.
"""

from __future__ import annotations

import contextlib
import logging
import os
import random
import secrets
import socket
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from lodestream.domain.errors import LodestreamError, Unavailable
from lodestream.store import jobs
from lodestream.store.blobs import BlobStore
from lodestream.store.db import Database
from lodestream.store.jobs import Job
from lodestream.worker.jobs import HANDLERS, PERIODIC, Handler, Interrupted, Work

LEASE_S = 60.0
POLL_S = 1.0
FIRST_PAUSE_S = 2.0
LONGEST_PAUSE_S = 600.0

log = logging.getLogger("lodestream.worker")


@dataclass(frozen=True)
class Pace:
    """How often a worker looks for jobs, and how long it keeps one without a sign of life."""

    poll_s: float = POLL_S
    lease_s: float = LEASE_S
    first_pause_s: float = FIRST_PAUSE_S


class Worker:
    """Runs jobs, one at a time, until `stop` is set."""

    def __init__(
        self,
        db: Database,
        blobs: BlobStore,
        stop: threading.Event,
        *,
        handlers: Mapping[str, Handler] = HANDLERS,
        pace: Pace | None = None,
    ) -> None:
        self._db = db
        self._blobs = blobs
        self._stop = stop
        self._handlers = handlers
        self._pace = pace or Pace()
        self.name = f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(3)}"

    def run(self) -> None:
        """Work until told to stop; a job under way is given back at its next good place."""
        log.info("worker started", extra={"worker": self.name})
        planned = False
        while not self._stop.is_set():
            try:
                if not planned:
                    self._plan_periodic()
                    planned = True
                if self.run_one():
                    continue
            except Unavailable as error:
                log.warning("worker: %s", error.message)
            except Exception:
                log.exception("worker failed")
            self._stop.wait(self._pace.poll_s)
        log.info("worker stopped", extra={"worker": self.name})

    def run_one(self) -> bool:
        """Run the job that has been due longest; return False if there is none.

        Raises Unavailable if the database cannot be reached.
        """
        with self._db.read() as tx:
            if not jobs.any_due(tx):
                return False
        with self._db.write(catalogue=False) as tx:
            job = jobs.claim(tx, worker=self.name, lease_s=self._pace.lease_s)
        if job is None:
            return False
        self._run(job)
        return True

    def _plan_periodic(self) -> None:
        with self._db.write(catalogue=False) as tx:
            for kind in PERIODIC:
                if not jobs.exists(tx, kind):
                    jobs.enqueue(tx, kind, {})

    def _run(self, job: Job) -> None:
        told = {"job": job.id, "kind": job.kind, "attempt": job.attempts}
        try:
            handler = self._handlers.get(job.kind)
            if handler is None:
                raise LodestreamError(f"no such kind of job: {job.kind}")
            with self._kept(job) as lost:
                again_s = handler(Work(self._db, self._blobs, job.payload, self._stop, lost))
        except Interrupted:
            with self._db.write(catalogue=False) as tx:
                jobs.release(tx, job.id, worker=self.name)
            log.info("job interrupted", extra=told)
        except Exception as error:
            expected = isinstance(error, LodestreamError)
            reason = error.message if isinstance(error, LodestreamError) else type(error).__name__
            pause_s = self._pause_s(job.attempts)
            log.log(
                logging.WARNING if expected else logging.ERROR,
                "job failed",
                exc_info=None if expected else error,
                extra={**told, "reason": reason, "pause_s": round(pause_s, 1)},
            )
            with self._db.write(catalogue=False) as tx:
                jobs.postpone(tx, job.id, worker=self.name, delay_s=pause_s, error=reason)
        else:
            with self._db.write(catalogue=False) as tx:
                if again_s is None:
                    jobs.finish(tx, job.id, worker=self.name)
                else:
                    jobs.repeat(tx, job.id, worker=self.name, delay_s=again_s)
            log.info("job done", extra=told)

    def _pause_s(self, attempts: int) -> float:
        longest: float = self._pace.first_pause_s * 2 ** min(attempts - 1, 20)
        # Jitter, so that jobs which failed together do not come back together.
        return min(longest, LONGEST_PAUSE_S) * random.uniform(0.75, 1.0)  # noqa: S311 (no secret)

    @contextlib.contextmanager
    def _kept(self, job: Job) -> Iterator[threading.Event]:
        """Extend the lease for as long as the context lasts; the event tells that it was lost."""
        done, lost = threading.Event(), threading.Event()

        def beat() -> None:
            while not done.wait(self._pace.lease_s / 3):
                try:
                    with self._db.write(catalogue=False) as tx:
                        held = jobs.extend(tx, job.id, worker=self.name, lease_s=self._pace.lease_s)
                except Unavailable as error:
                    log.warning("worker: %s", error.message)
                    continue
                if not held:
                    lost.set()
                    return

        thread = threading.Thread(target=beat, name="heartbeat", daemon=True)
        thread.start()
        try:
            yield lost
        finally:
            done.set()
            thread.join()


class WorkerThread(threading.Thread):
    """A worker inside the process that ran `lodestream serve`."""

    def __init__(self, db: Database, blobs: BlobStore) -> None:
        super().__init__(name="worker", daemon=True)
        self._stop_event = threading.Event()
        self._worker = Worker(db, blobs, self._stop_event)

    def run(self) -> None:
        """Work until asked to stop."""
        self._worker.run()

    def ask_to_stop(self) -> None:
        """Ask for the end; `join` waits for it."""
        self._stop_event.set()
