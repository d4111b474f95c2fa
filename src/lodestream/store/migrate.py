"""The schema's version: upgrade, and what version is there."""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory

from lodestream.domain.errors import Unavailable
from lodestream.domain.ids import new_id
from lodestream.domain.times import now_us
from lodestream.domain.users import SYSTEM_USER
from lodestream.store.db import Database, Reader
from lodestream.store.dialect import insert_ignoring
from lodestream.store.tables import account, counter, meta, project

COPYING = "copying"
"""The schema version of a database into which a copy is under way."""

_SCRIPTS = Path(__file__).parent / "migrations"


@dataclass(frozen=True)
class SchemaVersion:
    """The version a database has, and the one this program needs."""

    current: str | None
    needed: str
    is_newer: bool = False
    """Whether a version of the program that this one does not know has been there."""

    @property
    def is_current(self) -> bool:
        """Whether the program can use the database as it is."""
        return self.current == self.needed


def schema_version(db: Database) -> SchemaVersion:
    """Compare the database's schema with the one this program needs.

    Raises Unavailable if the database cannot be reached, or holds half a copy.
    """
    with db.read() as tx:
        current = _current(tx)
    needed, known = _versions()
    is_newer = current is not None and current not in known
    return SchemaVersion(current=current, needed=needed, is_newer=is_newer)


def _current(tx: Reader) -> str | None:
    current = MigrationContext.configure(tx.connection).get_current_revision()
    if current == COPYING:
        raise Unavailable("a copy into this database has not been finished: run it again")
    return current


@lru_cache(maxsize=1)
def _versions() -> tuple[str, frozenset[str]]:
    """Return the version that this program needs, and every version that it knows."""
    scripts = ScriptDirectory.from_config(_config())
    needed = scripts.get_current_head()
    assert needed is not None
    return needed, frozenset(one.revision for one in scripts.walk_revisions())


def upgrade(db: Database, *, to: str = "head") -> None:
    """Bring the schema to a version, the newest, and write the rows that every database has.

    Safe to call from several processes at once: on PostgreSQL a table lock makes them take turns.
    Raises Unavailable if the database cannot be reached, or holds half a copy.
    """
    with db.write(catalogue=False) as tx:
        if tx.dialect_name == "postgresql":
            tx.execute(sa.text("CREATE TABLE IF NOT EXISTS migration_turn (id int)"))
            tx.execute(sa.text("LOCK TABLE migration_turn IN ACCESS EXCLUSIVE MODE"))
        _current(tx)
        config = _config()
        config.attributes["connection"] = tx.connection
        command.upgrade(config, to)
        seed(tx)


def seed(tx: Reader) -> None:
    """Write the rows that every database has, where they are missing."""
    now = now_us()
    rows: list[tuple[sa.Table, dict[str, object]]] = [
        (meta, {"name": "key_salt", "value": secrets.token_hex(8)}),
        (meta, {"name": "tenant_id", "value": new_id()}),
        (meta, {"name": "tenant_name", "value": "main"}),
        (counter, {"name": "position", "value": 0}),
        (counter, {"name": "catalogue", "value": 1}),
        (
            account,
            {
                "id": SYSTEM_USER,
                "username": "system",
                "email": "system@lodestream.invalid",
                "email_folded": "system@lodestream.invalid",
                "global_permissions": "[]",
                "created_us": now,
            },
        ),
    ]
    first = tx.execute(sa.select(sa.func.count()).select_from(meta)).scalar_one() == 0
    if first:
        rows.append(
            (
                project,
                {
                    "id": new_id(),
                    "name": "DefaultProject",
                    "title": "Default project",
                    "description": "",
                    "user_auto_join": False,
                    "created_us": now,
                    "updated_us": now,
                },
            )
        )
    for table, values in rows:
        tx.execute(insert_ignoring(table, tx.dialect_name).values(**values))


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(_SCRIPTS).replace("%", "%%"))
    return config
