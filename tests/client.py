"""Real requests through the ASGI application, without a socket."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote

from lodestream.api.app import App


@dataclass(frozen=True)
class Answer:
    """What came back."""

    status: int
    headers: dict[str, str]
    content: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.content)


class Loop:
    """An event loop in a thread of its own."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()

    def run(self, work: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(60)

    def close(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


class Client:
    """Calls an application as one user. `body` that is no bytes is sent as JSON."""

    def __init__(self, app: App, loop: Loop, token: str | None) -> None:
        self.app = app
        self.loop = loop
        self.token = token

    def as_user(self, token: str | None) -> Client:
        return Client(self.app, self.loop, token)

    def call(
        self, method: str, path: str, body: object = None, headers: Mapping[str, str] | None = None
    ) -> Answer:
        sent = {"host": "test"}
        if self.token is not None:
            sent["authorization"] = f"Bearer {self.token}"
        sent.update({name.lower(): value for name, value in (headers or {}).items()})
        content = body if isinstance(body, bytes) else b""
        if body is not None and not isinstance(body, bytes):
            content = json.dumps(body).encode()
        return self.loop.run(self._ask(method, path, content, sent))

    def get(self, path: str, **more: Any) -> Answer:
        return self.call("GET", path, **more)

    def put(self, path: str, body: object = None, **more: Any) -> Answer:
        return self.call("PUT", path, body, **more)

    def post(self, path: str, body: object = None, **more: Any) -> Answer:
        return self.call("POST", path, body, **more)

    def delete(self, path: str, **more: Any) -> Answer:
        return self.call("DELETE", path, **more)

    def ok(self, method: str, path: str, body: object = None) -> Any:
        """Call, insist on success, and return the body."""
        answer = self.call(method, path, body)
        assert answer.status == 200, (method, path, answer.status, answer.content[:500])
        assert answer.json["status"] == "ok"
        return answer.json

    async def _ask(
        self, method: str, path: str, content: bytes, headers: Mapping[str, str]
    ) -> Answer:
        raw_path, _, query = path.partition("?")
        scope = {
            "type": "http",
            "method": method,
            "path": unquote(raw_path),
            "raw_path": raw_path.encode(),
            "query_string": query.encode(),
            "headers": [(n.encode(), v.encode("latin-1")) for n, v in headers.items()],
            "client": ("127.0.0.1", 1),
        }
        sent: list[Any] = []
        messages = [{"type": "http.request", "body": content, "more_body": False}]

        async def receive() -> Any:
            if not messages:
                await asyncio.Event().wait()  # the client stays until it has its answer
            return messages.pop(0)

        async def send(message: Any) -> None:
            sent.append(message)

        await self.app(scope, receive, send)
        start = sent[0]
        found = {name.decode(): value.decode("latin-1") for name, value in start["headers"]}
        return Answer(start["status"], found, b"".join(m.get("body", b"") for m in sent[1:]))
