"""Reading the order again: what is wrong is found, and only that."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import sqlalchemy as sa

from lodestream.actions import verify as module
from lodestream.actions.verify import verify
from lodestream.store.db import Database, Writer
from lodestream.store.tables import (
    comment,
    comment_text,
    counter,
    dataset,
    fresh_comment_key,
    source,
    source_content,
    stream,
)
from tests.client import Client

STREAMS = "/api/v1/datasets/acme/mail/streams"


@pytest.fixture(autouse=True)
def stored(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two sources of a dataset with five comments each, one outside; a stream."""
    monkeypatch.setattr(module, "AT_ONCE", 2)
    ids = []
    for name in ("one", "two", "apart"):
        path = f"/api/v1/sources/acme/{name}"
        ids.append(client.ok("PUT", path, {"source": {}})["source"]["id"])
        batch = [
            {
                "id": f'c{number}"ü',
                "timestamp": "2024-01-01T00:00:00Z",
                "messages": [{"body": {"text": "words"}}],
            }
            for number in range(5)
        ]
        client.ok("POST", path + "/sync", {"comments": batch})
    client.ok("PUT", "/api/v1/datasets/acme/mail", {"dataset": {"source_ids": ids[:2]}})
    client.ok("PUT", STREAMS, {"stream": {"name": "all"}})


def found(db: Database, dataset_id: str | None = None) -> dict[str, int]:
    report = verify(db, dataset_id=dataset_id)
    assert report.is_clean == (not report.findings)
    assert sum(report.found.values()) == len(report.findings)
    return report.found


def second(tx: Writer, name: str = "one") -> tuple[int, int]:
    """Key and position of the second comment of a source."""
    key: int = tx.execute(sa.select(source.c.key).where(source.c.name == name)).scalar_one()
    places = sa.select(comment.c.pos).where(comment.c.source == key).order_by(comment.c.pos)
    return key, list(tx.execute(places).scalars())[1]


def test_nothing_is_found_where_nothing_is_wrong(client: Client, db: Database) -> None:
    client.ok("DELETE", "/api/v1/sources/acme/one/comments?id=c3%22%C3%BC")
    reset = {"to_comment_created_at": "2100-01-01T00:00:00Z"}
    client.ok("POST", STREAMS + "/all/reset", reset)
    rows: list[int] = []
    report = verify(db, progress=rows.append)
    assert report.is_clean
    assert (report.comments, report.streams) == (14, 1)
    assert sum(rows) == 14 * 3


def _no_text(tx: Writer) -> None:
    tx.execute(sa.delete(comment_text).where(comment_text.c.pos == second(tx)[1]))
    tx.execute(sa.delete(fresh_comment_key).where(fresh_comment_key.c.pos == second(tx)[1]))


def _no_comment(tx: Writer) -> None:
    key, pos = second(tx)
    here = (comment.c.source == key) & (comment.c.pos == pos)
    tx.execute(sa.delete(comment).where(here))


def _twice(tx: Writer) -> None:
    """Store the second comment again under another place, as a lost check would."""
    key, pos = second(tx)
    last = tx.execute(sa.select(counter.c.value).where(counter.c.name == "position")).scalar_one()
    for table in (comment, comment_text, fresh_comment_key):
        names = [column.name for column in table.columns]
        columns = [
            sa.literal(last + 1, sa.BigInteger) if name == "pos" else table.c[name]
            for name in names
        ]
        copied = sa.select(*columns).where(table.c.pos == pos)
        tx.execute(sa.insert(table).from_select(names, copied))
    tx.execute(
        sa.update(counter).where(counter.c.name == "position").values(value=counter.c.value + 1)
    )
    tx.execute(
        sa.update(source_content)
        .where(source_content.c.source == key)
        .values(comments=source_content.c.comments + 1)
    )


def _swapped(tx: Writer) -> None:
    _, here = second(tx)
    _, there = second(tx, "two")
    for old, new in ((here, -1), (there, here), (-1, there)):
        tx.execute(sa.update(comment_text).where(comment_text.c.pos == old).values(pos=new))


def _counter_back(tx: Writer) -> None:
    last = sa.select(sa.func.min(comment.c.pos)).scalar_subquery()
    tx.execute(sa.update(counter).where(counter.c.name == "position").values(value=last))


def _stream_ahead(tx: Writer) -> None:
    tx.execute(sa.update(stream).values(position=(1 << 62) + 5))


def _miscounted(tx: Writer) -> None:
    key, _ = second(tx)
    here = source_content.c.source == key
    tx.execute(sa.update(source_content).where(here).values(comments=7))


def _orphaned(tx: Writer) -> None:
    key, _ = second(tx, "apart")
    tx.execute(sa.delete(source_content).where(source_content.c.source == key))
    tx.execute(sa.delete(source).where(source.c.key == key))


@pytest.mark.parametrize(
    ("damage", "expected"),
    [
        (_no_text, {"text-missing": 1, "key-missing": 1}),
        (_no_comment, {"text-left": 1, "count": 1}),
        (_twice, {"duplicate": 1, "wrong-place": 1}),
        (_swapped, {"wrong-text": 2, "text-left": 2, "key-left": 2}),
        (_counter_back, {"beyond": 14}),
        (_stream_ahead, {"stream-beyond": 1}),
        (_miscounted, {"count": 1}),
    ],
)
def test_damage_is_found(
    db: Database, damage: Callable[[Writer], None], expected: dict[str, int]
) -> None:
    with db.write() as tx:
        damage(tx)
    assert found(db) == expected


def test_comments_of_no_source_are_found(db: Database) -> None:
    with db.write() as tx:
        _orphaned(tx)
    assert found(db).keys() >= {"source-missing"}


def test_a_deleted_source_that_is_still_to_be_purged_is_no_finding(
    client: Client, db: Database
) -> None:
    apart = client.ok("GET", "/api/v1/sources/acme/apart")["source"]["id"]
    client.ok("DELETE", f"/api/v1/sources/id:{apart}")
    assert found(db) == {}


def test_only_the_sources_and_streams_of_the_dataset_are_read_if_one_is_named(
    db: Database,
) -> None:
    with db.write() as tx:
        dataset_id = tx.execute(sa.select(dataset.c.id)).scalar_one()
        _, pos = second(tx, "apart")
        tx.execute(sa.delete(comment_text).where(comment_text.c.pos == pos))
    report = verify(db, dataset_id=dataset_id)
    assert report.is_clean
    assert (report.comments, report.streams) == (10, 1)
    assert "text-missing" in found(db)


def test_no_more_findings_are_listed_than_can_be_read(
    db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MOST_LISTED", 3)
    with db.write() as tx:
        _counter_back(tx)
    report = verify(db)
    assert len(report.findings) == 3
    assert report.found["beyond"] == 14
