"""The vendor's client on buckets, the e-mails in them, and where connectors are with them."""

from __future__ import annotations

import json
import time
import urllib.request
from collections.abc import Iterator
from typing import Any

import pytest
from click.testing import CliRunner

from lodestream.cli.main import main
from tests.cli.test_vendor_cli import RE, TOKEN, Vendor
from tests.formats.msg_writer import compound, msg
from tests.processes import ServerProcess, environment, free_port

MIME = (
    "Date: Thu, 09 Jan 2020 16:34:45 +0000\r\nFrom: Alice <alice@example.com>\r\n"
    "To: bob@example.org\r\nSubject: Number {0}\r\nMessage-ID: <m{0}@example.com>\r\n"
    "Content-Type: text/plain; charset=utf-8\r\n\r\nHello {0}\r\n"
)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    if RE is None:
        pytest.skip(
            "NO `re`: cargo install reinfer-cli --version 0.35.0 --locked, or LODESTREAM_TEST_RE"
        )
    given = environment(free_port(), LODESTREAM_ADMIN_TOKEN=TOKEN)
    running = ServerProcess(tmp_path_factory.mktemp("server"), given, command=["serve"])
    yield running
    running.stop()


@pytest.fixture(scope="module")
def vendor(server: ServerProcess, tmp_path_factory: pytest.TempPathFactory) -> Vendor:
    client = Vendor(tmp_path_factory.mktemp("vendor"))
    client.ok("config", "add", "--name", "here", "--endpoint", server.url, "--token", TOKEN)
    return client


_numbers = iter(range(1, 1000))


@pytest.fixture
def bucket(vendor: Vendor) -> str:
    """A bucket in a project of the test's own."""
    me = vendor.rows("get", "current-user")[0]
    project = f"mail-{next(_numbers)}"
    vendor.ok("create", "project", project, "--title", "Title", "--user-ids", me["id"])
    vendor.ok("create", "bucket", f"{project}/mail", "--title", "Mail")
    return f"{project}/mail"


def email(number: int, **more: Any) -> dict[str, Any]:
    return {
        "id": f"<m{number}@example.com>",
        "mailbox": "help@example.com",
        "timestamp": "2020-01-09T16:34:45Z",
        "mime_content": MIME.format(number),
        "attachments": [],
        **more,
    }


def upload(vendor: Vendor, bucket: str, *emails: dict[str, Any], **options: str) -> None:
    path = vendor.write("emails.jsonl", *emails)
    more = [text for name, value in options.items() for text in (f"--{name}", value)]
    vendor.ok("create", "emails", "-b", bucket, "-f", path, "--yes", "--no-progress", *more)


def call(server: ServerProcess, method: str, path: str, body: Any = None) -> Any:
    request = urllib.request.Request(
        server.url + path,
        None if body is None else json.dumps(body).encode(),
        {"Authorization": f"Bearer {TOKEN}"},
        method=method,
    )
    with urllib.request.urlopen(request, timeout=60) as reply:
        return json.load(reply)


def await_comments(server: ServerProcess, source: str, count: int) -> list[dict[str, Any]]:
    """Wait until a source has so many comments; return them."""
    until = time.monotonic() + 30
    while True:
        found: list[dict[str, Any]] = call(
            server, "GET", f"/api/_private/sources/{source}/comments"
        )["comments"]
        if len(found) == count:
            return found
        assert time.monotonic() < until, f"{len(found)} comments\n{server.tail()}"
        time.sleep(0.1)


def test_buckets_are_listed_with_their_statistics(vendor: Vendor, bucket: str) -> None:
    upload(vendor, bucket, email(1), email(2))
    rows = {f"{row['owner']}/{row['name']}": row for row in vendor.rows("get", "buckets")}
    assert bucket in rows
    # The client asks for the statistics and insists on them, but leaves them out of its JSON.
    (row,) = vendor.rows("get", "buckets", bucket, "--stats")
    assert row["id"] == rows[bucket]["id"]
    (by_id,) = vendor.rows("get", "buckets", rows[bucket]["id"])
    assert by_id["id"] == rows[bucket]["id"]


