"""Expected numbers of comments with each label: sums of probabilities, in all and by group."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

_EXACT: Final = 6  # digits of a sum that are shown: stored probabilities have no more


@dataclass(frozen=True)
class Groups:
    """Which groups comments belong to; a comment may be in several, or in none.

    `positions` rise, of shape (m,), with the number of a group beside each, from 0 to `size`.
    """

    positions: NDArray[np.int64]
    numbers: NDArray[np.int64]
    size: int

    @classmethod
    def of(cls, pairs: Sequence[tuple[int, int]] | NDArray[np.int64], size: int) -> Groups:
        """Return the groups that (position, number) tell, in any order; doubles count once."""
        table = np.asarray(pairs, np.int64).reshape(-1, 2)
        table = table[np.lexsort((table[:, 1], table[:, 0]))]
        fresh = np.ones(len(table), bool)
        fresh[1:] = (table[1:] != table[:-1]).any(axis=1)
        table = table[fresh]
        return cls(np.ascontiguousarray(table[:, 0]), np.ascontiguousarray(table[:, 1]), size)

    def comments(self) -> NDArray[np.int64]:
        """Return how many comments are in each group, shape (size,)."""
        return np.bincount(self.numbers, minlength=self.size)

    def rows_of(self, positions: NDArray[np.int64]) -> tuple[NDArray[np.intp], NDArray[np.int64]]:
        """Return (place in `positions`, number) of every membership of these comments."""
        first = np.searchsorted(self.positions, positions, "left")
        counts = np.searchsorted(self.positions, positions, "right") - first
        rows = np.repeat(np.arange(len(positions)), counts)
        within = np.arange(len(rows)) - np.repeat(np.cumsum(counts) - counts, counts)
        return rows, self.numbers[first[rows] + within]


class Sums:
    """Adds up how probable labels are: for all comments, and for the groups of each grouping.

    Parameters
    ----------
    labels : int
        Columns of what is added.
    columns : sequence of int
        The columns that are added up by group.
    """

    def __init__(self, labels: int, columns: Sequence[int], groupings: Sequence[Groups]) -> None:
        self.positive, self.negative = np.zeros(labels), np.zeros(labels)
        self._columns = list(columns)
        self._groupings = groupings
        shapes = [(groups.size, len(self._columns)) for groups in groupings]
        self.by_group = [(np.zeros(shape), np.zeros(shape)) for shape in shapes]
        self.any_by_group = [(np.zeros(shape[0]), np.zeros(shape[0])) for shape in shapes]

    def add(self, positions: NDArray[np.int64], positive: Floats, negative: Floats | None) -> None:
        """Add comments: their positions, and probabilities of shape (n, labels)."""
        self.positive += positive.sum(axis=0)
        if negative is not None:
            self.negative += negative.sum(axis=0)
        for place, groups in enumerate(self._groupings):
            rows, numbers = groups.rows_of(positions)
            order = np.argsort(numbers, kind="stable")
            rows, numbers = rows[order], numbers[order]
            for side, found in enumerate((positive, negative)):
                if found is None or not len(rows):
                    continue
                chosen = found[:, self._columns]
                _add_sorted(self.by_group[place][side], numbers, chosen[rows])
                best = found.max(axis=1, initial=0.0)
                _add_sorted(self.any_by_group[place][side], numbers, best[rows])


def _add_sorted(total: Floats, numbers: NDArray[np.int64], values: Floats) -> None:
    starts = np.flatnonzero(np.r_[True, numbers[1:] != numbers[:-1]])
    total[numbers[starts]] += np.add.reduceat(values, starts, axis=0)


def sides(
    probability: NDArray[np.float32], sentiment: NDArray[np.float32] | None
) -> tuple[Floats, Floats | None]:
    """Return the probabilities that a label is there with positive and with negative sentiment."""
    p = probability.astype(np.float64)
    if sentiment is None:
        return p, None
    share = (1 + sentiment.astype(np.float64)) / 2
    return p * share, p * (1 - share)


def shown(values: Floats) -> list[Any]:
    """Return sums as they are sent: rounded to six digits, without negative zeros."""
    found: list[Any] = (np.round(values, _EXACT) + 0.0).tolist()
    return found
