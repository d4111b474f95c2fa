"""A dataset as a file, in each format, read back and compared with what is stored."""

from __future__ import annotations

import asyncio
import csv
import dataclasses
import io
import json
import random
import time
import tracemalloc
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as parquet
import pytest
import sqlalchemy as sa
from python_calamine import CalamineWorkbook

from lodestream.api import download_rows
from lodestream.api.compression import decode_body as unpack
from lodestream.formats import write_parquet
from lodestream.store.db import Database
from lodestream.store.tables import prediction
from tests.build import (
    Json,
    delete_ids,
    make_comment,
    make_dataset,
    make_source,
    only_team,
    sync,
    sync_ids,
    team,
)
from tests.client import Answer, Client
from tests.conftest import grant_in, make_user
from tests.learning import label_hotel, learn, make_hotel
from tests.predictions import insert_model

EXPORT = "/api/lodestream/v1/datasets/acme/support/export"
FORMATS = ("csv", "parquet", "xlsx")
MAIL: Json = {
    "id": "mail",
    "timestamp": "2024-02-01T08:00:00.123000Z",
    "thread_id": "t1",
    "messages": [
        {
            "body": {"text": 'Where is it?\r\nPlease, "tell" me; now'},
            "subject": {"text": "=cmd()|' /C calc'!A0"},
            "signature": {"text": "Ann"},
            "from": "Ann <ann@example.com>",
            "to": ["b@example.com", "c@example.com"],
            "cc": ["d;e@example.com"],
            "sent_at": "2024-02-01T10:00:00+02:00",
            "language": "en",
        }
    ],
    "user_properties": {"string:Team": "Claims", "number:Stars": 4.5, "string:id": "007"},
    "attachments": [{"name": "a.pdf", "size": 3, "content_type": "application/pdf"}],
}
REPLY: Json = {
    "id": "reply",
    "timestamp": "2024-02-01T09:00:00.000000Z",
    "thread_id": "t1",
    "messages": [{"body": {"text": "First"}}, {"body": {"text": "Second"}}],
}


def made(client: Client, *comments: Json) -> str:
    source_id: str = make_source(client)["id"]
    sync(client, comments)
    make_dataset(client)
    return source_id


def download(client: Client, **body: Any) -> Answer:
    answer = client.post(EXPORT, body)
    assert answer.status == 200, answer.content[:500]
    return answer


def rows(client: Client, file: str = "csv", **body: Any) -> list[dict[str, Any]]:
    """Return the rows of a downloaded table; empty cells are None."""
    content = download(client, format=file, **body).content
    if file == "csv":
        found = list(csv.DictReader(io.StringIO(content.decode(), newline="")))
        return [{name: cell or None for name, cell in row.items()} for row in found]
    if file == "parquet":
        table: list[dict[str, Any]] = parquet.read_table(io.BytesIO(content)).to_pylist()
        return table
    book = CalamineWorkbook.from_filelike(io.BytesIO(content))
    header, *cells = [row for name in book.sheet_names for row in _sheet(book, name)]
    return [
        {name: None if cell == "" else cell for name, cell in zip(header, row, strict=True)}
        for row in cells
        if row != header
    ]


def _sheet(book: CalamineWorkbook, name: str) -> list[list[Any]]:
    sheet: list[list[Any]] = book.get_sheet_by_name(name).to_python(skip_empty_area=False)
    return sheet


def lines(client: Client, **body: Any) -> list[Any]:
    content = download(client, format="jsonl", **body).content
    return [json.loads(line) for line in content.splitlines()]


def said(
    client: Client, source_id: str, comment_id: str, *names: str, dismissed: tuple[str, ...] = ()
) -> None:
    """Assign labels, those that begin with a minus with a negative sentiment, and dismiss some."""
    marks = [
        {"name": one.lstrip("-"), "sentiment": "negative" if one[0] == "-" else "positive"}
        for one in names
    ]
    no = [{"name": one, "sentiment": "positive"} for one in dismissed]
    labelling = [{"group": "default", "assigned": marks, "dismissed": no}]
    path = f"/api/_private/datasets/acme/support/labellings/{source_id}.{comment_id}"
    client.ok("POST", path, {"labelling": labelling})


