"""What is left of a deleted source."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
import sqlalchemy as sa

from lodestream.actions import purge
from lodestream.actions.purge import purge_source
from lodestream.actions.verify import verify
from lodestream.domain.errors import Conflict
from lodestream.store.blobs import BlobStore
from lodestream.store.db import Database
from lodestream.store.tables import (
    comment,
    comment_key,
    comment_text,
    file_claim,
    job,
    source,
    stream_exception,
)
from lodestream.worker.jobs import HANDLERS
from lodestream.worker.loop import Pace, Worker
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
    tables = (comment, comment_text, comment_key, stream_exception)
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
        "comment_key": 3,
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
    assert counts(db)["comment_key"] == 3


def test_a_source_that_exists_is_never_purged(db: Database, old_key: int) -> None:
    with db.read() as tx:
        kept = tx.execute(sa.select(source.c.key).where(source.c.name == "kept")).scalar_one()
    with pytest.raises(Conflict):
        purge_source(db, kept)
    assert counts(db)["comment"] == 10
