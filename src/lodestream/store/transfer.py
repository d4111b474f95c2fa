"""A whole database, out of one and into another, of either kind.

A copy reads one unchanging state of its source, table by table in the order of the primary key. It
writes each chunk of rows together with how far it came, so an interrupted copy goes on where it
stopped. Until it is finished, the target has a schema version that no program accepts: nobody
serves half an instance.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import msgspec
import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import JSONB

from lodestream.domain.errors import Conflict
from lodestream.domain.users import SYSTEM_USER
from lodestream.store import bulk, migrate
from lodestream.store.db import Database, Reader, Writer
from lodestream.store.tables import (
    account,
    audit_event,
    bucket_file,
    counter,
    job,
    keyed_sync_state,
    mailbox,
    meta,
    metadata,
    project,
    sink,
    sink_attempt,
    source_content,
    stored_file,
    stream,
    stream_activity,
)

Progress = Callable[[str, int, int], None]
"""Called with what is being done, how much of it is done, and how much there is in all."""

_CHUNK_ROWS: Final = 4096
_PAGES_A_STEP: Final = 4096
_FRESH: Final = {meta.name, counter.name}
"""Tables whose rows every new database has; `account` and `project` may hold one each."""

_VOLATILE: Final = (job, stream_activity, sink_attempt, sink, mailbox, keyed_sync_state)
"""Small tables that change without an audit entry: a copy that goes on copies them anew."""

_unfinished = sa.Table(
    "unfinished_copy",
    sa.MetaData(),  # apart from the schema: it is there only while a copy is under way
    sa.Column("table_name", sa.Text, primary_key=True),  # '' for the source's fingerprint
    sa.Column("reached", sa.Text, nullable=False),  # JSON array: the last row's primary key
    sa.Column("rows", sa.BigInteger, nullable=False),
)
_version = sa.table("alembic_version", sa.column("version_num", sa.Text))


@contextlib.contextmanager
def snapshot(db: Database) -> Iterator[Reader]:
    """Open a read-only transaction whose every query sees the same state.

    Raises Unavailable if the database cannot be reached.
    """
    with db.read() as tx:
        if not db.is_sqlite:
            tx.execute(sa.text("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ"))
        tx.execute(sa.select(counter.c.value).limit(1)).first()  # the state is taken here
        yield tx


def back_up_file(db: Database, path: Path, progress: Progress) -> None:
    """Write the present state of a SQLite database into a new file, while others write to it.

    Raises Unavailable if the database cannot be read.
    """

    def tell(_status: int, remaining: int, total: int) -> None:
        progress("database pages", total - remaining, total)

    with snapshot(db) as tx, contextlib.closing(sqlite3.connect(path)) as target:
        # Inside the open transaction the steps cannot see later writes, so none starts it anew.
        tx.driver.backup(target, pages=_PAGES_A_STEP, progress=tell)
        target.execute("PRAGMA journal_mode = DELETE").fetchall()  # one file, without a log
    sync_file(path)


def folder_of(db: Database) -> Path | None:
    """Return the folder that holds a SQLite database; None for another kind."""
    return Path(db.url.database or "").parent if db.is_sqlite else None


def adopt_file(db: Database, path: Path) -> None:
    """Make a closed, migrated SQLite file on the same disk the database `db`, in one step.

    `db` must be empty but for what every new database has; it is closed. Raises Conflict.
    """
    migrate.upgrade(db)
    with db.write(catalogue=False) as tx:
        _require_fresh(tx)
    db.close()
    own = Path(db.url.database or "")
    for log in (own.with_name(own.name + "-wal"), own.with_name(own.name + "-shm")):
        log.unlink(missing_ok=True)
    sync_file(path)
    path.replace(own)
    sync_file(own.parent)


def sync_file(path: Path) -> None:
    """Wait until a file or folder is on disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def count_rows(tx: Reader) -> dict[str, int]:
    """Return how many rows each table holds."""
    return {
        table.name: tx.execute(sa.select(sa.func.count()).select_from(table)).scalar_one()
        for table in metadata.sorted_tables
    }


def file_hashes(tx: Reader) -> set[str]:
    """Return the hash of every uploaded file that belongs to a source or a bucket."""
    owners = (stored_file, bucket_file)
    return {
        content_hash
        for owner in owners
        for content_hash in tx.execute(sa.select(owner.c.hash).distinct()).scalars()
    }


