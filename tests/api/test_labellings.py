"""Annotations of comments over HTTP: read, replaced, created with their labels."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import quote

import pytest
import sqlalchemy as sa

from lodestream.store.db import Database
from lodestream.store.tables import quota
from tests.build import dataset_path, make_comment, make_source, source_path, sync
from tests.client import Answer, Client
from tests.conftest import grant_in, make_user

Json = dict[str, Any]
PRIVATE = "/api/_private/datasets/acme/support"
LABELLINGS = PRIVATE + "/labellings"
SYNC = dataset_path() + "/sync-annotations"
TYPES = [
    {"name": "order", "title": "Order", "inherits_from": [], "trainable": False},
    {"name": "amount", "title": "Amount", "inherits_from": [], "trainable": False},
]


def make(client: Client, *, comments: int = 3, **settings: Any) -> str:
    """Make a source with the comments c0, c1, … and a dataset of it; return the source's id."""
    source: str = make_source(client)["id"]
    sync(client, [make_comment(f"c{number}", f"Text {number}") for number in range(comments)])
    definition = {"source_ids": [source], "has_sentiment": False, **settings}
    client.ok("PUT", dataset_path(), {"dataset": definition})
    return source


@pytest.fixture
def source(client: Client) -> str:
    return make(client, entity_defs=TYPES)


def at(source: str, comment: str = "c0") -> str:
    return f"{LABELLINGS}/{quote(f'{source}.{comment}', safe='')}"


def put(client: Client, source: str, comment: str = "c0", **update: Any) -> Json:
    answer: Json = client.ok("POST", at(source, comment), update)
    return answer


def named(*names: str, **more: Any) -> list[Json]:
    return [{"name": name, "sentiment": "positive", **more} for name in names]


def assign(client: Client, source: str, comment: str, *names: str) -> Json:
    return put(client, source, comment, labelling=[{"assigned": named(*names)}])


def names(annotated: Json, word: str = "assigned") -> list[str]:
    return [label["name"] for label in annotated["labelling"][0][word]]


def read(client: Client, source: str, *comments: str) -> list[Json]:
    query = "&".join(f"id={quote(f'{source}.{one}', safe='')}" for one in comments)
    results: list[Json] = client.ok("GET", f"{LABELLINGS}?{query}")["results"]
    return results


def label_names(client: Client) -> list[str]:
    return [label["name"] for label in client.ok("GET", dataset_path())["dataset"]["label_defs"]]


def test_a_labelling_is_answered_and_read_back(client: Client, source: str) -> None:
    me = client.ok("GET", "/auth/user")["user"]["id"]
    given = {"group": "default", "assigned": named("Billing > Refund"), "dismissed": named("Spam")}
    answer = put(client, source, labelling=[given])
    group = answer["labelling"][0]
    assert answer["status"] == "ok"
    assert answer["comment"]["uid"] == f"{source}.c0"
    assert answer["comment"]["has_annotations"] is True
    assert group["group"] == "default"
    assert names(answer) == ["Billing > Refund"]
    assert names(answer, "dismissed") == ["Spam"]
    metadata = group["assigned"][0]["metadata"]
    assert metadata["user_id"] == me
    assert metadata["timestamp"].endswith("Z")
    assert answer["entities"] == {"assigned": [], "dismissed": [], "predicted": []}
    answer.pop("status")
    assert read(client, source, "c0") == [answer]
    comment = client.ok("GET", source_path() + "/comments/c0")["comment"]
    assert comment["has_annotations"] is True


def test_unknown_labels_are_created_with_those_above_them(client: Client, source: str) -> None:
    assign(client, source, "c0", "C > D > E", "A")
    assert set(label_names(client)) == {"A", "C", "C > D", "C > D > E"}
    assert names(read(client, source, "c0")[0]) == ["A", "C > D > E"]


