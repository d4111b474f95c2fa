"""Predictions over HTTP: of texts, of raw e-mails and of stored comments."""

from __future__ import annotations

import json
import math
import random
from collections.abc import Iterator
from typing import Any

import pytest

from lodestream.actions.sources import TRANSFORM_TAGS
from lodestream.domain.models import Thresholds
from lodestream.domain.times import format_us
from lodestream.ml.scores import shown_probability
from tests.build import (
    DATASET,
    fetch,
    make_comment,
    make_dataset,
    make_source,
    make_stream,
    set_sources,
    source_path,
    sync,
)
from tests.client import Client
from tests.conftest import grant_in, make_project, make_user
from tests.models import (
    EXAMPLES,
    add_model,
    database,
    delete_model,
    find_model,
    make_head,
    set_scores,
    set_thresholds,
)

V1 = f"/api/v1/datasets/{DATASET}/labellers"
PRIVATE = f"/api/_private/datasets/{DATASET}"
LATEST = f"{PRIVATE}/labellers/predict"

HEAD = make_head()
MOODY = make_head(has_sentiment=True)
CLAIM = "where is my claim, has it been decided"


@pytest.fixture
def dataset(client: Client) -> Client:
    """A server with the dataset `DATASET` and one pinned version."""
    make_source(client)
    make_dataset(client)
    add_model(client, pinned=True, head=HEAD)
    return client


def document(text: str, **more: Any) -> Any:
    return {"messages": [{"body": {"text": text}}], **more}


def predict(client: Client, *texts: str, version: object = 1, **more: Any) -> Any:
    body = {"documents": [document(one) for one in texts], **more}
    return client.ok("POST", f"{V1}/{version}/predict", body)


def numbers_in(value: Any) -> Iterator[float]:
    match value:
        case dict():
            for inner in value.values():
                yield from numbers_in(inner)
        case list():
            for inner in value:
                yield from numbers_in(inner)
        case float():
            yield value


# New texts


def test_predictions_come_in_the_order_of_the_documents(dataset: Client) -> None:
    reply = predict(dataset, CLAIM, "thank you very much", "", threshold=0.5)
    first, second, third = reply["predictions"]
    assert first[0]["name"] == ["Claim"]
    assert ["Thanks"] in [one["name"] for one in second]
    assert third == []
    assert reply["entities"] == [[], [], []]
    model = find_model(dataset, 1)
    assert reply["model"] == {"version": 1, "time": format_us(model.trained_us)}
    assert set(reply) == {"status", "predictions", "entities", "model"}


def test_labels_come_by_falling_probability_and_parents_first(dataset: Client) -> None:
    for found in predict(dataset, *(text for text, _ in EXAMPLES), threshold=0.0)["predictions"]:
        assert sorted(tuple(one["name"]) for one in found) == [
            ("Claim",),
            ("Claim", "Status"),
            ("Thanks",),
        ]
        values = [one["probability"] for one in found]
        assert values == sorted(values, reverse=True)
        by_name = {" > ".join(one["name"]): one["probability"] for one in found}
        assert by_name["Claim"] >= by_name["Claim > Status"]
        assert all(set(one) == {"name", "probability"} for one in found)


def test_no_documents_have_no_predictions(dataset: Client) -> None:
    reply = predict(dataset)
    assert reply["predictions"] == []
    assert reply["entities"] == []


@pytest.mark.parametrize(
    "empty",
    [
        [],
        [{"body": {"text": ""}}],
        [{"body": {"text": " \n\t "}}],
        [{"body": {"text": ""}, "subject": {"text": ""}}],
    ],
)
def test_a_document_without_text_has_no_predictions(dataset: Client, empty: Any) -> None:
    body = {"documents": [{"messages": empty}], "threshold": 0.0}
    assert dataset.ok("POST", f"{V1}/1/predict", body)["predictions"] == [[]]


def test_the_newest_version_predicts_though_it_is_not_pinned(dataset: Client) -> None:
    add_model(dataset, head=HEAD)
    body = {"documents": [document(CLAIM)], "threshold": 0.5}
    reply = dataset.ok("POST", LATEST, body)
    assert reply["model"]["version"] == 2
    assert reply["predictions"] == predict(dataset, CLAIM, threshold=0.5)["predictions"]


