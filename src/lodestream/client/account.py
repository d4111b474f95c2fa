"""What both clients are given: a server, a token, and how patient to be."""

from __future__ import annotations

import os
import ssl
from typing import TypeVar

from lodestream import __version__
from lodestream.client.address import Address, find_address
from lodestream.client.calls import Call
from lodestream.client.http import request

T = TypeVar("T")


class Account:
    """A server and a user of it.

    `url` and `token` come from `LODESTREAM_URL` and `LODESTREAM_TOKEN` unless given. `gzip` asks
    for compressed answers: over TLS unless told otherwise, as they cost more than they save nearby.

    Raises ValueError for what cannot be used.
    """

    def __init__(
        self,
        url: str | None,
        token: str | None,
        *,
        gzip: bool | None,
        tls: ssl.SSLContext | None,
        use_environment_proxy: bool,
        proxy: str | None,
    ) -> None:
        where = url or os.environ.get("LODESTREAM_URL") or "http://127.0.0.1:8000"
        secret = os.environ.get("LODESTREAM_TOKEN", "") if token is None else token
        if not secret.isascii() or not secret.isprintable() or " " in secret:
            raise ValueError("the token has characters that no token has")
        self.address: Address = find_address(
            where, tls=tls, use_environment=use_environment_proxy, proxy_url=proxy
        )
        compressed = self.address.tls is not None if gzip is None else gzip
        self._fields = (
            f"{self.address.fields}User-Agent: lodestream-client/{__version__}\r\n"
            "Accept: application/json\r\n"
            f"Accept-Encoding: {'gzip' if compressed else 'identity'}\r\n"
        )
        if secret:
            self._fields += f"Authorization: Bearer {secret}\r\n"

    def request(self, call: Call[T]) -> bytes:
        """Return a call as a request, without its body. Raises ValueError for a bad path."""
        return request(call.method, self.address.target(call.path), self._fields, call.body)
