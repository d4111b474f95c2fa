"""Streams as the contract says: definition, delivery, advance, reset, exceptions, aliases."""

from __future__ import annotations

import base64
import re
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import sqlalchemy as sa

from lodestream.actions import ingest as ingest_actions
from lodestream.domain.places import sequence_id
from lodestream.domain.times import now_us, parse_us
from lodestream.store import tokens
from lodestream.store.db import Database
from lodestream.store.tables import stream_exception
from tests import build
from tests.build import (
    DATASET,
    advance,
    delete_ids,
    fetch,
    ids_of,
    make_comment,
    make_dataset,
    make_pipeline,
    make_source,
    make_stream,
    only_team,
    reset,
    results,
    set_sources,
    stream_path,
    sync,
    sync_ids,
    team,
    try_advance,
)
from tests.client import Client
from tests.conftest import grant_in, make_user

STREAMS = "/api/v1/datasets/acme/support/streams"
TRIGGERS = "/api/v1/datasets/acme/support/triggers"
BEGINNING = "2020-01-01T00:00:00"
MODEL = {"version": 8, "label_thresholds": [{"name": ["Urgent"], "threshold": 0.5}]}


def put_stream(client: Client, **definition: Any) -> Any:
    return client.put(STREAMS, {"stream": definition})


def post_stream(client: Client, **changes: Any) -> Any:
    return client.post(f"{STREAMS}/all", {"stream": changes})


# --- Create (section 4) -------------------------------------------------------------------------


def test_a_created_stream_has_every_field_and_reads_back(client: Client) -> None:
    stream = make_pipeline(client)
    assert re.fullmatch("[0-9a-f]{32}", stream["id"])
    assert re.fullmatch("[0-9a-f]{16}", stream["dataset_id"])
    assert stream == {
        "id": stream["id"],
        "dataset_id": stream["dataset_id"],
        "name": "all",
        "title": "",
        "description": "",
        "created_at": stream["created_at"],
        "updated_at": stream["created_at"],
        "comment_filter": {},
    }
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", stream["created_at"])
    assert client.ok("GET", f"{STREAMS}/all")["stream"] == stream
    assert client.ok("GET", STREAMS)["streams"] == [stream]


def test_streams_are_listed_by_name(client: Client) -> None:
    make_source(client)
    make_dataset(client)
    assert client.ok("GET", STREAMS)["streams"] == []
    for name in ("b", "a-1", "a_1", "B", "a1"):
        make_stream(client, f"acme/support/{name}")
    listed = [one["name"] for one in client.ok("GET", STREAMS)["streams"]]
    assert listed == sorted(listed)
    assert len(listed) == 5


BAD_DEFINITIONS: list[dict[str, Any]] = [
    {},
    {"name": ""},
    {"name": None},
    {"name": 1},
    {"name": "a b"},
    {"name": "a/b"},
    {"name": "a\n"},
    {"name": "ä"},
    {"name": "a" * 257},
    {"name": "new", "title": "t" * 129},
    {"name": "new", "title": None},
    {"name": "new", "description": "d" * 16_385},
    {"name": "new", "colour": "red"},
    {"name": "new", "comment_filter": []},
    {"name": "new", "comment_filter": {"nope": 1}},
    {"name": "new", "comment_filter": {"user_properties": {"NPS": {}}}},
    {"name": "new", "comment_filter": {"sources": ["not an id"]}},
    {"name": "new", "model": {}},
    {"name": "new", "model": {"version": -1}},
    {"name": "new", "model": {"version": 1.5}},
    {"name": "new", "model": {"version": 1, "label_thresholds": None}},
    {"name": "new", "model": {"version": 1, "label_thresholds": [{"threshold": 0.5}]}},
    {"name": "new", "model": {"version": 1, "label_thresholds": [{"name": []}]}},
    {"name": "new", "model": {"version": 1, "label_thresholds": [{"name": [""]}]}},
    {"name": "new", "model": {"version": 1, "label_thresholds": [{"name": ["a" * 65]}]}},
    {"name": "new", "model": {"version": 1, "label_thresholds": [{"name": ["a"] * 65}]}},
    {
        "name": "new",
        "model": {"version": 1, "label_thresholds": [{"name": ["a"], "threshold": 1.1}]},
    },
    {"name": "new", "model": {"version": 1, "label_thresholds": [{"name": ["a"]}] * 2}},
    {"name": "new", "model": {"version": 1, "label_thresholds": [{"name": ["a"]}] * 4097}},
]


def test_a_definition_that_breaks_the_schema_is_refused(client: Client) -> None:
    make_pipeline(client)
    for definition in BAD_DEFINITIONS:
        answer = put_stream(client, **definition)
        assert (answer.status, answer.json["status"]) == (400, "error"), definition
    assert len(client.ok("GET", STREAMS)["streams"]) == 1


def test_definitions_at_their_bounds_are_stored(client: Client) -> None:
    make_source(client)
    make_dataset(client)
    name = "A-z_0" * 51 + "9"
    stream = make_stream(
        client, f"acme/support/{name}", title="t" * 128, description="d" * 16_384, model=None
    )
    assert (len(stream["title"]), len(stream["description"])) == (128, 16_384)
    assert client.ok("GET", f"{STREAMS}/{name}")["stream"] == stream


def test_a_taken_name_conflicts_and_leaves_the_stream_as_it_was(client: Client) -> None:
    stream = make_pipeline(client)
    assert put_stream(client, name="all", title="Other").status == 409
    assert client.ok("GET", STREAMS)["streams"] == [stream]


def test_the_same_name_may_be_used_in_another_dataset(client: Client) -> None:
    first = make_pipeline(client)
    make_dataset(client, "acme/sales")
    assert make_stream(client, "acme/sales/all")["id"] != first["id"]


def test_a_model_version_that_is_not_pinned_is_unprocessable(client: Client) -> None:
    make_pipeline(client)
    assert put_stream(client, name="new", model=MODEL).status == 422
    assert post_stream(client, model=MODEL).status == 422
    assert len(client.ok("GET", STREAMS)["streams"]) == 1


def test_a_filter_by_a_source_outside_the_dataset_is_accepted_and_never_matches(
    client: Client,
) -> None:
    make_source(client)
    make_dataset(client)
    make_stream(client, comment_filter={"sources": ["18ba5ce699f8da1f"]})
    sync_ids(client, "a")
    batch = fetch(client)
    assert (batch["results"], batch["filtered"]) == ([], 1)


def test_an_error_in_a_filter_names_its_place(client: Client) -> None:
    make_pipeline(client)
    answer = put_stream(client, name="new", comment_filter={"user_properties": {"NPS": {}}})
    assert answer.json["message"] == (
        "comment_filter.user_properties['NPS']: key must start with 'string:' or 'number:'"
    )


DOCUMENTED_FILTERS: list[dict[str, Any]] = [
    {},
    {
        "user_properties": {
            "number:NPS": {"minimum": 0, "maximum": 6},
            "number:Region": {"one_of": [1, 2]},
            "string:Team": {"one_of": ["Claims"]},
        }
    },
    {
        "reviewed": "only_unreviewed",
        "timestamp": {"minimum": "2024-01-01T00:00:00Z", "maximum": "2024-01-31T23:59:59Z"},
    },
    {
        "sources": ["18ba5ce699f8da1f"],
        "messages": {"from": {"domain_not_one_of": ["acme.com"]}},
    },
    {"trigger_exceptions": {"5f1c2a7be0d94c3391ab04d27e6650c8": {"one_of": ["Wrong", None]}}},
    {"thread_properties": {"num_messages": {"minimum": 3, "maximum": None}}},
    {"annotations": {"labels": {"one_of": ["Claim > Status"]}}},
]


