"""Comments over HTTP: create, overwrite, read, list, delete."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any
from urllib.parse import quote

import pytest

from lodestream.domain.times import parse_us
from lodestream.store import comments as comments_store
from lodestream.store.db import Database, Reader
from tests.build import (
    Json,
    delete_ids,
    fetch,
    ids_of,
    make_comment,
    make_dataset,
    make_pipeline,
    make_source,
    make_stream,
    private_source_path,
    source_path,
    sync,
    sync_ids,
)
from tests.client import Answer, Client
from tests.conftest import grant_in, make_user

SOURCE = source_path()
PRIVATE = private_source_path()


def get(client: Client, comment_id: str, query: str = "?include_markup=true") -> Json:
    path = f"{SOURCE}/comments/{quote(comment_id, safe='')}{query}"
    comment: Json = client.ok("GET", path)["comment"]
    return comment


def get_status(client: Client, comment_id: str) -> int:
    return client.get(f"{SOURCE}/comments/{quote(comment_id, safe='')}").status


def put(client: Client, *comments: Json) -> Answer:
    return client.put(f"{PRIVATE}/comments", {"comments": list(comments)})


def page(client: Client, query: str = "") -> Json:
    listed: Json = client.ok("GET", f"{PRIVATE}/comments?{query}")
    return listed


def listed_ids(client: Client, query: str = "") -> list[str]:
    return [comment["id"] for comment in page(client, query)["comments"]]


def counts(client: Client, *comments: Json) -> list[int]:
    """New, updated, unchanged; and of the updated: properties only, text changed."""
    reply = sync(client, comments)
    assert set(reply) == {
        "status",
        "new",
        "updated",
        "unchanged",
        "updated_properties_only",
        "updated_text_changed",
    }
    names = ("new", "updated", "unchanged", "updated_properties_only", "updated_text_changed")
    return [reply[name] for name in names]


# --- What is stored is what comes back (section 3) ------------------------------------------------

MARKUP: list[Json] = [
    {
        "kind": "paragraph",
        "paragraph_kind": "p",
        "children": [
            {"kind": "link", "href": None, "children": []},
            {"kind": "break", "break_kind": "br"},
            {
                "kind": "text",
                "span": {
                    "char_start": 0,
                    "char_end": 2,
                    "utf16_byte_start": 0,
                    "utf16_byte_end": 6,
                },
            },
            {"kind": "unheard-of", "text": '","timestamp":"', "deep": {"user_properties": {}}},
        ],
    }
]

MESSAGES: list[Json] = [
    {
        "body": {
            "text": 'A "quoted" text, \\ a back\\\\slash, \u2028 and 😀\n\ttabs',
            "text_markup": MARKUP,
            "translated_from": "Ein Text",
            "translated_from_markup": [],
        },
        "subject": {"text": "", "translated_from": "Betreff"},
        "signature": {"text": "Ann", "text_markup": []},
        "from": "Ann <ann@example.org>",
        "to": ["a@example.com", "b@example.com"],
        "cc": [],
        "bcc": ["c@example.com"],
        "sent_at": "2026-01-05T09:29:58+00:00",
        "language": "pt-BR",
    },
    {"body": {"text": ""}},
    {"body": {"text": ',"messages":[],"user_properties":{},"id":"x","sequence_id":"'}},
]


def test_messages_come_back_as_they_were_sent(client: Client) -> None:
    make_pipeline(client)
    sync(client, [make_comment("a", messages=MESSAGES)])
    stored = get(client, "a")
    # Absent fields stay absent, and the order of keys does not change either.
    assert json.dumps(stored["messages"]) == json.dumps(
        [{name: one[name] for name in stored["messages"][i]} for i, one in enumerate(MESSAGES)]
    )
    assert stored["messages"] == MESSAGES
    assert page(client, "include_markup=true")["comments"][0]["messages"] == MESSAGES
    assert fetch(client)["results"][0]["comment"]["messages"] == MESSAGES


def test_markup_is_left_out_unless_it_is_asked_for(client: Client) -> None:
    make_source(client)
    sync(client, [make_comment("a", messages=MESSAGES)])
    without = json.loads(json.dumps(MESSAGES))
    for part in ("body", "signature"):
        for name in ("text_markup", "translated_from_markup"):
            without[0][part].pop(name, None)
    for shown in (
        get(client, "a", ""),
        get(client, "a", "?include_markup=false"),
        page(client)["comments"][0],
    ):
        assert shown["messages"] == without
        assert {**get(client, "a"), "messages": 0} == {**shown, "messages": 0}
    assert client.get(f"{SOURCE}/comments/a?include_markup=perhaps").status == 400


def test_a_comment_has_every_field_of_the_contract(client: Client) -> None:
    source = make_source(client)
    full = {
        "id": "t-1042",
        "timestamp": "2026-01-05T10:30:00+01:00",
        "thread_id": "th-77",
        "messages": MESSAGES,
        "user_properties": {"string:Folder": "Inbox/Open", "number:Score": 4, "number:x": 0.5},
        "text_format": "markdown",
        "attachments": [
            {"name": "form.pdf", "size": 7302, "content_type": ".pdf", "inline": True},
            {"name": "", "size": 0, "content_type": ""},
        ],
    }
    sync(client, [full])
    stored = get(client, "t-1042")
    assert stored == {
        **full,
        "timestamp": "2026-01-05T09:30:00.000000Z",
        "uid": f"{source['id']}.t-1042",
        "source_id": source["id"],
        "created_at": stored["created_at"],
        "last_modified": stored["created_at"],
        "context": stored["context"],
        "has_annotations": False,
    }


def test_a_comment_of_the_required_fields_only_reads_back_with_defaults(client: Client) -> None:
    make_source(client)
    sync(client, [{"id": "a", "timestamp": "2020-01-03", "messages": []}])
    stored = get(client, "a")
    assert stored["timestamp"] == "2020-01-03T00:00:00.000000Z"
    assert (stored["user_properties"], stored["attachments"]) == ({}, [])
    assert not {"thread_id", "text_format"} & set(stored)


IDS = [
    "a",
    "with.dots.",
    ".",
    "a,b",
    ",",
    "!\"#$%&'()*+-:;<=>?@[\\]^_`{|}~",
    "%2F",
    "%41",
    "id:0123456789abcdef",
    "naïve",
    "日本語",
    "x" * 1024,
    "é" * 1024,
]


def test_every_allowed_id_can_be_stored_read_listed_and_deleted(client: Client) -> None:
    source = make_source(client)
    make_dataset(client)
    make_stream(client)
    sync_ids(client, *IDS)
    assert ids_of(fetch(client)) == IDS
    assert sorted(listed_ids(client)) == sorted(IDS)
    assert [get(client, one)["uid"] for one in IDS] == [f"{source['id']}.{one}" for one in IDS]
    for number, one in enumerate(IDS):
        delete_ids(client, quote(one, safe=""))
        assert ids_of(fetch(client)) == IDS[number + 1 :]
        assert get_status(client, one) == 404


def test_ids_are_case_sensitive_and_belong_to_their_source(client: Client) -> None:
    make_source(client)
    make_source(client, "acme/second")
    sync(client, [make_comment("a", "lower"), make_comment("A", "upper")])
    sync(client, [make_comment("a", "second")], "acme/second")
    assert get(client, "a")["messages"][0]["body"]["text"] == "lower"
    assert get(client, "A")["messages"][0]["body"]["text"] == "upper"
    delete_ids(client, "a", source="acme/second")
    assert get_status(client, "a") == 200


def test_an_encoded_slash_names_no_comment(client: Client) -> None:
    make_source(client)
    sync_ids(client, "a")
    assert client.get(f"{SOURCE}/comments/a%2Fb").status == 404
    assert client.get(f"{SOURCE}/comments/a%20b").status == 404
    assert client.get(f"{SOURCE}/comments/").status in (404, 405)


BAD: list[tuple[str, Json]] = [
    ("no id", {"id": None}),
    ("empty id", {"id": ""}),
    ("number as id", {"id": 1}),
    ("space in id", {"id": "a b"}),
    ("slash in id", {"id": "a/b"}),
    ("newline in id", {"id": "a\n"}),
    ("long id", {"id": "a" * 1025}),
    ("no timestamp", {"timestamp": None}),
    ("bad timestamp", {"timestamp": "yesterday"}),
    ("timestamp past the end of time", {"timestamp": "9999-12-31T23:59:59-10:00"}),
    ("timestamp before the beginning", {"timestamp": "0001-01-01T00:00:00Z"}),
    ("number as timestamp", {"timestamp": 1_700_000_000}),
    ("no messages", {"messages": None}),
    ("too many messages", {"messages": [{"body": {"text": ""}}] * 2049}),
    ("message without body", {"messages": [{}]}),
    ("unknown field of a message", {"messages": [{"body": {"text": ""}, "colour": 1}]}),
    ("body without text", {"messages": [{"body": {}}]}),
    ("unknown field of a body", {"messages": [{"body": {"text": "", "colour": 1}}]}),
    ("markup in a subject", {"messages": [{"body": {"text": ""}, "subject": {"text_markup": []}}]}),
    ("long text", {"messages": [{"body": {"text": "x" * 65_537}}]}),
    ("empty sender", {"messages": [{"body": {"text": ""}, "from": ""}]}),
    ("long sender", {"messages": [{"body": {"text": ""}, "from": "x" * 513}]}),
    ("empty recipient", {"messages": [{"body": {"text": ""}, "to": [""]}]}),
    ("too many recipients", {"messages": [{"body": {"text": ""}, "to": ["x"] * 2049}]}),
    ("bad sent_at", {"messages": [{"body": {"text": ""}, "sent_at": "yesterday"}]}),
    ("long language", {"messages": [{"body": {"text": ""}, "language": "x" * 9}]}),
    ("empty language", {"messages": [{"body": {"text": ""}, "language": ""}]}),
    ("null subject", {"messages": [{"body": {"text": ""}, "subject": None}]}),
    ("markup that is no tree", {"messages": [{"body": {"text": "", "text_markup": "x"}}]}),
    ("null markup", {"messages": [{"body": {"text": "", "text_markup": None}}]}),
    ("key without type", {"user_properties": {"Team": "x"}}),
    ("key of another type", {"user_properties": {"boolean:x": True}}),
    ("empty name", {"user_properties": {"string:": "x"}}),
    ("long name", {"user_properties": {"string:" + "x" * 257: "x"}}),
    ("number as string", {"user_properties": {"string:x": 1}}),
    ("string as number", {"user_properties": {"number:x": "1"}}),
    ("boolean as number", {"user_properties": {"number:x": True}}),
    ("null as value", {"user_properties": {"string:x": None}}),
    ("huge number", {"user_properties": {"number:x": 10**400}}),
    ("long value", {"user_properties": {"string:x": "x" * 32_769}}),
    ("too many properties", {"user_properties": {f"string:{n}": "x" for n in range(1025)}}),
    ("list as properties", {"user_properties": []}),
    ("bad format", {"text_format": "html"}),
    ("empty thread", {"thread_id": ""}),
    ("long thread", {"thread_id": "x" * 1025}),
    ("null thread", {"thread_id": None}),
    ("attachment without size", {"attachments": [{"name": "a", "content_type": "b"}]}),
    ("negative size", {"attachments": [{"name": "a", "content_type": "b", "size": -1}]}),
    ("broken size", {"attachments": [{"name": "a", "content_type": "b", "size": 1.5}]}),
    ("long name", {"attachments": [{"name": "a" * 257, "content_type": "b", "size": 1}]}),
    (
        "too many attachments",
        {"attachments": [{"name": "a", "content_type": "b", "size": 1}] * 129},
    ),
    ("unknown field", {"colour": "red"}),
    ("NUL in a text", {"messages": [{"body": {"text": "a\0b"}}]}),
    ("NUL in markup", {"messages": [{"body": {"text": "", "text_markup": ["\0"]}}]}),
    ("lone surrogate in a text", {"messages": [{"body": {"text": "\ud800"}}]}),
    ("lone surrogate in markup", {"messages": [{"body": {"text": "", "text_markup": ["\ud800"]}}]}),
    ("low surrogate in markup", {"messages": [{"body": {"text": "", "text_markup": ["\udfff"]}}]}),
    (
        "lone surrogate in a key",
        {"messages": [{"body": {"text": "", "text_markup": [{"\ud800": 1}]}}]},
    ),
    ("lone surrogate in a property", {"user_properties": {"string:x": "\udfff"}}),
]


def test_one_bad_comment_refuses_the_whole_batch(client: Client) -> None:
    make_source(client)
    for reason, fields in BAD:
        bad = {**make_comment("bad"), **fields}
        if fields.get("id", "") is None or fields.get("timestamp", "") is None:
            bad = {name: value for name, value in bad.items() if value is not None}
        body = {"comments": [make_comment("good"), bad]}
        for answer in (client.post(f"{SOURCE}/sync", body), put(client, *body["comments"])):
            assert (answer.status, answer.json["status"]) == (400, "error"), (reason, answer)
    assert listed_ids(client) == []


RAW_BAD = [
    b"",
    b"{",
    b"[]",
    b"null",
    b"{}",
    b'{"comments":null}',
    b'{"comments":{}}',
    b'{"comments":[],"more":1}',
    b'{"comments":[null]}',
    b'{"comments":[]}x',
    b'\xef\xbb\xbf{"comments":[]}',
    b'{"comments":["\xff"]}',
    # Bytes that are no UTF-8, where JSON is passed on as it is.
    b'{"comments":[{"id":"a","timestamp":"2020-01-01","messages":[{"body":'
    b'{"text":"x","text_markup":["\xff\xfe"]}}]}]}',
    b'{"comments":[{"id":"a","timestamp":"2020-01-01","messages":[],'
    b'"user_properties":{"number:x":NaN}}]}',
    b'{"comments":[{"id":"a","timestamp":"2020-01-01","messages":[],'
    b'"user_properties":{"number:x":1e999}}]}',
    b'{"comments":[{"id":"a","timestamp":"2020-01-01","messages":[],'
    b'"user_properties":{"number:x":1%s}}]}' % (b"0" * 5000),
]


def test_a_body_that_is_no_batch_is_refused(client: Client) -> None:
    make_source(client)
    for body in RAW_BAD:
        assert client.post(f"{SOURCE}/sync", body).status == 400, body
        assert client.put(f"{PRIVATE}/comments", body).status == 400, body
    assert listed_ids(client) == []


def test_the_message_of_a_refusal_names_the_comment(client: Client) -> None:
    make_source(client)
    batch = [make_comment("good"), make_comment("culprit", user_properties={"Team": "x"})]
    answer = client.post(f"{SOURCE}/sync", {"comments": batch})
    assert "'culprit'" in answer.json["message"]
    batch = [make_comment("good"), make_comment("culprit", colour="red")]
    answer = client.post(f"{SOURCE}/sync", {"comments": batch})
    assert "comments[1]" in answer.json["message"] or "[...]" in answer.json["message"]


def test_a_batch_larger_than_the_bound_is_refused(client: Client) -> None:
    make_source(client)
    batch = [{"id": str(n), "timestamp": "2020-01-01", "messages": []} for n in range(16_385)]
    assert client.post(f"{SOURCE}/sync", {"comments": batch}).status == 400
    assert counts(client, *batch[:16_384])[0] == 16_384
    assert counts(client)[0] == 0


def test_values_at_their_bounds_are_stored(client: Client) -> None:
    make_source(client)
    comment = make_comment(
        "a",
        "x" * 65_536,
        thread_id="t" * 1024,
        user_properties={
            "string:" + "n" * 256: "v" * 32_768,
            "number:x": 2**53,
            "number:y": -1e308,
        },
        attachments=[{"name": "n" * 256, "content_type": "c" * 256, "size": 2**40}],
    )
    comment["messages"][0] |= {"from": "f" * 512, "to": ["t" * 512] * 2048, "language": "abcdefgh"}
    sync(client, [comment])
    stored = get(client, "a")
    assert all(stored[name] == comment[name] for name in comment)


@pytest.mark.parametrize("depth", [512, 3_000, 100_000])
def test_deep_markup_is_stored_or_refused(client: Client, depth: int) -> None:
    make_source(client)
    tree = b"[" * depth + b"]" * depth
    body = (
        b'{"comments":[{"id":"deep","timestamp":"2020-01-01","messages":'
        b'[{"body":{"text":"x","text_markup":%s}}]}]}' % tree
    )
    answer = client.post(f"{SOURCE}/sync", body)
    assert answer.status == (200 if depth <= 512 else 400)
    if answer.status == 200:
        assert tree in client.get(f"{SOURCE}/comments/deep?include_markup=true").content
    else:
        assert listed_ids(client) == []


# --- Sync (sections 4.1 and 5) --------------------------------------------------------------------


def test_sync_counts_what_is_new_updated_and_unchanged(client: Client) -> None:
    make_source(client)
    assert counts(client, make_comment("a"), make_comment("b"), make_comment("c")) == [
        3,
        0,
        0,
        0,
        0,
    ]
    assert counts(
        client,
        make_comment("a"),
        make_comment("b", "Changed"),
        make_comment("c", user_properties={"string:x": "y"}),
        make_comment("d"),
    ) == [1, 2, 1, 1, 1]
    assert client.ok("POST", f"{SOURCE}/sync?no_charge=true", {"comments": []})["new"] == 0


def test_every_part_of_a_message_counts_as_text_and_nothing_else_does(client: Client) -> None:
    make_source(client)
    base = make_comment("a", messages=MESSAGES)
    changed_messages: list[list[Json]] = [
        [{**MESSAGES[0], "from": "other"}, *MESSAGES[1:]],
        [{**MESSAGES[0], "sent_at": "2026-01-05T09:29:59+00:00"}, *MESSAGES[1:]],
        [{**MESSAGES[0], "subject": {"text": "New"}}, *MESSAGES[1:]],
        MESSAGES[:1],
        [],
    ]
    for messages in changed_messages:
        sync(client, [base])
        assert counts(client, {**base, "messages": messages}) == [0, 1, 0, 0, 1]
    changed_rest: list[Json] = [
        {"timestamp": "2025-01-01T00:00:00Z"},
        {"user_properties": {"string:x": ',"messages":[]'}},
        {"thread_id": "t"},
        {"text_format": "plain"},
        {"attachments": [{"name": ',"user_properties":', "size": 1, "content_type": "x"}]},
    ]
    for fields in changed_rest:
        sync(client, [base])
        assert counts(client, {**base, **fields}) == [0, 1, 0, 1, 0]


def test_spellings_of_the_same_content_are_unchanged(client: Client) -> None:
    make_source(client)
    base = make_comment("a", timestamp="2026-01-05T09:30:00Z", user_properties={"string:x": "y"})
    sync(client, [base])
    stored = get(client, "a")
    plain = {"string:x": "y"}
    for spelling in (
        {"timestamp": "2026-01-05T10:30:00.000+01:00"},
        {"timestamp": "2026-01-05T09:30:00"},
        {"attachments": []},
        {"user_properties": {**plain, "string:blank": "", "string:spaces": " \t"}},
    ):
        assert counts(client, {**base, **spelling}) == [0, 0, 1, 0, 0], spelling
    assert get(client, "a") == stored
    sync(client, [{**base, "user_properties": {}}])
    for none in ({"user_properties": None}, {"user_properties": {"string:blank": ""}}, {}):
        again = {name: value for name, value in base.items() if name != "user_properties"} | none
        assert counts(client, again) == [0, 0, 1, 0, 0], none


def test_the_order_of_properties_does_not_matter(client: Client) -> None:
    make_source(client)
    sync(client, [make_comment("a", user_properties={"string:x": "1", "number:y": 2})])
    again = make_comment("a", user_properties={"number:y": 2, "string:x": "1"})
    assert counts(client, again) == [0, 0, 1, 0, 0]


def test_a_comment_is_replaced_as_a_whole(client: Client) -> None:
    make_source(client)
    full = make_comment(
        "a", thread_id="t", text_format="plain", user_properties={"string:x": "y", "number:z": 1}
    )
    sync(client, [full])
    before = get(client, "a")
    sync(client, [make_comment("a", "New")])
    after = get(client, "a")
    assert not {"thread_id", "text_format"} & set(after)
    assert after["user_properties"] == {}
    assert (after["uid"], after["created_at"]) == (before["uid"], before["created_at"])
    assert parse_us(after["last_modified"]) > parse_us(before["last_modified"])
    assert after["context"] != before["context"]


def test_the_last_of_several_with_one_id_counts_once(client: Client) -> None:
    make_source(client)
    batch = [make_comment("a", "first"), make_comment("b"), make_comment("a", "last")]
    assert counts(client, *batch) == [2, 0, 0, 0, 0]
    assert get(client, "a")["messages"][0]["body"]["text"] == "last"
    assert counts(client, *batch) == [0, 0, 2, 0, 0]


def test_a_downloaded_comment_can_be_sent_back(client: Client) -> None:
    make_source(client)
    sync(client, [make_comment("a", messages=MESSAGES, thread_id="t")])
    stored = get(client, "a")
    assert counts(client, stored) == [0, 0, 1, 0, 0]
    changed = {**stored, "created_at": "1999-01-01T00:00:00Z", "uid": "x.y", "has_annotations": 1}
    changed |= {"source_id": None, "last_modified": [], "context": None}
    assert counts(client, changed) == [0, 0, 1, 0, 0]
    assert get(client, "a") == stored
    assert counts(client, {**changed, "timestamp": "2001-01-01T00:00:00Z"}) == [0, 1, 0, 1, 0]
    assert get(client, "a")["created_at"] == stored["created_at"]


def test_unknown_sources_are_not_found(client: Client) -> None:
    for name in ("acme/nothing", "nobody/inbox"):
        body = {"comments": [make_comment()]}
        assert client.post(f"{source_path(name)}/sync", body).status == 404
        assert client.put(f"{private_source_path(name)}/comments", body).status == 404
        assert client.get(f"{private_source_path(name)}/comments").status == 404
        assert client.get(f"{source_path(name)}/comments/a").status == 404
        assert client.delete(f"{source_path(name)}/comments?id=a").status == 404


def test_a_full_name_may_be_one_encoded_segment(client: Client) -> None:
    make_source(client)
    body = {"comments": [make_comment("a")]}
    assert client.ok("POST", "/api/v1/sources/acme%2Finbox/sync?no_charge=false", body)["new"] == 1
    client.ok("PUT", "/x/y/reinfer_/api/_private/sources/acme%2Finbox/comments", body)
    assert client.ok("GET", "/api/_private/sources/acme%2Finbox/comments")["comments"]
    assert client.ok("GET", "/api/v1/sources/acme%2Finbox/comments/a")["comment"]["id"] == "a"
    client.ok("DELETE", "/api/v1/sources/acme%2Finbox/comments?id=a")
    assert listed_ids(client) == []


# --- Put (section 4.2) ----------------------------------------------------------------------------


def test_put_creates_and_answers_with_nothing_but_ok(client: Client) -> None:
    make_source(client)
    answer = put(client, make_comment("a"), make_comment("b"))
    assert (answer.status, answer.content) == (200, b'{"status":"ok"}')
    assert sorted(listed_ids(client)) == ["a", "b"]


def test_putting_the_same_again_changes_nothing(client: Client) -> None:
    make_source(client)
    put(client, make_comment("a"))
    stored = get(client, "a")
    assert put(client, make_comment("a")).status == 200
    assert get(client, "a") == stored


def test_putting_different_content_conflicts_and_stores_nothing(client: Client) -> None:
    make_source(client)
    sync(client, [make_comment("a")])
    stored = get(client, "a")
    answer = put(client, make_comment("new"), make_comment("a", "Different"), make_comment("z"))
    assert answer.status == 409
    assert "'a'" in answer.json["message"]
    assert get(client, "a") == stored
    assert listed_ids(client) == ["a"]


def test_the_latest_context_allows_to_overwrite_once(client: Client) -> None:
    make_source(client)
    put(client, make_comment("a"))
    first = get(client, "a")
    assert put(client, make_comment("a", "Second", context=first["context"])).status == 200
    second = get(client, "a")
    assert second["messages"][0]["body"]["text"] == "Second"
    assert second["created_at"] == first["created_at"]
    # That version is no more; and a made-up one never was.
    for stale in (first["context"], "made up", ""):
        assert put(client, make_comment("a", "Third", context=stale)).status == 409
    assert get(client, "a") == second
    assert put(client, make_comment("a", "Third", context=second["context"])).status == 200


# --- Get and list (sections 4.3, 4.4) -------------------------------------------------------------


def spread(client: Client, count: int) -> list[str]:
    """Upload comments whose order of timestamp is not that of upload, some at one instant."""
    batch = []
    for number in range(count):
        day = 1 + number * 7 % count // 2
        batch.append(make_comment(f"c{number}", timestamp=f"2020-01-{day:02}T00:00:00Z"))
    sync(client, batch)
    order = sorted(range(count), key=lambda number: (batch[number]["timestamp"], number))
    return [f"c{number}" for number in order]


def walk(client: Client, query: str, limit: int = 3, most: int = 100) -> list[str]:
    """Page through a listing as the command line does."""
    seen: list[str] = []
    first = f"{query}&limit={limit}"
    later = "&".join(part for part in first.split("&") if not part.startswith("from_timestamp"))
    reply = page(client, first)
    for _ in range(most):
        seen += [comment["id"] for comment in reply["comments"]]
        token = reply.get("continuation")
        if token is None:
            return seen
        reply = page(client, f"{later}&after={quote(token, safe='')}")
    raise AssertionError("the listing does not end")


def test_a_listing_is_in_order_of_timestamp_and_can_be_paged(client: Client) -> None:
    make_source(client)
    assert page(client) == {"status": "ok", "comments": []}
    wanted = spread(client, 20)
    assert listed_ids(client) == wanted
    assert "continuation" not in page(client)
    for limit in (1, 3, 7, 20, 256):
        assert walk(client, "direction=ascending", limit) == wanted
        assert walk(client, "direction=descending", limit) == wanted[::-1]


def test_both_bounds_of_a_listing_are_inclusive_on_every_page(client: Client) -> None:
    make_source(client)
    wanted = spread(client, 20)
    times = {comment["id"]: comment["timestamp"] for comment in page(client)["comments"]}
    low, high = "2020-01-03T00:00:00Z", "2020-01-07T00:00:00.000000Z"
    inside = [one for one in wanted if "2020-01-03" <= times[one][:10] <= "2020-01-07"]
    assert 2 < len(inside) < len(wanted)
    bounds = f"from_timestamp={low}&to_timestamp={high}"
    assert walk(client, bounds) == inside
    assert walk(client, f"{bounds}&direction=descending") == inside[::-1]
    assert listed_ids(client, f"from_timestamp={high}&to_timestamp={low}") == []


def test_deleting_while_paging_skips_nothing(client: Client) -> None:
    make_source(client)
    wanted = spread(client, 20)
    seen: list[str] = []
    reply = page(client, "limit=4")
    while True:
        ids = [comment["id"] for comment in reply["comments"]]
        seen += ids
        if ids:
            delete_ids(client, *ids)
        token = reply.get("continuation")
        if token is None:
            break
        reply = page(client, f"limit=4&after={quote(token, safe='')}")
    assert seen == wanted
    assert listed_ids(client) == []


def test_bad_parameters_of_a_listing_are_refused(client: Client) -> None:
    make_source(client)
    for query in (
        "limit=0",
        "limit=257",
        "limit=x",
        "after=",
        "after=x",
        "after=MTIz",
        "after=MSAyIDMgNA==",
        "after=OTk5OTk5OTk5OTk5OTk5OTk5OTk5OSAxIA==",
        "after=MSAxIHg=",
        "from_timestamp=x",
        "to_timestamp=2020-13-01",
        "direction=sideways",
        "include_markup=1",
        "include_thread_properties=x",
    ):
        assert client.get(f"{PRIVATE}/comments?{query}").status == 400, query


def test_listed_comments_say_whether_they_are_annotated(client: Client) -> None:
    make_source(client)
    sync_ids(client, "a")
    assert page(client)["comments"][0]["has_annotations"] is False


def test_thread_properties_stand_beside_the_comments(client: Client) -> None:
    make_source(client)

    def mail(name: str, minute: int, sender: str, **fields: Any) -> Json:
        messages = [{"body": {"text": "x"}, "from": sender, "to": ["HELP@example.com"]}]
        timestamp = f"2020-01-01T00:{minute:02}:00Z"
        return make_comment(name, timestamp=timestamp, messages=messages, **fields)

    sync(
        client,
        [
            mail("third", 5, "ann@example.com", thread_id="t"),
            mail("alone", 3, "bob@example.com"),
            mail("first", 0, "ann@example.com", thread_id="t"),
            mail("second", 2, "help@example.com", thread_id="t"),
        ],
    )
    reply = page(client, "include_thread_properties=true")
    assert [comment["id"] for comment in reply["comments"]] == [
        "first",
        "second",
        "alone",
        "third",
    ]
    thread = {
        "duration": 300.0,
        "num_messages": 3,
        "num_participants": 2,
        "first_sender": "ann@example.com",
    }
    assert reply["thread_properties"] == [
        {**thread, "response_time": None, "thread_position": 1},
        {**thread, "response_time": 120.0, "thread_position": 2},
        None,
        {**thread, "response_time": 180.0, "thread_position": 3},
    ]
    assert "thread_properties" not in page(client)


# --- Delete (section 4.5) -------------------------------------------------------------------------


def remove(client: Client, query: str) -> Answer:
    return client.delete(f"{SOURCE}/comments?{query}")


def test_deleting_is_idempotent(client: Client) -> None:
    make_source(client)
    sync_ids(client, "a", "b", "c")
    assert remove(client, "id=a&id=nobody").content == b'{"status":"ok"}'
    assert remove(client, "id=a&id=b").status == 200
    assert listed_ids(client) == ["c"]


def test_both_forms_of_ids_are_read(client: Client) -> None:
    make_source(client)
    sync_ids(client, *"abcdefg")
    remove(client, "id=a,b")  # as a generated client sends a list
    assert listed_ids(client) == list("cdefg")
    remove(client, "ids=c,d&ids=e&id=f")
    assert listed_ids(client) == ["g"]


def test_an_id_with_commas_is_meant_as_it_stands_if_there_is_one(client: Client) -> None:
    make_source(client)
    sync_ids(client, "a,b", "a", "b")
    remove(client, "id=a%2Cb")
    assert listed_ids(client) == ["a", "b"]
    sync_ids(client, "a,b")
    remove(client, "ids=a%2Cb")
    assert listed_ids(client) == ["a,b"]
    sync_ids(client, "a", "b")
    remove(client, "id=a%2Cb&id=b")
    assert listed_ids(client) == ["a"]


def test_between_one_and_128_ids_are_deleted_at_once(client: Client) -> None:
    make_source(client)
    ids = [f"c{number}" for number in range(129)]
    sync_ids(client, *ids)
    many = "&".join(f"id={one}" for one in ids)
    for query in ("", "id=", "ids=", "ids=,", many, "ids=" + ",".join(ids), "id=" + ",".join(ids)):
        assert remove(client, query).status == 400, query[:40]
    assert len(page(client, "limit=256")["comments"]) == 129
    assert remove(client, many.partition("&")[2]).status == 200
    assert listed_ids(client) == ["c0"]
    sync_ids(client, *ids)
    assert remove(client, "ids=" + ",".join(ids[:128])).status == 200
    assert listed_ids(client) == ["c128"]
    sync_ids(client, *ids)
    assert remove(client, "id=" + ",".join(ids[:128])).status == 200
    assert listed_ids(client) == ["c128"]


def test_a_deleted_comment_can_be_uploaded_again_as_a_new_one(client: Client) -> None:
    make_source(client)
    sync_ids(client, "a")
    before = get(client, "a")
    remove(client, "id=a")
    assert counts(client, make_comment("a")) == [1, 0, 0, 0, 0]
    after = get(client, "a")
    assert after["uid"] == before["uid"]
    assert parse_us(after["created_at"]) >= parse_us(before["created_at"])


# --- Sensitive properties (section 3.6) -----------------------------------------------------------


def test_sensitive_properties_are_only_for_those_who_may_see_them(
    client: Client, db: Database
) -> None:
    make_source(client, sensitive_properties=["string:Name", "Score"])
    properties = {"string:Name": "Ann", "number:Name": 1, "number:Score": 5, "string:Team": "A"}
    markup = [{"user_properties": {}, "kind": "text"}]
    messages = [{"body": {"text": "x", "text_markup": markup}}]
    sync(client, [make_comment("a", user_properties=properties, messages=messages)])
    user = make_user(db, "limited")
    grant_in(db, user, "acme", ("sources-read",))
    limited = client.as_user("limited")
    shown = {"number:Name": 1, "string:Team": "A"}
    for comment in (
        get(limited, "a"),
        get(limited, "a", ""),
        page(limited)["comments"][0],
        page(limited, "include_markup=true")["comments"][0],
    ):
        assert comment["user_properties"] == shown
    assert get(limited, "a")["messages"] == messages
    grant_in(db, user, "acme", ("sources-read-sensitive",))
    assert get(limited, "a")["user_properties"] == properties
    assert page(limited)["comments"][0]["user_properties"] == properties
    # Hidden does not mean lost: who sees less and writes less changes only what he writes.
    assert get(client, "a")["user_properties"] == properties


# --- Reads while others write ---------------------------------------------------------------------


def test_a_read_sees_one_state_also_while_comments_are_deleted(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_source(client)
    read_fronts = comments_store.read_fronts

    def read_late(tx: Reader, positions: Iterable[int]) -> dict[int, bytes]:
        with monkeypatch.context() as patch:
            patch.setattr(comments_store, "read_fronts", read_fronts)
            delete_ids(client, "a")
        return read_fronts(tx, positions)

    for path in (
        f"{PRIVATE}/comments",
        f"{PRIVATE}/comments?include_thread_properties=true",
        f"{SOURCE}/comments/a",
    ):
        sync_ids(client, "a", "b", thread_id="t")
        with monkeypatch.context() as patch:
            patch.setattr(comments_store, "read_fronts", read_late)
            answer = client.get(path)
        assert answer.status == 200, answer.content


def test_what_a_batch_would_do_is_foreseen_and_nothing_is_stored(client: Client) -> None:
    make_source(client)
    sync(client, [make_comment(one) for one in ("same", "words", "properties")])
    batch = [
        make_comment("same"),
        make_comment("words", "Other words"),
        make_comment("properties", user_properties={"number:NPS": 9}),
        make_comment("new"),
    ]
    path = SOURCE.replace("/api/v1/", "/api/lodestream/v1/") + "/foresee"
    foreseen = client.ok("POST", path, {"comments": batch})
    assert listed_ids(client) == ["same", "words", "properties"]
    assert get(client, "words")["messages"][0]["body"]["text"] == "Hello"
    assert foreseen == sync(client, batch)
    assert [foreseen[name] for name in ("new", "updated", "unchanged")] == [1, 2, 1]
    assert client.post(path, {"comments": [make_comment("a/b")]}).status == 400
