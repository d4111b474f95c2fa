"""The vendor's command line client, unmodified, against a server process.

The client is a Rust program: `cargo install reinfer-cli --version 0.35.0 --locked`. Each of its
calls first asks who calls, and most commands look up what they name before they act; so a command
that works has used several operations, and read every field that it insists on.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.processes import ServerProcess, environment, free_port

RE = os.environ.get("LODESTREAM_TEST_RE") or shutil.which("re")

TOKEN = "vendor-test-token"
CURL = ("curl", "-sS", "--fail-with-body", "-H", f"Authorization: Bearer {TOKEN}")


class Vendor:
    """The client, with a configuration of its own in `folder`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.config = folder / "contexts.json"

    def run(self, *arguments: str, stdin: str = "", timeout_s: float = 60) -> Any:
        assert RE is not None
        return subprocess.run(
            [RE, "--config-file", str(self.config), "--output", "json", *arguments],
            input=stdin,
            capture_output=True,
            text=True,
            timeout=timeout_s,
            check=False,
            cwd=self.folder,
        )

    def ok(self, *arguments: str, stdin: str = "") -> str:
        """Run a command, insist that it works, and return what it prints."""
        done = self.run(*arguments, stdin=stdin)
        assert done.returncode == 0, f"re {' '.join(arguments)}\n{done.stdout}\n{done.stderr}"
        printed: str = done.stdout
        return printed

    def rows(self, *arguments: str) -> list[dict[str, Any]]:
        """Run a command and return the JSON lines that it prints."""
        return [json.loads(line) for line in self.ok(*arguments).splitlines() if line.strip()]

    def refused(self, *arguments: str, stdin: str = "") -> str:
        """Run a command that must fail, and return what it says."""
        done = self.run(*arguments, stdin=stdin)
        assert done.returncode != 0, done.stdout
        said: str = done.stderr
        return said

    def write(self, name: str, *values: Any) -> str:
        """Write JSON lines into a file; return its path."""
        path = self.folder / name
        path.write_text("".join(json.dumps(value) + "\n" for value in values))
        return str(path)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    if RE is None:
        pytest.skip(
            "NO `re`: cargo install reinfer-cli --version 0.35.0 --locked, or LODESTREAM_TEST_RE"
        )
    folder = tmp_path_factory.mktemp("server")
    given = environment(free_port(), LODESTREAM_ADMIN_TOKEN=TOKEN)
    running = ServerProcess(folder, given, command=["serve"])
    yield running
    running.stop()


@pytest.fixture(scope="module")
def vendor(server: ServerProcess, tmp_path_factory: pytest.TempPathFactory) -> Vendor:
    client = Vendor(tmp_path_factory.mktemp("vendor"))
    client.ok("config", "add", "--name", "here", "--endpoint", server.url, "--token", TOKEN)
    return client


_numbers = iter(range(1, 1000))


@pytest.fixture
def project(vendor: Vendor) -> str:
    """A project of the test's own."""
    me = vendor.rows("get", "current-user")[0]
    name = f"project-{next(_numbers)}"
    vendor.ok("create", "project", name, "--title", "Title", "--user-ids", me["id"])
    return name


@pytest.fixture
def source(vendor: Vendor, project: str) -> str:
    name = f"{project}/inbox"
    vendor.ok("create", "source", name, "--title", "Inbox")
    return name


@pytest.fixture
def dataset(vendor: Vendor, project: str, source: str) -> str:
    name = f"{project}/support"
    vendor.ok("create", "dataset", name, "--source", source, "--title", "Support")
    return name


@pytest.fixture
def stream(vendor: Vendor, dataset: str) -> str:
    """A stream without a model: the version is only put into a model that the file has."""
    path = vendor.write("stream.jsonl", {"name": "all"})
    vendor.ok("create", "streams", "--dataset", dataset, "--file", path, "--model-version", "1")
    return f"{dataset}/all"


