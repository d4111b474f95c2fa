"""How many comments are expected to have each label, by brute force over small datasets."""

from __future__ import annotations

import json
import random
from typing import Any

import pytest

from lodestream.domain.models import Thresholds, Validated
from lodestream.store import models
from lodestream.store.db import Database
from tests.api.test_query import LABELS, PRIVATE, label, made, make_dataset
from tests.build import make_comment, make_source, source_ids, sync, sync_ids
from tests.client import Client
from tests.predictions import insert_model

Json = dict[str, Any]


def statistics(client: Client, **request: Any) -> Json:
    found: Json = client.ok("POST", PRIVATE + "/statistics", request)["statistics"]
    return found


def near(expected: Any) -> Any:
    """Stored probabilities are multiples of 1/65535, sentiments of 1/127."""
    return pytest.approx(expected, abs=0.02)


@pytest.fixture
def world(client: Client, db: Database) -> tuple[Client, dict[str, dict[str, float]]]:
    """Forty comments of two sources with teams, mails, threads and scores; some are reviewed.

    The second value tells how probable each label is for each comment, 1 or 0 where reviewed.
    """
    random.seed(5)
    make_source(client)
    make_source(client, "acme/other")
    truth: dict[str, dict[str, float]] = {}
    for number in range(40):
        message = {
            "body": {"text": "Hello"},
            "from": f"Ann <a{number % 3}@example{number % 2}.com>",
            "to": ["x@x.org", f"y{number % 4}@x.org"],
        }
        one = make_comment(
            f"c{number}",
            timestamp=f"2024-02-{1 + number % 5:02}T08:{number:02}:00Z",
            messages=[message],
            user_properties={"string:Team": f"T{number % 3}", "number:NPS": number % 11},
            **({"thread_id": f"t{number // 4}"} if number % 4 else {}),
        )
        sync(client, [one], "acme/inbox" if number % 2 else "acme/other")
        truth[f"c{number}"] = {name: random.random() for name in LABELS}
    dataset_id = make_dataset(client, sources=("acme/inbox", "acme/other"))
    insert_model(db, dataset_id, LABELS, {k: v for k, v in truth.items() if k != "c39"})
    truth["c39"] = dict.fromkeys(LABELS, 0.0)  # no scores are kept of it
    for number in (1, 3, 5, 7):
        names = ["Refund > Late"] if number < 4 else []
        label(client, f"c{number}", *names)
        assigned = {"Refund", "Refund > Late"} if names else set()
        truth[f"c{number}"] = {name: float(name in assigned) for name in LABELS}
    return client, truth


World = tuple[Client, dict[str, dict[str, float]]]
BY_ALL = {"include": {"include_labels": [*LABELS, "Unknown"]}}


def number_of(comment_id: str) -> int:
    return int(comment_id[1:])


def expected(truth: dict[str, dict[str, float]], name: str, chosen: Any = lambda _: True) -> float:
    return sum(row[name] for one, row in truth.items() if name in row and chosen(number_of(one)))


def row_of(truth: dict[str, dict[str, float]], chosen: Any) -> Any:
    return near([*(expected(truth, name, chosen) for name in LABELS), 0.0])


def test_probabilities_of_unreviewed_comments_are_added_to_what_was_assigned(world: World) -> None:
    client, truth = world
    counts = statistics(client)["label_counts"]
    assert list(counts) == list(LABELS)
    for name in LABELS:
        assert counts[name] == {"positive": near(expected(truth, name)), "negative": 0.0}


def test_filters_hold_for_expected_counts(world: World) -> None:
    client, truth = world
    only = {"user_properties": {"string:Team": {"one_of": ["T1"]}}}
    counts = statistics(client, comment_filter=only)["label_counts"]
    assert counts["Billing"]["positive"] == near(
        expected(truth, "Billing", lambda number: number % 3 == 1)
    )
    reviewed = statistics(client, comment_filter={"reviewed": "only_reviewed"})["label_counts"]
    assert reviewed["Refund"]["positive"] == 2.0


def test_the_most_expected_labels_are_on_top(world: World) -> None:
    client, truth = world
    top = {"top": {"num_top_labels": 2, "exclude_labels": ["Refund"]}}
    wanted = sorted(("Billing", "Refund > Late"), key=lambda name: -expected(truth, name))
    assert statistics(client, by_labels=top)["by_labels"] == wanted


