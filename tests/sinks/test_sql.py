"""Sinks of kind sql, on both databases."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
import sqlalchemy as sa
from msgspec import UNSET

from lodestream.domain.deliveries import Done, Later, Refused
from lodestream.domain.errors import Unprocessable
from lodestream.domain.sinks import Sql
from lodestream.sinks.results import Columns
from lodestream.sinks.sql import MOST_NAME_BYTES, SqlSink
from tests.sinks.items import SOURCE_ID, item

PLAIN = Columns(("Claim", "Claim > Status"), binary=False, least_probability=0.5)


class Table:
    """Where a sink writes to, and what is there."""

    def __init__(self, settings: Sql, root: Path, url: str) -> None:
        self.settings, self.root = settings, root
        self._engine = sa.create_engine(url, poolclass=sa.NullPool)

    def sink(self, columns: Columns = PLAIN) -> SqlSink:
        return SqlSink(self.settings, columns=columns, root=self.root)

    def rows(self) -> dict[str, dict[str, Any]]:
        with self._engine.begin() as connection:
            found = connection.exec_driver_sql("SELECT * FROM out_rows").mappings()
            return {row["id"]: dict(row) for row in found}

    def run(self, statement: str) -> None:
        with self._engine.begin() as connection:
            connection.exec_driver_sql(statement)


@pytest.fixture(scope="module")
def database(postgres: str) -> Iterator[sa.URL]:
    """A database of PostgreSQL where sinks may make tables."""
    name = f"lodestream_sink_{secrets.token_hex(6)}"
    with psycopg.connect(postgres, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")
        yield sa.make_url(postgres).set(drivername="postgresql+psycopg", database=name)
        connection.execute(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture(params=["sqlite", "postgresql"])
def table(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Table]:
    if request.param == "sqlite":
        made = Sql("sqlite:out/rows.db", table="out_rows")
        yield Table(made, tmp_path, f"sqlite:///{tmp_path}/out/rows.db")
        return
    url: sa.URL = request.getfixturevalue("database")
    where = f"postgresql://{url.username}@{url.host}:{url.port or 5432}/{url.database}"
    made = Sql(where + "?sslmode=prefer", table="out_rows", password=url.password or UNSET)
    found = Table(made, tmp_path, url.render_as_string(hide_password=False))
    yield found
    found.run("DROP TABLE IF EXISTS out_rows")


def test_a_row_for_each_comment_and_a_column_for_each_label(table: Table) -> None:
    sink = table.sink()
    try:
        assert sink.check() == Done()
        assert sink.deliver([item("a", labels={"Claim": 0.75}), item("b")]) == [Done(), Done()]
    finally:
        sink.close()
    rows = table.rows()
    row = rows["a"]
    assert row["uid"] == f"{SOURCE_ID}.a"
    assert (row["label:Claim"], row["label:Claim > Status"]) == (0.75, 0)
    assert (row["subject"], row["from"]) == ("Policy", "ann@example.com")
    assert row["to"] == "bob@example.com; cy@example.com"
    assert (row["folder"], row["property:Folder"], row["number:Size"]) == ("Inbox", "Inbox", 3)
    assert row["field:policy-number"] == "881"
    assert rows["b"]["label:Claim"] == 0
    assert rows["b"]["field:policy-number"] is None


def test_a_comment_that_comes_again_replaces_its_row_whole(table: Table) -> None:
    sink = table.sink()
    sink.deliver([item("a", user_properties={"string:Old": "x"}), item("b")])
    new = item("a", user_properties={"string:New": "y"})
    assert sink.deliver([item("a"), new]) == [Done(), Done()], "twice in one batch"
    sink.close()
    rows = table.rows()
    assert len(rows) == 2
    assert (rows["a"]["property:Old"], rows["a"]["property:New"]) == (None, "y")


def test_new_names_extend_the_table_and_old_rows_stay(table: Table) -> None:
    first = table.sink(Columns(("Claim",), binary=False, least_probability=0.5))
    first.deliver([item("a", labels={"Claim": 0.5})])
    first.close()
    names = ("Claim", "claim", "É" * 40, "100% sure :x > (y)")
    second = table.sink(Columns(names, binary=True, least_probability=0.6))
    found = second.deliver([item("b", labels={"claim": 0.7, "É" * 40: 0.1, names[3]: 0.9})])
    second.close()
    assert found == [Done()]
    rows = table.rows()
    assert rows["a"]["label:Claim"] == 0.5
    other = next(name for name in rows["b"] if name.startswith("label:claim~"))
    assert (rows["b"][other], rows["a"][other]) == (1, 0)
    long = next(name for name in rows["b"] if name.startswith("label:ÉÉ"))
    assert len(long.encode()) <= MOST_NAME_BYTES
    assert (rows["b"][long], rows["b"]["label:100% sure :x > (y)"]) == (0, 1)


def test_a_text_and_a_number_of_one_name_do_not_meet(table: Table) -> None:
    sink = table.sink()
    both = {"string:Size": "large", "number:Size": 4.5}
    assert sink.deliver([item("a", user_properties=both)]) == [Done()]
    sink.close()
    row = table.rows()["a"]
    assert (row["property:Size"], row["number:Size"]) == ("large", 4.5)


def test_a_table_that_refuses_a_row_names_no_outage(table: Table) -> None:
    sink = table.sink()
    sink.check()
    table.run("DROP TABLE out_rows")
    table.run(
        "CREATE TABLE out_rows (uid VARCHAR(20) PRIMARY KEY CHECK (uid <> '18ba5ce699f8da1f.b'),"
        " labels TEXT, entities TEXT, user_properties TEXT)"
    )
    found = sink.deliver([item("a"), item("b")])
    sink.close()
    assert [type(one) for one in found] == [Refused, Refused]


def test_a_database_that_is_not_there_is_an_outage(tmp_path: Path) -> None:
    nobody = Sql("postgresql://u@127.0.0.1:1/x")
    sink = SqlSink(nobody, columns=PLAIN, root=tmp_path)
    assert isinstance(sink.deliver([item("a")])[0], Later)
    sink.close()


BAD_URLS = (
    "sqlite:../x.db",
    "sqlite:/etc/x.db",
    "sqlite:a/.hidden/x.db",
    "mysql://u@h/d",
    "postgresql://h",
    "postgresql://u:secret@h/d",
    "postgresql://u@h/d?host=other",
    "postgresql://u@h/a/b",
)


@pytest.mark.parametrize("url", BAD_URLS)
def test_urls_that_are_refused(url: str, tmp_path: Path) -> None:
    with pytest.raises(Unprocessable) as told:
        SqlSink(Sql(url), columns=PLAIN, root=tmp_path)
    assert "secret" not in str(told.value)