def copy_database(source: Database, target: Database, progress: Progress) -> dict[str, int]:
    """Copy every table; return how many rows each one has. Goes on where a copy was interrupted.

    `target` is migrated here; it must be empty but for what every new database has. Raises Conflict
    if it is not, if the source has another schema version or has changed since the interrupted
    copy began, or if the counts differ at the end.
    """
    version = migrate.schema_version(source)
    if version.current is None:
        raise Conflict("the source holds no Lodestream database")
    if not version.is_current:
        raise Conflict(
            f"the source has schema {version.current}, this program needs {version.needed}: "
            "run `lodestream migrate` on it first"
        )
    with snapshot(source) as tx:
        counts = count_rows(tx)
        total = sum(counts.values())
        print_of_source = _fingerprint(tx)
        if not _resume(target, print_of_source):
            _begin(target, print_of_source)
        done = 0
        for table in metadata.sorted_tables:
            done = _copy_table(tx, target, table, lambda rows: progress("rows", rows, total), done)
        _finish(tx, target, counts, version.needed)
    return counts


def _fingerprint(tx: Reader) -> str:
    """Return what changes with every change of the instance: every one is audited, or moves a
    counter, a source's time of change or a stream's time of advance.
    """
    facts = [
        sa.select(meta.c.name, meta.c.value).order_by(meta.c.name),
        sa.select(counter.c.name, counter.c.value).order_by(counter.c.name),
        sa.select(sa.func.max(audit_event.c.id)),
        sa.select(
            sa.func.max(source_content.c.modified_us), sa.func.sum(source_content.c.comments)
        ),
        sa.select(sa.func.max(stream.c.position), sa.func.max(stream.c.advanced_us)),
    ]
    text = repr([[tuple(map(str, row)) for row in tx.execute(fact)] for fact in facts])
    return hashlib.sha256(text.encode()).hexdigest()


def _resume(target: Database, print_of_source: str) -> bool:
    """Tell whether an interrupted copy of the same source can go on."""
    with target.read() as tx:
        if not sa.inspect(tx.connection).has_table(_unfinished.name):
            return False
        begun_with = tx.execute(
            sa.select(_unfinished.c.reached).where(_unfinished.c.table_name == "")
        ).scalar_one()
    if json.loads(begun_with) != [print_of_source]:
        raise Conflict(
            "the target holds an unfinished copy of another state: the source has changed since "
            "that copy began. Stop the server on the source and copy into an empty database"
        )
    with target.write(catalogue=False) as tx:
        for table in _VOLATILE:
            tx.execute(sa.delete(table))
            tx.execute(sa.delete(_unfinished).where(_unfinished.c.table_name == table.name))
    return True


def _begin(target: Database, print_of_source: str) -> None:
    migrate.upgrade(target)
    with target.write(catalogue=False) as tx:
        _require_fresh(tx)
        for table in reversed(metadata.sorted_tables):
            tx.execute(sa.delete(table))
        _unfinished.create(tx.connection)
        _note(tx, "", [print_of_source], 0)
        tx.execute(sa.update(_version).values(version_num=migrate.COPYING))


def _require_fresh(tx: Reader) -> None:
    seeded = {
        account.name: sa.select(sa.func.count())
        .select_from(account)
        .where(account.c.id == SYSTEM_USER),
        project.name: sa.select(sa.func.count())
        .select_from(project)
        .where(project.c.name == "DefaultProject"),
    }
    for name, rows in count_rows(tx).items():
        allowed = tx.execute(seeded[name]).scalar_one() if name in seeded else 0
        if name not in _FRESH and rows > allowed:
            raise Conflict(f"the target is not empty: its table {name} has {rows} rows")


def _copy_table(
    source: Reader, target: Database, table: sa.Table, tell: Callable[[int], None], before: int
) -> int:
    """Copy what is missing of a table; return `before` and the table's rows."""
    with target.read() as tx:
        query = sa.select(_unfinished.c.reached, _unfinished.c.rows).where(
            _unfinished.c.table_name == table.name
        )
        found = tx.execute(query).first()
    after: list[Any] | None = None if found is None else json.loads(found.reached)
    rows = 0 if found is None else found.rows
    key_at = [table.columns.keys().index(column.key) for column in table.primary_key.columns]
    while True:
        chunk = _read_chunk(source, table, after)
        if chunk:
            after = [chunk[-1][at] for at in key_at]
            rows += len(chunk)
            with target.write(catalogue=False) as tx:
                bulk.insert_rows(tx, table, _shaped(table, chunk, source, tx))
                _note(tx, table.name, after, rows)
        tell(before + rows)
        if len(chunk) < _CHUNK_ROWS:
            return before + rows


