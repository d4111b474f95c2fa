"""What people assigned, in filters, statistics, summaries, exports and streams."""

from __future__ import annotations

from typing import Any

import pytest

from tests.build import (
    dataset_path,
    fetch,
    ids_of,
    make_comment,
    make_source,
    make_stream,
    only_team,
    source_path,
    sync,
    team,
)
from tests.client import Client

Json = dict[str, Any]
PRIVATE = "/api/_private/datasets/acme/support"
TYPE = {"name": "order", "title": "Order", "inherits_from": [], "trainable": False}


@pytest.fixture
def source(client: Client) -> str:
    """Six comments: two of one team, two of another, and labels on four of them."""
    source: str = make_source(client)["id"]
    days = ["2024-01-01", "2024-01-01", "2024-01-02", "2024-02-01", "2024-02-02", "2024-02-03"]
    comments = [
        make_comment(
            f"c{number}",
            timestamp=f"{day}T12:00:00Z",
            **(team("Claims") if number < 2 else team("Sales") if number < 4 else {}),
        )
        for number, day in enumerate(days)
    ]
    sync(client, comments)
    settings = {"source_ids": [source], "has_sentiment": True, "entity_defs": [TYPE]}
    client.ok("PUT", dataset_path(), {"dataset": settings})
    label(client, source, "c0", "A > B")
    label(client, source, "c1", "A > B", "A > C")
    label(client, source, "c2", "A", sentiment="negative")
    label(client, source, "c3", "Z", dismissed=["A"])
    field = {"entities": {"assigned": [{"name": "order", "formatted_value": "1"}]}}
    client.ok("POST", f"{PRIVATE}/labellings/{source}.c4", field)
    return source


def label(
    client: Client,
    source: str,
    comment: str,
    *names: str,
    sentiment: str = "positive",
    dismissed: list[str] | None = None,
) -> None:
    group = {
        "assigned": [{"name": name, "sentiment": sentiment} for name in names],
        "dismissed": [{"name": n, "sentiment": "positive"} for n in dismissed or ()],
    }
    client.ok("POST", f"{PRIVATE}/labellings/{source}.{comment}", {"labelling": [group]})


def statistics(client: Client, **request: Any) -> Json:
    found: Json = client.ok("POST", PRIVATE + "/statistics", request)["statistics"]
    return found


FILTERS: list[tuple[Json, list[int]]] = [
    ({"reviewed": "only_reviewed"}, [0, 1, 2, 3, 4]),
    ({"reviewed": "only_unreviewed"}, [5]),
    ({"annotations": {"labels": {"one_of": ["A > B"]}}}, [0, 1]),
    ({"annotations": {"labels": {"one_of": ["A"]}}}, [2]),
    ({"annotations": {"labels": {"one_of": ["A", "A > C"]}}}, [1, 2]),
    ({"annotations": {"labels": {"not_one_of": ["A > B"]}}}, [2, 3, 4, 5]),
    ({"annotations": {"labels": {"one_of": ["Z"], "include_missing": True}}}, [3, 4, 5]),
    ({"annotations": {"labels": {"include_missing": False}}}, [0, 1, 2, 3]),
    ({"annotations": {"labels": {"one_of": ["Unknown"]}}}, []),
    ({"entities": {"presence": [{"kind": "order", "rule": "present"}]}}, [4]),
    ({"entities": {"presence": [{"kind": "order", "rule": "absent"}]}}, [0, 1, 2, 3, 5]),
]


@pytest.mark.parametrize(("asked", "expected"), FILTERS)
def test_filters_follow_what_people_said(
    client: Client, source: str, asked: Json, expected: list[int]
) -> None:
    assert statistics(client, comment_filter=asked)["num_comments"] == len(expected)
    make_stream(client, comment_filter=asked)
    stream = "/api/v1/datasets/acme/support/streams/all/reset"
    client.ok("POST", stream, {"to_comment_created_at": "2020-01-01T00:00:00Z"})
    assert ids_of(fetch(client)) == [f"c{number}" for number in expected]
    assert source


