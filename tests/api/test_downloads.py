"""A dataset as a file, in each format, read back and compared with what is stored."""

from __future__ import annotations

import csv
import io
import json
from typing import Any

import pyarrow.parquet as parquet
import pytest
from python_calamine import CalamineWorkbook

from tests.build import (
    Json,
    make_dataset,
    make_source,
    sync,
)
from tests.client import Answer, Client

EXPORT = "/api/lodestream/v1/datasets/acme/support/export"
ANNOTATE = "/api/v1/datasets/acme/support/sync-annotations"
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


def said(client: Client, source_id: str, comment_id: str, **annotations: Any) -> None:
    one = {"comment_uid": f"{source_id}.{comment_id}", **annotations}
    client.ok("POST", ANNOTATE, {"annotations": [one]})


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
    for name, instant in (
        ("timestamp", "2024-02-01 08:00:00.123"),
        ("sent_at", "2024-02-01 08:00:00"),
    ):
        shown = str(first[name]).replace("T", " ")
        assert shown.startswith(instant), name
