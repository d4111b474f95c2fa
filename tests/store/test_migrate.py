"""The chain of migrations and the tables of the program agree."""

from __future__ import annotations

from pathlib import Path

from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import text

from lodestream.store import migrate
from lodestream.store.db import Database
from lodestream.store.dialect import sqlite_url
from lodestream.store.tables import metadata


def test_a_migrated_database_has_the_tables_of_the_program(db: Database) -> None:
    with db.read() as tx:
        options = {"compare_type": True}
        context = MigrationContext.configure(tx.connection, opts=options)
        found = compare_metadata(context, metadata)
    # Alembic's own table, and the one that migrating processes take turns on, are nobody's.
    assert [one for one in found if not _is_our_bookkeeping(one)] == []


def _is_our_bookkeeping(difference: object) -> bool:
    match difference:
        case ("remove_table", table):
            return getattr(table, "name", "") == "migration_turn"
    return False


def test_migrating_twice_changes_nothing(tmp_path: Path) -> None:
    db = Database(sqlite_url(tmp_path / "twice.sqlite3"))
    migrate.upgrade(db)
    version = migrate.schema_version(db)
    with db.read() as tx:
        salt = tx.execute(metadata.tables["meta"].select()).all()
    migrate.upgrade(db)
    with db.read() as tx:
        assert tx.execute(metadata.tables["meta"].select()).all() == salt
    assert migrate.schema_version(db) == version
    assert version.is_current
    db.close()


def test_labels_of_the_first_schema_keep_their_order_and_get_keys(tmp_path: Path) -> None:
    db = Database(sqlite_url(tmp_path / "old.sqlite3"))
    migrate.upgrade(db, to="0001")
    with db.write() as tx:
        for statement in (
            "INSERT INTO project VALUES ('p', 'p', '', '', 0, 0, 0)",
            "INSERT INTO dataset VALUES ('d', 'p', 'd', '', '', 'english', 0, '{}', 0, 0)",
            "INSERT INTO label_group VALUES ('d', 'default', 0, '{}')",
            "INSERT INTO label_def VALUES ('d', 'default', 'Zulu', 0, '{}', 1)",
            "INSERT INTO label_def VALUES ('d', 'default', 'Alpha', 1, '{}', 2)",
        ):
            tx.execute(text(statement))
    migrate.upgrade(db)
    with db.read() as tx:
        found = tx.execute(text("SELECT key, name, created_us FROM label_def ORDER BY rank")).all()
    assert [tuple(row) for row in found] == [(1, "Zulu", 1), (2, "Alpha", 2)]
    db.close()
