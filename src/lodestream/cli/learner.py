"""The process beside the API that learns: started with it, started again if it dies."""

from __future__ import annotations

import contextlib
import logging
import os
import subprocess
import sys
import threading
from typing import Final

from lodestream.settings import Settings, environment_of

AGAIN_AFTER_S: Final = 5.0
END_WITHIN_S: Final = 20.0

log = logging.getLogger("lodestream.worker")


class LearnerProcess(threading.Thread):
    """Keeps `lodestream worker --only learning` running until it is told to stop.

    In a process of its own, training can take neither the API's time nor its memory, and what it
    may use up is given back when it ends.
    """

    def __init__(self, settings: Settings) -> None:
        super().__init__(name="learner-process", daemon=True)
        self._environment = {**os.environ, **environment_of(settings)}
        # The token of the administrator and the key of secrets are no business of a learner.
        for name in ("LODESTREAM_ADMIN_TOKEN", "LODESTREAM_SECRET_KEY"):
            self._environment.pop(name, None)
        self._stopped = threading.Event()
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None

    def run(self) -> None:
        """Start the process, and again some seconds after it ended by itself."""
        while not self._stopped.is_set():
            with self._lock:
                if self._stopped.is_set():
                    return
                self._process = self._start()
            code = self._process.wait()
            if not self._stopped.is_set():
                log.error("the learning process ended by itself with code %d", code)
                self._stopped.wait(AGAIN_AFTER_S)

    def stop(self) -> None:
        """End the process, and wait until it has."""
        with self._lock:
            self._stopped.set()
        if self._process is not None:
            with contextlib.suppress(OSError):
                self._process.terminate()
            try:
                self._process.wait(END_WITHIN_S)
            except subprocess.TimeoutExpired:
                # Nothing is lost: what it had not finished, it does another time.
                self._process.kill()
        self.join()

    def _start(self) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "lodestream", "worker", "--only", "learning"]
        return subprocess.Popen(  # noqa: S603 (our own program)
            [*command, "--with-parent"], stdin=subprocess.PIPE, env=self._environment
        )
