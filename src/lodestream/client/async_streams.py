"""One stream, for callers that await."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Literal, Protocol, TypeVar, overload

from lodestream.client.async_listener import AsyncListener, AsyncSteps
from lodestream.client.calls import Call
from lodestream.client.deliveries import Batch, FieldsBatch, FieldsResult, Result
from lodestream.client.listener import Advance
from lodestream.client.shapes import Stream
from lodestream.client.stream_operations import StreamCalls

T = TypeVar("T")


class AsyncCaller(Protocol):
    """What makes calls."""

    async def run(self, call: Call[T]) -> T:
        """Make one."""
        ...


class AsyncStreamOf:
    """A stream by its name. Nothing is asked of the server before a method is called."""

    def __init__(self, caller: AsyncCaller, name: str) -> None:
        self.name = name
        self._run = caller.run
        self._calls = StreamCalls.of(name)

    async def get(self) -> Stream:
        """Return its definition."""
        return await self._run(self._calls.get())

    async def update(self, **fields: object) -> Stream:
        """Change some of its definition: title, description, comment_filter, model, name."""
        return await self._run(self._calls.update(**fields))

    async def delete(self) -> None:
        """Delete it, with its position and its exceptions."""
        await self._run(self._calls.delete())

    async def fetch(self, size: int = 256, *, max_filtered: int | None = None) -> Batch:
        """Return what stands behind its position, oldest first; changes nothing."""
        return await self._run(self._calls.fetch(size, max_filtered))

    async def results(
        self, max_results: int | None = None, *, max_filtered: int | None = None
    ) -> FieldsBatch:
        """Return what stands behind its position, with extracted fields; changes nothing."""
        return await self._run(self._calls.results(max_results, max_filtered))

    async def advance(self, sequence_id: str) -> str:
        """Acknowledge everything up to and including a place; return the position."""
        return await self._run(self._calls.advance(sequence_id))

    async def reset(self, to: datetime | str) -> str:
        """Deliver what was stored at or after this instant; return the position.

        Stop its listeners first: one that works on a batch would advance past what comes again.
        """
        return await self._run(self._calls.reset(to))

    async def tag(self, uids: Sequence[str], reason: str) -> None:
        """Tag comments as exceptions, with a reason for people to see."""
        await self._run(self._calls.tag(uids, reason))

    async def untag(self, uids: Sequence[str]) -> None:
        """Take the tags off comments."""
        await self._run(self._calls.untag(uids))

    @overload
    def listen(
        self,
        *,
        size: int = ...,
        max_filtered: int | None = ...,
        predictions: Literal["labels"] = ...,
        advance: Advance = ...,
        poll_s: float = ...,
        until_end: bool = ...,
        prefetch: bool = ...,
        signals: bool = ...,
        tag_failures: bool = ...,
    ) -> AsyncListener[Result]: ...

    @overload
    def listen(
        self,
        *,
        size: int = ...,
        max_filtered: int | None = ...,
        predictions: Literal["fields"],
        advance: Advance = ...,
        poll_s: float = ...,
        until_end: bool = ...,
        prefetch: bool = ...,
        signals: bool = ...,
        tag_failures: bool = ...,
    ) -> AsyncListener[FieldsResult]: ...

    def listen(
        self,
        *,
        size: int = 256,
        max_filtered: int | None = None,
        predictions: Literal["labels", "fields"] = "labels",
        advance: Advance = "batch",
        poll_s: float = 1.0,
        until_end: bool = False,
        prefetch: bool = True,
        signals: bool = True,
        tag_failures: bool = False,
    ) -> AsyncListener[Any]:
        """Return what hands out the stream's comments in a loop, and advances it behind them.

        size : comments to fetch at once, 1 to 1024.
        max_filtered : how many comments that do not match one fetch may pass over.
        predictions : "labels" as of `fetch`, or "fields", extracted ones too, as of `results`.
        advance : after each handled "batch", or after each "comment", which costs a call each.
        poll_s : seconds to wait when there is nothing new.
        until_end : end when there is nothing new.
        prefetch : fetch the next batch while the present one is handled, where that helps.
        signals : end cleanly on SIGTERM and SIGINT, if its loop runs in the main thread.
        tag_failures : tag the comment at which an error left the `async with` block.
        """
        steps: AsyncSteps[Any] = AsyncSteps(
            (lambda: self.results(size, max_filtered=max_filtered))
            if predictions == "fields"
            else (lambda: self.fetch(size, max_filtered=max_filtered)),
            self.advance,
            lambda uid, reason: self.tag([uid], reason),
        )
        return AsyncListener(
            steps,
            advance=advance,
            poll_s=poll_s,
            until_end=until_end,
            prefetch=prefetch,
            signals=signals,
            tag_failures=tag_failures,
        )
