"""Measure a model: from annotations and probabilities to everything that is shown of it.

The steps are `gather` (what is known of each label), the health of labels, the four factors of the
rating, the plan, and at last the shapes in which all of it is stored and sent. Nothing here reads
or writes anything, and the same data gives the same result.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from lodestream.domain.validation import ModelRating, ValidationResult
from lodestream.domain.validation_settings import ValidationSettings
from lodestream.ml.balance import Bias, bias_model_score, fit_bias, lexical_vectors, origins_of
from lodestream.ml.evidence import Tested, balanced_thresholds, count_errors, gather
from lodestream.ml.health import Assessment, Evidence, assess
from lodestream.ml.plan import Choice, make_plan
from lodestream.ml.rating import (
    balance_factor,
    coverage_factor,
    informative_weights,
    label_factors,
    rate,
    reach_of,
)
from lodestream.ml.report import details, label_metrics, statistics, summarise
from lodestream.ml.validation_data import ValidationData

Floats = NDArray[np.float64]

_DEFAULT = ValidationSettings()


def validate(data: ValidationData, settings: ValidationSettings = _DEFAULT) -> ValidationResult:
    """Return everything that is stored of a model's validation.

    Also an empty dataset, one without labels and labels without examples have a result.
    """
    test = Tested.of(data)
    evidence = gather(data, test, settings)
    assessments = assess(evidence, settings)
    bias = _find_bias(data, settings)
    weights = informative_weights(data.labels, data.assigned, settings)
    rating = _rating(data, evidence, assessments, bias, weights, settings)
    choice = Choice(
        data=data,
        volume=evidence.volume,
        weights=weights,
        strangeness=None if bias is None else bias.unreviewed,
        settings=settings,
    )
    errors = count_errors(data, test, evidence, bias, settings)
    return ValidationResult(
        summary=summarise(data, evidence, assessments, rating, settings),
        labels=label_metrics(data.labels, test, evidence, assessments, errors, settings),
        statistics=statistics(data, evidence, assessments, rating),
        thresholds=dict(zip(data.labels, evidence.thresholds, strict=True)),
        plan=make_plan(data, rating, assessments, choice, settings),
        details=details(data, test, evidence, assessments, errors, weights, settings),
    )


def _find_bias(data: ValidationData, settings: ValidationSettings) -> Bias | None:
    """Return the bias model, None if there are too few comments of either kind."""
    rows, sample = np.flatnonzero(data.reviewed.complete), data.unreviewed
    if min(len(rows), len(sample.uids)) < max(settings.bias_min, settings.bias_folds):
        return None
    if data.reviewed.vectors is not None and sample.vectors is not None:
        return fit_bias(data.reviewed.vectors[rows], sample.vectors, settings)
    texts = [data.reviewed.texts[row] for row in rows.tolist()]
    return fit_bias(lexical_vectors(texts), lexical_vectors(sample.texts), settings)


def _rating(
    data: ValidationData,
    evidence: Evidence,
    assessments: Sequence[Assessment],
    bias: Bias | None,
    weights: Floats,
    settings: ValidationSettings,
) -> ModelRating:
    rows = np.flatnonzero(data.reviewed.complete).tolist()
    model_score = 1.0 if bias is None else bias_model_score(bias.auc)
    origins = origins_of([data.reviewed.origin[row] for row in rows])
    thresholds = balanced_thresholds(evidence.thresholds, unsafe=settings.default_threshold)
    reach = reach_of(data.labels, data.everything, data.uninformative, weights, thresholds)
    overall, lowest = label_factors(evidence, assessments, settings)
    factors = (
        balance_factor(
            model_score if len(rows) >= settings.bias_min else None, origins, assessments, settings
        ),
        coverage_factor(
            reach,
            evidence,
            assessments,
            settings,
            themes_share=data.themes.share,
            measured=data.everything.size > 0,
        ),
        lowest,
        overall,
    )
    return rate(factors, assessments, settings, measured=bool(evidence.safe.any()))
