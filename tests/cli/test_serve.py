"""`lodestream serve` as an operator starts it: processes, signals, sockets."""

from __future__ import annotations

import http.client
import json
import os
import re
import signal
import socket
import subprocess
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.processes import SCRIPTS, ServerProcess, environment, free_port


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request: pytest.FixtureRequest) -> Iterator[tuple[str, ...]]:
    """Options for an embedded database, and for a server's."""
    if request.param == "sqlite":
        yield ()
        return
    yield ("--database-url", request.getfixturevalue("empty_postgres"))


def eventually(holds: Callable[[], bool]) -> None:
    until = time.monotonic() + 20
    while not holds():
        assert time.monotonic() < until, "it did not happen"
        time.sleep(0.05)


def ask(url: str, token: str | None = None, body: object = None) -> Any:
    headers = {} if token is None else {"Authorization": f"Bearer {token}"}
    data = None if body is None else json.dumps(body).encode()
    with urllib.request.urlopen(urllib.request.Request(url, data, headers), timeout=30) as reply:
        text = reply.read()
    return json.loads(text) if reply.headers["content-type"].startswith("app") else text.decode()


def logged(said: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in said.splitlines() if line.startswith("{")]


def test_the_first_start_prints_a_token_and_a_command_that_works(tmp_path: Path) -> None:
    given = environment(free_port())
    server = ServerProcess(tmp_path, given, command=["serve"])
    first = server.tail()
    command = re.search(r"^ +(curl .*/api/v1/sources)$", first, re.MULTILINE)
    assert command is not None, first
    pasted = subprocess.run(["bash", "-c", command[1]], capture_output=True, check=True, timeout=30)
    assert json.loads(pasted.stdout) == {"status": "ok", "sources": []}
    server.stop()

    again = ServerProcess(tmp_path, given, command=["serve"])
    said = again.tail()
    assert "token" not in said
    command = re.search(r"^ +(curl .*)$", said, re.MULTILINE)
    assert command is not None
    pasted = subprocess.run(["bash", "-c", command[1]], capture_output=True, check=True, timeout=30)
    assert json.loads(pasted.stdout) == {"status": "ok"}
    again.process.send_signal(signal.SIGTERM)
    assert again.process.wait(30) == 0, again.tail()


def test_a_given_admin_token_works_and_is_not_printed_or_logged(tmp_path: Path) -> None:
    given = environment(free_port(), LODESTREAM_ADMIN_TOKEN="given-token-123")
    given["LODESTREAM_ACCESS_LOG"] = "true"
    server = ServerProcess(tmp_path, given, command=["serve"])
    assert ask(f"{server.url}/api/v1/sources", "given-token-123")["sources"] == []
    server.stop()
    said = server.tail()
    assert "given-token-123" not in said
    lines = logged(said)
    (request,) = [one for one in lines if one.get("operation") == "getAllSources"]
    assert request["request_id"]
    assert (request["status"], request["method"]) == (200, "GET")


