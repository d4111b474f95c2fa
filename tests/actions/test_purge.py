"""What is left of a deleted source."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
import sqlalchemy as sa

from lodestream.actions import purge
from lodestream.actions.purge import purge_dataset, purge_source
from lodestream.actions.verify import verify
from lodestream.domain.errors import Conflict
from lodestream.store.blobs import BlobStore
from lodestream.store.db import Database
from lodestream.store.tables import (
    annotated_comment,
    annotation_event,
    comment,
    comment_text,
    field_mark,
    file_claim,
    fresh_comment_key,
    job,
    label_mark,
    learning,
    model,
    prediction,
    rendered,
    rendering,
    source,
    stream_exception,
)
from lodestream.worker.jobs import HANDLERS
from lodestream.worker.loop import Pace, Worker
from tests.build import make_comment, sync
from tests.client import Client

OLD, KEPT = "/api/v1/sources/acme/old", "/api/v1/sources/acme/kept"
STREAM = "/api/v1/datasets/acme/mail/streams/all"


@pytest.fixture
def old_key(client: Client, db: Database, monkeypatch: pytest.MonkeyPatch) -> int:
    """The key of a source with seven comments, which was deleted; three stay in another."""
    monkeypatch.setattr(purge, "PURGED_AT_ONCE", 3)
    ids = [client.ok("PUT", path, {"source": {}})["source"]["id"] for path in (OLD, KEPT)]
    client.ok("PUT", "/api/v1/datasets/acme/mail", {"dataset": {"source_ids": ids}})
    client.ok("PUT", STREAM.rpartition("/")[0], {"stream": {"name": "all"}})
    for path, count in ((OLD, 7), (KEPT, 3)):
        batch = [
            {
                "id": f"c{number}",
                "timestamp": "2024-01-01T00:00:00Z",
                "messages": [{"body": {"text": "words"}}],
            }
            for number in range(count)
        ]
        client.ok("POST", path + "/sync", {"comments": batch})
    tags = [{"uid": f"{one}.c1", "metadata": {"type": "No Prediction"}} for one in ids]
    client.ok("PUT", STREAM + "/exceptions", {"exceptions": tags})
    with db.read() as tx:
        key: int = tx.execute(sa.select(source.c.key).where(source.c.name == "old")).scalar_one()
    client.ok("DELETE", f"/api/v1/sources/id:{ids[0]}")
    return key


def counts(db: Database) -> dict[str, int]:
    tables = (comment, comment_text, fresh_comment_key, stream_exception)
    with db.read() as tx:
        return {
            table.name: tx.execute(sa.select(sa.func.count()).select_from(table)).scalar_one()
            for table in tables
        }


def test_the_worker_removes_all_of_a_deleted_source_and_nothing_else(
    db: Database, old_key: int, tmp_path: Path
) -> None:
    assert counts(db)["comment"] == 10
    worker = Worker(
        db, BlobStore(tmp_path), threading.Event(), handlers=HANDLERS, pace=Pace(first_pause_s=1)
    )
    assert worker.run_one()
    assert counts(db) == {
        "comment": 3,
        "comment_text": 3,
        "fresh_comment_key": 3,
        "stream_exception": 1,
    }
    with db.read() as tx:
        assert tx.execute(sa.select(job.c.kind)).all() == []
        assert tx.execute(sa.select(file_claim.c.pos)).all() == []
    assert verify(db).is_clean


def test_an_interrupted_purge_goes_on_where_it_was(db: Database, old_key: int) -> None:
    def interrupt() -> None:
        raise InterruptedError

    with pytest.raises(InterruptedError):
        purge_source(db, old_key, between=interrupt)
    assert counts(db)["comment"] == 7
    assert purge_source(db, old_key) == 4
    assert purge_source(db, old_key) == 0
    assert counts(db)["fresh_comment_key"] == 3


def test_a_source_that_exists_is_never_purged(db: Database, old_key: int) -> None:
    with db.read() as tx:
        kept = tx.execute(sa.select(source.c.key).where(source.c.name == "kept")).scalar_one()
    with pytest.raises(Conflict):
        purge_source(db, kept)
    assert counts(db)["comment"] == 10


@pytest.fixture
def annotated(client: Client, db: Database) -> str:
    """The id of a deleted dataset of which much was said; another one keeps what was said there."""
    source_id = client.ok("PUT", OLD, {"source": {}})["source"]["id"]
    sync(client, [make_comment(f"c{number}") for number in range(7)], "acme/old")
    types = [{"name": "word", "title": "", "inherits_from": [], "trainable": False}]
    settings = {"source_ids": [source_id], "has_sentiment": False, "entity_defs": types}
    for name in ("gone", "kept"):
        path = f"/api/v1/datasets/acme/{name}"
        dataset_id = client.ok("PUT", path, {"dataset": settings})["dataset"]["id"]
        label = {"name": "A > B", "sentiment": "positive"}
        field = {"name": "word", "formatted_value": "x"}
        update = {"labelling": [{"assigned": [label]}], "entities": {"assigned": [field]}}
        for number in range(7 if name == "gone" else 2):
            labelling = f"/api/_private/datasets/acme/{name}/labellings/{source_id}.c{number}"
            client.ok("POST", labelling, update)
        if name == "gone":
            gone: str = dataset_id
            with db.write() as tx:
                tx.execute(sa.insert(model).values(**a_model(dataset_id)))
                tx.execute(sa.insert(prediction).values(model=1, pos=5, scores=b""))
                tx.execute(sa.insert(rendering).values(key=1, model=1, thresholds="[]"))
                tx.execute(sa.insert(rendered).values(rendering=1, pos=5, body=b"[]"))
    client.ok("DELETE", "/api/v1/datasets/acme/gone")
    return gone


def a_model(dataset_id: str) -> dict[str, object]:
    texts = dict.fromkeys(("fingerprint", "labels", "definitions", "description"), "[]")
    flags = dict.fromkeys(("has_sentiment", "pinned", "deleted", "starred"), False)
    numbers = dict.fromkeys(("version", "trained_us", "input_us", "input_revision"), 1)
    more = {"duration_s": 1.0, "reviewed_counts": "{}"}
    return {"key": 1, "dataset_id": dataset_id, **texts, **flags, **numbers, **more}


OF_DATASETS = (label_mark, field_mark, annotated_comment, annotation_event, learning, model)


def rows_of(db: Database, dataset_id: str) -> dict[str, int]:
    with db.read() as tx:
        counted = sa.select(sa.func.count())
        return {
            table.name: tx.execute(
                counted.select_from(table).where(table.c.dataset_id == dataset_id)
            ).scalar_one()
            for table in OF_DATASETS
        }


def test_the_worker_removes_all_of_a_deleted_dataset_and_nothing_else(
    client: Client,
    db: Database,
    annotated: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(purge, "ROWS_AT_ONCE", 3)
    kept = client.ok("GET", "/api/v1/datasets/acme/kept")["dataset"]["id"]
    before = rows_of(db, kept)
    assert rows_of(db, annotated)["label_mark"] == 7
    worker = Worker(db, BlobStore(tmp_path), threading.Event(), handlers=HANDLERS)
    while worker.run_one():
        pass
    assert set(rows_of(db, annotated).values()) == {0}
    assert rows_of(db, kept) == before
    with db.read() as tx:
        for table in (prediction, rendering, rendered):
            assert tx.execute(sa.select(table)).all() == []


def test_a_dataset_that_exists_is_never_purged(client: Client, db: Database) -> None:
    made = client.ok("PUT", "/api/v1/datasets/acme/mail", {"dataset": {}})["dataset"]
    with pytest.raises(Conflict):
        purge_dataset(db, made["id"])


def test_a_purged_source_leaves_no_annotations(
    client: Client, db: Database, old_key: int, tmp_path: Path
) -> None:
    kept = client.ok("GET", KEPT)["source"]["id"]
    path = f"/api/_private/datasets/acme/mail/labellings/{kept}.c0"
    label = {"name": "A", "sentiment": "positive"}
    client.ok("POST", path, {"labelling": [{"assigned": [label]}]})
    client.ok("DELETE", f"/api/v1/sources/id:{kept}")
    worker = Worker(db, BlobStore(tmp_path), threading.Event(), handlers=HANDLERS)
    while worker.run_one():
        pass
    with db.read() as tx:
        for table in (label_mark, annotated_comment):
            assert tx.execute(sa.select(table)).all() == []
        # Nothing is left to learn from, which is news.
        (row,) = tx.execute(sa.select(learning)).all()
        assert row.revision == 3
    assert old_key
