"""`lodestream import` of tables, e-mails and packages into a running server."""

from __future__ import annotations

import io
import itertools
import json
import urllib.request
import zipfile
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import xlsxwriter
from pyarrow import parquet

from lodestream.client import Client
from tests.cli.conftest import Demo
from tests.formats.msg_writer import compound, msg
from tests.formats.pst_writer import PstWriter
from tests.formats.test_read_pst import HEADERS, tree

_numbers = itertools.count(1)
ROWS = [
    ("T-1", "31/01/2026 09:30", "The invoice; is wrong", "a@example.com", "2", "Billing"),
    ("T-2", "01/02/2026 10:00", 'Where is "my" parcel?', "b@example.com", "4", "Delivery"),
    ("T-3", "soon", "Hello?", "c@example.com", "1", "Delivery"),
    ("T-1", "01/02/2026 10:00", "Twice", "a@example.com", "2", "Billing"),
]
HEAD = ("Ticket", "Opened at", "Description", "Customer", "Stars", "Team")


@pytest.fixture
def client(demo: Demo) -> Iterator[Client]:
    with Client(demo.url, demo.token) as connected:
        yield connected


@pytest.fixture
def source(client: Client) -> str:
    name = f"demo/import-{next(_numbers)}"
    client.create_source(name)
    return name


def stored(client: Client, source: str) -> dict[str, Any]:
    path = f"/api/_private/sources/{source}/comments?limit=256"
    return {one["id"]: one for one in client.call("GET", path)["comments"]}


def csv_text(rows: list[tuple[str, ...]] = ROWS) -> str:
    quoted = (";".join(f'"{cell.replace(chr(34), chr(34) * 2)}"' for cell in row) for row in rows)
    return "\r\n".join([";".join(HEAD), *quoted]) + "\r\n"


def test_a_table_goes_in_and_bad_rows_are_told(
    demo: Demo, client: Client, source: str, tmp_path: Path
) -> None:
    file, errors = tmp_path / "tickets.csv", tmp_path / "errors.jsonl"
    file.write_text(csv_text(), encoding="utf-16", newline="")
    result = demo.run("import", "--source", source, "--errors", str(errors), str(file))
    assert result.exit_code == 1
    assert "2 new, 0 updated, 0 unchanged, 2 refused" in result.stdout
    assert "message: Description" in result.stdout
    assert "line 4: column 'Opened at': no time" in result.stderr
    assert "line 5: the id 'T-1' stands in an earlier row" in result.stderr
    refused = [json.loads(line) for line in errors.read_text().splitlines()]
    assert refused[0]["where"] == "line 4"
    assert refused[0]["content"]["Description"] == "Hello?"
    found = stored(client, source)
    assert sorted(found) == ["T-1", "T-2"]
    assert found["T-2"]["messages"][0]["body"]["text"] == 'Where is "my" parcel?'
    assert found["T-1"]["user_properties"] == {
        "string:Customer": "a@example.com",
        "number:Stars": 2,
        "string:Team": "Billing",
    }
    again = json.loads(demo.run("import", "--source", source, "--json", str(file)).stdout)
    assert (again["unchanged"], again["refused"], again["read"]) == (2, 2, 4)
    assert again["columns"]["timestamp_format"] == "%d/%m/%Y %H:%M"


def test_columns_are_what_they_are_said_to_be(
    demo: Demo, client: Client, source: str, tmp_path: Path
) -> None:
    file = tmp_path / "t.csv"
    file.write_text(csv_text(ROWS[:2]))
    roles = ("id=Ticket", "timestamp=Opened at", "body=Description", "from=Customer")
    given = [text for role in roles for text in ("--column", role)]
    said = demo.ok("import", "--source", source, *given, "--delimiter", ";", str(file))
    assert "ignored: Stars, Team" in said
    found = stored(client, source)["T-1"]
    assert (found["messages"][0]["from"], found["user_properties"]) == ("a@example.com", {})
    for wrong in ("id", "nothing=Ticket", "id="):
        assert demo.run("import", "--source", source, "--column", wrong, str(file)).exit_code == 2
    missing = demo.run("import", "--source", source, "--column", "id=None", str(file))
    assert (missing.exit_code, "no column 'None'" in missing.stderr) == (1, True)


