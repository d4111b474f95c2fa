"""Answers are read as HTTP has it, however they arrive; what is no HTTP is refused."""

from __future__ import annotations

import gzip
import re
import socket
import threading
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lodestream.client import BadAnswer, Client, Retries, Unreachable
from lodestream.client.http import HEAD, LINE, REST, Reply, reading

OK = b'{"status":"ok"}'


def read(method: str, answer: bytes) -> tuple[Reply, bytes]:
    """Return what is read of an answer, and the bytes that are left."""
    steps = reading(method)
    need = next(steps)
    while True:
        if need in (HEAD, LINE):
            end = b"\r\n\r\n" if need == HEAD else b"\n"
            size = answer.index(end) + len(end)
        else:
            size = len(answer) if need == REST else need
        piece, answer = answer[:size], answer[size:]
        try:
            need = steps.send(piece)
        except StopIteration as end:
            return end.value, answer


@pytest.mark.parametrize(
    ("answer", "content", "kept"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 15\r\n\r\n" + OK, OK, True),
        (b"HTTP/1.1 200\r\ncontent-length:15\r\nConnection: close\r\n\r\n" + OK, OK, False),
        (b"HTTP/1.0 200 OK\r\nContent-Length: 15\r\n\r\n" + OK, OK, False),
        (b"HTTP/1.1 200 OK\r\n\r\n" + OK, OK, False),
        (b"HTTP/1.1 204 No Content\r\n\r\n", b"", True),
        (
            b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 15\r\n\r\n" + OK,
            OK,
            True,
        ),
        (
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
            b'5;a="b"\r\n{"sta\r\nA\r\ntus":"ok"}\r\n0\r\nTrailer: x\r\n\r\n',
            OK,
            True,
        ),
    ],
)
def test_every_way_to_frame_an_answer(answer: bytes, content: bytes, kept: bool) -> None:
    found, left = read("GET", answer)

    assert (bytes(found.content), found.kept, left) == (content, kept, b"")


def test_an_answer_to_head_has_no_body() -> None:
    found, left = read("HEAD", b"HTTP/1.1 200 OK\r\nContent-Length: 15\r\n\r\n")

    assert (found.content, left) == (b"", b"")


def test_a_compressed_answer_is_decompressed() -> None:
    packed = gzip.compress(OK)
    head = f"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: {len(packed)}\r\n\r\n"

    assert read("GET", head.encode() + packed)[0].content == OK


@pytest.mark.parametrize(
    "answer",
    [
        b"SSH-2.0-OpenSSH_9.2\r\n\r\n",
        b"HTTP/2 200 OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nno colon\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1_0\r\n\r\n0123456789",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n+5\r\nhello\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Encoding: br\r\nContent-Length: 1\r\n\r\nx",
        b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 1\r\n\r\nx",
    ],
)
def test_what_cannot_be_read_for_certain_is_refused(answer: bytes) -> None:
    with pytest.raises(BadAnswer):
        read("GET", answer)


class Server:
    """Answers each connection with given bytes in given pieces, then closes it if told to."""

    def __init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self.plan: list[tuple[list[bytes], bool]] = []
        self.requests: list[bytes] = []
        self.connections = 0
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join(10)

    def _serve(self) -> None:
        while True:
            try:
                peer, _ = self._listener.accept()
            except OSError:
                return
            self.connections += 1
            with peer:
                self._speak(peer)

    def _speak(self, peer: socket.socket) -> None:
        while self.plan:
            request = b""
            while not _whole(request):
                got = peer.recv(65_536)
                if not got:
                    return
                request += got
            self.requests.append(request)
            pieces, closes = self.plan.pop(0)
            for piece in pieces:
                peer.sendall(piece)
            if closes:
                return


def _whole(request: bytes) -> bool:
    head, empty, body = request.partition(b"\r\n\r\n")
    length = re.search(rb"Content-Length: (\d+)", head)
    return bool(empty) and len(body) >= (int(length[1]) if length else 0)


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    running = Server()
    yield running
    running.close()


NEVER = Retries(most_tries=1)
ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 15\r\n\r\n" + OK
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nF\r\n" + OK + b"\r\n0\r\n\r\n"


