"""`lodestream serve`: the API, and the background worker beside it."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import sys
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

import click
import uvicorn
from uvicorn.config import STARTUP_FAILURE
from uvicorn.supervisors import Multiprocess

from lodestream.actions.predict import Predictor
from lodestream.actions.setup import ensure_first_admin
from lodestream.api.service import data_folder_blobs
from lodestream.cli.database import (
    database_options,
    folder_problem,
    limit_threads,
    migrated_database,
    settings_from,
)
from lodestream.cli.learner import LearnerProcess
from lodestream.cli.logs import configure, log_config
from lodestream.cli.options import Failed, stopped_by_signals, told_in_one_line
from lodestream.server import mailbox_pace_of, make_app, outside_of, reach_of
from lodestream.settings import METRICS_FOLDER, Settings, encoders_folder, environment_of
from lodestream.store.db import Database
from lodestream.worker.loop import WorkerThread
from lodestream.worker.mailboxes import MailboxThread
from lodestream.worker.sinks import SinkPace, SinkThread

KEEP_ALIVE_S: Final = 120
BACKLOG: Final = 2048


@click.command()
@click.option("--host", metavar="ADDRESS", help="Address to listen on.  [LODESTREAM_HOST]")
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    help="Port to listen on; 0 takes a free one.  [LODESTREAM_PORT, or 8000]",
)
@click.option(
    "--workers",
    type=click.IntRange(1, 256),
    help="Server processes.  [LODESTREAM_WORKERS, or 1]",
)
@database_options
def serve(
    host: str | None,
    port: int | None,
    workers: int | None,
    data: Path | None,
    database_url: str | None,
) -> None:
    """Serve the API and do the background work.

    Makes the data folder, migrates the database, and on the very first start makes an
    administrator and prints the token. Ends cleanly on SIGTERM and SIGINT.
    """
    settings = settings_from(
        host=host, port=port, workers=workers, data=data, database_url=database_url
    )
    with told_in_one_line():
        run(settings, announce)


def announce(settings: Settings, url: str, secret: str | None) -> None:
    """Print where the server is and a command that works when it is pasted."""
    click.echo(f"Lodestream listens on {url}")
    if secret is None:
        click.echo(f"\n  curl -s {url}/readyz\n")
    elif settings.admin_token:
        click.echo("The user `admin` was made, with the token in LODESTREAM_ADMIN_TOKEN.")
        header = "Authorization: Bearer $LODESTREAM_ADMIN_TOKEN"
        click.echo(f'\n  curl -s -H "{header}" {url}/api/v1/sources\n')
    else:
        click.echo(f"The user `admin` was made. The token, shown this once:\n\n  {secret}\n")
        click.echo("Try it:\n")
        click.echo(f"  curl -s -H 'Authorization: Bearer {secret}' {url}/api/v1/sources\n")
    sys.stdout.flush()


def prepare_folder(folder: Path) -> None:
    """Make the data folder, readable by its owner only. Raises Failed if it cannot be used."""
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as error:
        raise Failed(folder_problem(folder, error)) from error
    if not os.access(folder, os.W_OK | os.X_OK):
        raise Failed(f"cannot write to the data folder {folder} (try `lodestream doctor`)")


def listen(host: str, port: int) -> socket.socket:
    """Return a socket that listens. Raises Failed if the port is taken or the address not ours."""
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listener = socket.create_server(address[:2], family=family, backlog=BACKLOG)
    except OSError as error:
        # The number's own text, where there is one: Python adds the address, which is said anyway.
        known = error.errno is not None and error.errno > 0
        reason = os.strerror(error.errno or 0) if known else error.strerror or str(error)
        raise Failed(
            f"cannot listen on {host} port {port}: {reason} (try `lodestream doctor`)"
        ) from error
    listener.set_inheritable(True)
    return listener


def url_of(listener: socket.socket) -> str:
    """Return the URL under which a listening socket is reached from this machine."""
    host, port = listener.getsockname()[:2]
    if host in ("0.0.0.0", "::"):  # noqa: S104 (compared, not bound)
        host = "127.0.0.1"
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


Announce = Callable[[Settings, str, str | None], None]
Prepare = Callable[[Database, str | None], None]


def run(settings: Settings, announce: Announce, *, prepare: Prepare | None = None) -> None:
    """Serve until told to stop. `prepare(db, secret)` may fill the database before."""
    configure(settings.log_level)
    limit_threads(settings)
    prepare_folder(settings.data)
    with (
        contextlib.closing(listen(settings.host, settings.port)) as listener,
        migrated_database(settings) as db,
        stopped_by_signals() as stopped,
    ):
        secret = ensure_first_admin(db, settings.admin_token)
        if prepare is not None:
            prepare(db, secret)
        if stopped.is_set():
            return
        announce(settings, url_of(listener), secret)
        beside = _Beside(settings, db)
        learner = LearnerProcess(settings) if settings.learning else None
        if learner is not None:
            learner.start()
        try:
            if settings.workers > 1:
                _serve_by_several(settings, listener)
            else:
                _serve(settings, db, listener, beside)
        finally:
            if learner is not None:
                learner.stop()
            beside.stop()


class _Beside:
    """What works in threads beside the API, on the same `Database`."""

    def __init__(self, settings: Settings, db: Database) -> None:
        self._threads: list[WorkerThread | SinkThread | MailboxThread] = [
            WorkerThread(db, data_folder_blobs(settings.data))
        ]
        if settings.sinks:
            predictor = Predictor(db, encoders_folder(settings))
            pace = SinkPace(threads=settings.sink_threads)
            self._threads.append(SinkThread(db, predictor, reach_of(settings), pace=pace))
        if settings.mailboxes:
            self._threads.append(
                MailboxThread(db, outside_of(settings), pace=mailbox_pace_of(settings))
            )
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Ask all for the end, and wait for it."""
        for thread in self._threads:
            thread.ask_to_stop()
        for thread in self._threads:
            thread.join()