def test_a_dry_run_says_what_would_be_and_stores_nothing(
    demo: Demo, client: Client, source: str, tmp_path: Path
) -> None:
    file = tmp_path / "t.csv"
    file.write_text(csv_text(ROWS[:1]))
    demo.ok("import", "--source", source, str(file))
    file.write_text(csv_text([(*ROWS[0][:2], "Other words", *ROWS[0][3:]), *ROWS[1:3]]))
    result = demo.run("import", "--source", source, "--dry-run", "--json", str(file))
    report = json.loads(result.stdout)
    assert (report["new"], report["updated"], report["unchanged"]) == (1, 1, 0)
    assert (result.exit_code, report["refused"], report["dry_run"]) == (1, 1, True)
    assert report["refusals"][0]["where"] == "line 4"
    assert list(stored(client, source)) == ["T-1"]
    assert "wrong" in stored(client, source)["T-1"]["messages"][0]["body"]["text"]


def test_workbooks_and_parquet_give_the_same_comments(
    demo: Demo, client: Client, tmp_path: Path
) -> None:
    rows = [
        ("1", datetime.fromisoformat("2026-01-31T09:30:00"), "The invoice is wrong", 2, "Billing"),
        ("2", datetime.fromisoformat("2026-02-01T10:00:00"), "Wo ist es? ü", 4.5, None),
    ]
    names = ("id", "date", "text", "Stars", "Team")
    book = tmp_path / "a.xlsx"
    with xlsxwriter.Workbook(book, {"default_date_format": "yyyy-mm-dd hh:mm:ss"}) as writing:
        sheet = writing.add_worksheet("Data")
        sheet.write_row(0, 0, names)
        for number, row in enumerate(rows, 1):
            sheet.write_row(number, 0, row)
    columns = {name: [row[at] for row in rows] for at, name in enumerate(names)}
    parquet.write_table(pa.table(columns), tmp_path / "a.parquet")
    found = []
    for file in (book, tmp_path / "a.parquet"):
        name = f"demo/import-{next(_numbers)}"
        client.create_source(name)
        demo.ok("import", "--source", name, str(file))
        found.append({key: _content(one) for key, one in stored(client, name).items()})
    assert found[0] == found[1]
    assert found[0]["1"]["timestamp"] == "2026-01-31T09:30:00.000000Z"
    assert found[0]["2"]["user_properties"] == {"number:Stars": 4.5}
    unknown = demo.run("import", "--source", name, "--sheet", "None", str(book))
    assert "no sheet 'None'" in unknown.stderr


def _content(comment: dict[str, Any]) -> dict[str, Any]:
    names = ("id", "timestamp", "messages", "user_properties", "thread_id")
    return {name: comment[name] for name in names if name in comment}


EML = (
    "From: a@example.com\r\nTo: b@example.com\r\nDate: Thu, 9 Jan 2020 16:34:45 +0000\r\n"
    "Subject: S{0}\r\nMessage-ID: <e{0}@example.com>\r\n\r\nText {0}\r\n"
)


def mails(folder: Path) -> Path:
    """A folder with e-mails of every kind, and one that is none."""
    (folder / "mails").mkdir()
    for name, content in {
        "one.eml": EML.format(1).encode(),
        "latin.eml": EML.format(2).replace("Text", "Über").encode("latin-1"),
        "no-date.eml": b"Subject: x\r\nMessage-ID: <x@x>\r\n\r\nText\r\n",
        "file.msg": compound(
            msg({0x7D: HEADERS, 0x1000: "Plain"}, None, [({0x3707: "a.txt"}, b"content")])
        ),
        "all.pst": PstWriter().write(tree()),
        "old.mbox": b"From a@x Thu Jan  9 16:34:45 2020\r\n" + EML.format(3).encode(),
    }.items():
        (folder / "mails" / name).write_bytes(content)
    return folder / "mails"