def comment(comment_id: str, text: str = "Hello", **more: Any) -> dict[str, Any]:
    number = sum(map(ord, comment_id)) % 60
    return {
        "comment": {
            "id": comment_id,
            "timestamp": f"2024-02-01T08:{number:02}:00Z",
            "messages": [{"body": {"text": text}, "from": "ann@example.com"}],
            **more,
        }
    }


def upload(vendor: Vendor, source: str, *comments: dict[str, Any], overwrite: bool = False) -> None:
    path = vendor.write("comments.jsonl", *comments)
    flags = ["--overwrite"] if overwrite else []
    vendor.ok("create", "comments", "--source", source, "--file", path, "--yes", *flags)


def ids_in(vendor: Vendor, source: str, *more: str) -> list[str]:
    return [row["comment"]["id"] for row in vendor.rows("get", "comments", source, *more)]


def test_contexts(vendor: Vendor, server: ServerProcess) -> None:
    assert "here" in vendor.ok("config", "ls")
    assert "here" in vendor.run("config", "current").stdout + vendor.run("config", "current").stderr
    assert vendor.ok("config", "get-token").strip() == TOKEN


def test_a_context_made_from_an_address_works(vendor: Vendor, server: ServerProcess) -> None:
    other = Vendor(vendor.folder / "..")
    other.config = vendor.folder / "other.json"
    url = f"{server.url}/my-org/my-tenant/reinfer_/projects"
    other.ok("config", "parse-from-url", "--url", url, "--token", TOKEN)

    assert other.rows("get", "current-user")[0]["username"] == "admin"


def test_a_bad_token_is_told(vendor: Vendor, server: ServerProcess) -> None:
    said = vendor.refused("--token", "wrong", "get", "projects")
    assert "401" in said


def test_projects(vendor: Vendor, project: str) -> None:
    assert vendor.rows("get", "projects", project)[0]["title"] == "Title"
    vendor.ok("update", "project", project, "--title", "Other")
    assert {row["name"]: row["title"] for row in vendor.rows("get", "projects")}[project] == "Other"
    vendor.ok("delete", "project", project)
    assert project not in {row["name"] for row in vendor.rows("get", "projects")}
    assert "404" in vendor.refused("delete", "project", project)


def test_a_project_with_content_is_only_deleted_by_force(vendor: Vendor, source: str) -> None:
    project = source.split("/")[0]
    said = vendor.refused("delete", "project", project)
    assert (
        "Project contains child resources but force deletion was not requested: "
        '{"sources": 1}' in said
    )
    vendor.ok("delete", "project", project, "--force")


def test_sources(vendor: Vendor, source: str) -> None:
    assert vendor.rows("get", "sources", source)[0]["title"] == "Inbox"
    vendor.ok("update", "source", source, "--title", "Post", "--should-translate", "true")
    row = vendor.rows("get", "sources", source)[0]
    assert (row["title"], row["should_translate"]) == ("Post", True)
    assert vendor.rows("get", "sources", row["id"])[0]["name"] == "inbox"
    vendor.ok("delete", "source", source)
    assert "404" in vendor.refused("get", "sources", source)


def test_sources_with_statistics(vendor: Vendor, source: str) -> None:
    upload(vendor, source, comment("a"))
    assert "1" in vendor.ok("get", "sources", source, "--stats")


def test_an_unknown_transform_tag_is_told(vendor: Vendor, project: str) -> None:
    said = vendor.refused("create", "source", f"{project}/x", "--transform-tag", "no.such.TAG")
    assert "The value 'no.such.TAG' is not a valid transform tag." in said


def test_datasets(vendor: Vendor, dataset: str, source: str) -> None:
    row = vendor.rows("get", "datasets", dataset)[0]
    assert (row["title"], row["has_sentiment"]) == ("Support", False)
    assert [one["name"] for one in vendor.rows("get", "datasets", "--source", source)] == [
        "support"
    ]
    vendor.ok("update", "dataset", dataset, "--title", "Help")
    after = vendor.rows("get", "datasets", dataset)[0]
    assert (after["title"], after["source_ids"]) == ("Help", row["source_ids"])
    vendor.ok("delete", "dataset", dataset)
    assert "404" in vendor.refused("get", "datasets", dataset)