def test_what_is_missing_stays_and_what_is_empty_is_cleared(client: Client, source: str) -> None:
    put(client, source, labelling=[{"assigned": named("A"), "dismissed": named("B")}])
    put(client, source, labelling=[{"assigned": named("C")}])
    after = put(client, source)
    assert (names(after), names(after, "dismissed")) == (["C"], ["B"])
    after = put(client, source, labelling=[{"assigned": [], "dismissed": []}])
    assert (names(after), names(after, "dismissed")) == ([], [])
    assert after["comment"]["has_annotations"] is False


def test_the_old_form_of_a_labelling_is_understood(client: Client, source: str) -> None:
    after = put(client, source, labelling={"assigned": named("A"), "dismissed": named("B")})
    assert (names(after), names(after, "dismissed")) == (["A"], ["B"])


def test_an_assigned_child_outweighs_a_dismissed_parent(client: Client, source: str) -> None:
    given = {"assigned": named("A > B"), "dismissed": named("A", "Z")}
    after = put(client, source, labelling=[given])
    assert (names(after), names(after, "dismissed")) == (["A > B"], ["Z"])


def test_a_label_that_changes_sides_leaves_the_other_one(client: Client, source: str) -> None:
    put(client, source, labelling=[{"assigned": named("A", "B")}])
    after = put(client, source, labelling=[{"dismissed": named("A")}])
    assert (names(after), names(after, "dismissed")) == (["B"], ["A"])
    after = put(client, source, labelling=[{"assigned": named("A")}])
    assert (names(after), names(after, "dismissed")) == (["A"], [])


def test_sentiment_is_kept_where_the_dataset_has_it(client: Client) -> None:
    source = make(client, has_sentiment=True)
    given = [{"name": "A", "sentiment": "negative"}, {"name": "B", "sentiment": "positive"}]
    after = put(client, source, labelling=[{"assigned": given}])
    shown = [(o["name"], o["sentiment"]) for o in after["labelling"][0]["assigned"]]
    assert shown == [("A", "negative"), ("B", "positive")]


def test_what_a_reviewer_did_to_find_a_comment_is_kept(client: Client, source: str) -> None:
    ui = {
        "assignment_method": "manual",
        "view": "train_single",
        "retrieval_method": "teach_label",
        "has_label_filter": True,
        "reviewed_filter_rule": "only_unreviewed",
    }
    after = put(client, source, labelling=[{"assigned": named("A", metadata={"ui": ui})}])
    assert after["labelling"][0]["assigned"][0]["metadata"]["ui"] == ui
    for bad in ({**ui, "view": "other"}, {"view": "explore"}, "none"):
        body = {"labelling": [{"assigned": named("B", metadata={"ui": bad})}]}
        assert client.post(at(source), body).status == 400


def test_only_the_privileged_may_name_another_author(
    client: Client, db: Database, source: str
) -> None:
    other = "0123456789abcdef"
    metadata = {"user_id": other, "timestamp": "2020-02-03T04:05:06Z"}
    update = {"labelling": [{"assigned": named("A", metadata=metadata)}]}
    user = make_user(db, "reviewer")
    grant_in(db, user, "acme", ("datasets-review", "sources-read"))
    shown = client.as_user("reviewer").ok("POST", at(source, "c0"), update)
    assert shown["labelling"][0]["assigned"][0]["metadata"]["user_id"] == user
    shown = client.ok("POST", at(source, "c1"), update)
    assert shown["labelling"][0]["assigned"][0]["metadata"] == {
        "user_id": other,
        "timestamp": "2020-02-03T04:05:06.000000Z",
    }


def test_saying_the_same_again_changes_nothing(client: Client, db: Database, source: str) -> None:
    update = {"labelling": [{"assigned": named("A"), "dismissed": named("B")}]}
    first = client.ok("POST", at(source), update)
    user = make_user(db, "second")
    grant_in(db, user, "acme", ("datasets-review", "sources-read"))
    assert client.as_user("second").ok("POST", at(source), update) == first


UI = {"mode": "explicit"}


