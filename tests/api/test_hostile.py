"""Hostile input: every answer is a refusal in the envelope, and nothing is stored."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import json
import shutil
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest
import sqlalchemy as sa
import zstandard

from lodestream.api.routes import ROUTES
from lodestream.api.routing import Route
from lodestream.server import make_app
from lodestream.settings import Settings
from lodestream.store.db import Database
from lodestream.store.dialect import sqlite_url
from lodestream.store.tables import audit_event, comment
from tests.build import (
    fetch,
    make_comment,
    make_pipeline,
    make_source,
    results,
    source_path,
    stream_path,
    sync,
)
from tests.client import Answer, Client, Loop
from tests.conftest import ROOT_TOKEN, make_project, make_user, stop_app
from tests.samples import minimal

SYNC = source_path() + "/sync"
WITH_BODY = [pytest.param(r, id=r.operation) for r in ROUTES if r.body is not None]
WITH_PATH = [pytest.param(r, id=r.operation) for r in ROUTES if r.parameters]
KNOWN = {"owner": "acme", "name": "acme", "source_name": "inbox", "dataset_name": "support"}
MIB = 1 << 20


def send(
    client: Client,
    method: str,
    path: str,
    *,
    query: bytes = b"",
    headers: Sequence[tuple[bytes, bytes]] = (),
    pieces: Sequence[bytes] = (b"",),
    token: str = ROOT_TOKEN,
) -> Answer:
    """Send a request as the server's parser would hand it over: a decoded path, body in pieces.

    No Content-Length is sent unless `headers` has one.
    """
    scope = {
        "type": "http",
        "method": method,
        "path": path,
        "raw_path": b"",
        "query_string": query,
        "headers": [(b"authorization", b"Bearer " + token.encode()), *headers],
        "client": ("127.0.0.1", 1),
    }
    waiting = list(pieces)
    sent: list[Any] = []

    async def receive() -> Any:
        if not waiting:
            return {"type": "http.disconnect"}
        return {"type": "http.request", "body": waiting.pop(0), "more_body": bool(waiting)}

    async def note(message: Any) -> None:
        sent.append(message)

    async def run() -> None:
        await asyncio.wait_for(client.app(scope, receive, note), 30)

    client.loop.run(run())
    head = {n.decode(): v.decode("latin-1") for n, v in sent[0]["headers"]}
    return Answer(sent[0]["status"], head, b"".join(m.get("body", b"") for m in sent[1:]))


def refused(answer: Answer, *statuses: int) -> None:
    """Insist on a refusal, in the envelope."""
    assert answer.status in (statuses or (400,)), (answer.status, answer.content[:300])
    assert answer.headers["content-type"] == "application/json"
    told = json.loads(answer.content.decode("utf-8"))
    assert told["status"] == "error"
    assert told["message"]
    assert len(answer.content) < 4000


def stored(client: Client) -> tuple[int, int]:
    """Count comments, and changes of anything."""
    with client.app.service.db.read() as tx:
        comments = tx.execute(sa.select(sa.func.count()).select_from(comment)).scalar_one()
        events = tx.execute(sa.select(sa.func.count()).select_from(audit_event)).scalar_one()
    return comments, events


def batch(*comments: Any) -> bytes:
    return json.dumps({"comments": comments}).encode()


def put_in(place: bytes) -> bytes:
    """Return a batch of two, the second of which has raw bytes in its text."""
    good = json.dumps(make_comment("good")).encode()
    bad = json.dumps(make_comment("bad", "PLACE")).encode().replace(b'"PLACE"', place)
    return b'{"comments":[%s,%s]}' % (good, bad)


NOT_JSON = {
    "nothing": b"",
    "white space": b"   ",
    "cut short": b'{"comments":[{"id":"a",',
    "a word": b"nul",
    "a list": b"[]",
    "a text": b'"x"',
    "a number": b"12",
    "null": b"null",
    "two values": b'{"comments":[]}{"comments":[]}',
    "single quotes": b"{'comments':[]}",
    "trailing comma": b'{"comments":[],}',
    "byte order mark": b'\xef\xbb\xbf{"comments":[]}',
    "UTF-16": '{"comments":[]}'.encode("utf-16"),
    "no UTF-8": b'{"\xff\xfe":[]}',
    "NaN": b'{"comments":NaN}',
    "infinite": b'{"comments":-Infinity}',
    "too large a number": b'{"comments":1e999}',
    "unknown key": b'{"nobody knows this":1}',
    "key with NUL": b'{"a\\u0000b":1}',
    "raw NUL": b'{"a\x00b":1}',
    "lone surrogate": b'{"\\ud800":"\\udfff"}',
    "raw surrogate": b'{"\xed\xa0\x80":1}',
    "3,000 levels": b'{"comments":' + b"[" * 3000 + b"]" * 3000 + b"}",
    "100,000 levels": b'{"a":' * 100_000 + b"1" + b"}" * 100_000,
    "100,000 open brackets": b"[" * 100_000,
    "a form": b"comments=1",
}


@contextlib.contextmanager
def serving(template: Path, folder: Path, loop: Loop, **settings: Any) -> Iterator[Client]:
    """Serve a database of one's own, with the projects `acme` and `other`."""
    shutil.copy(template, folder / "lodestream.sqlite3")
    db = Database(sqlite_url(folder / "lodestream.sqlite3"))
    make_user(db, ROOT_TOKEN, globally='["root"]')
    for name in ("acme", "other"):
        make_project(db, name)
    app = make_app(Settings(data=folder, **settings), db)
    yield Client(app, loop, ROOT_TOKEN)
    loop.run(stop_app(app))


