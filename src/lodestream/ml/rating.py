"""One score for a model, from its four factors."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from lodestream.domain.validation import (
    Contributor,
    ContributorKind,
    DatasetActionKind,
    FactorKind,
    LabelAction,
    LabelHealthAction,
    ModelRating,
    Quality,
    RatingFactor,
    WarningKind,
)
from lodestream.domain.validation_settings import ValidationSettings
from lodestream.ml.balance import Origins, balance_score
from lodestream.ml.health import Assessment, Evidence, ancestry

Bools = NDArray[np.bool_]
Floats = NDArray[np.float64]
Probabilities = NDArray[np.float32]


def rounded(score: float) -> int:
    """Return a score as it is shown: rounded, halves up."""
    return math.floor(score + 0.5)


def quality_of(score: float, bins: tuple[int, int, int] = (50, 70, 90)) -> Quality:
    """Return the word for a score, taken of the number that is shown."""
    words: tuple[Quality, ...] = ("poor", "average", "good", "excellent")
    return words[sum(rounded(score) >= border for border in bins)]


def rate(
    factors: Sequence[RatingFactor],
    assessments: Sequence[Assessment],
    settings: ValidationSettings,
    *,
    measured: bool,
) -> ModelRating:
    """Return the rating that the factors make; `measured` tells whether any label is safe."""
    weights = factor_weights(settings)
    score = sum(weights[factor.kind] * factor.score for factor in factors)
    weak = any(factor.quality in ("none", "poor", "average") for factor in factors)
    ill = any(one.colour != "blue" for one in assessments)
    return ModelRating(
        score=score,
        quality=quality_of(score, settings.bins) if measured else "none",
        needs_refinement=weak or ill,
        factors=tuple(factors),
        bins=settings.bins,
    )


def factor_weights(settings: ValidationSettings) -> dict[FactorKind, float]:
    """Return how much each factor counts; together 1."""
    return {
        "biased": settings.weight_balance,
        "coverage": settings.weight_coverage,
        "lowest_label_health": settings.weight_lowest,
        "overall_label_health": settings.weight_all,
    }


def balance_factor(
    model_score: float | None,
    origins: Origins,
    assessments: Sequence[Assessment],
    settings: ValidationSettings,
) -> RatingFactor:
    """Return Balance; `model_score` is None when there are too few reviewed comments to tell."""
    worst = sorted(assessments, key=lambda one: one.score)
    score = 0.0 if model_score is None else balance_score(model_score, origins, settings)
    actions: list[DatasetActionKind] = []
    if origins.shuffle < settings.shuffle_wanted:
        actions.append("shuffle")
    if model_score is not None and model_score < settings.bias_model_wanted:
        actions.append("bias")
    return RatingFactor(
        kind="biased",
        quality="none" if model_score is None else quality_of(score, settings.bins),
        score=score,
        dataset_actions=tuple(actions),
        label_actions=_actions_against("biased", worst, settings),
        contributors=_contributors(
            ("bias_model_score", model_score),
            ("rebalance_ratio", origins.rebalance),
            ("shuffle_ratio", origins.shuffle),
            ("text_search_ratio", origins.search),
        ),
    )


@dataclass(frozen=True)
class Reach:
    """How far labels reach over all comments; means over comments."""

    coverage: float
    label_only: float
    any_label: float
    labels: float
    uninformative: float


def informative_weights(
    labels: Sequence[str], assigned: Bools, settings: ValidationSettings
) -> Floats:
    """Return how much it says of a comment that it has a label, in [0, 1], shape (L,).

    A label that never stands by itself, only above or beside others, says little. `assigned` has
    shape (n, L): the reviewed comments, parents included.
    """
    leaf = leaf_most(labels, assigned)
    times = leaf.sum(axis=0)
    alone = (leaf & (leaf.sum(axis=1) == 1)[:, None]).sum(axis=0)
    share = alone / np.maximum(times, 1)
    return np.asarray(np.minimum(1.0, share / settings.alone_share), np.float64)


def leaf_most(labels: Sequence[str], assigned: Bools) -> Bools:
    """Return which labels comments have without having one below, shape (n, L)."""
    # Row i of the ancestry names what is above i: the product counts what is assigned below j.
    below = csr_array(assigned, dtype=np.float32) @ ancestry(labels)
    return np.asarray(assigned & (below.toarray() == 0), np.bool_)


def reach_of(
    labels: Sequence[str],
    probability: Probabilities,
    uninformative: Floats | None,
    weights: Floats,
    thresholds: Floats,
) -> Reach:
    """Return how far labels reach over the comments of `probability`, shape (N, L).

    `thresholds`, shape (L,), tell when a label counts as predicted; `uninformative`, shape (N,), is
    the probability of being uninformative, where there is a model of it.
    """
    size, columns = probability.shape
    if size == 0:
        return Reach(0.0, 0.0, 0.0, 0.0, 0.0)
    reached, best = np.zeros(size, np.float64), np.zeros(size, np.float32)
    if columns:
        reached = ((probability >= thresholds) * weights).max(axis=1)
        best = probability.max(axis=1)
    leaves = np.asarray(ancestry(labels).sum(axis=0)).ravel() == 0
    credit = np.zeros(size) if uninformative is None else uninformative
    return Reach(
        coverage=float(np.where(credit >= 0.5, 1.0, reached).mean()),
        label_only=float(reached.mean()),
        any_label=float(best.mean(dtype=np.float64)),
        labels=float(probability[:, leaves].sum(dtype=np.float64) / size),
        uninformative=float(credit.mean()),
    )


def coverage_factor(
    reach: Reach,
    evidence: Evidence,
    assessments: Sequence[Assessment],
    settings: ValidationSettings,
    *,
    themes_share: float,
    measured: bool,
) -> RatingFactor:
    """Return Coverage; `themes_share` is the share of unreviewed comments that are in themes.

    `measured` is False if there are no comments or no labels to measure it with.
    """
    score = 100 * reach.coverage
    largest = [assessments[place] for place in np.argsort(-evidence.volume, kind="stable").tolist()]
    actions: list[DatasetActionKind] = []
    if themes_share >= settings.themes_share:
        actions.append("discover")
    if quality_of(score, settings.bins) != "excellent":
        actions.append("low_confidence")
    return RatingFactor(
        kind="coverage",
        quality=quality_of(score, settings.bins) if measured else "none",
        score=score,
        dataset_actions=tuple(actions),
        label_actions=_actions_against("poor_coverage", largest, settings),
        contributors=_contributors(
            ("coverage", reach.coverage),
            ("p_any_label", reach.any_label),
            ("expected_num_labels", reach.labels),
            ("p_uninformative", reach.uninformative),
            ("label_only_coverage", reach.label_only),
        ),
    )


def label_factors(
    evidence: Evidence, assessments: Sequence[Assessment], settings: ValidationSettings
) -> tuple[RatingFactor, RatingFactor]:
    """Return the factors All labels and Underperforming labels."""
    trained = np.flatnonzero(evidence.train > 0)
    health = np.asarray([assessments[place].score for place in trained.tolist()], np.float64)
    worst = trained[np.argsort(health, kind="stable")]
    # The share is a decimal that binary numbers only come near, so 10 % of 30 must not become 4.
    lowest = worst[: max(1, math.ceil(settings.lowest_share * len(worst) - 1e-9))]
    return (
        _overall(evidence, [assessments[place] for place in worst.tolist()], health, settings),
        _lowest(evidence, lowest, assessments, settings),
    )


def _overall(
    evidence: Evidence, worst: Sequence[Assessment], health: Floats, settings: ValidationSettings
) -> RatingFactor:
    score = 100 * float(health.mean()) if len(health) else 0.0
    safe = evidence.safe
    precision, examples = evidence.precision[safe], evidence.train[safe]
    ill = [one for one in worst if one.colour != "blue"]
    return RatingFactor(
        kind="overall_label_health",
        quality=quality_of(score, settings.bins) if len(health) else "none",
        score=score,
        dataset_actions=(),
        label_actions=tuple(action for one in ill for action in one.label_actions()[:1])[
            : settings.max_label_actions
        ],
        contributors=_contributors(
            ("mean_ap", float(precision.mean()) if len(precision) else None),
            (
                "weighted_map",
                float(np.average(precision, weights=examples)) if len(precision) else None,
            ),
            ("num_poor_labels", float(sum(one.colour == "red" for one in worst))),
            ("num_average_labels", float(sum(one.colour == "amber" for one in worst))),
        ),
    )


def _lowest(
    evidence: Evidence,
    lowest: NDArray[np.intp],
    assessments: Sequence[Assessment],
    settings: ValidationSettings,
) -> RatingFactor:
    chosen = [assessments[place] for place in lowest.tolist()]
    count = len(chosen)
    score = 100 * sum(one.score for one in chosen) / count if count else 0.0
    measured = evidence.best_precision[lowest]
    measured = measured[~np.isnan(measured)]
    return RatingFactor(
        kind="lowest_label_health",
        quality=quality_of(score, settings.bins) if count else "none",
        score=score,
        dataset_actions=(),
        label_actions=tuple(action for one in chosen for action in one.label_actions())[
            : settings.max_label_actions
        ],
        contributors=_contributors(
            ("lowest_labels_poor_ratio", _ratio(chosen, "red")),
            ("lowest_labels_average_ratio", _ratio(chosen, "amber")),
            ("lowest_labels_map", float(measured.mean()) if len(measured) else None),
        ),
    )


def _ratio(chosen: Sequence[Assessment], colour: str) -> float | None:
    return sum(one.colour == colour for one in chosen) / len(chosen) if chosen else None


def _actions_against(
    kind: WarningKind, assessments: Sequence[Assessment], settings: ValidationSettings
) -> tuple[LabelAction, ...]:
    """Return what to do about every label with some warning."""
    remedy = LabelHealthAction("missing_label" if kind == "poor_coverage" else "teach_unreviewed")
    found = [
        LabelAction(one.label, remedy, warning)
        for one in assessments
        for warning in one.warnings
        if warning.kind == kind
    ]
    return tuple(found[: settings.max_label_actions])


def _contributors(*values: tuple[ContributorKind, float | None]) -> tuple[Contributor, ...]:
    return tuple(Contributor(kind, value) for kind, value in values if value is not None)
