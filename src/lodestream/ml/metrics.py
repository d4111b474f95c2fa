"""Precision, recall, thresholds and calibration of one label or all, from its probabilities.

A comment is predicted positive at threshold t when its probability is at least t. Everything is
counted in whole comments and divided once, so that equal figures compare as equal.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from lodestream.domain.validation import OptimalThresholds

RECALL_GRID: Final = tuple(step / 100 for step in range(101))
"""The recalls at which curves of several labels are averaged."""

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Curve:
    """What is predicted at each distinct score, the highest first; all arrays of one length.

    `hits` are the predicted comments that have the label, `predicted` all of them; `positives`,
    at least 1, is the number of comments that have it.
    """

    thresholds: Floats
    hits: NDArray[np.int64]
    predicted: NDArray[np.int64]
    positives: int

    @property
    def precisions(self) -> Floats:
        """Share of the predicted comments that have the label."""
        return np.asarray(self.hits / self.predicted, np.float64)

    @property
    def recalls(self) -> Floats:
        """Share of the comments with the label that are predicted; never falls."""
        return np.asarray(self.hits / self.positives, np.float64)


def find_curve(truth: NDArray[np.bool_], probability: NDArray[np.float32] | Floats) -> Curve | None:
    """Return the curve of one label, or None if no comment has it: recall is then undefined.

    Parameters
    ----------
    truth : ndarray of bool, shape (n,)
        Whether a reviewer gave each comment the label.
    probability : ndarray of float, shape (n,)
        The model's probability. Comments with equal ones enter the curve together.
    """
    positives = int(np.count_nonzero(truth))
    if positives == 0:
        return None
    order = np.argsort(-probability, kind="stable")
    score = probability[order].astype(np.float64)
    last = np.append(np.flatnonzero(np.diff(score)), len(score) - 1)
    hits = np.cumsum(truth[order], dtype=np.int64)[last]
    return Curve(score[last], hits, last.astype(np.int64) + 1, positives)


def average_precision(curve: Curve) -> float:
    """Return the area under the curve by the step rule, in (0, 1]."""
    gained = np.diff(curve.recalls, prepend=0.0)
    return float(np.sum(gained * curve.precisions))


def interpolated(curve: Curve) -> Floats:
    """Return the best precision at each recall of `RECALL_GRID` or a greater one, shape (101,)."""
    best = np.maximum.accumulate(curve.precisions[::-1])[::-1]
    # In whole comments: a recall of 7/100 must not miss the step at 0.07 by rounding.
    wanted = np.ceil(np.arange(101) * curve.positives / 100 - 1e-9)
    return np.asarray(best[np.searchsorted(curve.hits, wanted)], np.float64)


def best_threshold(curve: Curve, beta: float) -> float:
    """Return the threshold with the greatest F_beta; of equal ones, the highest."""
    square = beta * beta
    score = (1 + square) * curve.hits / (square * curve.positives + curve.predicted)
    return float(curve.thresholds[np.argmax(score)])


def optimal_thresholds(
    curve: Curve, *, beta_high_precision: float = 0.5, beta_high_recall: float = 2.0
) -> OptimalThresholds:
    """Return the best thresholds by F_beta; high_recall <= balanced <= high_precision."""
    balanced = best_threshold(curve, 1.0)
    return OptimalThresholds(
        high_precision=max(balanced, best_threshold(curve, beta_high_precision)),
        balanced=balanced,
        high_recall=min(balanced, best_threshold(curve, beta_high_recall)),
    )


def sampled_thresholds(curve: Curve, recalls: Sequence[float]) -> tuple[float, ...]:
    """Return the highest threshold that reaches each recall, the lowest threshold first."""
    wanted = np.ceil(np.sort(recalls)[::-1] * curve.positives - 1e-9)
    found = curve.thresholds[np.searchsorted(curve.hits, wanted)]
    return tuple(found.tolist())


def wire_curve(
    curve: Curve | None, max_points: int = 200
) -> tuple[tuple[float, ...], tuple[float, ...], tuple[float, ...]]:
    """Return thresholds, precisions and recalls as clients read them.

    Clients look up the first threshold at or below theirs, the first recall at or above theirs and
    the last precision at or above theirs, and fail if there is none. So thresholds fall strictly
    down to 0, recalls rise to 1, and some precision is 1: where the measured curve does not do
    that, end points are added. There are at most `max_points` (at least 4).
    """
    if curve is None:
        return (1.0, 0.0), (1.0, 0.0), (0.0, 1.0)
    kept = _kept(curve, max_points - 2)
    thresholds = curve.thresholds[kept].tolist()
    precisions = curve.precisions[kept].tolist()
    recalls = curve.recalls[kept].tolist()
    if max(precisions) < 1:
        if thresholds[0] >= 1:
            # The point at 1 must be the one with precision 1; just below it, nothing changes.
            thresholds[0] = float(np.nextafter(1.0, 0.0))
            if len(thresholds) > 1 and thresholds[1] >= thresholds[0]:
                del thresholds[0], precisions[0], recalls[0]
        thresholds, precisions, recalls = [1.0, *thresholds], [1.0, *precisions], [0.0, *recalls]
    if thresholds[-1] > 0:
        thresholds.append(0.0)
        precisions.append(precisions[-1])
        recalls.append(1.0)
    return tuple(thresholds), tuple(precisions), tuple(recalls)


def _kept(curve: Curve, count: int) -> NDArray[np.intp]:
    """Return the places of at most `count` points, among them the last: those nearest to even
    recalls, then, where few examples make few recalls, those at even ranks."""
    points = len(curve.thresholds)
    if points <= count:
        return np.arange(points)
    recalls = curve.recalls
    grid = np.linspace(0.0, 1.0, count)
    above = np.clip(np.searchsorted(recalls, grid), 0, points - 1)
    below = np.searchsorted(recalls, recalls[np.maximum(above - 1, 0)])
    nearer = np.where(grid - recalls[below] < recalls[above] - grid, below, above)
    kept = np.unique(nearer)[: count - 1]
    rest = np.setdiff1d(np.arange(points - 1), kept)
    room = count - 1 - len(np.setdiff1d(kept, [points - 1]))
    spread = rest[np.linspace(0, len(rest) - 1, room).astype(np.intp)] if room > 0 else rest[:0]
    return np.unique(np.concatenate([kept, spread, [points - 1]]))


def bootstrap_interval(
    curve: Curve, size: int, *, samples: int = 1000, seed: int = 0
) -> tuple[float, float]:
    """Return where average precision lies in 95 of 100 resamplings of the `size` test comments.

    Between two scores that comments with the label have, it does not matter where the others
    stand. So instead of drawing comments, the number drawn of each such group is drawn, which has
    the same distribution and costs a few dozen numbers a sample however many comments there are.
    """
    gained = np.diff(curve.hits, prepend=0)
    steps = np.flatnonzero(gained)
    misses = np.diff((curve.predicted - curve.hits)[steps], prepend=0)
    counts = np.concatenate([gained[steps], misses])
    chances = np.append(counts, size - counts.sum()) / size
    drawn = np.random.default_rng(seed).multinomial(size, chances, size=samples)
    hits = drawn[:, : len(steps)]
    entered = np.cumsum(hits, axis=1)
    predicted = entered + np.cumsum(drawn[:, len(steps) : -1], axis=1)
    precisions = entered / np.maximum(predicted, 1)
    positives = hits.sum(axis=1)
    usable = positives > 0
    found = (hits * precisions).sum(axis=1)[usable] / positives[usable]
    low, high = np.quantile(found, [0.025, 0.975])
    return float(low), float(high)


def volume_errors(
    truth: NDArray[np.bool_], known: NDArray[np.bool_], probability: NDArray[np.float32]
) -> Floats:
    """Return the sum of probabilities less the true count, for each label, shape (L,)."""
    return np.asarray(
        np.where(known, probability - truth, 0.0).sum(axis=0, dtype=np.float64), np.float64
    )


def calibration_errors(
    truth: NDArray[np.bool_],
    known: NDArray[np.bool_],
    probability: NDArray[np.float32],
    *,
    bins: int = 15,
) -> tuple[Floats, float]:
    """Return the expected calibration error of each label, shape (L,), and of all pairs together.

    Probabilities are put into `bins` bins of equal width; the error is the difference between mean
    probability and share of positives, averaged over bins by their size. 0 where nothing is known.
    """
    columns = truth.shape[1]
    place = np.minimum((probability * bins).astype(np.intp), bins - 1)
    cell = (place + np.arange(columns) * bins)[known]
    gap = np.where(known, probability - truth, 0.0)[known]
    sums = np.bincount(cell, gap, columns * bins).reshape(columns, bins)
    sizes = known.sum(axis=0)
    each = np.abs(sums).sum(axis=1) / np.maximum(sizes, 1)
    together = np.abs(sums.sum(axis=0)).sum() / max(int(sizes.sum()), 1)
    return np.asarray(each, np.float64), float(together)


def cooccurrence(assigned: NDArray[np.bool_]) -> csr_array:
    """Return the share of each row's label's comments that have the column's, shape (L, L).

    `assigned` has shape (n, L). The result is sparse: few of very many labels ever come together.
    """
    return shares(assigned, assigned)[0]


def shares(these: NDArray[np.bool_], those: NDArray[np.bool_]) -> tuple[csr_array, csr_array]:
    """Return of the comments in each column of `these` the share in each column of `those`.

    Both have shape (n, L); the result has shape (L, L), and comes with the counts that it is made
    of. A row without comments has no entries.
    """
    # Counts of up to 2^24 comments are exact in float32.
    counts = csr_array(these, dtype=np.float32).T @ csr_array(those, dtype=np.float32)
    counts = csr_array(counts, dtype=np.float64)
    counts.sort_indices()
    sizes = np.maximum(these.sum(axis=0), 1)
    rates = counts.copy()
    rates.data /= np.repeat(sizes, np.diff(counts.indptr))
    return rates, counts
