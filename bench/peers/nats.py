"""NATS JetStream: a stream in files, a durable pull consumer, every message acknowledged."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator, Sequence
from typing import Any

from bench import machine
from bench.client import loads
from bench.peers.peer import Blocking, Peer, library, program
from bench.servers import run, scratch_folder, wait_for_port

_WAIT_S = 30


class _Nats:
    def __init__(self, pid: int, connection: Any, api: Any) -> None:
        self._pid = pid
        self._jetstream = connection.jetstream(timeout=_WAIT_S)
        self._api = api
        self._stream = 0
        self._subscription: Any = None

    def pids(self) -> list[int]:
        return [self._pid]

    async def clear(self) -> None:
        api = self._api
        if self._subscription is not None:
            await self._subscription.unsubscribe()
            await self._jetstream.delete_stream(f"stream{self._stream}")
        self._stream += 1
        name = f"stream{self._stream}"
        storage = api.StorageType.FILE
        await self._jetstream.add_stream(
            api.StreamConfig(name=name, subjects=[name], storage=storage)
        )
        config = api.ConsumerConfig(
            ack_policy=api.AckPolicy.EXPLICIT, ack_wait=120, max_ack_pending=100_000
        )
        self._subscription = await self._jetstream.pull_subscribe(
            name, durable="consumer", stream=name, config=config
        )

    async def publish(self, messages: Sequence[bytes]) -> None:
        subject = f"stream{self._stream}"
        await asyncio.gather(*[self._jetstream.publish(subject, one) for one in messages])

    async def consume(self, count: int, size: int) -> list[str]:
        seen: list[str] = []
        while len(seen) < count:
            batch = await self._subscription.fetch(min(size, count - len(seen)), timeout=_WAIT_S)
            seen += [loads(message.data)["comment"]["id"] for message in batch]
            for message in batch[:-1]:
                await message.ack()
            # Acknowledgements go in order: when the last is confirmed, so are those before it.
            await batch[-1].ack_sync(timeout=_WAIT_S)
        return seen


@contextlib.contextmanager
def running() -> Iterator[Peer]:
    """Run a server. Raises Skipped if it or its library is missing."""
    server, client = program("nats-server", "/usr/sbin/nats-server"), library("nats")
    api = library("nats.js.api")
    with scratch_folder() as folder, asyncio.Runner() as runner:
        port = machine.free_port()
        command = [server, "-a", "127.0.0.1", "-p", str(port), "-js", "-sd", str(folder / "data")]
        with run(command, folder / "log") as process:
            wait_for_port(process, port, folder / "log")
            connection = runner.run(client.connect(f"nats://127.0.0.1:{port}"))
            try:
                yield Blocking(runner, _Nats(process.pid, connection, api))
            finally:
                runner.run(connection.close())
