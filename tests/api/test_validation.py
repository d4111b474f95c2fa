"""Validations and training actions over HTTP."""

from __future__ import annotations

import itertools
import json
import math
from typing import Any
from uuid import UUID

import msgspec
import numpy as np
import pytest

from lodestream.api.validation import (
    LabelValidationReply,
    StatisticsOfModelReply,
    TrainingActionsReply,
    ValidationReply,
)
from tests.api.test_predict import numbers_in
from tests.build import DATASET, make_comment, make_dataset, make_source, set_sources, sync
from tests.client import Client
from tests.conftest import grant_in, make_project, make_user
from tests.ml.validations import make_data
from tests.models import (
    add_model,
    database,
    delete_model,
    make_head,
    save_validation,
)

V1 = f"/api/v1/datasets/{DATASET}/labellers"
PRIVATE = f"/api/_private/datasets/{DATASET}"
LABELLERS = f"{PRIVATE}/labellers"
HEAD = make_head()


@pytest.fixture
def dataset(client: Client) -> Client:
    """A server with the dataset `DATASET`, which has labels, and one validated version."""
    make_source(client)
    make_dataset(client)
    labels = [{"name": "Claim > Status", "instructions": "asks how far it is"}, {"name": "Thanks"}]
    client.ok("PUT", f"{PRIVATE}/labels/default", {"label_defs": labels})
    add_model(client, head=HEAD)
    save_validation(client, 1)
    return client


def curve(client: Client, label: str, version: object = 1) -> Any:
    path = f"{LABELLERS}/{version}/label-validation"
    return client.ok("POST", path, {"label": label})["label_validation"]


# Validation of a version


def test_a_validation_has_the_documented_form(dataset: Client) -> None:
    answer = dataset.get(f"{LABELLERS}/1/validation?beta=true")
    assert answer.status == 200
    reply = msgspec.json.decode(answer.content, type=ValidationReply)
    found = answer.json["validation"]
    assert found["version"] == 1
    assert set(found["labels"]) == {"Claim", "Claim > Status", "Thanks"}
    assert found["reviewed_size"] == found["train_size"] + found["test_size"] == 400
    assert found["min_comments_threshold"] == 20
    assert len(found["recalls"]) == len(found["mean_precision_curve_safe"]) > 0
    rating = found["model_rating"]
    assert rating["quality"] in ("none", "poor", "average", "good", "excellent")
    assert 0 <= rating["score"] <= 100
    assert rating["bins"] == [50, 70, 90]
    assert [one["kind"] for one in rating["factors"]] == [
        "biased",
        "coverage",
        "lowest_label_health",
        "overall_label_health",
    ]
    (group,) = reply.label_groups
    assert group.name == "default"
    assert all(math.isfinite(one) for one in numbers_in(answer.json))


def test_definitions_are_those_of_the_version(dataset: Client) -> None:
    dataset.ok("POST", f"{PRIVATE}/labels/default?label_name=Thanks", {"label": {"name": "Praise"}})
    dataset.ok("PUT", f"{PRIVATE}/labels/default", {"label_defs": [{"name": "New"}]})
    (group,) = dataset.ok("GET", f"{LABELLERS}/1/validation")["label_groups"]
    assert set(group) == {
        "name",
        "label_defs",
        "label_collection_name",
        "trainable",
        "hidden",
        "instructions",
    }
    names = [one["name"] for one in group["label_defs"]]
    assert names == ["Claim", "Claim > Status", "Thanks"]
    assert group["label_defs"][1]["instructions"] == "asks how far it is"


def test_field_types_are_those_of_the_version(dataset: Client) -> None:
    fields = [{"name": "policy", "title": "Policy", "inherits_from": [], "trainable": True}]
    change = {"dataset": {"entity_defs": fields}}
    answer = dataset.post(f"/api/v1/datasets/{DATASET}", change)
    assert answer.status == 200, answer.content
    version = add_model(dataset, head=HEAD)
    save_validation(dataset, version)
    dataset.ok("POST", f"/api/v1/datasets/{DATASET}", {"dataset": {"title": "renamed"}})
    assert dataset.ok("GET", f"{LABELLERS}/1/validation")["entity_defs"] == []
    found = dataset.ok("GET", f"{LABELLERS}/{version}/validation")["entity_defs"]
    assert found == dataset.ok("GET", f"/api/v1/datasets/{DATASET}")["dataset"]["entity_defs"]


