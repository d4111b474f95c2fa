"""`lodestream backup`, `restore` and `copy`: a whole instance, elsewhere."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import click

from lodestream.actions import transfer as actions
from lodestream.api.service import data_folder_blobs
from lodestream.cli.database import any_database, database_options, settings_from
from lodestream.cli.options import told_in_one_line
from lodestream.store import dialect
from lodestream.store.blobs import BlobStore
from lodestream.store.db import Database
from lodestream.store.transfer import Progress, folder_of


@click.command()
@click.argument("folder", metavar="DIR", type=click.Path(file_okay=False, path_type=Path))
@database_options
def backup(folder: Path, data: Path | None, database_url: str | None) -> None:
    """Write database and uploaded files into DIR, while the server runs.

    DIR is made, or must be empty. It holds texts: keep it as safe as the server.
    """
    settings = settings_from(data=data, database_url=database_url)
    with told_in_one_line(), any_database(settings) as db, _shown() as progress:
        made = actions.back_up(db, data_folder_blobs(settings.data), folder, progress)
    click.echo(f"{folder}: {_summary(made)}")


@click.command()
@click.argument(
    "folder", metavar="DIR", type=click.Path(exists=True, file_okay=False, path_type=Path)
)
@database_options
def restore(folder: Path, data: Path | None, database_url: str | None) -> None:
    """Bring back what `backup` wrote into DIR, into an empty database of either kind."""
    settings = settings_from(data=data, database_url=database_url)
    with told_in_one_line(), any_database(settings) as db, _shown() as progress:
        made = actions.restore(folder, db, data_folder_blobs(settings.data), progress)
    click.echo(f"restored: {_summary(made)}")


@click.command()
@click.option("--from", "source", metavar="URL", required=True, help="Database to copy.")
@click.option("--to", "target", metavar="URL", required=True, help="Empty database to copy into.")
@click.option(
    "--data",
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder of the uploaded files beside a PostgreSQL database; beside a SQLite database they "
    "are in its own folder.  [LODESTREAM_DATA, or lodestream-data]",
)
def copy(source: str, target: str, data: Path | None) -> None:
    """Copy a whole instance into another database, SQLite or PostgreSQL.

    Stop the server on the source first: what comes in after the copy began is not copied. A copy
    that was interrupted goes on when it is called again.
    """
    folder = settings_from(data=data).data
    with (
        told_in_one_line(),
        _opened(source) as here,
        _opened(target) as there,
        _shown() as progress,
    ):
        rows = actions.copy_instance(
            here,
            there,
            files_from=_files(here, folder),
            files_to=_files(there, folder),
            progress=progress,
        )
    for name, count in sorted(rows.items()):
        click.echo(f"{count:>12}  {name}")
    click.echo("copied; the counts on both sides are the same")


def _summary(made: actions.Manifest) -> str:
    return (
        f"{made.rows['comment']} comments, {made.rows['stream']} streams, {made.files} files, "
        f"as of {made.created_at}"
    )


@contextmanager
def _opened(url: str) -> Iterator[Database]:
    try:
        parsed = dialect.database_url(url)
    except ValueError as error:
        raise click.UsageError(str(error)) from error
    with closing(Database(parsed)) as db:
        yield db


def _files(db: Database, data: Path) -> BlobStore:
    return data_folder_blobs(folder_of(db) or data)


@contextmanager
def _shown() -> Iterator[Progress]:
    """Show progress on standard error, one bar for each kind of work, where somebody looks."""
    shown: dict[str, Any] = {}

    def tell(what: str, done: int, total: int) -> None:
        if not sys.stderr.isatty():
            return
        if what not in shown:
            finish()
            shown[what] = click.progressbar(length=total, label=what, file=sys.stderr)
        bar = shown[what]
        bar.update(done - bar.pos)

    def finish() -> None:
        for bar in shown.values():
            bar.render_finish()
        shown.clear()

    try:
        yield tell
    finally:
        finish()