@pytest.fixture(scope="module")
def still(
    sqlite_template: Path, loop: Loop, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Client]:
    """A server that no test here changes."""
    with serving(sqlite_template, tmp_path_factory.mktemp("still"), loop) as client:
        make_pipeline(client)
        yield client


def path_of(route: Route) -> str:
    path = route.path
    for name in route.parameters:
        path = path.replace("{" + name + "}", KNOWN.get(name, "0" * 16))
    return path


@pytest.mark.parametrize("route", WITH_BODY)
def test_what_is_no_json_object_is_refused_everywhere(still: Client, route: Route) -> None:
    before = stored(still)
    for name, body in NOT_JSON.items():
        if route.body_optional and name == "nothing":
            continue
        answer = send(still, route.method, path_of(route), pieces=[body])
        refused(answer, 400, 403, 404)
    assert stored(still) == before


WRONG: list[Any] = [None, 1, -1, 1.5, True, "x", "", [], {}, [None], {"a": None}, 2**70]


@pytest.mark.parametrize("route", WITH_BODY)
def test_no_value_of_a_field_is_a_bug(still: Client, route: Route) -> None:
    good = minimal(route.body)
    fields = [one.encode_name for one in msgspec.structs.fields(route.body)]
    for name in fields:
        for value in WRONG:
            body = json.dumps({**good, name: value}).encode()
            answer = send(still, route.method, path_of(route), pieces=[body])
            assert answer.status < 500, (name, value, answer.content)
            if answer.status == 200 and route.reply_type != "application/json":
                continue
            assert json.loads(answer.content)["status"] == (
                "ok" if answer.status == 200 else "error"
            )


TRICKS = {
    "NUL": "a\0b",
    "lone surrogate": "a\ud800b",
    "undecodable byte": "a\udcffb",
    "replacement": "\ufffd",
    "dots": "..",
    "dot": ".",
    "encoded dots": "%2e%2e",
    "still encoded slash": "a%2fb",
    "still encoded NUL": "a%00b",
    "overlong": "\udcc0\udcaf",
    "backslash": "..\\..\\etc\\passwd",
    "colon": "id:",
    "an id": "id:" + "0" * 16,
    "quotes": "' OR '1'='1",
    "semicolon": "a;b=c",
    "line feed": "a\nb",
    "carriage return": "a\r\nx-injected: 1",
    "tab": "\t",
    "space": " ",
    "wide": "ａｃｍｅ",
    "astral": "😀",
    "right to left": "\u202egpj",
    "long": "a" * 5000,
    "very long": "a" * 100_000,
    "digits": "9" * 5000,
    "negative": "-1",
    "percent": "%",
    "format": "%s%n{0}",
}


