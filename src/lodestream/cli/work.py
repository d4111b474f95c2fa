"""`lodestream worker`: background work in a process of its own."""

from __future__ import annotations

from pathlib import Path

import click

from lodestream.api.service import data_folder_blobs
from lodestream.cli.logs import configure
from lodestream.cli.options import (
    Failed,
    any_database,
    database_options,
    settings_from,
    stopped_by_signals,
    told_in_one_line,
)
from lodestream.store.migrate import schema_version
from lodestream.worker.loop import Worker


@click.command()
@database_options
def worker(data: Path | None, database_url: str | None) -> None:
    """Do background work: what deletions leave behind, and other jobs.

    `lodestream serve` does this work, too; more workers, on this or other machines, share it. Ends
    cleanly on SIGTERM and SIGINT: a job under way is given back.
    """
    settings = settings_from(data=data, database_url=database_url)
    with told_in_one_line(), any_database(settings) as db:
        configure(settings.log_level)
        version = schema_version(db)
        if not version.is_current:
            raise Failed(
                f"the database has schema {version.current or '(none)'}, this program needs "
                f"{version.needed}: run `lodestream migrate` or start `lodestream serve` first"
            )
        with stopped_by_signals() as stop:
            Worker(db, data_folder_blobs(settings.data), stop).run()