def test_e_mails_become_comments_with_their_files(
    demo: Demo, client: Client, source: str, tmp_path: Path
) -> None:
    folder = mails(tmp_path)
    into = ("import", "--source", source, "--json")
    dry = json.loads(demo.run(*into, "--dry-run", str(folder)).stdout)
    # One mail is in the MSG and in the PST.
    assert (dry["new"], dry["refused"], stored(client, source)) == (7, 2, {})
    result = demo.run(*into, "--mailbox", "help@x", str(folder))
    report = json.loads(result.stdout)
    assert (result.exit_code, report["new"], report["refused"]) == (1, 7, 2)
    assert (report["repeated"], dry["repeated"]) == (1, 1)
    assert "no-date.eml: no date can be read" in result.stderr
    found = stored(client, source)
    properties = {one["user_properties"]["string:Message ID"]: one for one in found.values()}
    assert properties["<e3@example.com>"]["user_properties"]["string:Folder"] == "old"
    assert properties["<e2@example.com>"]["messages"][0]["body"]["text"] == "Über 2"
    pst = properties["<m4@example.com>"]["user_properties"]
    assert pst["string:Folder"] == "Top of Personal Folders / Inbox / Archive"
    assert pst["string:Mailbox"] == "help@x"
    attached = {one["name"]: one for one in properties["<m1@example.com>"]["attachments"]}
    assert attached["note.txt"]["size"] == 5
    assert "attachment_reference" in attached["großes bild.png"]
    again = json.loads(demo.run(*into, "--mailbox", "help@x", str(folder)).stdout)
    assert (again["new"], again["updated"], again["unchanged"]) == (0, 0, 7)
    dry = json.loads(demo.run(*into, "--mailbox", "help@x", "--dry-run", str(folder)).stdout)
    assert (dry["new"], dry["updated"], dry["unchanged"]) == (0, 0, 7)


def test_e_mails_go_into_a_bucket_as_they_are(demo: Demo, client: Client, tmp_path: Path) -> None:
    bucket = f"demo/bucket-{next(_numbers)}"
    client.call("PUT", f"/api/_private/buckets/{bucket}", {"bucket": {}})
    folder = mails(tmp_path)
    result = demo.run("import", "--bucket", bucket, str(folder))
    assert (result.exit_code, "8 e-mails stored, 2 refused" in result.stdout) == (1, True)
    page = client.call("POST", f"/api/_private/buckets/{bucket}/emails", {"limit": 64})
    found = {one["id"]: one for one in page["emails"]}
    assert found["<e1@example.com>"]["mime_content"] == EML.format(1)
    assert found["<m4@example.com>"]["metadata"]["folder"][-1] == "Archive"
    name = f"demo/import-{next(_numbers)}"
    client.call("PUT", f"/api/v1/sources/{name}", {"source": {}})
    both = demo.run("import", "--bucket", bucket, "--source", name, str(folder))
    assert both.exit_code == 2


def test_what_a_file_is_must_be_told_or_seen(demo: Demo, source: str, tmp_path: Path) -> None:
    file = tmp_path / "unknown"
    file.write_bytes(b"nothing known")
    assert demo.run("import", "--source", source, str(file)).exit_code == 2
    file.write_text(json.dumps({"comment": {"id": "a", "timestamp": "2020-01-01", "messages": []}}))
    assert "1 new" in demo.ok("import", "--source", source, str(file))
    assert demo.run("import", str(file)).exit_code == 2
    piped = demo.ok("import", "--source", source, "--format", "csv", "-", given=csv_text(ROWS[:2]))
    assert "2 new" in piped
    zipped = tmp_path / "a.zip"
    with zipfile.ZipFile(zipped, "w") as archive:
        archive.writestr("readme.txt", "nothing")
    result = demo.run("import", "--project", "demo", str(zipped))
    assert (result.exit_code, "it is no package" in result.stderr) == (1, True)