@pytest.mark.parametrize("route", WITH_PATH)
def test_no_path_value_is_a_bug(still: Client, route: Route) -> None:
    body = json.dumps(minimal(route.body)).encode() if route.body else b"RIFF    WAVE"
    for name in route.parameters:
        for trick in TRICKS.values():
            path = path_of(route).replace(KNOWN.get(name, "0" * 16), trick, 1)
            answer = send(still, route.method, path, pieces=[body])
            assert answer.status < 500, (name, trick[:50], answer.content)
            assert answer.status != 200 or answer.json["status"] == "ok"
            if answer.status != 200:
                refused(answer, 400, 403, 404, 405, 409, 422)


@pytest.mark.parametrize(
    "path",
    [
        "/api/v1/../v1/sources",
        "/api/v1/%2e%2e/v1/sources",
        "/api/v1/./sources",
        "/api/v1/sources\0",
        "/api\\v1\\sources",
        "/API/V1/SOURCES",
        "/api/v1/sources;a=b",
        "/api/v1/sources%3f",
        "//evil.example/api/v1/sources",
        "/a/b/c/reinfer_/api/v1/sources",
        "/api/v1/sources" + "/x" * 50_000,
        "/" * 50_000,
        "\ud800",
        "",
        "*",
    ],
)
def test_paths_that_are_only_nearly_ours_lead_nowhere(still: Client, path: str) -> None:
    refused(send(still, "GET", path), 404)


@pytest.mark.parametrize("route", [pytest.param(r, id=r.operation) for r in ROUTES if r.query])
def test_no_query_is_a_bug(still: Client, route: Route) -> None:
    values = [
        *(b"", b"%00", b"%ff", b"\xff", b"%ED%A0%80", b"%C0%AF", b"%", b"%zz", b"-1", b"0"),
        *(b"1e3", b"1.5", b"9" * 5000, b"%D9%A3", b"true,false", b"x" * 100_000, b"a\r\nb: c"),
    ]
    body = json.dumps(minimal(route.body)).encode() if route.body else b""
    for one in route.query:
        for value in values:
            query = one.name.encode() + b"=" + value
            for text in (query, query + b"&" + query):
                answer = send(still, route.method, path_of(route), query=text, pieces=[body])
                assert answer.status < 500, (text[:80], answer.content)
                if answer.status != 200:
                    refused(answer, 400, 403, 404, 409, 422)
    many = b"&".join(b"x%d=1" % n for n in range(5000))
    assert send(still, route.method, path_of(route), query=many, pieces=[body]).status < 500


NO_JSON_TEXTS = [
    b'"\\ud800"',
    b'"\\udc00"',
    b'"\\ud800\\u0041"',
    b'"\\udc00\\ud800"',
    b'"\xed\xa0\x80"',
    b'"\xff"',
    b'"\xc0\xaf"',
    b'"\\u0000"',
    b'"\x00"',
    b'"\x1f"',
    b'"\\x41"',
    b"NaN",
]
TOO_LONG = b'"' + b"a" * 65_537 + b'"'


def test_a_bad_text_refuses_the_whole_batch(client: Client) -> None:
    make_source(client)
    before = stored(client)
    for place in (*NO_JSON_TEXTS, TOO_LONG, b"[]", b"null"):
        refused(client.post(SYNC, put_in(place)))
        refused(client.put("/api/_private/sources/acme/inbox/comments", put_in(place)))
    for place in NO_JSON_TEXTS:
        refused(client.post(SYNC, put_in(b'"x","text_markup":[%s]' % place)))
    assert stored(client) == before