@settings(max_examples=40, deadline=None)
@given(cuts=st.lists(st.integers(1, 60), max_size=6), answer=st.sampled_from([ANSWER, CHUNKED]))
def test_an_answer_may_come_in_any_pieces(server: Server, cuts: list[int], answer: bytes) -> None:
    ends = sorted({min(cut, len(answer)) for cut in cuts} | {len(answer)})
    pieces = [answer[start:end] for start, end in zip([0, *ends], ends, strict=False)]
    server.plan = [(pieces, False), ([answer], True)]
    before = server.connections

    with Client(server.url, "secret", retries=NEVER, use_environment_proxy=False) as client:
        assert client.call("GET", "/api/v1/one") == {"status": "ok"}
        assert client.call("GET", "/api/v1/two") == {"status": "ok"}

    assert server.connections == before + 1, "the connection is used again"


def test_a_connection_that_was_closed_meanwhile_is_replaced(server: Server) -> None:
    server.plan = [([ANSWER], True), ([ANSWER], True)]
    with Client(server.url, "secret", retries=NEVER, use_environment_proxy=False) as client:
        client.call("POST", "/api/v1/one", {})
        threading.Event().wait(0.1)  # The end of the connection needs a moment to arrive.

        assert client.call("POST", "/api/v1/two", {}) == {"status": "ok"}


def test_an_answer_that_breaks_off_is_none(server: Server) -> None:
    server.plan = [([ANSWER[:-3]], True)]
    client = Client(server.url, "secret", retries=NEVER, use_environment_proxy=False)

    with pytest.raises(Unreachable) as error:
        client.call("GET", "/api/v1/one")

    assert error.value.maybe_done


def test_what_is_sent(server: Server) -> None:
    server.plan = [([ANSWER], True)]
    base = f"{server.url}/organisation/tenant/reinfer_/"
    with Client(base, "secret", gzip=True, use_environment_proxy=False) as client:
        client.call("POST", "/api/v1/one?a=%20b", {"a": 1})

    head, _, body = server.requests[-1].partition(b"\r\n\r\n")
    first, *fields = head.decode().split("\r\n")
    assert first == "POST /organisation/tenant/reinfer_/api/v1/one?a=%20b HTTP/1.1"
    named = dict(field.split(": ", 1) for field in fields)
    assert named["Host"] == server.url.removeprefix("http://")
    assert named["Authorization"] == "Bearer secret"
    assert named["Accept-Encoding"] == "gzip"
    assert named["Content-Length"] == str(len(body))
    assert body == b'{"a":1}'


@pytest.mark.parametrize("path", ["api", "/a b", "/a\r\nX: y", "/é", ""])
def test_a_path_that_would_break_the_request_is_refused(path: str) -> None:
    with pytest.raises(ValueError, match="no path"):
        Client("http://127.0.0.1:1", "secret").call("GET", path)


@pytest.mark.parametrize("token", ["a\r\nX: y", "a b", "é", "a\x00"])
def test_a_token_that_would_break_the_request_is_refused(token: str) -> None:
    with pytest.raises(ValueError, match="token"):
        Client("http://127.0.0.1:1", token)


@pytest.mark.parametrize("url", ["ftp://a", "http://", "http://u:p@a", "http://a/b?c=d", "a b"])
def test_a_url_of_no_server_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match="URL of a server"):
        Client(url, "secret")


def test_a_plain_request_goes_through_the_proxy_of_the_environment(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    proxy = server.url.replace("http://", "http://user:pa%20ss@")
    monkeypatch.setenv("http_proxy", proxy)
    monkeypatch.setenv("no_proxy", "localhost")
    server.plan = [([ANSWER], True)]
    with Client("http://far.example:8080/base", "secret") as client:
        client.call("GET", "/api/v1/one")

    head = server.requests[-1].decode()
    assert head.startswith("GET http://far.example:8080/base/api/v1/one HTTP/1.1\r\n")
    assert "\r\nHost: far.example:8080\r\n" in head
    assert "\r\nProxy-Authorization: Basic dXNlcjpwYSBzcw==\r\n" in head


def test_the_token_does_not_reach_the_proxy_of_a_secure_server(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("https_proxy", server.url)
    monkeypatch.setenv("no_proxy", "")
    server.plan = [([b"HTTP/1.1 403 Forbidden\r\n\r\n"], True)]
    client = Client("https://far.example", "secret", retries=NEVER)

    with pytest.raises(Unreachable, match="proxy refuses"):
        client.call("GET", "/api/v1/one")

    head = server.requests[-1].decode()
    assert head.startswith("CONNECT far.example:443 HTTP/1.1\r\n")
    assert "secret" not in head


def test_nobody_at_the_other_end_is_told_so() -> None:
    client = Client("http://127.0.0.1:1", "secret", retries=NEVER, use_environment_proxy=False)

    with pytest.raises(Unreachable, match=r"127\.0\.0\.1:1") as error:
        client.call("POST", "/api/v1/one", {})

    assert not error.value.maybe_done