def test_without_a_model_nothing_is_predicted(client: Client) -> None:
    make_source(client)
    make_dataset(client)
    assert client.post(LATEST, {"documents": []}).status == 404
    assert client.post(f"{V1}/1/predict", {"documents": []}).status == 404


@pytest.mark.parametrize("word", ["live", "staging"])
def test_a_tag_stands_for_its_version(dataset: Client, word: str) -> None:
    path = f"{V1}/{word}/predict"
    body = {"documents": [document(CLAIM)]}
    assert dataset.post(path, body).status == 404
    add_model(dataset, head=HEAD, pinned=True)
    for version in (1, 2):
        tag = {"model_tag": {"version": version}}
        dataset.ok("PUT", f"{PRIVATE}/model-tags/{word}", tag)
        assert dataset.ok("POST", path, body)["model"]["version"] == version


@pytest.mark.parametrize("kind", ["predict", "predict-raw-emails", "predict-comments"])
def test_only_pinned_versions_predict_in_public(dataset: Client, kind: str) -> None:
    add_model(dataset, head=HEAD)
    add_model(dataset, head=HEAD)
    delete_model(dataset, 2)
    body = {"uids": []} if kind == "predict-comments" else {"documents": []}
    assert dataset.post(f"{V1}/1/{kind}", body).status == 200
    assert dataset.post(f"{V1}/3/{kind}", body).status == 422
    assert dataset.post(f"{V1}/2/{kind}", body).status == 404
    assert dataset.post(f"{V1}/4/{kind}", body).status == 404
    for word in ("latest", "-1", "one", "1e3"):
        assert dataset.post(f"{V1}/{word}/{kind}", body).status == 400
    assert dataset.post(f"{V1}/1/{kind}".replace("support", "none"), body).status == 404


def test_a_pinned_version_answers_the_same_bytes_for_ever(dataset: Client) -> None:
    body = {"documents": [document(text) for text, _ in EXAMPLES], "threshold": 0.0}
    before = dataset.post(f"{V1}/1/predict", body).content
    for number in range(6):  # more than are kept in memory
        version = add_model(
            dataset, pinned=True, labels=["Claim"], examples=[(f"text {number}", ["Claim"]), *CASES]
        )
        assert dataset.post(f"{V1}/{version}/predict", body).content != before
    assert dataset.post(f"{V1}/1/predict", body).content == before


CASES = [("a claim", ["Claim"]), ("hello", []), ("good bye", [])]


# Thresholds


@pytest.fixture
def scored(dataset: Client) -> tuple[Client, str]:
    """A comment with known probabilities, and its uid."""
    (uid,) = upload(dataset, "c1")
    set_scores(dataset, 1, {uid: [0.25, 0.24, 0.9]})
    return dataset, uid


def upload(client: Client, *ids: str, source: str = "acme/inbox", text: str = CLAIM) -> list[str]:
    sync(client, [make_comment(one, text) for one in ids], source)
    source_id = client.ok("GET", f"/api/v1/sources/{source}")["source"]["id"]
    return [f"{source_id}.{one}" for one in ids]


def predict_comments(client: Client, *uids: str, version: object = 1, **more: Any) -> Any:
    body = {"uids": list(uids), **more}
    return client.ok("POST", f"{V1}/{version}/predict-comments", body)


def names_of(scored: tuple[Client, str], **more: Any) -> list[str]:
    client, uid = scored
    (found,) = predict_comments(client, uid, **more)["predictions"]
    return [" > ".join(one["name"]) for one in found["labels"]]


def wanted(name: str, threshold: float | None = None) -> Any:
    entry: dict[str, Any] = {"name": name.split(" > ")}
    return entry if threshold is None else entry | {"threshold": threshold}


def test_unless_told_otherwise_labels_from_a_quarter_on_are_shown(scored: Any) -> None:
    assert names_of(scored) == ["Thanks", "Claim"]
    assert names_of(scored, labels=[]) == ["Thanks", "Claim"]


