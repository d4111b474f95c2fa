"""The shapes in which a validation is stored and sent."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from lodestream.domain.labels import SEPARATOR
from lodestream.domain.validation import (
    Cooccurrence,
    FactorKind,
    LabelCooccurrence,
    LabelDetails,
    LabelMetrics,
    LabelSummary,
    ModelRating,
    ModelStatistics,
    NamedLabel,
    Quality,
    ValidationDetails,
    ValidationSummary,
)
from lodestream.domain.validation_settings import ValidationSettings
from lodestream.ml.evidence import Errors, Tested
from lodestream.ml.health import Assessment, Evidence
from lodestream.ml.metrics import (
    RECALL_GRID,
    bootstrap_interval,
    calibration_errors,
    interpolated,
    sampled_thresholds,
    volume_errors,
    wire_curve,
)
from lodestream.ml.rating import rounded
from lodestream.ml.validation_data import ValidationData

Floats = NDArray[np.float64]


def summarise(
    data: ValidationData,
    evidence: Evidence,
    assessments: Sequence[Assessment],
    rating: ModelRating,
    settings: ValidationSettings,
) -> ValidationSummary:
    """Return the page of a model."""
    facts, complete = data.facts, data.reviewed.complete
    safe = [
        curve
        for curve, thresholds in zip(evidence.curves, evidence.thresholds, strict=True)
        if curve is not None and thresholds is not None
    ]
    mean_curve = np.mean([interpolated(curve) for curve in safe], axis=0) if safe else np.zeros(0)
    return ValidationSummary(
        fingerprint=facts.fingerprint,
        model_kind=facts.model_kind,
        version=facts.version,
        training_time=facts.training_time_s,
        input_updated_at=facts.input_updated_at,
        trained_time=facts.trained_time,
        entities=facts.fields,
        train_size=int((complete & data.is_train).sum()),
        test_size=int((complete & ~data.is_train).sum()),
        reviewed_size=int(complete.sum()),
        min_comments_threshold=settings.min_comments_threshold,
        mean_average_precision_safe=_mean_precision(evidence),
        recalls=RECALL_GRID if safe else (),
        mean_precision_curve_safe=tuple(mean_curve.tolist()),
        labels={
            one.label: LabelSummary(
                train_size=int(evidence.train[place]),
                test_size=int(evidence.test[place]),
                reviewed_size=int(evidence.reviewed[place]),
                average_precision=_finite(evidence.precision[place]),
                optimal_thresholds=evidence.thresholds[place],
                health=one.on_wire(settings),
                cooccurrence=_label_cooccurrence(evidence, place, settings),
            )
            for place, one in enumerate(assessments)
        },
        model_rating=rating,
        has_uninformative=data.uninformative is not None,
        cooccurrence=_cooccurrence(evidence, settings),
    )


def _mean_precision(evidence: Evidence) -> float | None:
    safe = evidence.precision[evidence.safe]
    return float(safe.mean()) if len(safe) else None


def _finite(value: float) -> float | None:
    return None if np.isnan(value) else float(value)


def _cooccurrence(evidence: Evidence, settings: ValidationSettings) -> Cooccurrence:
    frequent = np.argsort(-evidence.reviewed, kind="stable")[: settings.max_cooccurrence_labels]
    places = np.sort(frequent)
    rates = evidence.cooccurrence[places][:, places].toarray()
    return Cooccurrence(
        row_major_matrix=tuple(rates.ravel().tolist()), label_indices=tuple(places.tolist())
    )


def _label_cooccurrence(
    evidence: Evidence, place: int, settings: ValidationSettings
) -> LabelCooccurrence:
    matrix = evidence.cooccurrence
    row = slice(matrix.indptr[place], matrix.indptr[place + 1])
    others, rates = matrix.indices[row], matrix.data[row]
    apart = others != place
    others, rates = others[apart], rates[apart]
    order = np.argsort(-rates, kind="stable")[: settings.max_label_cooccurrence]
    return LabelCooccurrence(
        rates=tuple(rates[order].tolist()), label_indices=tuple(others[order].tolist())
    )


def label_metrics(
    labels: Sequence[str],
    test: Tested,
    evidence: Evidence,
    assessments: Sequence[Assessment],
    errors: Errors,
    settings: ValidationSettings,
) -> dict[str, LabelMetrics]:
    """Return the page of each label."""
    expected = test.truth.sum(axis=0)
    found = {}
    for place, label in enumerate(labels):
        thresholds, precisions, recalls = wire_curve(
            evidence.curves[place], settings.max_curve_points
        )
        found[label] = LabelMetrics(
            average_precision=_finite(evidence.precision[place]),
            train_size=int(evidence.train[place]),
            test_size=int(evidence.test[place]),
            reviewed_size=int(evidence.reviewed[place]),
            recalls=recalls,
            test_error_count=float(errors.positive[place] + errors.negative[place]),
            test_expected_count=float(expected[place]),
            precisions=precisions,
            thresholds=thresholds,
            optimal_thresholds=evidence.thresholds[place],
            health=assessments[place].on_wire(settings),
        )
    return found


def statistics(
    data: ValidationData,
    evidence: Evidence,
    assessments: Sequence[Assessment],
    rating: ModelRating,
) -> ModelStatistics:
    """Return the short public form."""
    factors = {factor.kind: factor for factor in rating.factors}

    def quality(kind: FactorKind) -> Quality | None:
        found = factors[kind].quality
        return None if found == "none" else found

    def score(kind: FactorKind) -> float | None:
        return factors[kind].score if quality(kind) else None

    return ModelStatistics(
        version=data.facts.version,
        labels=tuple(NamedLabel(name, tuple(name.split(SEPARATOR))) for name in data.labels),
        entities=tuple(data.facts.field_names),
        num_reviewed_comments=int(data.reviewed.complete.sum()),
        num_labels=len(data.labels),
        num_amber_labels=sum(one.colour == "amber" for one in assessments),
        num_red_labels=sum(one.colour == "red" for one in assessments),
        mean_average_precision_safe=_mean_precision(evidence),
        dataset_quality=rating.quality,
        dataset_score=rounded(rating.score),
        balance=score("biased"),
        balance_quality=quality("biased"),
        coverage=score("coverage"),
        coverage_quality=quality("coverage"),
        underperforming_labels_quality=quality("lowest_label_health"),
        all_labels_quality=quality("overall_label_health"),
    )


def details(
    data: ValidationData,
    test: Tested,
    evidence: Evidence,
    assessments: Sequence[Assessment],
    errors: Errors,
    weights: Floats,
    settings: ValidationSettings,
) -> ValidationDetails:
    """Return what has no place on those pages."""
    volume = volume_errors(test.truth, test.known, test.probability)
    calibration, together = calibration_errors(
        test.truth, test.known, test.probability, bins=settings.calibration_bins
    )
    found = {}
    for place, one in enumerate(assessments):
        curve = evidence.curves[place]
        few = curve is None or curve.positives < settings.few_test_examples
        interval = None
        if curve is not None and few:
            size = int(test.known[:, place].sum())
            interval = bootstrap_interval(
                curve, size, samples=settings.bootstrap_samples, seed=settings.seed
            )
        safe = evidence.thresholds[place] is not None
        found[one.label] = LabelDetails(
            colour=one.colour,
            quality=one.quality,
            safe=safe,
            few_test_examples=few,
            interval=interval,
            left_out_average_precision=_finite(evidence.left_out_precision[place]),
            volume_error=float(volume[place]),
            calibration_error=float(calibration[place]),
            false_positives=float(errors.positive[place]),
            false_negatives=float(errors.negative[place]),
            weighted_false_positives=_at(errors.weighted_positive, place),
            weighted_false_negatives=_at(errors.weighted_negative, place),
            sampled=sampled_thresholds(curve, settings.sampled_recalls) if curve and safe else (),
            informative_weight=float(weights[place]),
        )
    return ValidationDetails(
        settings=settings,
        evaluated=len(test.rows),
        duplicates=int(data.reviewed.complete[data.split.duplicates].sum()),
        calibration_error=together,
        estimated_mean_average_precision=_estimate(data, evidence, settings),
        labels=found,
    )


def _at(values: Floats | None, place: int) -> float | None:
    return None if values is None else float(values[place])


def _estimate(
    data: ValidationData, evidence: Evidence, settings: ValidationSettings
) -> float | None:
    """Return the mean average precision of left-out scores, if there are few comments."""
    enough = evidence.reviewed >= settings.few_examples
    if data.reviewed.complete.sum() >= settings.estimate_below or not enough.any():
        return None
    return float(evidence.left_out_precision[enough].mean())
