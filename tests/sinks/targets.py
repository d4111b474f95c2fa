"""Targets of sinks: small HTTP servers that take webhooks and bulk requests, and note them."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass
class Request:
    """What came in."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def ids(self) -> list[str]:
        """Ids of the comments of a webhook's call."""
        return [one["comment"]["id"] for one in self.json["results"]]


Reply = tuple[int, dict[str, str], bytes]
Answer = Callable[[Request], Reply]


def ok(_request: Request) -> Reply:
    """Take everything."""
    return 200, {}, b"{}"


@dataclass
class Target:
    """A server; `answer` decides what it says."""

    answer: Answer = ok
    requests: list[Request] = field(default_factory=list)
    url: str = ""

    @property
    def arrived(self) -> list[str]:
        """Ids of the comments of all calls of type `comments`, in order."""
        return [name for one in self.requests if b'"comments"' in one.body[:30] for name in one.ids]


@contextmanager
def serving(answer: Answer = ok) -> Iterator[Target]:
    """Serve for as long as the context lasts."""
    target = Target(answer)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def _any(self) -> None:
            body = self.rfile.read(int(self.headers.get("content-length") or 0))
            headers = {name.lower(): value for name, value in self.headers.items()}
            request = Request(self.command, self.path, headers, body)
            target.requests.append(request)
            status, more, content = target.answer(request)
            self.send_response(status)
            for name, value in more.items():
                self.send_header(name, value)
            self.send_header("content-length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_POST = do_PUT = do_HEAD = _any  # noqa: N815 (the base class has them so)

        def log_message(self, *_: object) -> None:
            pass

    class Server(ThreadingHTTPServer):
        daemon_threads = True
        block_on_close = False

        def handle_error(self, *_: object) -> None:
            pass  # who called went away, which is what some tests are about

    server = Server(("127.0.0.1", 0), Handler)
    target.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield target
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


class Index:
    """What an index holds, as a cluster that takes bulk requests keeps it.

    `status_of(id, document)` may refuse a document.
    """

    def __init__(self, status_of: Callable[[str, Any], int] = lambda _id, _document: 201) -> None:
        self.status_of = status_of
        self.documents: dict[str, Any] = {}
        self.order: list[str] = []
        self.templates: dict[str, Any] = {}

    def __call__(self, request: Request) -> Reply:
        path = request.path.partition("?")[0]
        if path.startswith("/_index_template/"):
            if request.method == "PUT":
                self.templates[path] = request.json
            return (200 if path in self.templates else 404), {}, b"{}"
        if not path.endswith("/_bulk"):
            return 200, {}, b'{"version":{"number":"8"}}'
        lines = [json.loads(line) for line in request.body.splitlines()]
        items = [
            self._store(lines[n]["index"]["_id"], lines[n + 1]) for n in range(0, len(lines), 2)
        ]
        return 200, {}, json.dumps({"items": items}).encode()

    def _store(self, name: str, document: Any) -> Any:
        status = self.status_of(name, document)
        found: dict[str, Any] = {"status": status}
        if status < 300:
            self.documents[name] = document
            self.order.append(name)
        else:
            found["error"] = {"type": "mapper_parsing_exception", "reason": "failed to parse"}
        return {"index": found}


def eventually(holds: Callable[[], bool], *, within_s: float = 15) -> None:
    """Wait until something holds."""
    until = time.monotonic() + within_s
    while not holds():
        assert time.monotonic() < until, "it did not happen"
        time.sleep(0.01)
