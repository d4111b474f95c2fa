"""A table of a million rows goes in and comes out equal; neither side holds it in memory.

`LODESTREAM_TEST_ROWS` makes it smaller.
"""

from __future__ import annotations

import csv
import itertools
import json
import os
import subprocess
import threading
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.processes import SCRIPTS, ServerProcess, environment, free_port

ROWS = int(os.environ.get("LODESTREAM_TEST_ROWS", "1000000"))
TOKEN = "million-token"
HEAD = ("id", "date", "text", "subject", "from", "Team", "Stars")
_MOST_GROWN_MIB = 250


def rows() -> Iterator[tuple[str, ...]]:
    for number in range(ROWS):
        day, second = number // 86_400 % 28 + 1, number % 86_400
        when = f"2026-01-{day:02}T{second // 3600:02}:{second // 60 % 60:02}:{second % 60:02}"
        text = f'Wo ist Paket {number}? «Zitat», "quotes", and a\nline'
        sender = f"customer{number % 5000}@example.com"
        yield (
            f"T-{number}",
            f"{when}.000000Z",
            text,
            f"Subject {number % 97}",
            sender,
            f"Team {number % 7}",
            str(number % 11),
        )


def write(path: Path) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(HEAD)
        writer.writerows(rows())


def peak_mib(pid: int) -> float:
    """Return the most memory that a process ever held."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) / 1024


def asking(server: ServerProcess, method: str, path: str, body: object) -> urllib.request.Request:
    headers = {"Authorization": f"Bearer {TOKEN}"}
    content = json.dumps(body).encode()
    return urllib.request.Request(server.url + path, content, headers, method=method)


@pytest.mark.slow
def test_a_million_rows_go_in_and_come_out_equal(tmp_path: Path) -> None:
    table = tmp_path / "table.csv"
    write(table)
    given = environment(free_port(), LODESTREAM_ADMIN_TOKEN=TOKEN)
    server = ServerProcess(tmp_path, given, command=["serve"])
    try:
        for path, body in (
            ("sources/DefaultProject/in", {"source": {}}),
            ("datasets/DefaultProject/all", {"dataset": {}}),
        ):
            with urllib.request.urlopen(asking(server, "PUT", f"/api/v1/{path}", body)) as reply:
                made = json.load(reply)
            if "source" in made:
                source_id = made["source"]["id"]
        chosen = {"dataset": {"source_ids": [source_id]}}
        path = "/api/v1/datasets/DefaultProject/all"
        urllib.request.urlopen(asking(server, "POST", path, chosen)).close()
        before = peak_mib(server.process.pid)
        into = ("import", "--source", "DefaultProject/in", "--json")
        where = {"LODESTREAM_URL": server.url, "LODESTREAM_TOKEN": TOKEN}
        importing = subprocess.Popen(
            [str(SCRIPTS / "lodestream"), *into, str(table)],
            env={**given, **where},
            stdout=subprocess.PIPE,
        )
        peaks = [0.0]
        watching = threading.Thread(target=_watch, args=(importing, peaks))
        watching.start()
        said, _ = importing.communicate()
        watching.join()
        report = json.loads(said)
        assert (report["new"], report["refused"]) == (ROWS, 0)
        assert peaks[0] < _MOST_GROWN_MIB
        request = asking(
            server, "POST", "/api/lodestream/v1/datasets/DefaultProject/all/export", {}
        )
        with urllib.request.urlopen(request, timeout=600) as reply:
            text = (line.decode() for line in reply)
            found = csv.DictReader(text)
            names = ("id", "timestamp", "body", "subject", "from", "Team", "Stars")
            out = (tuple(row[name] for name in names) for row in found)
            for one, other in itertools.zip_longest(rows(), out):
                assert one == other
        assert peak_mib(server.process.pid) - before < _MOST_GROWN_MIB
    finally:
        server.stop()


def _watch(process: subprocess.Popen[bytes], peaks: list[float]) -> None:
    while process.poll() is None:
        try:
            peaks[0] = max(peaks[0], peak_mib(process.pid))
            process.wait(0.5)
        except subprocess.TimeoutExpired:
            continue
        except (FileNotFoundError, IndexError):
            return