def test_a_threshold_holds_for_every_label(scored: Any) -> None:
    assert names_of(scored, threshold=0.0) == ["Thanks", "Claim", "Claim > Status"]
    assert names_of(scored, threshold=0) == ["Thanks", "Claim", "Claim > Status"]
    assert names_of(scored, threshold=0.5) == ["Thanks"]
    assert names_of(scored, threshold=1) == []


def test_a_threshold_copied_from_an_answer_lets_the_label_pass(scored: Any) -> None:
    client, uid = scored
    (found,) = predict_comments(client, uid, threshold=0.0)["predictions"]
    for one in found["labels"]:
        listed = [{"name": one["name"], "threshold": one["probability"]}]
        assert names_of(scored, labels=listed) == [" > ".join(one["name"])]


def test_named_labels_alone_are_shown_each_from_its_threshold(scored: Any) -> None:
    assert names_of(scored, labels=[wanted("Claim > Status", 0.2)]) == ["Claim > Status"]
    assert names_of(scored, labels=[wanted("Claim > Status")]) == []
    assert names_of(scored, labels=[wanted("Claim")]) == ["Claim"]
    both = [wanted("Claim > Status"), wanted("Thanks", 0.95)]
    assert names_of(scored, labels=both, threshold=0.1) == ["Claim > Status"]
    assert names_of(scored, labels=[wanted("Unknown", 0.0)], threshold=0.0) == []
    twice = [wanted("Claim", 0.9), wanted("Claim", 0.1)]
    assert names_of(scored, labels=twice) == ["Claim"]


def test_automatic_thresholds_are_told_of_every_label(scored: Any) -> None:
    client, uid = scored
    given = {
        "Claim": Thresholds(high_precision=0.9, balanced=0.25, high_recall=0.1),
        "Claim > Status": Thresholds(high_precision=0.9, balanced=0.5, high_recall=0.25),
    }
    set_thresholds(client, 1, given)
    (found,) = predict_comments(client, uid, threshold="auto")["predictions"]
    # Thanks has too few examples for thresholds, Claim > Status reaches none.
    assert found["labels"] == [
        {
            "name": ["Claim"],
            "probability": 0.250004,
            "auto_thresholds": ["high_recall", "balanced"],
        }
    ]
    listed = [wanted("Thanks", 0.5), wanted("Claim > Status", 0.0), wanted("Claim")]
    (found,) = predict_comments(client, uid, threshold="auto", labels=listed)["predictions"]
    assert [(one["name"][-1], one["auto_thresholds"]) for one in found["labels"]] == [
        ("Thanks", []),
        ("Claim", ["high_recall", "balanced"]),
        ("Status", []),
    ]
    assert predict(client, CLAIM, threshold="auto")["status"] == "ok"


def test_a_probability_that_is_its_own_threshold_reaches_it(scored: Any) -> None:
    client, uid = scored
    exact = shown_probability(0.25)  # as a validation stores it
    set_thresholds(client, 1, {"Claim": Thresholds(exact, exact, exact)})
    (found,) = predict_comments(client, uid, threshold="auto")["predictions"]
    names = ["high_recall", "balanced", "high_precision"]
    assert [one["auto_thresholds"] for one in found["labels"]] == [names]


def test_before_a_validation_no_label_reaches_an_automatic_threshold(scored: Any) -> None:
    assert names_of(scored, threshold="auto") == []