def test_a_dataset_with_definitions(vendor: Vendor, project: str) -> None:
    name = f"{project}/defined"
    labels = [{"name": "Claim"}, {"name": "Claim > Status", "instructions": "asks for it"}]
    vendor.ok("create", "dataset", name, "--label-defs", json.dumps(labels))
    row = vendor.rows("get", "datasets", name)[0]
    assert [one["name"] for one in row["label_defs"]] == ["Claim", "Claim > Status"]
    assert row["label_groups"][0]["name"] == "default"


def test_an_unknown_model_family_is_told(vendor: Vendor, project: str) -> None:
    said = vendor.refused("create", "dataset", f"{project}/x", "--model-family", "klingon")
    assert "'klingon' is not one of" in said


def test_dataset_statistics(vendor: Vendor, dataset: str, source: str) -> None:
    upload(vendor, source, comment("a"), comment("b"))
    row = vendor.rows("get", "datasets", dataset, "--stats")[0]
    assert row["stats"]["total_verbatims"] == 2


def test_comments_come_back_as_they_were_sent(vendor: Vendor, source: str) -> None:
    properties = {"string:Team": "Claims ⌂", "number:NPS": 7.0}
    sent = comment(
        "a+b|c:d@e.f-ü", 'Grüße "quoted" 😀', user_properties=properties, thread_id="t-1"
    )
    upload(vendor, source, sent)

    row = vendor.rows("get", "comment", "--source", source, "a+b|c:d@e.f-ü")[0]["comment"]

    assert row["messages"][0]["body"]["text"] == 'Grüße "quoted" 😀'
    assert row["messages"][0]["from"] == "ann@example.com"
    assert (row["user_properties"], row["thread_id"]) == (properties, "t-1")


def test_comments_are_listed_and_deleted(vendor: Vendor, source: str) -> None:
    upload(vendor, source, *[comment(f"c{n}") for n in range(200)])
    assert sorted(ids_in(vendor, source)) == sorted(f"c{n}" for n in range(200))

    vendor.ok("delete", "comments", "--source", source, "c1", "c2", "unknown")
    vendor.ok("delete", "comments", "--source", source, "c1")

    assert len(ids_in(vendor, source)) == 198


def test_an_upload_may_be_repeated_but_not_changed(vendor: Vendor, source: str) -> None:
    upload(vendor, source, comment("a"))
    upload(vendor, source, comment("a"))
    changed = vendor.write("changed.jsonl", comment("a", "Other"))

    said = vendor.refused("create", "comments", "--source", source, "--file", changed, "--yes")
    assert "409" in said
    upload(vendor, source, comment("a", "Other"), overwrite=True)

    row = vendor.rows("get", "comment", "--source", source, "a")[0]["comment"]
    assert row["messages"][0]["body"]["text"] == "Other"


def test_attachments(vendor: Vendor, server: ServerProcess, source: str) -> None:
    # The client looks for them under the comment's id and their number.
    folder = vendor.folder / "attachments"
    (folder / "a").mkdir(parents=True)
    (folder / "a" / "0.note.txt").write_bytes(b"attached text")
    attachment = {"name": "note.txt", "size": 13, "content_type": ".txt"}
    path = vendor.write("attached.jsonl", comment("a", attachments=[attachment]))
    vendor.ok(
        *("create", "comments", "--source", source, "--file", path, "--yes"),
        *("--attachments", str(folder)),
    )
    row = vendor.rows("get", "comment", "--source", source, "a")[0]["comment"]
    stored = row["attachments"][0]
    assert (stored["name"], stored["size"]) == ("note.txt", 13)
    got = subprocess.run(
        [*CURL, f"{server.url}/api/v1/attachments/{stored['attachment_reference']}"],
        capture_output=True,
        check=True,
        timeout=30,
    )
    assert got.stdout == b"attached text"


