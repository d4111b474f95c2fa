"""The last step to a probability: evidence beside the label's own score, weighed by few numbers.

A pair of text and label has four pieces of evidence: the calibrated logit of the label's own score,
how near the text is to the label's description (by vector and by words), and how likely the
strongest other labels are. Their weights are shared by all labels and fitted on scores of texts
that were left out, so a handful of examples is enough for them.

The last piece is used only where almost every text has a single label: there a strong rival makes a
label less likely. It is what a softmax does for such sets, learnt from the data.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lodestream.ml.calibration import fit_logistic, pooled_sigmoid, sigmoid

_SINGLE = 0.95
_ENOUGH_ROWS = 20
_FLOOR = 1e-3
# Where a weight is without evidence, how firmly, and its bounds: own, vector, words, rivals, 1.
_PRIOR = np.array([1.0, 0.0, 0.0, 0.0, 0.0])
_FIRMNESS = np.array([20.0, 5.0, 5.0, 20.0, 1.0])
_LEAST = np.array([0.3, 0.0, 0.0, -2.0, -8.0])
_MOST = np.array([2.0, 1.5, 1.5, 0.0, 8.0])


@dataclass(frozen=True)
class Combination:
    """Weights of the evidence.

    Attributes
    ----------
    weights : ndarray of float64, shape (2, 5)
        Of the label's own logit, nearness by vector, nearness by words, rivals, and 1; for labels
        without rivals, and for those that compete.
    competes : ndarray of bool, shape (n_labels,)
        Labels that exclude one another; none where texts have several labels.
    """

    weights: NDArray[np.float64]
    competes: NDArray[np.bool_]

    def __call__(
        self,
        own: NDArray[np.floating],
        near: tuple[NDArray[np.floating] | None, NDArray[np.floating] | None],
    ) -> NDArray[np.float64]:
        """Return the logits of texts, shape (n, n_labels)."""
        weights = self.weights[self.competes.astype(np.intp)].T
        total = weights[0] * own.astype(np.float64) + weights[4]
        for weight, part in zip(weights[1:3], near, strict=True):
            if part is not None:
                total += weight * part
        if self.competes.any():
            total += weights[3] * rivals(own, self.competes)
        return np.asarray(total, np.float64)


def rivals(own: NDArray[np.floating], competes: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Return the logarithm of the summed odds of the other competing labels; 0 for the rest."""
    odds = np.where(competes, np.exp(np.clip(own.astype(np.float64), -30, 30)), 0.0)
    others = np.maximum(odds.sum(1, keepdims=True) - odds, 0.0)
    # Below the floor there is no rival at all, and how far below means nothing.
    beaten = np.where(competes, np.log(others + _FLOOR) - np.log(_FLOOR), 0.0)
    return np.asarray(beaten, np.float64)


def almost_single(truth: NDArray[np.floating], leaves: NDArray[np.bool_]) -> bool:
    """Say whether nearly every labelled text has exactly one label without children."""
    count = truth[:, leaves].sum(1)
    labelled = int((count > 0).sum())
    return (
        labelled >= _ENOUGH_ROWS
        and int(leaves.sum()) > 2
        and float((count == 1).sum()) >= _SINGLE * labelled
    )


def pooled_loss(
    score: NDArray[np.floating],
    truth: NDArray[np.floating],
    weight: NDArray[np.floating],
    competes: NDArray[np.bool_] | None,
) -> float:
    """Return the log loss of scores after one sigmoid for all labels, to judge candidates by.

    Parameters
    ----------
    score, truth, weight : ndarray, shape (n, n_labels)
        Scores of texts that were left out, targets 0 or 1, and weights (0 leaves a pair out).
    competes : ndarray of bool, shape (n_labels,), or None
        Labels whose rivals count as evidence, too; None for none. A score that is good at telling
        labels apart within a text is then worth more than one that is good at telling texts apart.
    """
    slope, intercept, loss = pooled_sigmoid(score, truth, weight)
    if competes is None:
        return loss
    own = slope * score[:, competes].astype(np.float64) + intercept
    against = rivals(own, np.ones(own.shape[1], np.bool_))
    evidence = np.stack([own, against, np.ones_like(own)], axis=-1).reshape(-1, 3)
    some = np.array([True, False, False, True, True])
    y, w = (part[:, competes].ravel().astype(np.float64) for part in (truth, weight))
    weights = fit_logistic(evidence, y, w, prior=_PRIOR[some], firmness=_FIRMNESS[some])
    p = sigmoid(evidence @ weights)
    return float(-(w @ (y * np.log(p) + (1 - y) * np.log1p(-p))) / max(w.sum(), 1.0))


def fit(
    own: NDArray[np.floating],
    near: tuple[NDArray[np.floating] | None, NDArray[np.floating] | None],
    truth: NDArray[np.floating],
    weight: NDArray[np.floating],
    leaves: NDArray[np.bool_],
) -> Combination:
    """Fit the weights, drawn to "the own logit as it is".

    Parameters
    ----------
    own : ndarray, shape (n, n_labels)
        Calibrated logits of texts that were left out.
    near : pair of ndarray, shape (n, n_labels), or None
        Nearness to the label's description, by vector and by words.
    truth, weight : ndarray, shape (n, n_labels)
        Targets 0 or 1, and weights (0 leaves a pair out).
    leaves : ndarray of bool, shape (n_labels,)
        Labels without children.
    """
    competes = leaves if almost_single(truth * weight, leaves) else np.zeros_like(leaves)
    against = rivals(own, competes) if competes.any() else None
    weights = np.stack(
        [
            _fit_group((own, *near, None), truth, weight, ~competes),
            _fit_group((own, *near, against), truth, weight, competes),
        ]
    )
    return Combination(np.clip(weights, _LEAST, _MOST), competes)


def _fit_group(
    parts: tuple[NDArray[np.floating] | None, ...],
    truth: NDArray[np.floating],
    weight: NDArray[np.floating],
    group: NDArray[np.bool_],
) -> NDArray[np.float64]:
    """Fit the weights of the evidence there is, on some of the labels; the others are 0."""
    chosen = weight[:, group].ravel() > 0
    used = np.array([*(part is not None for part in parts), True])
    columns = [part[:, group].ravel()[chosen] for part in parts if part is not None]
    evidence = np.stack([*columns, np.ones(int(chosen.sum()))], axis=1).astype(np.float64)
    weights = np.zeros(len(used))
    weights[used] = fit_logistic(
        evidence,
        truth[:, group].ravel()[chosen].astype(np.float64),
        weight[:, group].ravel()[chosen].astype(np.float64),
        prior=_PRIOR[used],
        firmness=_FIRMNESS[used],
    )
    return weights