@pytest.mark.parametrize(
    "wrong",
    [
        {"threshold": -0.1},
        {"threshold": 1.1},
        {"threshold": "0.5"},
        {"threshold": "automatic"},
        {"threshold": None},
        {"threshold": []},
        {"labels": None},
        {"labels": [{"name": "Claim"}]},
        {"labels": [{"name": []}]},
        {"labels": [{"name": [""]}]},
        {"labels": [{"name": ["x" * 65]}]},
        {"labels": [{"name": ["x"] * 65}]},
        {"labels": [{"name": ["Claim"], "threshold": 2}]},
        {"labels": [{"name": ["Claim"], "threshold": "auto"}]},
        {"labels": [{"name": ["Claim"], "more": 1}]},
        {"labels": [{"threshold": 0.5}]},
        {"labels": [{"name": ["Claim"]}] * 4097},
        {"more": 1},
    ],
)
@pytest.mark.parametrize("kind", ["predict", "predict-raw-emails", "predict-comments"])
def test_what_is_asked_for_is_checked(dataset: Client, kind: str, wrong: Any) -> None:
    body = {"uids": []} if kind == "predict-comments" else {"documents": []}
    answer = dataset.post(f"{V1}/1/{kind}", body | wrong)
    assert answer.status == 400
    assert answer.json["status"] == "error"


# Sentiment


def test_a_dataset_with_sentiment_tells_it_of_labels_and_documents(dataset: Client) -> None:
    version = add_model(dataset, pinned=True, has_sentiment=True, head=MOODY)
    reply = predict(dataset, CLAIM, "thanks a lot", "", version=version, threshold=0.0)
    for found in reply["predictions"]:
        assert all(set(one) == {"name", "probability", "sentiment"} for one in found)
    assert len(reply["sentiment"]) == 3
    assert reply["sentiment"][2] == {"total": 0.0}
    assert all(-1 <= one["total"] <= 1 for one in reply["sentiment"])


def test_the_sentiment_of_a_comment_is_that_of_its_labels_by_probability(dataset: Client) -> None:
    version = add_model(dataset, pinned=True, has_sentiment=True, head=MOODY)
    uid, other = upload(dataset, "c1", "c2")
    set_scores(
        dataset,
        version,
        {uid: [0.5, 0.0, 1.0], other: [0.0, 0.0, 0.0]},
        {uid: [-1.0, 1.0, 1.0], other: [1.0, 1.0, 1.0]},
    )
    reply = predict_comments(dataset, uid, other, f"{uid}x", version=version, threshold="auto")
    moods = [one["sentiment"]["total"] for one in reply["predictions"]]
    assert moods == [pytest.approx(1 / 3, abs=1e-4), 0.0, 0.0]
    reply = predict_comments(dataset, uid, version=version)
    assert [one["sentiment"] for one in reply["predictions"][0]["labels"]] == [1.0, -1.0]


def test_a_dataset_without_sentiment_never_names_it(dataset: Client) -> None:
    (uid,) = upload(dataset, "c1")
    for body in (
        {"documents": [document(CLAIM)], "threshold": 0.0},
        {"documents": [document(CLAIM)], "threshold": "auto"},
    ):
        assert b"sentiment" not in dataset.post(f"{V1}/1/predict", body).content
    answer = dataset.post(f"{V1}/1/predict-comments", {"uids": [uid], "threshold": 0.0})
    assert b"sentiment" not in answer.content


# What was read


def test_documents_are_told_as_they_were_read(dataset: Client) -> None:
    messages = [
        {"body": {"text": "Where is it?"}, "from": "a@x", "sent_at": "2024-02-01T09:00:00+01:00"}
    ]
    documents = [
        {
            "messages": messages,
            "timestamp": "2024-02-01T09:00:00+01:00",
            "user_properties": {"string:Team": "A", "number:NPS": 7, "string:Blank": " "},
            "text_format": "markdown",
        },
        document("thanks"),
    ]
    body = {"documents": documents, "_include_comments": True}
    first, second = dataset.ok("POST", f"{V1}/1/predict", body)["comments"]
    comment_id = first.pop("id")
    assert len(comment_id) == 32
    assert first == {
        "timestamp": "2024-02-01T08:00:00.000000Z",
        "user_properties": {"string:Team": "A", "number:NPS": 7},
        "messages": messages,
        "text_format": "markdown",
        "attachments": [],
        "thread_id": None,
    }
    assert second["text_format"] == "plain"
    again = dataset.ok("POST", f"{V1}/1/predict", body)["comments"]
    assert [one["id"] for one in again] == [comment_id, second["id"]]
    without = dataset.ok("POST", f"{V1}/1/predict", body | {"_include_comments": False})
    assert "comments" not in without