def test_bulk_deletion_keeps_what_is_outside_its_range(vendor: Vendor, source: str) -> None:
    for day in range(1, 6):
        one = comment(f"day{day}")
        one["comment"]["timestamp"] = f"2024-02-0{day}T00:00:00Z"
        upload(vendor, source, one)

    vendor.ok(
        *("delete", "bulk", "--source", source, "--include-annotated=false", "--no-progress"),
        *("--from-timestamp", "2024-02-02T00:00:00Z", "--to-timestamp", "2024-02-04T00:00:00Z"),
    )

    assert ids_in(vendor, source) == ["day1", "day5"]


def test_comments_of_a_range_of_time(vendor: Vendor, source: str) -> None:
    for day in range(1, 5):
        one = comment(f"day{day}")
        one["comment"]["timestamp"] = f"2024-02-0{day}T00:00:00Z"
        upload(vendor, source, one)
    bounds = ("--from-timestamp", "2024-02-02T00:00:00Z", "--to-timestamp", "2024-02-03T00:00:00Z")

    assert ids_in(vendor, source, *bounds) == ["day2", "day3"]

    # With a file, the client first asks for the number of comments, to show progress.
    path = vendor.folder / "downloaded.jsonl"
    vendor.ok("get", "comments", source, *bounds, "--file", str(path))
    assert len(path.read_text().splitlines()) == 2


def test_streams_are_listed(vendor: Vendor, stream: str) -> None:
    dataset = stream.rpartition("/")[0]
    row = vendor.rows("get", "streams", "--dataset", dataset)[0]
    assert (row["name"], row["comment_filter"]) == ("all", {})


def test_a_stream_with_a_model_that_is_not_pinned_is_refused(vendor: Vendor, dataset: str) -> None:
    model = {"version": 1, "label_thresholds": [{"name": ["Claim"], "threshold": 0.5}]}
    path = vendor.write("streams.jsonl", {"name": "modelled", "model": model})
    said = vendor.refused(
        *("create", "streams", "--dataset", dataset, "--file", path, "--model-version", "3")
    )
    assert "422" in said
    assert "3 is not a pinned version" in said


def test_stream_comments_once(vendor: Vendor, stream: str, source: str) -> None:
    upload(vendor, source, *[comment(f"c{n}") for n in range(3)])

    batch = vendor.rows("get", "stream-comments", "--stream", stream, "--size", "2")[0]

    assert [one["comment"]["id"] for one in batch["results"]] == ["c0", "c1"]
    again = vendor.rows("get", "stream-comments", "--stream", stream, "--size", "2")[0]
    assert again["sequence_id"] == batch["sequence_id"]


@pytest.mark.parametrize("flags", [(), ("--individual-advance",)])
def test_stream_comments_listening(
    vendor: Vendor, stream: str, source: str, flags: tuple[str, ...]
) -> None:
    upload(vendor, source, *[comment(f"c{n}") for n in range(20)])
    listen = ("get", "stream-comments", "--stream", stream, "--size", "8", "--listen", "0.2")
    with pytest.raises(subprocess.TimeoutExpired) as stopped:
        vendor.run(*listen, *flags, timeout_s=4)

    printed = (stopped.value.stdout or b"").decode()
    ids = [json.loads(line)["comment"]["id"] for line in printed.splitlines()]
    assert ids == [f"c{n}" for n in range(20)]
    assert vendor.rows("get", "stream-comments", "--stream", stream)[0]["results"] == []


def test_stream_exceptions(vendor: Vendor, stream: str, source: str) -> None:
    upload(vendor, source, comment("a"))
    uid = vendor.rows("get", "stream-comments", "--stream", stream)[0]["results"][0]["comment"][
        "uid"
    ]
    tag = ("create", "stream-exception", "--stream", stream, "--type", "No Prediction")
    vendor.ok(*tag, "--uid", uid)
    assert "404" in vendor.refused(*tag, "--uid", uid + "x")


