"""Backup, restore and copy: between every pair of databases, under load, and interrupted."""

from __future__ import annotations

import json
import secrets
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from lodestream.actions import transfer as actions
from lodestream.api.service import data_folder_blobs
from lodestream.domain.errors import Conflict, InvalidInput, Unavailable
from lodestream.server import make_app
from lodestream.settings import Settings
from lodestream.store import bulk, migrate, transfer
from lodestream.store.blobs import BlobStore
from lodestream.store.db import Database
from lodestream.store.dialect import database_url, sqlite_url
from lodestream.store.tables import comment, comment_text, metadata, source
from tests import build
from tests.client import Client, Loop
from tests.conftest import ROOT_TOKEN, stop_app
from tests.databases import run_on_postgres


@pytest.fixture(params=["sqlite", "postgresql"])
def target(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Database]:
    """An empty database of each kind in turn, without any table."""
    if request.param == "sqlite":
        db = Database(sqlite_url(tmp_path / "target" / "lodestream.sqlite3"))
        yield db
        db.close()
        return
    server = request.getfixturevalue("postgres")
    name = f"lodestream_target_{secrets.token_hex(6)}"
    run_on_postgres(server, f"CREATE DATABASE {name}")
    db = Database(database_url(server).set(database=name))
    yield db
    db.close()
    run_on_postgres(server, f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
def other_data(tmp_path: Path) -> Path:
    """The data folder of the instance that is copied into."""
    return tmp_path / "target"


def silent(_what: str, _done: int, _total: int) -> None:
    """Show no progress."""


def fill(client: Client) -> None:
    """Store something in most tables, with texts, properties, gaps and a stream on its way."""
    build.make_pipeline(client, comment_filter=build.only_team("Claims ⌂"))
    build.sync(
        client,
        [
            build.make_comment(f"c{n}", f'Grüße {n} "quoted" 😀', **build.team("Claims ⌂"))
            for n in range(9)
        ]
        + [build.make_comment("plain", thread_id="t")],
    )
    build.delete_ids(client, "c3")
    batch = build.fetch(client, size=2)
    build.advance(client, batch["sequence_id"])
    gone = build.make_source(client, "acme/gone")
    client.ok("DELETE", f"/api/v1/sources/id:{gone['id']}")


def contents(db: Database) -> dict[str, list[tuple[Any, ...]]]:
    """Every row of every table; facets as they are compared.

    But for `stream_activity` and `last_login_us`, which a server in the background may write at
    any time.
    """
    found = {}
    with db.read() as tx:
        for table in metadata.sorted_tables:
            if table.name != "stream_activity":
                columns = [column for column in table.columns if column.name != "last_login_us"]
                rows = tx.execute(sa.select(*columns)).all()
                names = [column.name for column in columns]
                at = names.index("facets") if "facets" in names else None
                shaped = [
                    tuple(_parsed(v) if i == at else v for i, v in enumerate(row)) for row in rows
                ]
                found[table.name] = sorted(shaped, key=repr)
    return found


def _parsed(facets: Any) -> Any:
    return json.loads(facets) if isinstance(facets, str) else facets


def upload(client: Client, blobs: BlobStore, content: bytes) -> str:
    """Store a file that belongs to the source; return its hash."""
    content_hash, size = blobs.put(iter([content]))
    db = client.app.service.db
    with db.write() as tx:
        key = tx.execute(sa.select(source.c.key).order_by(source.c.key).limit(1)).scalar_one()
        stored = metadata.tables["stored_file"]
        bulk.insert_rows(tx, stored, [(key, content_hash, size, "text/plain", 1)])
    return content_hash


@contextmanager
def served(db: Database, data: Path, loop: Loop) -> Iterator[Client]:
    """A server over a database."""
    app = make_app(Settings(data=data), db)
    yield Client(app, loop, ROOT_TOKEN)
    loop.run(stop_app(app))


def test_a_backup_restores_into_either_database(
    client: Client, target: Database, other_data: Path, tmp_path: Path, loop: Loop
) -> None:
    fill(client)
    blobs = data_folder_blobs(tmp_path)
    content_hash = upload(client, blobs, b"attached")
    db = client.app.service.db
    before = contents(db)
    unread = build.fetch(client)

    made = actions.back_up(db, blobs, tmp_path / "backup", silent)
    actions.restore(tmp_path / "backup", target, data_folder_blobs(other_data), silent)

    assert contents(target) == before
    del made.rows["stream_activity"]
    assert made.rows == {name: len(rows) for name, rows in before.items()}
    assert made.files == 1
    assert data_folder_blobs(other_data).read(content_hash) == b"attached"
    assert migrate.schema_version(target).is_current
    with served(target, other_data, loop) as again:
        assert build.fetch(again) == unread
    assert len(unread["results"]) == 6


def test_a_copy_goes_on_like_the_original(
    client: Client, target: Database, other_data: Path, tmp_path: Path, loop: Loop
) -> None:
    fill(client)
    db = client.app.service.db
    before = contents(db)

    rows = actions.copy_instance(
        db,
        target,
        files_from=data_folder_blobs(tmp_path),
        files_to=data_folder_blobs(other_data),
        progress=silent,
    )

    assert contents(target) == before
    assert rows["comment"] == 9
    with served(target, other_data, loop) as again:
        # The number of a deleted source is not given out again, and ids are still found.
        build.make_source(again, "acme/next")
        with target.read() as tx:
            keys = {row.name: row.key for row in tx.execute(sa.select(source.c.name, source.c.key))}
        assert keys == {"inbox": 1, "next": 3}
        assert build.sync(again, [build.make_comment("c0", "other")])["updated"] == 1
        # New comments come after all that were copied.
        build.sync(again, [build.make_comment("late", **build.team("Claims ⌂"))])
        assert build.ids_of(build.fetch(again))[-1] == "late"


def test_an_interrupted_copy_goes_on_where_it_stopped(
    client: Client, target: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(client)
    db = client.app.service.db
    monkeypatch.setattr(transfer, "_CHUNK_ROWS", 4)
    before = contents(db)
    cut_after = sum(len(rows) for rows in before.values()) // 2

    def cut(_what: str, done: int, _total: int) -> None:
        if done >= cut_after:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        transfer.copy_database(db, target, cut)
    with pytest.raises(Unavailable, match="has not been finished"):
        migrate.schema_version(target)
    with pytest.raises(Unavailable, match="has not been finished"):
        migrate.upgrade(target)

    with target.read() as tx:
        there = transfer.count_rows(tx)
    stored = dict.fromkeys(there, 0)
    insert_rows = bulk.insert_rows

    def counted(tx: Any, table: sa.Table, rows: Any) -> None:
        stored[table.name] += len(rows)
        insert_rows(tx, table, rows)

    monkeypatch.setattr(bulk, "insert_rows", counted)
    counts = transfer.copy_database(db, target, silent)

    assert contents(target) == before
    assert migrate.schema_version(target).is_current
    assert 0 < sum(there.values()) < sum(counts.values())
    for name in set(counts) - {"job", "stream_activity"}:  # these two are copied anew
        assert stored[name] == counts[name] - there[name]


def test_a_copy_of_another_state_does_not_go_on(client: Client, target: Database) -> None:
    fill(client)
    db = client.app.service.db

    def cut(_what: str, _done: int, _total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        transfer.copy_database(db, target, cut)
    build.sync(client, [build.make_comment("late")])

    with pytest.raises(Conflict, match="changed since"):
        transfer.copy_database(db, target, silent)


def test_a_target_that_holds_something_is_refused(client: Client, target: Database) -> None:
    db = client.app.service.db
    transfer.copy_database(db, target, silent)
    before = contents(target)

    with pytest.raises(Conflict, match="not empty: its table"):
        transfer.copy_database(db, target, silent)

    assert contents(target) == before


def test_a_migrated_target_without_users_will_do(client: Client, target: Database) -> None:
    migrate.upgrade(target)

    transfer.copy_database(client.app.service.db, target, silent)

    assert contents(target) == contents(client.app.service.db)


def test_an_empty_file_is_no_source(tmp_path: Path, target: Database) -> None:
    source = Database(sqlite_url(tmp_path / "nothing.sqlite3"))
    with pytest.raises(Conflict, match="holds no Lodestream database"):
        transfer.copy_database(source, target, silent)
    source.close()


def test_an_unfinished_or_damaged_backup_is_refused(client: Client, tmp_path: Path) -> None:
    db, blobs = client.app.service.db, data_folder_blobs(tmp_path)
    folder = tmp_path / "backup"
    actions.back_up(db, blobs, folder, silent)
    target = Database(sqlite_url(tmp_path / "new" / "lodestream.sqlite3"))
    text = (folder / "lodestream.sqlite3").read_bytes()
    (folder / "lodestream.sqlite3").write_bytes(text[:-1] + bytes([text[-1] ^ 1]))
    with pytest.raises(InvalidInput, match="damaged"):
        actions.restore(folder, target, blobs, silent)
    (folder / "backup.json").unlink()
    with pytest.raises(InvalidInput, match="no finished backup"):
        actions.restore(folder, target, blobs, silent)
    with pytest.raises(Conflict, match="not empty"):
        actions.back_up(db, blobs, folder, silent)
    target.close()


def test_a_damaged_or_missing_file_is_not_backed_up(client: Client, tmp_path: Path) -> None:
    build.make_source(client)
    blobs = data_folder_blobs(tmp_path)
    content_hash = upload(client, blobs, b"attached")
    blobs.path(content_hash).write_bytes(b"rotten")
    with pytest.raises(Conflict, match="damaged"):
        actions.back_up(client.app.service.db, blobs, tmp_path / "one", silent)
    blobs.delete(content_hash)
    with pytest.raises(Conflict, match="missing"):
        actions.back_up(client.app.service.db, blobs, tmp_path / "two", silent)
    assert not (tmp_path / "two" / "backup.json").exists()


def test_a_backup_under_load_is_a_prefix_with_all_that_was_acknowledged(
    client: Client, tmp_path: Path
) -> None:
    build.make_pipeline(client)
    stop = threading.Event()
    acknowledged: list[int] = []
    failures: list[BaseException] = []

    def write() -> None:
        # Batch n stores n-0, n-1, n-2 and updates the comment "last" to say n.
        try:
            number = 0
            while not stop.is_set():
                batch = [build.make_comment(f"{number}-{part}") for part in range(3)]
                build.sync(client, [*batch, build.make_comment("last", str(number))])
                acknowledged.append(number)
                number += 1
        except BaseException as error:
            failures.append(error)

    writer = threading.Thread(target=write)
    writer.start()
    try:
        for round_ in range(4):
            while len(acknowledged) < 20 * (round_ + 1) and not failures:
                stop.wait(0.01)
            known = acknowledged[-1]
            folder = tmp_path / f"backup{round_}"
            actions.back_up(client.app.service.db, data_folder_blobs(tmp_path), folder, silent)
            _check_prefix(folder / "lodestream.sqlite3", at_least=known)
    finally:
        stop.set()
        writer.join()
    assert not failures


def _check_prefix(path: Path, *, at_least: int) -> None:
    db = Database(sqlite_url(path))
    with db.read() as tx:
        ids = list(tx.execute(sa.select(comment.c.id).order_by(comment.c.pos)).scalars())
        texts = tx.execute(sa.select(comment_text.c.pos, comment_text.c.body))
        bodies = {row.pos: row.body for row in texts}
        last = tx.execute(sa.select(comment.c.pos).where(comment.c.id == "last")).scalar_one()
    db.close()
    batches = (len(ids) - 1) // 3
    assert batches > at_least
    expected = [f"{number}-{part}" for number in range(batches) for part in range(3)]
    assert [one for one in ids if one != "last"] == expected
    assert len(bodies) == len(ids)
    assert f'"text":"{batches - 1}"'.encode() in bodies[last]
