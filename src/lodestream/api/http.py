"""A request and a reply, as small as the hot paths want them."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from typing import BinaryIO, Final
from urllib.parse import parse_qsl

from msgspec import Struct

from lodestream.domain.errors import InvalidInput, Unavailable

JSON_TYPE: Final = b"application/json"


class Request:
    """One HTTP request, its body read whole. Header names are lower case.

    Of a route that takes files, the body is in `spool` instead, decompressed; it is closed
    when the request is over.
    """

    __slots__ = (
        "_query",
        "abandoned",
        "body",
        "client",
        "headers",
        "id",
        "method",
        "path",
        "query_string",
        "spool",
    )

    def __init__(
        self,
        *,
        method: str,
        path: str,
        query_string: bytes,
        headers: Mapping[bytes, bytes],
        body: bytes,
        client: str,
        request_id: str,
    ) -> None:
        self.method = method
        self.path = path
        self.query_string = query_string
        self.headers = headers
        self.body = body
        self.client = client
        self.id = request_id
        self.spool: BinaryIO | None = None
        self.abandoned: threading.Event | None = None  # set when nobody waits for the reply
        self._query: dict[str, list[str]] | None = None

    def require_wanted(self) -> None:
        """Raise Unavailable if the server is about to stop and does not wait for this request."""
        if self.abandoned is not None and self.abandoned.is_set():
            raise Unavailable("the server stops; send the file again")

    def query_all(self, name: str) -> list[str]:
        """Return every value of a query parameter, in order.

        Raises InvalidInput if the query string is not text.
        """
        if self._query is None:
            try:
                pairs = parse_qsl(
                    self.query_string.decode("ascii"), keep_blank_values=True, errors="strict"
                )
            except (ValueError, UnicodeDecodeError):
                raise InvalidInput("the query string cannot be read") from None
            self._query = {}
            for key, value in pairs:
                if "\0" in value:
                    raise InvalidInput(f"query parameter {key!r}: NUL is not allowed")
                self._query.setdefault(key, []).append(value)
        return self._query.get(name, [])

    def query(self, name: str) -> str | None:
        """Return the last value of a query parameter, or None."""
        values = self.query_all(name)
        return values[-1] if values else None

    def query_bool(self, name: str, *, default: bool) -> bool:
        """Return a query parameter `true` or `false`. Raises InvalidInput for anything else."""
        value = self.query(name)
        if value is None:
            return default
        if value.lower() not in ("true", "false"):
            raise InvalidInput(f"query parameter {name!r}: 'true' or 'false' expected")
        return value.lower() == "true"

    def query_int(self, name: str, *, default: int | None, low: int, high: int) -> int | None:
        """Return a query parameter as an integer between two bounds, inclusive.

        Raises InvalidInput for anything else.
        """
        value = self.query(name)
        if value is None:
            return default
        digits = value.isascii() and value.isdigit() and len(value) <= 20
        if not digits or not low <= int(value) <= high:
            raise InvalidInput(
                f"query parameter {name!r}: an integer from {low} to {high} expected"
            )
        return int(value)

    def header(self, name: bytes) -> str:
        """Return a header's value, or an empty string."""
        return self.headers.get(name, b"").decode("latin-1")


class Reply(Struct):
    """What is sent back, before compression.

    `parts` take the place of `body` where an answer is too large to be held: each is made in a
    thread when the one before has been sent. Their `size_bytes` is given where it is known.
    """

    body: bytes
    status: int = 200
    content_type: bytes = JSON_TYPE
    headers: list[tuple[bytes, bytes]] = []
    parts: Iterator[bytes] | None = None
    size_bytes: int | None = None


OK_REPLY: Final = b'{"status":"ok"}'