def test_a_comment_may_be_uninformative(client: Client, source: str) -> None:
    after = put(client, source, labelling=[{"uninformative": UI}])
    assert after["labelling"][0]["uninformative"]["mode"] == "explicit"
    assert after["comment"]["has_annotations"] is True
    both = {"labelling": [{"uninformative": UI, "assigned": named("A")}]}
    assert client.post(at(source), both).status == 400
    after = assign(client, source, "c0", "A")
    assert "uninformative" not in after["labelling"][0]
    put(client, source, "c1", labelling=[{"uninformative": UI}])
    after = put(client, source, "c1", labelling=[{"uninformative": None}])
    assert after["comment"]["has_annotations"] is False


def refused(answer: Answer, status: int, said: str = "") -> None:
    assert answer.status == status, answer.content[:300]
    assert answer.json["status"] == "error"
    assert said in answer.json["message"]


TWICE = [{"name": "A", "sentiment": "positive"}, {"name": "A", "sentiment": "positive"}]
LONG = "x" * 65
BAD_UPDATES: list[tuple[Any, int]] = [
    ([], 400),
    ({"labelling": 1}, 400),
    ({"labelling": [{}, {}]}, 400),
    ({"labelling": [{"group": "other"}]}, 400),
    ({"labelling": [{"predicted": []}]}, 400),
    ({"labelling": [{"assigned": None}]}, 400),
    ({"labelling": [{"assigned": TWICE}]}, 400),
    ({"labelling": [{"dismissed": TWICE}]}, 400),
    ({"labelling": [{"assigned": TWICE[:1], "dismissed": TWICE[:1]}]}, 400),
    ({"labelling": [{"assigned": [{"name": "A", "sentiment": "negative"}]}]}, 400),
    ({"labelling": [{"assigned": [{"name": "A", "sentiment": "neutral"}]}]}, 400),
    ({"labelling": [{"assigned": [{"sentiment": "positive"}]}]}, 400),
    ({"labelling": [{"assigned": [{"name": "", "sentiment": "positive"}]}]}, 400),
    ({"labelling": [{"assigned": [{"name": "A ", "sentiment": "positive"}]}]}, 400),
    ({"labelling": [{"assigned": [{"name": "A\n", "sentiment": "positive"}]}]}, 400),
    ({"labelling": [{"assigned": [{"name": "A > ", "sentiment": "positive"}]}]}, 400),
    ({"labelling": [{"assigned": [{"name": "A >B", "sentiment": "positive"}]}]}, 400),
    ({"labelling": [{"assigned": [{"name": "😀", "sentiment": "positive"}]}]}, 400),
    ({"labelling": [{"assigned": [{"name": LONG, "sentiment": "positive"}]}]}, 400),
    ({"labelling": [{"assigned": [{"name": "A", "sentiment": "positive", "x": 1}]}]}, 400),
    ({"labelling": [{"assigned": named(*(f"L{i}" for i in range(10_000)))}]}, 400),
    ({"labelling": [{"assigned": named("A", metadata={"user_id": "me"})}]}, 400),
    ({"labelling": [{"assigned": named("A", metadata={"timestamp": "soon"})}]}, 400),
    ({"labelling": [{"uninformative": {"mode": "maybe"}}]}, 400),
    ({"unknown": 1}, 400),
    ({"entities": {"assigned": [{"name": "nothing", "formatted_value": "1"}]}}, 400),
    ({"entities": {"assigned": [{"formatted_value": "1"}]}}, 400),
    ({"entities": {"assigned": [{"name": "order"}]}}, 400),
    ({"entities": {"predicted": []}}, 400),
    ({"moon_forms": []}, 400),
    ({"moon_forms": [{"group": "default"}]}, 400),
]


@pytest.mark.parametrize(("update", "status"), BAD_UPDATES)
def test_a_bad_labelling_is_refused_and_changes_nothing(
    client: Client, source: str, update: Any, status: int
) -> None:
    refused(client.post(at(source), update), status)
    assert names(read(client, source, "c0")[0]) == []
    assert label_names(client) == []


