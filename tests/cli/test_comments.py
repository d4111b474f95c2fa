"""Comments as JSON Lines, in and out of a running server."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from lodestream.cli import import_comments as module
from lodestream.client import Client
from tests.cli.conftest import Demo

FROM = ("--source", "demo/guest-messages")


@pytest.fixture
def into(demo: Demo, request: pytest.FixtureRequest) -> tuple[str, str]:
    """A new source of its own."""
    name = f"s{abs(hash(request.node.name))}"
    server = Client(demo.url, demo.token)
    server.call("PUT", f"/api/v1/sources/demo/{name}", {"source": {}})
    server.close()
    return ("--source", f"demo/{name}")


def line(comment_id: str, text: str = "words") -> str:
    return json.dumps({"comment": comment(comment_id, text)}) + "\n"


def comment(comment_id: str, text: str) -> dict[str, Any]:
    return {
        "id": comment_id,
        "timestamp": "2024-01-01T00:00:00Z",
        "messages": [{"body": {"text": text}}],
    }


def exported(demo: Demo, source: tuple[str, str]) -> list[dict[str, Any]]:
    return [json.loads(one)["comment"] for one in demo.ok("export", *source).splitlines()]


def test_what_is_exported_can_be_imported_elsewhere(
    demo: Demo, into: tuple[str, str], tmp_path: Path
) -> None:
    file = tmp_path / "guests.jsonl"
    assert demo.ok("export", *FROM, str(file)) == ""
    assert len(file.read_text().splitlines()) == 240
    assert demo.ok("import", *into, str(file)) == "240 new, 0 updated, 0 unchanged\n"
    assert demo.ok("import", *into, str(file)) == "0 new, 0 updated, 240 unchanged\n"
    kept = ("id", "timestamp", "messages", "user_properties")
    here, there = exported(demo, FROM), exported(demo, into)
    assert [[one[k] for k in kept] for one in here] == [[one[k] for k in kept] for one in there]


def test_many_batches_come_from_standard_input(
    demo: Demo, into: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "BATCH", 10)
    lines = "".join(line(f"c{number}", "naïve — 日本語 😀") for number in range(25))
    assert demo.ok("import", *into, "-", given=lines + "\n") == "25 new, 0 updated, 0 unchanged\n"
    found = exported(demo, into)
    assert len(found) == 25
    assert found[0]["messages"][0]["body"]["text"] == "naïve — 日本語 😀"


BAD = '{"comment": {"id": "bad", "timestamp": "soon", "messages": []}}\n'


@pytest.mark.parametrize(
    ("bad", "said"),
    [
        (BAD, "line 4: comment 'bad': timestamp"),
        ("{not json\n", 'line 4: a JSON object {"comment": {…}} expected'),
        ('["comment"]\n', "line 4: a JSON object"),
        ('{"comment": 7}\n', "line 4: a JSON object"),
        ('{"comment": {"id": "x", "unknown": 1}}\n', "line 4: "),
    ],
)
def test_a_bad_line_is_named_and_ends_the_import(
    demo: Demo, into: tuple[str, str], bad: str, said: str
) -> None:
    lines = line("a") + line("b") + line("c") + bad + line("e")
    result = demo.run("import", *into, "--stop-on-error", "-", given=lines)
    assert result.exit_code == 1
    assert said in result.stderr
    assert "e" not in [one["id"] for one in exported(demo, into)]


def test_with_resume_every_good_line_is_stored_and_every_bad_one_named(
    demo: Demo, into: tuple[str, str]
) -> None:
    lines = line("a") + BAD + line("c") + "nothing\n" + line("e") + BAD
    result = demo.run("import", *into, "-", given=lines)
    assert result.exit_code == 1
    assert result.stdout == "3 new, 0 updated, 0 unchanged, 3 refused\n"
    assert [one["id"] for one in exported(demo, into)] == ["a", "c", "e"]
    numbers = [one.split(":")[0] for one in result.stderr.splitlines() if one.startswith("line")]
    assert sorted(numbers) == ["line 2", "line 4", "line 6"]


def test_a_source_that_is_not_there_is_no_fault_of_the_lines(demo: Demo) -> None:
    result = demo.run("import", "--source", "demo/none", "-", given=line("a") + line("b"))
    assert result.exit_code == 1
    assert "No such source: demo/none" in result.stderr
    assert "line" not in result.stderr


def test_an_export_that_fails_leaves_no_file(demo: Demo, tmp_path: Path) -> None:
    file = tmp_path / "out.jsonl"
    assert demo.run("export", "--source", "demo/none", str(file)).exit_code == 1
    assert not file.exists()


def test_a_server_that_is_not_there_is_exit_code_3(demo: Demo) -> None:
    arguments = ("import", *FROM, "--url", "http://127.0.0.1:1", "-")
    assert demo.run(*arguments, given=line("a")).exit_code == 3


FORM = [{"name": "sum", "kind": "amount"}]


def make_dataset(demo: Demo, source: tuple[str, str]) -> str:
    """A new dataset of a source, with an extraction field; return its full name."""
    name = f"demo/{source[1].partition('/')[2]}"
    server = Client(demo.url, demo.token)
    source_id = server.call("GET", f"/api/v1/sources/{source[1]}")["source"]["id"]
    types = [{"name": "amount", "title": "", "inherits_from": [], "trainable": False}]
    definition = {
        "source_ids": [source_id],
        "has_sentiment": False,
        "entity_defs": types,
        "label_defs": [{"name": "Bill", "moon_form": FORM}],
    }
    server.call("PUT", f"/api/v1/datasets/{name}", {"dataset": definition})
    server.close()
    return name


def label(name: str) -> dict[str, str]:
    return {"name": name, "sentiment": "positive"}


SPAN = {"content_part": "body", "message_index": 0, "utf16_byte_start": 6, "utf16_byte_end": 10}
AMOUNT = {"formatted_value": "42", "spans": [SPAN]}
CAPTURE = {"fields": [{"name": "sum", **AMOUNT}]}
SAID: dict[str, dict[str, Any]] = {
    "a+b@c": {"labelling": [{"assigned": [label("A > B")], "dismissed": [label("Z")]}]},
    "b": {"entities": {"assigned": [{"name": "amount", **AMOUNT}]}},
    "c": {
        "labelling": [{"assigned": [label("Bill")], "dismissed": [label("Z")]}],
        "moon_forms": [{"assigned": [{"label": label("Bill"), "captures": [CAPTURE]}]}],
    },
    "d": {},
}


def test_annotations_go_out_and_come_in_with_the_comments(
    demo: Demo, into: tuple[str, str]
) -> None:
    dataset = make_dataset(demo, into)
    lines = [{"comment": comment(one, "\U0001f600 42"), **said} for one, said in SAID.items()]
    given = "".join(json.dumps(one) + "\n" for one in lines)
    done = demo.ok("import", *into, "--dataset", dataset, "-", given=given)
    assert done == "4 new, 0 updated, 0 unchanged, 3 annotated\n"

    out = demo.ok("export", *into, "--dataset", dataset)
    found = {one["comment"]["id"]: one for one in map(json.loads, out.splitlines())}
    assert names(found["a+b@c"], "assigned") == ["A > B"]
    assert names(found["a+b@c"], "dismissed") == ["Z"]
    (entity,) = found["b"]["entities"]["assigned"]
    assert (entity["name"], entity["spans"][0]["char_start"]) == ("amount", 2)
    assert set(found["d"]) == {"comment"}

    server = Client(demo.url, demo.token)
    server.call("PUT", f"/api/v1/sources/{into[1]}-again", {"source": {}})
    server.close()
    again = ("--source", f"{into[1]}-again")
    second = make_dataset(demo, again)
    demo.ok("import", *again, "--dataset", second, "-", given=out)
    copied = demo.ok("export", *again, "--dataset", second)
    assert [_said(json.loads(one)) for one in copied.splitlines()] == [
        _said(json.loads(one)) for one in out.splitlines()
    ]


def names(line: dict[str, Any], word: str) -> list[str]:
    return [one["name"] for one in line["labelling"][0][word]]


def _said(line: dict[str, Any]) -> Any:
    """What was said of a comment, without who said it."""
    text = json.dumps({key: value for key, value in line.items() if key != "comment"})
    return re.sub(r'"metadata": \{[^}]*\}', "", text)


def test_a_bad_annotation_is_named(demo: Demo, into: tuple[str, str]) -> None:
    dataset = make_dataset(demo, into)
    bad = {"labelling": [{"assigned": [label("A"), label("A")]}]}
    given = line("a") + json.dumps({"comment": comment("b", "words"), **bad}) + "\n"
    result = demo.run("import", *into, "--dataset", dataset, "-", given=given)
    assert result.exit_code == 1
    assert "line 2: annotations: label 'A' comes twice" in result.stderr
    on = ("--dataset", dataset)
    result = demo.run("import", *into, *on, "-", given=given)
    assert result.stdout == "0 new, 0 updated, 2 unchanged, 1 refused\n"
