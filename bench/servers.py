"""Lodestream servers to measure, each with a database of its own that goes away with it."""

from __future__ import annotations

import contextlib
import http.client
import os
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import psycopg

from bench import machine
from bench.client import Client

POSTGRES = os.environ.get(
    "LODESTREAM_TEST_POSTGRES", "postgresql://postgres@127.0.0.1:5432/postgres"
)
_START_S = 30.0


class Skipped(Exception):
    """Something that a figure needs is not on this machine."""


class DidNotStart(Exception):
    """A process ended, or did nothing for too long, before it could be used."""


class Server:
    """A running server process and how to reach it."""

    def __init__(
        self, process: subprocess.Popen[bytes], port: int, token: str, postgres: Postgres | None
    ) -> None:
        self._process = process
        self._port = port
        self._token = token
        self._postgres = postgres
        self._clients: list[Client] = []

    @property
    def url(self) -> str:
        """Where it is."""
        return f"http://127.0.0.1:{self._port}"

    @property
    def token(self) -> str:
        """The first administrator's."""
        return self._token

    @property
    def own_pids(self) -> list[int]:
        """The server's processes, without those of its database."""
        return machine.family(self._process.pid)

    @property
    def pids(self) -> list[int]:
        """The server's processes, and those of PostgreSQL that serve it."""
        return self.own_pids + (self._postgres.pids() if self._postgres else [])

    def client(self, *, accept_encoding: str = "identity") -> Client:
        """Return a new client of the first administrator; it is closed with the server."""
        client = Client(self._port, self._token, accept_encoding=accept_encoding)
        self._clients.append(client)
        return client

    def close(self) -> None:
        """Close every client."""
        for client in self._clients:
            client.close()


class Postgres:
    """A scratch database on a PostgreSQL that is there already."""

    def __init__(self, connection: psycopg.Connection[Any], name: str) -> None:
        self._connection = connection
        self._name = name
        parts = urlsplit(POSTGRES)
        self.url = urlunsplit((*parts[:2], f"/{name}", parts.query, ""))

    def pids(self, *, pinned: bool = False) -> list[int]:
        """Return the processes behind this database's connections; none if they run elsewhere.

        `pinned` brings them to the benchmark's core, where they may be moved.
        """
        rows = self._connection.execute(
            "SELECT pid FROM pg_stat_activity WHERE datname = %s", (self._name,)
        )
        here = [pid for (pid,) in rows if machine.program_of(pid).startswith("postgres")]
        if pinned:
            for pid in here:
                machine.pin(pid)
        return here


@contextlib.contextmanager
def serve(*, postgres: Postgres | None = None, learning: bool = False) -> Iterator[Server]:
    """Run a server on a free port, with a data folder of its own; stop it and remove both.

    It learns, in a process beside it, only if told to.

    Raises DidNotStart with the end of its log.
    """
    token = secrets.token_hex(20)
    with scratch_folder() as folder:
        port = machine.free_port()
        environment = {k: v for k, v in os.environ.items() if not k.startswith("LODESTREAM_")}
        environment["LODESTREAM_ADMIN_TOKEN"] = token
        environment["LODESTREAM_LEARNING"] = str(learning).lower()
        command = [sys.executable, "-m", "lodestream", "serve", "--host", "127.0.0.1"]
        command += ["--port", str(port), "--data", str(folder / "data")]
        if postgres is not None:
            environment["LODESTREAM_DATABASE_URL"] = postgres.url
        with run(command, folder / "log", environment) as process:
            _wait_until_ready(process, port, folder / "log")
            server = Server(process, port, token, postgres)
            with contextlib.closing(server):
                yield server


@contextlib.contextmanager
def postgres() -> Iterator[Postgres]:
    """Make a database, and drop it. Raises Skipped if there is no PostgreSQL."""
    try:
        connection = psycopg.connect(POSTGRES, autocommit=True, connect_timeout=3)
    except psycopg.OperationalError:
        raise Skipped("no PostgreSQL answers; set LODESTREAM_TEST_POSTGRES") from None
    name = f"lodestream_bench_{secrets.token_hex(6)}"
    with connection:
        connection.execute(f"CREATE DATABASE {name}")
        try:
            yield Postgres(connection, name)
        finally:
            connection.execute(f"DROP DATABASE {name} WITH (FORCE)")


@contextlib.contextmanager
def scratch_folder() -> Iterator[Path]:
    """Make a folder, and remove it with all that is in it."""
    folder = Path(tempfile.mkdtemp(prefix="lodestream-bench-"))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def run(
    command: list[str], log: Path, environment: dict[str, str] | None = None
) -> Iterator[subprocess.Popen[bytes]]:
    """Run a process beside this one; end it, gently first."""
    with log.open("wb") as out:
        # A session of its own: an interrupt at the terminal must reach the benchmark alone, which
        # then ends what it started in the right order.
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=out,
            env=environment,
            cwd=log.parent,
            start_new_session=True,
        )
        try:
            yield process
        finally:
            process.terminate()
            try:
                process.wait(15)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()


def wait_for_port(process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    """Wait until a process listens. Raises DidNotStart with the end of its log."""
    for _ in attempts(process, log):
        with contextlib.suppress(OSError), _connected(port):
            return


def attempts(process: subprocess.Popen[bytes], log: Path) -> Iterator[None]:
    """Yield now and then while a process comes up; raise DidNotStart when it is too late."""
    end = time.monotonic() + _START_S
    while process.poll() is None and time.monotonic() < end:
        yield
        time.sleep(0.05)
    tail = log.read_bytes()[-1000:].decode(errors="replace")
    raise DidNotStart(f"it did not start; its log ends with\n{tail}")


@contextlib.contextmanager
def _connected(port: int) -> Iterator[http.client.HTTPConnection]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    connection.connect()
    with contextlib.closing(connection):
        yield connection


def _wait_until_ready(process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    for _ in attempts(process, log):
        with contextlib.suppress(OSError), _connected(port) as connection:
            connection.request("GET", "/api/v1/sources")
            # Without a token a server that is ready refuses; one that is not does not answer.
            if connection.getresponse().status == 401:
                return
