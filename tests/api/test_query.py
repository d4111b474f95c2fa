"""Reading a dataset's comments in an order, over HTTP."""

from __future__ import annotations

import csv
import io
from typing import Any

import pytest

from lodestream.store.db import Database
from tests.build import dataset_path, make_comment, make_source, source_ids, sync, sync_ids, team
from tests.client import Client
from tests.conftest import grant_in, make_user
from tests.predictions import insert_model

PRIVATE = "/api/_private/datasets/acme/support"
QUERY = PRIVATE + "/query"
LABELS = ("Billing", "Refund", "Refund > Late")


def make_dataset(client: Client, *, sources: tuple[str, ...] = ("acme/inbox",), **more: Any) -> str:
    definition = {
        "source_ids": source_ids(client, sources),
        "has_sentiment": False,
        "label_defs": [{"name": name} for name in LABELS],
        **more,
    }
    made = client.ok("PUT", dataset_path("acme/support"), {"dataset": definition})["dataset"]
    dataset_id: str = made["id"]
    return dataset_id


def made(client: Client, *ids: str, **more: Any) -> str:
    """Make a source with comments of these ids, a minute apart, and a dataset; return its id."""
    comments = [
        make_comment(one, timestamp=f"2024-02-01T08:{minute:02}:00Z")
        for minute, one in enumerate(ids)
    ]
    return made_of(client, comments, **more)


def made_of(client: Client, comments: list[dict[str, Any]], **more: Any) -> str:
    """Make a source with comments, and a dataset; return its id."""
    make_source(client)
    sync(client, comments)
    return make_dataset(client, **more)


def ask(client: Client, **body: Any) -> Any:
    return client.ok("POST", QUERY, body)


def ids(client: Client, **body: Any) -> list[str]:
    return [one["comment"]["id"] for one in ask(client, **body)["results"]]


def pages(client: Client, **body: Any) -> list[list[str]]:
    """Read every page."""
    found = []
    token: dict[str, str] = {}
    while True:
        reply = ask(client, **body, **token)
        found.append([one["comment"]["id"] for one in reply["results"]])
        if "continuation" not in reply:
            return found
        assert reply["results"]
        token = {"continuation": reply["continuation"]}


def flat(found: list[list[str]]) -> list[str]:
    return [one for page in found for one in page]


def uid_of(client: Client, comment_id: str) -> str:
    return f"{source_ids(client, ['acme/inbox'])[0]}.{comment_id}"


def label(client: Client, comment_id: str, *names: str, sentiment: str = "positive") -> None:
    assigned = [{"name": name, "sentiment": sentiment} for name in names]
    body = {"labelling": [{"group": "default", "assigned": assigned, "dismissed": []}]}
    if not names:
        body["labelling"][0]["dismissed"] = [{"name": "Billing", "sentiment": "positive"}]
    client.ok("POST", f"{PRIVATE}/labellings/{uid_of(client, comment_id)}", body)


# Order of time, and pages


def test_without_an_order_the_newest_comes_first(client: Client) -> None:
    made(client, "a", "b", "c")
    reply = ask(client)
    assert [one["comment"]["id"] for one in reply["results"]] == ["c", "b", "a"]
    assert reply["num_results"] == {"filtered": 3, "expected": 3}
    assert reply["entity_defs"] == []
    assert "continuation" not in reply
    assert reply["results"][0]["labelling"] == [
        {"group": "default", "assigned": [], "dismissed": []}
    ]


def test_pages_follow_each_other_over_sources_and_equal_timestamps(client: Client) -> None:
    make_source(client)
    make_source(client, "acme/other")
    sync_ids(client, "a", "b", "c")
    sync_ids(client, "d", "e", source="acme/other")
    make_dataset(client, sources=("acme/inbox", "acme/other"))
    found = pages(client, limit=2, order={"kind": "recent"})
    assert [len(page) for page in found] == [2, 2, 1]
    assert sorted(flat(found)) == ["a", "b", "c", "d", "e"]
    assert flat(found) == ids(client, limit=5)