def test_nothing_is_stored_of_what_is_predicted(dataset: Client) -> None:
    predict(dataset, CLAIM)
    source = dataset.ok("GET", "/api/_private/sources/acme/inbox/comments")
    assert source["comments"] == []
    page = dataset.ok("POST", "/api/v1/audit_events/query", {"filter": {"timestamp": {}}})
    assert all("predict" not in one["event_type"] for one in page["audit_events"])


@pytest.mark.parametrize(
    "wrong",
    [
        {},
        {"messages": None},
        {"messages": [{}]},
        {"messages": [{"body": "text"}]},
        {"messages": [{"body": {"text": "x" * 65_537}}]},
        {"messages": [{"body": {"text": "x"}}] * 2049},
        {"messages": [{"body": {"text": "x"}, "sent_at": "yesterday"}]},
        {"messages": [], "timestamp": "yesterday"},
        {"messages": [], "timestamp": "0001-01-01"},
        {"messages": [], "user_properties": {"Team": "A"}},
        {"messages": [], "user_properties": {"number:NPS": "7"}},
        {"messages": [], "text_format": "html"},
        {"messages": [], "id": "c1"},
        {"messages": [{"body": {"text": "\0"}}]},
    ],
)
@pytest.mark.parametrize("path", [f"{V1}/1/predict", LATEST])
def test_documents_are_checked(dataset: Client, path: str, wrong: Any) -> None:
    answer = dataset.post(path, {"documents": [document("fine"), wrong]})
    assert answer.status == 400, answer.content
    assert answer.json["status"] == "error"


def test_which_document_is_wrong_is_told(dataset: Client) -> None:
    wrong = document("x", timestamp="yesterday")
    answer = dataset.post(f"{V1}/1/predict", {"documents": [document("fine"), wrong]})
    assert "documents[1]" in answer.json["message"]


def test_4096_documents_are_predicted_and_not_one_more(dataset: Client) -> None:
    documents = [document(f"claim {number}") for number in range(4096)]
    reply = dataset.ok("POST", f"{V1}/1/predict", {"documents": documents})
    assert len(reply["predictions"]) == len(reply["entities"]) == 4096
    answer = dataset.post(f"{V1}/1/predict", {"documents": [*documents, document("x")]})
    assert answer.status == 400


@pytest.mark.parametrize(
    "text",
    [
        "🚀🎉👩‍👩‍👧‍👦" * 100,
        "\u202e\u200b\ufeff",
        "claim " * 10_000,
        "x" * 65_536,
        "我的索赔在哪里？",
        "أين مطالبتي؟",
        '"\\\n\t<script>',
    ],
)
def test_any_text_has_sane_predictions(dataset: Client, text: str) -> None:
    reply = predict(dataset, text, threshold=0.0)
    assert all(math.isfinite(one) for one in numbers_in(reply["predictions"]))


def test_a_megabyte_of_text_is_predicted(dataset: Client) -> None:
    message = {"body": {"text": "claim status " * 5000}}
    body = {"documents": [{"messages": [message] * 17}], "threshold": 0.0}
    (found,) = dataset.ok("POST", f"{V1}/1/predict", body)["predictions"]
    assert len(found) == 3


@pytest.mark.parametrize(
    ("labels", "examples"),
    [
        (["Only"], [("one", ["Only"]), ("two", [])]),
        (["Only"], [("one", ["Only"])]),
        (["Only"], [("", ["Only"]), ("", [])]),
        (["A", "B"], [("same", ["A"]), ("same", ["A"]), ("same", ["A"])]),
        (["New"], []),
        ([], [("one", [])]),
        ([], []),
    ],
)
def test_a_model_of_next_to_nothing_predicts_sanely(
    dataset: Client, labels: list[str], examples: list[tuple[str, list[str]]]
) -> None:
    version = add_model(dataset, pinned=True, labels=labels, examples=examples)
    reply = predict(dataset, "one", "same", "🚀", "", version=version, threshold=0.0)
    assert all(0 <= one <= 1 for one in numbers_in(reply["predictions"]))
    assert reply["predictions"][3] == []


