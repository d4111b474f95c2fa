"""Processes that deliver to sinks, killed in the middle of it: nothing is lost, nothing swapped.

Writers upload while two processes share the sinks of a stream, and one or both are killed with
SIGKILL again and again. The targets fail now and then, and die in the middle of answers. In the
end each target has every comment, first arrivals stand in the order of the stream, and the index
has exactly the documents that it should.
"""

from __future__ import annotations

import os
import random
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from lodestream.actions.sinks import Reach
from lodestream.domain.secrets import Keyring, new_key
from lodestream.store.db import Database
from tests.build import fetch, make_pipeline, reset, sync_ids
from tests.client import Client
from tests.sinks.targets import Index, Reply, Request, eventually, serving

ROUNDS = int(os.environ.get("LODESTREAM_TEST_KILL_ROUNDS", "10"))
SINKS = "/api/lodestream/v1/datasets/acme/support/streams/all/sinks"


class Shaky:
    """A target that takes what it is sent, but now and then fails, or dies after it took it."""

    def __init__(self, index: Index | None = None) -> None:
        self.index = index
        self.taken: list[str] = []
        self._random = random.Random(7)
        self.calm = False

    def __call__(self, request: Request) -> Reply:
        time.sleep(self._random.random() * 0.01)
        luck = 1.0 if self.calm else self._random.random()
        if luck < 0.05:
            return 503, {}, b""
        if self.index is not None:
            reply = self.index(request)
        else:
            self.taken += request.ids
            reply = 200, {}, b""
        if luck < 0.1:
            raise ConnectionAbortedError  # the caller never hears that it was taken
        return reply


@pytest.mark.slow
def test_every_comment_arrives_in_order_however_often_the_process_dies(
    client: Client, db: Database, db_url: str, tmp_path: Path
) -> None:
    key = new_key()
    client.app.service.reach = Reach(Keyring(key))
    make_pipeline(client)
    hook, cluster = Shaky(), Shaky(Index())
    assert cluster.index is not None
    uploading = threading.Event()
    uploading.set()
    sent: list[str] = []

    def upload() -> None:
        while uploading.is_set():
            names = [f"c{len(sent) + n}" for n in range(random.randint(1, 30))]
            sync_ids(client, *names)
            sent.extend(names)
            time.sleep(0.02)

    def start() -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "tests.sinks.deliver", db_url, key]
        return subprocess.Popen(command, stderr=subprocess.DEVNULL)

    with serving(hook) as webhook, serving(cluster) as bulk:
        for name, configuration in {
            "hook": {"kind": "webhook", "url": webhook.url, "comments_per_call": 7},
            "index": {
                "kind": "elasticsearch",
                "url": bulk.url,
                "index": "all",
                "comments_per_call": 11,
            },
        }.items():
            body = {"name": name, "start": "beginning", "configuration": configuration}
            client.ok("PUT", SINKS, {"sink": body})
        writer = threading.Thread(target=upload)
        writer.start()
        running = [start(), start()]
        for _ in range(ROUNDS):
            # A process that dies before it has begun proves nothing.
            seen = len(webhook.requests), len(bulk.requests)
            eventually(
                lambda seen=seen: len(webhook.requests) > seen[0] and len(bulk.requests) > seen[1],  # type: ignore[misc]
                within_s=60,
            )
            time.sleep(random.uniform(0.0, 0.4))
            for place in random.sample([0, 1], random.randint(1, 2)):
                running[place].kill()
                running[place].wait()
                running[place] = start()
        uploading.clear()
        writer.join()
        hook.calm = cluster.calm = True
        eventually(
            lambda: all(one["unread"] == 0 for one in client.ok("GET", SINKS)["sinks"]),
            within_s=120,
        )
        for process in running:
            process.kill()
            process.wait()

    reset(client, "2000-01-01T00:00:00Z")
    stored: list[str] = []
    while True:
        batch = fetch(client, size=1024)
        stored += [one["comment"]["id"] for one in batch["results"]]
        if batch["is_end_sequence"]:
            break
        path = "/api/v1/datasets/acme/support/streams/all/advance"
        client.ok("POST", path, {"sequence_id": batch["sequence_id"]})
    assert stored == sent
    assert len(hook.taken) > len(sent), "some answers were never heard: so comments came again"
    assert list(dict.fromkeys(hook.taken)) == sent, "first arrivals, in the order of the stream"
    first = [name.partition(".")[2] for name in dict.fromkeys(cluster.index.order)]
    assert first == sent
    documents = {name.partition(".")[2] for name in cluster.index.documents}
    assert documents == set(sent)
    for one in client.ok("GET", SINKS)["sinks"]:
        assert one["dead_letters"] == 0
        assert one["delivered"] == len(sent), "what was counted was counted with the cursor"
