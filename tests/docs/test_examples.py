"""The examples of README and tutorial run as they stand, in order, against a real server."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.processes import ServerProcess, environment, free_port

ROOT = Path(__file__).parents[2]
FENCE = re.compile(r"^```(\w+)(?: title=\"([^\"]+)\")?\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Block:
    """A fenced block: its language, the file it is saved as, and its text."""

    language: str
    file: str | None
    text: str


def blocks_of(page: str) -> list[Block]:
    text = (ROOT / page).read_text(encoding="utf-8")
    return [Block(match[1], match[2], match[3]) for match in FENCE.finditer(text)]


class Reader:
    """Somebody who types a page's commands into one shell, in a folder of their own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port = free_port()
        self.environment = environment(self.port, LODESTREAM_LEARNING="true")
        self.server: ServerProcess | None = None
        self.output: dict[str, str] = {}

    def follow(self, page: str) -> None:
        """Do what every block says."""
        for block in blocks_of(page):
            if block.file is not None:
                (self.folder / block.file).write_text(block.text, encoding="utf-8")
            elif block.language == "bash":
                self.type(block.text)

    def type(self, text: str) -> None:
        """Run a block of commands; keep its output under its text."""
        if text == "./test\n":
            assert os.access(ROOT / "test", os.X_OK)  # it is what runs this
            return
        serving = re.search(r"lodestream ((?:serve|demo)(?: --data \w+)?)$", text.strip())
        if serving:
            command = serving[1].split()
            self.server = ServerProcess(self.folder, self.environment, command=command)
            return
        if text.startswith("node ") and shutil.which("node") is None:
            return
        text = text.replace("127.0.0.1:8000", f"127.0.0.1:{self.port}")
        done = subprocess.run(
            ["bash", "-c", _SHELL, "bash", text],
            cwd=self.folder,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        log = "" if self.server is None else self.server.tail()
        assert done.returncode == 0, f"{text}\n{done.stdout}\n{done.stderr}\n{log}"
        self.output[text.strip()] = done.stdout

    def said(self, beginning: str) -> str:
        """Return the output of the last block that begins like this."""
        return [said for text, said in self.output.items() if text.startswith(beginning)][-1]

    def stop(self) -> None:
        """Stop the server as Ctrl-C does."""
        if self.server is not None:
            self.server.stop()


# Variables and functions live on from block to block, as in a terminal.
_SHELL = """
set -eo pipefail
[ ! -f .shell ] || . ./.shell
eval "$1"
{ declare -f; declare -p | grep -vE '^declare -[a-zA-Z]*r'; } >.shell 2>/dev/null
"""


@pytest.fixture
def reader(tmp_path: Path) -> Reader:
    return Reader(tmp_path)


def test_readme(reader: Reader) -> None:
    commands = [block.text for block in blocks_of("README.md") if block.language == "bash"]
    assert len(commands) == 2, "README promises two commands"
    try:
        reader.follow("README.md")
        assert reader.server is not None
        said = reader.server.tail()
    finally:
        reader.stop()

    assert all(one in said for one in ("with curl:", "with Python:", "with Node:"))


def test_the_tutorial(reader: Reader) -> None:
    try:
        reader.follow("docs/tutorial/zero-to-stream.md")
    finally:
        reader.stop()

    assert '"new":3' in reader.said("api -X POST $API/sources")
    first = reader.said("api -X POST $STREAM/fetch")
    assert '"filtered":1' in first
    assert '"id":"mail-1"' in first
    after = reader.said("SEQUENCE_ID=")
    assert '"id":"mail-1"' not in after
    assert '"id":"mail-3"' in after
    assert reader.said("python3 consume.py") == "mail-3 My car was hit again.\n"
    if shutil.which("node"):
        lines = "mail-1 Where is my claim?\nmail-3 My car was hit again.\n"
        assert reader.said("node consume.mjs") == lines


def test_the_page_on_the_command_line(reader: Reader) -> None:
    try:
        reader.follow("docs/howto/cli.md")
    finally:
        reader.stop()

    contexts = reader.said("export TOKEN=").splitlines()
    assert [line.split()[0] for line in contexts] == ["CURRENT", "live", "*"]
    assert reader.said("lodestream comment list").splitlines()[1].endswith("Where is my claim?")
    assert reader.said("lodestream comment query") == "mail-1\n"
    assert [
        line.split()[0] for line in reader.said("echo '{\"comment_filter").splitlines()[-2:]
    ] == [
        "all",
        "reviewed",
    ]
    labels = reader.said("lodestream label rename").splitlines()
    assert [line.split("  ")[0] for line in labels[2:]] == ["Claims", "Claims > Status", "Thanks"]
    assert "ada@example.com" in reader.said("lodestream user create")


def test_the_tutorial_of_labels_and_predictions(reader: Reader) -> None:
    try:
        reader.follow("docs/tutorial/label-and-predict.md")
    finally:
        reader.stop()

    (predicted,) = json.loads(reader.said("api $PRIVATE/labellers/predict"))["predictions"]
    assert ["Booking", "Cancel"] in [one["name"] for one in predicted]
    quality = json.loads((reader.folder / "quality.json").read_text())["validation"]
    assert quality["num_reviewed_comments"] == 140
    assert quality["dataset_score"] > 0
    batch = json.loads((reader.folder / "batch.json").read_text())
    found = {one["comment"]["id"]: one["labels"] for one in batch["results"]}
    assert [one["name"] for one in found["new-1"]] == [["Booking", "Cancel"]]
    assert found["new-2"] == []
    changed = re.search(r'"model":{"version":(\d+)', reader.said("api $PRIVATE/labellings/"))
    assert changed is not None
    assert int(changed[1]) > quality["version"]
