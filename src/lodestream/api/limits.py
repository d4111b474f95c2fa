"""How many requests are let in at once, and how many a second from one token."""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Iterator, Mapping
from hashlib import sha256

from lodestream.api.service import Limits
from lodestream.domain.errors import Busy

_MOST_BUCKETS = 10_000


class Gate:
    """Admits requests. Used on the event loop only, so it needs no lock."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._inside = 0
        self._buckets: dict[bytes, tuple[float, float]] = {}  # token → (allowance, when)

    @contextlib.contextmanager
    def admit(self, headers: Mapping[bytes, bytes]) -> Iterator[None]:
        """Let a request in for as long as the context lasts. Raises Busy if there is no room."""
        if self._inside >= self._limits.concurrent_requests:
            raise Busy("too many requests at once; try again")
        if self._limits.requests_per_s > 0:
            self._spend(headers)
        self._inside += 1
        try:
            yield
        finally:
            self._inside -= 1

    def _spend(self, headers: Mapping[bytes, bytes]) -> None:
        rate = self._limits.requests_per_s
        burst = max(rate, 1.0)
        token = headers.get(b"authorization") or headers.get(b"x-auth-token") or b""
        key = sha256(token).digest()
        now = time.monotonic()
        allowance, since = self._buckets.get(key, (burst, now))
        allowance = min(burst, allowance + (now - since) * rate)
        if len(self._buckets) >= _MOST_BUCKETS:
            self._buckets.clear()
        if allowance < 1.0:
            self._buckets[key] = (allowance, now)
            wait_s = math.ceil((1.0 - allowance) / rate)
            raise Busy("too many requests a second from this token", retry_after_s=wait_s)
        self._buckets[key] = (allowance - 1.0, now)