def test_every_breakdown_adds_up(world: World) -> None:
    client, truth = world
    found = statistics(
        client,
        by_labels=BY_ALL,
        string_user_property_counts=[{"group_by": "string:Team", "values": ["t2", "T0", "none"]}],
        source_counts={},
        label_timeseries=True,
    )
    by_team = found["string_user_property_counts"][0]
    for row, team in zip(by_team["num_labels"], (2, 0, None), strict=True):
        assert row == row_of(truth, lambda number, team=team: number % 3 == team)
    inbox, other = source_ids(client, ["acme/inbox", "acme/other"])
    by_source = found["source_counts"]
    for row, source in zip(by_source["num_labels"], by_source["values"], strict=True):
        side = {inbox: 1, other: 0}[source]
        assert row == row_of(truth, lambda number, side=side: number % 2 == side)
    assert [row["timestamp_str"] for row in found["label_timeseries"]] == [
        f"2024-02-0{day}" for day in range(1, 6)
    ]
    for day, row in enumerate(found["label_timeseries"]):
        chosen = [one for name, one in truth.items() if number_of(name) % 5 == day]
        assert row["expected_count_any"] == len(chosen)
        assert row["expected_count_positive"] == near(sum(max(one.values()) for one in chosen))
        assert row["label_sentiment_counts"][::2] == row_of(truth, lambda n, day=day: n % 5 == day)
        assert row["label_sentiment_counts"][1::2] == [0.0] * 4


def test_participants_are_counted(world: World) -> None:
    client, truth = world
    found = statistics(
        client,
        by_labels=BY_ALL,
        email_property_counts={
            "sender": {"limit": 2},
            "sender_domain": {"limit": 10, "values": ["Example1.com", "nowhere.org"]},
            "recipient": {"limit": 10},
            "recipient_organisation": {"limit": 10},
            "cc": {"limit": 10},
        },
    )["email_property_counts"]
    assert found["sender"]["values"] == ["a0@example0.com", "a0@example1.com"]
    assert found["sender"]["num_comments"] == [7, 7]
    assert found["sender"]["settings"] == {"limit": 2}
    assert found["sender_domain"]["values"] == ["Example1.com", "nowhere.org"]
    assert found["sender_domain"]["num_comments"] == [20, 0]
    assert found["sender_domain"]["num_labels"][0] == row_of(truth, lambda number: number % 2)
    assert found["recipient"]["values"][0] == "x@x.org"
    assert found["recipient"]["num_comments"] == [40, 10, 10, 10, 10]
    assert found["recipient_organisation"]["num_comments"] == [40]
    assert found["cc"] == {
        "settings": {"limit": 10},
        "values": [],
        "labels": [*LABELS, "Unknown"],
        "num_comments": [],
        "num_labels": [],
    }


def test_threads_are_counted_in_bins(world: World) -> None:
    client, truth = world

    def bins(name: str, **binning: Any) -> Any:
        found = statistics(client, by_labels=BY_ALL, thread_histogram={name: {"binning": binning}})[
            "thread_histogram_counts"
        ]
        assert list(found) == [name]
        return [(one["min"], one["max"], one["num_comments"]) for one in found[name]["bins"]]

    # Threads do not span sources: of numbers 1 and 3 of each four one, of number 2 the other.
    assert bins("num_messages", fixed={"interval": 1, "offset": 0}) == [
        (1.0, 2.0, 10),
        (2.0, 3.0, 20),
    ]
    points = {"points": [2], "negative_infinity": True, "positive_infinity": True}
    assert bins("num_messages", custom=points) == [(None, 2.0, 10), (2.0, None, 20)]
    assert bins("num_participants", variable={"max_bins": 2})[-1][2] > 0
    assert sum(count for _, _, count in bins("duration", variable={"max_bins": 5})) == 30
    assert sum(count for _, _, count in bins("response_time", variable={"max_bins": 3})) == 10
    found = statistics(
        client,
        by_labels=BY_ALL,
        thread_histogram={"num_messages": {"binning": {"fixed": {"interval": 1, "offset": 0}}}},
    )["thread_histogram_counts"]["num_messages"]
    assert found["bins"][0]["num_labels"] == row_of(truth, lambda number: number % 4 == 2)


BAD_BREAKDOWNS: list[Json] = [
    {"thread_histogram": {"duration": {"binning": {}}}},
    {"thread_histogram": {"duration": {"binning": {"fixed": {"interval": 0, "offset": 0}}}}},
    {"thread_histogram": {"duration": {"binning": {"variable": {"max_bins": 0}}}}},
    {"thread_histogram": {"size": {"binning": {"variable": {"max_bins": 1}}}}},
    {"email_property_counts": {"sender": {}}},
    {"email_property_counts": {"nobody": {"limit": 1}}},
    {"nps_property": "string:NPS"},
    {"nps_property": "number:"},
]