def test_users(vendor: Vendor, project: str) -> None:
    vendor.ok(
        *("create", "user", f"ann-{project}", f"ann@{project}.example"),
        *("--project", project, "--project-permissions", "sources-read"),
    )
    rows = vendor.rows("get", "users", "--project", project)
    ann = next(row for row in rows if row["username"] == f"ann-{project}")
    assert ann["organisation_permissions"] == {project: ["sources-read"]}
    assert vendor.rows("get", "users", "--user", ann["id"])[0]["email"] == ann["email"]

    change = {"id": ann["id"], "organisation_permissions": {project: ["sources-admin"]}}
    vendor.ok("update", "users", "--file", vendor.write("users.jsonl", change))
    after = vendor.rows("get", "users", "--user", ann["id"])[0]
    assert after["organisation_permissions"] == {project: ["sources-admin"]}

    vendor.ok("delete", "user", ann["id"])
    assert ann["id"] not in {row["id"] for row in vendor.rows("get", "users")}


def test_audit_events(vendor: Vendor, source: str) -> None:
    rows = vendor.rows("get", "audit-events", "--minimum", "2024-01-01T00:00:00Z")
    assert "create_source" in {row["event_type"] for row in rows}


def test_audit_events_of_what_is_gone(vendor: Vendor, dataset: str) -> None:
    # The client gives up on an event whose objects the page does not describe.
    vendor.ok("delete", "dataset", dataset)
    rows = vendor.rows("get", "audit-events")
    assert {"create_dataset", "delete_dataset"} <= {row["event_type"] for row in rows}


def test_quotas(vendor: Vendor, server: ServerProcess) -> None:
    events = f"{server.url}/api/v1/audit_events/query"
    page = subprocess.run([*CURL, events, "-d", "{}"], capture_output=True, check=True, timeout=30)
    tenant = json.loads(page.stdout)["tenants"][0]["id"]
    kind = ("--quota-kind", "sources", "--limit", "7777")
    vendor.ok("create", "quota", "--reinfer-tenant-id", tenant, *kind)

    listed = vendor.run("get", "quotas")

    if listed.returncode:
        # Clients before 0.39 do not know two kinds of today, and give up on them.
        assert "Expected a valid quota kind, got: comments_in_ixp_designtime" in listed.stderr
    else:
        rows = [json.loads(line) for line in listed.stdout.splitlines()]
        assert 7777 in {row["hard_limit"] for row in rows}


def annotated(comment_id: str, text: str = "Hello", **annotations: Any) -> dict[str, Any]:
    return {**comment(comment_id, text), **annotations}


def labels(*names: str) -> list[dict[str, str]]:
    return [{"name": name, "sentiment": "positive"} for name in names]


def reviewed(vendor: Vendor, source: str, dataset: str) -> dict[str, dict[str, Any]]:
    """What the client downloads of the reviewed comments, by comment id."""
    rows = vendor.rows("get", "comments", source, "--dataset", dataset, "--reviewed-only", "true")
    return {row["comment"]["id"]: row for row in rows}


def assigned(row: dict[str, Any]) -> list[str]:
    (group,) = row["labelling"]
    return [label["name"] for label in group["assigned"]]


def test_annotations_are_uploaded_and_downloaded(vendor: Vendor, source: str, dataset: str) -> None:
    given = [
        annotated("a", labelling=[{"group": "default", "assigned": labels("A", "B > C")}]),
        annotated("b", labelling={"assigned": labels("A"), "dismissed": labels("D")}),
        annotated("c", labelling=[{"group": "default", "assigned": []}]),
        annotated("d", "😀 42", entities={"assigned": [], "dismissed": []}),
    ]
    upload(vendor, source, *given)
    path = vendor.write("annotations.jsonl", *given)
    where = ("--source", source, "--dataset", dataset)
    vendor.ok("create", "annotations", *where, "--file", path)

    found = reviewed(vendor, source, dataset)

    assert sorted(found) == ["a", "b"]
    assert assigned(found["a"]) == ["A", "B > C"]
    assert [one["name"] for one in found["b"]["labelling"][0]["dismissed"]] == ["D"]
    names = [one["name"] for one in vendor.rows("get", "datasets", dataset)[0]["label_defs"]]
    assert {"A", "B", "B > C", "D"} == set(names)


