"""Files of rows over HTTP."""

from __future__ import annotations

import asyncio
import gzip
import threading
import tracemalloc
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

import pytest
import zstandard

from lodestream.actions import csv_files, ingest
from lodestream.server import make_app
from lodestream.settings import Settings
from lodestream.store import comments
from lodestream.store.db import Database
from tests.build import make_source, private_source_path, source_path
from tests.client import Client, Loop
from tests.conftest import ROOT_TOKEN, grant_in, make_project, make_user, stop_app

SNIFF = "/api/_private/sources/sniff-csv"
SYNC = private_source_path() + "/sync-csv"
COUNTS = ("new", "updated", "unchanged", "updated_properties_only", "updated_text_changed")
HEAD = "id,date,text,Team,NPS\n"


def upload(client: Client, text: str | bytes, **query: Any) -> Any:
    content = text.encode() if isinstance(text, str) else text
    return client.ok("PUT", f"{SYNC}?{urlencode(query, doseq=True)}", content)


def comment(client: Client, comment_id: str) -> Any:
    return client.ok("GET", f"{source_path()}/comments/{quote(comment_id)}")["comment"]


def test_a_file_is_sniffed(client: Client) -> None:
    reply = client.ok("PUT", SNIFF, (HEAD + "1,2020-01-09,Hello there,Red,7\n").encode("utf-16"))
    assert reply == {
        "status": "ok",
        "columns": ["id", "date", "text", "Team", "NPS"],
        "encoding": "utf-16",
        "delimiter": ",",
        "has_header": True,
        "roles": {
            "id": "id",
            "date": "timestamp",
            "text": "message",
            "Team": "string_property",
            "NPS": "number_property",
        },
        "timestamp_formats": ["iso"],
    }


def test_sniffing_needs_a_project_to_upload_to(client: Client, db: Database) -> None:
    user_id = make_user(db, "guest")
    guest = client.as_user("guest")
    assert guest.put(SNIFF, b"a,b\n1,2\n").status == 403
    grant_in(db, user_id, "acme", ("sources-add-comments",))
    assert guest.put(SNIFF, b"a,b\n1,2\n").status == 200


def test_rows_become_comments(client: Client) -> None:
    make_source(client)
    table = HEAD + '1,2020-01-09,"Hello, ""you""",Red,7\n2,2020-01-10,"two\nlines",,\n'
    reply = upload(client, table)
    assert [reply[name] for name in COUNTS] == [2, 0, 0, 0, 0]
    assert (reply["rejected"], reply["rejected_count"], reply["ignored_columns"]) == ([], 0, [])
    first, second = comment(client, "1"), comment(client, "2")
    assert first["messages"] == [{"body": {"text": 'Hello, "you"'}}]
    assert first["timestamp"] == "2020-01-09T00:00:00.000000Z"
    assert first["user_properties"] == {"string:Team": "Red", "number:NPS": 7}
    assert second["messages"] == [{"body": {"text": "two\nlines"}}]
    assert second["user_properties"] == {}
    again = upload(client, table.replace("Red", "Blue"))
    assert [again[name] for name in COUNTS] == [0, 1, 1, 1, 0]


def test_bad_rows_are_told_and_good_ones_go_in(client: Client) -> None:
    make_source(client)
    table = HEAD + (
        "1,2020-01-09,good,Red,7\n"
        "2,2020-01-09,too short\n"
        "\n"
        "3,yesterday,no date,Red,7\n"
        "4/4,2020-01-09,bad id,Red,7\n"
        "1,2020-01-09,again,Red,7\n"
        "5,2020-01-09,good,Red,7\n"
    )
    reply = upload(client, table)
    assert reply["new"] == 2
    assert reply["rejected_count"] == 4
    told = {one["line"]: one["reason"] for one in reply["rejected"]}
    assert list(told) == [3, 5, 6, 7]
    assert "3 cells" in told[3]
    assert "'date'" in told[5]
    assert "4/4" in told[6]
    assert "earlier row" in told[7]
    assert comment(client, "1")["messages"][0]["body"]["text"] == "good"


def test_named_columns_leave_out_the_others_and_tell_them(client: Client) -> None:
    make_source(client)
    table = "key,when,words,who,Team,NPS\n1,2020-01-09,Hello you,me,Red,7\n"
    reply = upload(
        client,
        table,
        id="key",
        timestamp="when",
        message="words",
        string_property=["who", "NPS"],
        **{"from": "Team"},
    )
    assert (reply["new"], reply["ignored_columns"]) == (1, [])
    found = comment(client, "1")
    assert found["messages"][0]["from"] == "Red"
    assert found["user_properties"] == {"string:who": "me", "string:NPS": "7"}
    reply = upload(client, table, id="key")
    assert reply["ignored_columns"] == ["who", "Team", "NPS"]


