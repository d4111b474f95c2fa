"""What commands share that work on the database itself."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import click

from lodestream.cli.options import Failed
from lodestream.domain.secrets import Keyring
from lodestream.server import open_database
from lodestream.settings import Settings, read_settings
from lodestream.store import migrate
from lodestream.store.db import Database

_Command = TypeVar("_Command", bound=Callable[..., Any])


def limit_threads(settings: Settings) -> None:
    """Bound the threads of numeric libraries, which read it when they are first imported."""
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ[name] = str(max(1, settings.learn_threads))


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


def settings_from(**overrides: Any) -> Settings:
    """Read the settings; options that were given win over the environment."""
    try:
        settings = read_settings(**overrides)
        Keyring(settings.secret_key)
        return settings
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
