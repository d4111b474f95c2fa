"""RabbitMQ: a quorum queue, publisher confirms, acknowledgements of whole batches."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from bench import machine
from bench.client import loads
from bench.peers.peer import Blocking, Peer, library, program
from bench.servers import attempts, run, scratch_folder, wait_for_port

_WAIT_S = 120


class _Rabbit:
    def __init__(self, pid: int, client: Any, connection: Any) -> None:
        self._pid = pid
        self._client = client
        self._connection = connection
        self._channel: Any = None
        self._queue: Any = None
        self._number = 0

    def pids(self) -> list[int]:
        return machine.family(self._pid)

    async def clear(self) -> None:
        if self._queue is not None:
            await self._queue.delete(if_unused=False, if_empty=False)
            await self._channel.close()
        self._number += 1
        self._channel = await self._connection.channel(publisher_confirms=True)
        self._queue = await self._channel.declare_queue(
            f"queue{self._number}", durable=True, arguments={"x-queue-type": "quorum"}
        )

    async def publish(self, messages: Sequence[bytes]) -> None:
        send = self._channel.default_exchange.publish
        mode = self._client.DeliveryMode.PERSISTENT
        await asyncio.gather(
            *[
                send(self._client.Message(one, delivery_mode=mode), self._queue.name)
                for one in messages
            ]
        )

    async def consume(self, count: int, size: int) -> list[str]:
        await self._channel.set_qos(prefetch_count=min(2 * size, 65_535))
        seen: list[str] = []
        done = asyncio.get_running_loop().create_future()

        async def take(message: Any) -> None:
            seen.append(loads(message.body)["comment"]["id"])
            if len(seen) % size == 0 or len(seen) == count:
                await message.channel.basic_ack(message.delivery_tag, multiple=True)
            if len(seen) == count:
                done.set_result(None)

        tag = await self._queue.consume(take)
        await asyncio.wait_for(done, _WAIT_S)
        # The channel keeps order: an answer to this one tells that the acknowledgement was taken.
        await self._queue.cancel(tag)
        return seen


@contextlib.contextmanager
def running() -> Iterator[Peer]:
    """Run a node of its own. Raises Skipped if it or its library is missing."""
    # The package's wrapper would run it as another user, on that user's folders.
    server = program("/usr/lib/rabbitmq/bin/rabbitmq-server", "rabbitmq-server")
    registry, client = program("epmd"), library("aio_pika")
    with scratch_folder() as folder, asyncio.Runner() as runner:
        port, registry_port = machine.free_port(), machine.free_port()
        (folder / "rabbitmq.conf").write_text(f"listeners.tcp.1 = 127.0.0.1:{port}\n")
        (folder / "environment.conf").touch()
        environment = _environment(folder, port, registry_port)
        names = [registry, "-address", "127.0.0.1", "-port", str(registry_port)]
        with (
            run(names, folder / "registry.log", environment),
            run([server], folder / "log", environment) as process,
        ):
            wait_for_port(process, port, folder / "log")
            url = f"amqp://guest:guest@127.0.0.1:{port}/"
            for _ in attempts(process, folder / "log"):
                # The port is open for a while before anybody may log in.
                with contextlib.suppress(OSError, client.exceptions.AMQPError):
                    connection = runner.run(client.connect(url))
                    break
            try:
                yield Blocking(runner, _Rabbit(process.pid, client, connection))
            finally:
                runner.run(connection.close())


def _environment(folder: Path, port: int, registry_port: int) -> dict[str, str]:
    """Return settings that keep everything in a folder and on the loopback address."""
    return os.environ | {
        "HOME": str(folder),
        "ERL_EPMD_ADDRESS": "127.0.0.1",
        "ERL_EPMD_PORT": str(registry_port),
        "RABBITMQ_NODENAME": f"bench{port}@localhost",
        # Both stand before what the system has under /etc, which may name another port.
        "RABBITMQ_CONF_ENV_FILE": str(folder / "environment.conf"),
        "RABBITMQ_CONFIG_FILE": str(folder / "rabbitmq.conf"),
        "RABBITMQ_DIST_PORT": str(machine.free_port()),
        "RABBITMQ_MNESIA_BASE": str(folder / "data"),
        "RABBITMQ_LOG_BASE": str(folder / "logs"),
        "RABBITMQ_ENABLED_PLUGINS_FILE": str(folder / "plugins"),
        "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "-kernel inet_dist_use_interface {127,0,0,1}",
    }