def test_more_rows_than_one_batch_go_in(client: Client) -> None:
    make_source(client)
    rows = [f"{number},2020-01-09,text {number},Red,1\n" for number in range(2500)]
    assert upload(client, HEAD + "".join(rows))["new"] == 2500
    source = client.ok("GET", f"{private_source_path()}/comments?limit=1")
    assert "continuation" in source


@pytest.mark.parametrize("codec", ["utf-8-sig", "utf-16", "utf-32", "cp1252"])
def test_every_encoding_gives_the_same_comments(client: Client, codec: str) -> None:
    make_source(client)
    table = "id\tdate\ttext\n1\t31/01/2020\tÜber €5\n2\t01/02/2020\tx y\n"
    assert upload(client, table.encode(codec))["new"] == 2
    found = comment(client, "1")
    assert found["messages"][0]["body"]["text"] == "Über €5"
    assert comment(client, "2")["timestamp"] == "2020-02-01T00:00:00.000000Z"


def test_days_and_months_that_cannot_be_told_apart_are_asked_for(client: Client) -> None:
    make_source(client)
    table = "id,date,text\n1,02/01/2020,a b\n"
    answer = client.put(SYNC, table.encode())
    assert answer.status == 422
    assert "%d/%m/%Y or %m/%d/%Y" in answer.json["message"]
    assert upload(client, table, timestamp_format="%m/%d/%Y")["new"] == 1
    assert comment(client, "1")["timestamp"].startswith("2020-02-01")
    # One row far behind the sample decides.
    rows = "".join(f"{n},02/01/2020,a b\n" for n in range(2, 1500)) + "1500,30/01/2020,a b\n"
    upload(client, "id,date,text\n1,02/01/2020,a b\n" + rows)
    assert comment(client, "1")["timestamp"].startswith("2020-01-02")


@pytest.mark.parametrize(
    ("table", "query", "status"),
    [
        ("", "", 422),
        ("a,b\n1,2\n", "", 422),
        ("id,date,text,text\n1,2020-01-09,a,b\n", "", 422),
        (HEAD, "?message=nothing", 422),
        (HEAD + "1,soon,a,b,1\n", "", 422),
        (HEAD, "?encoding=nope", 400),
        (HEAD, "?delimiter=x", 400),
        ("odd", "?encoding=utf-16-le", 422),
    ],
)
def test_a_file_that_makes_no_sense_is_refused(
    client: Client, table: str, query: str, status: int
) -> None:
    make_source(client)
    answer = client.put(SYNC + query, table.encode())
    assert answer.status == status, answer.content
    assert answer.json["status"] == "error"


def test_uploading_a_file_needs_both_permissions(client: Client, db: Database) -> None:
    make_source(client)
    for token, held in (
        ("adder", ("sources-add-comments",)),
        ("admin", ("sources-admin",)),
    ):
        grant_in(db, make_user(db, token), "acme", held)
        assert client.as_user(token).put(SYNC, HEAD.encode()).status == 403


FORM = {"content-type": "multipart/form-data; boundary=b"}


def form(name: str, content: bytes) -> bytes:
    head = f'--b\r\nContent-Disposition: form-data; name="{name}"; filename="a.csv"\r\n\r\n'
    other = b'--b\r\nContent-Disposition: form-data; name="note"\r\n\r\nfile\r\n'
    return other + head.encode() + content + b"\r\n--b--\r\n"


def test_a_file_may_come_as_a_part_of_a_form(client: Client) -> None:
    make_source(client)
    rows = HEAD + "".join(f"{n},2020-01-09,text,Red,7\n" for n in range(1100))
    answer = client.put(SYNC, form("file", rows.encode()), headers=FORM)
    assert (answer.status, answer.json["new"], answer.json["rejected_count"]) == (200, 1100, 0)
    for body in (form("data", b"a"), form("file", b"a")[:-9], b"--b"):
        assert client.put(SYNC, body, headers=FORM).status == 400


