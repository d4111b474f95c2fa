"""From scores to probabilities: sigmoids fitted on scores of texts that were left out.

A label's sigmoid is drawn towards the one that all labels share, the more the fewer examples the
label has: a line through three positives is worth nothing, the line of all labels is worth much.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

_STEPS = 30
_SMALLEST_SLOPE = 0.05
_FAR = 30.0
_SETTLED = 1e-6
# Pairs that are enough for numbers all labels share, and pairs worked on at a time.
_POOL = 2_000_000
_CHUNK = 4_000_000


def sigmoid(logit: NDArray[np.floating]) -> NDArray[np.float64]:
    """Logistic function; logits are cut at +-30, so that results are never exactly 0 or 1."""
    inside: NDArray[np.float64] = np.clip(logit, -_FAR, _FAR).astype(np.float64)
    result: NDArray[np.float64] = 1 / (1 + np.exp(-inside))
    return result


def logit(probability: NDArray[np.floating]) -> NDArray[np.float64]:
    """Inverse of `sigmoid`, finite for 0 and 1 too."""
    inside = np.clip(probability.astype(np.float64), 1e-12, 1 - 1e-12)
    result: NDArray[np.float64] = np.clip(np.log(inside) - np.log1p(-inside), -_FAR, _FAR)
    return result


def pooled_sigmoid(
    score: NDArray[np.floating], truth: NDArray[np.floating], weight: NDArray[np.floating]
) -> tuple[float, float, float]:
    """Fit one sigmoid to all labels.

    Parameters
    ----------
    score, truth, weight : ndarray, one shape
        Scores, targets in [0, 1], and weights; a weight of 0 leaves a pair out.

    Returns
    -------
    slope, intercept, loss : float
        `p = sigmoid(slope * score + intercept)`, slope positive; mean log loss.
    """
    x, y, w = (a.ravel().astype(np.float64) for a in (score, truth, weight))
    total = max(w.sum(), 1.0)
    slope, intercept = 4.0, float(logit(np.array((w @ y + 0.5) / (total + 1))))
    at = np.array([slope, intercept])
    for _ in range(_STEPS):
        p = sigmoid(at[0] * x + at[1])
        error, curve = w * (p - y), w * p * (1 - p)
        # A weak pull to slope 4 keeps the answer finite when a line separates all.
        gradient = np.array([error @ x + 0.1 * (at[0] - 4.0), error.sum() + 1e-3 * at[1]])
        cross = curve @ x
        hessian = np.array([[curve @ (x * x) + 0.1, cross], [cross, curve.sum() + 1e-3]])
        step = np.linalg.solve(hessian, gradient)
        at = at - step * min(1.0, 4.0 / max(float(np.abs(step).max()), 1e-9))
        at[0] = max(at[0], _SMALLEST_SLOPE)
        if float(np.abs(step).max()) < _SETTLED:
            break
    p = sigmoid(at[0] * x + at[1])
    loss = -(w @ (y * np.log(p) + (1 - y) * np.log1p(-p))) / total
    return float(at[0]), float(at[1]), float(loss)


def fit_logistic(
    evidence: NDArray[np.float64],
    truth: NDArray[np.float64],
    weight: NDArray[np.float64],
    *,
    prior: NDArray[np.float64],
    firmness: NDArray[np.float64],
) -> NDArray[np.float64]:
    """Fit `p = sigmoid(evidence @ w)` by Newton's method, with w drawn to a prior.

    Parameters
    ----------
    evidence : ndarray of float64, shape (n, k)
    truth, weight : ndarray of float64, shape (n,)
        Targets in [0, 1]; weights.
    prior, firmness : ndarray of float64, shape (k,)
        Where w lies without evidence, and the precision (1 / variance) of that belief.
    """
    at = prior.copy()
    for _ in range(_STEPS):
        p = sigmoid(evidence @ at)
        gradient = (weight * (p - truth)) @ evidence + firmness * (at - prior)
        curve = weight * p * (1 - p)
        hessian = (evidence * curve[:, None]).T @ evidence + np.diag(firmness)
        step = np.clip(np.linalg.solve(hessian, gradient), -1, 1)
        at = at - step
        if float(np.abs(step).max()) < _SETTLED:
            break
    return at


@dataclass(frozen=True)
class Platt:
    """A sigmoid for each label.

    Attributes
    ----------
    slope, intercept : ndarray of float64, shape (n_labels,)
        `p = sigmoid(slope * score + intercept)`; slopes are positive, so order is kept.
    """

    slope: NDArray[np.float64]
    intercept: NDArray[np.float64]

    def __call__(self, score: NDArray[np.floating]) -> NDArray[np.float64]:
        """Turn scores, shape (n, n_labels), into probabilities."""
        return sigmoid(self.logits(score))

    def logits(self, score: NDArray[np.floating]) -> NDArray[np.float64]:
        """Turn scores into logits, not cut."""
        result: NDArray[np.float64] = score * self.slope + self.intercept
        return result


def fit_platt(
    score: NDArray[np.floating],
    truth: NDArray[np.floating],
    weight: NDArray[np.floating],
    *,
    strength: float,
) -> Platt:
    """Fit a sigmoid for each label, drawn to the sigmoid of all labels.

    Parameters
    ----------
    score, truth, weight : ndarray, shape (n, n_labels)
        Scores of texts that were left out, targets in [0, 1], weights (0 leaves a pair out).
    strength : float
        How firmly a label is drawn to the common sigmoid: about the number of positives at which
        its own says as much.
    """
    rows, labels = score.shape
    some = slice(None) if score.size <= _POOL else _spread(rows, _POOL // max(labels, 1))
    common = np.array(pooled_sigmoid(score[some], truth[some], weight[some])[:2])
    at = np.empty((labels, 2))
    width = max(1, _CHUNK // max(rows, 1))
    for first in range(0, labels, width):
        part = slice(first, first + width)
        x, y, w = (a[:, part].astype(np.float64) for a in (score, truth, weight))
        # Scores scaled by the common slope, so that one strength suits both numbers.
        at[part] = _platt(x * common[0], y, w, np.array([1.0, common[1]]), strength)
    return Platt(at[:, 0] * common[0], at[:, 1])


def _spread(rows: int, count: int) -> NDArray[np.intp]:
    """Return that many rows, evenly spread."""
    return np.linspace(0, rows - 1, max(1, min(rows, count))).astype(np.intp)


def _platt(
    x: NDArray[np.float64],
    y: NDArray[np.float64],
    w: NDArray[np.float64],
    target: NDArray[np.float64],
    strength: float,
) -> NDArray[np.float64]:
    at = np.tile(target, (x.shape[1], 1))
    for _ in range(_STEPS):
        p = sigmoid(x * at[:, 0] + at[:, 1])
        error, curve = w * (p - y), w * p * (1 - p)
        pull = strength * (at - target) * _PULL
        g0 = (error * x).sum(0) + pull[:, 0]
        g1 = error.sum(0) + pull[:, 1]
        h00 = (curve * x * x).sum(0) + strength * _PULL[0]
        h01 = (curve * x).sum(0)
        h11 = curve.sum(0) + strength * _PULL[1]
        determinant = h00 * h11 - h01 * h01
        step = np.stack([h11 * g0 - h01 * g1, h00 * g1 - h01 * g0], axis=1)
        step = np.clip(step / determinant[:, None], -2, 2)
        at = at - step
        at[:, 0] = np.maximum(at[:, 0], _SMALLEST_SLOPE)
        if float(np.abs(step).max()) < _SETTLED:
            break
    return at


_PULL = np.array([1.0, 0.2])
