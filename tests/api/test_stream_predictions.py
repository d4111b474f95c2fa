"""Streams with a model: every comment comes with its predictions."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from lodestream.actions import feeding
from lodestream.store import models
from lodestream.store.db import Database
from tests.build import (
    advance,
    fetch,
    make_comment,
    make_stream,
    reset,
    results,
    stream_path,
    sync,
)
from tests.client import Client
from tests.learning import label_hotel, learn, make_hotel

DATASET = "/api/v1/datasets/acme/support"


def pin_newest(db: Database, dataset_id: str) -> int:
    with db.write() as tx:
        model = models.find_newest(tx, dataset_id)
        assert model is not None
        models.update(tx, model.key, pinned=True)
    return model.version


@pytest.fixture
def dataset_id(client: Client, db: Database, tmp_path: Path) -> str:
    """A dataset with the pinned version 1, and thirty comments."""
    found = make_hotel(client)
    label_hotel(db, found)
    learn(db, tmp_path)
    assert pin_newest(db, found) == 1
    return found


def make_model_stream(client: Client, thresholds: dict[str, float] | None = None) -> None:
    """Make a stream of version 1 from the first comment on."""
    model: dict[str, Any] = {"version": 1}
    if thresholds is not None:
        model["label_thresholds"] = [
            {"name": name.split(" > "), "threshold": least} for name, least in thresholds.items()
        ]
    make_stream(client, model=model)
    reset(client, "2000-01-01T00:00:00Z")


def by_id(batch: dict[str, Any]) -> dict[str, dict[str, float]]:
    """Return the probabilities of each comment of a fetched batch."""
    return {
        one["comment"]["id"]: {" > ".join(it["name"]): it["probability"] for it in one["labels"]}
        for one in batch["results"]
    }


def test_every_label_is_shown_where_no_threshold_is_set(client: Client, dataset_id: str) -> None:
    make_model_stream(client)
    batch = fetch(client)
    assert len(batch["results"]) == 30
    found = by_id(batch)
    assert all(set(one) == {"Food", "Room", "Room > Noise"} for one in found.values())
    assert found["Food-8"]["Food"] > 0.5 > found["Food-8"]["Room"]
    assert all(list(one.values()) == sorted(one.values(), reverse=True) for one in found.values())
    assert all(one["entities"] == [] for one in batch["results"])


def test_predictions_kept_ready_and_made_on_the_spot_are_the_same(
    client: Client, db: Database, dataset_id: str, tmp_path: Path
) -> None:
    make_model_stream(client, {"Food": 0.2, "Room > Noise": 0.3})
    on_the_spot = fetch(client)
    learn(db, tmp_path)
    assert fetch(client) == on_the_spot


def test_thresholds_hide_labels_but_never_comments(client: Client, dataset_id: str) -> None:
    make_model_stream(client, {"Food": 0.5, "No such label": 0.0})
    found = by_id(fetch(client))
    assert len(found) == 30
    assert set(found["Food-8"]) == {"Food"}
    assert found["Room.Noise-8"] == {}


def test_a_batch_ends_before_what_would_take_too_long(
    client: Client, dataset_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feeding, "MOST_ON_THE_SPOT", 4)
    make_model_stream(client)
    seen: list[str] = []
    for _ in range(40):
        batch = fetch(client)
        assert len(batch["results"]) <= 4
        assert all(len(one["labels"]) == 3 for one in batch["results"])
        seen += by_id(batch)
        advance(client, batch["sequence_id"])
        if batch["is_end_sequence"]:
            break
    assert len(seen) == len(set(seen)) == 30


def test_a_comment_that_just_came_has_its_predictions(
    client: Client, db: Database, dataset_id: str, tmp_path: Path
) -> None:
    make_model_stream(client)
    learn(db, tmp_path)
    sync(client, [make_comment("late", "breakfast was awful, the coffee cold")])
    assert by_id(fetch(client))["late"]["Food"] > 0.5


def test_a_changed_comment_has_the_predictions_of_its_new_text(
    client: Client, db: Database, dataset_id: str, tmp_path: Path
) -> None:
    make_model_stream(client)
    learn(db, tmp_path)
    before = by_id(fetch(client))["Food-8"]
    sync(client, [make_comment("Food-8", "loud all night, the street noise kept us awake")])
    after = by_id(fetch(client))["Food-8"]
    assert before["Food"] > 0.5 > after["Food"]
    learn(db, tmp_path)
    assert by_id(fetch(client))["Food-8"] == after


def test_a_comment_without_text_is_delivered_with_no_label(
    client: Client, db: Database, dataset_id: str, tmp_path: Path
) -> None:
    make_model_stream(client)
    sync(client, [make_comment("mute", ""), make_comment("smile", "😀")])
    for _ in range(2):
        batch = fetch(client)
        found = by_id(batch)
        assert "mute" in found
        assert all(0 <= one <= 1 for one in found["smile"].values())
        learn(db, tmp_path)


def test_a_filter_and_a_model_work_together(
    client: Client, db: Database, dataset_id: str, tmp_path: Path
) -> None:
    team = {"user_properties": {"string:Team": "A"}}
    sync(client, [make_comment("a1", "breakfast was cold", **team), make_comment("b1", "the bed")])
    only = {"user_properties": {"string:Team": {"one_of": ["A"]}}}
    make_stream(client, model={"version": 1}, comment_filter=only)
    reset(client, "2000-01-01T00:00:00Z")
    for _ in range(2):
        found = by_id(fetch(client))
        assert set(found) == {"a1"}
        assert len(found["a1"]) == 3
        learn(db, tmp_path)


def test_results_tell_confidence_and_the_thresholds_that_it_reaches(
    client: Client, dataset_id: str
) -> None:
    make_model_stream(client, {"Food": 0.3, "Room > Noise": 0.3})
    reply = results(client)
    found = {one["comment"]["id"]: one["prediction"] for one in reply["results"]}
    (taxonomy,) = found["Food-8"]["taxonomies"]
    assert taxonomy["name"] == "default"
    assert taxonomy["general_fields"] == []
    (label,) = taxonomy["labels"]
    assert label["name"] == "Food"
    assert "stream" in label["occurrence_confidence"]["thresholds"]
    assert "stream" not in label["extraction_confidence"]["thresholds"]
    assert label["occurrence_confidence"]["value"] == label["extraction_confidence"]["value"] > 0.5
    assert label["fields"] == []
    assert found["Food-8"]["scores"] == []
    (known,) = reply["model"]["definition"]["taxonomies"]
    assert known["name"] == "default"
    assert {one["name"] for one in known["labels"]} >= {"Food", "Room > Noise"}
    assert found["Room.Noise-8"]["taxonomies"][0]["labels"][0]["name"] == "Room > Noise"


def test_fetch_and_results_agree_to_the_last_digit(client: Client, dataset_id: str) -> None:
    make_model_stream(client)
    fetched = by_id(fetch(client))
    for one in results(client)["results"]:
        labels = one["prediction"]["taxonomies"][0]["labels"]
        said = {label["name"]: label["occurrence_confidence"]["value"] for label in labels}
        assert said == fetched[one["comment"]["id"]]


def test_a_pinned_version_says_the_same_after_more_annotations_and_trainings(
    client: Client, db: Database, dataset_id: str, tmp_path: Path
) -> None:
    make_model_stream(client)
    before = fetch(client)
    label_hotel(db, dataset_id, first=6, each=3)
    learn(db, tmp_path)
    with db.read() as tx:
        newest = models.find_newest(tx, dataset_id)
    assert newest is not None
    assert newest.version == 2
    assert fetch(client) == before


def test_a_stream_can_change_to_another_version_and_to_none(
    client: Client, db: Database, dataset_id: str, tmp_path: Path
) -> None:
    make_model_stream(client)
    first = fetch(client)
    label_hotel(db, dataset_id, first=6, each=3)
    learn(db, tmp_path)
    assert pin_newest(db, dataset_id) == 2
    client.ok("POST", stream_path(), {"stream": {"model": {"version": 2}}})
    second = fetch(client)
    assert second["sequence_id"] == first["sequence_id"]
    assert by_id(second) != by_id(first)
    client.ok("POST", stream_path(), {"stream": {"model": None}})
    assert all("labels" not in one for one in fetch(client)["results"])


def test_a_version_that_is_not_pinned_is_refused(client: Client, dataset_id: str) -> None:
    path = f"{DATASET}/streams"
    answer = client.put(path, {"stream": {"name": "other", "model": {"version": 7}}})
    assert answer.status == 422
