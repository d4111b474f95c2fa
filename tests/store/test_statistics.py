"""Counting without a filter and paging an export read by keys, however many comments there are."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from lodestream.domain.sources import Source
from lodestream.store import sources
from lodestream.store.db import Database, Reader
from lodestream.store.exports import Place, list_places
from lodestream.store.statistics import Selection, measure
from tests.client import Client


class ExplainingReader(Reader):
    """Keeps the plan of every statement before it runs it."""

    def __init__(self, reader: Reader) -> None:
        super().__init__(reader.connection)
        self.steps: list[str] = []

    def execute(self, statement: Any, parameters: Any = None) -> Any:
        literal = statement.compile(
            self.connection, compile_kwargs={"literal_binds": True, "render_postcompile": True}
        )
        explain = "EXPLAIN QUERY PLAN " if self.dialect_name == "sqlite" else "EXPLAIN "
        plan = self.connection.exec_driver_sql(explain + str(literal).replace("%", "%%"))
        self.steps += [str(row[-1]).strip(" ->") for row in plan]
        return super().execute(statement, parameters)


def plans_of(db: Database, read: Callable[[Reader, list[Source]], object]) -> list[str]:
    """Return the steps by which the database answers what `read` asks."""
    with db.read() as tx:
        found = sources.list_sources(tx, projects=None)
        explaining = ExplainingReader(tx)
        if not db.is_sqlite:
            # Two comments are fastest read whole; the plan has to be there for more.
            tx.connection.exec_driver_sql("SET LOCAL enable_seqscan = off")
            tx.connection.exec_driver_sql("SET LOCAL enable_bitmapscan = off")
        read(explaining, found)
    assert explaining.steps
    return explaining.steps


def scans(steps: list[str]) -> list[str]:
    return [
        step
        for step in steps
        if step.startswith(("SCAN comment", "USE TEMP B-TREE", "Seq Scan on comment ", "Sort"))
    ]


def fill(client: Client) -> None:
    for name in ("a", "b"):
        client.ok("PUT", f"/api/v1/sources/acme/{name}", {"source": {}})
        comment = {"id": "1", "timestamp": "2024-02-01T08:00:00Z", "messages": []}
        client.ok("POST", f"/api/v1/sources/acme/{name}/sync", {"comments": [comment]})


def test_counting_everything_reads_the_ends_of_an_index(client: Client, db: Database) -> None:
    fill(client)

    def read(tx: Reader, found: list[Source]) -> None:
        assert measure(tx, Selection(found, None)).comments == 2

    assert scans(plans_of(db, read)) == []


def test_a_page_of_an_export_continues_inside_an_index(client: Client, db: Database) -> None:
    fill(client)
    for by_creation in (False, True):

        def read(tx: Reader, found: list[Source], by_creation: bool = by_creation) -> None:
            places = list_places(
                tx,
                [source.key for source in found],
                by_creation=by_creation,
                lower=0,
                below=2**62,
                after=Place(0, 0),
                limit=2,
            )
            assert len(places) == 2

        assert scans(plans_of(db, read)) == []
