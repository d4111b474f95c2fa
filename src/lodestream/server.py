"""Puts the server together: settings → database → routes → ASGI app."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable
from pathlib import Path

from lodestream.actions.integrations import Outside
from lodestream.actions.sinks import Reach
from lodestream.api.app import App
from lodestream.api.metrics import Metrics
from lodestream.api.routes import ROUTES
from lodestream.api.routing import Router
from lodestream.api.service import Limits, Service, data_folder_blobs
from lodestream.domain.outbound import parse_hosts
from lodestream.domain.secrets import Keyring
from lodestream.settings import METRICS_FOLDER, Settings, encoders_folder, read_settings
from lodestream.store.db import Database
from lodestream.store.dialect import database_url, sqlite_url
from lodestream.worker.housekeeping import Housekeeper
from lodestream.worker.mailboxes import MailboxPace


def open_database(settings: Settings) -> Database:
    """Open the database that the settings name, without touching its schema.

    Raises ValueError for a URL of an unknown kind.
    """
    if settings.database_url:
        url = database_url(settings.database_url)
    else:
        url = sqlite_url(settings.data / "lodestream.sqlite3")
    return Database(url, pool_size=settings.threads + 4, durable_advance=settings.durable_advance)


def make_service(settings: Settings, db: Database, *, shared_metrics: str | None = None) -> Service:
    """Return what the handlers work with."""
    return Service(
        db,
        data_folder_blobs(settings.data),
        limits=Limits(
            body_bytes=settings.max_body_mib << 20,
            upload_bytes=settings.max_upload_mib << 20,
            file_bytes=settings.max_file_mib << 20,
            # At least one request of the largest size has to find room.
            held_bytes=max(settings.max_held_mib, settings.max_body_mib) << 20,
            concurrent_requests=settings.max_concurrent,
            streams=settings.max_exports,
            requests_per_s=settings.max_rate,
        ),
        threads=settings.threads,
        poison_fetches=settings.poison_fetches,
        metrics=Metrics(shared_metrics),
        encoders=encoders_folder(settings),
        reach=reach_of(settings),
        spool=settings.data,
        outside=outside_of(settings),
        any_transform_tag=settings.any_transform_tag,
    )


def reach_of(settings: Settings) -> Reach:
    """Return how far sinks reach. Raises ValueError for a key that is none."""
    return Reach(
        Keyring(settings.secret_key),
        parse_hosts(settings.outbound_hosts),
        Path(settings.sink_folder) if settings.sink_folder else None,
    )


def outside_of(settings: Settings) -> Outside:
    """Return what reaching mail systems needs. Raises ValueError for a key that is none."""
    return Outside(Keyring(settings.secret_key), parse_hosts(settings.outbound_hosts))


def mailbox_pace_of(settings: Settings) -> MailboxPace:
    """Return how often mailboxes are read, and how many at once."""
    return MailboxPace(interval_s=settings.mailbox_interval, threads=settings.mailbox_threads)


def make_app(
    settings: Settings,
    db: Database,
    *,
    shared_metrics: str | None = None,
    stop_others: Callable[[], None] = lambda: None,
) -> App:
    """Return the ASGI application over a migrated database, with its housekeeping under way.

    `shared_metrics` is the folder where several server processes put their counters together. When
    the application stops it closes the database; `stop_others` stops before what else uses it.
    """
    service = make_service(settings, db, shared_metrics=shared_metrics)
    stop = threading.Event()
    housekeeper = Housekeeper(db, service.activity, stop)

    def on_stop() -> None:
        stop_others()
        stop.set()
        housekeeper.join()
        db.close()

    housekeeper.start()
    return App(
        service,
        Router(ROUTES, prefix=settings.path_prefix),
        metrics=service.metrics,
        access_log=settings.access_log,
        on_stop=on_stop,
    )


def app_from_environment() -> App:
    """Return the application as a server process of `lodestream serve --workers N` runs it."""
    _end_with_parent()
    settings = read_settings()
    shared_metrics = os.environ.get(METRICS_FOLDER)
    return make_app(settings, open_database(settings), shared_metrics=shared_metrics)


def _end_with_parent() -> None:
    """End this process when the one that started it is gone, so that none is left behind."""
    parent = multiprocessing.parent_process()
    if parent is None:
        return

    def watch() -> None:
        parent.join()
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=watch, name="parent-watch", daemon=True).start()
