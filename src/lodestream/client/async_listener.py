"""A consumer of a stream that awaits."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from types import TracebackType
from typing import Any, Final, Generic, TypeVar

from lodestream.client.errors import ClientError
from lodestream.client.listener import Advance
from lodestream.client.window import AnyBatch, R, Window

T = TypeVar("T")

_SIGNALS: Final = (signal.SIGTERM, signal.SIGINT)


class AsyncSteps(Generic[R]):
    """The three calls that a listener makes of its stream."""

    def __init__(
        self,
        fetch: Callable[[], Awaitable[AnyBatch[R]]],
        advance: Callable[[str], Awaitable[object]],
        tag: Callable[[str, str], Awaitable[object]],
    ) -> None:
        self.fetch = fetch
        self.advance = advance
        self.tag = tag


class AsyncListener(Generic[R]):
    """Hands out what a stream delivers, one after the other, and advances the stream behind it.

    As `Listener`, with `async with` and `async for`. Use the former: a loop alone that is left by
    `break` or an error is ended by the event loop only later.
    """

    def __init__(
        self,
        steps: AsyncSteps[R],
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
        self._stop = asyncio.Event()
        self._ahead: asyncio.Task[AnyBatch[R] | None] | None = None
        self._took_s = 0.0
        self._loaded_at = 0.0
        self._gave_up = False
        self._advancing = asyncio.Lock()
        self._signals = signals
        self._before: dict[signal.Signals, Any] = {}

    @property
    def stopped(self) -> bool:
        """Whether it was told to stop, by a signal or by `stop`."""
        return self._stop.is_set()

    def stop(self) -> None:
        """End the loop after the result that is being handled. For tasks of the same loop."""
        self._stop.set()

    def done(self) -> None:
        """Count the present result as handled, though no other is asked for: before a `break`."""
        if self._window.current is not None:
            self._window.mark(self._window.current)

    @asynccontextmanager
    async def guard(self, reason: str | None = None) -> AsyncIterator[None]:
        """Keep the loop going when handling the present result fails: tag it as an exception.

        `reason` is what people see; the name of the error's class unless given. The result then
        counts as handled. If it cannot be tagged, the error goes on, and it does not.
        """
        try:
            yield
        except Exception as error:
            await self._tag(reason or type(error).__name__)

    async def batches(self) -> AsyncIterator[Sequence[R]]:
        """Hand out whole batches; each counts as handled when the next one is asked for."""
        async with self._listening():
            while (fresh := await self._next()) is not None:
                if fresh:
                    yield fresh
                self._window.finish()
                if self.stopped:
                    return

    async def __aiter__(self) -> AsyncIterator[R]:
        window = self._window
        async with self._listening():
            while (fresh := await self._next()) is not None:
                for result in fresh:
                    window.current = result
                    yield result
                    if window.mark(result):
                        self._start_ahead()
                    if self._each:
                        await self._acknowledge()
                    if self.stopped:
                        return
                window.finish()

    async def __aenter__(self) -> AsyncListener[R]:
        self._take_signals()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        try:
            if isinstance(error, Exception) and self._tag_failures and self._window.current:
                # The error itself matters more than that it could not be noted.
                with suppress(ClientError):
                    await self._tag(type(error).__name__)
            await self._end(quietly=error is not None)
        finally:
            self._give_signals_back()

    async def _tag(self, reason: str) -> None:
        assert self._window.current is not None, "nothing is being handled"
        await self._steps.tag(self._window.current.uid, reason)

    @asynccontextmanager
    async def _listening(self) -> AsyncIterator[None]:
        self._take_signals()
        failed = True
        try:
            yield
            failed = False
        finally:
            # Left by an error or by `break`, which may be in the middle of another error.
            try:
                await self._end(quietly=failed)
            finally:
                self._give_signals_back()

    async def _next(self) -> Sequence[R] | None:
        """Return what to hand out next, perhaps nothing for now; None when it is over."""
        if self._ahead is not None:
            ahead = await self._unless_stopped(self._ahead)
            if self.stopped:
                return None
            self._ahead = None
            # One that failed is made up for in the usual way, which tells of the failure.
            if ahead is not None and (fresh := self._window.load_ahead(ahead)):
                self._loaded_at = time.perf_counter()
                return fresh
        await self._acknowledge()
        if self._until_end and self._window.at_end:
            return None
        while not self.stopped:
            start = time.perf_counter()
            batch = await self._unless_stopped(asyncio.ensure_future(self._steps.fetch()))
            if batch is None:
                return None
            self._loaded_at = time.perf_counter()
            self._took_s = self._loaded_at - start
            if batch.results or batch.filtered:
                return self._window.load(batch)
            if self._until_end:
                return None
            with suppress(TimeoutError):
                await asyncio.wait_for(self._stop.wait(), self._poll_s)
        return None

    async def _unless_stopped(self, work: asyncio.Future[T]) -> T | None:
        """Wait for work that changes nothing; cancel it and return None when told to stop."""
        stop = asyncio.ensure_future(self._stop.wait())
        try:
            both: list[asyncio.Future[Any]] = [work, stop]
            await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
            return work.result() if work.done() else None
        finally:
            stop.cancel()
            if not work.done():
                work.cancel()
                with suppress(asyncio.CancelledError, ClientError):
                    await work

    def _start_ahead(self) -> None:
        if self._prefetch and time.perf_counter() - self._loaded_at > self._took_s:
            self._ahead = asyncio.ensure_future(self._fetch_ahead(self._window.start_ahead()))

    async def _fetch_ahead(self, place: str) -> AnyBatch[R] | None:
        with suppress(ClientError):
            await self._steps.advance(place)
            return await self._steps.fetch()
        return None

    async def _acknowledge(self) -> None:
        # A loop that is left by an error is ended by a task of its own, beside `__aexit__`, which
        # must not return, and let the connections be closed, before that has advanced.
        async with self._advancing:
            place = self._window.handled
            if place is None:
                return
            try:
                await self._steps.advance(place)
            except ClientError:
                self._gave_up = True
                raise
            self._window.handled = None

    async def _end(self, *, quietly: bool) -> None:
        """Advance to what was handled; `quietly` when an error is under way already."""
        ahead, self._ahead = self._ahead, None
        if ahead is not None:
            ahead.cancel()
            with suppress(asyncio.CancelledError):
                await ahead
        if self._gave_up:
            return  # It was tried as often as it should be; what was handled comes again.
        try:
            await self._acknowledge()
        except ClientError:
            if not quietly:
                raise

    def _take_signals(self) -> None:
        # Only the main thread can, and not on every system.
        with suppress(NotImplementedError, RuntimeError, ValueError):
            for one in _SIGNALS if self._signals and not self._before else ():
                before = signal.getsignal(one)
                asyncio.get_running_loop().add_signal_handler(one, self._signalled)
                self._before[one] = before

    def _give_signals_back(self) -> None:
        while self._before:
            one, before = self._before.popitem()
            asyncio.get_running_loop().remove_signal_handler(one)
            signal.signal(one, before)

    def _signalled(self) -> None:
        # A second signal does what it did before.
        self._give_signals_back()
        self.stop()