def test_the_whole_alphabet_of_label_names_is_stored(client: Client, source: str) -> None:
    given = ["客户 > 退款", "عربي", "a~!@#$€%^&*()_+-=[]{};'\\:\"|,./<?", "x" * 64]
    after = assign(client, source, "c0", *given)
    assert sorted(names(after)) == sorted(given)
    assert sorted(names(read(client, source, "c0")[0])) == sorted(given)


def test_a_comment_that_is_not_in_the_dataset_is_not_found(client: Client, source: str) -> None:
    other = make_source(client, "acme/other")["id"]
    sync(client, [make_comment("c0")], "acme/other")
    update = {"labelling": [{"assigned": named("A")}]}
    for uid in (f"{source}.nothing", f"{other}.c0", f"{'0' * 16}.c0", "nonsense", "a b", ".c0"):
        path = f"{LABELLINGS}/{quote(uid, safe='')}"
        refused(client.post(path, update), 404, "No such comment")
    refused(client.post(at(source).replace("support", "nothing"), update), 404, "No such dataset")
    assert label_names(client) == []


def test_ids_with_any_allowed_sign_are_found(client: Client) -> None:
    source = make(client, comments=0)
    ids = ["a.b.c", "a,b", "<m%40x.de>", "q?x=1&y#z", "退款", "+%2B+"]
    sync(client, [make_comment(one) for one in ids])
    for one in ids:
        assert names(assign(client, source, one, "A")) == ["A"]
    assert [a["comment"]["id"] for a in read(client, source, *ids)] == ids
    joined = quote(",".join(f"{source}.{one}" for one in ids), safe="")
    found = client.ok("GET", f"{LABELLINGS}?ids={joined}")["results"]
    assert [a["comment"]["id"] for a in found] == ids


def test_labels_have_a_quota(client: Client, db: Database, source: str) -> None:
    with db.write() as tx:
        tx.execute(sa.insert(quota).values(kind="labels_per_dataset", hard_limit=2))
    assign(client, source, "c0", "A", "B")
    answer = client.post(at(source), {"labelling": [{"assigned": named("C")}]})
    refused(answer, 400, "labels_per_dataset")
    assert label_names(client) == ["A", "B"]
    assert names(read(client, source, "c0")[0]) == ["A", "B"]


def test_reviewed_comments_have_a_quota(client: Client, db: Database, source: str) -> None:
    with db.write() as tx:
        tx.execute(sa.insert(quota).values(kind="reviewed_comments_per_dataset", hard_limit=1))
    assign(client, source, "c0", "A")
    assign(client, source, "c0", "B")
    body = {"labelling": [{"assigned": named("A")}]}
    refused(client.post(at(source, "c1"), body), 400, "reviewed_comments_per_dataset")
    put(client, source, "c0", labelling=[{"assigned": []}])
    assign(client, source, "c1", "A")


def pages(client: Client, source: str, query: str = "") -> list[list[str]]:
    """Page through the reviewed comments of a source as the vendor's client does."""
    found: list[list[str]] = []
    after = ""
    while True:
        reply = client.ok("GET", f"{LABELLINGS}?source_id={source}{query}{after}")
        if not reply["results"]:
            return found
        found.append([one["comment"]["id"] for one in reply["results"]])
        assert reply["after"] is not None
        assert after != f"&after={reply['after']}"
        after = f"&after={reply['after']}"


def test_reviewed_comments_are_paged_to_an_empty_page(client: Client) -> None:
    source = make(client, comments=7)
    assert pages(client, source) == []
    for number in (5, 0, 3, 2, 6):
        assign(client, source, f"c{number}", "A")
    put(client, source, "c2", labelling=[{"assigned": []}])
    assert pages(client, source, "&limit=2") == [["c0", "c3"], ["c5", "c6"]]
    assert pages(client, source, "&limit=999&return_predictions=true") == [["c0", "c3", "c5", "c6"]]


