"""What consumers do, gathered in memory and written now and then: a fetch stays a read."""

from __future__ import annotations

import threading

from lodestream.domain.streams import Activity
from lodestream.domain.times import now_us
from lodestream.store import streams
from lodestream.store.db import Database


class ActivityLog:
    """Fetches since the last write, by stream."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._seen: dict[str, Activity] = {}

    def fetched(self, stream_id: str, *, by: str, head: int | None) -> None:
        """Note a fetch by the client `by` whose first comment stood at `head` (or None)."""
        with self._lock:
            last = self._seen.get(stream_id)
            again = last.head_fetches if last is not None and last.head == head else 0
            self._seen[stream_id] = Activity(now_us(), by, head, 0 if head is None else again + 1)

    def write(self, db: Database) -> None:
        """Write what was seen and forget it."""
        with self._lock:
            seen, self._seen = self._seen, {}
        if seen:
            with db.write(catalogue=False) as tx:
                for stream_id, activity in seen.items():
                    streams.note_fetches(tx, stream_id, activity)
