"""Streams from the command line, against a running server."""

from __future__ import annotations

import json
import re
import signal
import sqlite3
import subprocess
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
import sqlalchemy as sa
from click.testing import CliRunner

from lodestream.cli.main import main
from lodestream.store.db import Database
from lodestream.store.dialect import sqlite_url
from lodestream.store.tables import comment_text
from tests.cli.conftest import Demo, objects
from tests.processes import SCRIPTS

START = ("--to", "2000-01-01T00:00:00Z")


@pytest.fixture(autouse=True)
def from_the_start(demo: Demo) -> None:
    demo.ok("stream", "reset", "demo/hotel", "all", *START)


def unread(demo: Demo) -> int:
    found: int = json.loads(demo.ok("stream", "status", "demo/hotel", "all", "--json"))["unread"]
    return found


def test_the_status_is_a_table_or_json(demo: Demo) -> None:
    table = demo.ok("stream", "status", "demo/hotel").splitlines()
    assert table[0].split()[:3] == ["NAME", "STATE", "UNREAD"]
    assert re.match(r"all +\w+ +240 ", table[1])
    (one,) = objects(demo.ok("stream", "status", "demo/hotel", "--json"))
    assert (one["name"], one["unread"], one["unread_is_exact"]) == ("all", 240, True)


def test_listening_prints_every_comment_once_and_advances(demo: Demo) -> None:
    lines = demo.ok("stream", "listen", "demo/hotel", "all", "--until-end", "--size", "100")
    ids = [json.loads(line)["comment"]["id"] for line in lines.splitlines()]
    assert ids == [f"guest-{number:03d}" for number in range(1, 241)]
    assert unread(demo) == 0
    assert demo.ok("stream", "listen", "demo/hotel", "all", "--until-end") == ""


def test_without_advancing_the_same_batch_comes_again(demo: Demo) -> None:
    first = demo.ok("stream", "listen", "demo/hotel", "all", "--no-advance", "--size", "2")
    assert len(first.splitlines()) == 2
    assert demo.ok("stream", "listen", "demo/hotel", "all", "--no-advance", "--size", "2") == first
    assert unread(demo) == 240


