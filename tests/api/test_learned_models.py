"""What a learner made, over HTTP: from labels to a pinned version that predicts."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import msgspec
import pytest

from lodestream.api.validation import TrainingActionsReply, ValidationReply
from lodestream.store.db import Database
from tests.api.test_predict import numbers_in
from tests.client import Client
from tests.learning import TEXTS, install_tiny, label_hotel, learn, make_hotel

V1 = "/api/v1/datasets/acme/support"
PRIVATE = "/api/_private/datasets/acme/support"


@pytest.fixture(params=["words alone", "an encoder"])
def hotel(request: pytest.FixtureRequest, client: Client, db: Database, tmp_path: Path) -> Path:
    """A dataset of which a part is labelled; the folder of the encoders."""
    folder = tmp_path / "encoders"
    if request.param == "an encoder":
        install_tiny(folder)
    label_hotel(db, make_hotel(client))
    learn(db, folder)
    return folder


def predict(client: Client, version: object, *texts: str) -> Any:
    documents = [{"messages": [{"body": {"text": one}}]} for one in texts]
    body = {"documents": documents, "threshold": 0.0}
    return client.ok("POST", f"{V1}/labellers/{version}/predict", body)["predictions"]


def test_a_learned_version_is_listed_validated_pinned_and_predicts(
    client: Client, hotel: Path
) -> None:
    listed = client.ok("POST", f"{PRIVATE}/labellers", {})
    (version,) = listed["labellers"]
    assert (version["version"], version["validated"], version["pinned"]) == (1, True, False)
    assert version["reviewed_counts"] == {"Food": 6, "Room": 12, "Room > Noise": 6}
    status = listed["dataset_status"]
    assert status["training_complete"] == status["validation_complete"] == 1.0
    assert status["inference_complete"] == 1.0
    assert status["inference_stats_by_version"]["1"]["comments"] == 30
    assert not status["inference_stuck"]

    client.ok("PUT", f"{PRIVATE}/labellers/1/pin")
    client.ok("PUT", f"{PRIVATE}/model-tags/live", {"model_tag": {"version": 1}})
    text = TEXTS["Food"].format("fine")
    (found,) = predict(client, "live", text)
    assert found[0]["name"] == ["Food"]

    source = client.ok("GET", "/api/v1/sources/acme/inbox")["source"]["id"]
    body = {"uids": [f"{source}.Food-0"], "threshold": 0.0}
    reply = client.ok("POST", f"{V1}/labellers/1/predict-comments", body)
    assert reply["predictions"][0]["labels"] == found


def test_what_a_learner_found_of_a_version_is_served(client: Client, hotel: Path) -> None:
    answer = client.get(f"{PRIVATE}/labellers/latest/validation")
    shown = msgspec.json.decode(answer.content, type=ValidationReply)
    assert shown.validation.version == 1
    assert shown.validation.reviewed_size == 18
    names = [label["name"] for label in answer.json["label_groups"][0]["label_defs"]]
    assert sorted(names) == ["Food", "Room", "Room > Noise"]
    for label in names:
        path = f"{PRIVATE}/labellers/1/label-validation"
        curve = client.ok("POST", path, {"label": label})["label_validation"]
        assert curve["thresholds"][-1] == 0.0
    statistics = client.ok("GET", f"{V1}/labellers/1/validation")["validation"]
    assert statistics["num_labels"] == 3
    answer = client.get(f"{PRIVATE}/1/training-actions/labels")
    msgspec.json.decode(answer.content, type=TrainingActionsReply)
    assert all(math.isfinite(one) for one in numbers_in(answer.json))


def test_a_pinned_version_does_not_change_when_more_is_learned(
    client: Client, db: Database, hotel: Path
) -> None:
    client.ok("PUT", f"{PRIVATE}/labellers/1/pin")
    texts = [text.format("odd") for text in TEXTS.values()]
    before = predict(client, 1, *texts)
    dataset = client.ok("GET", V1)["dataset"]["id"]
    for first in range(6, 9):
        label_hotel(db, dataset, first=first, each=1)
        learn(db, hotel)
    client.ok("DELETE", f"{PRIVATE}/labels/default?label_name=Food")
    learn(db, hotel)
    assert client.ok("POST", f"{PRIVATE}/labellers", {})["labellers"][0]["version"] >= 4
    assert predict(client, 1, *texts) == before
    names = client.ok("GET", f"{PRIVATE}/labellers/1/validation")["validation"]["labels"]
    assert set(names) == set(TEXTS)


def test_labellings_carry_predictions_where_they_are_asked_for(client: Client, hotel: Path) -> None:
    source = client.ok("GET", "/api/v1/sources/acme/inbox")["source"]["id"]
    path = f"{PRIVATE}/labellings?id={source}.Food-0&id={source}.Food-8"
    for one in client.ok("GET", path)["results"]:
        assert not one["labelling"][0].get("predicted")
    asked = client.ok("GET", f"{path}&return_predictions=true")["results"]
    predicted = [one["labelling"][0]["predicted"] for one in asked]
    assert [one[0]["name"] for one in predicted] == ["Food", "Food"]
    assert [one["model_version"] for one in asked] == [1, 1]