def test_page_and_place_may_stand_in_the_query_string(client: Client) -> None:
    made(client, "a", "b", "c")
    first = client.ok("POST", QUERY + "?limit=2", {"order": {"kind": "recent"}})
    assert len(first["results"]) == 2
    token = first["continuation"].replace("+", "%2B").replace("=", "%3D")
    second = client.ok(
        "POST", f"{QUERY}?limit=2&continuation={token}", {"order": {"kind": "recent"}}
    )
    assert [one["comment"]["id"] for one in second["results"]] == ["a"]
    assert len(client.ok("POST", QUERY + "?limit=2", {"limit": 1})["results"]) == 1


def test_a_place_of_another_query_is_refused(client: Client) -> None:
    made(client, "a", "b", "c")
    token = ask(client, limit=1)["continuation"]
    for other in (
        {"filter": {"reviewed": "only_reviewed"}},
        {"order": {"kind": "sample", "seed": 1}},
        {"collapse_mode": "thread_id"},
        {"attribute_filters": [attribute("labels", any_of=["Billing"])]},
    ):
        answer = client.post(QUERY, {"limit": 1, "continuation": token, **other})
        assert answer.status == 400, other
    assert ids(client, limit=1, continuation=token, filter={}) == ["b"]


BAD: list[dict[str, Any]] = [
    {"surprise": 1},
    {"limit": 0},
    {"limit": 1025},
    {"limit": 150_001},
    {"order": {}},
    {"order": {"kind": "nope"}},
    {"order": {"kind": "recent", "seed": 1}},
    {"order": {"kind": "sample"}},
    {"order": {"kind": "sample", "seed": -1}},
    {"order": {"kind": "sample", "seed": 2**31}},
    {"order": {"kind": "text_search", "query": ""}},
    {"order": {"kind": "text_search", "query": "x" * 2049}},
    {"order": {"kind": "label_property", "label_property_id": "3"}},
    {"order": {"kind": "diagnostic", "diagnostic_kind": "nope"}},
    {"order": {"kind": "by_label", "label": " > "}},
    {"collapse_mode": "nope"},
    {"filter": {"nope": 1}},
    {"filter": 3},
    {"continuation": "?"},
    {"continuation": "W10="},
    {"continuation": "WyJhIixbWzFlOTk5LDFdLDBdLDNd"},
    {"continuation": "WyJhIixbWzEsMV0sOTk5OTldLDNd"},
]


@pytest.mark.parametrize("body", BAD, ids=str)
def test_a_query_that_cannot_be_is_refused(client: Client, body: dict[str, Any]) -> None:
    made(client, "a")
    answer = client.post(QUERY, body)
    assert answer.status == 400, answer.content
    assert answer.json["status"] == "error"


def test_a_label_that_does_not_exist_is_no_order(client: Client) -> None:
    made(client, "a")
    for kind in ("by_label", "learning"):
        assert client.post(QUERY, {"order": {"kind": kind, "label": "Nope"}}).status == 422


def test_sources_that_the_caller_may_not_read_are_left_out(client: Client, db: Database) -> None:
    make_source(client, "other/inbox")
    make_source(client)
    sync_ids(client, "a")
    sync_ids(client, "b", source="other/inbox")
    make_dataset(client, sources=("acme/inbox", "other/inbox"))
    user = make_user(db, "somebody")
    grant_in(db, user, "acme")
    mine = client.as_user("somebody")
    assert ids(mine) == ["a"]
    orders: list[dict[str, Any]] = [
        {"kind": "any_label_asc"},
        {"kind": "text_search", "query": "hello"},
        {"kind": "sample", "seed": 1},
    ]
    for order in orders:
        assert ids(mine, order=order) == ["a"]
    assert ask(mine)["num_results"]["filtered"] == 1


# Random order, threads