def test_listed_streams_can_be_created_again_in_another_dataset(client: Client) -> None:
    make_source(client)
    make_dataset(client)
    make_dataset(client, "acme/copy")
    told = ("name", "title", "description", "comment_filter")
    for number, comment_filter in enumerate(DOCUMENTED_FILTERS):
        definition = {"title": "A", "description": "B", "comment_filter": comment_filter}
        make_stream(client, f"acme/support/s{number}", **definition)
    listed = client.ok("GET", STREAMS)["streams"]
    assert [one["comment_filter"] for one in listed] == DOCUMENTED_FILTERS
    # The command line reads these fields of a saved stream, and sends them.
    for one in listed:
        body = {"stream": {name: one[name] for name in told}}
        client.ok("PUT", "/api/v1/datasets/acme/copy/streams", body)
    copies = client.ok("GET", "/api/v1/datasets/acme/copy/streams")["streams"]
    assert [[one[name] for name in told] for one in copies] == [
        [one[name] for name in told] for one in listed
    ]


def test_a_null_filter_is_the_empty_one(client: Client) -> None:
    stream = make_pipeline(client, comment_filter=None)
    assert stream["comment_filter"] == {}


# --- Update, get, delete (sections 5, 6, 8) ------------------------------------------------------


def test_an_update_changes_only_what_is_given(client: Client) -> None:
    stream = make_pipeline(client, title="Old", comment_filter=only_team("A"))
    changed = client.ok("POST", f"{STREAMS}/all", {"stream": {"title": "New"}})["stream"]
    assert changed == {**stream, "title": "New", "updated_at": changed["updated_at"]}
    assert parse_us(changed["updated_at"]) > parse_us(stream["updated_at"])
    assert client.ok("GET", f"{STREAMS}/all")["stream"] == changed


def test_an_empty_update_changes_nothing(client: Client) -> None:
    stream = make_pipeline(client)
    assert client.ok("POST", f"{STREAMS}/all", {"stream": {}})["stream"] == stream
    assert client.ok("POST", f"{STREAMS}/all", {"stream": {"model": None}})["stream"] == stream


def test_moving_the_position_is_no_update(client: Client) -> None:
    stream = make_pipeline(client)
    sync_ids(client, "a")
    advance(client, fetch(client)["sequence_id"])
    reset(client, BEGINNING)
    assert client.ok("GET", f"{STREAMS}/all")["stream"] == stream


def test_a_filter_is_replaced_as_a_whole(client: Client) -> None:
    make_pipeline(client, comment_filter={**only_team("A"), "reviewed": "only_unreviewed"})
    changed = client.ok("POST", f"{STREAMS}/all", {"stream": {"comment_filter": only_team("B")}})
    assert changed["stream"]["comment_filter"] == only_team("B")
    changed = client.ok("POST", f"{STREAMS}/all", {"stream": {"comment_filter": None}})
    assert changed["stream"]["comment_filter"] == {}


def test_a_renamed_stream_keeps_id_position_and_tags(client: Client) -> None:
    stream = make_pipeline(client)
    sync_ids(client, "a", "b", "c")
    batch = fetch(client)
    position = advance(client, batch["results"][0]["sequence_id"])
    uid = batch["results"][2]["comment"]["uid"]
    tag = {"exceptions": [{"uid": uid, "metadata": {"type": "Wrong"}}]}
    client.ok("PUT", f"{STREAMS}/all/exceptions", tag)
    renamed = client.ok("POST", f"{STREAMS}/all", {"stream": {"name": "renamed"}})["stream"]
    assert (renamed["id"], renamed["name"]) == (stream["id"], "renamed")
    assert client.get(f"{STREAMS}/all").status == 404
    assert client.post(f"{STREAMS}/all/fetch", {"size": 1}).status == 404
    assert try_advance(client, position).status == 404
    assert ids_of(fetch(client, "acme/support/renamed")) == ["b", "c"]
    tagged = {"trigger_exceptions": {stream["id"]: {"one_of": ["Wrong"]}}}
    make_stream(client, "acme/support/tagged", comment_filter=tagged)
    reset(client, BEGINNING, "acme/support/tagged")
    assert ids_of(fetch(client, "acme/support/tagged")) == ["c"]


def test_a_stream_cannot_be_renamed_to_a_taken_name(client: Client) -> None:
    make_pipeline(client)
    make_stream(client, "acme/support/other")
    before = client.ok("GET", STREAMS)
    assert post_stream(client, name="other", title="x").status == 409
    assert client.ok("GET", STREAMS) == before
    assert post_stream(client, name="all").status == 200


def test_a_bad_update_changes_nothing(client: Client) -> None:
    stream = make_pipeline(client)
    bad: list[dict[str, Any]] = [
        {"name": "a b"},
        {"name": None},
        {"title": "t" * 129},
        {"comment_filter": {"nope": 1}},
        {"position": 1},
        {"id": "0" * 32},
    ]
    for changes in bad:
        assert post_stream(client, **{"title": "New", **changes}).status == 400, changes
    assert client.ok("GET", f"{STREAMS}/all")["stream"] == stream


def test_put_on_an_existing_name_is_no_update(client: Client) -> None:
    make_pipeline(client)
    assert client.put(f"{STREAMS}/all", {"stream": {"title": "x"}}).status == 405


def test_a_deleted_stream_is_gone_and_a_later_one_of_its_name_is_new(client: Client) -> None:
    stream = make_pipeline(client)
    sync_ids(client, "a")
    uid = fetch(client)["results"][0]["comment"]["uid"]
    tag = {"exceptions": [{"uid": uid, "metadata": {"type": "Wrong"}}]}
    client.ok("PUT", f"{STREAMS}/all/exceptions", tag)
    assert client.delete(f"{STREAMS}/all").content == b'{"status":"ok"}'
    assert client.delete(f"{STREAMS}/all").status == 404
    assert client.ok("GET", STREAMS)["streams"] == []
    again = make_stream(client)
    assert again["id"] != stream["id"]
    # It starts at its own creation, not where the old one stood.
    assert fetch(client)["results"] == []
    sync_ids(client, "b")
    assert ids_of(fetch(client)) == ["b"]


ROUTES: list[tuple[str, str, Any]] = [
    ("POST", "", {"stream": {}}),
    ("GET", "", None),
    ("DELETE", "", None),
    ("GET", "/results", None),
    ("POST", "/fetch", {"size": 1}),
    ("POST", "/advance", {"sequence_id": "A" * 32}),
    ("POST", "/reset", {"to_comment_created_at": BEGINNING}),
    (
        "PUT",
        "/exceptions",
        {"exceptions": [{"uid": "18ba5ce699f8da1f.a", "metadata": {"type": "x"}}]},
    ),
    ("DELETE", "/exceptions?uid=18ba5ce699f8da1f.a", None),
]


def test_unknown_project_dataset_and_stream_are_not_found(client: Client) -> None:
    make_pipeline(client)
    for method, rest, body in ROUTES:
        for base in ("nobody/support", "acme/nothing", "other/support"):
            path = f"/api/v1/datasets/{base}/streams/all{rest}"
            assert client.call(method, path, body).status == 404, path
        assert client.call(method, f"{STREAMS}/nothing{rest}", body).status == 404, rest


def test_unknown_datasets_have_no_streams_to_list_or_create(client: Client) -> None:
    path = "/api/v1/datasets/acme/nothing/streams"
    assert client.get(path).status == 404
    assert client.put(path, {"stream": {"name": "all"}}).status == 404


