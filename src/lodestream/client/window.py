"""What a listener has fetched, handed out and seen handled; without input or output.

The position of a stream is kept by the server, and a fetch brings what stands behind it. So the
next batch cannot be fetched before the present one is acknowledged, and that must not happen
before it is handled. What can be done ahead is this: when three quarters of a batch are handled,
advance to there, and fetch a batch from there on. It begins with the last quarter again, which is
known by its sequence ids and left out; the rest is ready when the quarter has been handled. This
costs a third more transfer, so it is done only where handling takes longer than fetching did, and
where more lies behind the batch.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Generic, Protocol, TypeVar


class Delivered(Protocol):
    """What both forms of a result have."""

    @property
    def uid(self) -> str: ...
    @property
    def sequence_id(self) -> str: ...


R = TypeVar("R", bound=Delivered)
R_co = TypeVar("R_co", bound=Delivered, covariant=True)

_REST: Final = 4
"""A batch is fetched ahead when one part in so many of the present one is left."""


class AnyBatch(Protocol[R_co]):
    """What both forms of a batch have."""

    @property
    def results(self) -> Sequence[R_co]: ...
    @property
    def sequence_id(self) -> str: ...
    @property
    def filtered(self) -> int: ...
    @property
    def is_end_sequence(self) -> bool: ...


class Window(Generic[R]):
    """How far a listener is. Only what was marked handled is ever given out as a place to advance
    to, and a place never lies behind something that was handed out and not handled."""

    def __init__(self) -> None:
        self.current: R | None = None
        self.handled: str | None = None
        """The place up to which all is handled, if the stream was not advanced to it yet."""
        self._batch: AnyBatch[R] | None = None
        self._results: Sequence[R] = ()
        self._ahead_after: R | None = None
        self._ahead_from: str | None = None

    @property
    def at_end(self) -> bool:
        """Whether nothing lay behind the last batch when it was fetched."""
        return self._batch is not None and self._batch.is_end_sequence

    def load(self, batch: AnyBatch[R]) -> Sequence[R]:
        """Take a batch that was fetched when all before was handled; return what to hand out."""
        return self._take(batch, batch.results)

    def load_ahead(self, batch: AnyBatch[R]) -> Sequence[R]:
        """Take a batch that was fetched ahead; return what to hand out, without what was already.

        Empty if it brings nothing new: it is forgotten then.
        """
        begun = next(
            index
            for index, result in enumerate(self._results)
            if result.sequence_id == self._ahead_from
        )
        known = {result.sequence_id for result in self._results[begun + 1 :]}
        fresh = [result for result in batch.results if result.sequence_id not in known]
        if not fresh:
            return ()
        return self._take(batch, fresh)

    def mark(self, result: R) -> bool:
        """Mark one as handled, in the order in which they were handed out.

        Returns whether now is the time to fetch ahead.
        """
        self.current = None
        self.handled = result.sequence_id
        return result is self._ahead_after

    def start_ahead(self) -> str:
        """Return the place to advance to before fetching ahead: all up to there is handled."""
        assert self.handled is not None
        self._ahead_from = self.handled
        return self.handled

    def finish(self) -> None:
        """Mark the whole batch as handled, with what the filter passed over behind its last."""
        assert self._batch is not None
        if self._results or self._batch.filtered:
            self.handled = self._batch.sequence_id

    def _take(self, batch: AnyBatch[R], results: Sequence[R]) -> Sequence[R]:
        self._batch, self._results = batch, results
        rest = len(results) // _REST
        more = rest and not batch.is_end_sequence
        self._ahead_after = results[-1 - rest] if more else None
        return results