def test_a_page_goes_on_behind_a_comment_that_is_gone(client: Client) -> None:
    source = make(client, comments=4)
    for number in range(4):
        assign(client, source, f"c{number}", "A")
    reply = client.ok("GET", f"{LABELLINGS}?source_id={source}&limit=2")
    client.ok("DELETE", f"{source_path()}/comments?id=c1")
    after = client.ok("GET", f"{LABELLINGS}?source_id={source}&after={reply['after']}")
    assert [one["comment"]["id"] for one in after["results"]] == ["c2", "c3"]


def test_missing_comments_are_skipped_on_request(client: Client, source: str) -> None:
    query = f"id={source}.c1&id={source}.gone&id={source}.c0"
    refused(client.get(f"{LABELLINGS}?{query}"), 404)
    found = client.ok("GET", f"{LABELLINGS}?{query}&allow_missing=true")
    assert [one["comment"]["id"] for one in found["results"]] == ["c1", "c0"]
    assert "after" not in found
    assert [one["name"] for one in found["entity_defs"]] == ["order", "amount"]


BAD_QUERIES = [
    ("", 400),
    ("source_id=xyz", 400),
    (f"source_id={'0' * 16}", 404),
    ("id=nonsense", 400),
    ("source_id={source}&limit=0", 400),
    ("source_id={source}&limit=1000", 400),
    ("source_id={source}&limit=x", 400),
    ("source_id={source}&after=x", 400),
    ("source_id={source}&after=99999999999999999999", 400),
    ("source_id={source}&return_predictions=2", 400),
    ("id={source}.c0&allow_missing=perhaps", 400),
    ("&".join(["id={source}.c0"] * 129), 400),
]


@pytest.mark.parametrize(("query", "status"), BAD_QUERIES)
def test_a_bad_query_is_refused(client: Client, source: str, query: str, status: int) -> None:
    refused(client.get(f"{LABELLINGS}?{query.format(source=source)}"), status)


def test_a_source_outside_the_dataset_is_told_from_none(client: Client, source: str) -> None:
    other = make_source(client, "acme/other")["id"]
    refused(client.get(f"{LABELLINGS}?source_id={other}"), 400, "not in the dataset")
    assert source


def test_sources_that_one_may_not_read_stay_hidden(client: Client, db: Database) -> None:
    source = make(client)
    foreign = make_source(client, "other/secret")["id"]
    sync(client, [make_comment("s1")], "other/secret")
    client.ok("POST", dataset_path(), {"dataset": {"source_ids": [source, foreign]}})
    path = f"{LABELLINGS}/{foreign}.s1"
    update = {"labelling": [{"assigned": named("A")}]}
    client.ok("POST", path, update)
    user = make_user(db, "local")
    grant_in(db, user, "acme")
    local = client.as_user("local")
    refused(local.post(path, update), 404)
    refused(local.get(f"{LABELLINGS}?id={foreign}.s1"), 404)
    refused(local.get(f"{LABELLINGS}?source_id={foreign}"), 404)
    synced = {"annotations": [{"comment_uid": f"{foreign}.s1", "labels": {"assigned": []}}]}
    refused(local.post(SYNC, synced), 404)


def test_annotations_hide_with_their_source_and_come_back_with_it(
    client: Client, source: str
) -> None:
    assign(client, source, "c0", "A")
    client.ok("POST", dataset_path(), {"dataset": {"source_ids": []}})
    refused(client.get(f"{LABELLINGS}?id={source}.c0"), 404)
    path = source_path() + "/comments/c0"
    assert client.ok("GET", path)["comment"]["has_annotations"] is False
    client.ok("POST", dataset_path(), {"dataset": {"source_ids": [source]}})
    assert names(read(client, source, "c0")[0]) == ["A"]
    assert client.ok("GET", path)["comment"]["has_annotations"] is True