def test_a_sample_is_the_same_for_a_seed_and_another_for_another(client: Client) -> None:
    made(client, *(f"c{number:02}" for number in range(40)))

    def sampled(seed: int) -> list[str]:
        return flat(pages(client, limit=7, order={"kind": "sample", "seed": seed}))

    assert sampled(1) == sampled(1)
    assert sorted(sampled(1)) == [f"c{number:02}" for number in range(40)]
    assert len({tuple(sampled(seed)) for seed in range(5)}) == 5
    assert ask(client, order={"kind": "sample", "seed": 7})["seed"] == 7


def test_one_comment_of_each_thread_is_shown(client: Client) -> None:
    make_source(client)
    threads = ["t1", "t2", "t1", None, "t2", None]
    comments = [
        make_comment(
            f"c{number}",
            timestamp=f"2024-02-01T08:0{number}:00Z",
            **({} if thread is None else {"thread_id": thread}),
        )
        for number, thread in enumerate(threads)
    ]
    sync(client, comments)
    make_dataset(client)
    found = pages(client, limit=2, collapse_mode="thread_id")
    assert found == [["c5", "c4"], ["c3", "c2"]]
    assert ask(client, collapse_mode="thread_id")["num_results"]["filtered"] == 4
    sample = pages(client, limit=1, collapse_mode="thread_id", order={"kind": "sample", "seed": 3})
    assert len(sample) == 4


# Orders by what a model predicts


def test_the_most_probable_come_first_and_those_without_scores_last(
    client: Client, db: Database
) -> None:
    dataset_id = made(client, "a", "b", "c", "d", "e")
    scores = {"a": {"Billing": 0.2}, "b": {"Billing": 0.9}, "c": {"Refund": 0.8}, "d": {}}
    insert_model(db, dataset_id, LABELS, scores)
    order = {"kind": "by_label", "label": "Billing"}
    assert ids(client, order=order) == ["b", "a", "d", "c", "e"]
    assert pages(client, order=order, limit=2) == [["b", "a"], ["d", "c"], ["e"]]
    assert ids(client, order={"kind": "by_label"}) == ["b", "c", "a", "d", "e"]
    assert ids(client, order={"kind": "any_label_asc"}) == ["d", "a", "c", "b", "e"]


def test_comments_that_were_given_the_label_come_before_all(client: Client, db: Database) -> None:
    dataset_id = made(client, "a", "b", "c")
    insert_model(db, dataset_id, LABELS, {"a": {}, "b": {"Refund": 0.9}, "c": {"Refund": 0.5}})
    label(client, "a", "Refund > Late")
    assert ids(client, order={"kind": "by_label", "label": "Refund"}) == ["a", "b", "c"]
    assert ids(client, order={"kind": "any_label_asc"}) == ["c", "b", "a"]


def test_sentiments_order_apart(client: Client, db: Database) -> None:
    dataset_id = made(client, "a", "b", "c", has_sentiment=True)
    scores = {
        "a": {"Billing": (0.9, -1.0)},
        "b": {"Billing": (0.8, 1.0)},
        "c": {"Billing": (0.7, 0.0)},
    }
    insert_model(db, dataset_id, LABELS, scores, has_sentiment=True)
    by_billing = {"kind": "by_label", "label": "Billing"}
    assert ids(client, order=by_billing) == ["a", "b", "c"]
    assert ids(client, order={**by_billing, "sentiment": "positive"}) == ["b", "c", "a"]
    assert ids(client, order={**by_billing, "sentiment": "negative"}) == ["a", "c", "b"]
    label(client, "c", "Billing", sentiment="negative")
    assert ids(client, order={**by_billing, "sentiment": "negative"}) == ["c", "a", "b"]


def test_what_the_model_is_unsure_of_is_for_learning(client: Client, db: Database) -> None:
    dataset_id = made(client, "a", "b", "c", "d")
    scores = {
        "a": {"Billing": 0.95},
        "b": {"Billing": 0.55},
        "c": {"Billing": 0.3},
        "d": {"Billing": 0.5},
    }
    insert_model(db, dataset_id, LABELS, scores)
    order = {"kind": "learning", "label": "Billing"}
    assert ids(client, order=order) == ["d", "b", "c", "a"]
    label(client, "d", "Billing")
    assert ids(client, order=order) == ["b", "c", "a"]
    assert ask(client, order=order)["num_results"]["filtered"] == 3


