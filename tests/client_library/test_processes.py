"""Consumers that are processes of their own, against a server that is one: killed, and stopped."""

from __future__ import annotations

import asyncio
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pytest

from lodestream.client import AsyncClient, Client, Message, NewComment, NotFound, Text
from tests.processes import ServerProcess, environment, free_port

TOKEN = "token-of-the-first-administrator"
DATASET = "DefaultProject/support"
SOURCE = "DefaultProject/inbox"
STREAM = f"{DATASET}/all"
COUNT = 400
WANTED = [f"m{number:04}" for number in range(COUNT)]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of a server with a stream over `COUNT` comments."""
    folder = tmp_path_factory.mktemp("server")
    given = environment(free_port(), LODESTREAM_ADMIN_TOKEN=TOKEN)
    running = ServerProcess(folder, given, command=["serve"])
    with Client(running.url, TOKEN) as client:
        source = client.create_source(SOURCE)
        client.create_dataset(DATASET, source_ids=[source.id])
        client.create_stream(DATASET, "all")
        comments = [
            NewComment(
                id=one,
                timestamp=datetime(2024, 1, 1, tzinfo=UTC),
                messages=[Message(body=Text(text=f"Text of {one}"))],
            )
            for one in WANTED
        ]
        assert client.sync_comments(SOURCE, comments).new == COUNT
    yield running.url
    running.stop()


@pytest.fixture
def client(server: str) -> Iterator[Client]:
    """A client of that server, its stream at the beginning."""
    with Client(server, TOKEN) as ours:
        ours.stream(STREAM).reset("2000-01-01T00:00:00Z")
        yield ours


@dataclass
class Consumers:
    """Consumers that come one after the other, and what they wrote."""

    url: str
    file: Path
    mode: str

    def start(self, *, size: int, advance: str) -> subprocess.Popen[bytes]:
        options = [self.url, TOKEN, STREAM, str(self.file), self.mode, str(size), advance]
        command = [sys.executable, "-m", "tests.client_library.consumer", *options]
        return subprocess.Popen(command, cwd=Path(__file__).parents[2])

    def handled(self) -> list[str]:
        """Return the ids of what was handled, without what was only begun."""
        text = self.file.read_text() if self.file.exists() else ""
        # What a killed one began stands before what the next one wrote, on the same line.
        return [line[-5:] for line in text.split("\n")[:-1]]

    def await_lines(self, more_than: int) -> None:
        end = time.monotonic() + 30
        while len(self.handled()) <= more_than:
            assert time.monotonic() < end, "the consumer does nothing"
            time.sleep(0.01)


@pytest.mark.parametrize("mode", ["blocking", "awaiting"])
@pytest.mark.parametrize("advance", ["batch", "comment"])
def test_killed_consumers_lose_nothing_and_pass_nothing(
    client: Client, server: str, tmp_path: Path, mode: str, advance: str
) -> None:
    consumers, chance = Consumers(server, tmp_path / "log", mode), random.Random(f"{mode}{advance}")
    stream = client.stream(STREAM)
    lives = 0
    while (left := stream.fetch(1024).results) and lives < 60:
        before = len(consumers.handled())
        process = consumers.start(size=chance.choice([7, 16, 64]), advance=advance)
        try:
            consumers.await_lines(before + min(chance.randrange(70), len(left) - 1))
            time.sleep(chance.random() * 0.01)
        finally:
            process.send_signal(signal.SIGKILL)
            process.wait()
        lives += 1
        handled = set(consumers.handled())
        passed = set(WANTED) - {result.id for result in stream.fetch(1024).results}
        assert passed <= handled, "the stream passed what was not handled"

    assert lives > 2
    assert list(dict.fromkeys(consumers.handled())) == WANTED


@pytest.mark.parametrize("mode", ["blocking", "awaiting"])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("busy", [True, False], ids=["handling", "waiting"])
def test_a_signal_ends_a_consumer_cleanly(
    client: Client, server: str, tmp_path: Path, mode: str, number: signal.Signals, busy: bool
) -> None:
    consumers, stream = Consumers(server, tmp_path / "log", mode), client.stream(STREAM)
    if not busy:
        stream.advance(stream.fetch(1024).results[-2].sequence_id)
    process = consumers.start(size=64, advance="batch")
    consumers.await_lines(20 if busy else 0)
    time.sleep(0.0 if busy else 0.2)
    process.send_signal(number)

    assert process.wait(20) == 0
    *handled, end = consumers.file.read_text().splitlines()
    assert end == "clean end"
    left = [result.id for result in stream.fetch(1024).results]
    # To the comment: what was handled is passed, and nothing else.
    assert left == (WANTED[len(handled) :] if busy else [])


def test_the_client_that_awaits_does_what_the_other_does(client: Client, server: str) -> None:
    async def act() -> tuple[list[str], list[str], list[str]]:
        async with AsyncClient(server, TOKEN, gzip=True) as ours:
            stream = ours.stream(STREAM)
            async with stream.listen(size=100, until_end=True, predictions="fields") as results:
                got = [result.comment.id async for result in results]
            await stream.reset("2000-01-01T00:00:00Z")
            batches = [
                one.id
                async for batch in stream.listen(size=100, until_end=True).batches()
                for one in batch
            ]
            listed = [one.id async for one in ours.comments(SOURCE, limit=150)]
            with pytest.raises(NotFound):
                await ours.source("DefaultProject/none")
            return got, batches, listed

    assert asyncio.run(act()) == (WANTED, WANTED, WANTED)


def test_many_calls_at_once(client: Client, server: str) -> None:
    async def act() -> int:
        async with AsyncClient(server, TOKEN) as ours:
            found = await asyncio.gather(*(ours.comment(SOURCE, one) for one in WANTED[:50]))
            return sum(one.id == wanted for one, wanted in zip(found, WANTED, strict=False))

    assert asyncio.run(act()) == 50


def test_a_failure_of_an_awaiting_consumer_passes_nothing_unhandled(
    client: Client, server: str
) -> None:
    async def act() -> None:
        async with (
            AsyncClient(server, TOKEN) as ours,
            ours.stream(STREAM).listen(size=50, tag_failures=True) as results,
        ):
            async for result in results:
                # The first comments are slow, so that a batch is fetched ahead.
                await asyncio.sleep(0.002)
                async with results.guard("Odd"):
                    if result.id == WANTED[20]:
                        raise LookupError
                if result.id == WANTED[75]:
                    raise KeyError

    with pytest.raises(KeyError):
        asyncio.run(act())

    assert client.stream(STREAM).fetch(1).results[0].id == WANTED[75]