NEEDED: list[tuple[str, str, Any, tuple[str, ...]]] = [
    ("PUT", STREAMS, {"stream": {"name": "new"}}, ("streams-admin", "voc-readonly")),
    ("POST", f"{STREAMS}/all", {"stream": {"title": "x"}}, ("streams-write", "voc-readonly")),
    ("GET", f"{STREAMS}/all", None, ("streams-read", "voc-readonly")),
    ("GET", STREAMS, None, ("streams-read", "voc-readonly")),
    (
        "GET",
        f"{STREAMS}/all/results",
        None,
        ("streams-consume", "voc-readonly", "sources-read"),
    ),
    (
        "POST",
        f"{STREAMS}/all/fetch",
        {"size": 1},
        ("streams-consume", "voc-readonly", "sources-read"),
    ),
    (
        "POST",
        f"{STREAMS}/all/advance",
        {"sequence_id": "A" * 32},
        ("streams-consume", "voc-readonly"),
    ),
    (
        "POST",
        f"{STREAMS}/all/reset",
        {"to_comment_created_at": BEGINNING},
        ("streams-consume", "voc-readonly"),
    ),
    (
        "DELETE",
        f"{STREAMS}/all/exceptions?uid=18ba5ce699f8da1f.a",
        None,
        ("streams-consume", "sources-read"),
    ),
    ("DELETE", f"{STREAMS}/all", None, ("streams-admin", "voc-readonly")),
]


@pytest.mark.parametrize("word", ["streams", "triggers"])
def test_every_route_takes_just_its_permissions(client: Client, db: Database, word: str) -> None:
    make_pipeline(client)
    user = make_user(db, "limited")
    limited = client.as_user("limited")
    for method, path, body, needed in NEEDED:
        if word == "triggers":
            if path.endswith("results"):
                continue
            path = path.replace("streams", "triggers")
            body = {"trigger": body["stream"]} if body and "stream" in body else body
        grant_in(db, user, "acme", ())
        assert limited.call(method, path, body).status == 404, path
        for missing in needed:
            grant_in(db, user, "acme", tuple(one for one in needed if one != missing))
            assert limited.call(method, path, body).status == 403, (method, path, missing)
        grant_in(db, user, "acme", needed)
        assert limited.call(method, path, body).status == 200, (method, path)


@pytest.mark.parametrize("rest", ["fetch", "advance"])
@pytest.mark.parametrize("change", ["rename", "delete", "permission", "token"])
def test_a_change_holds_for_the_very_next_request(
    client: Client, db: Database, rest: str, change: str
) -> None:
    """Nothing in between may have told the server to forget what it keeps of the stream."""
    make_pipeline(client)
    sync_ids(client, "a", "b")
    user = make_user(db, "consumer")
    needed = ("streams-consume", "voc-readonly", "sources-read")
    grant_in(db, user, "acme", needed)
    consumer = client.as_user("consumer")
    first, second = fetch(consumer)["results"]
    advance(consumer, first["sequence_id"])
    if change == "rename":
        post_stream(client, name="renamed")
    elif change == "delete":
        client.ok("DELETE", f"{STREAMS}/all")
    elif change == "permission":
        grant_in(db, user, "acme", needed[1:])
    else:
        with db.write() as tx:
            for token in tokens.list_tokens(tx, user):
                tokens.delete(tx, token.id)
    body = {"size": 1} if rest == "fetch" else {"sequence_id": second["sequence_id"]}
    answer = consumer.post(f"{STREAMS}/all/{rest}", body)
    assert answer.status == {"permission": 403, "token": 401}.get(change, 404)


# --- Aliases and path forms (section 1) ----------------------------------------------------------


def test_a_stream_and_a_trigger_are_one_object(client: Client) -> None:
    make_source(client)
    make_dataset(client)
    created = client.ok("PUT", TRIGGERS, {"trigger": {"name": "all"}})
    assert set(created) == {"status", "trigger"}
    assert client.ok("GET", f"{STREAMS}/all")["stream"] == created["trigger"]
    updated = client.ok("POST", f"{TRIGGERS}/all", {"trigger": {"title": "T"}})
    assert client.ok("GET", f"{STREAMS}/all")["stream"] == updated["trigger"]
    assert updated["trigger"]["title"] == "T"
    assert client.ok("GET", TRIGGERS) == {"status": "ok", "triggers": [updated["trigger"]]}
    assert client.ok("GET", f"{TRIGGERS}/all") == updated
    assert client.put(STREAMS, {"stream": {"name": "all"}}).status == 409
    assert client.delete(f"{TRIGGERS}/all").content == b'{"status":"ok"}'
    assert client.get(f"{STREAMS}/all").status == 404


def test_both_names_move_one_position(client: Client) -> None:
    make_pipeline(client)
    sync_ids(client, "a", "b", "c")
    batch = client.ok("POST", f"{TRIGGERS}/all/fetch", {"size": 2})
    assert batch == client.ok("POST", f"{STREAMS}/all/fetch", {"size": 2})
    body = {"sequence_id": batch["sequence_id"]}
    assert client.ok("POST", f"{TRIGGERS}/all/advance", body) == {"status": "ok", **body}
    assert ids_of(fetch(client)) == ["c"]
    moved = client.ok("POST", f"{TRIGGERS}/all/reset", {"to_comment_created_at": BEGINNING})
    assert set(moved) == {"status", "sequence_id", "trigger"}
    assert moved["trigger"] == client.ok("GET", f"{STREAMS}/all")["stream"]
    assert ids_of(fetch(client)) == ["a", "b", "c"]


def test_the_key_of_the_other_name_is_refused(client: Client) -> None:
    make_pipeline(client)
    assert client.put(STREAMS, {"trigger": {"name": "new"}}).status == 400
    assert client.put(TRIGGERS, {"stream": {"name": "new"}}).status == 400
    assert client.post(f"{STREAMS}/all", {"trigger": {}}).status == 400
    assert client.post(f"{TRIGGERS}/all", {"stream": {}}).status == 400
    both = {"stream": {"name": "new"}, "trigger": {"name": "new"}}
    assert client.put(STREAMS, both).status == 400
    assert len(client.ok("GET", STREAMS)["streams"]) == 1


def test_results_have_a_preview_route_and_no_trigger_route(client: Client) -> None:
    make_pipeline(client)
    sync_ids(client, "a")
    preview = "/api/preview/datasets/acme/support/streams/all/results"
    assert client.ok("GET", preview) == results(client)
    assert client.get(f"{TRIGGERS}/all/results").status == 404


def test_every_form_of_a_path_reaches_the_same_stream(client: Client) -> None:
    make_source(client)
    make_dataset(client)
    bases = [
        "/api/v1/datasets/acme%2Fsupport/streams",
        "/api/v1/datasets/acme%2fsupport/streams",
        "/a/b/reinfer_/api/v1/datasets/acme%2Fsupport/streams",
        "/a/b/reinfer_/api/v1/datasets/acme/support/streams",
        "//api/v1//datasets/acme/support/streams",
    ]
    for number, base in enumerate(bases):
        name = f"s{number}"
        stream = client.ok("PUT", base, {"stream": {"name": name}})["stream"]
        assert client.ok("GET", f"{STREAMS}/{name}")["stream"] == stream
        assert client.ok("GET", f"{base}/{name}/")["stream"] == stream
        sync_ids(client, f"a{number}", f"b{number}")
        batch = client.ok("POST", f"{base}/{name}/fetch", {"size": 1})
        assert ids_of(batch) == [f"a{number}"]
        client.ok("POST", f"{base}/{name}/advance", {"sequence_id": batch["sequence_id"]})
        rest = client.ok("GET", f"{base}/{name}/results?max_results=5")
        assert ids_of(rest) == [f"b{number}"]


# --- Fetch and results (sections 9, 10, 17) ------------------------------------------------------


def test_a_fetch_out_of_bounds_is_refused(client: Client) -> None:
    make_pipeline(client)
    bad: list[Any] = [
        {},
        {"size": 0},
        {"size": -1},
        {"size": 1025},
        {"size": 1.5},
        {"size": "8"},
        {"size": None},
        {"size": True},
        {"size": 8, "max_filtered": 0},
        {"size": 8, "max_filtered": 1025},
        {"size": 8, "max_filtered": "1"},
        {"size": 8, "extra": 1},
        [],
        b"null",
        b"",
        b"{",
    ]
    fetch(client)  # so that the plan is kept, and the quick way is taken too
    for body in bad:
        assert client.post(f"{STREAMS}/all/fetch", body).status == 400, body