def _serve_by_several(settings: Settings, listener: socket.socket) -> None:
    with _handed_down(settings):
        config = _config(settings, "lodestream.server:app_from_environment", factory=True)
        supervisor = Multiprocess(config, sockets=[listener])
        supervisor.run()
    if any(process.exitcode == STARTUP_FAILURE for process in supervisor.processes):
        raise Failed("the server processes could not start; their log says why")


def _serve(settings: Settings, db: Database, listener: socket.socket, beside: _Beside) -> None:
    # Worker and API share one `Database`, so that their writes queue in one line.
    server = uvicorn.Server(_config(settings, make_app(settings, db, stop_others=beside.stop)))
    server.run(sockets=[listener])
    if not server.started:
        raise Failed("the server could not start; its log says why")


def _config(settings: Settings, app: Any, *, factory: bool = False) -> uvicorn.Config:
    # The parser in C is not there on every platform; uvicorn then has one of its own.
    fast = find_spec("httptools") is not None
    return uvicorn.Config(
        app,
        factory=factory,
        workers=settings.workers,
        loop="auto",
        http="lodestream.api.protocol:LodestreamProtocol" if fast else "auto",
        ws="none",
        lifespan="on",
        timeout_keep_alive=KEEP_ALIVE_S,
        timeout_graceful_shutdown=20,
        access_log=False,
        server_header=False,
        # Headers that anybody can send are believed from these addresses only.
        proxy_headers=bool(settings.trusted_proxies),
        forwarded_allow_ips=settings.trusted_proxies or None,
        log_config=log_config(settings.log_level),
    )


@contextlib.contextmanager
def _handed_down(settings: Settings) -> Iterator[None]:
    """Put the settings, and a folder for shared metrics, where server processes find them."""
    folder = _metrics_folder(settings.data / "metrics")
    given = {**environment_of(settings), METRICS_FOLDER: str(folder)}
    # The token of the administrator is no business of the server processes.
    given.pop("LODESTREAM_ADMIN_TOKEN", None)
    before = dict(os.environ)
    os.environ.pop("LODESTREAM_ADMIN_TOKEN", None)
    os.environ.update(given)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)
        shutil.rmtree(folder, ignore_errors=True)


def _metrics_folder(parent: Path) -> Path:
    """Make an empty folder of our own; remove those of servers that died on this machine."""
    ours = f"{socket.gethostname()}-"
    for left in parent.glob(f"{ours}*"):
        pid = left.name.removeprefix(ours)
        if pid.isdigit() and not _is_alive(int(pid)):
            shutil.rmtree(left, ignore_errors=True)
    folder = parent / f"{ours}{os.getpid()}"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _is_alive(pid: int) -> bool:
    if pid == os.getpid():
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True