@pytest.mark.parametrize("file", FORMATS)
def test_a_comment_is_a_row(client: Client, file: str) -> None:
    source_id = made(client, MAIL, REPLY)
    first, second = rows(client, file)
    assert first["id"] == "mail"
    assert first["uid"] == f"{source_id}.mail"
    assert first["source"] == "acme/inbox"
    assert first["body"] == MAIL["messages"][0]["body"]["text"]
    assert first["subject"] == MAIL["messages"][0]["subject"]["text"]
    assert first["to"] == "b@example.com; c@example.com"
    assert first["cc"] == '"d;e@example.com"'
    assert first["Team"] == "Claims"
    assert float(first["Stars"]) == 4.5
    assert first["string:id"] == "007"
    assert first["attachment_names"] == "a.pdf"
    assert second["body"] == "First\n\nSecond"
    assert int(second["messages"]) == 2
    assert second["Team"] is None
    assert [int(row["thread_position"]) for row in (first, second)] == [1, 2]
    assert float(second["thread_response_time_s"]) == 3599.877
    shown = [str(first[name]).replace("T", " ") for name in ("timestamp", "sent_at")]
    assert shown[0].startswith("2024-02-01 08:00:00.123")
    assert shown[1].startswith("2024-02-01 08:00:00")


def test_a_line_is_what_a_query_answers(client: Client, db: Database) -> None:
    """But for what only a query knows, so that what reads the one reads the other."""
    source_id = made(client, MAIL, REPLY)
    said(client, source_id, "mail", "Claim > Late", dismissed=("Urgent",))
    insert_model(db, _dataset_id(client), ["Claim", "Claim > Late"], {"mail": {"Claim": 0.75}})
    queried = client.ok("POST", "/api/_private/datasets/acme/support/query", {})["results"]
    found = lines(client)
    assert sorted(found, key=str) == sorted(queried, key=str)
    assert found[0]["comment"]["messages"] == MAIL["messages"]
    assert found[0]["labelling"][0]["predicted"] == [{"name": "Claim", "probability": 0.749996}]
    assert "predicted" not in lines(client, model_version=None)[0]["labelling"][0]


@pytest.mark.parametrize("file", FORMATS)
def test_annotations_and_predictions_are_columns(client: Client, db: Database, file: str) -> None:
    source_id = made(client, MAIL, REPLY, make_comment("third"))
    said(client, source_id, "mail", "Claim > Late", "a;b", dismissed=("Urgent",))
    scores = {"mail": {"Claim": 0.75, "Claim > Late": 0.5}, "reply": {"Urgent": 0.25}}
    insert_model(db, _dataset_id(client), ["Claim", "Claim > Late", "Urgent"], scores)
    first, second, third = rows(client, file)
    assert first["reviewed"] in (True, "true")
    assert first["assigned"] == 'Claim > Late; "a;b"'
    assert first["dismissed"] == "Urgent"
    assert second["reviewed"] in (False, "false")
    assert second["assigned"] is None
    assert (float(first["Claim"]), float(first["Urgent"])) == (0.749996, 0.0)
    assert float(first["a;b"]) == 0.0  # the model does not know it
    assert int(second["model_version"]) == 1
    # Nothing is made up where there is no prediction, and none can be made.
    assert (third["model_version"], third["Claim"]) == (None, None)


def test_labels_as_marks_or_as_names(client: Client, db: Database) -> None:
    made(client, make_comment("a"), make_comment("b"))
    labels = ["Claim", "Claim > Late", "Urgent"]
    scores = {"a": {"Claim": 0.75, "Claim > Late": 0.5}, "b": {"Urgent": 0.25}}
    insert_model(db, _dataset_id(client), labels, scores)
    version = {"model_version": 1}
    marks = rows(client, labels="binary", threshold=0.6, **version)
    assert [[row[name] for name in labels] for row in marks] == [["1", "0", "0"], ["0", "0", "0"]]
    names = rows(client, labels="names", threshold=0.2, **version)
    assert [row["labels"] for row in names] == ["Claim; Claim > Late", "Urgent"]
    assert "Claim" not in names[0]
    leaves = rows(client, parents=False, **version)
    assert ("Claim" in leaves[0], "Claim > Late" in leaves[0]) == (False, True)
    assert "model_version" not in rows(client, model_version=None)[0]
    assert "Claim" not in rows(client, labels="none", **version)[0]
    assert client.post(EXPORT, {"threshold": "auto", **version}).status == 400
    assert client.post(EXPORT, {"model_version": 2}).status == 404
    assert client.post(EXPORT, {"model_version": "live"}).status == 404


