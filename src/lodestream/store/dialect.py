"""All that differs between the two databases, and statements prepared for the hot paths."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, Final

import psycopg
import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import URL, make_url
from sqlalchemy.sql.compiler import SQLCompiler

PAGE_BYTES: Final = 4096
# A reader walks along ranges and needs little; the writer finds its pages in random order.
# The file is not mapped into memory: that would save 0.13 us a comment read, and make the server's
# resident memory grow with the file.
READER_CACHE_KIB: Final = 4 * 1024
WRITER_CACHE_KIB: Final = 64 * 1024
AUTO_CHECKPOINT_PAGES: Final = 32_000  # 128 MB of log: a stop; an idle thread checkpoints earlier
BUSY_TIMEOUT_S: Final = 60.0

_LOOPBACK: Final = frozenset({"127.0.0.1", "::1", "localhost"})

_DIALECTS: dict[str, sa.Dialect] = {
    "sqlite": sqlite.dialect(paramstyle="named"),
    "postgresql": postgresql.dialect(paramstyle="pyformat"),  # type: ignore[no-untyped-call]
}


def database_url(text: str) -> URL:
    """Read a database URL as an operator writes it: `sqlite:///file`, `postgresql://…`.

    Raises ValueError for any other kind of database.
    """
    try:
        url = make_url(text)
    except sa.exc.ArgumentError as error:
        raise ValueError(f"not a database URL: {error}") from error
    kind = url.get_backend_name()
    if kind == "postgres":
        url, kind = url.set(drivername="postgresql"), "postgresql"
    if kind == "postgresql":
        if url.host in _LOOPBACK and "sslmode" not in url.query and _default_sslmode() == b"prefer":
            # Encryption that nobody asked for, on a way that never leaves the machine, is a third
            # of what PostgreSQL costs. With `allow` it is still used if the database insists.
            url = url.update_query_dict({"sslmode": "allow"})
        return url.set(drivername="postgresql+psycopg")
    if kind == "sqlite":
        return url.set(drivername="sqlite+pysqlite")
    raise ValueError(f"unknown kind of database: {kind} (sqlite and postgresql are known)")


def _default_sslmode() -> bytes | None:
    """Return what libpq does when a URL says nothing: PGSSLMODE, else `prefer`."""
    options = psycopg.pq.Conninfo.get_defaults()
    return next((one.val for one in options if one.keyword == b"sslmode"), None)


def sqlite_url(path: Path) -> URL:
    """Return the URL of the SQLite database in the file `path`."""
    return URL.create("sqlite+pysqlite", database=str(path))


def configure_sqlite(connection: sqlite3.Connection, *, read_only: bool, durable: bool) -> None:
    """Set up a new SQLite connection.

    With `durable` a commit waits for the disk (synchronous=FULL). Without, a commit survives the
    death of the process but the newest ones may be undone by a power cut.
    """
    run = connection.execute
    run(f"PRAGMA page_size = {PAGE_BYTES}")  # only has effect while the file is empty
    run("PRAGMA journal_mode = WAL")
    run(f"PRAGMA synchronous = {'FULL' if durable else 'NORMAL'}")
    run(f"PRAGMA cache_size = -{READER_CACHE_KIB if read_only else WRITER_CACHE_KIB}")
    run("PRAGMA mmap_size = 0")
    run("PRAGMA foreign_keys = ON")
    run("PRAGMA temp_store = MEMORY")
    run(f"PRAGMA wal_autocheckpoint = {AUTO_CHECKPOINT_PAGES}")
    run("PRAGMA journal_size_limit = 67108864")
    if read_only:
        run("PRAGMA query_only = ON")


def configure_postgres_probe(connection: psycopg.Connection[Any]) -> None:
    """Make the planner walk indexes in order, whatever it believes about the tables' sizes.

    Every statement of a probe is a short walk along an index. With statistics that are missing or
    old, as after a first large upload, the planner would rather read all and sort. What is off is
    only made very dear: where a sort cannot be avoided, as of the few rows that a merge returns,
    the estimate becomes so high that PostgreSQL would compile the statement, for 100 ms and more.
    """
    ways = ("sort", "bitmapscan", "hashjoin", "mergejoin", "seqscan")
    for name in ("jit", *(f"enable_{way}" for way in ways)):
        # An engine that has no such setting is no worse off without it.
        with contextlib.suppress(psycopg.Error):
            connection.execute(f"SET {name} = off")


def configure_postgres_stepper(connection: psycopg.Connection[Any], *, durable: bool) -> None:
    """Set whether an advance waits for the disk, as `configure_sqlite` does for SQLite."""
    if not durable:
        connection.execute("SET synchronous_commit = off")


class Prepared:
    """A statement compiled once, to be run on a driver's cursor without SQLAlchemy in between.

    Parameters that the statement binds by itself (the constants of a filter) are kept; those named
    when it is run are given by keyword.
    """

    __slots__ = ("_options", "constants", "text")

    def __init__(self, statement: sa.ClauseElement, dialect_name: str) -> None:
        dialect = _DIALECTS[dialect_name]
        compiled = statement.compile(dialect=dialect)
        assert isinstance(compiled, SQLCompiler)
        named = [name for name, bind in compiled.binds.items() if bind.required]
        self.text, values = compiled.string, compiled.params
        if compiled.post_compile_params:
            # Lists are spelled out; to do so, SQLAlchemy wants a value for everything else.
            state = compiled.construct_expanded_state(dict.fromkeys(named))
            self.text, values = state.statement, state.parameters
        # Bodies come as they are, not as hexadecimal text.
        self._options = {"binary": True} if dialect_name == "postgresql" else {}
        self.constants: dict[str, Any] = {
            name: value for name, value in values.items() if name not in named
        }

    def rows(self, cursor: Any, **params: object) -> list[tuple[Any, ...]]:
        """Run on a driver's connection or cursor and return every row."""
        if self.constants:
            params = {**self.constants, **params}
        result: list[tuple[Any, ...]] = cursor.execute(
            self.text, params, **self._options
        ).fetchall()
        return result

    def run(self, cursor: Any, **params: object) -> int:
        """Run a statement that returns no rows; return how many rows it changed."""
        if self.constants:
            params = {**self.constants, **params}
        count: int = cursor.execute(self.text, params).rowcount
        return count


@lru_cache(maxsize=256)
def prepared(statement: sa.ClauseElement, dialect_name: str) -> Prepared:
    """Return a statement that lives as long as the process, compiled at its first use."""
    return Prepared(statement, dialect_name)


def insert_ignoring(table: sa.Table, dialect_name: str) -> Any:
    """Return an INSERT that leaves a row alone which is already there."""
    maker = postgresql.insert if dialect_name == "postgresql" else sqlite.insert
    return maker(table).on_conflict_do_nothing()


def upsert(
    table: sa.Table, dialect_name: str, *, values: dict[str, Any], update: Sequence[str]
) -> Any:
    """Return an INSERT of one row which, when its key is there, sets the columns `update`."""
    maker = postgresql.insert if dialect_name == "postgresql" else sqlite.insert
    statement = maker(table).values(**values)
    return statement.on_conflict_do_update(
        index_elements=list(table.primary_key.columns),
        set_={name: statement.excluded[name] for name in update},
    )
