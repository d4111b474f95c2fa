"""The commands that a demonstration prints work as they are pasted."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections import Counter
from pathlib import Path

import pytest

from lodestream.cli.demo import sample
from tests.cli.conftest import Demo
from tests.processes import environment


def pasted(demo: Demo, begin: str, end: str, folder: Path) -> str:
    """Run what stands between two lines of what was printed."""
    text = demo.said.partition(f"{begin}\n")[2].partition(f"\n{end}")[0]
    done = subprocess.run(
        ["bash", "-e", "-c", text],
        cwd=folder,
        env=environment(0),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_each_command_reads_the_next_batch(demo: Demo, tmp_path: Path) -> None:
    demo.ok("stream", "reset", "demo/hotel", "all", "--to", "2000-01-01T00:00:00Z")
    curl = pasted(demo, "with curl:", "with Python:", tmp_path)
    assert re.findall(r'"id":"(guest-\d+)"', curl) == ["guest-001", "guest-002", "guest-003"]
    python = pasted(demo, "with Python:", "with Node:", tmp_path)
    assert re.findall(r"^guest-\d+", python, re.MULTILINE) == [
        "guest-004",
        "guest-005",
        "guest-006",
    ]
    status = json.loads(demo.ok("stream", "status", "demo/hotel", "all", "--json"))
    assert status["unread"] == 240 - 6


@pytest.mark.skipif(shutil.which("node") is None, reason="NO NODE")
def test_the_command_for_node_reads_the_next_batch(demo: Demo, tmp_path: Path) -> None:
    demo.ok("stream", "reset", "demo/hotel", "all", "--to", "2000-01-01T00:00:00Z")
    node = pasted(demo, "with Node:", "How the stream does:", tmp_path)
    assert re.findall(r"^guest-\d+", node, re.MULTILINE) == ["guest-001", "guest-002", "guest-003"]


def test_the_command_for_the_status_works(demo: Demo, tmp_path: Path) -> None:
    assert "UNREAD" in pasted(demo, "How the stream does:", "Ctrl-C", tmp_path)


def test_the_sample_ships_with_its_origin() -> None:
    comments = sample()
    assert len({one.id for one in comments}) == len(comments) == 240
    addresses = Counter(one.messages[0].from_ for one in comments)
    assert all(str(address).endswith("@example.com>") for address in addresses)
    folder = Path(__file__).parents[2] / "src/lodestream/data/demo"
    assert "CC BY 4.0" in (folder / "ORIGIN.md").read_text()