def test_sentiment_where_the_dataset_has_it(client: Client, db: Database) -> None:
    source_id: str = make_source(client)["id"]
    sync(client, [make_comment("a")])
    definition = {"source_ids": [source_id], "has_sentiment": True}
    path = "/api/v1/datasets/acme/support"
    dataset_id = client.ok("PUT", path, {"dataset": definition})["dataset"]["id"]
    said(client, source_id, "a", "Good", "-Bad")
    insert_model(db, dataset_id, ["Bad"], {"a": {"Bad": (1.0, -1.0)}}, has_sentiment=True)
    (row,) = rows(client)
    assert row["assigned_negative"] == "Bad"
    assert (row["assigned_sentiment"], row["predicted_sentiment"]) == ("0.0", "-1.0")


def test_fields_are_columns(client: Client) -> None:
    source_id: str = make_source(client)["id"]
    sync(client, [MAIL, REPLY])
    policy = {"name": "policy", "title": "Policy", "inherits_from": [], "trainable": True}
    definition = {"source_ids": [source_id], "has_sentiment": False, "entity_defs": [policy]}
    client.ok("PUT", "/api/v1/datasets/acme/support", {"dataset": definition})
    path = f"/api/_private/datasets/acme/support/labellings/{source_id}.mail"
    values = [
        {"name": "policy", "formatted_value": one, "span": _span(0, end)}
        for one, end in (("P-1", 3), ("P-2", 5))
    ]
    client.ok("POST", path, {"entities": {"assigned": values, "dismissed": []}})
    first, second = rows(client)
    assert (first["policy"], second["policy"]) == ("P-1; P-2", None)
    assert "policy" not in rows(client, fields=False)[0]
    (line, _) = lines(client)
    assert [one["formatted_value"] for one in line["entities"]["assigned"]] == ["P-1", "P-2"]


def test_columns_that_would_be_named_alike_are_told_apart(client: Client) -> None:
    twins = {"string:Team": "a", "number:Team": 1, "string:string:Team": "c", "string:body": "d"}
    made(client, make_comment("x", user_properties=twins))
    (row,) = rows(client)
    named = {name: row[name] for name in row if "eam" in name or name.endswith(":body")}
    assert named == {
        "Team": "1", "string:Team": "a", "string:string:Team": "c", "string:body": "d"
    }  # fmt: skip
    full = rows(client, column_names="full")[0]
    assert {name: full[name] for name in twins} == {
        "string:Team": "a", "number:Team": "1", "string:string:Team": "c", "string:body": "d"
    }  # fmt: skip


def test_only_what_a_filter_lets_through(client: Client) -> None:
    pdf = {"attachments": MAIL["attachments"]}
    made(client, make_comment("a", **team("A")), make_comment("b", **team("B"), **pdf))
    answer = download(client, comment_filter=only_team("A"))
    assert answer.headers["lodestream-comments"] == "1"
    assert [row["id"] for row in rows(client, comment_filter=only_team("A"))] == ["a"]
    one = {"attribute": "attachment_property_num_attachments"}
    some = {**one, "filter": {"kind": "number_range", "minimum": 1, "maximum": None}}
    assert [row["id"] for row in rows(client, attribute_filters=[some])] == ["b"]
    assert client.post(EXPORT, {"comment_filter": {"nonsense": 1}}).status == 400
    assert client.post(EXPORT, {"format": "doc"}).status == 400


def test_hidden_properties_are_in_no_format(client: Client, db: Database) -> None:
    make_source(client, sensitive_properties=["Team"])
    sync(client, [make_comment("a", **team("Secret"))])
    make_dataset(client)
    user = make_user(db, "somebody")
    grant_in(db, user, "acme", ("voc-readonly", "sources-read", "datasets-export"))
    for file in (*FORMATS, "jsonl"):
        content = download(client.as_user("somebody"), format=file).content
        assert b"Secret" not in _unpacked(file, content), file
    assert rows(client)[0]["Team"] == "Secret"
    grant_in(db, user, "acme", ("voc-readonly", "sources-read"))
    assert client.as_user("somebody").post(EXPORT, {}).status == 403


def test_it_is_in_the_audit_log_and_has_a_name(client: Client) -> None:
    made(client, MAIL)
    answer = download(client, format="xlsx")
    assert answer.headers["content-disposition"] == 'attachment; filename="support.xlsx"'
    events = client.ok("POST", "/api/v1/audit_events/query", {})["audit_events"]
    assert [one["event_type"] for one in events].count("export_dataset") == 1


