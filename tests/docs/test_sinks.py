"""The pages on sinks and on the dispatcher run as they stand, one after the other."""

from __future__ import annotations

import os
import shutil
import signal
import sqlite3
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from lodestream.domain.secrets import new_key
from tests.docs.test_examples import Reader, blocks_of
from tests.processes import free_port
from tests.sinks.targets import Index, Reply, Request, serving

TEAMS = """
api $API/sources/DefaultProject/letters/sync -d '{"comments": [
  {"id": "mail-2", "messages": [{"body": {"text": "Please close it."}}],
   "timestamp": "2024-02-01T08:00:00Z", "user_properties": {"string:Team": "Claims"}}]}'
"""


class SinkReader(Reader):
    """Somebody on whose machine other ports are free than in the pages."""

    def __init__(self, folder: Path, ports: dict[str, int]) -> None:
        super().__init__(folder)
        self.ports = ports
        self.environment["LODESTREAM_SECRET_KEY"] = new_key()
        self.environment["LODESTREAM_SINK_FOLDER"] = str(folder / "sinks")
        self.environment["SEARCH_PASSWORD"] = "a password"

    def follow(self, page: str) -> None:
        for block in blocks_of(page):
            if block.file is not None:
                (self.folder / block.file).write_text(self.here(block.text), encoding="utf-8")
            elif block.language == "bash" and (shutil.which("node") or "(node" not in block.text):
                self.type(self.here(block.text))

    def here(self, text: str) -> str:
        for port, other in self.ports.items():
            text = text.replace(port, str(other))
        return text

    def stop(self) -> None:
        for file in self.folder.glob("*.pid"):
            with suppress(ProcessLookupError):
                os.kill(int(file.read_text()), signal.SIGKILL)
        super().stop()


class Cluster(Index):
    """An index that also counts."""

    def __call__(self, request: Request) -> Reply:
        if request.path.endswith("/_count"):
            return 200, {}, b'{"count":%d}' % len(self.documents)
        return super().__call__(request)


@pytest.fixture
def cluster() -> Iterator[int]:
    with serving(Cluster()) as target:
        yield int(target.url.rpartition(":")[2])


def test_the_pages(tmp_path: Path, cluster: int) -> None:
    reader = SinkReader(tmp_path, {"9000": free_port(), "9001": free_port(), "9200": cluster})
    try:
        reader.follow("docs/howto/webhook.md")
        reader.type(TEAMS)
        reader.follow("docs/howto/elasticsearch.md")
        reader.follow("docs/howto/tableau.md")
        reader.follow("docs/howto/dispatcher.md")
    finally:
        reader.stop()

    assert "mail-1" in (tmp_path / "received.txt").read_text()
    if shutil.which("node"):
        assert "mail-1" in (tmp_path / "received-node.txt").read_text()
    assert reader.said("lodestream sink test") != ""
    assert '{"count":2}' in reader.said("until lodestream sink get")
    assert "Where is my claim?" in reader.said("for sink in")
    with sqlite3.connect(tmp_path / "sinks/tableau/letters.db") as table:
        rows = table.execute('SELECT id, "property:Team" FROM letters ORDER BY id').fetchall()
    table.close()
    assert rows == [("mail-1", None), ("mail-2", "Claims")]
    said = reader.said("python3 dispatcher.py DefaultProject/post/all queue.db")
    again = reader.said("python3 dispatcher.py DefaultProject/post/all queue.db | tail")
    assert again == "0 added, 1 were there, 1 are exceptions\n"
    assert said in ("1 added, 0 were there, 1 are exceptions\n", again)


def test_the_receivers_refuse_what_is_forged() -> None:
    page = {block.file: block.text for block in blocks_of("docs/howto/webhook.md") if block.file}
    code: dict[str, object] = {"__name__": "receiver"}
    os.environ["WEBHOOK_SECRET"] = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
    try:
        exec(compile(page["receiver.py"], "receiver.py", "exec"), code)
    finally:
        del os.environ["WEBHOOK_SECRET"]
    from time import time

    from lodestream.sinks.webhook import signature

    now = int(time())

    def headers(timestamp: int, body: bytes) -> dict[str, str]:
        secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
        made = signature(secret, call_id="msg_1", timestamp=timestamp, body=body)
        return {
            "webhook-id": "msg_1",
            "webhook-timestamp": str(timestamp),
            "webhook-signature": made,
        }

    is_genuine = code["is_genuine"]
    assert callable(is_genuine)
    assert is_genuine(headers(now, b"{}"), b"{}")
    assert not is_genuine(headers(now, b"{}"), b"{ }")
    assert not is_genuine(headers(now - 600, b"{}"), b"{}")
    assert not is_genuine(headers(now, b"{}") | {"webhook-id": "msg_2"}, b"{}")
