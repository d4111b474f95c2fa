"""The commands for everything that the API has, over a whole server on both databases."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from lodestream.cli import annotations, comment_commands, options, remote
from lodestream.cli.main import main
from lodestream.client import client as library
from tests.cli.conftest import objects
from tests.client import Client
from tests.client_library.carriers import AppTransport
from tests.conftest import ROOT_TOKEN
from tests.models import add_model, save_validation

SOURCE = "acme/inbox"
DATASET = "acme/support"
COMMENTS = [
    {
        "id": f"m{number}",
        "timestamp": f"2024-01-0{number}T00:00:00Z",
        "messages": [
            {
                "from": "ann@example.com",
                "subject": {"text": f"Claim {number}"},
                "body": {"text": "Where is my claim?\x1b[31m\nAnn"},
            }
        ],
    }
    for number in range(1, 6)
]


class Commands:
    """Calls commands on a server in this process."""

    def run(self, *arguments: str, given: str | None = None) -> Result:
        where = {"LODESTREAM_URL": "http://test", "LODESTREAM_TOKEN": ROOT_TOKEN}
        return CliRunner(env=where).invoke(main, arguments, input=given)

    def ok(self, *arguments: str, given: str | None = None) -> str:
        """Insist on success; return what was printed for people."""
        result = self.run(*arguments, given=given)
        assert result.exit_code == 0, (arguments, result.output, result.exception)
        return result.stdout

    def json(self, *arguments: str, given: str | None = None) -> list[Any]:
        """Return what is printed for programs."""
        return objects(self.ok(*arguments, "--json", given=given))

    def one(self, *arguments: str, given: str | None = None) -> Any:
        (found,) = self.json(*arguments, given=given)
        return found

    def refused(self, *arguments: str, said: str, code: int = 1) -> None:
        result = self.run(*arguments)
        assert (result.exit_code, result.stdout) == (code, ""), result.output
        assert said in result.stderr
        assert "Traceback" not in result.stderr


@pytest.fixture
def cli(client: Client, monkeypatch: pytest.MonkeyPatch) -> Commands:
    monkeypatch.setattr(library, "Connections", lambda *_way, **_times: AppTransport(client))
    return Commands()


@pytest.fixture
def support(cli: Commands, client: Client) -> Commands:
    """With a source of five comments, a dataset and a stream."""
    cli.ok("source", "create", SOURCE, "--title", "Inbox")
    cli.ok("dataset", "create", DATASET, "--source", SOURCE, "--title", "Support")
    cli.ok("stream", "create", DATASET, "all")
    client.ok("POST", f"/api/v1/sources/{SOURCE}/sync", {"comments": COMMENTS})
    return cli


def uid(cli: Commands, comment_id: str = "m1") -> str:
    return f"{cli.one('source', 'get', SOURCE)['id']}.{comment_id}"


def test_projects(cli: Commands) -> None:
    assert cli.one("project", "create", "new", "--title", "New")["title"] == "New"
    table = cli.ok("project", "list").splitlines()
    assert table[0].split()[:2] == ["NAME", "TITLE"]
    assert {"acme", "new"} < {one["name"] for one in cli.json("project", "list")}
    assert cli.one("project", "update", "new", "--description", "d")["description"] == "d"
    assert "description     d\n" in cli.ok("project", "get", "new")
    cli.ok("source", "create", "new/box")
    cli.refused("project", "delete", "new", "--yes", said="child resources")
    cli.refused("project", "delete", "new", said="add --yes")
    cli.ok("project", "delete", "new", "--force", "-y")
    cli.refused("project", "get", "new", said="No such project")


def test_sources(support: Commands) -> None:
    found = support.one("source", "get", SOURCE)
    assert support.one("source", "get", found["id"]) == found  # by its id, too
    assert support.one("source", "get", f"id:{found['id']}") == found
    made = support.one(
        "source", "create", "other/mail", "--language", "de", "--kind", "chat", "--file", "-",
        given='{"title": "From the file", "should_translate": true}',
    )  # fmt: skip
    assert (made["title"], made["_kind"], made["should_translate"]) == (
        "From the file",
        "chat",
        True,
    )
    assert [one["name"] for one in support.json("source", "list", "other")] == ["mail"]
    assert len(support.json("source", "list")) == 2
    assert support.ok("source", "list").splitlines()[0].startswith("OWNER")
    changed = support.one("source", "update", found["id"], "--title", "Post")
    assert (changed["title"], changed["id"]) == ("Post", found["id"])
    assert support.one("source", "statistics", SOURCE) == {"num_comments": 5}
    since = ("--from-timestamp", "2024-01-04T00:00:00Z")
    assert support.ok("source", "statistics", SOURCE, *since) == "num_comments  2\n"
    support.ok("source", "delete", SOURCE, "--yes")
    support.refused("source", "get", SOURCE, said="No such source")


def test_a_source_and_its_bucket(cli: Commands) -> None:
    bucket = cli.one("bucket", "create", "acme/mail", "--title", "Mail")
    source = cli.one("source", "create", SOURCE, "--bucket", "acme/mail")
    assert source["bucket_id"] == bucket["id"]
    assert "bucket_id" not in cli.one("source", "update", SOURCE, "--detach-bucket")


def test_what_would_be_lost_is_asked_about(
    support: Commands, monkeypatch: pytest.MonkeyPatch
) -> None:
    support.refused("source", "delete", SOURCE, said="with its 5 comments? Nobody can be asked")
    monkeypatch.setattr(options, "somebody_can_answer", lambda: True)
    result = support.run("source", "delete", SOURCE, given="n\n")
    assert (result.exit_code, "nothing was done" in result.stderr) == (1, True)
    assert len(support.json("source", "list")) == 1
    assert support.run("source", "delete", SOURCE, given="y\n").exit_code == 0
    assert support.json("source", "list") == []


def test_datasets(support: Commands) -> None:
    found = support.one("dataset", "get", DATASET)
    assert "labels" in support.ok("dataset", "get", found["id"])
    assert support.ok("dataset", "list").splitlines()[1].split()[:2] == ["acme", "support"]
    assert [one["id"] for one in support.json("dataset", "list", "acme")] == [found["id"]]
    assert support.one("dataset", "update", DATASET, "--title", "Help")["title"] == "Help"
    support.ok("label", "create", DATASET, "Claim")
    copy = support.one(
        "dataset", "create", "acme/copy", "--copy-annotations-from", DATASET, "-s", SOURCE
    )
    assert copy["source_ids"] == found["source_ids"]
    counts = support.one("dataset", "statistics", DATASET, "--to-timestamp", "2024-01-02T00:00:00Z")
    assert counts["num_comments"] == 2
    assert "num_comments   5" in support.ok("dataset", "statistics", DATASET)
    assert support.one("dataset", "status", DATASET)["inference_stuck"] is False
    assert "inference_stuck" in support.ok("dataset", "status", DATASET)
    support.ok("dataset", "delete", "acme/copy", "-y")
    assert len(support.json("dataset", "list")) == 1


def test_labels(support: Commands) -> None:
    def names() -> list[str]:
        return [one["name"] for one in support.json("label", "list", DATASET)]

    support.ok("label", "create", DATASET, "Claim > Status", "Thanks", "--instructions", "When")
    assert names() == ["Claim", "Claim > Status", "Thanks"]
    assert "Thanks" in support.ok("label", "list", DATASET)
    assert support.one("label", "update", DATASET, "Thanks", "--title", "T")["title"] == "T"
    support.refused("label", "rename", DATASET, "Thanks", "Claim", said="`label merge`")
    support.ok("label", "rename", DATASET, "Claim", "Claims")
    assert names() == ["Claims", "Claims > Status", "Thanks"]
    support.refused("label", "merge", DATASET, "Thanks", "None", "-y", said="`label rename`")
    support.refused("label", "merge", DATASET, "Thanks", "Claims", said="add --yes")
    assert support.ok("label", "merge", DATASET, "Thanks", "Claims", "-y") == "0 comments changed\n"
    support.ok("label", "delete", DATASET, "Claims > Status", "-y")
    assert names() == ["Claims"]


def test_label_groups(support: Commands) -> None:
    support.ok("label-group", "create", DATASET, "tone", "--instructions", "How it sounds")
    support.ok("label", "create", DATASET, "Angry", "--group", "tone")
    assert [one["name"] for one in support.json("label-group", "list", DATASET)] == [
        "default",
        "tone",
    ]
    assert "tone" in support.ok("label-group", "list", DATASET)
    assert support.one("label", "list", DATASET, "--group", "tone")["name"] == "Angry"
    support.ok("label-group", "delete", DATASET, "tone", "-y")
    assert len(support.json("label-group", "list", DATASET)) == 1


def test_comments_of_a_source(support: Commands) -> None:
    whole = support.one("comment", "get", SOURCE, "m1")
    assert whole["messages"][0]["body"]["text"] == "Where is my claim?\x1b[31m\nAnn"
    shown = support.ok("comment", "get", SOURCE, "m1")
    assert "subject  Claim 1\nWhere is my claim? [31m\nAnn\n" in shown
    assert len(support.json("comment", "list", SOURCE)) == 5
    newest = support.ok("comment", "list", SOURCE, "--newest-first", "--limit", "2").splitlines()
    assert [line.split()[0] for line in newest] == ["ID", "m5", "m4"]
    between = ("--from-timestamp", "2024-01-02T00:00:00Z", "--to-timestamp", "2024-01-03T00:00:00Z")
    assert [one["id"] for one in support.json("comment", "list", SOURCE, *between)] == ["m2", "m3"]
    support.refused("comment", "list", SOURCE, *between[:1], "soon", said="no timestamp", code=2)
    support.ok("comment", "delete", SOURCE, "m1", "m2", "none", "-y")
    assert [one["id"] for one in support.json("comment", "list", SOURCE)] == ["m3", "m4", "m5"]


def test_many_comments_are_deleted_and_annotated_ones_only_if_told(
    support: Commands, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(comment_commands, "_PAGE", 2)
    client.ok(
        "POST",
        f"/api/v1/datasets/{DATASET}/sync-annotations",
        {"annotations": [{"comment_uid": uid(support), "labels": {"assigned": [{"name": "A"}]}}]},
    )
    early = ("--to-timestamp", "2024-01-03T00:00:00Z")
    many = ("comment", "delete-many", SOURCE)
    support.refused(*many, *early, said="Delete 3 comments of acme/inbox, but for annotated ones?")
    assert support.ok(*many, *early, "-y") == "2 comments deleted\n"
    left = [one["id"] for one in support.json("comment", "list", SOURCE)]
    assert left == ["m1", "m4", "m5"]
    assert support.ok(*many, "-y", "--include-annotated") == "3 comments deleted\n"
    assert support.json("comment", "list", SOURCE) == []


def test_comments_of_a_dataset(support: Commands, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(comment_commands, "_PAGE", 2)
    found = support.json("comment", "query", DATASET)
    assert [one["comment"]["id"] for one in found] == ["m5", "m4", "m3", "m2", "m1"]
    assert support.ok("comment", "query", DATASET).splitlines()[0].split()[0] == "UID"
    asked = '{"filter": {"timestamp": {"maximum": "2024-01-02T00:00:00Z"}}}'
    few = support.json("comment", "query", DATASET, "--file", "-", given=asked)
    assert [one["comment"]["id"] for one in few] == ["m2", "m1"]
    assert support.json("comment", "query", DATASET, "--reviewed") == []
    (best,) = support.json("comment", "query", DATASET, "--text", "claim 3", "--limit", "1")
    assert best["comment"]["id"] == "m3"
    support.refused("comment", "query", DATASET, "--text", "x", "--label", "y", said="two", code=2)
    monkeypatch.setattr(remote, "MOST_ROWS", 3)
    cut = support.run("comment", "query", DATASET)
    assert (len(cut.stdout.splitlines()), cut.stderr) == (4, "the first 3; --limit shows more\n")


def test_attachments(support: Commands, client: Client, tmp_path: Path) -> None:
    content = b"\x00\xffpdf"
    path = f"/api/_private/sources/id:{uid(support).split('.')[0]}/comments/a/attachments/0"
    uploaded = client.put(path, content).json["content_hash"]
    file = {"name": "a", "size": 5, "content_type": "application/pdf", "content_hash": uploaded}
    sent = {**COMMENTS[0], "id": "a", "attachments": [file]}
    client.ok("POST", f"/api/v1/sources/{SOURCE}/sync", {"comments": [sent]})
    (shown,) = support.one("comment", "get", SOURCE, "a")["attachments"]
    target = tmp_path / "a.pdf"
    support.ok("attachment", "get", shown["attachment_reference"], str(target))
    assert target.read_bytes() == content
    support.refused("attachment", "get", "0" * 16 + "-" + "0" * 64, said="No such attachment")


def test_streams(support: Commands) -> None:
    definition = '{"comment_filter": {"reviewed": "only_reviewed"}}'
    made = support.one(
        "stream", "create", DATASET, "new", "--title", "New", "--file", "-", given=definition
    )
    assert made["comment_filter"] == {"reviewed": "only_reviewed"}
    assert [one["name"] for one in support.json("stream", "list", DATASET)] == ["all", "new"]
    assert support.ok("stream", "list", DATASET).splitlines()[0].startswith("NAME")
    assert support.one("stream", "update", DATASET, "new", "--title", "T")["title"] == "T"
    assert "title           T" in support.ok("stream", "get", DATASET, "new")
    support.ok("stream", "exception", "add", DATASET, "all", uid(support), "--type", "Odd")
    support.ok("stream", "exception", "remove", DATASET, "all", uid(support))
    support.refused("stream", "get", DATASET, "a/b", said="no name of a stream", code=2)
    support.refused("stream", "delete", DATASET, "new", said="add --yes")
    support.ok("stream", "delete", DATASET, "new", "-y")
    support.refused("stream", "get", DATASET, "new", said="No such stream")


def test_buckets(cli: Commands, client: Client) -> None:
    made = cli.one("bucket", "create", "acme/mail")
    assert cli.one("bucket", "update", made["id"], "--title", "Post")["title"] == "Post"
    assert cli.ok("bucket", "list").splitlines()[1].split()[:2] == ["acme", "mail"]
    assert [one["id"] for one in cli.json("bucket", "list", "acme")] == [made["id"]]
    email = {
        "id": "e1",
        "mailbox": "ann@example.com",
        "timestamp": "2024-01-01T00:00:00Z",
        "mime_content": "Subject: x\r\n\r\ny",
    }
    path = "/api/_private/buckets/acme/mail"
    client.ok("PUT", f"{path}/emails", {"emails": [email, {**email, "id": "e2"}]})
    assert cli.ok("bucket", "statistics", "acme/mail") == "emails  2\n"
    assert cli.one("bucket", "statistics", "acme/mail")["count"]["value"] == 2
    assert [one["id"] for one in cli.json("bucket", "emails", "acme/mail")] == ["e1", "e2"]
    one = cli.ok("bucket", "emails", "acme/mail", "--id", "e2").splitlines()
    assert one[1].split()[:2] == ["e2", "ann@example.com"]
    assert cli.json("bucket", "sync-states", made["id"]) == []
    assert "MAILBOX NAME" in cli.ok("bucket", "sync-states", "acme/mail")
    assert "title" in cli.ok("bucket", "get", "acme/mail")
    cli.refused("bucket", "delete", "acme/mail", said="with its 2 e-mails?")
    cli.ok("bucket", "delete", "acme/mail", "-y")
    cli.refused("bucket", "get", made["id"], said="No such bucket")


def test_models(support: Commands, client: Client) -> None:
    version = str(add_model(client))
    support.ok("model", "pin", DATASET, version)
    support.ok("model", "tag", DATASET, version, "live")
    (shown,) = support.json("model", "list", DATASET)
    assert (shown["version"], shown["pinned"], shown["tags"]) == (int(version), True, ["live"])
    assert "live" in support.ok("model", "list", DATASET)
    described = support.one("model", "update", DATASET, version, "--starred")
    assert described["settings"]["starred"] is True
    table = support.ok("model", "predict", DATASET, "live", "--text", "where is my claim")
    assert "Claim > Status" in table
    asked = json.dumps({"documents": [{"messages": [{"body": {"text": "x"}}]}] * 2})
    found = support.one("model", "predict", DATASET, version, "--file", "-", given=asked)
    assert len(found["predictions"]) == 2
    support.refused("model", "predict", DATASET, "live", said="either", code=2)
    support.refused("model", "unpin", DATASET, version, said="live")
    support.ok("model", "untag", DATASET, "live")
    support.ok("model", "unpin", DATASET, version)
    assert support.json("model", "list", DATASET)[0]["pinned"] is False
    support.refused("model", "validation", DATASET, version, said="validat")
    save_validation(client, int(version))
    assert "dataset_score" in support.ok("model", "validation", DATASET, version)
    assert support.one("model", "validation", DATASET, version)["version"] == int(version)
    assert "labels" in support.one("model", "validation", DATASET, version, "--labels")


def test_annotations(support: Commands, client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    where = uid(support)
    for names in (["Claim"], ["Claim", "Thanks"]):
        support.ok("label", "create", DATASET, *names)
        labels = [{"name": name, "sentiment": "positive"} for name in names]
        body = {"labelling": [{"group": "default", "assigned": labels}]}
        client.ok("POST", f"/api/_private/datasets/{DATASET}/labellings/{where}", body)
    table = support.ok("annotation", "history", DATASET, where).splitlines()
    assert table[1].endswith("Claim   Claim, Thanks")
    newest, oldest = support.json("annotation", "history", DATASET, where)
    assert newest["revision"] > oldest["revision"]
    assert len(support.json("annotation", "history", DATASET, where, "--limit", "1")) == 1
    monkeypatch.setattr(annotations, "_PAGE", 1)
    assert support.json("annotation", "history", DATASET, where) == [newest, oldest]
    done = support.one("annotation", "undo", DATASET, where)
    assert done["revision"] > newest["revision"]
    assert len(support.json("annotation", "history", DATASET, where)) == 3


def test_the_audit_log(support: Commands) -> None:
    table = support.ok("audit", "list").splitlines()
    assert table[0].split() == ["TIMESTAMP", "EVENT", "TYPE", "ACTOR", "ABOUT"]
    assert any("source inbox" in line for line in table)
    events = support.json("audit", "list")
    assert len(events) == len(table) - 1
    assert support.json("audit", "list", "--limit", "1") == events[:1]
    assert support.json("audit", "list", "--to-timestamp", "2020-01-01T00:00:00Z") == []


def test_quotas(cli: Commands) -> None:
    cli.ok("quota", "set", "sources", "7")
    limits = {one["quota_kind"]: one["hard_limit"] for one in cli.json("quota", "list")}
    assert limits["sources"] == 7
    assert cli.ok("quota", "list").splitlines()[0].startswith("QUOTA KIND")
    cli.refused("quota", "set", "nonsense", "7", said="nonsense")


def test_users_and_tokens_over_the_api(cli: Commands) -> None:
    made = cli.one(
        "user", "create", "ada", "ada@example.com", "--api", "--project", "acme", "-p", "voc"
    )
    assert made["organisation_permissions"] == {"acme": ["voc"]}
    assert "ada@example.com" in cli.ok("user", "list", "--api")
    granted = cli.one("user", "grant", "ada", "--api", "--project", "other", "-p", "sources-read")
    assert granted["organisation_permissions"] == {"acme": ["voc"], "other": ["sources-read"]}
    changed = cli.one("user", "update", made["id"], "--api", "-g", "audit-read")
    assert changed["global_permissions"] == ["audit-read"]
    cli.refused("user", "update", "ada", "--api", said="say which permissions", code=2)
    taken = cli.one("user", "revoke", "ada", "--api", "--project", "other", "-p", "all")
    assert taken["organisation_permissions"] == {"acme": ["voc"]}
    assert "ada@example.com" in cli.ok("user", "get", "ada", "--api")

    assert cli.one("user", "current")["username"] != "ada"
    secret = cli.ok("token", "create", "--user", "ada", "--label", "laptop", "--api").strip()
    (listed,) = cli.json("token", "list", "--user", "ada", "--api")
    assert (listed["label"], listed["user"]) == ("laptop", "ada")
    assert len(cli.json("token", "list", "--api")) > 1
    assert "ada@example.com" in cli.ok("user", "current", "--token", secret)
    cli.ok("token", "revoke", listed["id"], "--api")
    assert cli.json("token", "list", "--user", "ada", "--token", ROOT_TOKEN) == []
    cli.refused("source", "list", "--token", secret, said="HTTP 401")
    cli.ok("user", "delete", "ada", "--api")
    cli.refused("user", "get", "ada", "--api", said="No such user: ada")
    cli.refused("user", "list", "--api", "--data", "x", said="--data", code=2)


@pytest.mark.parametrize(
    ("arguments", "said", "code"),
    [
        (("source", "get", "inbox"), "PROJECT/NAME expected, or an id", 2),
        (("source", "get", "acme/none"), "No such source", 1),
        (("source", "list", "--token", "wrong"), "HTTP 401", 1),
        (("source", "list", "--token", "naïve"), "characters that no token has", 2),
        (("source", "list", "--proxy", "socks5://x"), "not an HTTP proxy", 2),
        (("source", "create", "acme/x", "--language", "klingon"), "language", 1),
        (("source", "create", "acme/x", "--file", "/dev/null"), "is not JSON", 2),
        (("model", "tag", "acme/x", "1", "best"), "'best' is not one of", 2),
    ],
)
def test_a_refusal_is_told_and_counted(
    cli: Commands, arguments: tuple[str, ...], said: str, code: int
) -> None:
    cli.refused(*arguments, said=said, code=code)


def test_a_file_must_hold_an_object(cli: Commands) -> None:
    result = cli.run("source", "create", SOURCE, "--file", "-", given="[1]")
    assert (result.exit_code, "JSON object" in result.stderr) == (2, True)