def test_learning_avoids_what_is_alike(client: Client, db: Database) -> None:
    make_source(client)
    texts = {"a": "my card was charged twice", "b": "my card was charged twice", "c": "late parcel"}
    sync(client, [make_comment(one, text) for one, text in texts.items()])
    dataset_id = make_dataset(client)
    scores = {"a": {"Billing": 0.5}, "b": {"Billing": 0.49}, "c": {"Billing": 0.4}}
    insert_model(db, dataset_id, LABELS[:1], scores)
    assert ids(client, order={"kind": "learning"}) == ["a", "c", "b"]
    assert pages(client, limit=1, order={"kind": "learning"}) == [["a"], ["c"], ["b"]]


def test_diagnostics_show_what_is_not_covered(client: Client, db: Database) -> None:
    dataset_id = made(client, "a", "b", "c", "d")
    scores = {"a": {"Billing": 0.9}, "b": {"Refund": 0.1}, "c": {"Refund": 0.5}, "d": {}}
    insert_model(db, dataset_id, LABELS, scores)
    for kind in ("neglect", "label_only_neglect"):
        order = {"kind": "diagnostic", "diagnostic_kind": kind}
        assert ids(client, order=order) == ["b", "c", "a", "d"]
    order = {"kind": "diagnostic", "diagnostic_kind": "informative"}
    assert ids(client, order=order)[0] == "c"
    order = {"kind": "diagnostic", "diagnostic_kind": "bias"}
    assert sorted(ids(client, order=order)) == ["a", "b", "c", "d"]
    for kind in ("teach_entity", "missed_entity", "check_entity", "extraction_error_rate"):
        assert ids(client, order={"kind": "diagnostic", "diagnostic_kind": kind}) == []


def test_the_least_like_the_reviewed_ones_come_first_by_bias(client: Client, db: Database) -> None:
    make_source(client)
    known = [make_comment(f"k{number}", f"invoice number {number}") for number in range(12)]
    like = [make_comment(f"l{number}", f"invoice number {number}") for number in range(12)]
    other = [make_comment(f"o{number}", f"parcel lost near town {number}") for number in range(12)]
    sync(client, [*known, *like, *other])
    dataset_id = make_dataset(client)
    insert_model(db, dataset_id, LABELS, {})
    for number in range(12):
        label(client, f"k{number}", "Billing")
    found = ids(client, limit=24, order={"kind": "diagnostic", "diagnostic_kind": "bias"})
    assert len(found) == 24
    assert found[0].startswith("o")


def test_doubtful_annotations_are_found(client: Client, db: Database) -> None:
    dataset_id = made(client, "a", "b", "c", "d")
    left_out = {
        "a": {"Billing": 0.9, "Refund": 0.1},
        "b": {"Billing": 0.2, "Refund": 0.7},
        "c": {"Billing": 0.6, "Refund": 0.3},
    }
    for one in ("a", "b"):
        label(client, one, "Billing")
    label(client, "c", "Refund")
    insert_model(db, dataset_id, LABELS[:2], {}, left_out=left_out)
    assert ids(client, order={"kind": "check"}) == ["b", "c", "a"]
    assert ids(client, order={"kind": "missed"}) == ["b", "c", "a"]
    billing = [attribute("labels", any_of=["Billing"])]
    assert ids(client, order={"kind": "check"}, attribute_filters=billing) == ["b", "a"]
    assert ids(client, order={"kind": "missed"}, attribute_filters=billing) == ["c"]
    field = {"kind": "check", "entity_def_id": "0" * 16}
    assert ids(client, order=field) == []


def test_orders_by_scores_do_without_a_model(client: Client) -> None:
    made(client, "a", "b")
    for order in (
        {"kind": "by_label", "label": "Billing"},
        {"kind": "any_label_asc"},
        {"kind": "learning"},
        {"kind": "learning", "label": "Billing"},
        {"kind": "label_property", "label_property_id": "0000000000000001"},
        {"kind": "diagnostic", "diagnostic_kind": "neglect"},
    ):
        assert ids(client, order=order) == ["b", "a"], order
    assert ids(client, order={"kind": "check"}) == []


