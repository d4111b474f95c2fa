"""Pages of every order, under random filters, hold everything once."""

from __future__ import annotations

import random
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lodestream.actions import ordering
from lodestream.store.db import Database
from tests.api.test_query import LABELS, PRIVATE, ask, label, made_of, pages
from tests.build import dataset_path, delete_ids, make_comment, sync_ids
from tests.client import Client
from tests.predictions import insert_model

KINDS: list[dict[str, Any]] = [
    {"kind": "recent"},
    {"kind": "sample", "seed": 11},
    {"kind": "by_label"},
    {"kind": "by_label", "label": "Billing"},
    {"kind": "any_label_asc"},
    {"kind": "learning"},
    {"kind": "learning", "label": "Refund"},
    {"kind": "label_property", "label_property_id": "0000000000000002"},
    {"kind": "text_search", "query": "late refund"},
    {"kind": "diagnostic", "diagnostic_kind": "informative"},
    {"kind": "diagnostic", "diagnostic_kind": "neglect"},
    {"kind": "diagnostic", "diagnostic_kind": "bias"},
    {"kind": "check"},
    {"kind": "missed"},
]
UNREVIEWED = {"learning", "diagnostic"}
FILTERS: list[dict[str, Any]] = [
    {},
    {"reviewed": "only_unreviewed"},
    {"timestamp": {"minimum": "2024-02-03T00:00:00Z"}},
    {"user_properties": {"string:Team": {"one_of": ["T1"]}}},
]


@pytest.fixture
def world(client: Client, db: Database) -> Client:
    """Sixty comments with few timestamps, scores that often equal, threads and some reviews."""
    random.seed(9)
    comments = [
        make_comment(
            f"c{number}",
            random.choice(["late refund", "refund, too late", "late", "nothing"]),
            timestamp=f"2024-02-0{random.randint(1, 5)}T00:00:00Z",
            user_properties={"string:Team": f"T{number % 3}"},
            **({"thread_id": f"t{random.randint(1, 9)}"} if number % 3 else {}),
        )
        for number in range(60)
    ]
    dataset_id = made_of(client, comments)
    scores = {
        f"c{number}": {name: random.choice([0.0, 0.25, 0.5, 1.0]) for name in LABELS}
        for number in range(50)
    }
    left_out = {f"c{number}": scores[f"c{number}"] for number in range(12)}
    for number in range(12):
        label(client, f"c{number}", *random.sample(LABELS, number % 3))
    insert_model(db, dataset_id, LABELS, scores, left_out=left_out)
    return client


@given(st.data())
@settings(
    max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_pages_neither_repeat_nor_drop(world: Client, data: st.DataObject) -> None:
    body = {
        "order": data.draw(st.sampled_from(KINDS)),
        "filter": data.draw(st.sampled_from(FILTERS)),
        "collapse_mode": data.draw(st.sampled_from(["none", "thread_id"])),
    }
    limit = data.draw(st.integers(3, 70))
    whole = ask(world, **body, limit=1024)
    ids = [one["comment"]["id"] for one in whole["results"]]
    assert "continuation" not in whole
    assert len(set(ids)) == len(ids) == whole["num_results"]["filtered"]
    assert [one for page in pages(world, **body, limit=limit) for one in page] == ids


@pytest.mark.slow
def test_pages_that_outlast_what_is_kept_go_on(
    world: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ordering, "MOST_KEPT", 7)
    for order in KINDS:
        whole = [one["comment"]["id"] for one in ask(world, order=order, limit=100)["results"]]
        for limit in (7, 10):
            found = pages(world, order=order, limit=limit)
            assert [one for page in found for one in page] == whole, (order, limit)


def test_a_page_behind_a_comment_that_went_away_goes_on_where_it_was(world: Client) -> None:
    order = {"kind": "sample", "seed": 4}
    whole = [one["comment"]["id"] for one in ask(world, order=order, limit=100)["results"]]
    token = ask(world, order=order, limit=5)["continuation"]
    delete_ids(world, whole[4], whole[6])
    sync_ids(world, "fresh")
    body = {"order": order, "limit": 100, "continuation": token}
    rest = [one["comment"]["id"] for one in ask(world, **body)["results"]]
    assert [one for one in rest if one != "fresh"] == [whole[5], *whole[7:]]


def test_what_was_counted_is_counted_again_when_anything_changed(
    world: Client, db: Database
) -> None:
    def counted() -> tuple[Any, Any]:
        found = world.ok("POST", f"{PRIVATE}/statistics", {})["statistics"]
        summary = world.ok("POST", f"{PRIVATE}/summary", {})["summary"]
        assert counts_of(summary) == found["label_counts"]
        return found["num_comments"], found["label_counts"]

    def counts_of(summary: Any) -> Any:
        return {one["name"]: one["filtered"] for one in summary["labels"]}

    before = counted()
    assert counted() == before
    sync_ids(world, "fresh")
    assert counted() == (61, before[1])
    label(world, "fresh", "Billing")
    assert counted()[1]["Billing"]["positive"] == before[1]["Billing"]["positive"] + 1
    label(world, "fresh", "Refund")
    assert counted()[1]["Billing"] == before[1]["Billing"]
    delete_ids(world, "fresh")
    assert counted() == before
    dataset_id = world.ok("GET", dataset_path("acme/support"))["dataset"]["id"]
    insert_model(db, dataset_id, LABELS, {"c30": {"Billing": 1.0}}, version=2)
    assert counted()[1]["Refund > Late"]["positive"] < before[1]["Refund > Late"]["positive"]


def test_every_order_shows_all_that_it_is_about(world: Client) -> None:
    counted = {
        f"{order['kind']} {order.get('diagnostic_kind', '')}": len(
            ask(world, order=order, limit=100)["results"]
        )
        for order in KINDS
    }
    found = counted.pop("text_search "), counted.pop("check "), counted.pop("missed ")
    assert found[0] == sum(
        "nothing" not in one["comment"]["messages"][0]["body"]["text"]
        for one in ask(world, limit=100)["results"]
    )
    assert found[1:] == (8, 12)
    for name, count in counted.items():
        assert count == (48 if name.split()[0] in UNREVIEWED else 60), name