def test_the_latest_validation_is_that_of_the_newest_version_that_has_one(dataset: Client) -> None:
    add_model(dataset, head=HEAD)
    add_model(dataset, head=HEAD)
    assert dataset.ok("GET", f"{LABELLERS}/latest/validation")["validation"]["version"] == 1
    save_validation(dataset, 2)
    assert dataset.ok("GET", f"{LABELLERS}/latest/validation")["validation"]["version"] == 2
    assert curve(dataset, "Thanks", "latest") == curve(dataset, "Thanks", 2)


def test_without_a_model_there_is_no_validation(client: Client) -> None:
    make_source(client)
    make_dataset(client)
    for version in ("latest", "1"):
        answer = client.get(f"{LABELLERS}/{version}/validation")
        assert answer.status == 404
        assert answer.json["status"] == "error"
        body = {"label": "Claim"}
        assert client.post(f"{LABELLERS}/{version}/label-validation", body).status == 404
        assert client.get(f"{PRIVATE}/{version}/training-actions/labels").status == 404
    assert client.get(f"{V1}/1/validation").status == 404


def test_a_version_that_is_not_validated_or_gone_has_none(dataset: Client) -> None:
    add_model(dataset, head=HEAD)
    add_model(dataset, head=HEAD)
    save_validation(dataset, 3)
    delete_model(dataset, 3)
    for version in (2, 3, 4):
        assert dataset.get(f"{LABELLERS}/{version}/validation").status == 404
        body = {"label": "Claim"}
        assert dataset.post(f"{LABELLERS}/{version}/label-validation", body).status == 404
        assert dataset.get(f"{V1}/{version}/validation").status == 404
        assert dataset.get(f"{PRIVATE}/{version}/training-actions/labels").status == 404
    assert dataset.ok("GET", f"{LABELLERS}/latest/validation")["validation"]["version"] == 1


@pytest.mark.parametrize("word", ["live", "newest", "-1", "1.5"])
def test_what_names_no_version_is_refused(dataset: Client, word: str) -> None:
    assert dataset.get(f"{LABELLERS}/{word}/validation").status == 400
    assert dataset.post(f"{LABELLERS}/{word}/label-validation", {"label": "A"}).status == 400
    assert dataset.get(f"{V1}/{word}/validation").status == 400
    assert dataset.get(f"{PRIVATE}/{word}/training-actions/labels").status == 400


# Validation of a label


def precision_and_recall_at(found: Any, threshold: float) -> tuple[float, float]:
    """Read a curve as the vendor's command line does."""
    place = next(at for at, one in enumerate(found["thresholds"]) if one <= threshold)
    return found["precisions"][place], found["recalls"][place]


@pytest.mark.parametrize("positives", [0, 1, 5, 200, 400])
def test_the_curve_of_a_label_can_be_read_at_every_threshold(
    dataset: Client, positives: int
) -> None:
    assigned = np.zeros((400, 3), np.bool_)
    assigned[:positives, 1] = True
    labels = ("Claim", "Claim > Status", "Thanks")
    save_validation(dataset, 1, make_data(labels=labels, assigned=assigned))
    answer = dataset.post(f"{LABELLERS}/1/label-validation?beta=false", {"label": labels[1]})
    msgspec.json.decode(answer.content, type=LabelValidationReply)
    found = answer.json["label_validation"]
    thresholds, recalls = found["thresholds"], found["recalls"]
    assert len(thresholds) == len(recalls) == len(found["precisions"])
    assert all(a > b for a, b in itertools.pairwise(thresholds))
    assert all(a <= b for a, b in itertools.pairwise(recalls))
    assert thresholds[-1] == 0.0
    assert recalls[-1] == 1.0
    assert max(found["precisions"]) == 1.0
    for threshold in (0.0, 0.001, 0.25, 0.5, 0.999, 1.0):
        precision, recall = precision_and_recall_at(found, threshold)
        assert 0 <= precision <= 1
        assert 0 <= recall <= 1
    assert found["reviewed_size"] == positives
    if not positives:
        assert found["average_precision"] is None
        assert found["optimal_thresholds"] is None


