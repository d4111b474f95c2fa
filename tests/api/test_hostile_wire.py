"""Hostile bytes on a real connection to a real server, and its memory all the while."""

from __future__ import annotations

import contextlib
import gzip
import json
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.processes import ServerProcess, environment, free_port

TOKEN = "the-token-of-the-administrator"
MIB = 1 << 20
MOST_RESIDENT_MIB = 280


class Wire:
    """A server in a process of its own, spoken to in bytes."""

    def __init__(self, server: ServerProcess, port: int) -> None:
        self.server = server
        self.port = port

    def say(self, *pieces: bytes) -> bytes:
        """Send bytes on a new connection; return all that comes back until it is closed."""
        answer = b""
        with (
            socket.create_connection(("127.0.0.1", self.port), timeout=20) as connection,
            # It may be closed on us before all is sent, with an answer.
            contextlib.suppress(ConnectionError),
        ):
            with contextlib.suppress(ConnectionError):
                for piece in pieces:
                    connection.sendall(piece)
            while part := connection.recv(65_536):
                answer += part
        return answer

    def ask(
        self,
        method: str,
        path: bytes,
        body: bytes = b"",
        *headers: bytes,
        token: str = TOKEN,
    ) -> tuple[int, Any]:
        """Make one request; return the status and the JSON of the answer."""
        head = [
            method.encode() + b" " + path + b" HTTP/1.1",
            b"Host: test",
            b"Connection: close",
            b"Authorization: Bearer " + token.encode(),
            b"Content-Length: %d" % len(body),
            *headers,
        ]
        return parsed(self.say(b"\r\n".join(head) + b"\r\n\r\n" + body))

    def resident_mib(self) -> int:
        """Return the most memory that the process has ever had."""
        status = Path(f"/proc/{self.server.process.pid}/status").read_text()
        line = next(one for one in status.splitlines() if one.startswith("VmHWM"))
        return int(line.split()[1]) >> 10


def parsed(answer: bytes) -> tuple[int, Any]:
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1."), answer[:200]
    assert b"application/json" in head.lower(), head
    return int(head.split()[1]), json.loads(body)


@pytest.fixture(scope="module")
def wire(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Wire]:
    """A server with a source, a dataset and a stream."""
    port = free_port()
    folder = tmp_path_factory.mktemp("wire")
    given = environment(
        port,
        LODESTREAM_ADMIN_TOKEN=TOKEN,
        LODESTREAM_DATA=str(folder / "data"),
        LODESTREAM_MAX_BODY_MIB="16",
        LODESTREAM_MAX_UPLOAD_MIB="16",
        LODESTREAM_MAX_HELD_MIB="64",
    )
    server = ServerProcess(folder, given, command=["serve"])
    try:
        talk = Wire(server, port)
        for path, body in (
            (b"/api/_private/projects/acme", b'{"project":{"title":""}}'),
            (b"/api/v1/sources/acme/inbox", b'{"source":{}}'),
            (b"/api/v1/datasets/acme/support", b'{"dataset":{"source_ids":[]}}'),
            (b"/api/v1/datasets/acme/support/streams", b'{"stream":{"name":"all"}}'),
        ):
            answer = talk.ask("PUT", path, body)
            assert answer[0] == 200, answer
        yield talk
        # Whatever was done to it, it still serves, logged no bug, and ends as it should.
        assert talk.ask("GET", b"/api/v1/sources")[0] == 200
        log = server.log.read_text()
        assert "Traceback" not in log
        assert TOKEN not in log
    finally:
        server.stop()


FETCH = b"/api/v1/datasets/acme/support/streams/all/fetch"
SYNC = b"/api/v1/sources/acme/inbox/sync"