def _read_chunk(tx: Reader, table: sa.Table, after: list[Any] | None) -> list[tuple[Any, ...]]:
    key = list(table.primary_key.columns)
    columns: list[Any] = [
        sa.cast(column, sa.Text) if _is_json(tx, column) else column for column in table.columns
    ]
    query = sa.select(*columns).order_by(*key).limit(_CHUNK_ROWS)
    if after is not None:
        reached = [sa.literal(value, column.type) for value, column in zip(after, key, strict=True)]
        query = query.where(sa.tuple_(*key) > sa.tuple_(*reached))
    return [tuple(row) for row in tx.execute(query)]


def _shaped(
    table: sa.Table, rows: list[tuple[Any, ...]], source: Reader, target: Writer
) -> list[tuple[Any, ...]]:
    """Give the rows the form that the target's driver stores."""
    if target.dialect_name != "sqlite" or source.dialect_name == "sqlite":
        return rows
    json_at = [at for at, column in enumerate(table.columns) if _is_json(source, column)]
    if not json_at:
        return rows
    # JSONB comes back with spaces; on SQLite filters search the compact text (domain/facets.py).
    return [
        tuple(
            _compact(value) if at in json_at and value is not None else value
            for at, value in enumerate(row)
        )
        for row in rows
    ]


def _compact(text: str) -> str:
    return msgspec.json.encode(msgspec.json.decode(text)).decode()


def _is_json(tx: Reader, column: sa.Column[Any]) -> bool:
    return tx.dialect_name == "postgresql" and isinstance(
        column.type.dialect_impl(tx.connection.dialect), JSONB
    )


def _note(tx: Writer, table_name: str, reached: list[Any], rows: int) -> None:
    here = _unfinished.c.table_name == table_name
    values = {"reached": json.dumps(reached), "rows": rows}
    if not tx.execute(sa.update(_unfinished).where(here).values(**values)).rowcount:
        tx.execute(sa.insert(_unfinished).values(table_name=table_name, **values))


def _finish(source: Reader, target: Database, counts: dict[str, int], version: str) -> None:
    """Compare the counts, set the numbers that come next, and make the target usable."""
    with target.write(catalogue=False) as tx:
        copied = count_rows(tx)
        wrong = {
            name: (counts[name], copied[name]) for name in counts if counts[name] != copied[name]
        }
        if wrong:
            raise Conflict(f"rows in the source and in the copy differ: {wrong}")
        for table in metadata.sorted_tables:
            column = table.autoincrement_column
            if column is not None:
                _set_last_number(tx, table, column, _last_number(source, table, column))
        _unfinished.drop(tx.connection)
        tx.execute(sa.update(_version).values(version_num=version))


def _last_number(tx: Reader, table: sa.Table, column: sa.Column[Any]) -> int:
    """Return the largest number that was ever given out, also to rows that are gone."""
    if tx.dialect_name == "sqlite":
        query = sa.text("SELECT seq FROM sqlite_sequence WHERE name = :name")
        return int(tx.execute(query, {"name": table.name}).scalar_one_or_none() or 0)
    sequence = _sequence(tx, table, column)
    query = sa.text(f"SELECT CASE WHEN is_called THEN last_value ELSE 0 END FROM {sequence}")  # noqa: S608 (the database's own name)
    return int(tx.execute(query).scalar_one())


def _set_last_number(tx: Writer, table: sa.Table, column: sa.Column[Any], number: int) -> None:
    if tx.dialect_name == "sqlite":
        values = {"name": table.name, "number": number}
        update = sa.text("UPDATE sqlite_sequence SET seq = :number WHERE name = :name")
        if not tx.execute(update, values).rowcount:
            tx.execute(sa.text("INSERT INTO sqlite_sequence VALUES (:name, :number)"), values)
        return
    tx.execute(
        sa.text("SELECT setval(CAST(:sequence AS regclass), :next, false)"),
        {"sequence": _sequence(tx, table, column), "next": number + 1},
    )


def _sequence(tx: Reader, table: sa.Table, column: sa.Column[Any]) -> str:
    query = sa.text("SELECT pg_get_serial_sequence(:table, :column)")
    names = {"table": table.name, "column": column.name}
    return str(tx.execute(query, names).scalar_one())
