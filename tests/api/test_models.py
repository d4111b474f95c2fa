"""Model versions over HTTP: list, status, describe, pin, unpin, tags."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import pytest

from lodestream.domain.times import format_us, now_us
from lodestream.store import learning
from tests.build import (
    DATASET,
    make_comment,
    make_dataset,
    make_pipeline,
    make_source,
    make_stream,
    set_sources,
    sync,
)
from tests.client import Client
from tests.conftest import grant_in, make_user
from tests.models import (
    add_model,
    database,
    dataset_id,
    delete_model,
    find_model,
    make_head,
    reach_all,
    save_validation,
)

PRIVATE = f"/api/_private/datasets/{DATASET}"
LABELLERS = f"{PRIVATE}/labellers"
TAGS = f"/api/v1/datasets/{DATASET}/model-tags"
LIVE = f"{PRIVATE}/model-tags/live"

FIELDS = {"trained_time": "trained_us", "input_updated_at": "input_us"}

HEAD = make_head()


@pytest.fixture
def dataset(client: Client) -> Client:
    """A server with the dataset `DATASET` of one source, without comments."""
    make_source(client)
    make_dataset(client)
    return client


def versions(client: Client, **body: Any) -> list[int]:
    return [one["version"] for one in client.ok("POST", LABELLERS, body)["labellers"]]


def status(client: Client) -> Any:
    return client.ok("GET", f"{LABELLERS}/status")["dataset_status"]


def add_models(client: Client, number: int, **more: Any) -> None:
    for _ in range(number):
        add_model(client, head=HEAD, **more)


def event_types(client: Client) -> list[str]:
    page = client.ok("POST", "/api/v1/audit_events/query", {"filter": {"timestamp": {}}})
    return [one["event_type"] for one in page["audit_events"]]


# List


def test_a_dataset_without_models_has_an_empty_list(dataset: Client) -> None:
    reply = dataset.ok("POST", LABELLERS, {})
    assert reply["labellers"] == []
    assert reply["model_tags"] == []
    assert reply["max_number_pinned_models"] == 100
    assert reply["dataset_status"] == status(dataset)


def test_a_version_has_the_documented_form(dataset: Client) -> None:
    version = add_model(dataset, head=HEAD)
    (found,) = dataset.ok("POST", LABELLERS, {})["labellers"]
    stored = find_model(dataset, version)
    for name in FIELDS:
        assert found.pop(name) == format_us(getattr(stored, FIELDS[name]))
    assert found == {
        "version": version,
        "model_id": "default",
        "model_name": "cm",
        "fingerprint": "f00d",
        "training_duration": 1.5,
        "validated": False,
        "pinned": False,
        "used_by_triggers": False,
        "reviewed_counts": {"Claim": 8, "Claim > Status": 4, "Thanks": 4},
        "settings": {"starred": False, "description": ""},
        "freshness": "fresh",
        "flags": [],
    }


def test_versions_come_newest_first_and_in_pages(dataset: Client) -> None:
    add_models(dataset, 5)
    assert versions(dataset) == [5, 4, 3, 2, 1]
    assert versions(dataset, limit=2) == [5, 4]
    assert versions(dataset, limit=2, older_than_version=4) == [3, 2]
    assert versions(dataset, limit=None, older_than_version=1) == []


def test_versions_are_listed_by_what_is_known_of_them(dataset: Client) -> None:
    add_models(dataset, 3)
    save_validation(dataset, 2)
    dataset.ok("PATCH", f"{LABELLERS}/3", {"starred": True})
    assert versions(dataset, validated=True) == [2]
    assert versions(dataset, validated=False) == [3, 1]
    assert versions(dataset, validated=None, starred=None) == [3, 2, 1]
    assert versions(dataset, starred=True) == [3]


def test_deleted_versions_are_listed_on_demand_only(dataset: Client) -> None:
    add_models(dataset, 2)
    delete_model(dataset, 1)
    assert versions(dataset) == [2]
    found = dataset.ok("POST", LABELLERS, {"include_deleted": True})["labellers"]
    assert [(one["version"], one["freshness"]) for one in found] == [
        (2, "fresh"),
        (1, "unsupported"),
    ]


@pytest.mark.parametrize(
    "body",
    [
        {"limit": 0},
        {"limit": 101},
        {"limit": "2"},
        {"older_than_version": 0},
        {"older_than_version": -1},
        {"older_than_version": 2**63},
        {"include_deleted": None},
        {"starred": 1},
        {"unknown": 1},
        [],
    ],
)
def test_a_list_request_is_checked(dataset: Client, body: Any) -> None:
    answer = dataset.post(LABELLERS, body)
    assert answer.status == 400
    assert answer.json["status"] == "error"


# Status


def test_a_dataset_where_nothing_was_trained_says_so(dataset: Client) -> None:
    found = status(dataset)
    created = dataset.ok("GET", f"/api/v1/datasets/{DATASET}")["dataset"]["created"]
    assert found.pop("training_completion_time") == created
    assert found == {
        "training_complete": None,
        "validation_complete": None,
        "inference_complete": 1.0,
        "total_comments_with_text": 0,
        "inference_stats_by_version": {},
        "inference_stuck": False,
        "operation": None,
    }


def test_the_status_counts_comments_with_predictions_of_the_newest_version(dataset: Client) -> None:
    make_source(dataset, "acme/second")
    set_sources(dataset, DATASET, ["acme/inbox", "acme/second"])
    uid = uids(dataset, "acme/inbox", "c1", "c2", "c3")[1]
    uids(dataset, "acme/second", "d1")
    add_models(dataset, 2)
    save_validation(dataset, 2)
    assert status(dataset)["inference_complete"] == 0.0
    reach_all(dataset, 2, uid)
    found = status(dataset)
    assert found["training_complete"] == 1.0
    assert found["validation_complete"] == 1.0
    assert found["inference_complete"] == 0.5
    assert found["total_comments_with_text"] == 4
    stats = found["inference_stats_by_version"]
    assert set(stats) == {"2"}
    assert stats["2"]["comments"] == 2
    assert stats["2"]["inference_complete"] == 0.5


def test_versions_that_streams_use_are_counted_too(dataset: Client) -> None:
    add_models(dataset, 2, pinned=True)
    make_stream(dataset, model={"version": 1})
    assert set(status(dataset)["inference_stats_by_version"]) == {"1", "2"}


def uids(client: Client, source: str, *ids: str) -> list[str]:
    sync(client, [make_comment(one) for one in ids], source)
    source_id = client.ok("GET", f"/api/v1/sources/{source}")["source"]["id"]
    return [f"{source_id}.{one}" for one in ids]


def start_learning(client: Client) -> str:
    """Make a dataset one that is stale."""
    client.ok(
        "PUT", f"{PRIVATE}/labels/default", {"label_defs": [{"name": "Claim"}, {"name": "Thanks"}]}
    )
    with database(client).write() as tx:
        learning.start_missing(tx)
    return dataset_id(client)


def test_a_stale_dataset_waits_for_its_training(dataset: Client) -> None:
    start_learning(dataset)
    add_model(dataset, head=HEAD)
    found = status(dataset)
    assert found["training_complete"] == 0.0
    assert found["validation_complete"] == 0.0
    expected = datetime.fromisoformat(found["training_completion_time"])
    assert 0 < expected.timestamp() - now_us() / 1e6 <= 1.6


@pytest.mark.parametrize("stage", ["training", "validating"])
def test_the_status_tells_how_far_a_learner_is(dataset: Client, stage: str) -> None:
    owner = start_learning(dataset)
    add_model(dataset, head=HEAD)
    with database(dataset).write() as tx:
        assert learning.claim(tx, owner, by="me", lease_s=60)
        learning.note_stage(
            tx, owner, by="me", stage=stage, progress=0.25, started_us=now_us() - 10_000_000
        )
    found = status(dataset)
    field = {"training": "training_complete", "validating": "validation_complete"}[stage]
    assert found[field] == 0.25
    expected = datetime.fromisoformat(found["training_completion_time"])
    left_s = expected.timestamp() - now_us() / 1e6
    assert left_s == pytest.approx(30 if stage == "training" else 1.5, abs=5)


def test_what_a_dead_learner_left_behind_is_not_told(dataset: Client) -> None:
    owner = start_learning(dataset)
    with database(dataset).write() as tx:
        assert learning.claim(tx, owner, by="me", lease_s=-1)
        learning.note_stage(tx, owner, by="me", stage="training", progress=0.25, started_us=0)
    assert status(dataset)["training_complete"] == 0.0


def test_learning_that_fails_again_and_again_is_stuck(dataset: Client) -> None:
    owner = start_learning(dataset)
    for number in range(4):
        assert status(dataset)["inference_stuck"] is False, number
        with database(dataset).write() as tx:
            assert learning.claim(tx, owner, by="me", lease_s=60)
            learning.note_failure(tx, owner, by="me", error="no memory", retry_us=0)
    assert status(dataset)["inference_stuck"] is True


# Update


def test_a_version_is_starred_and_described(dataset: Client) -> None:
    add_models(dataset, 2)
    reply = dataset.ok("PATCH", f"{LABELLERS}/1", {"starred": True})
    assert reply["labeller"]["version"] == 1
    assert reply["labeller"]["settings"] == {"starred": True, "description": ""}
    reply = dataset.ok("PATCH", f"{LABELLERS}/1", {"description": "für März 🚀"})
    assert reply["labeller"]["settings"] == {"starred": True, "description": "für März 🚀"}
    assert dataset.ok("PATCH", f"{LABELLERS}/1", {}) == reply
    assert find_model(dataset, 2).description == ""
    assert event_types(dataset).count("update_model") == 2


@pytest.mark.parametrize(
    "body", [{"starred": None}, {"starred": "yes"}, {"description": "x" * 16_385}, {"pinned": True}]
)
def test_an_update_is_checked(dataset: Client, body: Any) -> None:
    add_models(dataset, 1)
    assert dataset.call("PATCH", f"{LABELLERS}/1", body).status == 400


# Pin and unpin


def test_pinning_and_unpinning_may_be_repeated(dataset: Client) -> None:
    add_models(dataset, 1)
    for _ in range(2):
        assert dataset.ok("PUT", f"{LABELLERS}/1/pin") == {"status": "ok"}
        assert find_model(dataset, 1).pinned
    for _ in range(2):
        assert dataset.ok("DELETE", f"{LABELLERS}/1/pin") == {"status": "ok"}
        assert not find_model(dataset, 1).pinned
    types = event_types(dataset)
    assert (types.count("pin_model"), types.count("unpin_model")) == (1, 1)


def test_a_pin_is_told_with_its_version(dataset: Client) -> None:
    add_models(dataset, 2)
    dataset.ok("PUT", f"{LABELLERS}/2/pin", {})
    page = dataset.ok("POST", "/api/v1/audit_events/query", {"filter": {"timestamp": {}}})
    event = page["audit_events"][-1]
    assert event["event_type"] == "pin_model"
    assert event["dataset_ids"] == [dataset_id(dataset)]


def test_a_version_that_is_gone_or_never_was_cannot_be_pinned(dataset: Client) -> None:
    add_models(dataset, 2)
    delete_model(dataset, 1)
    for version in (1, 3, 0, 4_294_967_295, 9_999_999_999):
        for method, path in (("PUT", "/pin"), ("DELETE", "/pin"), ("PATCH", "")):
            body = {} if method == "PATCH" else None
            answer = dataset.call(method, f"{LABELLERS}/{version}{path}", body)
            assert answer.status == 404, (method, version)


@pytest.mark.parametrize("word", ["latest", "live", "-1", "1.0", "one", "٣", "12345678901", "%20"])
def test_only_a_number_names_a_version_to_be_pinned(dataset: Client, word: str) -> None:
    add_models(dataset, 1)
    assert dataset.put(f"{LABELLERS}/{word}/pin").status == 400


def test_more_than_100_versions_cannot_be_pinned(dataset: Client) -> None:
    add_models(dataset, 100, pinned=True)
    add_models(dataset, 1)
    answer = dataset.put(f"{LABELLERS}/101/pin")
    assert answer.status == 422
    assert not find_model(dataset, 101).pinned
    # A pinned one may be pinned again, and makes room when it is not.
    dataset.ok("PUT", f"{LABELLERS}/100/pin")
    dataset.ok("DELETE", f"{LABELLERS}/100/pin")
    dataset.ok("PUT", f"{LABELLERS}/101/pin")


def test_a_quota_holds_for_pins(dataset: Client) -> None:
    add_models(dataset, 2)
    tenant = dataset.ok("GET", "/api/_private/tenants")["tenants"][0]["tenant_id"]
    dataset.ok("POST", f"/api/_private/quotas/{tenant}/pinned_models", {"hard_limit": 1})
    dataset.ok("PUT", f"{LABELLERS}/1/pin")
    answer = dataset.put(f"{LABELLERS}/2/pin")
    assert answer.status == 400
    assert "pinned_models" in answer.json["message"]
    found = dataset.ok("GET", "/api/_private/quotas")["quotas"]
    (quota,) = [one for one in found if one["quota_kind"] == "pinned_models"]
    assert quota["current_max_usage"] == 1


def test_a_version_that_a_stream_uses_stays_pinned(client: Client) -> None:
    make_pipeline(client)
    add_models(client, 2, pinned=True)
    make_stream(client, f"{DATASET}/labelled", model={"version": 1})
    assert client.ok("POST", LABELLERS, {})["labellers"][1]["used_by_triggers"] is True
    answer = client.delete(f"{LABELLERS}/1/pin")
    assert answer.status == 409
    assert "labelled" in answer.json["message"]
    assert find_model(client, 1).pinned
    client.ok("DELETE", f"{LABELLERS}/2/pin")
    client.ok("DELETE", f"/api/v1/datasets/{DATASET}/streams/labelled")
    client.ok("DELETE", f"{LABELLERS}/1/pin")


def test_a_stream_takes_a_version_as_soon_as_it_is_pinned_and_not_before(client: Client) -> None:
    make_pipeline(client)
    add_models(client, 1)
    body = {"stream": {"name": "labelled", "model": {"version": 1}}}
    assert client.put(f"/api/v1/datasets/{DATASET}/streams", body).status == 422
    client.ok("PUT", f"{LABELLERS}/1/pin")
    client.ok("PUT", f"/api/v1/datasets/{DATASET}/streams", body)


# Tags


def tag(client: Client, path: str, version: int, **more: Any) -> Any:
    body: Any = {"model_tag": {"version": version, **more}}
    return client.ok("PUT", f"{PRIVATE}/model-tags/{path}", body)["model_tag"]


def test_tags_point_to_pinned_versions_and_move(dataset: Client) -> None:
    add_models(dataset, 3, pinned=True)
    assert dataset.ok("GET", TAGS)["model_tags"] == []
    first = tag(dataset, "live", 1, name="live", updated_at="2020-01-01T00:00:00Z")
    assert (first["name"], first["version"]) == ("live", 1)
    assert first["updated_at"] > "2024"
    staging = tag(dataset, "staging", 1)
    assert tag(dataset, "live", 1) == first
    moved = tag(dataset, "live", 3)
    assert dataset.ok("GET", TAGS)["model_tags"] == [moved, staging]
    assert dataset.ok("POST", LABELLERS, {})["model_tags"] == [moved, staging]
    assert event_types(dataset).count("update_model_tag") == 3


def test_a_version_with_a_tag_stays_pinned(dataset: Client) -> None:
    add_models(dataset, 1, pinned=True)
    tag(dataset, "live", 1)
    answer = dataset.delete(f"{LABELLERS}/1/pin")
    assert answer.status == 409
    assert "live" in answer.json["message"]
    assert dataset.ok("DELETE", LIVE) == {"status": "ok"}
    dataset.ok("DELETE", f"{LABELLERS}/1/pin")
    assert event_types(dataset)[-2:] == ["delete_model_tag", "unpin_model"]


def test_a_tag_that_is_not_set_cannot_be_deleted(dataset: Client) -> None:
    assert dataset.delete(LIVE).status == 404


@pytest.mark.parametrize(
    ("path", "change", "expected"),
    [
        ("live", {"version": 2}, 422),  # not pinned
        ("live", {"version": 7}, 422),
        ("live", {"version": -1}, 400),
        ("live", {"version": 1.5}, 400),
        ("live", {}, 400),
        ("live", {"version": 1, "name": "staging"}, 400),
        ("live", {"version": 1, "more": 1}, 400),
        ("best", {"version": 1}, 400),
        ("Live", {"version": 1}, 400),
    ],
)
def test_what_cannot_be_tagged_is_refused(
    dataset: Client, path: str, change: Any, expected: int
) -> None:
    add_models(dataset, 1, pinned=True)
    add_models(dataset, 1)
    answer = dataset.put(f"{PRIVATE}/model-tags/{path}", {"model_tag": change})
    assert answer.status == expected
    assert dataset.ok("GET", TAGS)["model_tags"] == []


def test_an_unknown_tag_cannot_be_deleted(dataset: Client) -> None:
    assert dataset.delete(f"{PRIVATE}/model-tags/best").status == 400


# Access


@pytest.mark.parametrize("held", ["datasets-model-admin", "voc"])
def test_who_manages_models_or_datasets_may_pin(dataset: Client, held: str) -> None:
    add_models(dataset, 1)
    grant_in(database(dataset), make_user(database(dataset), "manager"), "acme", (held,))
    dataset.as_user("manager").ok("PUT", f"{LABELLERS}/1/pin")


def test_versions_of_another_dataset_are_not_there(dataset: Client) -> None:
    make_dataset(dataset, "acme/second")
    add_models(dataset, 1, pinned=True)
    other = "/api/_private/datasets/acme/second"
    assert dataset.ok("POST", f"{other}/labellers", {})["labellers"] == []
    assert dataset.put(f"{other}/labellers/1/pin").status == 404
    answer = dataset.put(f"{other}/model-tags/live", {"model_tag": {"version": 1}})
    assert answer.status == 422
    assert dataset.post("/api/_private/datasets/acme/third/labellers", {}).status == 404