def synced(client: Client, source: str, **labels: Any) -> Answer:
    annotations = [{"comment_uid": f"{source}.{c}", "labels": found} for c, found in labels.items()]
    return client.post(SYNC, {"annotations": annotations})


def test_synced_annotations_replace_assigned_labels(client: Client, source: str) -> None:
    put(client, source, "c0", labelling=[{"assigned": named("Old"), "dismissed": named("No")}])
    assign(client, source, "c2", "Stays")
    answer = synced(
        client,
        source,
        c0={"assigned": [{"name": "A > B"}, {"name": "No"}]},
        c1=[{"name": "Flat"}],
    )
    assert (answer.status, answer.json) == (200, {"status": "ok"})
    found = read(client, source, "c0", "c1", "c2")
    assert [names(one) for one in found] == [["A > B", "No"], ["Flat"], ["Stays"]]
    assert names(found[0], "dismissed") == []


def test_several_comments_may_get_the_same_labels(client: Client, source: str) -> None:
    one = {"comment_uid": [f"{source}.c0", f"{source}.c1"], "labels": [{"name": "A"}]}
    client.ok("POST", SYNC, {"annotations": [one, {"comment_uid": f"{source}.c2"}]})
    assert [names(a) for a in read(client, source, "c0", "c1", "c2")] == [["A"], ["A"], []]


def test_labels_are_found_by_their_external_ids(client: Client) -> None:
    source = make(client, label_defs=[{"name": "A", "external_id": "ext-a"}, {"name": "B"}])
    assert synced(client, source, c0=[{"external_id": "ext-a"}]).status == 200
    assert synced(client, source, c1=[{"external_id": "ext-a", "name": "A"}]).status == 200
    assert [names(one) for one in read(client, source, "c0", "c1")] == [["A"], ["A"]]
    refused(synced(client, source, c0=[{"external_id": "ext-b"}]), 422, "ext-b")
    refused(synced(client, source, c0=[{"external_id": "ext-a", "name": "B"}]), 422, "ext-a")
    refused(synced(client, source, c0=[{"external_id": "ext-a"}, {"name": "A"}]), 400, "twice")


BAD_SYNCS: list[tuple[Any, int]] = [
    ({}, 400),
    ({"annotations": [{}]}, 400),
    ({"annotations": [{"comment_uid": "nonsense"}]}, 400),
    ({"annotations": [{"comment_uid": "{source}.c0", "labels": [{}]}]}, 400),
    ({"annotations": [{"comment_uid": "{source}.c0", "labels": [{"name": "A "}]}]}, 400),
    ({"annotations": [{"comment_uid": "{source}.c0", "labels": [{"name": LONG}]}]}, 400),
    ({"annotations": [{"comment_uid": "{source}.c0", "labels": {"assigned": 1}}]}, 400),
    ({"annotations": [{"comment_uid": "{source}.c0", "labels": {"dismissed": []}}]}, 400),
    ({"annotations": [{"comment_uid": "{source}.c0", "labels": [{"name": "A"}] * 2}]}, 400),
    ({"annotations": [{"comment_uid": "{source}.c0", "labels": []}] * 2}, 400),
    ({"annotations": [{"comment_uid": "{source}.gone", "labels": []}]}, 404),
]


@pytest.mark.parametrize(("body", "status"), BAD_SYNCS)
def test_a_bad_sync_is_refused_whole(client: Client, source: str, body: Any, status: int) -> None:
    good = {"comment_uid": "{source}.c1", "labels": [{"name": "Good"}]}
    if "annotations" in body:
        body = {"annotations": [good, *body["annotations"]]}
    body = json.loads(json.dumps(body).replace("{source}", source))
    refused(client.post(SYNC, body), status)
    assert names(read(client, source, "c1")[0]) == []
    assert label_names(client) == []


def test_annotations_of_another_dataset_are_not_mixed_in(client: Client, source: str) -> None:
    client.ok("PUT", dataset_path("acme/second"), {"dataset": {"source_ids": [source]}})
    assign(client, source, "c0", "A")
    path = f"/api/_private/datasets/acme/second/labellings?id={source}.c0"
    assert names(client.ok("GET", path)["results"][0]) == []