def test_what_the_server_does_not_know_is_left_out_and_told(
    demo: Demo, client: Client, source: str
) -> None:
    comment = {
        "id": "a",
        "timestamp": "2020-01-01T00:00:00Z",
        "messages": [{"body": {"text": "t", "odd": 1}}],
        "novelty": 1,
    }
    line = json.dumps({"comment": comment, "thread_properties": {"num_messages": 1}})
    said = demo.ok("import", "--source", source, "-", given=line)
    assert "left out 1 times: comment.novelty" in said
    assert "left out 1 times: messages.body.odd" in said
    assert list(stored(client, source)) == ["a"]


def test_files_beside_json_lines_come_along(
    demo: Demo, client: Client, source: str, tmp_path: Path
) -> None:
    lines = tmp_path / "inbox.jsonl"
    comment = {
        "id": "<a>@b",
        "timestamp": "2020-01-01T00:00:00Z",
        "messages": [{"body": {"text": "t"}}],
        "attachments": [
            {"name": "x.txt", "size": 7, "content_type": ".txt", "attachment_reference": "old"},
            {"name": "gone.txt", "size": 1, "content_type": ".txt"},
        ],
    }
    lines.write_text(json.dumps({"comment": comment}))
    folder = tmp_path / "inbox.jsonl.attachments" / "<a>@b"
    folder.mkdir(parents=True)
    (folder / "0.x.txt").write_bytes(b"content")
    dry = demo.ok("import", "--source", source, "--dry-run", str(lines))
    assert "1 new, 0 updated, 0 unchanged, 1 attachments" in dry
    said = demo.ok("import", "--source", source, str(lines))
    assert said == "1 new, 0 updated, 0 unchanged, 1 attachments\n"
    first, second = stored(client, source)["<a>@b"]["attachments"]
    assert "attachment_reference" not in second
    path = f"{demo.url}/api/v1/attachments/{first['attachment_reference']}"
    asking = urllib.request.Request(path, headers={"Authorization": f"Bearer {demo.token}"})
    with urllib.request.urlopen(asking) as reply:
        assert reply.read() == b"content"


# Packages


def labelled(client: Client, project: str) -> str:
    """A dataset with definitions and annotations of every kind; its full name."""
    client.create_source(f"{project}/inbox", title="Inbox")
    source = client.call("GET", f"/api/v1/sources/{project}/inbox")["source"]
    lines = [
        {"id": f"c{n}", "timestamp": f"2020-01-0{n}T00:00:00Z",
         "messages": [{"body": {"text": f"Pay 42 euro, number {n}"}}],
         "user_properties": {"string:Team": "Red", "number:Stars": n}}
        for n in range(1, 6)
    ]  # fmt: skip
    client.sync_comments(f"{project}/inbox", lines)
    definition = {
        "title": "Support",
        "source_ids": [source["id"]],
        "has_sentiment": True,
        "entity_defs": [
            {"name": "amount", "title": "Amount", "inherits_from": [], "trainable": True}
        ],
        "general_fields": [{"api_name": "sum", "field_type_name": "amount"}],
        "label_groups": [
            {
                "name": "default",
                "label_defs": [
                    {"name": "Bill", "instructions": "About money"},
                    {
                        "name": "Bill > Wrong",
                        "moon_form": [{"name": "how much", "kind": "amount"}],
                    },
                ],
            }
        ],
    }
    client.call("PUT", f"/api/v1/datasets/{project}/support", {"dataset": definition})
    span = {"content_part": "body", "message_index": 0,
            "utf16_byte_start": 8, "utf16_byte_end": 12}  # fmt: skip
    entity = {"name": "amount", "formatted_value": "42", "spans": [span]}
    said: list[dict[str, Any]] = [
        {
            "labelling": [
                {
                    "group": "default",
                    "assigned": [{"name": "Bill", "sentiment": "negative"}],
                    "dismissed": [{"name": "Bill > Wrong", "sentiment": "positive"}],
                }
            ],
            "entities": {"assigned": [entity], "dismissed": []},
        },
        {
            "moon_forms": [
                {
                    "group": "default",
                    "assigned": [
                        {
                            "label": {"name": "Bill > Wrong", "sentiment": "positive"},
                            "captures": [{"fields": [{**entity, "name": "how much"}]}],
                        }
                    ],
                }
            ]
        },
    ]
    for number, one in enumerate(said, 1):
        path = f"/api/_private/datasets/{project}/support/labellings/{source['id']}.c{number}"
        client.call("POST", path, one)
    return f"{project}/support"