def test_results_out_of_bounds_are_refused(client: Client) -> None:
    make_pipeline(client)
    bad = [
        "max_results=0",
        "max_results=1025",
        "max_results=-1",
        "max_results=1.5",
        "max_results=x",
        "max_results=",
        "max_filtered=0",
        "max_filtered=1025",
        "max_filtered=x",
        "max_results=%D9%A1",  # a digit, but not an ASCII one
    ]
    for query in bad:
        assert client.get(f"{STREAMS}/all/results?{query}").status == 400, query


def test_unknown_query_parameters_are_passed_over(client: Client) -> None:
    make_pipeline(client)
    sync_ids(client, "a")
    assert ids_of(results(client, query="max_results=5&colour=red")) == ["a"]


def test_a_batch_has_exactly_the_fields_of_the_contract(client: Client) -> None:
    make_pipeline(client)
    sync(client, [make_comment("a", "Where is my claim?")])
    batch = fetch(client)
    assert set(batch) == {"status", "results", "filtered", "sequence_id", "is_end_sequence"}
    (result,) = batch["results"]
    assert set(result) == {"comment", "sequence_id"}
    comment = result["comment"]
    stored = client.ok("GET", "/api/v1/sources/acme/inbox/comments/a")["comment"]
    assert {**comment, "has_annotations": False} == stored
    newer = results(client)
    assert set(newer) - {"model"} == {
        "status",
        "results",
        "num_filtered",
        "more_results",
        "continuation",
    }
    assert newer.get("model") is None
    assert newer["results"] == [
        {"comment": comment, "prediction": None, "continuation": result["sequence_id"]}
    ]


def test_fetch_and_results_agree_on_places(client: Client) -> None:
    make_pipeline(client, comment_filter=only_team("A"))
    for number in range(20):
        sync(client, [make_comment(f"c{number}", **team("AB"[number % 2]))])
    for size in (1, 3, 1024):
        batch = fetch(client, size=size, max_filtered=1024)
        newer = results(client, query=f"max_results={size}")
        assert ids_of(batch) == ids_of(newer)
        assert batch["sequence_id"] == newer["continuation"]
        assert batch["filtered"] == newer["num_filtered"]
        assert batch["is_end_sequence"] is not newer["more_results"]
        pairs = zip(batch["results"], newer["results"], strict=True)
        assert all(old["sequence_id"] == new["continuation"] for old, new in pairs)


def test_results_return_sixteen_unless_told_otherwise(client: Client) -> None:
    make_pipeline(client)
    sync_ids(client, *(f"c{number}" for number in range(20)))
    assert len(results(client, query="")["results"]) == 16


def test_fetching_again_returns_the_same_until_the_stream_is_advanced(client: Client) -> None:
    make_pipeline(client)
    sync_ids(client, "a", "b")
    first = fetch(client)
    assert fetch(client) == first
    sync_ids(client, "c")
    again = fetch(client)
    assert again["results"][:2] == first["results"]
    assert ids_of(again) == ["a", "b", "c"]


def test_an_empty_stream_answers_with_its_position(client: Client) -> None:
    make_pipeline(client)
    batch = fetch(client)
    assert (batch["results"], batch["filtered"], batch["is_end_sequence"]) == ([], 0, True)
    newer = results(client)
    assert (newer["results"], newer["num_filtered"], newer["more_results"]) == ([], 0, False)
    assert batch["sequence_id"] == newer["continuation"]
    assert advance(client, batch["sequence_id"]) == batch["sequence_id"]
    sync_ids(client, "a")
    assert ids_of(fetch(client)) == ["a"]


def test_a_dataset_without_sources_has_an_empty_stream(client: Client) -> None:
    make_dataset(client, sources=())
    make_stream(client)
    batch = fetch(client)
    assert (batch["results"], batch["filtered"], batch["is_end_sequence"]) == ([], 0, True)
    assert advance(client, batch["sequence_id"])


def test_only_comments_that_do_not_match_are_left(client: Client) -> None:
    make_pipeline(client, comment_filter=only_team("A"))
    sync_ids(client, "x", "y", **team("B"))
    batch = fetch(client)
    assert (batch["results"], batch["filtered"], batch["is_end_sequence"]) == ([], 2, True)
    advance(client, batch["sequence_id"])
    after = fetch(client)
    assert (after["results"], after["filtered"]) == ([], 0)


def test_the_bound_on_skipped_comments_ends_a_call_early(client: Client) -> None:
    make_pipeline(client, comment_filter=only_team("A"))
    sync_ids(client, *(f"x{number}" for number in range(5)), **team("B"))
    sync_ids(client, "a", **team("A"))
    batch = fetch(client, size=8, max_filtered=3)
    assert (batch["results"], batch["filtered"], batch["is_end_sequence"]) == ([], 3, False)
    newer = results(client, query="max_results=8&max_filtered=3")
    assert (newer["results"], newer["num_filtered"], newer["more_results"]) == ([], 3, True)
    advance(client, batch["sequence_id"])
    rest = fetch(client, size=8, max_filtered=3)
    assert (ids_of(rest), rest["filtered"], rest["is_end_sequence"]) == (["a"], 2, True)


def test_a_size_reached_exactly_at_the_end_is_the_end(client: Client) -> None:
    make_pipeline(client)
    sync_ids(client, "a", "b")
    assert fetch(client, size=2)["is_end_sequence"] is True
    assert results(client, query="max_results=2")["more_results"] is False
    assert fetch(client, size=1)["is_end_sequence"] is False


def test_the_id_of_a_batch_lies_behind_its_trailing_skipped_comments(client: Client) -> None:
    make_pipeline(client, comment_filter=only_team("A"))
    sync(client, [make_comment("a", **team("A")), make_comment("x", **team("B"))])
    batch = fetch(client)
    assert (ids_of(batch), batch["filtered"]) == (["a"], 1)
    assert batch["sequence_id"] != batch["results"][0]["sequence_id"]
    advance(client, batch["results"][0]["sequence_id"])
    rest = fetch(client)
    assert (rest["results"], rest["filtered"]) == ([], 1)
    advance(client, rest["sequence_id"])
    assert fetch(client)["filtered"] == 0


def test_the_id_of_a_batch_that_ends_with_a_result_is_that_of_the_result(client: Client) -> None:
    make_pipeline(client)
    sync_ids(client, "a", "b")
    for size in (1, 2):
        batch = fetch(client, size=size)
        assert batch["sequence_id"] == batch["results"][-1]["sequence_id"]


def test_ids_have_the_documented_form_and_rise(client: Client) -> None:
    make_pipeline(client)
    for number in range(3):
        sync_ids(client, f"a{number}", f"b{number}")
    found: list[tuple[int, bytes]] = []
    for result in fetch(client)["results"]:
        assert re.fullmatch(r"[A-Za-z0-9+/]{32}", result["sequence_id"])
        raw = base64.b64decode(result["sequence_id"], validate=True)
        millis = int.from_bytes(raw[:8], "little")
        assert millis == parse_us(result["comment"]["created_at"]) // 1000
        found.append((millis, raw[8:]))
    assert found == sorted(set(found))


def test_a_comment_deleted_before_delivery_is_neither_delivered_nor_counted(
    client: Client,
) -> None:
    make_pipeline(client, comment_filter=only_team("A"))
    sync(client, [make_comment("a", **team("A")), make_comment("x", **team("B"))])
    sync_ids(client, "b", **team("A"))
    delete_ids(client, "a", "x")
    batch = fetch(client)
    assert (ids_of(batch), batch["filtered"]) == (["b"], 0)


def test_the_id_of_a_deleted_comment_can_be_advanced_to(client: Client) -> None:
    make_pipeline(client)
    sync_ids(client, "a", "b", "c")
    second = fetch(client)["results"][1]["sequence_id"]
    delete_ids(client, "b")
    assert advance(client, second) == second
    assert ids_of(fetch(client)) == ["c"]