def test_emails_come_back_as_they_went_in(vendor: Vendor, bucket: str) -> None:
    sent = [email(number) for number in range(300)]
    sent[0]["metadata"] = {"folder": ["root", "Inbox"], "has_attachments": False}
    upload(vendor, bucket, *sent)
    target = vendor.folder / "downloaded.jsonl"
    vendor.ok("get", "emails", bucket, "-f", str(target))
    found = [json.loads(line) for line in target.read_text().splitlines()]
    assert [one["id"] for one in found] == [one["id"] for one in sent]
    assert [one["mime_content"] for one in found] == [one["mime_content"] for one in sent]
    assert found[0]["metadata"]["folder"] == ["root", "Inbox"]


def test_what_was_downloaded_can_be_uploaded_elsewhere(vendor: Vendor, bucket: str) -> None:
    upload(vendor, bucket, email(1, metadata={"folder": ["a"]}), email(2))
    target = vendor.folder / "moved.jsonl"
    vendor.ok("get", "emails", bucket, "-f", str(target))
    other = bucket.replace("/mail", "/copy")
    vendor.ok("create", "bucket", other)
    vendor.ok("create", "emails", "-b", other, "-f", str(target), "--yes", "--no-progress")
    assert [one["id"] for one in vendor.rows("get", "emails", other)] == [
        "<m1@example.com>",
        "<m2@example.com>",
    ]


def test_one_email_is_found_by_its_id(vendor: Vendor, bucket: str) -> None:
    upload(vendor, bucket, email(1), email(2))
    (found,) = vendor.rows("get", "emails", bucket, "<m2@example.com>")
    assert found["mime_content"] == MIME.format(2)


def test_a_source_of_a_bucket_gets_its_emails(
    server: ServerProcess, vendor: Vendor, bucket: str
) -> None:
    upload(vendor, bucket, email(1), email(2))
    source = bucket.replace("/mail", "/inbox")
    tag = "generic.0.CONVKER5"
    vendor.ok("create", "source", source, "--bucket", bucket, "--transform-tag", tag)
    found = await_comments(server, source, 2)
    assert {one["messages"][0]["subject"]["text"] for one in found} == {"Number 1", "Number 2"}
    rows = [row for row in vendor.rows("get", "sources") if row["name"] == "inbox"]
    assert rows
    vendor.ok("update", "source", source, "--title", "Inbox")
    upload(vendor, bucket, email(3))
    await_comments(server, source, 3)
    # This version of the client sends the bucket back whatever else it changes.
    source_now = call(server, "GET", f"/api/v1/sources/{source}")["source"]
    assert (source_now["title"], source_now["bucket_id"]) == ("Inbox", rows[0]["bucket_id"])


def test_eml_files_are_parsed_into_a_bucket(vendor: Vendor, bucket: str) -> None:
    folder = vendor.folder / bucket.replace("/", "-")
    folder.mkdir()
    for number in range(6):
        (folder / f"{number}.eml").write_text(MIME.format(number), newline="")
    vendor.ok("parse", "emls", "-d", str(folder), "-b", bucket, "--yes")
    found = vendor.rows("get", "emails", bucket)
    assert {one["id"] for one in found} == {f"<m{number}@example.com>" for number in range(6)}


def test_keyed_sync_states_are_shown_and_deleted(
    server: ServerProcess, vendor: Vendor, bucket: str
) -> None:
    bucket_id = vendor.rows("get", "buckets", bucket)[0]["id"]
    by_id = f"/api/_private/buckets/id:{bucket_id}"
    for key, mailbox in (("aa", "a@example.com"), ("bb", "a@example.com"), ("cc", "b@example.com")):
        state = {
            "mailbox_name": mailbox,
            "folder_id": key,
            "folder_path": ["Inbox", key],
            "status": "UP_TO_DATE",
        }
        call(server, "PUT", f"{by_id}/keyed-sync-state/{key}", {"keyed_sync_state": state})
    rows = vendor.rows("get", "keyed-sync-states", bucket)
    assert sorted(row["folder_id"] for row in rows) == ["aa", "bb", "cc"]
    vendor.ok("delete", "keyed-sync-states", bucket, "a@example.com")
    assert [row["folder_id"] for row in vendor.rows("get", "keyed-sync-states", bucket)] == ["cc"]


def test_a_bucket_is_deleted_and_may_come_again(vendor: Vendor, bucket: str) -> None:
    upload(vendor, bucket, email(1))
    vendor.ok("delete", "bucket", bucket)
    vendor.refused("get", "buckets", bucket)
    vendor.ok("create", "bucket", bucket)
    assert vendor.ok("get", "emails", bucket).strip() == ""