@pytest.mark.parametrize(("encoding", "file"), [("gzip", "csv"), ("zstd", "jsonl")])
def test_texts_are_compressed_for_those_who_ask(client: Client, encoding: str, file: str) -> None:
    made(client, MAIL)
    plain = download(client, format=file)
    packed = client.post(EXPORT, {"format": file}, headers={"accept-encoding": encoding})
    assert packed.headers["content-encoding"] == encoding
    assert unpack(packed.content, encoding.encode(), limit=1 << 20) == plain.content
    book = client.post(EXPORT, {"format": "xlsx"}, headers={"accept-encoding": encoding})
    assert "content-encoding" not in book.headers


class Export:
    """An export that a test takes part by part."""

    def __init__(
        self, client: Client, body: Json, *, leave_after: int | None = None, keep: bool = True
    ) -> None:
        self.parts: list[bytes] = []
        self.ended = False
        self.error: BaseException | None = None
        self._client = client
        self._body = json.dumps(body).encode()
        self._leave_after = leave_after
        self._keep = keep
        self.between: list[Callable[[], object]] = []

    def run(self) -> None:
        self._client.loop.run(self._run())

    async def _run(self) -> None:
        gone = asyncio.Event()
        asked = [{"type": "http.request", "body": self._body, "more_body": False}]

        async def receive() -> Json:
            if not asked:
                await gone.wait()
                return {"type": "http.disconnect"}
            return asked.pop(0)

        async def send(message: Any) -> None:
            if message["type"] != "http.response.body":
                return
            if message.get("body"):
                self.parts.append(message["body"] if self._keep else b"")
                if self.between:
                    await asyncio.to_thread(self.between.pop(0))
            self.ended = not message.get("more_body", False)
            if self._leave_after is not None and len(self.parts) >= self._leave_after:
                gone.set()

        headers = [(b"authorization", f"Bearer {self._client.token}".encode())]
        scope = {
            "type": "http", "method": "POST", "path": EXPORT, "raw_path": EXPORT.encode(),
            "query_string": b"", "headers": headers, "client": ("127.0.0.1", 1),
        }  # fmt: skip
        try:
            await self._client.app(scope, receive, send)
        except Exception as error:
            self.error = error


@pytest.fixture
def small_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(download_rows, "MOST_AT_ONCE", 10)
    monkeypatch.setattr(download_rows, "_FIRST", 10)


@pytest.mark.usefixtures("small_pages")
def test_what_is_written_meanwhile_is_neither_lost_nor_torn(client: Client) -> None:
    made(client, *(make_comment(f"c{n:03}", "old", thread_id="t") for n in range(60)))
    make_source(client, "acme/second")

    def change() -> None:
        # Earlier and later timestamps than before: it must not matter where they would sort now.
        for n in range(60):
            when = f"20{10 + n % 20}-01-01T00:00:00Z"
            sync(client, [make_comment(f"c{n:03}", "new", timestamp=when, **team("new"))])
        sync_ids(client, "late")
        delete_ids(client, "c059")

    export = Export(client, {"format": "jsonl"})
    export.between = [lambda: None, change]
    export.run()
    assert export.ended
    found = [json.loads(line)["comment"] for line in b"".join(export.parts).splitlines()]
    assert [one["id"] for one in found] == [f"c{n:03}" for n in range(59)]
    texts = [one["messages"][0]["body"]["text"] for one in found]
    assert (texts[0], texts[-1]) == ("old", "new")
    for one in found:
        whole = ("new", {"string:Team": "new"}), ("old", {})
        assert (one["messages"][0]["body"]["text"], one["user_properties"]) in whole


