"""Servers that are killed: real processes, forked from one that has the program loaded already."""

from __future__ import annotations

import contextlib
import http.client
import json
import multiprocessing
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from lodestream.cli.serve import run
from lodestream.settings import Settings
from tests.processes import free_port

TOKEN = "kill-token"

_CONTEXT = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload(["pytest", "lodestream.cli.serve"])


def serve(log: str, settings: Settings) -> None:
    """Be a server process, as `lodestream serve` is one."""
    out = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(out, 1)
    os.dup2(out, 2)
    run(settings, lambda _settings, _url, _secret: None)


class Server:
    """A server process over a database; it starts in the background."""

    def __init__(self, folder: Path, database_url: str) -> None:
        self.port = free_port()
        self._log = folder / "server.log"
        settings = Settings(
            port=self.port,
            data=folder,
            database_url=database_url,
            admin_token=TOKEN,
            log_level="warning",
            learning=False,
        )
        self._process = _CONTEXT.Process(target=serve, args=(str(self._log), settings), daemon=True)
        self._killed = False
        self._process.start()

    @classmethod
    @contextlib.contextmanager
    def over(cls, folder: Path, database_url: str) -> Iterator[Server]:
        """Run a server for as long as the context lasts, and kill it then."""
        server = cls(folder, database_url)
        try:
            server.await_ready()
            yield server
        finally:
            server.kill()

    def kill(self) -> None:
        """End it at once, without a chance to tidy up; again is no matter."""
        if self._killed:
            return
        self._killed = True
        self._process.kill()
        self._process.join(30)
        assert self._process.exitcode is not None
        self._process.close()

    def check_alive(self) -> None:
        """Insist that it did not end by itself, and log nothing unexpected."""
        assert self._process.is_alive(), self._log.read_text()[-4000:]

    def await_ready(self) -> None:
        """Wait until it answers."""
        deadline = time.monotonic() + 60
        while True:
            try:
                with Caller(self.port) as caller:
                    if caller.ask("GET", "/readyz")[0] == 200:
                        return
            except OSError:
                assert self._process.is_alive(), self._log.read_text()[-4000:]
            if time.monotonic() > deadline:
                self.kill()
                raise AssertionError(f"the server is not ready: {self._log.read_text()[-4000:]}")
            time.sleep(0.01)


class Caller:
    """A client with one connection; raises OSError or HTTPException when the server dies."""

    def __init__(self, port: int) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)

    def __enter__(self) -> Caller:
        return self

    def __exit__(self, *_: object) -> None:
        self._connection.close()

    def ask(self, method: str, path: str, body: object = None) -> tuple[int, Any]:
        """Ask and return status and body, whatever they are."""
        content = None if body is None else json.dumps(body).encode()
        headers = {"authorization": f"Bearer {TOKEN}"}
        self._connection.request(method, path, content, headers)
        response = self._connection.getresponse()
        read = response.read()
        return response.status, json.loads(read) if read else None

    def ok(self, method: str, path: str, body: object = None) -> Any:
        """Ask, insist on success, and return the body."""
        status, answer = self.ask(method, path, body)
        assert status == 200, (method, path, status, answer)
        return answer