def package(client: Client, dataset: str) -> bytes:
    """What `re package download` writes: the answers of the API, file by file."""
    found = client.call("GET", f"/api/v1/datasets/{dataset}")["dataset"]
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(f"datasets/{found['id']}.dataset.json", json.dumps(found))
        for source_id in found["source_ids"]:
            source = client.call("GET", f"/api/v1/sources/id:{source_id}")["source"]
            archive.writestr(f"sources/{source_id}.source.json", json.dumps(source))
            path = f"/api/_private/datasets/{dataset}/query"
            query = {"filter": {"sources": [source_id]}, "limit": 128, "order": {"kind": "recent"}}
            lines = client.call("POST", path, query)["results"]
            for number in range(0, len(lines), 3):
                text = "".join(json.dumps(one) + "\n" for one in lines[number : number + 3])
                archive.writestr(f"comments/{source_id}.{number // 3}.comments.json", text)
    return out.getvalue()


_OWN = ("id", "uid", "source_id", "field_id", "field_type_id", "created_at", "last_modified",
        "created", "context", "owner", "source_ids", "metadata", "updated_at")  # fmt: skip


def _without_ids(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _without_ids(one) for name, one in value.items() if name not in _OWN}
    return [_without_ids(one) for one in value] if isinstance(value, list) else value


def _everything(content: bytes) -> Any:
    """What is in a package but for what each server makes itself."""
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        found: dict[str, list[Any]] = {}
        for name in archive.namelist():
            for line in archive.read(name).decode().splitlines():
                value = json.loads(line)
                kind = name.split("/")[0]
                key = value["comment"]["id"] if kind == "comments" else ""
                found.setdefault(kind, []).append((key, _without_ids(value)))
        return {kind: sorted(values, key=lambda one: one[0]) for kind, values in found.items()}


def test_a_package_gives_an_equal_dataset(demo: Demo, client: Client, tmp_path: Path) -> None:
    old, new = f"old-{next(_numbers)}", f"new-{next(_numbers)}"
    client.create_project(old)
    written = package(client, labelled(client, old))
    file = tmp_path / "support.zip"
    file.write_bytes(written)

    dry = json.loads(demo.ok("import", "--project", new, "--dry-run", "--json", str(file)))
    assert (dry["new"], dry["annotated"], dry["datasets created"]) == (5, 2, 1)
    assert new not in [one.name for one in client.projects()]

    said = json.loads(demo.ok("import", "--project", new, "--json", str(file)))
    assert (said["new"], said["annotated"], said["left_out"]) == (5, 2, {})
    assert _everything(package(client, f"{new}/support")) == _everything(written)

    again = json.loads(demo.ok("import", "--project", new, "--json", str(file)))
    assert (again["new"], again["unchanged"], again["annotated"]) == (0, 5, 2)
    assert _everything(package(client, f"{new}/support")) == _everything(written)
