"""A server as its operator starts it: a process of its own, on a port of its own."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from pathlib import Path

SCRIPTS = Path(sys.executable).parent


def free_port() -> int:
    """Return a port that nobody listens on just now."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


def environment(port: int, **more: str) -> dict[str, str]:
    """Return an environment in which `lodestream` is this checkout's, on `port`.

    It learns only if `more` says so: a process that nobody needs slows every test. Nothing is
    downloaded.
    """
    inherited = {k: v for k, v in os.environ.items() if not k.startswith("LODESTREAM_")}
    path = f"{SCRIPTS}{os.pathsep}{os.environ['PATH']}"
    ours = {"PATH": path, "LODESTREAM_PORT": str(port), "LODESTREAM_LEARNING": "false"}
    ours["PIP_NO_INDEX"] = "1"
    # Contexts of whoever runs the tests must not lead commands elsewhere.
    ours["LODESTREAM_CONTEXTS_FILE"] = "contexts.json"
    return {**inherited, **ours, **more}


class ServerProcess:
    """`lodestream serve` (or another command that serves), started in `folder`."""

    def __init__(self, folder: Path, given: Mapping[str, str], *, command: Sequence[str]) -> None:
        self.url = f"http://127.0.0.1:{given['LODESTREAM_PORT']}"
        self.log = folder / "server.log"
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [str(SCRIPTS / "lodestream"), *command],
                cwd=folder,
                env=given,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        self._await_ready()

    def stop(self) -> None:
        """Stop it as Ctrl-C does, and insist that it ends well."""
        self.process.send_signal(signal.SIGINT)
        try:
            code = self.process.wait(30)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise
        assert code == 0, self.tail()

    def tail(self) -> str:
        """Return the end of what it printed."""
        return self.log.read_text(errors="replace")[-4000:]

    def _await_ready(self) -> None:
        for _ in range(300):
            assert self.process.poll() is None, self.tail()
            try:
                urllib.request.urlopen(f"{self.url}/readyz", timeout=30).close()
            except (urllib.error.URLError, ConnectionError):
                time.sleep(0.1)
            else:
                return
        self.process.kill()
        self.process.wait()
        raise AssertionError(f"the server does not answer\n{self.tail()}")