@pytest.mark.usefixtures("small_pages")
def test_a_client_that_goes_away_ends_the_work(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    made(client, *(make_comment(f"c{n}") for n in range(100)))
    read = _count_pages(monkeypatch)
    export = Export(client, {"format": "csv"}, leave_after=2)
    export.run()
    assert not export.ended
    assert export.error is None
    assert len(read) < 6


@pytest.mark.usefixtures("small_pages")
@pytest.mark.parametrize("file", ["csv", "jsonl", "parquet", "xlsx"])
def test_a_failure_in_the_middle_is_no_whole_file(
    client: Client, monkeypatch: pytest.MonkeyPatch, file: str
) -> None:
    made(client, *(make_comment(f"c{n}") for n in range(100)))
    _count_pages(monkeypatch, fail_at=4)
    export = Export(client, {"format": file})
    export.run()
    assert isinstance(export.error, RuntimeError)
    assert not export.ended


@pytest.mark.usefixtures("small_pages")
def test_nothing_is_held_while_a_client_waits(client: Client, db: Database) -> None:
    made(client, *(make_comment(f"c{n}") for n in range(50)))
    export = Export(client, {"format": "csv"})
    held: list[int] = []

    def wait() -> None:
        # The next page is read while this one is sent; then nothing happens any more.
        until = time.monotonic() + 5
        while _connections_in_use(db) and time.monotonic() < until:
            time.sleep(0.01)
        held.append(_connections_in_use(db))

    export.between = [wait, wait]
    export.run()
    assert held == [0, 0]


@pytest.mark.parametrize("file", ["csv", "jsonl", "parquet", "xlsx"])
def test_memory_does_not_grow_with_the_file(
    client: Client, monkeypatch: pytest.MonkeyPatch, file: str
) -> None:
    monkeypatch.setattr(download_rows, "MOST_AT_ONCE", 50)
    monkeypatch.setattr(download_rows, "_FIRST", 50)
    monkeypatch.setattr(write_parquet, "ROWS_IN_GROUP", 100)
    make_source(client)
    make_dataset(client)
    peaks, done = [], 0
    for count in (200, 200, 1200):  # the first is to fill what is kept from one to the next
        # Texts that do not compress, and properties with as many values as comments.
        texts = [random.Random(number).randbytes(1000).hex() for number in range(done, count)]
        sync(client, [make_comment(None, text, **team(text[:40])) for text in texts])
        done = max(done, count)
        tracemalloc.start()
        export = Export(client, {"format": file}, keep=False)
        export.run()
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
        assert export.ended
    assert peaks[2] < 1.3 * peaks[1] + 100_000


def test_only_so_many_at_once(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    made(client, MAIL)
    limit = 2
    limits = dataclasses.replace(client.app.service.limits, streams=limit)
    monkeypatch.setattr(client.app._gate, "_limits", limits)
    refused: list[int] = []

    def another(level: int) -> Callable[[], None]:
        def run() -> None:
            if level == limit:
                refused.append(client.post(EXPORT, {}).status)
                return
            inner = Export(client, {"format": "csv"})
            inner.between = [another(level + 1)]
            inner.run()

        return run

    another(0)()
    assert refused == [429]
    assert client.post(EXPORT, {}).status == 200


def test_large_comments_make_small_pages(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(download_rows, "_BYTES_AT_ONCE", 200_000)
    monkeypatch.setattr(download_rows, "_FIRST", 4)
    made(client, *(make_comment(f"c{n}", "x" * 50_000) for n in range(40)))
    sizes = _count_pages(monkeypatch)
    assert len(rows(client, threads=False)) == 40
    assert max(sizes) <= 4


def test_missing_predictions_are_computed_a_part_at_a_time(
    client: Client, db: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(download_rows, "MOST_ON_THE_SPOT", 7)
    dataset_id = make_hotel(client)
    label_hotel(db, dataset_id)
    learn(db, tmp_path)
    predicted = rows(client)
    with db.write() as tx:
        tx.execute(sa.delete(prediction))
    assert all(row["model_version"] is None for row in rows(client, missing_predictions="empty"))
    sizes = _count_pages(monkeypatch)
    assert rows(client) == predicted
    assert max(sizes) == 7


def _count_pages(monkeypatch: pytest.MonkeyPatch, *, fail_at: int | None = None) -> list[int]:
    """Return a list that gets the number of comments of every page that is read from now on."""
    sizes: list[int] = []
    read = download_rows.Pages._rows

    def counting(self: Any, tx: Any, source: Any, fronts: Any, scores: Any) -> Any:
        sizes.append(len(fronts))
        if len(sizes) == fail_at:
            raise RuntimeError("the disk is on fire")
        return read(self, tx, source, fronts, scores)

    monkeypatch.setattr(download_rows.Pages, "_rows", counting)
    return sizes


def _connections_in_use(db: Database) -> int:
    return db._readers.pool.checkedout()  # type: ignore[attr-defined]


def _dataset_id(client: Client) -> str:
    found: str = client.ok("GET", "/api/v1/datasets/acme/support")["dataset"]["id"]
    return found


def _span(start: int, end: int) -> Json:
    return {
        "content_part": "body",
        "message_index": 0,
        "char_start": start,
        "char_end": end,
        "utf16_byte_start": 2 * start,
        "utf16_byte_end": 2 * end,
    }


def _unpacked(file: str, content: bytes) -> bytes:
    if file != "xlsx":
        return content
    archive = zipfile.ZipFile(io.BytesIO(content))
    return b"".join(archive.read(name) for name in archive.namelist())
