"""Signals that ask a listener to stop."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable
from types import FrameType
from typing import Any, Final

_SIGNALS: Final = (signal.SIGTERM, signal.SIGINT)


class StopSignals:
    """Calls `stop` at the first SIGTERM or SIGINT; a second one does what it did before.

    Only the main thread can do this; in any other it does nothing.
    """

    def __init__(self, stop: Callable[[], None]) -> None:
        self._stop = stop
        self._before: dict[signal.Signals, Any] = {}

    def take(self) -> None:
        """Begin to listen to signals."""
        if threading.current_thread() is not threading.main_thread():
            return
        for one in _SIGNALS:
            # What was set by something else than Python could not be set again.
            if signal.getsignal(one) is not None and one not in self._before:
                self._before[one] = signal.signal(one, self._came)

    def give_back(self) -> None:
        """Leave signals as they were."""
        if threading.current_thread() is not threading.main_thread():
            return
        while self._before:
            one, handler = self._before.popitem()
            if signal.getsignal(one) == self._came:
                signal.signal(one, handler)

    def _came(self, _number: int, _frame: FrameType | None) -> None:
        self.give_back()
        self._stop()