BAD_FIELDS: dict[str, dict[str, Any]] = {
    "no id": {"id": ""},
    "long id": {"id": "a" * 1025},
    "id with space": {"id": "a b"},
    "id with slash": {"id": "a/b"},
    "id with line feed": {"id": "a\n"},
    "no time": {"timestamp": ""},
    "nonsense time": {"timestamp": "yesterday"},
    "impossible time": {"timestamp": "2024-02-30T00:00:00Z"},
    "year 0": {"timestamp": "0000-01-01T00:00:00Z"},
    "year 10000": {"timestamp": "10000-01-01T00:00:00Z"},
    "last moment before its zone": {"timestamp": "9999-12-31T23:59:59-23:59"},
    "long time": {"timestamp": "2024-01-01T00:00:00." + "0" * 5000 + "Z"},
    "numeric time": {"timestamp": 1704067200},
    "too many messages": {"messages": [{"body": {"text": ""}}] * 2049},
    "message without body": {"messages": [{"subject": {"text": "x"}}]},
    "unknown field": {"colour": "red"},
    "property without type": {"user_properties": {"Team": "a"}},
    "property of unknown type": {"user_properties": {"date:Team": "a"}},
    "property of wrong type": {"user_properties": {"number:N": "1"}},
    "property without name": {"user_properties": {"string:": "a"}},
    "too many properties": {"user_properties": {f"number:{n}": n for n in range(1025)}},
    "text property too long": {"user_properties": {"string:a": "x" * 40_000}},
    "attachment of negative size": {
        "attachments": [{"name": "a", "size": -1, "content_type": "b"}]
    },
    "attachment of huge size": {"attachments": [{"name": "a", "size": 2**63, "content_type": "b"}]},
    "too many attachments": {"attachments": [{"name": "a", "size": 1, "content_type": "b"}] * 129},
    "empty sender": {"messages": [{"body": {"text": ""}, "from": ""}]},
    "bad sent_at": {"messages": [{"body": {"text": ""}, "sent_at": "x"}]},
    "empty thread": {"thread_id": ""},
    "markup is text": {"messages": [{"body": {"text": "", "text_markup": "x"}}]},
}


def test_one_bad_comment_refuses_the_whole_batch(client: Client) -> None:
    make_source(client)
    before = stored(client)
    for fields in BAD_FIELDS.values():
        bad = {**make_comment("bad"), **fields}
        refused(client.post(SYNC, batch(make_comment("good"), bad)))
    assert stored(client) == before


def test_a_batch_of_more_than_16384_is_refused(client: Client) -> None:
    make_source(client)
    before = stored(client)
    refused(client.post(SYNC, batch(*[make_comment(f"c{n}") for n in range(16_385)])))
    assert stored(client) == before


def test_a_number_that_no_double_holds_is_refused(client: Client) -> None:
    make_source(client)

    def send_number(place: bytes, number: bytes) -> Answer:
        one = b'"id":"a","timestamp":"2024-01-01",' + place.replace(b"NUMBER", number)
        return client.post(SYNC, b'{"comments":[{%s}]}' % one)

    for place in (
        b'"messages":[],"user_properties":{"number:N":NUMBER}',
        b'"messages":[{"body":{"text":"","text_markup":[NUMBER]}}]',
    ):
        for number in (b"1e999", b"-1e999", b"NaN", b"Infinity", b"9" * 5000, b"01", b"+1", b"0x1"):
            refused(send_number(place, number))
        assert send_number(place, b"1e-999").status == 200
    assert stored(client)[0] == 1


def test_markup_of_512_levels_comes_back_by_every_way(client: Client) -> None:
    make_pipeline(client)
    opened, closed = (b'[{"a":', b"}]")
    markup = opened * 256 + b"1" + closed * 256
    body = put_in(b'"x","text_markup":' + markup)
    assert client.post(SYNC, body).status == 200
    assert client.post(SYNC, body).json["unchanged"] == 2
    one = source_path() + "/comments/bad"
    assert markup in client.get(one + "?include_markup=true").content
    assert client.get(one).status == 200
    listing = "/api/_private/sources/acme/inbox/comments"
    assert markup in client.get(listing + "?include_markup=true").content
    assert client.get(listing).status == 200
    assert client.post(stream_path() + "/fetch", {"size": 10}).status == 200
    assert client.get(stream_path() + "/results").status == 200
    changed = body.replace(b'"text": "Hello"', b'"text": "Hallo"')
    assert client.post(SYNC, changed.replace(b'"x"', b'"y"')).json["updated"] == 2


def test_markup_nested_too_deeply_is_refused(client: Client) -> None:
    make_source(client)
    for levels in (513, 900, 990, 3000, 100_000):
        for opened, closed in ((b"[", b"]"), (b'{"a":', b"}")):
            markup = opened * (levels - 1) + b"[]" + closed * (levels - 1)
            refused(client.post(SYNC, put_in(b'"x","text_markup":' + markup)))
    assert stored(client)[0] == 0