def test_a_comment_updated_after_it_was_passed_does_not_come_again(client: Client) -> None:
    make_pipeline(client)
    sync_ids(client, "a", "b")
    first = fetch(client)["results"][0]
    advance(client, first["sequence_id"])
    counts = sync(client, [make_comment("a", "Changed")])
    assert counts["updated"] == 1
    assert ids_of(fetch(client)) == ["b"]
    reset(client, BEGINNING)
    again = fetch(client)["results"][0]
    assert again["sequence_id"] == first["sequence_id"]
    assert again["comment"]["created_at"] == first["comment"]["created_at"]
    assert again["comment"]["messages"][0]["body"]["text"] == "Changed"


def test_a_comment_updated_before_it_is_passed_comes_once_with_its_new_content(
    client: Client,
) -> None:
    make_pipeline(client, comment_filter=only_team("A"))
    sync(client, [make_comment("a", "Old", **team("A")), make_comment("b", **team("B"))])
    sync_ids(client, "z", **team("A"))
    sync(client, [make_comment("a", "New", **team("A")), make_comment("b", **team("A"))])
    batch = fetch(client)
    assert ids_of(batch) == ["a", "b", "z"]
    assert batch["results"][0]["comment"]["messages"][0]["body"]["text"] == "New"
    sync(client, [make_comment("a", "New", **team("B"))])
    batch = fetch(client)
    assert (ids_of(batch), batch["filtered"]) == (["b", "z"], 1)


def test_a_comment_edited_after_it_was_passed_does_not_come_by_matching_now(
    client: Client,
) -> None:
    make_pipeline(client, comment_filter=only_team("A"))
    sync_ids(client, "x", **team("B"))
    advance(client, fetch(client)["sequence_id"])
    sync_ids(client, "x", **team("A"))
    assert (fetch(client)["results"], fetch(client)["filtered"]) == ([], 0)
    reset(client, BEGINNING)
    assert ids_of(fetch(client)) == ["x"]


def test_a_comment_deleted_and_uploaded_again_is_a_new_one(client: Client) -> None:
    make_pipeline(client)
    sync_ids(client, "a", "b")
    batch = fetch(client)
    advance(client, batch["sequence_id"])
    delete_ids(client, "a")
    sync_ids(client, "a")
    again = fetch(client)
    assert ids_of(again) == ["a"]
    old, new = batch["results"][0]["comment"], again["results"][0]["comment"]
    assert parse_us(new["created_at"]) >= parse_us(old["created_at"])
    assert again["results"][0]["sequence_id"] != batch["results"][0]["sequence_id"]


def test_only_the_time_of_the_upload_matters(client: Client) -> None:
    make_pipeline(client)
    sync_ids(client, "new", timestamp="2030-01-01T00:00:00Z")
    sync_ids(client, "old", timestamp="1999-01-01T00:00:00Z")
    assert ids_of(fetch(client)) == ["new", "old"]


def test_a_filter_by_timestamp_tests_the_message_time(client: Client) -> None:
    past = {"timestamp": {"minimum": "1999-01-01T00:00:00Z", "maximum": "1999-12-31T23:59:59Z"}}
    make_pipeline(client, comment_filter=past)
    sync_ids(client, "new", timestamp="2030-01-01T00:00:00Z")
    sync_ids(client, "old", timestamp="1999-12-31T23:59:59Z")
    batch = fetch(client)
    assert (ids_of(batch), batch["filtered"]) == (["old"], 1)


def test_a_changed_filter_holds_from_the_next_fetch_on_and_the_position_stays(
    client: Client,
) -> None:
    make_pipeline(client, comment_filter=only_team("A"))
    sync_ids(client, "passed", **team("B"))
    advance(client, fetch(client)["sequence_id"])
    sync(client, [make_comment("a", **team("A")), make_comment("b", **team("B"))])
    assert ids_of(fetch(client)) == ["a"]
    post_stream(client, comment_filter=only_team("B"))
    assert ids_of(fetch(client)) == ["b"]
    assert ids_of(results(client)) == ["b"]


def test_a_batch_can_be_advanced_to_after_its_filter_was_tightened(client: Client) -> None:
    make_pipeline(client)
    sync(client, [make_comment("a", **team("A")), make_comment("b", **team("B"))])
    batch = fetch(client)
    post_stream(client, comment_filter=only_team("A"))
    assert advance(client, batch["sequence_id"]) == batch["sequence_id"]
    assert (fetch(client)["results"], fetch(client)["filtered"]) == ([], 0)


def test_older_comments_of_an_added_source_are_not_delivered(client: Client) -> None:
    make_pipeline(client)
    make_source(client, "acme/second")
    sync_ids(client, "old", source="acme/second")
    sync_ids(client, "a")
    advance(client, fetch(client)["sequence_id"])
    set_sources(client, DATASET, ["acme/inbox", "acme/second"])
    assert fetch(client)["results"] == []
    sync_ids(client, "new", source="acme/second")
    sync_ids(client, "b")
    assert ids_of(fetch(client)) == ["new", "b"]
    reset(client, BEGINNING)
    assert ids_of(fetch(client)) == ["old", "a", "new", "b"]


def test_comments_of_a_removed_source_are_neither_delivered_nor_counted(client: Client) -> None:
    make_source(client)
    make_source(client, "acme/second")
    make_dataset(client, sources=["acme/inbox", "acme/second"])
    make_stream(client, comment_filter=only_team("A"))
    sync_ids(client, "a", **team("A"))
    sync_ids(client, "s", source="acme/second", **team("A"))
    sync_ids(client, "t", source="acme/second", **team("B"))
    assert (ids_of(fetch(client)), fetch(client)["filtered"]) == (["a", "s"], 1)
    set_sources(client, DATASET, ["acme/inbox"])
    assert (ids_of(fetch(client)), fetch(client)["filtered"]) == (["a"], 0)


def test_comments_of_a_deleted_source_are_not_delivered(client: Client) -> None:
    make_source(client)
    second = make_source(client, "acme/second")
    make_dataset(client, sources=["acme/inbox", "acme/second"])
    make_stream(client)
    sync_ids(client, "a")
    sync_ids(client, "s", source="acme/second")
    client.ok("DELETE", f"/api/v1/sources/id:{second['id']}")
    assert ids_of(fetch(client)) == ["a"]


def test_streams_of_one_dataset_move_apart(client: Client) -> None:
    make_pipeline(client)
    make_stream(client, "acme/support/other")
    sync_ids(client, "a", "b")
    advance(client, fetch(client)["sequence_id"])
    assert ids_of(fetch(client, "acme/support/other")) == ["a", "b"]
    assert fetch(client)["results"] == []


def test_one_source_in_two_datasets_feeds_both(client: Client) -> None:
    make_pipeline(client)
    make_dataset(client, "acme/sales")
    make_stream(client, "acme/sales/all")
    sync_ids(client, "a")
    assert ids_of(fetch(client)) == ids_of(fetch(client, "acme/sales/all")) == ["a"]


def test_comments_without_text_or_messages_are_delivered(client: Client) -> None:
    make_pipeline(client)
    sync(client, [make_comment("empty", ""), make_comment("none", messages=[])])
    assert ids_of(fetch(client)) == ["empty", "none"]


def test_a_new_stream_starts_at_its_creation(client: Client) -> None:
    make_source(client)
    make_dataset(client)
    sync_ids(client, "before")
    make_stream(client)
    assert fetch(client)["results"] == []
    sync_ids(client, "after")
    assert ids_of(fetch(client)) == ["after"]


