"""What a download reads: comments with all that is known of them, page by page.

Each page is read in a short transaction of its own, so that a slow reader holds up nobody. What a
page says of a comment (its text, annotations, predictions and thread) is of one moment; two pages
may be of different moments. Comments come by source and in order of creation, which no change
alters, up to the place of the newest one when the download began: each is there exactly once, if it
passes the filter when its page is read.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from msgspec import Struct

from lodestream.api.calls import Call
from lodestream.api.comments import shown
from lodestream.api.predicted import scores_of
from lodestream.api.selections import AttachmentTest
from lodestream.domain.annotations import NOTHING, State
from lodestream.domain.comments import attachments_of
from lodestream.domain.models import Model
from lodestream.domain.sources import Source
from lodestream.store import comments, derived
from lodestream.store.db import Reader
from lodestream.store.exports import Walk
from lodestream.store.marks import read_states
from lodestream.store.statistics import Selection
from lodestream.store.threads import ThreadProperties, thread_properties

MOST_AT_ONCE: Final = 1024
"""Most comments of a page."""

MOST_ON_THE_SPOT: Final = 128
"""A page ends before it would need the model for more comments: about half a second's work."""

_BYTES_AT_ONCE: Final = 8 << 20
_FIRST: Final = 128


class Wanted(Struct, frozen=True):
    """What of each comment is wanted beside itself; `computed` says that no prediction may lack."""

    annotations: bool
    threads: bool
    model: Model | None
    computed: bool


class Rows(Struct):
    """Some comments of one source, as the caller may see them, with what was wanted of each.

    `scores` are packed (`ml.scores`), None where there is no prediction.
    """

    source: Source
    comments: list[bytes]
    annotated: list[bool]
    states: list[State]
    scores: list[bytes | None]
    threads: list[ThreadProperties | None]


class Pages:
    """The comments of a selection, read as they are asked for."""

    def __init__(
        self,
        call: Call[Any],
        dataset_id: str,
        selection: Selection,
        *,
        holds: AttachmentTest | None,
        upto: int,
        wanted: Wanted,
    ) -> None:
        """`upto` is the last position; `holds` a test of attachments that comments must pass."""
        self._call = call
        self._dataset_id = dataset_id
        self._sources = selection.sources
        self._walk = Walk(call.service.db.dialect_name, selection.condition)
        self._holds = holds
        self._upto = upto
        self._wanted = wanted
        self._size = _FIRST

    def __iter__(self) -> Iterator[Rows]:
        """Return the pages in order; none is empty."""
        for source in self._sources:
            yield from self._pages_of(source)

    def _pages_of(self, source: Source) -> Iterator[Rows]:
        after, more = -1, True
        while more:
            size = self._size
            with self._call.service.db.read() as tx:
                found = self._walk.read(tx, source.key, after=after, upto=self._upto, size=size)
                fronts, scores = self._with_scores(tx, dict(found))
                page = self._rows(tx, source, fronts, scores)
            more = len(found) == size or len(fronts) < len(found)
            after = next(reversed(fronts), after)
            self._adapt(fronts)
            if page.comments:
                yield page

    def _adapt(self, fronts: Mapping[int, bytes]) -> None:
        """Make the next page as large as its bytes allow, if its comments are like these."""
        if fronts:
            mean = sum(map(len, fronts.values())) // len(fronts) + 1
            self._size = max(1, min(MOST_AT_ONCE, _BYTES_AT_ONCE // mean))

    def _with_scores(
        self, tx: Reader, fronts: dict[int, bytes]
    ) -> tuple[dict[int, bytes], Mapping[int, bytes]]:
        """Return the scores, and of the comments those that precede too much work for one page."""
        model = self._wanted.model
        if model is None:
            return fronts, {}
        found = derived.PREDICTIONS.read(tx, model.key, fronts)
        stale = derived.changed_among(tx, fronts)
        missing = [pos for pos in fronts if pos not in found or pos in stale]
        if not self._wanted.computed:
            return fronts, {pos: one for pos, one in found.items() if pos not in stale}
        if len(missing) > MOST_ON_THE_SPOT:
            first_left = missing[MOST_ON_THE_SPOT]
            fronts = {pos: front for pos, front in fronts.items() if pos < first_left}
            del missing[MOST_ON_THE_SPOT:]
        if missing:
            found.update(scores_of(self._call, tx, model, {pos: fronts[pos] for pos in missing}))
        return fronts, found

    def _rows(
        self,
        tx: Reader,
        source: Source,
        fronts: Mapping[int, bytes],
        scores: Mapping[int, bytes],
    ) -> Rows:
        positions = self._passing(fronts)
        wanted = self._wanted
        states = read_states(tx, self._dataset_id, positions) if wanted.annotations else {}
        annotated = comments.annotated(tx, positions)
        threads: list[ThreadProperties | None] = []
        if wanted.threads:
            threads = thread_properties(tx, source.key, positions, known=fronts)
        return Rows(
            source,
            [shown(self._call, source, fronts[pos], markup=True) for pos in positions],
            [pos in annotated for pos in positions],
            [states[pos].state if pos in states else NOTHING for pos in positions],
            [scores.get(pos) for pos in positions],
            threads or [None] * len(positions),
        )

    def _passing(self, fronts: Mapping[int, bytes]) -> Sequence[int]:
        holds = self._holds
        if holds is None:
            return list(fronts)
        return [pos for pos, front in fronts.items() if holds(attachments_of(front))]