def test_what_is_asked_of_fields_is_accepted(dataset: Client) -> None:
    body = {"label": "Thanks", "moon": {"anything": [1, 2]}}
    dataset.ok("POST", f"{LABELLERS}/1/label-validation", body)


@pytest.mark.parametrize("label", ["Nothing", "claim", "Claim>Status", "x" * 1024, "🚀"])
def test_an_unknown_label_has_no_validation(dataset: Client, label: str) -> None:
    assert dataset.post(f"{LABELLERS}/1/label-validation", {"label": label}).status == 404


@pytest.mark.parametrize(
    "body", [{}, {"label": ""}, {"label": ["Claim"]}, {"label": "A", "more": 1}, {"label": None}]
)
def test_a_request_for_a_label_is_checked(dataset: Client, body: Any) -> None:
    assert dataset.post(f"{LABELLERS}/1/label-validation", body).status == 400


# Public statistics


def test_statistics_have_the_documented_form(dataset: Client) -> None:
    answer = dataset.get(f"{V1}/1/validation")
    msgspec.json.decode(answer.content, type=StatisticsOfModelReply)
    found = answer.json["validation"]
    assert set(found) == {
        "version",
        "labels",
        "entities",
        "num_reviewed_comments",
        "num_labels",
        "num_amber_labels",
        "num_red_labels",
        "mean_average_precision_safe",
        "dataset_quality",
        "dataset_score",
        "balance",
        "coverage",
        "balance_quality",
        "coverage_quality",
        "underperforming_labels_quality",
        "all_labels_quality",
    }
    assert found["version"] == 1
    assert found["labels"][1] == {"name": "Claim > Status", "parts": ["Claim", "Status"]}
    assert isinstance(found["dataset_score"], int)


def test_statistics_need_a_number(dataset: Client) -> None:
    assert dataset.get(f"{V1}/latest/validation").status == 400


# Training actions


@pytest.fixture
def planned(dataset: Client) -> tuple[Client, list[str]]:
    """A version whose training actions are about two comments, and their uids."""
    sync(dataset, [make_comment("c1"), make_comment("a:c2")])
    source = dataset.ok("GET", "/api/v1/sources/acme/inbox")["source"]["id"]
    uids = [f"{source}.c1", f"{source}.a:c2"]
    save_validation(dataset, 1, action_uids=uids)
    return dataset, uids


def actions_of(client: Client, version: object = 1) -> list[Any]:
    reply = client.ok("GET", f"{PRIVATE}/{version}/training-actions/labels?beta=true")
    entries: list[Any] = reply["training_actions_labels"]
    return entries


def first_action(client: Client) -> str:
    entry = actions_of(client)[0]
    found: str = (entry[0] if isinstance(entry, list) else entry)["id"]
    return found


def test_training_actions_have_the_documented_form(dataset: Client) -> None:
    answer = dataset.get(f"{PRIVATE}/latest/training-actions/labels")
    msgspec.json.decode(answer.content, type=TrainingActionsReply)
    entries = actions_of(dataset)
    assert entries
    flat = [one for entry in entries for one in (entry if isinstance(entry, list) else [entry])]
    assert {one["kind"] for one in flat} <= {"custom", "dataset", "label"}
    assert all(str(UUID(one["id"])) == one["id"] for one in flat)
    assert len({one["id"] for one in flat}) == len(flat)


def test_an_action_tells_its_comments_in_order(planned: tuple[Client, list[str]]) -> None:
    client, uids = planned
    action = first_action(client)
    for written in (action, action.upper(), action.replace("-", ""), f"{{{action}}}"):
        path = f"{PRIVATE}/{written}/training-action-comment-uids"
        assert client.ok("GET", path)["comment_uids"] == uids