# Predictions in results


def test_results_show_what_the_newest_model_predicts(client: Client, db: Database) -> None:
    dataset_id = made(client, "a")
    insert_model(db, dataset_id, LABELS, {"a": {"Billing": 0.9}}, version=1)
    scores = {"a": {"Billing": 0.25, "Refund": 0.5, "Refund > Late": 0.001}}
    insert_model(db, dataset_id, (*LABELS, "Gone"), scores, version=2)
    result = ask(client)["results"][0]
    assert result["model_version"] == 2
    found = result["labelling"][0]["predicted"]
    assert [one["name"] for one in found] == ["Refund", "Billing"]
    assert found[0]["probability"] == pytest.approx(0.5, abs=1e-5)


# Filters


def attribute(name: str, **test: Any) -> dict[str, Any]:
    key = next(iter(test))
    return {"attribute": name, "filter": {"kind": f"string_{key}", **test}}


def test_labels_are_assigned_where_reviewed_and_predicted_elsewhere(
    client: Client, db: Database
) -> None:
    dataset_id = made(client, "a", "b", "c", "d", "e")
    scores = {
        "a": {"Billing": 0.9},
        "b": {"Billing": 0.5},
        "c": {"Billing": 0.49},
        "d": {"Refund": 0.9},
    }
    insert_model(db, dataset_id, LABELS, scores)
    label(client, "a", "Refund")
    any_billing = [attribute("labels", any_of=["Billing"])]
    assert ids(client, attribute_filters=any_billing) == ["b"]
    label(client, "c", "Billing")
    assert ids(client, attribute_filters=any_billing) == ["c", "b"]
    no_billing = [attribute("labels", none_of=["Billing", "Unknown"])]
    assert ids(client, attribute_filters=no_billing) == ["e", "d", "a"]
    both = [attribute("labels", any_of=["Refund", "Unknown"]), *no_billing]
    assert ids(client, attribute_filters=both) == ["d", "a"]
    assert ids(client, attribute_filters=[attribute("labels", any_of=["Unknown"])]) == []
    by_search = {"kind": "text_search", "query": "hello"}
    assert len(ids(client, attribute_filters=any_billing, order=by_search)) == 2


def test_a_review_is_seen_at_once(client: Client) -> None:
    made(client, "a", "b")
    assert ids(client, filter={"reviewed": "only_reviewed"}) == []
    label(client, "a", "Billing")
    assert ids(client, filter={"reviewed": "only_reviewed"}) == ["a"]
    assert ids(client, filter={"reviewed": "only_unreviewed"}) == ["b"]


# Searching


def search(client: Client, text: str, **more: Any) -> Any:
    return ask(client, order={"kind": "text_search", "query": text}, **more)


def test_the_whole_phrase_comes_before_its_words(client: Client) -> None:
    make_source(client)
    texts = {
        "phrase": "I ask for a late refund of it",
        "words": "refund refund refund, it came late, so late",
        "word": "nothing but a Refund",
        "none": "hello there",
    }
    sync(client, [make_comment(one, text) for one, text in texts.items()])
    make_dataset(client)
    reply = search(client, "late refund")
    assert [one["comment"]["id"] for one in reply["results"]] == ["phrase", "words", "word"]
    assert reply["num_results"]["filtered"] == 3
    assert reply["query"] == "late refund"
    assert pages(client, limit=1, order={"kind": "text_search", "query": "late refund"}) == [
        ["phrase"],
        ["words"],
        ["word"],
    ]


def test_what_matches_is_pointed_out(client: Client) -> None:
    make_source(client)
    message = {"subject": {"text": "Über uns"}, "body": {"text": "😀 überall ÜBER 5"}}
    sync(client, [make_comment("a", messages=[message])])
    make_dataset(client)
    found = [one["span"] for one in search(client, "über")["results"][0]["highlights"]]
    assert [(one["content_part"], one["char_start"], one["char_end"]) for one in found] == [
        ("subject", 0, 4),
        ("body", 2, 6),
        ("body", 10, 14),
    ]
    assert (found[1]["utf16_byte_start"], found[1]["utf16_byte_end"]) == (6, 14)


