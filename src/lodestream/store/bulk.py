"""Many rows at once, by each database's fastest way, inside the caller's transaction."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Any

import sqlalchemy as sa
from psycopg.types.json import Jsonb
from sqlalchemy.dialects.postgresql import JSONB

from lodestream.store.db import Reader, Writer
from lodestream.store.dialect import prepared

_CHUNK = 1024


def insert_rows(tx: Writer, table: sa.Table, rows: Sequence[tuple[Any, ...]]) -> None:
    """Insert full rows, in the order of the table's columns.

    Rows that follow the order of the primary key are stored fastest.
    """
    if not rows:
        return
    if tx.dialect_name == "sqlite":
        tx.driver.executemany(_insert_text(table), rows)
        return
    names = ", ".join(column.name for column in table.columns)
    types = [_POSTGRES_TYPES[type(_base_type(column))] for column in table.columns]
    json_at = [i for i, name in enumerate(types) if name == "jsonb"]
    with (
        tx.driver.cursor() as cursor,
        cursor.copy(f"COPY {table.name} ({names}) FROM STDIN (FORMAT BINARY)") as copy,
    ):
        copy.set_types(types)
        for row in rows:
            copy.write_row(_with_json(row, json_at) if json_at else row)


def run_many(tx: Writer, statement: sa.ClauseElement, rows: Sequence[dict[str, Any]]) -> None:
    """Run an UPDATE or DELETE once for each mapping of its named parameters."""
    if not rows:
        return
    text = prepared(statement, tx.dialect_name).text
    if tx.dialect_name == "sqlite":
        tx.driver.executemany(text, rows)
        return
    with tx.driver.cursor() as cursor:
        cursor.executemany(text, rows)


def update_rows(
    tx: Writer,
    table: sa.Table,
    *,
    key: Sequence[str],
    values: Sequence[str],
    rows: Sequence[tuple[Any, ...]],
) -> None:
    """Set the columns `values` of the rows whose columns `key` match.

    Each item of `rows` holds the key's columns and then the values, in these orders.
    """
    if not rows:
        return
    if tx.dialect_name == "sqlite":
        ordered = [(*row[len(key) :], *row[: len(key)]) for row in rows]
        settings = ", ".join(f"{name} = ?" for name in values)
        where = " AND ".join(f"{name} = ?" for name in key)
        text = f"UPDATE {table.name} SET {settings} WHERE {where}"  # noqa: S608 (own names)
        tx.driver.executemany(text, ordered)
        return
    names = (*key, *values)
    types = [_POSTGRES_TYPES[type(_base_type(table.c[name]))] for name in names]
    arrays = ", ".join(f"%b::{'text' if kind == 'jsonb' else kind}[]" for kind in types)
    settings = ", ".join(
        f"{name} = fresh.{name}{'::jsonb' if kind == 'jsonb' else ''}"
        for name, kind in zip(values, types[len(key) :], strict=True)
    )
    where = " AND ".join(f"{table.name}.{name} = fresh.{name}" for name in key)
    text = (
        f"UPDATE {table.name} SET {settings} "  # noqa: S608 (own names)
        f"FROM unnest({arrays}) AS fresh ({', '.join(names)}) WHERE {where}"
    )
    tx.driver.execute(text, [list(column) for column in zip(*rows, strict=True)])


def rows_in(
    tx: Reader,
    columns: Sequence[sa.Column[Any]],
    key: sa.Column[Any],
    values: Iterable[object],
    *,
    within: tuple[sa.Column[Any], int] | None = None,
) -> list[tuple[Any, ...]]:
    """Return `columns` of the rows of one table whose `key` is one of `values`, in no order.

    `within` is an integer column and the value it must have: the first part of the table's key.
    """
    wanted = list(values)
    if not wanted:
        return []
    names = ", ".join(column.name for column in columns)
    first = "" if within is None else f"{within[0].name} = {int(within[1])} AND "
    head = f"SELECT {names} FROM {key.table.name} WHERE {first}{key.name} "  # noqa: S608 (own names)
    found: list[tuple[Any, ...]] = []
    if tx.dialect_name == "sqlite":
        for start in range(0, len(wanted), _CHUNK):
            chunk = wanted[start : start + _CHUNK]
            text = head + _marks(len(chunk))
            found += tx.driver.execute(text, chunk).fetchall()
        return found
    with tx.driver.cursor(binary=True) as cursor:
        found += cursor.execute(head + "= ANY(%s)", (wanted,)).fetchall()
    return found


@lru_cache(maxsize=64)
def _insert_text(table: sa.Table) -> str:
    marks = ", ".join("?" for _ in table.columns)
    return f"INSERT INTO {table.name} VALUES ({marks})"  # noqa: S608 (own names)


@lru_cache(maxsize=2048)
def _marks(count: int) -> str:
    return "IN (" + ",".join("?" * count) + ")"


_POSTGRES_TYPES: dict[type[Any], str] = {
    sa.Boolean: "bool",
    sa.BigInteger: "int8",
    sa.Integer: "int4",
    sa.Text: "text",
    sa.LargeBinary: "bytea",
    JSONB: "jsonb",
}


def _base_type(column: sa.Column[Any]) -> Any:
    variant = column.type._variant_mapping.get("postgresql")
    return column.type if variant is None else variant


def _with_json(row: tuple[Any, ...], places: list[int]) -> tuple[Any, ...]:
    values = list(row)
    for place in places:
        if values[place] is not None:
            values[place] = Jsonb(values[place], dumps=_as_is)
    return tuple(values)


def _as_is(text: bytes) -> bytes:
    return text