def test_an_action_is_complete_when_each_comment_was_seen(
    planned: tuple[Client, list[str]],
) -> None:
    client, uids = planned
    action = first_action(client)

    def see(uid: str, *, annotated: bool) -> str:
        path = f"{PRIVATE}/{action}/{uid.replace(':', '%3A')}/seen-training-comment"
        reply = client.ok("PUT", path, {"is_with_annotation": annotated})
        found: str = reply["training_action_completeness"]
        return found

    assert see(uids[0], annotated=True) == "incomplete"
    assert see(uids[0], annotated=False) == "incomplete"
    assert see(uids[1], annotated=False) == "newly-completed"
    assert see(uids[1], annotated=True) == "already-complete"


def test_what_belongs_to_no_action_is_not_there(planned: tuple[Client, list[str]]) -> None:
    client, uids = planned
    action = first_action(client)
    unknown = "00000000-0000-4000-8000-000000000000"
    body = {"is_with_annotation": True}
    assert client.get(f"{PRIVATE}/{unknown}/training-action-comment-uids").status == 404
    assert client.get(f"{PRIVATE}/first/training-action-comment-uids").status == 400
    seen = "seen-training-comment"
    assert client.put(f"{PRIVATE}/{unknown}/{uids[0]}/{seen}", body).status == 404
    assert client.put(f"{PRIVATE}/{action}/{uids[0]}x/{seen}", body).status == 404
    assert client.put(f"{PRIVATE}/{action}/{uids[0]}/{seen}", {}).status == 400
    make_dataset(client, "acme/second")
    elsewhere = PRIVATE.replace("support", "second")
    assert client.get(f"{elsewhere}/{action}/training-action-comment-uids").status == 404


def test_an_action_tells_only_of_comments_that_one_may_read(
    planned: tuple[Client, list[str]],
) -> None:
    client, uids = planned
    db = database(client)
    make_project(db, "third")
    make_source(client, "third/secret")
    set_sources(client, DATASET, ["acme/inbox", "third/secret"])
    secret = client.ok("GET", "/api/v1/sources/third/secret")["source"]["id"]
    save_validation(client, 1, action_uids=[f"{secret}.c1", *uids])
    grant_in(db, make_user(db, "reader"), "acme", ("voc-readonly", "sources-read"))
    path = f"{PRIVATE}/{first_action(client)}/training-action-comment-uids"
    assert client.ok("GET", path)["comment_uids"] == [f"{secret}.c1", *uids]
    assert client.as_user("reader").ok("GET", path)["comment_uids"] == uids


# Odd datasets


@pytest.mark.parametrize(
    "data",
    [
        {"labels": (), "reviewed": 5},
        {"labels": ("Only",), "reviewed": 1, "unreviewed": 0},
        {"labels": ("Only",), "reviewed": 0, "unreviewed": 0},
        {"labels": ("A", "B"), "reviewed": 50, "share": 0.0},
        {"labels": ("A", "B"), "reviewed": 50, "share": 1.0},
        {"labels": ("A",), "reviewed": 40, "texts": ["same"] * 40},
    ],
)
def test_the_validation_of_an_odd_dataset_is_sane(dataset: Client, data: Any) -> None:
    version = add_model(dataset, head=HEAD, labels=data["labels"], examples=[])
    save_validation(dataset, version, make_data(**data))

    def refuse(name: str) -> float:
        raise AssertionError(name)

    for path in (
        f"{LABELLERS}/{version}/validation",
        f"{V1}/{version}/validation",
        f"{PRIVATE}/{version}/training-actions/labels",
    ):
        answer = dataset.get(path)
        assert answer.status == 200, answer.content
        json.loads(answer.content, parse_constant=refuse)
    for label in data["labels"]:
        found = curve(dataset, label, version)
        assert found["thresholds"][-1] == 0.0
        assert found["recalls"][-1] == 1.0
