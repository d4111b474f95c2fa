"""Which comments come first: keys from scores, and the best of many.

A larger key comes first; of equal keys, the larger position. So an order is total, and a place in
it is a key and a position, at which any other call can go on. (Contract: training-validation,
section 5.)
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

Place = tuple[float, int]
Keys = NDArray[Any]
Positions = NDArray[np.int64]
Floats = NDArray[np.float32]

LAST: Final = -1e9
"""The key of comments that have no scores: they come after all others."""

FIRST: Final = 2.0
"""The key of comments to which a person assigned the label in question."""


def best(keys: Keys, positions: Positions, size: int, after: Place | None = None) -> list[Place]:
    """Return up to `size` (key, position) that come first behind a place, in order.

    Parameters
    ----------
    keys : ndarray, shape (n,)
        Whole numbers or finite floats.
    positions : ndarray of int64, shape (n,)
        Each once.
    """
    if after is not None:
        behind = (keys < after[0]) | ((keys == after[0]) & (positions < after[1]))
        keys, positions = keys[behind], positions[behind]
    if len(keys) > 4 * size:
        # All that are not smaller than the last that is wanted, with its equals.
        least = np.partition(keys, len(keys) - size)[len(keys) - size]
        kept = keys >= least
        keys, positions = keys[kept], positions[kept]
    order = np.lexsort((positions, keys))[::-1][:size]
    return list(zip(keys[order].tolist(), positions[order].tolist(), strict=True))


def first_of_threads(
    keys: Keys, positions: Positions, threads: NDArray[np.int64]
) -> NDArray[np.intp]:
    """Return which comments come first in their threads, by number of the thread; shape (m,)."""
    order = np.lexsort((positions, keys))[::-1]
    _, first = np.unique(threads[order], return_index=True)
    return order[first]


def shuffled(positions: Positions, seed: int) -> NDArray[np.int64]:
    """Return a key for each position that is pseudo-random: one permutation for each seed.

    References
    ----------
    Steele, Lea and Flood, Fast splittable pseudorandom number generators (2014): its finalizer.
    """
    # Two rounds, or neighbouring seeds would give orders that are each other's shifts.
    mixed = _mix(positions.astype(np.uint64) ^ _mix(np.full(1, seed, np.uint64)))
    return _mix(mixed + np.uint64(seed)).view(np.int64)


def _mix(values: NDArray[np.uint64]) -> NDArray[np.uint64]:
    with np.errstate(over="ignore"):
        z = values + np.uint64(0x9E3779B97F4A7C15)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        mixed: NDArray[np.uint64] = z ^ (z >> np.uint64(31))
    return mixed


def presence(
    probability: Floats, sentiment: Floats | None, *, wanted: str | None = None
) -> NDArray[np.float64]:
    """Return the probability that a label is there, or that it is with one sentiment.

    Parameters
    ----------
    probability, sentiment : ndarray of float32, shape (n, n_labels)
        As models give them; `sentiment` is None where there is none.
    wanted : {"positive", "negative"}, optional
        Without sentiments everything is positive.
    """
    p = probability.astype(np.float64)
    if wanted is None:
        return p
    if sentiment is None:
        return p if wanted == "positive" else np.zeros_like(p)
    sign = 1.0 if wanted == "positive" else -1.0
    return p * (1 + sign * sentiment) / 2


def uncertain(probability: Floats, columns: Sequence[int], centre: float) -> NDArray[np.float64]:
    """Return 1 where the probability of one of the labels is `centre`, down to 0 far from it."""
    if not columns:
        return np.zeros(len(probability))
    distance = np.abs(probability[:, list(columns)].astype(np.float64) - centre).min(axis=1)
    farthest: NDArray[np.float64] = 1 - distance / max(centre, 1 - centre)
    return farthest


def informative(probability: Floats) -> NDArray[np.float64]:
    """Return how much a review would tell: the sum of p (1 - p) over the labels."""
    p = probability.astype(np.float64)
    total: NDArray[np.float64] = (p * (1 - p)).sum(axis=1)
    return total


def largest(
    presences: NDArray[np.float64], weights: Sequence[float] | None = None
) -> NDArray[np.float64]:
    """Return the largest (weighted) probability of each row; 0 if there are no labels."""
    if weights is not None:
        presences = presences * np.asarray(weights, np.float64)
    found: NDArray[np.float64] = presences.max(axis=1, initial=0.0)
    return found


def diversified(rank: NDArray[np.float64], vectors: Floats) -> list[int]:
    """Return the rows in an order that starts with good ones and avoids what is alike.

    Chosen one by one: each time the greatest `rank * (1 - s)`, where s is the largest cosine
    similarity to those chosen before (0 to 1).

    Parameters
    ----------
    rank : ndarray of float64, shape (n,)
        Not negative; larger is better.
    vectors : ndarray of float32, shape (n, dim)
        Rows of unit length, or zeros.
    """
    left = np.ones(len(rank), bool)
    alike = np.zeros(len(rank))
    order: list[int] = []
    similarity = np.clip(vectors.astype(np.float64) @ vectors.astype(np.float64).T, 0.0, 1.0)
    for _ in range(len(rank)):
        # What was chosen gets a value below all others; of equals the first one wins.
        value = np.where(left, rank * (1 - alike), -1.0)
        chosen = int(np.argmax(value))
        order.append(chosen)
        left[chosen] = False
        alike = np.maximum(alike, similarity[chosen])
    return order