def test_msg_files_are_parsed_into_a_source(
    server: ServerProcess, vendor: Vendor, bucket: str
) -> None:
    project = bucket.split("/")[0]
    source = f"{project}/msgs"
    vendor.ok("create", "source", source)
    folder = vendor.folder / f"msgs-{project}"
    folder.mkdir()
    for number in range(3):
        files = [({0x3707: f"{number}.txt", 0x3703: ".txt"}, b"content")]
        headers = MIME.format(number).partition("\r\n\r\n")[0] + "\r\n"
        content = compound(msg({0x7D: headers, 0x1000: f"Hello {number}"}, None, files))
        (folder / f"{number}.msg").write_bytes(content)
    vendor.ok("parse", "msgs", "--dir", str(folder), "--source", source, "--yes")
    found = {one["messages"][0]["body"]["text"]: one for one in await_comments(server, source, 3)}
    one = found["Hello 1"]
    assert one["messages"][0]["subject"]["text"] == "Number 1"
    assert one["user_properties"]["string:MSG NAME ID"] == "1.msg"
    assert one["attachments"][0]["name"] == "1.txt"
    # What our own import makes of the same files are the same comments, with the files' contents.
    vendor.ok("create", "source", f"{project}/ours")
    lodestream("import", "--source", f"{project}/ours", str(folder), server=server)
    ours = {one["id"]: one for one in await_comments(server, f"{project}/ours", 3)}
    for comment in found.values():
        mine = ours[comment["id"]]
        assert [mine[name] for name in ("messages", "timestamp", "thread_id")] == [
            comment[name] for name in ("messages", "timestamp", "thread_id")
        ]
        assert mine["attachments"][0]["attachment_reference"]


def lodestream(*arguments: str, server: ServerProcess) -> str:
    """Call a command of ours against the same server; return what it printed."""
    where = {"LODESTREAM_URL": server.url, "LODESTREAM_TOKEN": TOKEN}
    result = CliRunner(env=where).invoke(main, arguments)
    assert result.exit_code == 0, (result.output, result.exception)
    return result.stdout


def test_a_csv_of_ai_center_is_parsed_with_its_labels(
    server: ServerProcess, vendor: Vendor, bucket: str
) -> None:
    project = bucket.split("/")[0]
    source, dataset = f"{project}/aic", f"{project}/labels"
    vendor.ok("create", "source", source)
    vendor.ok("create", "dataset", dataset, "--source", source, "--has-sentiment", "false")
    file = vendor.folder / f"{project}.csv"
    rows = "".join(f'"Words, number {n}",{"Bill" if n % 2 else "Parcel"}\n' for n in range(10))
    file.write_text("input,target\n" + rows)
    where = ("--file", str(file), "--source", source, "--dataset", dataset)
    vendor.ok("parse", "aic-classification-csv", *where, "--no-charge")
    assert len(await_comments(server, source, 10)) == 10
    target = vendor.folder / f"{project}.jsonl"
    reviewed = ("--dataset", dataset, "--reviewed-only", "true")
    vendor.ok("get", "comments", source, *reviewed, "--file", str(target))
    lines = [json.loads(line) for line in target.read_text().splitlines()]
    labels = {one["comment"]["id"]: one["labelling"][0]["assigned"][0]["name"] for one in lines}
    assert labels == {str(n): "Bill" if n % 2 else "Parcel" for n in range(10)}
    # What the vendor's client downloads goes into another source with all that was said of it.
    vendor.ok("create", "source", f"{project}/moved")
    vendor.ok("create", "dataset", f"{project}/again", "--source", f"{project}/moved")
    into = ("--source", f"{project}/moved", "--dataset", f"{project}/again")
    said = lodestream("import", *into, str(target), server=server)
    assert said == "10 new, 0 updated, 0 unchanged, 10 annotated\n"
    moved = vendor.folder / f"{project}-moved.jsonl"
    reviewed = ("--dataset", f"{project}/again", "--reviewed-only", "true")
    vendor.ok("get", "comments", f"{project}/moved", *reviewed, "--file", str(moved))
    again = [json.loads(line) for line in moved.read_text().splitlines()]
    assert [_said(one) for one in again] == [_said(one) for one in lines]


def _said(line: dict[str, Any]) -> Any:
    names = [[one["name"] for one in group["assigned"]] for group in line["labelling"]]
    return line["comment"]["id"], line["comment"]["messages"], names
