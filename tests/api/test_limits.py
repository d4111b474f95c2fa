"""Bounds on requests: how many at once, how many a second from a token, how much memory."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from lodestream.api.limits import SMALL_BODY, Gate
from lodestream.api.service import Limits
from lodestream.domain.errors import Busy
from lodestream.server import make_app
from lodestream.settings import Settings
from lodestream.store.db import Database
from lodestream.store.dialect import sqlite_url
from tests.client import Answer, Client, Loop
from tests.conftest import ROOT_TOKEN, make_user, stop_app

Serve = Callable[..., Client]
SOURCES = "/api/v1/sources"
SYNC = "/api/v1/sources/acme/inbox/sync"


@pytest.fixture
def serve(sqlite_template: Path, loop: Loop, tmp_path: Path) -> Iterator[Serve]:
    """Make a server with the given settings."""
    shutil.copy(sqlite_template, tmp_path / "lodestream.sqlite3")
    started: list[Client] = []

    def start(**settings: Any) -> Client:
        db = Database(sqlite_url(tmp_path / "lodestream.sqlite3"))
        for secret in (ROOT_TOKEN, "second"):
            make_user(db, secret, globally='["root"]')
        started.append(Client(make_app(Settings(data=tmp_path, **settings), db), loop, ROOT_TOKEN))
        return started[-1]

    yield start
    for client in started:
        loop.run(stop_app(client.app))


def refused_for_now(answer: Answer) -> None:
    assert answer.status == 429
    assert answer.json["status"] == "error"
    assert int(answer.headers["retry-after"]) >= 1


def test_a_token_that_asks_too_often_is_told_when_to_come_back(serve: Serve) -> None:
    client = serve(max_rate=2)
    assert [client.get(SOURCES).status for _ in range(2)] == [200, 200]
    refused_for_now(client.get(SOURCES))
    # The same token in other clothes has no share of its own; another token has.
    for header in (f"bearer  {ROOT_TOKEN} ", f"BEARER {ROOT_TOKEN}"):
        refused_for_now(client.as_user(None).get(SOURCES, headers={"authorization": header}))
    refused_for_now(client.as_user(None).get(SOURCES, headers={"x-auth-token": ROOT_TOKEN}))
    assert client.as_user("second").get(SOURCES).status == 200
    assert client.as_user(None).get(SOURCES).status == 401


def test_a_share_grows_again_with_time(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1000.0
    monkeypatch.setattr("time.monotonic", lambda: now)
    gate = Gate(Limits(requests_per_s=0.5))
    headers = {b"authorization": b"Bearer x"}

    def ask() -> int:
        try:
            with gate.admit(headers):
                return 0
        except Busy as busy:
            return busy.retry_after_s

    assert [ask(), ask(), ask()] == [0, 2, 2]
    now += 1.0
    assert ask() == 1
    now += 1.0
    assert [ask(), ask()] == [0, 2]
    now += 3600.0
    assert [ask(), ask()] == [0, 2]


def test_many_tokens_do_not_free_one_that_is_limited() -> None:
    gate = Gate(Limits(requests_per_s=0.001))
    known = {b"authorization": b"Bearer known"}
    with gate.admit(known):
        pass
    for number in range(12_000):
        with gate.admit({b"authorization": b"Bearer %d" % number}):
            pass
        if number % 1000 == 0:
            with pytest.raises(Busy), gate.admit(known):
                pass


class Slow:
    """A request whose body stops halfway until it is told to go on."""

    def __init__(self, client: Client, size: int = 2, *, declared: int | None = None) -> None:
        self._client = client
        self._go_on = asyncio.Event()
        self._parts = [b" " * (size - 1), b" "]
        self._waits = False
        self._sent: list[Any] = []
        headers = [(b"authorization", f"Bearer {client.token}".encode())]
        if declared is not None:
            headers.append((b"content-length", str(declared).encode()))
        self._scope = {
            "type": "http",
            "method": "POST",
            "path": SYNC,
            "query_string": b"",
            "headers": headers,
            "client": None,
        }
        self._task = client.loop.run(self._start())

    async def _start(self) -> asyncio.Task[None]:
        task = asyncio.create_task(self._client.app(self._scope, self._receive, self._send))
        for _ in range(200):
            await asyncio.sleep(0.005)
            if task.done() or self._waits:
                break
        return task

    async def _receive(self) -> Any:
        if len(self._parts) == 1:
            self._waits = True
            await self._go_on.wait()
        return {"type": "http.request", "body": self._parts.pop(0), "more_body": bool(self._parts)}

    async def _send(self, message: Any) -> None:
        self._sent.append(message)

    @property
    def answered(self) -> bool:
        return bool(self._sent)

    def finish(self) -> Answer:
        """Let the rest come; return the answer."""

        async def rest() -> None:
            self._go_on.set()
            await self._task

        self._client.loop.run(rest())
        head = {name.decode(): value.decode() for name, value in self._sent[0]["headers"]}
        return Answer(self._sent[0]["status"], head, self._sent[1]["body"])


def test_more_requests_at_once_than_there_is_room_for_are_refused(serve: Serve) -> None:
    client = serve(max_concurrent=2)
    waiting = [Slow(client), Slow(client)]
    refused_for_now(client.get(SOURCES))
    # Whoever watches over the server has to learn that it is alive.
    assert client.as_user(None).get("/healthz").status == 200
    for one in waiting:
        assert one.finish().status == 404
    assert client.get(SOURCES).status == 200


@pytest.mark.parametrize("tells_length", [True, False])
def test_bodies_that_would_fill_the_memory_are_refused(serve: Serve, tells_length: bool) -> None:
    client = serve(max_held_mib=3, max_body_mib=2, max_upload_mib=2)
    size = 2 << 20
    first = Slow(client, size, declared=size if tells_length else None)
    refused_for_now(Slow(client, size, declared=size if tells_length else None).finish())
    small = Slow(client, SMALL_BODY // 2)
    assert small.finish().status == 404
    assert first.finish().status == 404
    assert Slow(client, size).finish().status == 404


@pytest.mark.parametrize("token", ["unknown", ""])
@pytest.mark.parametrize("declared", [None, 50 << 20])
def test_a_large_body_is_not_even_taken_from_strangers(
    serve: Serve, token: str, declared: int | None
) -> None:
    client = serve()
    slow = Slow(client.as_user(token), SMALL_BODY + 100, declared=declared)
    # The body has not come to its end, but the answer is there.
    assert slow.answered
    assert slow.finish().status == 401


def test_nothing_is_decompressed_for_strangers(serve: Serve) -> None:
    client = serve()
    broken = {"content-encoding": "gzip"}
    assert client.as_user("unknown").call("POST", SYNC, b"no gzip", broken).status == 401
    assert client.call("POST", SYNC, b"no gzip", broken).status == 400
