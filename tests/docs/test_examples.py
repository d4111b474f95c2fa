"""The examples of README and tutorial run as they stand, in order, against a real server."""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path

import pytest

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
        self.port = _free_port()
        scripts = Path(sys.executable).parent
        self.environment = {
            **{k: v for k, v in os.environ.items() if not k.startswith("LODESTREAM_")},
            "PATH": f"{scripts}{os.pathsep}{os.environ['PATH']}",
            "LODESTREAM_PORT": str(self.port),
        }
        self.server: subprocess.Popen[bytes] | None = None
        self.log = folder / "server.log"
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
        last = text.strip().splitlines()[-1].rstrip("\\").strip()
        if re.search(r"lodestream (serve|demo)$", last):
            self._start(last.rpartition("lodestream ")[2])
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
        assert done.returncode == 0, f"{text}\n{done.stdout}\n{done.stderr}\n{self._tail()}"
        self.output[text.strip()] = done.stdout

    def said(self, beginning: str) -> str:
        """Return the output of the last block that begins like this."""
        return [said for text, said in self.output.items() if text.startswith(beginning)][-1]

    def stop(self) -> None:
        """Stop the server as Ctrl-C does."""
        if self.server is not None:
            self.server.send_signal(signal.SIGINT)
            assert self.server.wait(30) == 0, self._tail()

    def _start(self, command: str) -> None:
        with self.log.open("wb") as log:
            self.server = subprocess.Popen(
                ["lodestream", command],
                executable=shutil.which("lodestream", path=self.environment["PATH"]),
                cwd=self.folder,
                env=self.environment,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        for _ in range(300):
            assert self.server.poll() is None, self._tail()
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{self.port}/readyz", timeout=5).close()
            except urllib.error.URLError:
                time.sleep(0.1)
            else:
                return
        raise AssertionError(f"the server does not answer\n{self._tail()}")

    def _tail(self) -> str:
        return self.log.read_text(errors="replace")[-4000:] if self.log.exists() else ""


# Variables and functions live on from block to block, as in a terminal.
_SHELL = """
set -eo pipefail
[ ! -f .shell ] || . ./.shell
eval "$1"
{ declare -f; declare -p | grep -vE '^declare -[a-zA-Z]*r'; } >.shell 2>/dev/null
"""


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


@pytest.fixture
def reader(tmp_path: Path) -> Reader:
    return Reader(tmp_path)


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
