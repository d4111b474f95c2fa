"""Sinks of kind `sql`: rows of a table in PostgreSQL or SQLite, by uid.

(Contract: integrations, 7.) The table is made at first and gets further columns when properties,
fields or labels come up that it does not have.
"""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

import msgspec
import sqlalchemy as sa
from msgspec import UNSET
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.pool import StaticPool

from lodestream.domain.deliveries import Done, Failed, Later, Outcome, Refused
from lodestream.domain.sinks import PostgresTarget, Sql, sql_target
from lodestream.sinks.folders import below
from lodestream.sinks.results import FIXED, Columns, Item, column_types, decode, row_of

MOST_COLUMNS: Final = 800
"""What comes up beyond is in the columns that hold JSON only."""
MOST_NAME_BYTES: Final = 63
CONNECT_TIMEOUT_S: Final = 10

_JSON_COLUMNS: Final = ("labels", "entities", "user_properties")
_TYPES: Final[dict[type, Any]] = {str: sa.Text, int: sa.BigInteger, float: sa.Double}
encode = msgspec.json.Encoder(order="deterministic").encode


class SqlSink:
    """Writes one row for each comment; a comment that comes again replaces its row."""

    def __init__(self, settings: Sql, *, columns: Columns, root: Path | None) -> None:
        """`root` is the folder that SQLite files are below. Raises Unprocessable without one."""
        self._settings = settings
        self._columns = columns
        self._engine = _engine(settings, root)
        self._known: dict[str, str] | None = None  # what a row calls it → the table's column

    def deliver(self, items: Sequence[Item]) -> list[Outcome]:
        """Write the rows of comments in one transaction: all of them or none."""
        try:
            self._write(items)
        except sa.exc.DBAPIError as error:
            self._known = None
            return [_problem(error)] * len(items)
        return [Done()] * len(items)

    def check(self) -> Outcome:
        """Make the table if it is not there."""
        try:
            with self._engine.begin() as connection:
                self._prepare(connection, FIXED)
        except sa.exc.DBAPIError as error:
            return _problem(error)
        finally:
            self._known = None
        return Done()

    def close(self) -> None:
        """Close the connection."""
        self._engine.dispose()

    def _write(self, items: Sequence[Item]) -> None:
        results = [decode(item.json) for item in items]
        rows = [row_of(result, self._columns) for result in results]
        types = column_types(rows)
        with self._engine.begin() as connection:
            known = self._prepare(connection, types)
            # Every row sets every column, so that nothing of an older version stays.
            ready = [
                [
                    *(row.get(name) for name in known),
                    _json(result.labels),
                    encode(result.entities).decode(),
                    _json(result.comment.user_properties),
                ]
                for row, result in zip(rows, results, strict=True)
            ]
            statement = self._upsert([*known.values(), *_JSON_COLUMNS])
            values = [{f"v{n}": value for n, value in enumerate(row)} for row in ready]
            connection.execute(statement, values)

    def _upsert(self, names: Sequence[str]) -> Any:
        table = sa.table(self._settings.table, *(sa.column(name) for name in names))
        make = postgresql.insert if self._engine.dialect.name == "postgresql" else sqlite.insert
        given: dict[str, Any] = {name: sa.bindparam(f"v{n}") for n, name in enumerate(names)}
        statement = make(table).values(given)
        excluded = {name: statement.excluded[name] for name in names if name != "uid"}
        return statement.on_conflict_do_update(index_elements=["uid"], set_=excluded)

    def _prepare(self, connection: sa.Connection, types: dict[str, type]) -> dict[str, str]:
        """Make or extend the table; return the column of each name that has one."""
        if self._known is not None and types.keys() <= self._known.keys():
            return self._known
        if not sa.inspect(connection).has_table(self._settings.table):
            connection.execute(sa.schema.CreateTable(self._table(), if_not_exists=True))
        given = [one["name"] for one in sa.inspect(connection).get_columns(self._settings.table)]
        known = {} if self._known is None else dict(self._known)
        for name, kind in types.items():
            column = _column_name(name, given)
            if column not in given:
                if len(given) >= MOST_COLUMNS:
                    continue
                self._add_column(connection, column, kind)
                given.append(column)
            known[name] = column
        self._known = known
        return known

    def _table(self) -> sa.Table:
        fixed = [
            sa.Column(name, _TYPES[kind], primary_key=name == "uid") for name, kind in FIXED.items()
        ]
        more = [sa.Column(name, sa.Text) for name in _JSON_COLUMNS]
        return sa.Table(self._settings.table, sa.MetaData(), *fixed, *more)

    def _add_column(self, connection: sa.Connection, name: str, kind: type) -> None:
        quote = self._engine.dialect.identifier_preparer.quote_identifier
        type_name = _TYPES[kind]().compile(dialect=self._engine.dialect)
        # What the rows before knew nothing of was not predicted for them.
        default = " DEFAULT 0" if name.startswith("label:") else ""
        connection.exec_driver_sql(
            f"ALTER TABLE {quote(self._settings.table)} "
            f"ADD COLUMN {quote(name)} {type_name}{default}"
        )


def _engine(settings: Sql, root: Path | None) -> sa.Engine:
    target = sql_target(settings.url)
    if not isinstance(target, PostgresTarget):
        path = below(root, target.path)
        path.parent.mkdir(parents=True, exist_ok=True)
        return sa.create_engine(
            sa.URL.create("sqlite", database=str(path)),
            poolclass=StaticPool,
            # One thread uses it at a time, though not always the same one.
            connect_args={"timeout": settings.timeout_s, "check_same_thread": False},
        )
    password = None if settings.password is UNSET else settings.password
    url = sa.URL.create(
        "postgresql+psycopg",
        username=target.username,
        password=password,
        host=target.host,
        port=target.port,
        database=target.database,
        query={} if target.sslmode is None else {"sslmode": target.sslmode},
    )
    return sa.create_engine(
        url,
        pool_size=1,
        max_overflow=0,
        pool_pre_ping=True,
        connect_args={
            "connect_timeout": CONNECT_TIMEOUT_S,
            "application_name": "lodestream",
            # Nothing of the server's own surroundings may take the place of a password.
            "passfile": "/dev/null",
            "options": f"-c statement_timeout={settings.timeout_s * 1000}",
        },
    )


def _column_name(name: str, given: Sequence[str]) -> str:
    """Return the column for a name: the same each time, and different from every other's."""
    if name in given:
        return name
    folded = name.lower()
    clashes = any(one.lower() == folded for one in given)
    if len(name.encode()) <= MOST_NAME_BYTES and not clashes:
        return name
    digest = sha256(name.encode()).hexdigest()[:8]
    short = name.encode()[: MOST_NAME_BYTES - 9].decode("utf-8", "ignore")
    return f"{short}~{digest}"


def _json(value: object) -> str | None:
    return None if value is UNSET or value is None else encode(value).decode()


def _problem(error: sa.exc.DBAPIError) -> Outcome:
    reason = type(error.orig).__name__
    detail = str(error.orig)[:1024]
    if isinstance(error, sa.exc.DataError | sa.exc.IntegrityError):
        return Refused(reason, detail)
    if isinstance(error, sa.exc.OperationalError | sa.exc.ProgrammingError):
        return Later(reason, detail)
    return Failed(reason, detail)
