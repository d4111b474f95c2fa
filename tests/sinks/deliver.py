"""A process that delivers to sinks, to be killed: short leases, so that the next one goes on soon.

python -m tests.sinks.deliver DATABASE_URL SECRET_KEY
"""

from __future__ import annotations

import sys
import threading
from pathlib import Path

from lodestream.actions.predict import Predictor
from lodestream.actions.sinks import Reach
from lodestream.domain import deliveries
from lodestream.domain.secrets import Keyring
from lodestream.store.db import Database
from lodestream.store.dialect import database_url
from lodestream.worker.sinks import SinkPace, SinkRunner


def main() -> None:
    url, key = sys.argv[1:]
    deliveries.FIRST_WAIT_S = 0.02  # type: ignore[misc]
    deliveries.LONGEST_WAIT_S = 0.1  # type: ignore[misc]
    db = Database(database_url(url))
    pace = SinkPace(poll_s=0.01, lease_s=0.3)
    reach = Reach(Keyring(key))
    SinkRunner(db, Predictor(db, Path("none")), reach, threading.Event(), pace=pace).run()


if __name__ == "__main__":
    main()