# Stored comments


def test_predictions_of_comments_keep_the_order_of_the_uids(dataset: Client) -> None:
    ids = [f"c{number}" for number in range(40)]
    found = upload(dataset, *ids)
    set_scores(dataset, 1, {uid: [0.9, 0.0, at / 50] for at, uid in enumerate(found)})
    asked = [*found, *found[:5]]
    random.Random(3).shuffle(asked)
    reply = predict_comments(dataset, *asked, labels=[wanted("Thanks", 0.0)])
    assert [one["uid"] for one in reply["predictions"]] == asked
    for one in reply["predictions"]:
        assert one["labels"][0]["probability"] == pytest.approx(found.index(one["uid"]) / 50, 1e-3)
        assert one["entities"] == []
    assert reply["model"]["version"] == 1


def test_comments_without_kept_predictions_are_predicted_on_the_spot(dataset: Client) -> None:
    (uid,) = upload(dataset, "c1")
    (found,) = predict_comments(dataset, uid, threshold=0.0)["predictions"]
    assert found["labels"] == predict(dataset, CLAIM, threshold=0.0)["predictions"][0]


def test_a_changed_comment_is_predicted_by_its_present_text(dataset: Client) -> None:
    (uid,) = upload(dataset, "c1")
    set_scores(dataset, 1, {uid: [0.0, 0.0, 1.0]})
    upload(dataset, "c1", text="please send the contract")
    (found,) = predict_comments(dataset, uid, threshold=0.0)["predictions"]
    now = predict(dataset, "please send the contract", threshold=0.0)
    assert found["labels"] == now["predictions"][0]


def test_a_comment_that_is_not_there_has_no_labels(dataset: Client) -> None:
    make_source(dataset, "acme/second")
    uid, gone = upload(dataset, "c1", "c2")
    (elsewhere,) = upload(dataset, "c1", source="acme/second")
    dataset.ok("DELETE", "/api/v1/sources/acme/inbox/comments?id=c2")
    asked = [gone, uid, elsewhere, "0123456789abcdef.c1"]
    reply = predict_comments(dataset, *asked, threshold=0.0)
    assert [len(one["labels"]) for one in reply["predictions"]] == [0, 3, 0, 0]
    assert [one["uid"] for one in reply["predictions"]] == asked
    assert reply["predictions"][0] == {"uid": gone, "labels": [], "entities": []}


def test_a_stored_comment_without_text_has_no_labels(dataset: Client) -> None:
    (uid,) = upload(dataset, "c1", text="")
    (found,) = predict_comments(dataset, uid, threshold=0.0)["predictions"]
    assert found["labels"] == []


@pytest.mark.parametrize("wrong", ["", "c1", ".c1", "0123456789abcdef.", "0123456789ABCDEF.c1"])
def test_a_malformed_uid_is_refused(dataset: Client, wrong: str) -> None:
    (uid,) = upload(dataset, "c1")
    answer = dataset.post(f"{V1}/1/predict-comments", {"uids": [uid, wrong]})
    assert answer.status == 400
    assert "uids[1]" in answer.json["message"]


@pytest.mark.parametrize("wrong", [{}, {"uids": None}, {"uids": [1]}, {"uids": ["x"] * 4097}])
def test_a_list_of_uids_is_checked(dataset: Client, wrong: Any) -> None:
    assert dataset.post(f"{V1}/1/predict-comments", wrong).status == 400


def test_comments_of_sources_one_may_not_read_have_no_labels(dataset: Client) -> None:
    db = database(dataset)
    make_project(db, "third")
    make_source(dataset, "third/secret")
    set_sources(dataset, DATASET, ["acme/inbox", "third/secret"])
    (uid,) = upload(dataset, "c1")
    (secret,) = upload(dataset, "c1", source="third/secret")
    user = make_user(db, "reader")
    grant_in(db, user, "acme", ("voc-readonly", "sources-read"))
    reply = predict_comments(dataset.as_user("reader"), uid, secret, threshold=0.0)
    assert [len(one["labels"]) for one in reply["predictions"]] == [3, 0]
    reply = predict_comments(dataset, uid, secret, threshold=0.0)
    assert [len(one["labels"]) for one in reply["predictions"]] == [3, 3]


