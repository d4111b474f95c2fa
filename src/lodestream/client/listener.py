"""A consumer of a stream that blocks."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from types import TracebackType
from typing import Final, Generic, Literal

from lodestream.client.errors import ClientError
from lodestream.client.signals import StopSignals
from lodestream.client.window import AnyBatch, R, Window

Advance = Literal["batch", "comment"]

_LONGEST_JOIN_S: Final = 5.0


class Steps(Generic[R]):
    """The three calls that a listener makes of its stream."""

    def __init__(
        self,
        fetch: Callable[[], AnyBatch[R]],
        advance: Callable[[str], object],
        tag: Callable[[str, str], object],
    ) -> None:
        self.fetch = fetch
        self.advance = advance
        self.tag = tag


class Listener(Generic[R]):
    """Hands out what a stream delivers, one after the other, and advances the stream behind it.

    A result counts as handled when the next one is asked for. The stream is advanced to handled
    results only, so what is under way when the loop is left, by `break`, an exception or the end
    of the process, comes again. Used as a context manager, it also advances to what was handled
    when the block is left.
    """

    def __init__(
        self,
        steps: Steps[R],
        *,
        advance: Advance,
        poll_s: float,
        until_end: bool,
        prefetch: bool,
        signals: bool,
        tag_failures: bool,
    ) -> None:
        self._steps = steps
        self._each = advance == "comment"
        self._poll_s = poll_s
        self._until_end = until_end
        self._prefetch = prefetch
        self._tag_failures = tag_failures
        self._window: Window[R] = Window()
        self._stopping = False
        self._waiting = False
        self._wake = threading.Event()
        self._ahead: _Ahead[R] | None = None
        self._took_s = 0.0
        self._loaded_at = 0.0
        self._gave_up = False
        self._signals = StopSignals(self._signalled) if signals else None

    @property
    def stopped(self) -> bool:
        """Whether it was told to stop, by a signal or by `stop`."""
        return self._stopping

    def stop(self) -> None:
        """End the loop after the result that is being handled. For any thread."""
        self._stopping = True
        self._wake.set()

    def done(self) -> None:
        """Count the present result as handled, though no other is asked for: before a `break`."""
        if self._window.current is not None:
            self._window.mark(self._window.current)

    @contextmanager
    def guard(self, reason: str | None = None) -> Iterator[None]:
        """Keep the loop going when handling the present result fails: tag it as an exception.

        `reason` is what people see; the name of the error's class unless given. The result then
        counts as handled. If it cannot be tagged, the error goes on, and it does not.
        """
        try:
            yield
        except Exception as error:
            self._tag(reason or type(error).__name__)

    def batches(self) -> Iterator[Sequence[R]]:
        """Hand out whole batches; each counts as handled when the next one is asked for."""
        with self._listening():
            while (fresh := self._next()) is not None:
                if fresh:
                    yield fresh
                self._window.finish()
                if self._stopping:
                    return

    def __iter__(self) -> Iterator[R]:
        window = self._window
        with self._listening():
            while (fresh := self._next()) is not None:
                for result in fresh:
                    window.current = result
                    yield result
                    if window.mark(result):
                        self._start_ahead()
                    if self._each:
                        self._acknowledge()
                    if self._stopping:
                        return
                window.finish()

    def __enter__(self) -> Listener[R]:
        self._take_signals()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        try:
            if isinstance(error, Exception) and self._tag_failures and self._window.current:
                # The error itself matters more than that it could not be noted.
                with suppress(ClientError):
                    self._tag(type(error).__name__)
            self._end(quietly=error is not None)
        finally:
            if self._signals:
                self._signals.give_back()

    def _tag(self, reason: str) -> None:
        assert self._window.current is not None, "nothing is being handled"
        self._steps.tag(self._window.current.uid, reason)

    @contextmanager
    def _listening(self) -> Iterator[None]:
        self._take_signals()
        failed = True
        try:
            yield
            failed = False
        finally:
            # Left by an error or by `break`, which may be in the middle of another error.
            try:
                self._end(quietly=failed)
            finally:
                if self._signals:
                    self._signals.give_back()

    def _next(self) -> Sequence[R] | None:
        """Return what to hand out next, perhaps nothing for now; None when it is over."""
        try:
            try:
                # Only here may a signal break in: nothing is under way that must be finished.
                self._waiting = True
                fresh = None if self._stopping else self._join_ahead()
            finally:
                self._waiting = False
            if fresh:
                return fresh
            self._acknowledge()
            if self._until_end and self._window.at_end:
                return None
            try:
                self._waiting = True
                return self._fetch()
            finally:
                self._waiting = False
        except _Stopped:
            return None

    def _fetch(self) -> Sequence[R] | None:
        while not self._stopping:
            start = time.perf_counter()
            batch = self._steps.fetch()
            self._loaded_at = time.perf_counter()
            self._took_s = self._loaded_at - start
            if batch.results or batch.filtered:
                return self._window.load(batch)
            if self._until_end:
                return None
            self._wake.wait(self._poll_s)
        return None

    def _start_ahead(self) -> None:
        if self._prefetch and time.perf_counter() - self._loaded_at > self._took_s:
            self._ahead = _Ahead(self._steps, self._window.start_ahead())
            self._ahead.start()

    def _join_ahead(self) -> Sequence[R]:
        ahead = self._ahead
        if ahead is None:
            return ()
        ahead.join()
        self._ahead = None
        # One that failed is made up for in the usual way, which tells of the failure.
        if ahead.batch is None:
            return ()
        self._took_s, self._loaded_at = ahead.took_s, time.perf_counter()
        return self._window.load_ahead(ahead.batch)

    def _acknowledge(self) -> None:
        place = self._window.handled
        if place is None:
            return
        try:
            self._steps.advance(place)
        except ClientError:
            self._gave_up = True
            raise
        self._window.handled = None

    def _end(self, *, quietly: bool) -> None:
        """Advance to what was handled; `quietly` when an error is under way already."""
        if self._ahead is not None:
            self._ahead.join(_LONGEST_JOIN_S)
            self._ahead = None
        if self._gave_up:
            return  # It was tried as often as it should be; what was handled comes again.
        try:
            self._acknowledge()
        except ClientError:
            if not quietly:
                raise

    def _take_signals(self) -> None:
        if self._signals:
            self._signals.take()

    def _signalled(self) -> None:
        # Not by the event: this may run in the middle of a wait for it, with its lock held.
        self._stopping = True
        if self._waiting:
            raise _Stopped


class _Stopped(BaseException):
    """Ends a wait in the main thread when a signal comes."""


class _Ahead(threading.Thread, Generic[R]):
    """Advances to a place up to which all is handled, and fetches what stands behind it."""

    def __init__(self, steps: Steps[R], place: str) -> None:
        # The process may end without waiting for it: it brings what can be fetched again.
        super().__init__(name="lodestream-prefetch", daemon=True)
        self._steps = steps
        self._place = place
        self.batch: AnyBatch[R] | None = None
        self.took_s = 0.0

    def run(self) -> None:
        """Do both."""
        with suppress(ClientError):
            start = time.perf_counter()
            self._steps.advance(self._place)
            self.batch = self._steps.fetch()
            self.took_s = time.perf_counter() - start
