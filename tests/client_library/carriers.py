"""Ways for the client's requests that need no network."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from lodestream.client import ClientError
from lodestream.client.http import Reply
from tests.client import Client as AppClient


class AppTransport:
    """Carries requests to an application; `seen` is told of each one before it is obeyed."""

    def __init__(
        self, app: AppClient, seen: Callable[[str, str, bytes], None] | None = None
    ) -> None:
        self._app = app
        self._seen = seen

    def exchange(self, method: str, head: bytes, body: bytes | None) -> Reply:
        first, *lines = head.decode().rstrip("\r\n").split("\r\n")
        path = first.split(" ")[1]
        if self._seen is not None:
            self._seen(method, path, body or b"")
        headers = dict(line.split(": ", 1) for line in lines)
        answer = self._app.as_user(None).call(method, path, body or b"", headers)
        return Reply(answer.status, answer.headers, answer.content, kept=True)

    def open(self, head: bytes, body: bytes | None) -> Whole:
        return Whole(self.exchange(head.decode().split(" ", 1)[0], head, body))

    def close(self) -> None:
        """There is nothing to let go of."""


class Whole:
    """An answer that is there already, read as if it came in two parts."""

    def __init__(self, reply: Reply) -> None:
        self.status, self.headers = reply.status, reply.headers
        self._content = bytes(reply.content)

    def parts(self) -> Iterator[bytes]:
        middle = len(self._content) // 2
        yield self._content[:middle]
        yield self._content[middle:]

    def close(self) -> None:
        """There is nothing to let go of."""


class Scripted:
    """Answers with what it was given, in order: a reply, or an error to raise."""

    def __init__(self, answers: Iterable[Reply | ClientError]) -> None:
        self._answers = iter(answers)
        self.requests: list[tuple[str, str, bytes | None]] = []

    def exchange(self, method: str, head: bytes, body: bytes | None) -> Reply:
        self.requests.append((method, head.decode().split(" ")[1], body))
        answer = next(self._answers)
        if isinstance(answer, ClientError):
            raise answer
        return answer

    def close(self) -> None:
        """There is nothing to let go of."""


class AsyncScripted(Scripted):
    """The same, for the client that awaits."""

    async def exchange(  # type: ignore[override]
        self, method: str, head: bytes, body: bytes | None
    ) -> Reply:
        return super().exchange(method, head, body)

    async def close(self) -> None:  # type: ignore[override]
        """There is nothing to let go of."""


def reply(status: int = 200, body: Any = None, **headers: str) -> Reply:
    """Return an answer as a server gives it."""
    given = {"status": "ok"} if body is None else body
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Reply(status, named, json.dumps(given).encode(), kept=True)
