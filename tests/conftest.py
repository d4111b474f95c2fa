"""Both databases, and a server over each of them."""

from __future__ import annotations

import os
import shutil
from collections import Counter
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path

import psycopg
import pytest
import sqlalchemy as sa

from lodestream.domain.access import ALL_FINE_GRAINED_PROJECT_PERMISSIONS
from lodestream.domain.ids import new_id
from lodestream.domain.times import now_us
from lodestream.server import make_app
from lodestream.settings import Settings
from lodestream.store import migrate
from lodestream.store.db import Database
from lodestream.store.dialect import database_url, sqlite_url
from lodestream.store.tables import account, grant, project, token
from tests.client import Client, Loop
from tests.databases import SharedDatabase

POSTGRES = os.environ.get(
    "LODESTREAM_TEST_POSTGRES", "postgresql://postgres@127.0.0.1:5432/postgres"
)
ROOT_TOKEN = "root-token"


def _postgres_answers() -> bool:
    try:
        psycopg.connect(POSTGRES, connect_timeout=3).close()
    except psycopg.OperationalError:
        return False
    return True


@pytest.fixture(scope="session")
def postgres() -> str:
    """The URL of a PostgreSQL where databases may be made."""
    if not _postgres_answers():
        if os.environ.get("CI"):
            pytest.fail(f"no PostgreSQL answers at {POSTGRES}; CI needs one")
        pytest.skip(f"NO POSTGRESQL at {POSTGRES}: set LODESTREAM_TEST_POSTGRES")
    return POSTGRES


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say in the summary, where nobody overlooks it, what could not be tested here."""
    reasons = Counter(
        report.longrepr[2].removeprefix("Skipped: ")
        for report in terminalreporter.stats.get("skipped", [])
        if isinstance(report.longrepr, tuple)
    )
    for reason, count in reasons.items():
        terminalreporter.write_line(f"{count} skipped: {reason}")


@pytest.fixture(scope="session")
def postgres_database(postgres: str) -> Iterator[SharedDatabase]:
    """A migrated database that tests share one after the other."""
    database = SharedDatabase(postgres)
    yield database
    database.drop()


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A migrated SQLite file that others are copied from."""
    path = tmp_path_factory.mktemp("template") / "template.sqlite3"
    db = Database(sqlite_url(path))
    migrate.upgrade(db)
    db.close()
    return path


@pytest.fixture(params=["sqlite", "postgresql"])
def db_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """The URL of a fresh, migrated database, of each kind in turn."""
    if request.param == "sqlite":
        path = tmp_path / "lodestream.sqlite3"
        shutil.copy(request.getfixturevalue("sqlite_template"), path)
        yield sqlite_url(path).render_as_string(hide_password=False)
        return
    shared: SharedDatabase = request.getfixturevalue("postgres_database")
    yield shared.url
    shared.empty()


@pytest.fixture
def db(db_url: str) -> Iterator[Database]:
    """A fresh, migrated database, of each kind in turn."""
    database = Database(database_url(db_url))
    yield database
    database.close()


@pytest.fixture(scope="session")
def loop() -> Iterator[Loop]:
    """The event loop that applications run on."""
    running = Loop()
    yield running
    running.close()


@pytest.fixture
def client(db: Database, loop: Loop, tmp_path: Path) -> Iterator[Client]:
    """A server with the projects `acme` and `other`, called by a user who may do everything."""
    make_user(db, ROOT_TOKEN, globally='["root"]')
    for name in ("acme", "other"):
        make_project(db, name)
    app = make_app(Settings(data=tmp_path), db)
    yield Client(app, loop, ROOT_TOKEN)
    loop.run(stop_app(app))


async def stop_app(app: object) -> None:
    """Tell an application that its server stops."""
    messages = [{"type": "lifespan.shutdown"}]

    async def receive() -> dict[str, str]:
        return messages.pop(0)

    async def send(_message: object) -> None:
        return None

    await app({"type": "lifespan"}, receive, send)  # type: ignore[operator]


def make_project(db: Database, name: str) -> str:
    """Store a project; return its id."""
    project_id = new_id()
    with db.write() as tx:
        tx.execute(
            sa.insert(project).values(
                id=project_id,
                name=name,
                title="",
                description="",
                user_auto_join=False,
                created_us=now_us(),
                updated_us=now_us(),
            )
        )
    return project_id


def make_user(db: Database, secret: str, *, globally: str = "[]") -> str:
    """Store a user with a token; return the user's id."""
    user_id = new_id()
    with db.write() as tx:
        tx.execute(
            sa.insert(account).values(
                id=user_id,
                username=f"user-{user_id}",
                email=f"{user_id}@example.com",
                email_folded=f"{user_id}@example.com",
                global_permissions=globally,
                created_us=now_us(),
            )
        )
        tx.execute(
            sa.insert(token).values(
                id=new_id(),
                user_id=user_id,
                digest=sha256(secret.encode()).digest(),
                label="test",
                created_us=now_us(),
            )
        )
    return user_id


def grant_in(
    db: Database, user_id: str, project_name: str, permissions: tuple[str, ...] | None = None
) -> None:
    """Grant permissions (all, unless told otherwise) in a project; an empty tuple removes them."""
    names = ALL_FINE_GRAINED_PROJECT_PERMISSIONS if permissions is None else permissions
    with db.write() as tx:
        project_id = tx.execute(
            sa.select(project.c.id).where(project.c.name == project_name)
        ).scalar_one()
        here = (grant.c.user_id == user_id) & (grant.c.project_id == project_id)
        tx.execute(sa.delete(grant).where(here))
        if names:
            tx.execute(
                sa.insert(grant).values(
                    user_id=user_id,
                    project_id=project_id,
                    permissions="[" + ",".join(f'"{name}"' for name in names) + "]",
                )
            )
