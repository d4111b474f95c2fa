"""The loop of learning: look what there is to learn, learn it, look again."""

from __future__ import annotations

import logging
import os
import secrets
import socket
import threading
from pathlib import Path

from lodestream.actions.derive import Stopped
from lodestream.actions.learning import Learner, Pace
from lodestream.actions.predict import Predictor
from lodestream.domain.errors import Unavailable
from lodestream.store.db import Database

POLL_S = 0.5
LONGEST_PAUSE_S = 30.0

log = logging.getLogger("lodestream.worker")


class LearnerLoop:
    """Learns, one step at a time, until `stop` is set."""

    def __init__(
        self, db: Database, encoders: Path, stop: threading.Event, *, pace: Pace | None = None
    ) -> None:
        self._stop = stop
        self.name = f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(3)}"
        self._learner = Learner(
            db, Predictor(db, encoders), name=self.name, pace=pace or Pace(), go_on=self._go_on
        )

    def run(self) -> None:
        """Learn until told to stop; what is under way is given up at its next good place."""
        log.info("learner started", extra={"worker": self.name})
        failures = 0
        while not self._stop.is_set():
            try:
                busy = self._learner.run_once()
                failures = 0
            except Stopped:
                break
            except Unavailable as error:
                log.warning("learner: %s", error.message)
                busy, failures = False, failures + 1
            except Exception:
                log.exception("learner failed")
                busy, failures = False, failures + 1
            if not busy:
                self._stop.wait(min(POLL_S * 2**failures, LONGEST_PAUSE_S))
        log.info("learner stopped", extra={"worker": self.name})

    def _go_on(self) -> None:
        if self._stop.is_set():
            raise Stopped