def relabel(client: Client, old: str, new: str) -> int:
    path = f"{PRIVATE}/labels/default?label_name={quote(old, safe='')}"
    modified: int = client.ok("POST", path, {"label": {"name": new}})["num_modified"]
    return modified


def remove(client: Client, name: str) -> int:
    path = f"{PRIVATE}/labels/default?label_name={quote(name, safe='')}"
    modified: int = client.ok("DELETE", path)["num_modified"]
    return modified


def test_a_renamed_label_carries_its_annotations_along(client: Client, source: str) -> None:
    assign(client, source, "c0", "A", "Other")
    assign(client, source, "c1", "A > B")
    put(client, source, "c2", labelling=[{"dismissed": named("A > B > C")}])
    assert relabel(client, "A", "New > A") == 3
    found = read(client, source, "c0", "c1", "c2")
    assert names(found[0]) == ["New > A", "Other"]
    assert names(found[1]) == ["New > A > B"]
    assert names(found[2], "dismissed") == ["New > A > B > C"]
    assert relabel(client, "Other", "Other") == 0


def test_merged_labels_are_united_and_assigned_wins(client: Client, source: str) -> None:
    put(client, source, "c0", labelling=[{"assigned": named("A"), "dismissed": named("Z")}])
    put(client, source, "c1", labelling=[{"assigned": named("Z"), "dismissed": named("A")}])
    put(client, source, "c2", labelling=[{"assigned": named("A", "Z", "A > B")}])
    assert relabel(client, "A", "Z") == 3
    found = read(client, source, "c0", "c1", "c2")
    assert [names(one) for one in found] == [["Z"], ["Z"], ["Z", "Z > B"]]
    assert [names(one, "dismissed") for one in found] == [[], [], []]
    assert label_names(client) == ["Z", "Z > B"]


def test_a_child_merges_into_its_parent(client: Client, source: str) -> None:
    assign(client, source, "c0", "A > B")
    assert relabel(client, "A > B", "A") == 1
    assert names(read(client, source, "c0")[0]) == ["A"]


def test_labels_may_swap_their_names_by_way_of_a_third(client: Client, source: str) -> None:
    assign(client, source, "c0", "A")
    assign(client, source, "c1", "B")
    relabel(client, "A", "X")
    relabel(client, "B", "A")
    relabel(client, "X", "B")
    assert [names(one) for one in read(client, source, "c0", "c1")] == [["B"], ["A"]]


def test_a_label_may_move_below_itself(client: Client, source: str) -> None:
    assign(client, source, "c0", "A")
    assign(client, source, "c1", "A > B")
    assert relabel(client, "A", "A > B") == 2
    assert [names(o) for o in read(client, source, "c0", "c1")] == [["A > B"], ["A > B > B"]]
    assert label_names(client) == ["A", "A > B", "A > B > B"]


def test_a_deleted_label_takes_its_annotations_and_children_with_it(
    client: Client, source: str
) -> None:
    assign(client, source, "c0", "A > B", "Z")
    assign(client, source, "c1", "A")
    assign(client, source, "c2", "Z")
    assert remove(client, "A") == 2
    found = read(client, source, "c0", "c1", "c2")
    assert [names(one) for one in found] == [["Z"], [], ["Z"]]
    assert [o["comment"]["has_annotations"] for o in found] == [True, False, True]
    assert pages(client, source) == [["c0", "c2"]]


def test_a_label_of_another_group_is_no_label_of_comments(client: Client, source: str) -> None:
    client.ok("POST", PRIVATE + "/label-groups/extra", {})
    client.ok("PUT", PRIVATE + "/labels/extra", {"label_defs": [{"name": "A"}]})
    assign(client, source, "c0", "A")
    path = f"{PRIVATE}/labels/extra?label_name=A"
    assert client.ok("POST", path, {"label": {"name": "B"}})["num_modified"] == 0
    assert client.ok("DELETE", f"{PRIVATE}/labels/extra?label_name=B")["num_modified"] == 0
    assert names(read(client, source, "c0")[0]) == ["A"]


