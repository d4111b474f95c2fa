"""What callers do, gathered in memory and written now and then: a fetch stays a read."""

from __future__ import annotations

import threading
from typing import Final

from lodestream.domain.streams import Activity
from lodestream.domain.times import now_us
from lodestream.store import accounts, streams
from lodestream.store.db import Database

DAY_US: Final = 86_400_000_000


class ActivityLog:
    """Fetches since the last write, by stream, and each user's first call of a day."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._seen: dict[str, Activity] = {}
        self._called: dict[str, int] = {}
        self._noted: dict[str, int] = {}  # user id to the last day, since 1970, that is stored

    def fetched(self, stream_id: str, *, by: str, head: int | None) -> None:
        """Note a fetch by the client `by` whose first comment stood at `head` (or None)."""
        with self._lock:
            last = self._seen.get(stream_id)
            again = last.head_fetches if last is not None and last.head == head else 0
            self._seen[stream_id] = Activity(now_us(), by, head, 0 if head is None else again + 1)

    def called(self, user_id: str) -> None:
        """Note that a user called; only the first call of a day counts."""
        now = now_us()
        if self._noted.get(user_id) != now // DAY_US:
            with self._lock:
                self._called.setdefault(user_id, now)

    def write(self, db: Database) -> None:
        """Write what was seen and forget it."""
        with self._lock:
            seen, self._seen = self._seen, {}
            called, self._called = self._called, {}
        if not seen and not called:
            return
        with db.write(catalogue=False) as tx:
            for stream_id, activity in seen.items():
                streams.note_fetches(tx, stream_id, activity)
            for user_id, at_us in called.items():
                day_start_us = at_us - at_us % DAY_US
                accounts.note_call(tx, user_id, at_us=at_us, day_start_us=day_start_us)
        self._noted.update((user_id, at_us // DAY_US) for user_id, at_us in called.items())
