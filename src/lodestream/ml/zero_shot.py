"""Scores for a label that nobody has given yet: from its name and instructions."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lodestream.ml.calibration import fit_logistic, logit, sigmoid

_USUAL_MEAN = 0.1
_USUAL_SPREAD = 0.12
_BELIEVED_FROM = 20.0
_SMALLEST_SPREAD = 0.02
_FURTHEST = 8.0


@dataclass(frozen=True)
class Yardstick:
    """What similarity between a text and a label's description is usual.

    Attributes
    ----------
    mean : ndarray of float32, shape (n_labels,)
        Similarity of each label to texts in general.
    spread : float
        Standard deviation of similarities around those means.
    """

    mean: NDArray[np.float32]
    spread: float

    @classmethod
    def fit(cls, of_texts: NDArray[np.float32], of_labels: NDArray[np.float32] | None) -> Yardstick:
        """Learn from similarities of texts to labels, and of labels to one another.

        Parameters
        ----------
        of_texts : ndarray of float32, shape (n, n_labels)
            Many texts count; without any, the labels' own similarities stand in.
        of_labels : ndarray of float32, shape (n_labels, n_labels), or None
            None if there are too many labels to compare.
        """
        rows, labels = of_texts.shape
        mean, spread = _USUAL_MEAN, _USUAL_SPREAD
        if of_labels is not None and labels > 1:
            apart = of_labels[~np.eye(labels, dtype=np.bool_)]
            trust = len(apart) / (len(apart) + _BELIEVED_FROM)
            mean = trust * float(apart.mean()) + (1 - trust) * mean
            spread = trust * float(apart.std()) + (1 - trust) * spread
        means = (of_texts.sum(0, dtype=np.float64) + _BELIEVED_FROM * mean) / (
            rows + _BELIEVED_FROM
        )
        around = of_texts.astype(np.float64) - means
        squares = float(np.square(around).mean()) if around.size else 0.0
        trust = rows / (rows + _BELIEVED_FROM)
        spread = float(np.sqrt(trust * squares + (1 - trust) * spread * spread))
        return cls(means.astype(np.float32), max(spread, _SMALLEST_SPREAD))

    def __call__(self, similarity: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return by how many spreads each similarity is above the usual, within +-8."""
        above = (similarity - self.mean) / np.float32(self.spread)
        return np.asarray(np.clip(above, -_FURTHEST, _FURTHEST), np.float32)


# Of nearness by vector, nearness by words, and 1: a text 4 spreads above the usual is believed.
_PRIOR = np.array([1.0, 0.3, -4.5])
_FIRMNESS = np.array([20.0, 20.0, 10.0])


def fit_weights(
    near: tuple[NDArray[np.floating] | None, NDArray[np.floating] | None],
    truth: NDArray[np.floating],
    known: NDArray[np.bool_],
) -> NDArray[np.float64]:
    """Learn from labels with examples how much nearness to a description is worth.

    Returns
    -------
    ndarray of float64, shape (3,)
        Weights of nearness by vector, by words, and 1. Without examples they are usual ones.
    """
    chosen = (known & (truth.sum(0) > 0)).ravel()
    used = np.array([near[0] is not None, near[1] is not None, True])
    evidence = np.stack(
        [part.ravel()[chosen].astype(np.float64) for part in near if part is not None]
        + [np.ones(int(chosen.sum()))],
        axis=1,
    )
    prior = _PRIOR.copy()
    if not used[0]:
        prior[1] = 1.0
    weights = np.zeros(3)
    weights[used] = fit_logistic(
        evidence,
        truth.ravel()[chosen].astype(np.float64),
        np.ones(int(chosen.sum())),
        prior=prior[used],
        firmness=_FIRMNESS[used],
    )
    # A description must not speak against its own label.
    weights[:2] = np.maximum(weights[:2], 0.0)
    return weights


def probability(
    near: tuple[NDArray[np.floating] | None, NDArray[np.floating] | None],
    weights: NDArray[np.float64],
) -> NDArray[np.float64]:
    """Return the zero-shot probability of each pair, shape (n, n_labels)."""
    parts = [
        weight * part for weight, part in zip(weights[:2], near, strict=True) if part is not None
    ]
    return sigmoid(np.sum(parts, axis=0) + weights[2])


def blend(
    model: NDArray[np.floating],
    zero: NDArray[np.floating],
    positives: NDArray[np.floating],
    inertia: float,
) -> NDArray[np.float64]:
    """Mix the model's probability with the zero-shot one, in logits.

    `logit p = n / (n + k) * logit p_model + k / (n + k) * logit p_zero`, where n is the number of
    positive examples of the label and k the inertia. Without examples the zero-shot score alone
    counts.
    """
    share = np.where(positives > 0, positives / np.maximum(positives + inertia, 1e-9), 0.0)
    return sigmoid(share * logit(model) + (1 - share) * logit(zero))