def test_a_filter_by_label_follows_its_new_name(client: Client, source: str) -> None:
    client.ok("POST", PRIVATE + "/labels/default?label_name=Z", {"label": {"name": "Y"}})
    asked: Json = {"annotations": {"labels": {"one_of": ["Y"]}}}
    assert statistics(client, comment_filter=asked)["num_comments"] == 1
    assert source


def test_a_source_counts_what_was_reviewed_anywhere(client: Client, source: str) -> None:
    path = source_path() + "/statistics"
    body = {"comment_filter": {"reviewed": "only_reviewed"}}
    assert client.ok("POST", path, body)["statistics"]["num_comments"] == 5
    client.ok("DELETE", dataset_path())
    assert client.ok("POST", path, body)["statistics"]["num_comments"] == 0
    assert source


def counts(positive: float, negative: float = 0.0) -> Json:
    return {"positive": positive, "negative": negative}


def test_labels_are_counted_with_those_above_them(client: Client, source: str) -> None:
    assert statistics(client)["label_counts"] == {
        "A": counts(2.0, 1.0),
        "A > B": counts(2.0),
        "A > C": counts(1.0),
        "Z": counts(1.0),
    }
    of_claims = statistics(client, comment_filter=only_team("Claims"))["label_counts"]
    assert of_claims["A"] == counts(2.0)
    assert of_claims["Z"] == counts(0.0)
    assert source


def test_counts_are_broken_down_by_labels(client: Client, source: str) -> None:
    found = statistics(
        client,
        by_labels={"top": {"num_top_labels": 2, "exclude_labels": ["A > B"]}},
        string_user_property_counts=[{"group_by": "string:Team"}],
        source_counts={},
        label_timeseries=True,
        time_resolution="month",
    )
    assert found["by_labels"] == ["A", "A > C"]
    (by_team,) = found["string_user_property_counts"]
    shown = dict(zip(by_team["values"], by_team["num_labels"], strict=True))
    assert shown == {"Claims": [2.0, 1.0], "Sales": [1.0, 0.0]}
    assert found["source_counts"]["num_labels"] == [[3.0, 1.0]]
    rows = [
        (row["timestamp_str"], row["label_sentiment_counts"]) for row in found["label_timeseries"]
    ]
    assert rows == [("2024-01-01", [2.0, 1.0, 1.0, 0.0]), ("2024-02-01", [0.0] * 4)]
    chosen = statistics(client, by_labels={"include": {"include_labels": ["Z", "No"]}})
    assert chosen["by_labels"] == ["Z", "No"]
    assert source


def test_a_summary_counts_labels_and_fields_of_the_whole_dataset(
    client: Client, source: str
) -> None:
    request = {"filter": only_team("Nobody")}
    summary = client.ok("POST", PRIVATE + "/summary", request)["summary"]
    assigned = {one["name"]: one["unfiltered_assigned"] for one in summary["labels"]}
    assert assigned["A"] == {"positive": 2, "negative": 1}
    assert assigned["Z"] == {"positive": 1, "negative": 0}
    assert [one["unfiltered_assigned"] for one in summary["entity_defs"]] == [1]
    assert source


def test_an_export_tells_what_was_assigned(client: Client, source: str) -> None:
    found = client.ok("POST", dataset_path() + "/export", {})["comments"]
    assigned = [
        [(one["name"], one["sentiment"]) for one in comment["annotations"]["labels"]["assigned"]]
        for comment in found
    ]
    assert assigned == [
        [("A > B", "positive")],
        [("A > B", "positive"), ("A > C", "positive")],
        [("A", "negative")],
        [("Z", "positive")],
        [],
        [],
    ]
    sentiments = [comment["annotations"]["sentiment"]["total"] for comment in found]
    assert sentiments == [1.0, 1.0, -1.0, 1.0, 0.0, 0.0]
    marks = [comment["comment"]["has_annotations"] for comment in found]
    assert marks == [True] * 5 + [False]
    assert source
