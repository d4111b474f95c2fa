"""The database: where transactions are opened.

A *read* sees one snapshot and cannot write: the database refuses it, and the type checker refuses
to pass a `Reader` to what writes. A *write* is one transaction: on SQLite it holds the file's one
write lock from its start (BEGIN IMMEDIATE), queued in this process before it is tried in the file,
because SQLite's own wait is unfair. Any exception rolls it back.

A *probe* is for the hot paths: a driver's connection of the calling thread, in autocommit, for
statements prepared once (`dialect.Prepared`).
"""

from __future__ import annotations

import contextlib
import sqlite3
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import sqlalchemy as sa
from sqlalchemy import event
from sqlalchemy.engine import URL
from sqlalchemy.pool import QueuePool

from lodestream.domain.errors import Unavailable
from lodestream.store import dialect
from lodestream.store.dialect import Prepared
from lodestream.store.tables import counter


class Reader:
    """A read-only transaction."""

    def __init__(self, connection: sa.Connection) -> None:
        self.connection = connection
        self.dialect_name: str = connection.dialect.name

    def execute(self, statement: sa.Executable, parameters: Any = None) -> sa.CursorResult[Any]:
        """Run a statement; `parameters` may be a list of mappings to run it many times."""
        return self.connection.execute(statement, parameters)

    def rows(self, statement: sa.ClauseElement, **params: object) -> list[tuple[Any, ...]]:
        """Run a query of a hot path, a constant of its module, as `dialect.Prepared` does."""
        cursor = self.driver
        return dialect.prepared(statement, self.dialect_name).rows(cursor, **params)

    @property
    def driver(self) -> Any:
        """The driver's own connection, inside this transaction."""
        return self.connection.connection.driver_connection


class Writer(Reader):
    """A transaction that may write."""

    def run(self, statement: sa.ClauseElement, **params: object) -> int:
        """Run a change as `rows` runs a query; return how many rows it changed."""
        return dialect.prepared(statement, self.dialect_name).run(self.driver, **params)


