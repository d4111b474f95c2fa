"""A call is repeated when that is safe and may help, and not otherwise."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from lodestream.client import (
    AsyncClient,
    BadAnswer,
    BadRequest,
    Client,
    Conflict,
    NotFound,
    Refused,
    Retries,
    ServerFault,
    TooManyRequests,
    Unreachable,
)
from lodestream.client.retries import retry_after_s
from tests.client_library.carriers import AsyncScripted, Scripted, reply

QUICK = Retries(first_wait_s=0.001)
BUSY = {"status": "error", "message": "busy"}
LOST = Unreachable("gone", maybe_done=True)
NEVER_SENT = Unreachable("refused", maybe_done=False)

Act = Callable[[Client], Any]


def get(client: Client) -> Any:
    return client.call("GET", "/api/v1/one")


def post(client: Client) -> Any:
    return client.call("POST", "/api/v1/one", {})


def client_of(*answers: Any, retries: Retries = QUICK) -> tuple[Client, Scripted]:
    transport = Scripted(answers)
    return Client("http://test", "secret", transport=transport, retries=retries), transport


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 504])
def test_a_read_is_repeated_when_the_failure_may_pass(status: int) -> None:
    client, transport = client_of(reply(status, BUSY), reply())

    assert get(client) == {"status": "ok"}
    assert len(transport.requests) == 2


@pytest.mark.parametrize("status", [400, 401, 403, 404, 405, 409, 413, 422, 501])
def test_a_refusal_that_will_not_change_is_not_repeated(status: int) -> None:
    client, transport = client_of(reply(status, BUSY))

    with pytest.raises(Refused) as refused:
        get(client)

    assert (refused.value.status, refused.value.message) == (status, "busy")
    assert len(transport.requests) == 1


@pytest.mark.parametrize("status", [408, 500, 502, 503, 504])
def test_what_may_have_been_done_is_not_done_twice(status: int) -> None:
    client, transport = client_of(reply(status, BUSY))

    with pytest.raises(Refused):
        post(client)

    assert len(transport.requests) == 1


@pytest.mark.parametrize("first", [reply(429, BUSY), NEVER_SENT])
def test_what_cannot_have_been_done_is_repeated(first: Any) -> None:
    client, transport = client_of(first, reply())

    assert post(client) == {"status": "ok"}
    assert len(transport.requests) == 2


def test_no_answer_to_what_may_have_been_done_is_told() -> None:
    client, transport = client_of(LOST)

    with pytest.raises(Unreachable):
        post(client)

    assert len(transport.requests) == 1


@pytest.mark.parametrize(
    "act",
    [
        lambda client: client.sync_comments("a/b", [b"{}"]),
        lambda client: client.stream("a/b/c").advance("x"),
        lambda client: client.stream("a/b/c").fetch(),
        lambda client: client.stream("a/b/c").tag(["x"], "y"),
        lambda client: client.annotate("a/b", "x.y", assigned=["z"]),
        lambda client: client.call("POST", "/api/v1/one", {}, idempotent=True),
    ],
)
def test_operations_that_may_be_made_twice_are_repeated(act: Act) -> None:
    answer = {"status": "ok", "sequence_id": "x", "results": []}
    client, transport = client_of(LOST, reply(502, BUSY), reply(200, answer))

    act(client)

    assert len(transport.requests) == 3
    assert len(set(transport.requests)) == 1


def test_a_reset_that_may_have_happened_is_not_repeated() -> None:
    client, transport = client_of(LOST)

    with pytest.raises(Unreachable):
        client.stream("a/b/c").reset("2024-01-01T00:00:00Z")

    assert len(transport.requests) == 1


def test_a_repeated_delete_that_finds_nothing_has_succeeded() -> None:
    client, _ = client_of(LOST, reply(404, BUSY))
    client.delete_source("18ba5ce699f8da1f")

    client, _ = client_of(reply(404, BUSY))
    with pytest.raises(NotFound):
        client.delete_source("18ba5ce699f8da1f")


def test_tries_end() -> None:
    client, transport = client_of(*[reply(503, BUSY)] * 3, retries=Retries(3, 0.001))

    with pytest.raises(ServerFault) as fault:
        get(client)

    assert fault.value.tries == len(transport.requests) == 3


@pytest.mark.parametrize(("asked", "waited"), [("7", 7.0), ("0", 0.0), ("61", None)])
def test_the_wait_is_the_one_that_the_server_asks_for(asked: str, waited: float | None) -> None:
    error = TooManyRequests(429, "busy", retry_after_s=retry_after_s({"retry-after": asked}))

    assert Retries().wait_s(error, 1, idempotent=False) == waited


def test_waits_grow_and_differ() -> None:
    error = ServerFault(503, "busy")
    waits = [[Retries().wait_s(error, n, idempotent=True) or 0 for n in (1, 4)] for _ in range(50)]

    assert all(0.25 <= first <= 0.5 and 2 <= fourth <= 4 for first, fourth in waits)
    assert len({first for first, _ in waits}) > 1


def test_a_date_is_understood_and_nonsense_is_not() -> None:
    assert retry_after_s({"retry-after": "Fri, 31 Dec 1999 23:59:59 GMT"}) == 0.0
    assert retry_after_s({"retry-after": "soon"}) is None
    assert retry_after_s({}) is None


def test_a_redirect_is_refused() -> None:
    client, transport = client_of(reply(302, {}, location="https://elsewhere.example"))

    with pytest.raises(BadAnswer, match="elsewhere"):
        get(client)

    assert len(transport.requests) == 1


@pytest.mark.parametrize("content", [b"<html>", b"[]", b"\xff", b""])
def test_an_answer_that_is_no_json_object_is_bad(content: bytes) -> None:
    client, _ = client_of(reply()._replace(content=content))

    with pytest.raises(BadAnswer):
        get(client)


@pytest.mark.parametrize("content", [b"<html>", b"[]", b"\xff", b"", b'{"message":3}'])
def test_a_refusal_without_the_envelope_is_still_that_refusal(content: bytes) -> None:
    client, _ = client_of(reply(400)._replace(content=content))

    with pytest.raises(BadRequest, match="HTTP 400"):
        get(client)


def test_a_success_that_says_error_is_bad() -> None:
    client, _ = client_of(reply(200, BUSY))

    with pytest.raises(BadAnswer):
        client.sources()


def test_the_client_that_awaits_repeats_alike() -> None:
    async def act() -> int:
        transport = AsyncScripted([reply(503, BUSY, retry_after="0"), LOST, reply()])
        async with AsyncClient("http://test", "x", transport=transport, retries=QUICK) as client:
            await client.call("GET", "/api/v1/one")
            return len(transport.requests)

    assert asyncio.run(act()) == 3


def test_a_conflict_is_told_at_once() -> None:
    client, transport = client_of(reply(409, BUSY))

    with pytest.raises(Conflict):
        client.create_source("a/b")

    assert len(transport.requests) == 1