def test_places_rise_when_the_clock_is_set_back(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_pipeline(client)
    sync_ids(client, "a", "b")
    hour_us = 3_600_000_000
    with monkeypatch.context() as patch:
        patch.setattr(ingest_actions, "now_us", lambda: now_us() - hour_us)
        sync_ids(client, "c", "d")
    sync_ids(client, "e")
    batch = fetch(client)
    assert ids_of(batch) == ["a", "b", "c", "d", "e"]
    created = [result["comment"]["created_at"] for result in batch["results"]]
    assert created == sorted(created)
    advance(client, batch["results"][1]["sequence_id"])
    assert ids_of(fetch(client)) == ["c", "d", "e"]


def test_two_consumers_see_the_same_batch(client: Client, db: Database) -> None:
    make_pipeline(client)
    second = make_user(db, "second")
    grant_in(db, second, "acme")
    sync_ids(client, "a", "b")
    assert fetch(client) == fetch(client.as_user("second"))


# --- Advance (section 12) ------------------------------------------------------------------------


def test_advancing_to_a_result_leaves_the_following_ones(client: Client) -> None:
    make_pipeline(client)
    sync_ids(client, "a", "b", "c")
    batch = fetch(client)
    second = batch["results"][1]["sequence_id"]
    assert client.ok("POST", f"{STREAMS}/all/advance", {"sequence_id": second}) == {
        "status": "ok",
        "sequence_id": second,
    }
    assert ids_of(fetch(client)) == ["c"]


def test_advancing_twice_to_one_place_is_the_same_as_once(client: Client) -> None:
    make_pipeline(client)
    sync_ids(client, "a", "b")
    first = fetch(client, size=1)["sequence_id"]
    assert advance(client, first) == advance(client, first) == first
    assert ids_of(fetch(client)) == ["b"]


def test_advance_to_an_earlier_place_keeps_the_position(client: Client) -> None:
    make_pipeline(client)
    sync_ids(client, "a", "b", "c")
    batch = fetch(client)
    later, earlier = batch["results"][1]["sequence_id"], batch["results"][0]["sequence_id"]
    advance(client, later)
    answered = advance(client, earlier)
    assert base64.b64decode(answered)[:16] == base64.b64decode(later)[:16]
    assert ids_of(fetch(client)) == ["c"]


def test_an_id_that_cannot_be_decoded_is_refused(client: Client) -> None:
    make_pipeline(client)
    sync_ids(client, "a")
    bad: list[object] = [
        None,
        "",
        "x",
        1,
        [],
        "A" * 31,
        "A" * 33,
        "A" * 28,
        "A" * 36,
        "!" * 32,
        "=" * 32,
        "A" * 31 + "=",
        "A" * 30 + "==",
        "ä" * 32,
        "\N{FULLWIDTH LATIN CAPITAL LETTER A}" * 32,
        "A" * 31 + "\n",
        " " + "A" * 31,
        "-_" * 16,
        "A" * 100_000,
    ]
    for value in bad:
        answer = try_advance(client, value)
        assert (answer.status, answer.json["status"]) == (400, "error"), value
    assert ids_of(fetch(client)) == ["a"]
    for value in bad:  # once more, now that the plan is kept
        assert try_advance(client, value).status == 400, value
    assert ids_of(fetch(client)) == ["a"]


def test_an_advance_without_an_id_or_with_more_is_refused(client: Client) -> None:
    make_pipeline(client)
    for body in ({}, [], {"sequence_id": "A" * 32, "more": 1}, b"", b"{"):
        assert client.post(f"{STREAMS}/all/advance", body).status == 400, body


def test_an_id_of_another_stream_or_dataset_is_a_place_like_any_other(client: Client) -> None:
    make_pipeline(client)
    make_stream(client, "acme/support/other")
    make_source(client, "acme/elsewhere")
    make_dataset(client, "acme/sales", sources=["acme/elsewhere"])
    make_stream(client, "acme/sales/all")
    sync_ids(client, "a")
    sync_ids(client, "x", source="acme/elsewhere")
    sync_ids(client, "b")
    sync_ids(client, "y", source="acme/elsewhere")
    sync_ids(client, "c")
    other = fetch(client, "acme/support/other", size=1)["sequence_id"]
    assert advance(client, other) == other
    assert ids_of(fetch(client)) == ["b", "c"]
    elsewhere = fetch(client, "acme/sales/all")["sequence_id"]
    assert advance(client, elsewhere) == elsewhere
    assert ids_of(fetch(client)) == ["c"]


def test_an_id_that_this_server_never_issued_is_a_place_in_time(client: Client) -> None:
    make_pipeline(client)
    sync_ids(client, "a")
    published = "qs8QcHIBAADJ1p3W2FtmBB3QiOJsCJlR"  # of 2020: before the position
    position = fetch(client)["results"][0]["sequence_id"]
    assert try_advance(client, published).status == 200
    assert ids_of(fetch(client)) == ["a"]
    reset(client, BEGINNING)
    assert advance(client, published) == published
    assert ids_of(fetch(client)) == ["a"]
    millis = int.from_bytes(base64.b64decode(position)[:8], "little") + 1
    while now_us() <= millis * 1000:
        pass
    foreign = base64.b64encode(millis.to_bytes(8, "little") + b"\xff" * 16).decode()
    assert advance(client, foreign) == foreign
    assert fetch(client)["results"] == []


def place_in(delta: timedelta) -> str:
    millis = int((datetime.now(UTC) + delta).timestamp() * 1000)
    return base64.b64encode(millis.to_bytes(8, "little") + bytes(16)).decode()


def test_a_place_in_the_future_is_refused(client: Client) -> None:
    make_pipeline(client)
    sync_ids(client, "a")
    largest = base64.b64encode(b"\xff" * 24).decode()
    ours = sequence_id((now_us() + 60_000_000) << 11, 7)
    for ahead in (place_in(timedelta(minutes=1)), place_in(timedelta(days=9999)), largest, ours):
        assert try_advance(client, ahead).status == 400
    assert ids_of(fetch(client)) == ["a"]
    sync_ids(client, "b")
    assert ids_of(fetch(client)) == ["a", "b"]


def test_comments_stored_after_an_advance_come_whatever_place_it_named(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The place is in time, not of a comment, and the clock of the writer lags behind."""
    make_pipeline(client)
    advance(client, place_in(timedelta(0)))
    lag_us = 5_000_000
    monkeypatch.setattr(ingest_actions, "now_us", lambda: now_us() - lag_us)
    sync_ids(client, "a", "b")
    assert ids_of(fetch(client)) == ["a", "b"]


def test_the_larger_of_two_advances_wins_in_either_order(client: Client) -> None:
    make_pipeline(client)
    sync_ids(client, "a", "b", "c", "d")
    places = [result["sequence_id"] for result in fetch(client)["results"]]
    for to in (places[2], places[0], places[1]):
        advance(client, to)
    assert ids_of(fetch(client)) == ["d"]


# --- Reset (section 13) --------------------------------------------------------------------------


def test_a_reset_delivers_again_in_the_same_order(client: Client) -> None:
    make_pipeline(client)
    for name in "abc":
        sync_ids(client, name + "1", name + "2")
    batch = fetch(client)
    advance(client, batch["sequence_id"])
    answer = client.ok("POST", f"{STREAMS}/all/reset", {"to_comment_created_at": BEGINNING})
    assert set(answer) == {"status", "sequence_id", "stream"}
    assert answer["stream"] == client.ok("GET", f"{STREAMS}/all")["stream"]
    assert fetch(client) == batch


def test_the_position_of_a_reset_has_an_all_zero_key(client: Client) -> None:
    make_pipeline(client)
    assert reset(client, "2024-01-01T00:00:00") == "APRRwowBAAAAAAAAAAAAAAAAAAAAAAAA"


def test_a_reset_includes_what_was_stored_at_its_very_instant(client: Client) -> None:
    make_pipeline(client)
    for name in "abc":
        sync_ids(client, name)
    created = [one["comment"]["created_at"] for one in fetch(client)["results"]]
    reset(client, created[1])
    assert ids_of(fetch(client)) == ["b", "c"]
    just_after = datetime.fromisoformat(created[1]) + timedelta(microseconds=1)
    reset(client, just_after.isoformat())
    assert ids_of(fetch(client)) == ["c"]


def test_a_reset_may_skip_forwards_and_reads_every_form_of_time(client: Client) -> None:
    make_pipeline(client)
    for name in "abc":
        sync_ids(client, name)
    third = datetime.fromisoformat(fetch(client)["results"][2]["comment"]["created_at"])
    zone_less = third.replace(tzinfo=None).isoformat()
    east = (third + timedelta(hours=2)).replace(tzinfo=None).isoformat() + "+02:00"
    for instant in (zone_less, zone_less + "Z", east):
        reset(client, BEGINNING)
        reset(client, instant)
        assert ids_of(fetch(client)) == ["c"], instant


def test_a_reset_compares_the_upload_and_not_the_message_time(client: Client) -> None:
    make_pipeline(client)
    sync_ids(client, "a", timestamp="2001-01-01T00:00:00Z")
    reset(client, "2019-01-01T00:00:00")
    assert ids_of(fetch(client)) == ["a"]


def test_a_reset_into_the_future_skips_all_that_is_stored_until_then(client: Client) -> None:
    make_pipeline(client)
    sync_ids(client, "a")
    position = reset(client, "2099-01-01T00:00:00Z")
    sync_ids(client, "b")
    batch = fetch(client)
    assert (batch["results"], batch["is_end_sequence"]) == ([], True)
    # Its own position is no news to it, even if it lies in the future.
    assert advance(client, position) == position
    reset(client, BEGINNING)
    assert ids_of(fetch(client)) == ["a", "b"]


@pytest.mark.parametrize("instant", ["9999-12-31T23:59:59Z", "1400-01-01T00:00:00Z"])
def test_a_reset_to_the_ends_of_time_is_a_reset(client: Client, instant: str) -> None:
    make_pipeline(client)
    sync_ids(client, "a")
    position = reset(client, instant)
    batch = fetch(client)
    assert ids_of(batch) == (["a"] if instant < "2000" else [])
    assert try_advance(client, position).status == 200
    reset(client, BEGINNING)
    assert ids_of(fetch(client)) == ["a"]


def test_a_reset_without_a_readable_instant_is_refused(client: Client) -> None:
    make_pipeline(client)
    sync_ids(client, "a")
    advance(client, fetch(client)["sequence_id"])
    bad: list[dict[str, Any]] = [
        {},
        {"to_comment_created_at": ""},
        {"to_comment_created_at": "yesterday"},
        {"to_comment_created_at": "2024-13-01T00:00:00Z"},
        {"to_comment_created_at": "9999-12-31T23:59:59-23:59"},
        {"to_comment_created_at": "0001-01-01T00:00:00+23:59"},
        {"to_comment_created_at": None},
        {"to_comment_created_at": 1_700_000_000},
        {"to_comment_created_at": "2024-01-01T00:00:00Z", "more": 1},
    ]
    for body in bad:
        assert client.post(f"{STREAMS}/all/reset", body).status == 400, body
    assert fetch(client)["results"] == []


def test_an_id_fetched_before_a_backward_reset_skips_the_replay(client: Client) -> None:
    make_pipeline(client)
    sync_ids(client, "a", "b")
    batch = fetch(client, size=1)
    reset(client, BEGINNING)
    advance(client, batch["sequence_id"])
    assert ids_of(fetch(client)) == ["b"]


# --- Exceptions (sections 14, 15) ----------------------------------------------------------------


def tagged(client: Client, stream_id: str) -> dict[str, list[str]]:
    """The tagged comments by type, as a filter on the tags sees them."""
    found: dict[str, list[str]] = {}
    for kind in ("No Prediction", "Wrong Prediction"):
        name = f"acme/support/probe-{kind[:2]}"
        by_type = {"trigger_exceptions": {stream_id: {"one_of": [kind]}}}
        if client.get(stream_path(name)).status == 404:
            make_stream(client, name, comment_filter=by_type)
            reset(client, BEGINNING, name)
        found[kind] = ids_of(fetch(client, name))
    return found


def tag_body(*tags: tuple[str, str]) -> dict[str, Any]:
    return {"exceptions": [{"uid": uid, "metadata": {"type": kind}} for uid, kind in tags]}


def uids_of(client: Client) -> dict[str, str]:
    return {one["comment"]["id"]: one["comment"]["uid"] for one in fetch(client)["results"]}


@pytest.mark.parametrize("word", ["streams", "triggers"])
def test_tags_are_set_replaced_and_removed(client: Client, word: str) -> None:
    stream = make_pipeline(client)
    sync_ids(client, "a", "b.c", "d")
    uids = uids_of(client)
    path = stream_path(word=word) + "/exceptions"
    body = tag_body(
        (uids["a"], "No Prediction"), (uids["b.c"], "No Prediction"), (uids["d"], "No Prediction")
    )
    assert client.put(path, body).content == b'{"status":"ok"}'
    client.ok("PUT", path, tag_body((uids["a"], "Wrong Prediction")))
    assert tagged(client, stream["id"]) == {
        "No Prediction": ["b.c", "d"],
        "Wrong Prediction": ["a"],
    }
    query = f"?uid={uids['a']}&uid={uids['b.c']}"
    assert client.delete(path + query).content == b'{"status":"ok"}'
    assert tagged(client, stream["id"]) == {"No Prediction": ["d"], "Wrong Prediction": []}
    # A comment without a tag, or one that does not exist, is passed over.
    unknown = uids["a"].partition(".")[0] + ".nobody"
    client.ok("DELETE", f"{path}?uid={uids['a']}&uid={unknown}&uid=0123456789abcdef.a")


def test_tagging_does_not_change_what_is_delivered(client: Client) -> None:
    make_pipeline(client)
    sync_ids(client, "a", "b")
    batch = fetch(client)
    uid = batch["results"][0]["comment"]["uid"]
    client.ok("PUT", f"{STREAMS}/all/exceptions", tag_body((uid, "Wrong Prediction")))
    assert fetch(client) == batch


def test_a_filter_on_the_own_tags_sees_them_at_once(client: Client) -> None:
    untagged = {"trigger_exceptions": {"all": {"one_of": [None]}}}
    make_pipeline(client, comment_filter=untagged)
    sync_ids(client, "a", "b")
    uid = fetch(client)["results"][0]["comment"]["uid"]
    client.ok("PUT", f"{STREAMS}/all/exceptions", tag_body((uid, "Wrong Prediction")))
    batch = fetch(client)
    assert (ids_of(batch), batch["filtered"]) == (["b"], 1)


def test_tags_survive_a_reset_and_go_with_their_comment(client: Client, db: Database) -> None:
    stream = make_pipeline(client)
    sync_ids(client, "a", "b")
    uids = uids_of(client)
    kind = "Wrong Prediction"
    client.ok("PUT", f"{STREAMS}/all/exceptions", tag_body((uids["a"], kind), (uids["b"], kind)))
    reset(client, BEGINNING)
    assert tagged(client, stream["id"])[kind] == ["a", "b"]
    delete_ids(client, "a")
    sync_ids(client, "a")
    assert tagged(client, stream["id"])[kind] == ["b"]
    with db.read() as tx:
        assert len(tx.execute(sa.select(stream_exception.c.pos)).all()) == 1


def test_tags_of_two_streams_do_not_mix(client: Client) -> None:
    stream = make_pipeline(client)
    other = make_stream(client, "acme/support/other")
    sync_ids(client, "a")
    uid = uids_of(client)["a"]
    client.ok("PUT", f"{STREAMS}/other/exceptions", tag_body((uid, "Wrong Prediction")))
    for one, expected in ((stream, []), (other, ["a"])):
        name = f"acme/support/of-{one['name']}"
        by_type = {"trigger_exceptions": {one["id"]: {"not_one_of": [None]}}}
        make_stream(client, name, comment_filter=by_type)
        reset(client, BEGINNING, name)
        assert ids_of(fetch(client, name)) == expected


def test_an_unknown_comment_leaves_the_whole_request_without_effect(client: Client) -> None:
    stream = make_pipeline(client)
    make_source(client, "acme/outside")
    sync_ids(client, "a")
    sync_ids(client, "x", source="acme/outside")
    uid = uids_of(client)["a"]
    source_id = uid.partition(".")[0]
    outside = client.ok("GET", "/api/v1/sources/acme/outside/comments/x")["comment"]["uid"]
    for missing in (f"{source_id}.nobody", "0123456789abcdef.a", outside):
        body = tag_body((uid, "Wrong Prediction"), (missing, "Wrong Prediction"))
        assert client.put(f"{STREAMS}/all/exceptions", body).status == 404
    assert tagged(client, stream["id"])["Wrong Prediction"] == []


def test_a_malformed_tag_is_refused(client: Client) -> None:
    make_pipeline(client)
    good = {"uid": "0123456789abcdef.a", "metadata": {"type": "a"}}
    bad: list[Any] = [
        {},
        {"exceptions": []},
        {"exceptions": None},
        {"exceptions": [{**good, "uid": "x"}]},
        {"exceptions": [{**good, "uid": "0123456789abcdef"}]},
        {"exceptions": [{**good, "uid": "0123456789ABCDEF.a"}]},
        {"exceptions": [{**good, "uid": "0123456789abcdef.a b"}]},
        {"exceptions": [{**good, "uid": "0123456789abcdef."}]},
        {"exceptions": [{"uid": good["uid"]}]},
        {"exceptions": [{**good, "metadata": {}}]},
        {"exceptions": [{**good, "metadata": {"type": 1}}]},
        {"exceptions": [{**good, "metadata": {"type": "a", "b": 1}}]},
        {"exceptions": [good], "b": 1},
        {"exceptions": [good] * 4097},
    ]
    for body in bad:
        assert client.put(f"{STREAMS}/all/exceptions", body).status == 400, body


def test_untagging_needs_uids(client: Client) -> None:
    stream = make_pipeline(client)
    sync_ids(client, "a")
    uid = uids_of(client)["a"]
    client.ok("PUT", f"{STREAMS}/all/exceptions", tag_body((uid, "Wrong Prediction")))
    for query in ("", "?uid=", "?uid=x", f"?uid={uid}&uid=b"):
        assert client.delete(f"{STREAMS}/all/exceptions{query}").status == 400, query
    assert tagged(client, stream["id"])["Wrong Prediction"] == ["a"]


# --- The consumers that must work (section 16) ---------------------------------------------------


def command_line_loop(
    client: Client, *, individual: bool, batch_size: int = 16, most_calls: int = 500
) -> tuple[list[str], int]:
    """What `re get stream-comments --listen` does until it would sleep; return ids and calls."""
    seen: list[str] = []
    for calls in range(1, most_calls):
        batch = fetch(client, size=batch_size)
        if not batch["results"]:
            if batch["filtered"] == 0:
                return seen, calls
            advance(client, batch["sequence_id"])
            continue
        last = None
        for result in batch["results"]:
            seen.append(result["comment"]["id"])
            if individual:
                last = result["sequence_id"]
                advance(client, last)
        if last != batch["sequence_id"]:
            advance(client, batch["sequence_id"])
    raise AssertionError("the loop does not come to rest")


@pytest.mark.parametrize("individual", [False, True])
def test_the_command_line_listener_sees_every_comment_once_and_rests(
    client: Client, individual: bool
) -> None:
    make_pipeline(client, comment_filter=only_team("A"))
    assert command_line_loop(client, individual=individual) == ([], 1)
    wanted = []
    for number in range(60):
        matching = number % 7 < 2
        sync_ids(client, f"c{number}", **team("A" if matching else "B"))
        wanted += [f"c{number}"] * matching
    assert command_line_loop(client, individual=individual, batch_size=4)[0] == wanted
    assert command_line_loop(client, individual=individual) == ([], 1)


def test_the_command_line_listener_gets_past_comments_that_do_not_match(client: Client) -> None:
    make_pipeline(client, comment_filter=only_team("A"))
    sync_ids(client, *(f"x{number}" for number in range(100)), **team("B"))
    seen, calls = command_line_loop(client, individual=False)
    assert seen == []
    assert calls <= 101
    assert fetch(client)["filtered"] == 0


def test_the_documented_loop_over_results_sees_every_comment_once(client: Client) -> None:
    make_pipeline(client, comment_filter=only_team("A"))
    for number in range(30):
        sync_ids(client, f"c{number}", **team("AB"[number % 2]))
    seen: list[str] = []
    for _ in range(100):
        batch = results(client, query="max_results=5&max_filtered=15")
        seen += ids_of(batch)
        advance(client, batch["continuation"])
        if not batch["more_results"]:
            break
    assert seen == [f"c{number}" for number in range(0, 30, 2)]


def test_the_connector_finds_its_trigger_and_polls_it(client: Client) -> None:
    make_pipeline(client, title="Everything")
    sync_ids(client, "a", "b", "c")
    (listed,) = client.ok("GET", TRIGGERS)["triggers"]
    path = f"{TRIGGERS}/{listed['name']}"
    seen: list[str] = []
    while True:
        batch = client.ok("POST", f"{path}/fetch", {"size": 2, "max_filtered": 4})
        if not batch["results"]:
            break
        seen += ids_of(batch)
        client.ok("POST", f"{path}/advance", {"sequence_id": batch["sequence_id"]})
    assert seen == ["a", "b", "c"]


def test_a_consumer_that_dies_before_it_advances_sees_the_batch_again(client: Client) -> None:
    make_pipeline(client)
    sync_ids(client, "a", "b")
    lost = fetch(client)
    assert command_line_loop(client, individual=False)[0] == ids_of(lost) == ["a", "b"]


def test_a_thousand_comments_of_one_request_come_once_each_in_pages_of_seven(
    client: Client,
) -> None:
    make_pipeline(client)
    wanted = [f"c{number}" for number in range(1000)]
    sync_ids(client, *wanted)
    seen: list[str] = []
    while True:
        batch = fetch(client, size=7)
        seen += ids_of(batch)
        advance(client, batch["sequence_id"])
        if batch["is_end_sequence"]:
            break
    assert seen == wanted


# --- Sensitive properties -------------------------------------------------------------------------


@pytest.mark.parametrize("names", [["string:Customer"], ["Customer"]])
def test_sensitive_properties_are_left_out_of_batches_for_those_who_may_not_see_them(
    client: Client, db: Database, names: list[str]
) -> None:
    make_source(client, sensitive_properties=names)
    make_source(client, "acme/open")
    make_dataset(client, sources=[build.SOURCE, "acme/open"])
    make_stream(client)
    properties = {"string:Customer": "Ann", "string:Team": "A"}
    # Markup may hold anything, also what looks like the end of the properties.
    markup = [{"kind": "text", "user_properties": {}}]
    messages = [{"body": {"text": "x", "text_markup": markup}}]
    sync_ids(client, "a", user_properties=properties, messages=messages)
    sync_ids(client, "b", source="acme/open", user_properties=properties)
    user = make_user(db, "limited")
    needed = ("streams-consume", "voc-readonly", "sources-read")
    grant_in(db, user, "acme", needed)
    limited = client.as_user("limited")
    for batch in (fetch(limited), fetch(limited), results(limited)):
        shown = [one["comment"]["user_properties"] for one in batch["results"]]
        assert shown == [{"string:Team": "A"}, properties]
        assert batch["results"][0]["comment"]["messages"] == messages
    assert fetch(limited)["sequence_id"] == fetch(client)["sequence_id"]
    grant_in(db, user, "acme", (*needed, "sources-read-sensitive"))
    for batch in (fetch(limited), results(limited), fetch(client)):
        shown = [one["comment"]["user_properties"] for one in batch["results"]]
        assert shown == [properties, properties]