def copy(client: Client, **settings: Any) -> Json:
    origin = client.ok("GET", dataset_path())["dataset"]["id"]
    definition = {"copy_annotations_from": origin, "has_sentiment": False, **settings}
    made: Json = client.ok("PUT", dataset_path("acme/copy"), {"dataset": definition})
    return made


def read_copy(client: Client, source: str, comment: str) -> Json:
    path = f"/api/_private/datasets/acme/copy/labellings?id={source}.{comment}"
    found: Json = client.ok("GET", path)["results"][0]
    return found


def test_a_copy_has_the_annotations_of_its_original(client: Client, source: str) -> None:
    span = {"content_part": "body", "message_index": 0, "char_start": 0, "char_end": 4}
    field = {"name": "order", "formatted_value": "Text", "span": span}
    put(
        client,
        source,
        "c0",
        labelling=[{"assigned": named("A > B"), "dismissed": named("Z")}],
        entities={"assigned": [field]},
    )
    put(client, source, "c1", labelling=[{"uninformative": UI}])
    assign(client, source, "c2", "A")
    put(client, source, "c2", labelling=[{"assigned": []}])
    made = copy(client, source_ids=[source])
    assert made["num_copied"] == 2
    original, copied = read(client, source, "c0")[0], read_copy(client, source, "c0")
    assert copied["labelling"] == original["labelling"]
    (entity,) = copied["entities"]["assigned"]
    assert entity["id"] == made["dataset"]["entity_defs"][0]["id"]
    assert entity["spans"] == original["entities"]["assigned"][0]["spans"]
    assert read_copy(client, source, "c1")["labelling"][0]["uninformative"]["mode"] == "explicit"
    # From now on each goes its own way.
    remove(client, "A")
    assert names(read_copy(client, source, "c0")) == ["A > B"]


def test_a_copy_without_sources_shows_its_annotations_with_them(
    client: Client, source: str
) -> None:
    assign(client, source, "c0", "A")
    assert copy(client)["num_copied"] == 1
    client.ok("POST", dataset_path("acme/copy"), {"dataset": {"source_ids": [source]}})
    assert names(read_copy(client, source, "c0")) == ["A"]


def test_a_copy_of_an_empty_dataset_copies_nothing(client: Client, source: str) -> None:
    assert copy(client, source_ids=[source])["num_copied"] == 0


def test_a_new_dataset_of_an_old_name_knows_nothing_of_the_old_one(
    client: Client, source: str
) -> None:
    assign(client, source, "c0", "A")
    client.ok("DELETE", dataset_path())
    path = source_path() + "/comments/c0"
    assert client.ok("GET", path)["comment"]["has_annotations"] is False
    client.ok("PUT", dataset_path(), {"dataset": {"source_ids": [source]}})
    assert names(read(client, source, "c0")[0]) == []


def test_an_id_that_is_used_again_has_no_annotations(client: Client, source: str) -> None:
    assign(client, source, "c0", "A")
    client.ok("DELETE", f"{source_path()}/comments?id=c0")
    sync(client, [make_comment("c0", "Another")])
    assert names(read(client, source, "c0")[0]) == []
    assert pages(client, source) == []


def test_dataset_wide_figures_count_what_was_said(client: Client, source: str) -> None:
    tenant = client.ok("GET", "/api/_private/tenants")["tenants"][0]["tenant_id"]
    assign(client, source, "c0", "A")
    assign(client, source, "c1", "A")
    found = client.ok("GET", f"/api/_private/quotas/{tenant}")["quotas"]
    used = {one["quota_kind"]: one["current_max_usage"] for one in found}
    assert used["reviewed_comments_per_dataset"] == 2
