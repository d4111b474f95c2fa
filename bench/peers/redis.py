"""Redis Streams: a consumer group, the append-only file synced every second."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any

from bench import machine
from bench.client import loads
from bench.peers.peer import Peer, library, program
from bench.servers import run, scratch_folder, wait_for_port


class _Redis:
    def __init__(self, pid: int, connection: Any) -> None:
        self._pid = pid
        self._redis = connection

    def pids(self) -> list[int]:
        return [self._pid]

    def clear(self) -> None:
        self._redis.delete("stream")
        self._redis.xgroup_create("stream", "group", id="0", mkstream=True)

    def publish(self, messages: Sequence[bytes]) -> None:
        pipeline = self._redis.pipeline(transaction=False)
        for message in messages:
            pipeline.xadd("stream", {"comment": message})
        pipeline.execute()

    def consume(self, count: int, size: int) -> list[str]:
        seen: list[str] = []
        while len(seen) < count:
            reply = self._redis.xreadgroup("group", "consumer", {"stream": ">"}, count=size)
            entries = reply[0][1]
            seen += [loads(fields[b"comment"])["comment"]["id"] for _, fields in entries]
            self._redis.xack("stream", "group", *[entry for entry, _ in entries])
        return seen


@contextlib.contextmanager
def running() -> Iterator[Peer]:
    """Run a server. Raises Skipped if it or its library is missing."""
    server, client = program("redis-server"), library("redis")
    with scratch_folder() as folder:
        port = machine.free_port()
        command = [server, "--bind", "127.0.0.1", "--port", str(port), "--dir", str(folder)]
        command += ["--appendonly", "yes", "--appendfsync", "everysec", "--save", ""]
        # A rewrite of the file in the background would fall into one round or another.
        command += ["--auto-aof-rewrite-percentage", "0"]
        with run(command, folder / "log") as process:
            wait_for_port(process, port, folder / "log")
            # The older protocol: its replies need the least work in Python.
            with contextlib.closing(client.Redis(port=port, protocol=2)) as connection:
                yield _Redis(process.pid, connection)