def test_fields_are_uploaded_by_bytes_and_downloaded_whole(
    vendor: Vendor, project: str, source: str
) -> None:
    name = f"{project}/fields"
    types = [{"name": "order", "title": "Order", "inherits_from": [], "trainable": False}]
    options = ("--source", source, "--entity-defs", json.dumps(types))
    vendor.ok("create", "dataset", name, *options)
    span = {
        "content_part": "body",
        "message_index": 0,
        "utf16_byte_start": 6,
        "utf16_byte_end": 10,
        "char_start": 2,
        "char_end": 4,
    }
    field = {"name": "order", "formatted_value": "42", "spans": [span]}
    given = annotated("d", "😀 42", entities={"assigned": [field], "dismissed": []})
    upload(vendor, source, given)
    path = vendor.write("fields.jsonl", given)
    vendor.ok("create", "annotations", "--source", source, "--dataset", name, "--file", path)

    (entity,) = reviewed(vendor, source, name)["d"]["entities"]["assigned"]

    assert (entity["name"], entity["formatted_value"]) == ("order", "42")
    assert entity["spans"] == [span]


def test_what_is_downloaded_can_be_uploaded_elsewhere(
    vendor: Vendor, project: str, source: str, dataset: str
) -> None:
    given = [
        annotated(f"c{n}", labelling=[{"group": "default", "assigned": labels("A > B")}])
        for n in range(300)
    ]
    path = vendor.write("both.jsonl", *given)
    where = ("--source", source, "--dataset", dataset)
    vendor.ok("create", "comments", *where, "--file", path, "--yes")
    first = reviewed(vendor, source, dataset)
    assert len(first) == 300

    vendor.ok("create", "dataset", f"{project}/second", "--source", source)
    again = vendor.write("again.jsonl", *first.values())
    where = ("--source", source, "--dataset", f"{project}/second")
    vendor.ok("create", "annotations", *where, "--file", again)
    second = reviewed(vendor, source, f"{project}/second")

    assert {one: assigned(row) for one, row in second.items()} == {
        one: assigned(row) for one, row in first.items()
    }


def test_a_dataset_is_copied_with_its_annotations(
    vendor: Vendor, project: str, source: str, dataset: str
) -> None:
    given = annotated("a", labelling=[{"group": "default", "assigned": labels("A")}])
    upload(vendor, source, given)
    path = vendor.write("copied.jsonl", given)
    vendor.ok("create", "annotations", "--source", source, "--dataset", dataset, "--file", path)
    origin = vendor.rows("get", "datasets", dataset)[0]["id"]
    copy = f"{project}/copy"
    vendor.ok("create", "dataset", copy, "--source", source, "--copy-annotations-from", origin)

    assert assigned(reviewed(vendor, source, copy)["a"]) == ["A"]


def test_a_bad_annotation_is_told(vendor: Vendor, source: str, dataset: str) -> None:
    given = annotated("a", labelling=[{"group": "default", "assigned": labels("A", "A")}])
    upload(vendor, source, given)
    path = vendor.write("bad.jsonl", given)
    where = ("--source", source, "--dataset", dataset)

    said = vendor.refused("create", "annotations", *where, "--file", path)

    assert "400" in said
    assert "'A' comes twice" in said


def test_deletion_in_bulk_spares_what_was_annotated(
    vendor: Vendor, source: str, dataset: str
) -> None:
    given = annotated("a", labelling=[{"group": "default", "assigned": labels("A")}])
    upload(vendor, source, given, comment("b"))
    path = vendor.write("spared.jsonl", given)
    vendor.ok("create", "annotations", "--source", source, "--dataset", dataset, "--file", path)
    vendor.ok("delete", "bulk", "--source", source, "--include-annotated=false")

    assert ids_in(vendor, source) == ["a"]