def test_a_port_in_use_is_one_line_and_exit_code_1(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        given = environment(taken.getsockname()[1])
        done = subprocess.run(
            [SCRIPTS / "lodestream", "serve"],
            cwd=tmp_path,
            env=given,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
    assert done.returncode == 1
    assert done.stderr.splitlines() == [
        f"Error: cannot listen on 127.0.0.1 port {given['LODESTREAM_PORT']}: "
        "Address already in use (try `lodestream doctor`)"
    ]


def _counted(url: str) -> dict[tuple[str, str], float]:
    found: dict[tuple[str, str], float] = {}
    for family in text_string_to_metric_families(ask(f"{url}/metrics")):
        for sample in family.samples:
            if sample.name in ("lodestream_requests_total", "lodestream_comments_total"):
                label = sample.labels.get("operation") or sample.labels["result"]
                found[sample.name, label] = sample.value
    return found


def test_several_processes_share_the_work_and_their_counts(
    tmp_path: Path, database: tuple[str, ...]
) -> None:
    given = environment(free_port(), LODESTREAM_ADMIN_TOKEN="given-token-123")
    command = ["serve", "--workers", "2", *database]
    server = ServerProcess(tmp_path, given, command=command)
    folder = tmp_path / "lodestream-data" / "metrics"
    try:
        source = f"{server.url}/api/v1/sources/DefaultProject/inbox"
        _create(source)
        for number in range(40):
            # A new connection each time, so that both processes get some.
            comment = {
                "id": f"c{number}",
                "timestamp": "2024-01-01T00:00:00Z",
                "messages": [{"body": {"text": "words"}}],
            }
            ask(f"{source}/sync", "given-token-123", {"comments": [comment]})
        for _ in range(6):
            counted = _counted(server.url)
            assert counted["lodestream_requests_total", "syncComments"] == 40
            assert counted["lodestream_comments_total", "new"] == 40
        assert len(list(folder.glob("*/counter_*.db"))) == 2
    finally:
        server.stop()
    assert list(folder.iterdir()) == []
    assert not any(one.get("error") for one in logged(server.tail())), server.tail()


def _create(source: str) -> None:
    host, _, path = source.removeprefix("http://").partition("/")
    connection = http.client.HTTPConnection(host, timeout=30)
    headers = {"Authorization": "Bearer given-token-123"}
    connection.request("PUT", f"/{path}", body=b'{"source": {}}', headers=headers)
    assert connection.getresponse().status == 200
    connection.close()


def test_server_processes_end_with_the_one_that_started_them(tmp_path: Path) -> None:
    given = environment(free_port())
    server = ServerProcess(tmp_path, given, command=["serve", "--workers", "2"])
    children = _children(server.process.pid)
    assert len(children) >= 2
    server.process.kill()
    server.process.wait(30)
    eventually(lambda: not any(_is_running(pid) for pid in children))

    # Nothing of it is left behind: the same port and folder serve again.
    again = ServerProcess(tmp_path, given, command=["serve", "--workers", "2"])
    assert len(list((tmp_path / "lodestream-data/metrics").iterdir())) == 1
    again.stop()


def _children(pid: int) -> list[int]:
    tasks = Path(f"/proc/{pid}/task").glob("*/children")
    return [int(one) for task in tasks for one in task.read_text().split()]


def _is_running(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


def test_a_worker_of_its_own_does_the_jobs_and_ends_cleanly(
    tmp_path: Path, sqlite_template: Path
) -> None:
    (tmp_path / "lodestream.sqlite3").write_bytes(sqlite_template.read_bytes())
    with subprocess.Popen(
        [SCRIPTS / "lodestream", "worker", "--data", tmp_path],
        stderr=subprocess.PIPE,
        text=True,
        env=environment(0),
    ) as worker:
        assert worker.stderr is not None
        lines = []
        while not lines or lines[-1]["message"] != "job done":
            lines.append(json.loads(worker.stderr.readline()))
        os.kill(worker.pid, signal.SIGTERM)
        lines += [json.loads(line) for line in worker.stderr]
        assert worker.wait(30) == 0
    # What learns, reads mailboxes and delivers beside it speaks when it likes.
    said = [
        (one["message"], one.get("kind"))
        for one in lines
        if not one["message"].startswith(("learner", "mailboxes", "sinks"))
    ]
    assert said == [
        ("worker started", None),
        ("job done", "collect_files"),
        ("worker stopped", None),
    ]


def test_the_server_learns_in_a_process_of_its_own_that_ends_with_it(
    tmp_path: Path,
) -> None:
    given = environment(free_port(), LODESTREAM_LEARNING="true")
    server = ServerProcess(tmp_path, given, command=["serve"])
    eventually(lambda: "learner started" in server.tail())
    (child,) = _children(server.process.pid)
    server.process.kill()
    server.process.wait(30)
    eventually(lambda: not _is_running(child))

    again = ServerProcess(tmp_path, given, command=["serve"])
    eventually(lambda: "learner started" in again.tail())
    again.stop()
    assert "learner stopped" in again.tail()
