"""Going back to the labels and annotations that a pinned model learned from."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from lodestream.store.annotations import reviewed_for_training
from lodestream.store.blobs import BlobStore
from lodestream.store.db import Database
from lodestream.store.tables import dataset, learning, model
from lodestream.worker.jobs import HANDLERS
from lodestream.worker.loop import Worker
from tests.build import dataset_path, make_comment, make_source, sync
from tests.client import Client

Json = dict[str, Any]
PRIVATE = "/api/_private/datasets/acme/support"
LABELS = PRIVATE + "/labels/default?label_name="
RESET = PRIVATE + "/reset-annotations"
TYPES = [{"name": "word", "title": "", "inherits_from": [], "trainable": False}]


@pytest.fixture
def source(client: Client) -> str:
    source: str = make_source(client)["id"]
    sync(client, [make_comment(f"c{number}", f"Text {number}") for number in range(5)])
    settings = {"source_ids": [source], "has_sentiment": False, "entity_defs": TYPES}
    client.ok("PUT", dataset_path(), {"dataset": settings})
    return source


def assign(client: Client, source: str, comment: str, *names: str, **more: Any) -> None:
    assigned = [{"name": name, "sentiment": "positive"} for name in names]
    update = {"labelling": [{"assigned": assigned}], **more}
    client.ok("POST", f"{PRIVATE}/labellings/{source}.{comment}", update)


def pin(db: Database, version: int, *, pinned: bool = True) -> None:
    """Store a model that learned from what there is now."""
    with db.write() as tx:
        dataset_id = tx.execute(sa.select(dataset.c.id)).scalar_one()
        revision = tx.execute(sa.select(learning.c.revision)).scalar_one()
        texts = dict.fromkeys(("labels", "definitions", "reviewed_counts"), "[]")
        tx.execute(
            sa.insert(model).values(
                dataset_id=dataset_id,
                version=version,
                trained_us=0,
                duration_s=0.0,
                input_us=0,
                input_revision=revision,
                fingerprint="",
                has_sentiment=False,
                pinned=pinned,
                deleted=False,
                starred=False,
                description="",
                **{**texts, "reviewed_counts": "{}"},
            )
        )


def names(labels: list[Json]) -> list[str]:
    return [label["name"] for label in labels]


def everything(client: Client, source: str) -> Json:
    """The definitions of labels, and what was said of each comment."""
    query = "&".join(f"id={source}.c{number}" for number in range(5))
    found = client.ok("GET", f"{PRIVATE}/labellings?allow_missing=true&{query}")["results"]
    said = {
        one["comment"]["id"]: [
            {
                key: [m["name"] for m in one["labelling"][0][key]]
                for key in ("assigned", "dismissed")
            },
            one["labelling"][0].get("uninformative", {}).get("mode"),
            [f["formatted_value"] for f in one["entities"]["assigned"]],
        ]
        for one in found
    }
    return {"labels": client.ok("GET", dataset_path())["dataset"]["label_defs"], "said": said}


def work(db: Database, folder: Path) -> None:
    worker = Worker(db, BlobStore(folder), threading.Event(), handlers=HANDLERS)
    while worker.run_one():
        pass


def test_labels_and_annotations_are_what_they_were(
    client: Client, db: Database, source: str, tmp_path: Path
) -> None:
    fields = {"assigned": [{"name": "word", "formatted_value": "Text"}]}
    assign(client, source, "c0", "A > B", "Z", entities=fields)
    assign(client, source, "c1", "A")
    assign(client, source, "c2", "Z")
    client.ok("POST", LABELS + "Z", {"label": {"title": "Zed"}})
    pin(db, 3)
    before = everything(client, source)

    client.ok("POST", LABELS + "A", {"label": {"name": "New"}})
    client.ok("POST", LABELS + "Z", {"label": {"name": "New", "title": "Merged"}})
    assign(client, source, "c0", "Later", entities={"assigned": []})
    assign(client, source, "c3", "Later")
    client.ok("DELETE", LABELS + "New")
    client.ok("PUT", PRIVATE + "/labels/default", {"label_defs": [{"name": "A"}, {"name": "Z"}]})
    assign(client, source, "c4", "A")
    client.ok("POST", dataset_path(), {"dataset": {"entity_defs": []}})
    assert everything(client, source) != before

    client.ok("POST", RESET, {"model_version": 3})
    status = client.ok("GET", PRIVATE + "/labellers/status")["dataset_status"]
    assert status["operation"] == "reset_annotations_to_model_version"
    work(db, tmp_path)
    status = client.ok("GET", PRIVATE + "/labellers/status")["dataset_status"]
    assert status["operation"] is None
    assert everything(client, source) == before
    reviewed = client.ok("GET", f"{PRIVATE}/labellings?source_id={source}")["results"]
    assert [one["comment"]["id"] for one in reviewed] == ["c0", "c1", "c2"]

    client.ok("POST", RESET, {"model_version": 3})
    work(db, tmp_path)
    assert everything(client, source) == before


def test_a_reset_is_a_change_that_can_itself_be_seen_and_taken_back(
    client: Client, db: Database, source: str, tmp_path: Path
) -> None:
    assign(client, source, "c0", "A")
    pin(db, 1)
    assign(client, source, "c0", "B")
    client.ok("POST", RESET, {"model_version": 1})
    work(db, tmp_path)
    ours = "/api/lodestream/v1/datasets/acme/support"
    events = client.ok("GET", f"{ours}/history?comment_uid={source}.c0")["events"]
    assert len(events) == 3
    client.ok("POST", ours + "/undo", {"comment_uid": f"{source}.c0"})
    assert everything(client, source)["said"]["c0"][0]["assigned"] == ["B"]


def test_a_review_is_as_old_as_it_was(
    client: Client, db: Database, source: str, tmp_path: Path
) -> None:
    assign(client, source, "c0", "A")
    pin(db, 1)
    with db.read() as tx:
        dataset_id = tx.execute(sa.select(dataset.c.id)).scalar_one()
        (before,) = reviewed_for_training(tx, dataset_id)
    assign(client, source, "c0", "B")
    client.ok("POST", RESET, {"model_version": 1})
    work(db, tmp_path)
    with db.read() as tx:
        assert reviewed_for_training(tx, dataset_id) == [before]


def test_deleted_comments_and_other_words_are_not_brought_back(
    client: Client, db: Database, source: str, tmp_path: Path
) -> None:
    span = {"content_part": "body", "message_index": 0, "char_start": 0, "char_end": 4}
    fields = {"assigned": [{"name": "word", "formatted_value": "Text", "span": span}]}
    assign(client, source, "c0", "A", entities=fields)
    assign(client, source, "c1", "A")
    pin(db, 1)
    sync(client, [make_comment("c0", "Other words")])
    assign(client, source, "c0", "B")
    client.ok("DELETE", "/api/v1/sources/acme/inbox/comments?id=c1")
    client.ok("POST", RESET, {"model_version": 1})
    work(db, tmp_path)
    said = everything(client, source)["said"]
    assert said["c0"] == [{"assigned": ["A"], "dismissed": []}, None, []]
    assert "c1" not in said


def test_only_a_pinned_version_can_be_gone_back_to(
    client: Client, db: Database, source: str
) -> None:
    assign(client, source, "c0", "A")
    pin(db, 1, pinned=False)
    for version, status in ((1, 422), (2, 422), (-1, 400), ("latest", 400), (1.5, 400)):
        answer = client.post(RESET, {"model_version": version})
        assert answer.status == status, version
    assert client.post(RESET.replace("support", "none"), {"model_version": 1}).status == 404
    status = client.ok("GET", PRIVATE + "/labellers/status")["dataset_status"]
    assert status["operation"] is None


def test_a_dataset_that_is_gone_meanwhile_is_left_alone(
    client: Client, db: Database, source: str, tmp_path: Path
) -> None:
    assign(client, source, "c0", "A")
    pin(db, 1)
    client.ok("POST", RESET, {"model_version": 1})
    client.ok("DELETE", dataset_path())
    work(db, tmp_path)
    with db.read() as tx:
        assert tx.execute(sa.select(learning)).all() == []
        assert tx.execute(sa.select(model)).all() == []
