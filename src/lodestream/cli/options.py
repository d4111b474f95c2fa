"""What every command shares: options, exit codes, and how an expected failure is told.

Exit codes: 0 the command did what it says; 1 it was refused or found something wrong; 2 it was
called wrongly; 3 the server or the database could not be reached.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import FrameType
from typing import Any, Final, TypeVar

import click

from lodestream.domain.errors import LodestreamError, Unavailable
from lodestream.server import open_database
from lodestream.settings import Settings, read_settings
from lodestream.store import migrate
from lodestream.store.db import Database

OK: Final = 0
FAILED: Final = 1
USAGE: Final = 2
UNREACHABLE: Final = 3

_Command = TypeVar("_Command", bound=Callable[..., Any])


class Failed(click.ClickException):
    """The command was refused, or found something wrong."""

    exit_code = FAILED


class Unreachable(click.ClickException):
    """The server or the database could not be reached."""

    exit_code = UNREACHABLE


class Commands(click.Group):
    """A group of commands whose expected failures are one line on standard error."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run a command; turn an expected refusal into its message and exit code."""
        with told_in_one_line():
            return super().invoke(ctx)


@contextlib.contextmanager
def told_in_one_line() -> Iterator[None]:
    """Turn expected errors into a message and an exit code."""
    try:
        yield
    except Unavailable as error:
        raise Unreachable(f"{error.message} (try `lodestream doctor`)") from error
    except LodestreamError as error:
        raise Failed(error.message) from error
    except BrokenPipeError:
        raise
    except OSError as error:
        where = f": {error.filename}" if error.filename else ""
        raise Failed(f"{error.strerror or error}{where} (try `lodestream doctor`)") from error


def limit_threads(settings: Settings) -> None:
    """Bound the threads of numeric libraries, which read it when they are first imported."""
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ[name] = str(max(1, settings.learn_threads))


@contextlib.contextmanager
def stopped_by_signals() -> Iterator[threading.Event]:
    """Let SIGTERM and SIGINT set an event, for as long as the context lasts, and nothing more.

    uvicorn takes the signals over while it serves, and raises them again when it has stopped.
    """
    stopped = threading.Event()

    def stop(_signal: int, _frame: FrameType | None) -> None:
        stopped.set()

    before = {one: signal.signal(one, stop) for one in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield stopped
    finally:
        for one, handler in before.items():
            signal.signal(one, handler)


def database_options(command: _Command) -> _Command:
    """Add the options that say which database a command works on."""
    data = click.option(
        "--data",
        type=click.Path(file_okay=False, path_type=Path),
        help="Folder of the embedded database and uploaded files.  [LODESTREAM_DATA, or "
        "lodestream-data]",
    )
    url = click.option(
        "--database-url",
        metavar="URL",
        help="Database to use instead of the embedded one, as postgresql://user@host/name.  "
        "[LODESTREAM_DATABASE_URL]",
    )
    return data(url(command))


def json_option(command: _Command) -> _Command:
    """Add `--json`: for programs instead of people."""
    flag = click.option("--json", "as_json", is_flag=True, help="Print JSON.")
    return flag(command)


def settings_from(**overrides: Any) -> Settings:
    """Read the settings; options that were given win over the environment."""
    try:
        return read_settings(**overrides)
    except ValueError as error:
        raise click.UsageError(str(error)) from error


@contextlib.contextmanager
def any_database(settings: Settings) -> Iterator[Database]:
    """Open the database as it is, for as long as the context lasts."""
    try:
        db = open_database(settings)
    except ValueError as error:
        raise click.UsageError(str(error)) from error
    except OSError as error:
        raise Failed(folder_problem(settings.data, error)) from error
    try:
        yield db
    finally:
        db.close()


@contextlib.contextmanager
def migrated_database(settings: Settings) -> Iterator[Database]:
    """Open the database and bring its schema to the version that this program needs.

    Raises Failed if a newer version of the program has been there.
    """
    with any_database(settings) as db:
        migrate_database(db)
        yield db


def migrate_database(db: Database) -> None:
    """Bring the schema to the version that this program needs.

    Raises Failed if a newer version of the program has been there.
    """
    version = migrate.schema_version(db)
    if version.is_newer:
        raise Failed(
            f"the database has schema {version.current}, which is newer than this program "
            f"(it knows {version.needed}): upgrade Lodestream"
        )
    if not version.is_current:
        migrate.upgrade(db)


def folder_problem(folder: Path, error: OSError) -> str:
    """Say that a folder cannot be used, and why."""
    reason = error.strerror or type(error).__name__
    return f"cannot write to the data folder {folder}: {reason} (try `lodestream doctor`)"


def print_json(value: object) -> None:
    """Print a value as JSON, on standard output."""
    click.echo(json.dumps(value, ensure_ascii=False, indent=2))


def print_table(rows: Sequence[Mapping[str, object]], columns: Sequence[str]) -> None:
    """Print rows as a table with aligned columns, on standard output."""
    cells = [[_cell(row.get(name)) for name in columns] for row in rows]
    widths = [
        max(len(line[at]) for line in [list(columns), *cells]) for at, _ in enumerate(columns)
    ]
    for line in [[name.upper() for name in columns], *cells]:
        text = "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True))
        click.echo(text.rstrip())


def _cell(value: object) -> str:
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return str(value)