# Raw e-mails

HEADERS = {
    "Date": "Thu, 09 Jan 2020 16:34:45 +0000",
    "From": "Alice <alice@example.com>",
    "To": "bob@example.org",
    "Message-ID": "<m1@example.com>",
    "References": "<m0@example.com>",
    "Subject": "Figures",
}
RAW = "\r\n".join(f"{name}: {value}" for name, value in HEADERS.items())


def email(body: Any, headers: Any = None, **more: Any) -> Any:
    chosen = {"parsed": HEADERS} if headers is None else headers
    return {"raw_email": {"headers": chosen, "body": body}, **more}


def predict_emails(client: Client, *documents: Any, **more: Any) -> Any:
    return client.ok("POST", f"{V1}/1/predict-raw-emails", {"documents": list(documents), **more})


@pytest.mark.parametrize(
    ("headers", "body"),
    [
        ({"parsed": HEADERS}, {"plain": CLAIM}),
        ({"raw": RAW}, {"plain": CLAIM, "html": "<p>thank you</p>"}),
        ({"raw": RAW, "parsed": {}}, {"html": f"<html><body><p>{CLAIM}</p></body></html>"}),
        ({"raw": RAW}, {"plain": " \r\n ", "html": f"<style>p{{}}</style><div>{CLAIM}<br></div>"}),
    ],
)
def test_an_email_is_predicted_like_the_comment_it_becomes(
    dataset: Client, headers: Any, body: Any
) -> None:
    reply = predict_emails(dataset, email(body, headers), threshold=0.0, include_comments=True)
    (comment,) = reply["comments"]
    assert comment == {
        "id": "3c6d31406578616d706c652e636f6d3e",
        "timestamp": "2020-01-09T16:34:45.000000Z",
        "user_properties": {
            "string:Message ID": "<m1@example.com>",
            "string:Sender": "alice@example.com",
            "string:Sender Domain": "example.com",
            "string:Recipient Domain": "example.org",
            "string:Has Attachments": "No",
            "number:Recipient Count": 1,
        },
        "messages": [
            {
                "body": {"text": CLAIM},
                "subject": {"text": "Figures"},
                "from": "Alice <alice@example.com>",
                "to": ["bob@example.org"],
                "sent_at": "2020-01-09T16:34:45.000000Z",
            }
        ],
        "text_format": "plain",
        "attachments": [],
        "thread_id": "3c6d30406578616d706c652e636f6d3e",
    }
    same = {"documents": [{"messages": comment["messages"]}], "threshold": 0.0}
    assert reply["predictions"] == dataset.ok("POST", f"{V1}/1/predict", same)["predictions"]
    assert reply["entities"] == [[]]
    assert reply["model"]["version"] == 1


def test_what_a_document_says_itself_is_taken(dataset: Client) -> None:
    attachment = {"name": "q3.pdf", "size": 1000, "content_type": ".pdf"}
    sent = email({"plain": "x"}, comment_id="my-id", user_properties={"number:Priority": 2})
    sent["raw_email"]["attachments"] = [attachment]
    (comment,) = predict_emails(dataset, sent, include_comments=True)["comments"]
    assert comment["id"] == "my-id"
    assert comment["user_properties"]["number:Priority"] == 2
    assert comment["attachments"] == [attachment]


@pytest.mark.parametrize("tag", [None, *sorted(TRANSFORM_TAGS)])
def test_an_email_is_read_as_syncing_it_would(dataset: Client, tag: str | None) -> None:
    sent = email(
        {"plain": f"{CLAIM}\n\n-- \nAlice", "html": f"<p><b>{CLAIM}</b></p>-- <br>Alice"},
        user_properties={"string:Sender": "mine", "number:Priority": 2},
    )
    sent["raw_email"]["attachments"] = [{"name": "a", "size": 1, "content_type": "pdf"}]
    more = {} if tag is None else {"transform_tag": tag}
    (small,) = predict_emails(dataset, sent, include_comments=True, **more)["comments"]
    path = source_path() + "/sync-raw-emails"
    body = {"documents": [sent], "include_comments": True, **more}
    (full,) = dataset.ok("POST", path, body)["comments"]
    assert small == {name: full[name] for name in small}


