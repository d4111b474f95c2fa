"""How many requests are let in at once, how many a second from a token, how much they hold."""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Iterator, Mapping
from typing import Final

from lodestream.api.calls import token_digest
from lodestream.api.routing import Route
from lodestream.api.service import Limits
from lodestream.domain.errors import Busy, Unauthenticated

SMALL_BODY: Final = 1 << 20
"""Bodies up to this size are taken in without a question; see `Hold` and `App`."""
MOST_SPOOLED: Final = 4
"""How many large files may wait on disk at once."""
_MOST_BUCKETS: Final = 10_000


class Gate:
    """Admits requests. Used on the event loop only, so it needs no lock."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._inside = 0
        self._streams = 0
        self._held = _Room(limits.held_bytes, "the server holds too many large bodies at once")
        # Files wait on disk, which is larger than memory, but not without bounds.
        stored_bytes = 8 * limits.upload_bytes + MOST_SPOOLED * limits.file_bytes
        self._stored = _Room(stored_bytes, "too many large files at once")
        self._spooled = 0
        # Token → (allowance, when); the one that was used last stands last.
        self._buckets: dict[bytes, tuple[float, float]] = {}

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

    @contextlib.contextmanager
    def stream(self, *, wanted: bool) -> Iterator[bool]:
        """Count a long answer, if one is wanted, while the context lasts; False: no more may be."""
        counted = wanted and self._streams < self._limits.streams
        self._streams += counted
        try:
            yield counted or not wanted
        finally:
            self._streams -= counted

    def share(self, route: Route) -> contextlib.AbstractContextManager[Hold]:
        """Count what one body takes, in memory or on disk, for as long as the context lasts."""
        return (self._held if route.raw_body is None else self._stored).share()

    @contextlib.contextmanager
    def spool(self) -> Iterator[None]:
        """Count a file on disk for as long as the context lasts. Raises Busy beyond a few."""
        if self._spooled >= MOST_SPOOLED:
            raise Busy("too many large files at once; try again", retry_after_s=10)
        self._spooled += 1
        try:
            yield
        finally:
            self._spooled -= 1

    def _spend(self, headers: Mapping[bytes, bytes]) -> None:
        try:
            key = token_digest(headers)
        except Unauthenticated:
            return  # it is refused anyway, and has no token whose share it could use up
        rate = self._limits.requests_per_s
        burst = max(rate, 1.0)
        now = time.monotonic()
        allowance, since = self._buckets.pop(key, (burst, now))
        allowance = min(burst, allowance + (now - since) * rate)
        if len(self._buckets) >= _MOST_BUCKETS:
            del self._buckets[next(iter(self._buckets))]
        self._buckets[key] = (allowance if allowance < 1.0 else allowance - 1.0, now)
        if allowance < 1.0:
            wait_s = math.ceil((1.0 - allowance) / rate)
            raise Busy("too many requests a second from this token", retry_after_s=wait_s)


class _Room:
    """What all large bodies may take together."""

    def __init__(self, limit_bytes: int, refusal: str) -> None:
        self._limit_bytes = limit_bytes
        self._refusal = refusal
        self._taken_bytes = 0

    @contextlib.contextmanager
    def share(self) -> Iterator[Hold]:
        """Give one body its share for as long as the context lasts."""
        hold = Hold(self)
        try:
            yield hold
        finally:
            self._taken_bytes -= hold.size_bytes

    def take(self, more_bytes: int) -> None:
        """Count bytes of bodies. Raises Busy, having counted nothing, if that is too much."""
        if self._taken_bytes + more_bytes > self._limit_bytes:
            raise Busy(f"{self._refusal}; try again")
        self._taken_bytes += more_bytes


class Hold:
    """The room of one body, as far as it is not small."""

    def __init__(self, room: _Room) -> None:
        self._room = room
        self.size_bytes = 0

    def grow(self, body_bytes: int) -> None:
        """Tell that the body has so many bytes by now. Raises Busy if there is no room."""
        if body_bytes > SMALL_BODY and body_bytes > self.size_bytes:
            self._room.take(body_bytes - self.size_bytes)
            self.size_bytes = body_bytes