class Database:
    """A SQLite file or a PostgreSQL database, shared by every thread of this process."""

    def __init__(self, url: URL, *, pool_size: int = 16, durable_advance: bool = False) -> None:
        self.url = url
        self.dialect_name = url.get_backend_name()
        self.is_sqlite = self.dialect_name == "sqlite"
        self._durable_advance = durable_advance
        self._local = threading.local()
        self._drivers: list[Any] = []
        self._drivers_lock = threading.Lock()
        # One queue for all writes of this process; see the module's text.
        self._turn = threading.Lock()
        self._writes = self._writes_checkpointed = self._writes_seen = 0
        if self.is_sqlite:
            Path(url.database or "").parent.mkdir(parents=True, exist_ok=True)
            self._readers = self._sqlite_engine(read_only=True, size=pool_size)
            self._writers = self._sqlite_engine(read_only=False, size=1)
        else:
            self._readers = self._writers = sa.create_engine(
                url,
                pool_size=pool_size,
                max_overflow=pool_size,
                pool_pre_ping=True,
                connect_args={"connect_timeout": 10},
            )
        self._bump = sa.update(counter).where(counter.c.name == "catalogue")

    def _sqlite_engine(self, *, read_only: bool, size: int) -> sa.Engine:
        engine = sa.create_engine(
            self.url,
            poolclass=QueuePool,
            pool_size=size,
            max_overflow=size,
            connect_args={
                "check_same_thread": False,
                "timeout": dialect.BUSY_TIMEOUT_S,
                "cached_statements": 512,
            },
        )

        @event.listens_for(engine, "connect")
        def configure(connection: sqlite3.Connection, _record: object) -> None:
            connection.isolation_level = None
            dialect.configure_sqlite(connection, read_only=read_only, durable=True)

        @event.listens_for(engine, "begin")
        def begin(connection: sa.Connection) -> None:
            connection.exec_driver_sql("BEGIN" if read_only else "BEGIN IMMEDIATE")

        return engine

    @contextlib.contextmanager
    def read(self) -> Iterator[Reader]:
        """Open a read-only transaction.

        Raises Unavailable if the database cannot be reached.
        """
        with reachable(), self._readers.connect() as connection:
            if not self.is_sqlite:
                connection = connection.execution_options(
                    postgresql_readonly=True, isolation_level="REPEATABLE READ"
                )
            with connection.begin():
                yield Reader(connection)

    @contextlib.contextmanager
    def write(self, *, catalogue: bool = True) -> Iterator[Writer]:
        """Open a transaction that may write; commit at the end, roll back on any exception.

        `catalogue` says that it may change what caches hold: anything but comments and positions.
        Raises Unavailable if the database cannot be reached.
        """
        self._writes += 1
        with self._queued(), reachable(), self._writers.connect() as connection:
            if not self.is_sqlite:
                connection = connection.execution_options(postgresql_readonly=False)
            with connection.begin():
                if catalogue:
                    # First of all, so that on PostgreSQL, too, such changes take turns: what one
                    # checks (a name is free, a quota has room) still holds when it writes.
                    connection.execute(self._bump.values(value=counter.c.value + 1))
                yield Writer(connection)

    @contextlib.contextmanager
    def _queued(self) -> Iterator[None]:
        if self.is_sqlite:
            with self._turn:
                yield
        else:
            yield

    def probe(self) -> Any:
        """Return this thread's own driver connection for prepared single statements, read-only."""
        connection = getattr(self._local, "probe", None)
        if connection is None or (not self.is_sqlite and connection.closed):
            connection = self._local.probe = self._open_driver(
                read_only=True, durable=False, wait_s=5.0
            )
        return connection

    def try_step(self, statement: Prepared, **params: object) -> int | None:
        """Run one prepared write as a transaction of its own; return how many rows it changed.

        Return None, having done nothing, when it would have to wait for another write: it may be
        called on the event loop on SQLite. On PostgreSQL it waits for the server's answer.
        """
        if not self.is_sqlite:
            with reachable():
                return statement.run(self._stepper(), **params)
        if not self._turn.acquire(blocking=False):
            return None
        try:
            return statement.run(self._stepper(), **params)
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF == sqlite3.SQLITE_BUSY:
                return None
            raise
        finally:
            self._turn.release()

    def _stepper(self) -> Any:
        connection = getattr(self._local, "stepper", None)
        if connection is None or (not self.is_sqlite and connection.closed):
            connection = self._local.stepper = self._open_driver(
                read_only=False, durable=self._durable_advance, wait_s=0.0
            )
        return connection

    def _open_driver(self, *, read_only: bool, durable: bool, wait_s: float) -> Any:
        with reachable():
            if self.is_sqlite:
                connection: Any = sqlite3.connect(
                    self.url.database or "",
                    timeout=wait_s,
                    isolation_level=None,
                    check_same_thread=False,
                    cached_statements=512,
                )
                dialect.configure_sqlite(connection, read_only=read_only, durable=durable)
            else:
                dsn = self.url.set(drivername="postgresql").render_as_string(hide_password=False)
                connection = psycopg.connect(
                    dsn, autocommit=True, prepare_threshold=1, connect_timeout=10
                )
                if read_only:
                    dialect.configure_postgres_probe(connection)
                    connection.read_only = True
                else:
                    dialect.configure_postgres_stepper(connection, durable=durable)
        with self._drivers_lock:
            self._drivers.append(connection)
        return connection

    def checkpoint_when_idle(self) -> None:
        """Move what is in SQLite's log into its file, if nothing was written since the last call.

        A page that many batches change is so moved once, not after each of them; while writes go
        on, SQLite's own checkpoint bounds the log (`dialect.AUTO_CHECKPOINT_PAGES`).
        """
        idle, self._writes_seen = self._writes == self._writes_seen, self._writes
        if self.is_sqlite and idle and self._writes != self._writes_checkpointed:
            self._writes_checkpointed = self._writes
            with reachable():
                self._stepper().execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()

    def close(self) -> None:
        """Close every connection."""
        self._readers.dispose()
        self._writers.dispose()
        with self._drivers_lock:
            for connection in self._drivers:
                connection.close()
            self._drivers.clear()
        self._local = threading.local()


_UNAVAILABLE_CODES = frozenset(
    {
        sqlite3.SQLITE_BUSY,
        sqlite3.SQLITE_LOCKED,
        sqlite3.SQLITE_CANTOPEN,
        sqlite3.SQLITE_IOERR,
        sqlite3.SQLITE_FULL,
        sqlite3.SQLITE_READONLY,
        sqlite3.SQLITE_CORRUPT,
        sqlite3.SQLITE_NOTADB,
    }
)


@contextlib.contextmanager
def reachable() -> Iterator[None]:
    """Turn the drivers' signs of an unreachable or locked database into Unavailable."""
    try:
        yield
    except (sa.exc.DatabaseError, psycopg.OperationalError, sqlite3.DatabaseError) as error:
        origin = getattr(error, "orig", None) or error
        code = getattr(origin, "sqlite_errorcode", None)
        if code is not None and code & 0xFF not in _UNAVAILABLE_CODES:
            raise  # a statement that SQLite refuses is a bug of ours
        if code is None and not isinstance(
            origin, (sqlite3.OperationalError, psycopg.OperationalError)
        ):
            raise
        lines = str(origin).strip().splitlines() or [type(origin).__name__]
        raise Unavailable(f"the database does not answer: {lines[0]}") from error
    except sa.exc.TimeoutError as error:
        raise Unavailable("every database connection is in use") from error