def test_an_email_without_headers_or_body_is_none_of_our_business(dataset: Client) -> None:
    reply = predict_emails(
        dataset,
        email({}, {"parsed": {}}),
        email({"plain": CLAIM}, {"raw": ""}),
        threshold=0.0,
        include_comments=True,
    )
    assert [len(one) for one in reply["predictions"]] == [0, 3]
    assert all(one["thread_id"] is None for one in reply["comments"])


def test_comments_are_left_out_unless_asked_for(dataset: Client) -> None:
    assert "comments" not in predict_emails(dataset, email({"plain": "x"}))


def test_a_transform_tag_has_to_be_known(dataset: Client) -> None:
    predict_emails(dataset, email({"plain": "x"}), transform_tag="generic.0.CONVKER5")
    body = {"documents": [], "transform_tag": "nonsense.0.X"}
    answer = dataset.post(f"{V1}/1/predict-raw-emails", body)
    assert answer.status == 422
    assert answer.json["message"] == "The value 'nonsense.0.X' is not a valid transform tag."


@pytest.mark.parametrize(
    "wrong",
    [
        {},
        {"raw_email": {}},
        {"raw_email": {"headers": {"raw": ""}}},
        {"raw_email": {"headers": {}, "body": {}}},
        {"raw_email": {"headers": {"raw": "x" * 65_537}, "body": {}}},
        {"raw_email": {"headers": {"raw": ""}, "body": {"plain": "x" * 65_537}}},
        {"raw_email": {"headers": {"raw": ""}, "body": {"text": "x"}}},
        {"raw_email": {"headers": {"parsed": {"Date": None}}, "body": {}}},
        {"raw_email": {"headers": {"raw": ""}, "body": {}}, "comment_id": "a b"},
        {"raw_email": {"headers": {"raw": ""}, "body": {}}, "comment_id": ""},
        {"raw_email": {"headers": {"raw": ""}, "body": {}}, "user_properties": {"a": "b"}},
        {"raw_email": {"headers": {"raw": ""}, "body": {}, "attachments": [{"name": "x"}]}},
    ],
)
def test_emails_are_checked(dataset: Client, wrong: Any) -> None:
    answer = dataset.post(f"{V1}/1/predict-raw-emails", {"documents": [wrong]})
    assert answer.status == 400, answer.content


def test_4097_emails_are_too_many(dataset: Client) -> None:
    one = email({"plain": "x"})
    answer = dataset.post(f"{V1}/1/predict-raw-emails", {"documents": [one] * 4097})
    assert answer.status == 400


def test_every_answer_is_json_that_any_reader_takes(dataset: Client) -> None:
    (uid,) = upload(dataset, "c1")
    for path, body in (
        (f"{V1}/1/predict", {"documents": [document(CLAIM)], "threshold": 0.0}),
        (f"{V1}/1/predict-comments", {"uids": [uid], "threshold": 0.0}),
    ):
        answer = dataset.post(path, body)

        def refuse(name: str) -> float:
            raise AssertionError(name)

        json.loads(answer.content, parse_constant=refuse)


# Streams


def test_a_stream_and_both_calls_say_the_same_to_the_last_digit(dataset: Client) -> None:
    make_stream(dataset, model={"version": 1})
    texts = [*(text for text, _ in EXAMPLES), "", "🚀"]
    uids = [uid for at, text in enumerate(texts) for uid in upload(dataset, f"c{at}", text=text)]
    streamed = [one["labels"] for one in fetch(dataset)["results"]]
    answered = predict_comments(dataset, *uids, threshold=0.0)["predictions"]
    assert [one["labels"] for one in answered] == streamed
    assert predict(dataset, *texts, threshold=0.0)["predictions"] == streamed
