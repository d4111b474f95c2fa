"""`lodestream worker`: background work in a process of its own."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from pathlib import Path

import click

from lodestream.actions.predict import Predictor
from lodestream.api.service import data_folder_blobs
from lodestream.cli.database import any_database, database_options, limit_threads, settings_from
from lodestream.cli.logs import configure
from lodestream.cli.options import Failed, stopped_by_signals, told_in_one_line
from lodestream.server import mailbox_pace_of, outside_of, reach_of
from lodestream.settings import Settings, encoders_folder
from lodestream.store.db import Database
from lodestream.store.migrate import schema_version
from lodestream.worker.learner import LearnerLoop
from lodestream.worker.loop import Worker
from lodestream.worker.mailboxes import MailboxRunner
from lodestream.worker.sinks import SinkPace, SinkRunner


@click.command()
@click.option(
    "--only",
    type=click.Choice(["jobs", "learning", "mailboxes", "sinks"]),
    help="Do only this: jobs, training and predicting, reading mailboxes, or delivering to sinks.",
)
@click.option("--with-parent", is_flag=True, hidden=True, help="End when standard input does.")
@database_options
def worker(
    only: str | None, with_parent: bool, data: Path | None, database_url: str | None
) -> None:
    """Do background work: train models, predict, read mailboxes, deliver to sinks, tidy up.

    `lodestream serve` does this work, too; more workers, on this or other machines, share it. Ends
    cleanly on SIGTERM and SIGINT: what is under way is given back.
    """
    settings = settings_from(data=data, database_url=database_url)
    limit_threads(settings)
    with told_in_one_line(), any_database(settings) as db:
        configure(settings.log_level)
        version = schema_version(db)
        if not version.is_current:
            raise Failed(
                f"the database has schema {version.current or '(none)'}, this program needs "
                f"{version.needed}: run `lodestream migrate` or start `lodestream serve` first"
            )
        with stopped_by_signals() as stop:
            if with_parent:
                threading.Thread(target=_wait_for_parent, args=(stop,), daemon=True).start()
            _work(settings, db, stop, only)


def _work(settings: Settings, db: Database, stop: threading.Event, only: str | None) -> None:
    encoders = encoders_folder(settings)
    kinds: dict[str, Callable[[], None]] = {
        "jobs": Worker(db, data_folder_blobs(settings.data), stop).run,
        "learning": LearnerLoop(db, encoders, stop).run,
        "mailboxes": MailboxRunner(
            db, outside_of(settings), stop, pace=mailbox_pace_of(settings)
        ).run,
        "sinks": SinkRunner(
            db,
            Predictor(db, encoders),
            reach_of(settings),
            stop,
            pace=SinkPace(threads=settings.sink_threads),
        ).run,
    }
    if only is None and not settings.sinks:
        del kinds["sinks"]
    wanted = [kinds[only]] if only is not None else list(kinds.values())
    threads = [threading.Thread(target=run, name="worker") for run in wanted[1:]]
    for thread in threads:
        thread.start()
    wanted[0]()
    for thread in threads:
        thread.join()


def _wait_for_parent(stop: threading.Event) -> None:
    # The parent holds the other end of the pipe, and writes nothing: it ends with the parent.
    sys.stdin.buffer.read()
    stop.set()