@pytest.mark.parametrize(
    ("encoding", "packed"),
    [("gzip", gzip.compress), ("deflate", zlib.compress), ("zstd", zstandard.compress)],
)
def test_a_file_may_come_compressed(client: Client, encoding: str, packed: Any) -> None:
    make_source(client)
    rows = HEAD + "".join(f"{n},2020-01-09,text {n},Red,7\n" for n in range(1100))
    headers = {"content-encoding": encoding}
    whole = packed(rows.encode())
    answer = client.put(SYNC, whole, headers=headers)
    assert (answer.status, answer.json["new"]) == (200, 1100)
    for broken in (whole[: len(whole) // 2], b"nothing"):
        if encoding == "zstd" and broken != b"nothing":
            continue  # a frame may end with any of its blocks
        assert client.put(SYNC, broken, headers=headers).status == 400


@pytest.fixture
def small(db: Database, loop: Loop, tmp_path: Path) -> Iterator[Client]:
    """A server that takes files of rows up to a mebibyte."""
    make_user(db, ROOT_TOKEN, globally='["root"]')
    make_project(db, "acme")
    app = make_app(Settings(data=tmp_path / "data", max_file_mib=1, max_body_mib=1), db)
    yield Client(app, loop, ROOT_TOKEN)
    loop.run(stop_app(app))


def test_a_file_beyond_the_bound_is_refused_also_when_it_is_unpacked(small: Client) -> None:
    make_source(small)
    content = b"x" * (1 << 20) + b"y"
    assert small.put(SYNC, content).status == 413
    packed = small.put(SYNC, gzip.compress(content), headers={"content-encoding": "gzip"})
    assert packed.status == 413
    assert small.put(SYNC, b"a", headers={"content-length": str(2 << 20)}).status == 413


def test_who_may_not_upload_is_refused_before_the_body_is_read(client: Client) -> None:
    make_source(client)
    asked: list[str] = []

    async def receive() -> dict[str, Any]:
        asked.append("body")
        return {"type": "http.request", "body": HEAD.encode(), "more_body": False}

    statuses: list[int] = []

    async def send(message: Any) -> None:
        statuses.append(message.get("status", 0))

    scope = {"type": "http", "method": "PUT", "path": SYNC, "query_string": b"", "headers": []}
    client.loop.run(client.app(scope, receive, send))
    assert (statuses[0], asked) == (401, [])


def test_other_writes_are_done_between_the_batches_of_a_file(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_source(client)
    stored, go_on = threading.Event(), threading.Event()
    real = ingest.sync_comments

    def slow(*given: Any, **named: Any) -> Any:
        counts = real(*given, **named)
        stored.set()
        return counts

    read = csv_files._read

    def waiting(*given: Any) -> Any:
        if stored.is_set():
            assert go_on.wait(30)
        return read(*given)

    monkeypatch.setattr(ingest, "sync_comments", slow)
    monkeypatch.setattr(csv_files, "_read", waiting)
    rows = HEAD + "".join(f"{n},2020-01-09,text,Red,7\n" for n in range(5000))
    replies: list[Any] = []
    upload_thread = threading.Thread(target=lambda: replies.append(upload(client, rows)))
    upload_thread.start()
    assert stored.wait(30)
    # Were the file a single write, this would wait for its end, which waits for this.
    make_source(client, "acme/other")
    go_on.set()
    upload_thread.join(60)
    assert replies[0]["new"] == 5000


def test_a_server_that_stops_does_not_wait_for_a_file(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_source(client)
    begun, stopped = threading.Event(), threading.Event()
    read = csv_files._read

    def waiting(*given: Any) -> Any:
        begun.set()
        assert stopped.wait(30)
        return read(*given)

    monkeypatch.setattr(csv_files, "_read", waiting)
    rows = HEAD + "".join(f"{n},2020-01-09,text,Red,7\n" for n in range(5000))

    async def cancelled() -> None:
        request = asyncio.ensure_future(client._ask("PUT", SYNC, rows.encode(), _headers()))
        await asyncio.get_running_loop().run_in_executor(None, begun.wait, 30)
        request.cancel()
        await asyncio.gather(request, return_exceptions=True)
        stopped.set()

    client.loop.run(cancelled())
    client.loop.run(stop_app(client.app))
    with client.app.service.db.read() as tx:
        assert comments.total_comments(tx) == 0


def _headers() -> dict[str, str]:
    return {"authorization": f"Bearer {ROOT_TOKEN}"}


@pytest.mark.parametrize("db_url", ["sqlite"], indirect=True)
def test_a_large_file_takes_no_more_memory_than_a_small_one(client: Client) -> None:
    make_source(client)
    row = "{0},2020-01-09," + "words and words " * 20 + ",Red,7\n"

    def peak_bytes(first: int, rows: int) -> int:
        made = (row.format(number) for number in range(first, first + rows))
        tracemalloc.reset_peak()
        assert client.loop.run(_streamed(client, HEAD, made)) == 200
        return tracemalloc.get_traced_memory()[1]

    tracemalloc.start()
    try:
        peak_bytes(0, 2500)
        small, large = peak_bytes(10_000, 2500), peak_bytes(20_000, 8000)
    finally:
        tracemalloc.stop()
    # Nearly two mebibytes more are in the file.
    assert large - small < 700_000, (small, large)


async def _streamed(client: Client, head: str, rows: Iterator[str]) -> int:
    """Upload rows as they are made; return the status."""
    statuses: list[int] = []

    async def receive() -> dict[str, Any]:
        if not asked:
            asked.append(head)
            return {"type": "http.request", "body": head.encode(), "more_body": True}
        row = next(rows, None)
        body = b"" if row is None else row.encode()
        return {"type": "http.request", "body": body, "more_body": row is not None}

    async def send(message: Any) -> None:
        statuses.append(message.get("status", 0))

    asked: list[str] = []
    headers = [(name.encode(), value.encode()) for name, value in _headers().items()]
    scope = {"type": "http", "method": "PUT", "path": SYNC, "query_string": b"", "headers": headers}
    await client.app(scope, receive, send)
    return statuses[0]
