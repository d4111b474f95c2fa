"""Contexts: which server a command talks to, and what is kept of it."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from lodestream.cli.main import main
from tests.cli.conftest import Demo, objects
from tests.processes import SCRIPTS, environment


def run(*arguments: str, given: str | None = None, **variables: str) -> Result:
    """Call a command with nothing said about the server but by `variables`."""
    clean = {"LODESTREAM_URL": None, "LODESTREAM_TOKEN": None, **variables}
    return CliRunner(env=clean).invoke(main, arguments, input=given)


def ok(*arguments: str, given: str | None = None) -> str:
    result = run(*arguments, given=given)
    assert result.exit_code == 0, (arguments, result.output, result.exception)
    return result.stdout


def add(name: str, url: str, token: str = "t-1", *more: str) -> None:
    ok("context", "add", name, "--url", url, "--token", token, *more)


def test_the_first_context_is_the_current_one_until_another_is_used() -> None:
    add("test", "https://test.example/org/tenant/reinfer_")
    add("live", "https://live.example", "t-2", "-k", "--proxy", "http://proxy:3128")
    assert ok("context", "current") == "test\n"
    ok("context", "use", "live")
    assert ok("context", "get-token") == "t-2\n"
    assert ok("context", "get-token", "test") == "t-1\n"
    live, test = objects(ok("context", "list", "--json"))
    assert (live["name"], live["current"], live["proxy"]) == ("live", True, "http://proxy:3128")
    assert (test["accept_invalid_certificates"], test["current"]) == (False, False)
    table = ok("context", "list").splitlines()
    assert re.match(r"\* +live +https://live\.example +yes +http://proxy:3128$", table[1])
    ok("context", "delete", "live", "--yes")
    assert run("context", "current").exit_code == 1


def test_tokens_are_neither_listed_nor_readable_to_others(no_contexts: Path) -> None:
    ok("context", "add", "test", "--url", "http://x", "--token", "-", given="s3cret\n")
    assert no_contexts.stat().st_mode & 0o777 == 0o600
    assert no_contexts.parent.stat().st_mode & 0o777 == 0o700
    assert "s3cret" in no_contexts.read_text()
    assert "s3cret" not in ok("context", "list") + ok("context", "list", "--json")
    no_contexts.chmod(0o644)
    result = run("context", "list")
    assert (result.exit_code, "chmod 600" in result.stderr) == (1, True)


def test_what_is_not_said_is_asked_for_without_showing_the_token() -> None:
    result = run("context", "add", "test", given="http://x\ns3cret\n")
    assert result.exit_code == 0, result.output
    assert "s3cret" not in result.output
    assert ok("context", "get-token") == "s3cret\n"


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("use", "none"), 1, "no such context: none (there is: test)"),
        (("get-token", "none"), 1, "no such context"),
        (("delete", "test", "none", "--yes"), 1, "no such context"),
        (("delete", "test"), 1, "add --yes"),
        (("add", "new", "--url", "ftp://x", "--token", "t"), 2, "not the URL of a server"),
        (("import-vendor", "/none/contexts.json"), 1, "cannot be read"),
    ],
)
def test_a_refusal_changes_nothing(
    no_contexts: Path, arguments: tuple[str, ...], code: int, said: str
) -> None:
    add("test", "http://x")
    before = no_contexts.read_bytes()
    result = run("context", *arguments)
    assert (result.exit_code, said in result.stderr) == (code, True), result.output
    assert no_contexts.read_bytes() == before


def test_a_file_that_holds_something_else_is_told(no_contexts: Path) -> None:
    no_contexts.parent.mkdir()
    no_contexts.write_text('{"contexts": [{"name": 7}]}')
    no_contexts.chmod(0o600)
    result = run("stream", "status", "demo/hotel")
    assert (result.exit_code, "no file of contexts" in result.stderr) == (1, True)


VENDORS = {
    "current_context": "eu",
    "contexts": [
        {
            "name": "eu",
            "endpoint": "https://eu.example/a/b/reinfer_/",
            "token": "t-eu",
            "accept_invalid_certificates": True,
            "proxy": None,
        },
        {"name": "us", "endpoint": "https://us.example", "token": None, "proxy": "http://p:1"},
    ],
    "context_is_required": True,
}


def test_the_contexts_of_the_vendors_client_are_taken_over(tmp_path: Path) -> None:
    file = tmp_path / "theirs.json"
    file.write_text(json.dumps(VENDORS))
    add("us", "http://mine")
    assert ok("context", "import-vendor", str(file)) == "eu\n"
    assert ok("context", "current") == "us\n"
    eu, us = objects(ok("context", "list", "--json"))
    assert (eu["url"], eu["accept_invalid_certificates"]) == (
        "https://eu.example/a/b/reinfer_",
        True,
    )
    assert us["url"] == "http://mine"
    ok("context", "import-vendor", str(file), "--overwrite")
    assert objects(ok("context", "list", "--json"))[1]["url"] == "https://us.example"


def test_the_order_in_which_a_server_is_looked_for(demo: Demo) -> None:
    nowhere = "http://127.0.0.1:1"
    status = ("stream", "status", "demo/hotel", "--json")
    assert "no answer from http://127.0.0.1:8000" in run(*status).stderr

    add("demo", demo.url, demo.token)
    add("off", nowhere)
    assert run(*status).exit_code == 0  # the current context
    off = {"LODESTREAM_URL": nowhere, "LODESTREAM_TOKEN": "none"}
    assert run(*status, **off).exit_code == 3  # the environment before it
    assert run(*status, "--context", "demo", **off).exit_code == 0  # a named one before that
    assert run(*status, "--context", "demo", "--url", nowhere).exit_code == 3  # options first
    assert run(*status, "-c", "off", "--url", demo.url, "--token", demo.token).exit_code == 0
    assert run(*status, LODESTREAM_TOKEN=demo.token).exit_code == 0  # the context's own URL
    result = run(*status, "--context", "none")
    assert (result.exit_code, "no such context: none" in result.stderr) == (1, True)


def test_a_saved_token_goes_to_no_other_server(demo: Demo) -> None:
    add("demo", "http://127.0.0.1:1", demo.token)
    result = run("stream", "status", "demo/hotel", "--url", demo.url)
    assert (result.exit_code, "HTTP 401" in result.stderr) == (1, True)


def test_names_of_contexts_are_completed(tmp_path: Path) -> None:
    add("test-1", "http://x")
    add("test-2", "http://x")
    add("live", "http://x")

    def offered(words: str) -> list[str]:
        given = {
            "_LODESTREAM_COMPLETE": "bash_complete",
            "COMP_WORDS": words,
            "COMP_CWORD": str(len(words.split()) - 1),
        }
        result = CliRunner(env=given).invoke(main, [], prog_name="lodestream")
        return [one.partition(",")[2] for one in result.stdout.splitlines()]

    assert offered("lodestream context use te") == ["test-1", "test-2"]
    assert offered("lodestream stream status --context l") == ["live"]


def test_the_contexts_are_in_the_users_own_folder(tmp_path: Path) -> None:
    given = environment(1, HOME=str(tmp_path), XDG_CONFIG_HOME=str(tmp_path / "config"))
    del given["LODESTREAM_CONTEXTS_FILE"]
    command = [SCRIPTS / "lodestream", "context", "add", "a", "--url", "http://x", "--token", "t"]
    subprocess.run(command, env=given, check=True, capture_output=True)
    assert (tmp_path / "config" / "lodestream" / "contexts.json").exists()
