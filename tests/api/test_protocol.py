"""Both ways of a request — answered while it is parsed, or through the application — agree."""

from __future__ import annotations

import json
import re
import socket
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
import uvicorn

from lodestream.api.protocol import LodestreamProtocol
from tests.build import make_pipeline, stream_path, sync_ids
from tests.client import Client
from tests.conftest import ROOT_TOKEN

FETCH = stream_path() + "/fetch"
ADVANCE = stream_path() + "/advance"


class Wire:
    """A connection to the application, spoken to in bytes."""

    def __init__(self, port: int) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=20)
        self._file = self._socket.makefile("rb")

    def close(self) -> None:
        self._file.close()
        self._socket.close()

    def send(self, content: bytes) -> None:
        self._socket.sendall(content)

    def read(self) -> tuple[int, dict[str, str], Any]:
        """Read one answer: status, headers and JSON."""
        status = int(self._file.readline().split()[1])
        headers = {}
        while (line := self._file.readline().strip()) != b"":
            name, _, value = line.decode().partition(": ")
            headers[name.lower()] = value
        return status, headers, json.loads(self._file.read(int(headers["content-length"])))

    def at_end(self) -> bool:
        return self._file.read(1) == b""


def request(path: str, body: bytes, *headers: str, token: str = ROOT_TOKEN) -> bytes:
    lines = [f"POST {path} HTTP/1.1", "Host: test", f"Authorization: Bearer {token}", *headers]
    if not any(header.startswith("Transfer-Encoding") for header in headers):
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join([*lines, "", ""]).encode() + body


@pytest.fixture
def wire(client: Client) -> Iterator[Wire]:
    """A stream with three comments behind a real socket."""
    make_pipeline(client)
    sync_ids(client, *"abc")
    config = uvicorn.Config(
        client.app,
        http=LodestreamProtocol,
        ws="none",
        lifespan="off",
        log_level="critical",
        proxy_headers=False,
    )
    server = uvicorn.Server(config)
    listener = socket.create_server(("127.0.0.1", 0))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    connection = Wire(listener.getsockname()[1])
    yield connection
    connection.close()
    server.should_exit = True
    thread.join(20)
    listener.close()