@pytest.mark.parametrize("body", BAD_BREAKDOWNS, ids=str)
def test_a_breakdown_that_cannot_be_is_refused(client: Client, body: Json) -> None:
    made(client, "a")
    assert client.post(PRIVATE + "/statistics", body).status == 400


def test_too_many_bins_are_refused(world: World) -> None:
    client, _ = world
    fixed = {"binning": {"fixed": {"interval": 1, "offset": 0}}}
    answer = client.post(PRIVATE + "/statistics", {"thread_histogram": {"duration": fixed}})
    assert answer.status == 400
    assert "duration" in answer.json["message"]


def test_promoters_and_detractors_are_counted(world: World) -> None:
    client, truth = world
    found = statistics(client, by_labels=BY_ALL, nps_property="number:NPS")["nps_summary"]
    scores = [number % 11 for number in range(40)]
    assert found["histogram"] == [[score, scores.count(score)] for score in range(11)]
    assert sum(row[4] for row in found["timeseries"]) == 40
    assert found["timeseries"][0][:1] == ["2024-02-01"]
    for day, (_, up, middle, down, total) in enumerate(found["timeseries"]):
        there = [score for number, score in enumerate(scores) if number % 5 == day]
        assert (up, down) == (sum(s >= 9 for s in there), sum(s <= 6 for s in there))
        assert total == up + middle + down
    assert found["label_names"] == [*LABELS, "Unknown"]
    high = expected(truth, "Billing", lambda number: number % 11 >= 9)
    low = expected(truth, "Billing", lambda number: number % 11 <= 6)
    total = expected(truth, "Billing")
    assert found["bubbles"][0] == [near(total), pytest.approx(100 * (high - low) / total, abs=0.1)]
    assert found["bubbles"][3] == [0.0, 0.0]


def test_a_thread_counts_once_by_its_newest_comment(world: World) -> None:
    client, truth = world
    found = statistics(client, thread_mode=True)
    assert found["thread_mode"] is True
    # Of each four comments one has no thread, two share one, and one is alone in another source.
    assert found["num_comments"] == 30
    replaced = [
        number for number in range(40) if number % 4 == 1 and (number + 2) % 5 >= number % 5
    ]
    earlier = {number if number % 5 <= (number + 2) % 5 else number + 2 for number in replaced}
    earlier |= {number + 2 for number in range(1, 40, 4) if number not in replaced}
    assert found["label_counts"]["Billing"]["positive"] == near(
        expected(truth, "Billing", lambda number: number not in earlier)
    )


def test_sentiments_are_counted_apart(client: Client, db: Database) -> None:
    dataset_id = made(client, "a", "b", "c", has_sentiment=True)
    scores = {"a": {"Billing": (0.8, 0.5)}, "b": {"Billing": (0.5, -1.0)}}
    insert_model(db, dataset_id, LABELS, scores, has_sentiment=True)
    label(client, "c", "Refund > Late", sentiment="negative")
    counts = statistics(client)["label_counts"]
    assert counts["Billing"] == {"positive": near(0.6), "negative": near(0.7)}
    assert counts["Refund"] == {"positive": 0.0, "negative": 1.0}


def test_labels_that_the_model_does_not_know_count_what_was_assigned(
    client: Client, db: Database
) -> None:
    dataset_id = made(client, "a", "b")
    insert_model(db, dataset_id, ("Gone", "Refund"), {"a": {"Gone": 0.9, "Refund": 0.5}})
    label(client, "b", "Billing")
    counts = statistics(client)["label_counts"]
    assert counts["Billing"]["positive"] == 1.0
    assert counts["Refund"]["positive"] == near(0.5)
    assert "Gone" not in counts


def test_a_summary_tells_how_labels_do(client: Client, db: Database) -> None:
    dataset_id = made(client, "a", "b", "c")
    key = insert_model(db, dataset_id, LABELS, {"a": {"Billing": 0.75}, "b": {"Billing": 0.5}})
    label(client, "c", "Refund > Late")
    health = {"smart": {"score": 0.5, "warnings": [], "actions": []}, "need_pinned": 3.0}
    found = {"labels": {"Billing": {"health": health}}}
    validated = Validated(
        validation=json.dumps(found).encode(),
        statistics=b"{}",
        details=b"{}",
        thresholds={"Billing": Thresholds(0.9, 0.7, 0.3)},
        labels={},
    )
    with db.write() as tx:
        models.save_validation(tx, key, validated)
    summary = client.ok("POST", PRIVATE + "/summary", {})["summary"]
    billing, refund, late = summary["labels"]
    assert billing["filtered"] == {"positive": near(1.25), "negative": 0.0}
    assert billing["unfiltered_assigned"] == {"positive": 0, "negative": 0}
    assert (billing["threshold"], billing["health"]) == (0.7, health)
    assert refund["unfiltered_assigned"] == late["unfiltered_assigned"]
    assert refund["unfiltered_assigned"] == {"positive": 1, "negative": 0}
    assert refund["threshold"] == 0.5
    assert "health" not in refund
    only = {"filter": {"reviewed": "only_reviewed"}}
    filtered = client.ok("POST", PRIVATE + "/summary", only)["summary"]["labels"]
    assert filtered[0]["filtered"] == {"positive": 0.0, "negative": 0.0}
    by_threshold = {
        "attribute": "labels",
        "filter": {"kind": "string_any_of", "any_of": ["Billing"]},
    }
    assert statistics(client, attribute_filters=[by_threshold])["num_comments"] == 1