def test_a_filter_nested_deeply_is_refused(client: Client) -> None:
    make_pipeline(client)
    before = stored(client)
    for levels in (100, 900, 3000, 100_000):
        deep = b"[" * levels + b"]" * levels
        refused(client.post(stream_path(), b'{"stream":{"comment_filter":%s}}' % deep))
        inner = b'{"user_properties":{"string:a":%s}}' % deep
        refused(client.post(stream_path(), b'{"stream":{"comment_filter":%s}}' % inner))
    assert stored(client) == before


def test_of_a_repeated_key_the_last_counts(client: Client) -> None:
    make_pipeline(client)
    body = put_in(b'"x"').replace(b'"id": "bad"', b'"id": "first", "id": "last"')
    assert client.post(SYNC, body).json["new"] == 2
    assert [one["comment"]["id"] for one in fetch(client)["results"]] == ["good", "last"]


def test_a_size_out_of_bounds_is_refused(client: Client) -> None:
    make_pipeline(client)
    for size in (b"0", b"-1", b"1025", b"1.5", b'"16"', b"true", b"null", b"1e999", b"9" * 99):
        refused(client.post(stream_path() + "/fetch", b'{"size":%s}' % size))
        refused(client.post(stream_path() + "/fetch", b'{"size":1,"max_filtered":%s}' % size))


def test_a_malformed_sequence_id_is_refused(client: Client) -> None:
    make_pipeline(client)
    before = fetch(client)["sequence_id"]
    for place in ("", "x", "A" * 31 + "\n", "A" * 32 + "=", "!" * 32, "é" * 32, "A" * 5000):
        refused(client.post(stream_path() + "/advance", {"sequence_id": place}))
    assert fetch(client)["sequence_id"] == before


@pytest.fixture(scope="module")
def small(
    sqlite_template: Path, loop: Loop, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Client]:
    """A server that takes bodies of 1 MiB and uploads of 2 MiB."""
    folder = tmp_path_factory.mktemp("small")
    with serving(sqlite_template, folder, loop, max_body_mib=1, max_upload_mib=2) as client:
        make_source(client)
        yield client


def test_a_body_over_the_limit_is_refused_with_or_without_its_length(small: Client) -> None:
    pieces = [b" " * 65_536] * 20
    length = (b"content-length", str(MIB + 1).encode())
    refused(send(small, "POST", SYNC, pieces=pieces, headers=[length]), 413)
    refused(send(small, "POST", SYNC, pieces=pieces), 413)
    refused(send(small, "POST", SYNC, pieces=[b" " * (MIB + 1)]), 413)
    lie = (b"content-length", b"10")
    refused(send(small, "POST", SYNC, pieces=pieces, headers=[lie]), 413)
    for odd in (b"-1", b"x", b"9" * 5000, b"\xb2"):
        answer = send(small, "POST", SYNC, pieces=[b"{}"], headers=[(b"content-length", odd)])
        refused(answer, 400, 413)


def test_an_upload_has_a_limit_of_its_own(small: Client) -> None:
    source_id = small.ok("GET", source_path())["source"]["id"]
    path = f"/api/_private/sources/id:{source_id}/comments/c/attachments/0"
    assert send(small, "PUT", path, pieces=[b"x" * MIB] * 2).status == 200
    refused(send(small, "PUT", path, pieces=[b"x" * MIB, b"x" * MIB, b"x"]), 413)


@pytest.mark.parametrize(
    ("encoding", "bomb"),
    [
        (b"gzip", gzip.compress(bytes(64 * MIB), mtime=0)),
        (b"deflate", zlib.compress(bytes(64 * MIB))),
        (b"zstd", zstandard.compress(bytes(64 * MIB))),
        (b"zstd", zstandard.compress(b" " * MIB) * 64),
        (b"gzip", gzip.compress(b" " * (MIB - 1), mtime=0) * 64),
    ],
)
def test_a_bomb_does_not_go_off(small: Client, encoding: bytes, bomb: bytes) -> None:
    assert len(bomb) < MIB
    refused(
        send(small, "POST", SYNC, pieces=[bomb], headers=[(b"content-encoding", encoding)]),
        413,
    )


