"""A lean client: `http.client` on one connection that stays open, orjson where it is there."""

from __future__ import annotations

import gzip
import http.client
import json
from typing import Any

try:
    from orjson import dumps as dumps
    from orjson import loads as loads

    JSON_LIBRARY = "orjson"
except ImportError:
    JSON_LIBRARY = "json"
    loads = json.loads  # type: ignore[assignment]

    def dumps(value: object) -> bytes:  # type: ignore[misc]
        """Return compact JSON."""
        return json.dumps(value, separators=(",", ":")).encode()


TIMEOUT_S = 60.0


class WrongAnswer(Exception):
    """The server did not do what the benchmark asked for: there is nothing to measure."""


class Client:
    """One connection, one token. Failures are raised, never repeated: they would spoil figures."""

    def __init__(self, port: int, token: str, *, accept_encoding: str = "identity") -> None:
        self._http = http.client.HTTPConnection("127.0.0.1", port, timeout=TIMEOUT_S)
        self._headers = {
            "Authorization": f"Bearer {token}",
            "Content-Type": "application/json",
            "Accept-Encoding": accept_encoding,
        }

    def send(self, method: str, path: str, body: bytes | None = None) -> bytes:
        """Return the body of a reply, decompressed. Raises WrongAnswer unless it is a success."""
        self._http.request(method, path, body, self._headers)
        reply = self._http.getresponse()
        content = reply.read()
        if reply.status >= 300:
            raise WrongAnswer(f"{method} {path}: {reply.status} {content[:300]!r}")
        if reply.headers.get("Content-Encoding") == "gzip":
            content = gzip.decompress(content)
        return content

    def call(self, method: str, path: str, body: object = None) -> Any:
        """Send a value as JSON, return the reply's."""
        return loads(self.send(method, path, None if body is None else dumps(body)))

    def close(self) -> None:
        """Close the connection."""
        self._http.close()