@pytest.mark.parametrize(
    "path",
    [
        b"/api/v1/sources/\xff",
        b"/api/v1/sources/%ff",
        b"/api/v1/sources/%00",
        b"/api/v1/sources/%ED%A0%80",
        b"/api/v1/sources/%C0%AF",
        b"/api/v1/sources/%252e%252e",
        b"/api/v1/sources/../../etc/passwd",
        b"/api/v1/sources/..%2f..%2fetc%2fpasswd",
        b"/api/v1/sources/" + b"a" * 100_000,
        b"/api/v1/sources/" + b"%61" * 60_000,
        b"/api/v1/sources/" + b"x/" * 50_000,
        b"/api/v1/sources/%",
        b"/api/v1/sources/%zz",
        b"api/v1/sources",
        b"*",
    ],
)
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_no_path_breaks_the_server(wire: Wire, method: str, path: bytes) -> None:
    status, told = wire.ask(method, path)
    assert status in (400, 404, 405)
    assert told["status"] == "error"


@pytest.mark.parametrize(
    "request_bytes",
    [
        b"\x00" * 1000,
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\x00" * 200,
        b"GET\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nBroken header\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nxx",
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n"
        b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffffff\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nX: a\x00b\r\n\r\n",
    ],
)
def test_what_is_no_http_is_refused_in_the_envelope(wire: Wire, request_bytes: bytes) -> None:
    status, told = parsed(wire.say(request_bytes))
    assert status in (400, 404)
    assert told["status"] == "error"


def test_a_head_without_end_is_refused(wire: Wire) -> None:
    endless = [b"X-%d: %s\r\n" % (n, b"a" * 8000) for n in range(100)]
    status, _ = parsed(wire.say(b"GET /healthz HTTP/1.1\r\nHost: a\r\n", *endless))
    assert status == 431
    status, _ = parsed(wire.say(b"GET /" + b"a" * MIB))
    assert status in (400, 431)


def test_two_requests_in_one_packet_get_two_answers(wire: Wire) -> None:
    one = (
        b"POST %s HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer %s\r\nContent-Length: 10\r\n\r\n"
        b'{"size":1}' % (FETCH, TOKEN.encode())
    )
    answer = wire.say(
        one + one + one.replace(b"HTTP/1.1\r\n", b"HTTP/1.1\r\nConnection: close\r\n")
    )
    assert answer.count(b"HTTP/1.1 200 OK") == 3
    assert answer.count(b'"is_end_sequence":true') == 3


@pytest.mark.parametrize(
    "body", [b"", b"{", b"[" * 60_000, b'{"size":0}', b"\xff" * 100, b"x" * 70_000]
)
def test_the_fast_way_refuses_like_the_usual_one(wire: Wire, body: bytes) -> None:
    quick = wire.ask("POST", FETCH, body)
    usual = wire.ask("POST", FETCH + b"?", body)
    assert quick == usual
    assert quick[0] == 400


def test_a_chunked_body_over_the_limit_is_refused(wire: Wire) -> None:
    head = (
        b"POST %s HTTP/1.1\r\nHost: a\r\nConnection: close\r\nAuthorization: Bearer %s\r\n"
        b"Transfer-Encoding: chunked\r\n\r\n" % (SYNC, TOKEN.encode())
    )
    chunk = b"100000\r\n" + b" " * MIB + b"\r\n"
    status, _ = parsed(wire.say(head, *([chunk] * 20)))
    assert status == 413


def test_memory_stays_bounded_under_large_bodies_and_bombs(wire: Wire) -> None:
    before = wire.resident_mib()
    bomb = gzip.compress(bytes(512 * MIB), compresslevel=1)
    large = b'{"comments":[' + b" " * (15 * MIB) + b"]}"
    deep = b"[" * (15 * MIB)
    tokens = [TOKEN, "unknown"]
    statuses: list[int] = []

    def storm(number: int) -> None:
        token = tokens[number % 2]
        for body, header in (
            (bomb, b"Content-Encoding: gzip"),
            (large, b"X: 1"),
            (deep, b"X: 1"),
            (b" " * (100 * MIB), b"X: 1"),
        ):
            answer = wire.ask("POST", SYNC, body, header, token=token)
            statuses.append(answer[0])

    threads = [threading.Thread(target=storm, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(statuses) == 32
    assert set(statuses) <= {200, 400, 401, 413, 429}
    assert {401, 413} <= set(statuses)
    assert wire.resident_mib() < MOST_RESIDENT_MIB, f"it was {before} MiB before"