def quick_requests(client: Client, monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """Note for each request that may be answered at once whether it was."""
    seen: list[bool] = []
    answer = client.app.answer_quick

    def noted(*arguments: Any) -> Any:
        reply = answer(*arguments)
        seen.append(reply is not None)
        return reply

    monkeypatch.setattr(client.app, "answer_quick", noted)
    return seen


def ask(wire: Wire, path: str, body: bytes, *headers: str, **more: str) -> tuple[int, Any]:
    wire.send(request(path, body, *headers, **more))
    status, _, answer = wire.read()
    return status, answer


def test_a_fetch_is_the_same_on_both_ways(
    client: Client, wire: Wire, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = quick_requests(client, monkeypatch)
    body = b'{"size": 2}'
    first = ask(wire, FETCH, body)  # loads what the quick way needs to have in memory
    quick = ask(wire, FETCH, body)
    usual = ask(wire, FETCH + "?usual=way", body)
    assert first == quick == usual
    assert [r["comment"]["id"] for r in quick[1]["results"]] == ["a", "b"]
    if client.app.service.db.is_sqlite:
        assert seen == [False, True]
    else:
        assert seen == []


def test_an_advance_moves_the_stream_on_both_ways(client: Client, wire: Wire) -> None:
    for query in ("", "", "?usual=way"):
        _, batch = ask(wire, FETCH, b'{"size": 1}')
        body = json.dumps({"sequence_id": batch["sequence_id"]}).encode()
        status, answer = ask(wire, ADVANCE + query, body)
        assert (status, answer["sequence_id"]) == (200, batch["sequence_id"])
    assert ask(wire, FETCH, b'{"size": 1}')[1]["results"] == []


@pytest.mark.parametrize(
    ("path", "body", "token", "status"),
    [
        (FETCH, b'{"size": 0}', ROOT_TOKEN, 400),
        (FETCH, b"{", ROOT_TOKEN, 400),
        (FETCH, b'{"size": 1}', "unknown", 401),
        (FETCH, b'{"size": 1}', "", 401),
        (ADVANCE, b'{"sequence_id": "short"}', ROOT_TOKEN, 400),
        (ADVANCE, b'{"sequence_id": "/////////////////////////////////w=="}', ROOT_TOKEN, 400),
        (FETCH.replace("/all/", "/none/"), b'{"size": 1}', ROOT_TOKEN, 404),
    ],
)
def test_a_refusal_is_the_same_on_both_ways(
    wire: Wire, path: str, body: bytes, token: str, status: int
) -> None:
    ask(wire, FETCH, b'{"size": 1}')
    quick = ask(wire, path, body, token=token)
    assert quick == ask(wire, path + "?usual=way", body, token=token)
    assert (quick[0], quick[1]["status"]) == (status, "error")


def test_pipelined_requests_are_answered_in_their_order(wire: Wire) -> None:
    ask(wire, FETCH, b'{"size": 1}')
    sizes = [1, 2, 3, 2, 1]
    queries = ["", "?usual=way", "", "", "?usual=way"]
    wire.send(
        b"".join(
            request(FETCH + query, b'{"size": %d}' % size)
            for size, query in zip(sizes, queries, strict=True)
        )
    )
    assert [len(wire.read()[2]["results"]) for _ in sizes] == sizes


def test_a_request_may_come_in_single_bytes(wire: Wire) -> None:
    ask(wire, FETCH, b'{"size": 1}')
    for byte in request(FETCH, b'{"size": 3}'):
        wire.send(bytes([byte]))
    assert len(wire.read()[2]["results"]) == 3


def test_a_chunked_body_is_read(wire: Wire) -> None:
    ask(wire, FETCH, b'{"size": 1}')
    body = b'5\r\n{"siz\r\n6\r\ne": 2}\r\n0\r\n\r\n'
    status, answer = ask(wire, FETCH, body, "Transfer-Encoding: chunked")
    assert (status, len(answer["results"])) == (200, 2)


def test_a_long_body_of_a_quick_request_is_read_whole(wire: Wire) -> None:
    ask(wire, FETCH, b'{"size": 1}')
    status, answer = ask(wire, FETCH, b'{"size": 2' + b" " * 200_000 + b"}")
    assert (status, len(answer["results"])) == (200, 2)


def test_who_waits_for_a_go_ahead_gets_it(wire: Wire) -> None:
    ask(wire, FETCH, b'{"size": 1}')
    whole = request(FETCH, b'{"size": 2}', "Expect: 100-continue")
    head, _, body = whole.partition(b"\r\n\r\n")
    wire.send(head + b"\r\n\r\n")
    assert re.match(rb"HTTP/1.1 100", wire._file.readline())
    assert wire._file.readline() == b"\r\n"
    wire.send(body)
    assert len(wire.read()[2]["results"]) == 2


def test_a_connection_is_closed_when_the_caller_asks_for_it(wire: Wire) -> None:
    ask(wire, FETCH, b'{"size": 1}')
    wire.send(request(FETCH, b'{"size": 2}', "Connection: close"))
    assert len(wire.read()[2]["results"]) == 2
    assert wire.at_end()


def test_every_answer_carries_the_platforms_time(wire: Wire) -> None:
    ask(wire, FETCH, b'{"size": 1}')
    for query in ("", "?usual=way"):
        wire.send(request(FETCH + query, b'{"size": 1}', "X-Request-Id: mine-1"))
        _, headers, _ = wire.read()
        assert re.fullmatch(r"total;dur=\d+\.\d", headers["server-timing"])
        assert headers["x-request-id"] == "mine-1"
        assert headers["content-type"] == "application/json"
