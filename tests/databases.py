"""PostgreSQL databases for tests: made once, emptied after each test.

Making and dropping a database costs half a second, emptying one a tenth of that.
"""

from __future__ import annotations

import secrets
import time

import psycopg
import sqlalchemy as sa

from lodestream.store import migrate
from lodestream.store.db import Database, Reader, Writer
from lodestream.store.dialect import database_url
from lodestream.store.tables import metadata

# A test that changed the schema, or its version, gets its database replaced.
_SHAPE = sa.text("""
    SELECT string_agg(table_name || '.' || column_name || ' ' || data_type, ',' ORDER BY 1)
    FROM (SELECT * FROM information_schema.columns WHERE table_schema = 'public') AS columns
""")
_OTHERS = sa.text("""
    SELECT pg_terminate_backend(pid) FROM pg_stat_activity
    WHERE datname = current_database() AND pid <> pg_backend_pid()
""")
_FILLED = sa.text("""
    SELECT relname FROM pg_class
    WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace AND pg_relation_size(oid) > 0
""")
_RESTART = sa.text("""
    SELECT setval(oid::regclass, 1, false) FROM pg_class
    WHERE relkind = 'S' AND relnamespace = 'public'::regnamespace
""")


def run_on_postgres(url: str, statement: str) -> None:
    """Run a statement outside any transaction, as CREATE DATABASE needs it."""
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(statement.encode())


class SharedDatabase:
    """A migrated database on the server at `server`, for one test after the other."""

    def __init__(self, server: str) -> None:
        self._server = server
        self._name = f"lodestream_test_{secrets.token_hex(6)}"
        self._db = Database(database_url(server).set(database=self._name))
        self._make()
        with self._db.read() as tx:
            self._fresh = _shape(tx)

    @property
    def url(self) -> str:
        """Its URL."""
        return self._db.url.render_as_string(hide_password=False)

    def empty(self) -> None:
        """Make it what it was at first; whoever is still connected is thrown out."""
        with self._db.write(catalogue=False) as tx:
            _throw_out(tx)
            as_it_was = _shape(tx) == self._fresh and _version(tx) == self._version
            if as_it_was:
                _empty(tx)
        if not as_it_was:
            self.drop()
            self._make()

    def drop(self) -> None:
        """Remove it."""
        self._db.close()
        run_on_postgres(self._server, f"DROP DATABASE {self._name} WITH (FORCE)")

    def _make(self) -> None:
        run_on_postgres(self._server, f"CREATE DATABASE {self._name}")
        # Tests kill our processes, not the database's.
        command = f"ALTER DATABASE {self._name} SET synchronous_commit = off"
        run_on_postgres(self._server, command)
        migrate.upgrade(self._db)
        with self._db.read() as tx:
            self._version = _version(tx)


def _shape(tx: Reader) -> object:
    return tx.execute(_SHAPE).scalar_one()


def _version(tx: Reader) -> object:
    return tx.execute(sa.text("SELECT version_num FROM alembic_version")).scalars().all()


def _throw_out(tx: Reader) -> None:
    for _ in range(100):
        # What one transaction sees of the activity stays the same unless it is told to look again.
        tx.execute(sa.text("SELECT pg_stat_clear_snapshot()"))
        if not tx.execute(_OTHERS).all():
            return
        time.sleep(0.02)


def _empty(tx: Writer) -> None:
    filled = set(tx.execute(_FILLED).scalars())
    # Not TRUNCATE: it makes new files, and these tables are small.
    for table in reversed(metadata.sorted_tables):
        if table.name in filled:
            tx.execute(sa.delete(table))
    tx.execute(_RESTART)
    migrate.seed(tx)