def test_a_summary_lists_participants_and_attachments(client: Client) -> None:
    make_source(client)
    message = {"body": {"text": ""}, "from": "Ann <A@Mail.Example.com>", "to": ["b@c.org"]}
    attachments = [
        {"name": "x.PDF", "size": 1, "content_type": "application/pdf"},
        {"name": "noextension", "size": 1, "content_type": "text/plain"},
    ]
    sync(client, [make_comment("a", messages=[message], attachments=attachments)])
    make_dataset(client)
    summary = client.ok("POST", PRIVATE + "/summary", {})["summary"]
    found = {name: one["values"] for name, one in summary["email_properties"].items()}
    assert found == {
        "sender": [{"value": "a@mail.example.com"}],
        "sender_domain": [{"value": "mail.example.com"}],
        "sender_organisation": [{"value": "example.com"}],
        "to": [{"value": "b@c.org"}],
        "recipient_domain": [{"value": "c.org"}],
        "recipient_organisation": [{"value": "c.org"}],
    }
    assert summary["attachments_common_types_extensions"] == {"application/pdf": ["pdf"]}
    assert summary["attachments_file_extensions"] == {"pdf": ["application/pdf"]}


# Comparison


def test_two_groups_are_compared(client: Client, db: Database) -> None:
    make_source(client)
    make_source(client, "acme/other")
    sync_ids(client, *(f"a{number}" for number in range(400)))
    sync_ids(client, *(f"b{number}" for number in range(500)), source="acme/other")
    dataset_id = make_dataset(client, sources=("acme/inbox", "acme/other"))
    scores: dict[str, dict[str, float]] = {f"a{number}": {"Billing": 1.0} for number in range(30)}
    scores |= {f"b{number}": {"Billing": 1.0} for number in range(60)}
    insert_model(db, dataset_id, LABELS, scores)
    inbox, other = source_ids(client, ["acme/inbox", "acme/other"])
    body = {"cohort_a": {"sources": [inbox]}, "cohort_b": {"sources": [other]}}
    found = client.ok("POST", PRIVATE + "/compare", body)["compare"]
    assert found["num_comments"] == [400, 500]
    billing = found["label_counts"]["Billing"]
    assert (billing["positive"], billing["negative"]) == ([30.0, 60.0], [0.0, 0.0])
    proportion = billing["significance"]["proportion"]
    assert proportion["log_odds_ratio"] == pytest.approx(0.511860, abs=1e-6)
    assert proportion["is_significant"] is True
    assert billing["significance"]["positivity"]["is_significant"] is False
    assert found["label_counts"]["Refund"]["positive"] == [0.0, 0.0]
    assert client.ok("POST", PRIVATE + "/compare")["compare"]["num_comments"] == [900, 900]
    bad = {"cohort_a": {"nope": 1}}
    assert client.post(PRIVATE + "/compare", bad).json["message"].startswith("cohort_a")


def test_an_export_carries_predictions(client: Client, db: Database) -> None:
    dataset_id = made(client, "a", "b", has_sentiment=True)
    scores = {"a": {"Refund > Late": (0.5, 1.0), "Refund": (0.5, -1.0), "Billing": (0.75, 1.0)}}
    insert_model(db, dataset_id, LABELS, scores, has_sentiment=True)
    exported = client.ok("POST", "/api/v1/datasets/acme/support/export", {})["comments"]
    first, second = (one["predictions"] for one in exported)
    assert [one["name"] for one in first["labels"]] == ["Billing", "Refund", "Refund > Late"]
    assert first["labels"][1] == {"name": "Refund", "probability": near(0.5), "sentiment": -1.0}
    assert first["sentiment"]["total"] == near(0.75 / 1.75)
    assert second == {"labels": [], "sentiment": {"total": 0.0}}