def test_scripts_without_spaces_are_searched_inside(client: Client) -> None:
    make_source(client)
    sync(client, [make_comment("a", "我要退款谢谢"), make_comment("b", "party")])
    make_dataset(client)
    assert [one["comment"]["id"] for one in search(client, "退款")["results"]] == ["a"]
    assert search(client, "art")["results"] == []


HOSTILE = ["%", "_", "'", '"', "\\", "(", "[a-z", ".*", "text", "messages", "😀", " ", "a" * 2048]


def test_no_search_breaks_anything(client: Client) -> None:
    made(client, "a", "b")
    for text in HOSTILE:
        assert search(client, text)["results"] == [], text


def test_attachments_are_found_by_name(client: Client) -> None:
    make_source(client)
    attachment = {"name": "Invoice 42.pdf", "size": 1, "content_type": "application/pdf"}
    sync(client, [make_comment("a", attachments=[attachment]), make_comment("b", "invoice")])
    make_dataset(client)
    assert ids(client, order={"kind": "attachment_text_search", "query": "invoice"}) == ["a"]


# As a table


def table(client: Client, **body: Any) -> list[dict[str, str]]:
    answer = client.post(QUERY, body, headers={"accept": "text/csv"})
    assert answer.status == 200, answer.content
    assert answer.headers["content-type"] == "text/csv; charset=utf-8"
    return list(csv.DictReader(io.StringIO(answer.content.decode(), newline="")))


def test_a_table_has_a_row_for_each_comment(client: Client, db: Database) -> None:
    make_source(client)
    message = {
        "subject": {"text": 'He said "no",\nreally'},
        "body": {"text": "Text"},
        "from": "a@example.com",
        "to": ["b@example.com", "c@example.com"],
    }
    sync(client, [make_comment("a", messages=[message], **team("Claims")), make_comment("b")])
    dataset_id = make_dataset(client)
    insert_model(db, dataset_id, LABELS, {"a": {"Refund > Late": 0.5, "Refund": 1.0}})
    rows = {row["ID"]: row for row in table(client, order={"kind": "sample", "seed": 42})}
    assert rows["a"] == {
        "Date": "2024-02-01T08:00:00.000000Z",
        "ID": "a",
        "Source": "inbox",
        "Subject": 'He said "no",\nreally',
        "Message": "Text",
        "From": "a@example.com",
        "To": "b@example.com; c@example.com",
        "string:Team": "Claims",
        "Billing": "0.0",
        "Refund": "1.0",
        "Refund > Late": "0.500008",
    }
    assert rows["b"]["Refund"] == "0"
    assert rows["b"]["string:Team"] == ""


def test_a_large_table_is_sent_in_parts(client: Client) -> None:
    make_source(client)
    sync_ids(client, *(f"c{number}" for number in range(600)))
    make_dataset(client)
    rows = table(client, limit=150_000)
    assert {row["ID"] for row in rows} == {f"c{number}" for number in range(600)}
    assert len(table(client, limit=5)) == 5


def test_a_bad_query_for_a_table_is_refused_as_json(client: Client) -> None:
    made(client, "a")
    for body, status in (({"limit": 150_001}, 400), ({"order": {"kind": "x"}}, 400)):
        answer = client.post(QUERY, body, headers={"accept": "text/csv"})
        assert answer.status == status
        assert answer.json["status"] == "error"


def test_properties_that_are_hidden_are_no_columns(client: Client, db: Database) -> None:
    make_source(client, sensitive_properties=["string:Team"])
    sync(client, [make_comment("a", **team("Claims"))])
    make_dataset(client)
    user = make_user(db, "somebody")
    grant_in(db, user, "acme", ("voc-readonly", "sources-read"))
    assert "string:Team" in table(client)[0]
    assert "string:Team" not in table(client.as_user("somebody"))[0]