@pytest.mark.parametrize("sent", [signal.SIGTERM, signal.SIGINT])
def test_a_listener_that_is_stopped_has_printed_what_it_advanced_past(
    demo: Demo, sent: signal.Signals
) -> None:
    command = ["stream", "listen", "demo/hotel", "all", "--size", "10", "--poll", "30"]
    with subprocess.Popen(
        [SCRIPTS / "lodestream", *command, "--url", demo.url, "--token", demo.token],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as listener:
        assert listener.stdout is not None
        assert listener.stderr is not None
        lines = [listener.stdout.readline()]
        listener.send_signal(sent)
        lines += listener.stdout.read().splitlines()
        assert (listener.wait(30), listener.stderr.read()) == (0, "")
    assert unread(demo) == 240 - len(lines)


class Busy(BaseHTTPRequestHandler):
    """Asks every caller to come again much later."""

    def do_POST(self) -> None:
        self.send_response(503)
        self.send_header("Retry-After", "25")
        self.send_header("Content-Length", "0")
        self.end_headers()
        asked.set()

    def log_message(self, *_: object) -> None:
        """Nobody reads it."""


asked = threading.Event()


def test_a_listener_that_waits_for_a_busy_server_stops_at_once() -> None:
    asked.clear()
    command = [SCRIPTS / "lodestream", "stream", "listen", "demo/hotel", "all", "--url"]
    with (
        HTTPServer(("127.0.0.1", 0), Busy) as server,
        subprocess.Popen(
            [*command, f"http://127.0.0.1:{server.server_port}"], stderr=subprocess.PIPE
        ) as listener,
    ):
        server.timeout = 30
        server.handle_request()
        assert asked.is_set()
        # It has the answer now, or will in a moment: both end the same.
        listener.send_signal(signal.SIGTERM)
        _, said = listener.communicate(timeout=10)
        assert (listener.returncode, said) == (0, b"")


def test_a_reader_that_goes_away_ends_the_listener_without_a_traceback(demo: Demo) -> None:
    command = (
        f"{SCRIPTS}/lodestream stream listen demo/hotel all --url {demo.url} --token {demo.token}"
    )
    done = subprocess.run(
        ["bash", "-c", f"{command} | head -n 1"],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert len(done.stdout.splitlines()) == 1
    assert "Traceback" not in done.stderr


def test_advancing_acknowledges_up_to_a_place_and_never_goes_back(demo: Demo) -> None:
    lines = demo.ok("stream", "listen", "demo/hotel", "all", "--no-advance", "--size", "5")
    places = [json.loads(line)["sequence_id"] for line in lines.splitlines()]
    assert demo.ok("stream", "advance", "demo/hotel", "all", places[3]).strip() == places[3]
    assert unread(demo) == 236
    demo.ok("stream", "advance", "demo/hotel", "all", places[0])
    assert unread(demo) == 236


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("advance", "demo/hotel", "all", "nonsense"), 1, "sequence_id"),
        (("status", "demo/none"), 1, "No such dataset"),
        (("status", "demo/hotel", "none"), 1, "No such stream"),
        (("status", "hotel"), 2, "PROJECT/NAME expected"),
        (("listen", "demo/hotel", "all", "--size", "0"), 2, "--size"),
        (("reset", "demo/hotel", "all", "--to", "soon"), 1, "to_comment_created_at"),
        (("status", "demo/hotel", "--url", "http://127.0.0.1:1"), 3, "no answer from"),
        (("status", "demo/hotel", "--token", "wrong"), 1, "token"),
        (("status", "demo/hotel", "--url", "ftp://x"), 2, "not the URL of a server"),
    ],
)
def test_a_failure_is_one_line_and_an_exit_code(
    demo: Demo, arguments: tuple[str, ...], code: int, said: str
) -> None:
    result = demo.run("stream", *arguments)
    assert result.exit_code == code, result.output
    assert said in result.stderr
    assert result.stdout == ""
    if code != 2:
        assert len(result.stderr.splitlines()) == 1


def test_the_order_is_verified_while_the_server_runs(demo: Demo) -> None:
    assert "nothing wrong" in demo.ok("stream", "verify", "--data", str(demo.data))
    named = demo.ok("stream", "verify", "demo/hotel", "--json", "--data", str(demo.data))
    assert json.loads(named) == {"comments": 240, "streams": 1, "found": {}, "findings": []}
    assert demo.run("stream", "verify", "demo/no", "--data", str(demo.data)).exit_code == 1


def test_damage_is_reported_with_exit_code_1(demo: Demo, tmp_path: Path) -> None:
    file = tmp_path / "lodestream.sqlite3"
    with sqlite3.connect(demo.data / "lodestream.sqlite3") as connection:
        connection.execute("VACUUM INTO ?", (str(file),))
    connection.close()
    damaged = Database(sqlite_url(file))
    with damaged.write() as tx:
        first = sa.select(sa.func.min(comment_text.c.pos)).scalar_subquery()
        tx.execute(sa.delete(comment_text).where(comment_text.c.pos == first))
    damaged.close()
    result = CliRunner().invoke(main, ["stream", "verify", "--json", "--data", str(tmp_path)])
    assert result.exit_code == 1
    found = json.loads(result.stdout)
    assert found["found"] == {"key-left": 1, "text-missing": 1}
    assert found["findings"][0]["what"].startswith("comment 'guest-001'")
    human = CliRunner().invoke(main, ["stream", "verify", "--data", str(tmp_path)])
    assert human.exit_code == 1
    assert "a comment has no text" in human.stdout


def test_a_database_that_is_not_migrated_is_not_verified(tmp_path: Path) -> None:
    result = CliRunner().invoke(main, ["stream", "verify", "--data", str(tmp_path)])
    assert result.exit_code == 1
    assert "lodestream migrate" in result.stderr