@pytest.mark.parametrize(
    ("encoding", "body"),
    [
        (b"gzip", b"no gzip"),
        (b"gzip", gzip.compress(b'{"comments":[]}', mtime=0)[:-5]),
        (b"gzip", b""),
        (b"zstd", b"no zstd"),
        (b"zstd", zstandard.compress(b'{"comments":[]}')[:-3]),
        (b"deflate", b"no deflate"),
        (b"br", b"{}"),
        (b"gzip, gzip", gzip.compress(gzip.compress(b"{}", mtime=0), mtime=0)),
        (b"\xff" * 100, b"{}"),
        (b"gzip", gzip.compress(b'{"comments":[]}', mtime=0) + b"rubbish"),
    ],
)
def test_a_broken_encoding_is_refused(small: Client, encoding: bytes, body: bytes) -> None:
    headers = [(b"content-encoding", encoding)]
    refused(send(small, "POST", SYNC, pieces=[body], headers=headers))


def test_a_body_in_several_compressed_parts_is_read_whole(small: Client) -> None:
    whole = batch(make_comment("a"))
    for encoding, compress in ((b"gzip", gzip.compress), (b"zstd", zstandard.compress)):
        parts = compress(whole[:20]) + compress(whole[20:])
        answer = send(
            small, "POST", SYNC, pieces=[parts], headers=[(b"content-encoding", encoding)]
        )
        assert answer.status == 200, answer.content


@pytest.mark.parametrize(
    "header",
    [
        (b"x-request-id", b"a\r\nset-cookie: x"),
        (b"x-request-id", b"\xff" * 10),
        (b"x-request-id", b"a" * 10_000),
        (b"accept-encoding", b"gzip;q=nonsense, \xff, ;;;,,,"),
        (b"accept-encoding", b"zstd," * 10_000),
        (b"range", b"bytes=" + b"9" * 5000),
        (b"user-agent", b"\x00\xff" * 5000),
        (b"content-type", b"text/html; charset=\xff"),
        (b"x-auth-token", b"\xff"),
        (b"x-forwarded-for", b"' OR 1=1"),
    ],
)
def test_no_header_is_a_bug(still: Client, header: tuple[bytes, bytes]) -> None:
    answer = send(still, "GET", "/api/v1/sources", headers=[header])
    assert answer.status == 200
    assert len(answer.headers["x-request-id"]) <= 128
    assert "set-cookie" not in answer.headers
    answer = send(still, "POST", stream_path() + "/fetch", headers=[header], pieces=[b'{"size":1}'])
    assert answer.status == 200


@pytest.mark.parametrize(
    "value", [b"\xff", b"Bearer \xff\xfe", b"Bearer a b", b"Bearer " + b"x" * 100_000, b"Bearer\t"]
)
def test_an_odd_authorization_is_refused(still: Client, value: bytes) -> None:
    scope_token = value.decode("latin-1")
    answer = still.as_user(None).get("/api/v1/sources", headers={"authorization": scope_token})
    refused(answer, 401)


def test_a_client_that_goes_away_amid_its_body_changes_nothing(client: Client) -> None:
    make_source(client)
    before = stored(client)

    async def receive() -> Any:
        return {"type": "http.disconnect"}

    sent: list[Any] = []

    async def note(message: Any) -> None:
        sent.append(message)

    scope = {
        "type": "http",
        "method": "POST",
        "path": SYNC,
        "query_string": b"",
        "headers": [(b"authorization", b"Bearer " + ROOT_TOKEN.encode())],
        "client": None,
    }
    client.loop.run(client.app(scope, receive, note))
    assert sent[0]["status"] == 400
    assert stored(client) == before


def test_what_was_stored_before_is_still_delivered(client: Client) -> None:
    make_pipeline(client)
    sync(client, [make_comment("a"), make_comment("b")])
    for body in NOT_JSON.values():
        client.post(SYNC, body)
        client.post(stream_path() + "/advance", body)
        client.post(stream_path() + "/reset", body)
    assert [one["comment"]["id"] for one in results(client)["results"]] == ["a", "b"]
