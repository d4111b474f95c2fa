"""What every server process does beside answering: write hints, settle keys, empty SQLite's log."""

from __future__ import annotations

import logging
import threading

from lodestream.domain.errors import Unavailable
from lodestream.store import keys
from lodestream.store.activity import ActivityLog
from lodestream.store.db import Database

INTERVAL_S = 1.0

log = logging.getLogger("lodestream.worker")


class Housekeeper(threading.Thread):
    """Runs until `stop` is set."""

    def __init__(self, db: Database, activity: ActivityLog, stop: threading.Event) -> None:
        super().__init__(name="housekeeping", daemon=True)
        self._db = db
        self._activity = activity
        self._stop_event = stop

    def run(self) -> None:
        """Tidy up about once a second, and a last time before the end."""
        while not self._stop_event.wait(INTERVAL_S):
            self._tidy()
        self._tidy()

    def _tidy(self) -> None:
        try:
            self._activity.write(self._db)
            keys.settle(self._db)
            self._db.checkpoint_when_idle()
        except Unavailable as error:
            log.warning("housekeeping: %s", error.message)
        except Exception:
            log.exception("housekeeping failed")
