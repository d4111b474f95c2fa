"""Answers that took long, kept for as long as nothing that they were made of changes."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Hashable
from typing import Final, Generic, TypeVar

_T = TypeVar("_T")

MOST_KEPT: Final = 128


class Memo(Generic[_T]):
    """Remembers the last answers; any thread may use it.

    A stamp tells what an answer was made of (`store.query.content_stamp`); one with another stamp
    is forgotten when it is looked for.
    """

    def __init__(self, most: int = MOST_KEPT) -> None:
        self._most = most
        self._kept: OrderedDict[Hashable, tuple[Hashable, _T]] = OrderedDict()
        self._lock = threading.Lock()

    def find(self, key: Hashable, stamp: Hashable) -> _T | None:
        """Return the answer to the same question of the same content, or None."""
        with self._lock:
            found = self._kept.get(key)
            if found is None:
                return None
            if found[0] != stamp:
                del self._kept[key]
                return None
            self._kept.move_to_end(key)
            return found[1]

    def keep(self, key: Hashable, stamp: Hashable, answer: _T) -> None:
        """Remember an answer; the one that was not asked for the longest time goes."""
        with self._lock:
            self._kept[key] = stamp, answer
            self._kept.move_to_end(key)
            while len(self._kept) > self._most:
                self._kept.popitem(last=False)
