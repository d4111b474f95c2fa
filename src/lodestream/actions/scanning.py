"""Comments as arrays: positions of a selection, and the scores that a model gives them.

Scores and comments are each read in the order of positions and joined here: to look up a million
predictions one by one takes SQLite ten times as long.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from lodestream.domain.models import Model
from lodestream.store import derived, query
from lodestream.store.db import Reader
from lodestream.store.statistics import Selection
from lodestream.store.tables import comment

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

# numpy is imported where it is used: see `actions.predict`.

FEW: Final = 20_000
"""Up to this many comments it is cheaper to look up their scores than to read all there are."""

_PART: Final = 8192


@dataclass(frozen=True)
class Scan:
    """The comments of a selection, by rising position; the arrays, of shape (n,), belong together.

    `threads` are numbers that are equal within a thread and else almost certainly differ; None if
    they were not asked for. An array costs eight bytes a comment, whatever is in the comments.
    """

    positions: NDArray[np.int64]
    timestamps_us: NDArray[np.int64]
    sources: NDArray[np.int64]
    threads: NDArray[np.int64] | None


@dataclass(frozen=True)
class Scored:
    """Scores of some comments of a scan: of those at `places`, shape (m,), which rise."""

    places: NDArray[np.intp]
    probability: NDArray[np.float32]
    sentiment: NDArray[np.float32] | None


def scan(
    tx: Reader,
    selection: Selection,
    *,
    where: Sequence[query.Condition] = (),
    threads: bool = False,
) -> Scan:
    """Read the comments of a selection that pass further conditions."""
    import numpy as np

    columns: list[Any] = [comment.c.pos, comment.c.timestamp_us, comment.c.source]
    names: list[Any] = [comment.c.thread_id] if threads else []
    tables: list[NDArray[np.int64]] = [np.empty((0, 3 + len(names)), np.int64)]
    for rows in query.rows_of(tx, selection, *columns, *names, where=where):
        if threads:
            rows = [(pos, time, key, _thread(pos, key, name)) for pos, time, key, name in rows]
        tables.append(np.array(rows, np.int64))
    table = np.concatenate(tables)
    table = np.ascontiguousarray(table[np.argsort(table[:, 0], kind="stable")].T)
    return Scan(table[0], table[1], table[2], table[3] if threads else None)


def _thread(pos: int, source: int, name: str | None) -> int:
    # A comment without a thread is one of its own; negative numbers are kept for those.
    return ~pos if name is None else hash((source, name)) & 0x7FFF_FFFF_FFFF_FFFF


def scores(tx: Reader, model: Model | None, positions: NDArray[np.int64]) -> Iterator[Scored]:
    """Return the kept scores of the comments at `positions`, which rise, in parts.

    Comments without kept scores are in no part.
    """
    import numpy as np

    if model is None or not len(positions):
        return
    if len(positions) <= FEW:
        found = derived.PREDICTIONS.read(tx, model.key, positions.tolist())
        ordered = sorted(found.items())
        parts: Iterator[list[tuple[int, bytes]]] = (
            ordered[start : start + _PART] for start in range(0, len(ordered), _PART)
        )
    else:
        first, last = int(positions[0]), int(positions[-1])
        parts = query.scores_between(tx, model.key, first, last)
    for rows in parts:
        there = np.fromiter((pos for pos, _ in rows), np.int64, len(rows))
        places = np.searchsorted(positions, there)
        known = positions[np.minimum(places, len(positions) - 1)] == there
        if known.any():
            wanted = rows if known.all() else [rows[row] for row in np.flatnonzero(known)]
            yield _unpacked(model, places[known], [packed for _, packed in wanted])


def _unpacked(model: Model, places: NDArray[np.intp], packed: Sequence[bytes]) -> Scored:
    from lodestream.ml.scores import unpack

    probability, sentiment = unpack(packed, len(model.labels), has_sentiment=model.has_sentiment)
    return Scored(places, probability, sentiment)
