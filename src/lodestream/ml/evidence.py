"""What is known of each label, gathered from reviews and probabilities."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lodestream.domain.validation import OptimalThresholds
from lodestream.domain.validation_settings import ValidationSettings
from lodestream.ml.balance import Bias, is_search, sample_weights
from lodestream.ml.health import Evidence
from lodestream.ml.metrics import (
    Curve,
    average_precision,
    cooccurrence,
    find_curve,
    optimal_thresholds,
    shares,
)
from lodestream.ml.validation_data import ValidationData

Bools = NDArray[np.bool_]
Floats = NDArray[np.float64]
Probabilities = NDArray[np.float32]


@dataclass(frozen=True)
class Tested:
    """The measured comments: `truth` and `known`, with `probability`, shape (n, L).

    `rows` are their places among the reviewed ones.
    """

    rows: NDArray[np.intp]
    truth: Bools
    known: Bools
    probability: Probabilities

    @classmethod
    def of(cls, data: ValidationData) -> Tested:
        """Pick the complete ones of the test comments."""
        complete = data.reviewed.complete[data.split.test]
        rows = data.split.test[complete]
        return cls(
            rows=rows,
            truth=data.assigned[rows],
            known=data.assigned[rows] | data.refused[rows],
            probability=data.test_probability[complete],
        )


def gather(data: ValidationData, test: Tested, settings: ValidationSettings) -> Evidence:
    """Return what is known of each label."""
    assigned, refused = data.assigned, data.refused
    train = assigned[data.is_train].sum(axis=0, dtype=np.int64)
    curves = _curves(test.truth, test.known, test.probability)
    left_out = _curves(assigned, assigned | refused, data.reviewed.left_out)
    thresholds = [
        optimal_thresholds(
            curve,
            beta_high_precision=settings.beta_high_precision,
            beta_high_recall=settings.beta_high_recall,
        )
        if curve is not None and examples >= settings.min_comments_threshold
        else None
        for curve, examples in zip(curves, train.tolist(), strict=True)
    ]
    predicted = test.probability >= balanced_thresholds(thresholds, unsafe=np.inf)
    hits = (predicted & test.truth).sum(axis=0)
    confusion, confused = shares(predicted & test.known & ~test.truth, test.truth)
    reviewed = assigned.sum(axis=0, dtype=np.int64)
    search = np.asarray([is_search(origin) for origin in data.reviewed.origin], np.bool_)
    sample = data.unreviewed
    scale = sample.size / max(len(sample.uids), 1)
    return Evidence(
        labels=data.labels,
        train=train,
        test=reviewed - train,
        reviewed=reviewed,
        curves=curves,
        thresholds=thresholds,
        precision=_precisions(curves),
        left_out_precision=_precisions(left_out),
        recall=hits / np.maximum(test.truth.sum(axis=0), 1),
        searched=assigned[search].sum(axis=0) / np.maximum(reviewed, 1),
        doubted=(assigned & (data.reviewed.left_out < settings.doubted_below)).sum(axis=0),
        expected=(refused & (data.reviewed.left_out > settings.expected_above)).sum(axis=0),
        likely=(sample.probability >= settings.likely_from).sum(axis=0) * scale,
        confident=(sample.probability >= settings.confident_from).sum(axis=0) * scale,
        volume=data.everything.sum(axis=0, dtype=np.float64),
        confusion=confusion,
        confused=confused,
        cooccurrence=cooccurrence(assigned),
    )


def _curves(truth: Bools, known: Bools, probability: Probabilities) -> list[Curve | None]:
    return [
        find_curve(truth[rows, place], probability[rows, place])
        for place, rows in enumerate(known.T)
    ]


def _precisions(curves: Sequence[Curve | None]) -> Floats:
    found = [np.nan if curve is None else average_precision(curve) for curve in curves]
    return np.asarray(found, np.float64)


def balanced_thresholds(thresholds: Sequence[OptimalThresholds | None], *, unsafe: float) -> Floats:
    """Return the balanced threshold of each label, shape (L,), `unsafe` for those without."""
    return np.asarray([one.balanced if one else unsafe for one in thresholds], np.float64)


@dataclass(frozen=True)
class Errors:
    """False positives and negatives of each label on test, shape (L,), and the same weighted."""

    positive: Floats
    negative: Floats
    weighted_positive: Floats | None
    weighted_negative: Floats | None


def count_errors(
    data: ValidationData,
    test: Tested,
    evidence: Evidence,
    bias: Bias | None,
    settings: ValidationSettings,
) -> Errors:
    """Count errors at the balanced threshold, or the usual one where there is none.

    Weighted figures are there if there is a bias model: reviewed comments are no random sample, and
    those that resemble unreviewed ones stand for more.
    """
    thresholds = balanced_thresholds(evidence.thresholds, unsafe=settings.default_threshold)
    predicted = test.probability >= thresholds
    wrong, missed = predicted & test.known & ~test.truth, test.truth & ~predicted
    positive, negative = wrong.sum(axis=0, dtype=np.float64), missed.sum(axis=0, dtype=np.float64)
    if bias is None or len(test.rows) == 0:
        return Errors(positive, negative, None, None)
    # The bias model knows complete comments only, in the order of their rows.
    among_complete = np.cumsum(data.reviewed.complete) - 1
    weights = sample_weights(bias.reviewed[among_complete[test.rows]], settings)
    return Errors(positive, negative, weights @ wrong, weights @ missed)
