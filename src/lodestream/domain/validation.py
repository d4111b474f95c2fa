"""How good a model is: what is stored of a validation, in the shapes in which it is sent.

A `ValidationResult` is computed once for a model version and stored. Its parts encode to JSON
exactly as clients read them: `summary` for the page of a model, `labels` for the page of one label,
`statistics` for the short public form, `plan` for the training actions. `details` are figures that
have no place on those pages. Rates and probabilities lie in [0, 1], scores in [0, 100]; no number
is ever infinite or NaN. (Contract: models-predictions, section 8; training-validation, 6 to 9.)
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Literal

from msgspec import UNSET, Struct, UnsetType

from lodestream.domain.validation_settings import ValidationSettings

Quality = Literal["none", "poor", "average", "good", "excellent"]
Colour = Literal["red", "amber", "blue"]
FactorKind = Literal["biased", "coverage", "lowest_label_health", "overall_label_health"]
DatasetActionKind = Literal["discover", "low_confidence", "bias", "shuffle"]
CustomActionKind = Literal[
    "missing-source",
    "insufficient-verbatims-in-sources",
    "insufficient-verbatims",
    "insufficient-labels",
    "missing-model-rating",
    "shuffle",
    "text-search",
]
WarningKind = Literal[
    "very_low_reviewed_comments",
    "low_reviewed_comments",
    "very_low_average_precision",
    "low_average_precision",
    "confused",
    "biased",
    "poor_coverage",
]
LabelActionKind = Literal[
    "confirm_top_predicted",
    "correct_label",
    "missing_label",
    "teach_unreviewed",
    "search_for_examples",
    "merge",
    "deconfuse",
]
ContributorKind = Literal[
    "bias_model_score",
    "rebalance_ratio",
    "shuffle_ratio",
    "text_search_ratio",
    "coverage",
    "p_any_label",
    "expected_num_labels",
    "p_uninformative",
    "label_only_coverage",
    "mean_ap",
    "weighted_map",
    "num_poor_labels",
    "num_average_labels",
    "lowest_labels_poor_ratio",
    "lowest_labels_average_ratio",
    "lowest_labels_map",
]
Completeness = Literal["uncompletable", "incomplete", "already-complete", "newly-completed"]


class OptimalThresholds(Struct, frozen=True):
    """Thresholds of one label, the lowest last."""

    high_precision: float
    balanced: float
    high_recall: float


class LabelWarning(Struct, frozen=True):
    """What is wrong with a label; `label` names the other one of a pair."""

    kind: WarningKind
    label: str | UnsetType = UNSET


class LabelHealthAction(Struct, frozen=True):
    """What would make a label better; `label` names the other one of a pair."""

    kind: LabelActionKind
    label: str | UnsetType = UNSET


class SmartHealth(Struct, frozen=True):
    """How well a label is learnt, in [0, 1], what is wrong, the heaviest first, and what to do."""

    score: float
    warnings: tuple[LabelWarning, ...]
    actions: tuple[LabelHealthAction, ...]


class LabelHealth(Struct, frozen=True):
    """The health of a label, and how many more examples it needs."""

    smart: SmartHealth | None
    need_pinned: float | UnsetType = UNSET
    need_pinned_increment: float | UnsetType = UNSET


class LabelCooccurrence(Struct, frozen=True):
    """The labels that come most often with one, as places in the list of labels."""

    rates: tuple[float, ...]
    label_indices: tuple[int, ...]


class Cooccurrence(Struct, frozen=True):
    """Share of the row's label's comments that have the column's label, row by row."""

    row_major_matrix: tuple[float, ...]
    label_indices: tuple[int, ...]


class LabelSummary(Struct, frozen=True):
    """One label on the page of a model. Sizes count reviewed comments with the label."""

    train_size: int
    test_size: int
    reviewed_size: int
    average_precision: float | None
    optimal_thresholds: OptimalThresholds | None
    health: LabelHealth
    cooccurrence: LabelCooccurrence | UnsetType = UNSET


class LabelMetrics(Struct, frozen=True):
    """One label with its curve: thresholds fall strictly, recalls never do; of equal length."""

    average_precision: float | None
    train_size: int
    test_size: int
    reviewed_size: int
    recalls: tuple[float, ...]
    test_error_count: float
    test_expected_count: float
    precisions: tuple[float, ...]
    thresholds: tuple[float, ...]
    optimal_thresholds: OptimalThresholds | None
    health: LabelHealth


class FieldWarning(Struct, frozen=True):
    """What is wrong with a general field."""

    kind: str


class FieldAction(Struct, frozen=True):
    """What would make a general field better."""

    kind: str


class SmartFieldHealth(Struct, frozen=True):
    """How well a general field is learnt, in [0, 1]."""

    score: float
    warnings: tuple[FieldWarning, ...]
    actions: tuple[FieldAction, ...]


class FieldHealth(Struct, frozen=True):
    """The health of a general field, and how many more examples it needs."""

    smart: SmartFieldHealth | None = None
    need_pinned: float | UnsetType = UNSET
    need_pinned_increment: float | UnsetType = UNSET


class FieldStats(Struct, frozen=True):
    """One general field: annotated spans, comments with one, and how well they are found."""

    num_train_entities: int = 0
    num_test_entities: int = 0
    num_reviewed_entities: int = 0
    num_train_documents: int = 0
    num_test_documents: int = 0
    num_reviewed_documents: int = 0
    error_count: int = 0
    is_safe: bool = False
    health: FieldHealth = FieldHealth()
    precision: float | UnsetType = UNSET
    recall: float | UnsetType = UNSET
    f1_score: float | UnsetType = UNSET


class FieldsStats(Struct, frozen=True):
    """All general fields of a dataset, by the id of their definition."""

    num_train_entities: int = 0
    num_test_entities: int = 0
    num_reviewed_entities: int = 0
    num_train_documents: int = 0
    num_test_documents: int = 0
    num_reviewed_documents: int = 0
    error_count: int = 0
    entities_by_def_id: dict[str, FieldStats] = {}
    precision: float | UnsetType = UNSET
    recall: float | UnsetType = UNSET
    f1_score: float | UnsetType = UNSET


class Contributor(Struct, frozen=True):
    """One figure that a factor of the rating is made of."""

    kind: ContributorKind
    value: float


class LabelAction(Struct, frozen=True):
    """What to do about a label, and the warning that says why."""

    label: str
    action: LabelHealthAction
    warning: LabelWarning | UnsetType = UNSET


class RatingFactor(Struct, frozen=True):
    """One of the four parts of a rating, on the same scale as the whole."""

    kind: FactorKind
    quality: Quality
    score: float
    dataset_actions: tuple[DatasetActionKind, ...]
    label_actions: tuple[LabelAction, ...]
    contributors: tuple[Contributor, ...]


class ModelRating(Struct, frozen=True):
    """How good a model is; `bins` are the scores at which a better quality word begins."""

    score: float
    quality: Quality
    needs_refinement: bool
    factors: tuple[RatingFactor, ...]
    bins: tuple[float, float, float]


class ValidationSummary(Struct, frozen=True):
    """The page of a model: `validation` of its validation reply."""

    fingerprint: str
    model_kind: str
    version: int
    training_time: float
    input_updated_at: str
    trained_time: str
    entities: FieldsStats
    train_size: int
    test_size: int
    reviewed_size: int
    min_comments_threshold: int
    mean_average_precision_safe: float | None
    recalls: tuple[float, ...]
    mean_precision_curve_safe: tuple[float, ...]
    labels: dict[str, LabelSummary]
    model_rating: ModelRating
    has_uninformative: bool
    cooccurrence: Cooccurrence | UnsetType = UNSET


class NamedLabel(Struct, frozen=True):
    """A label by its name and the parts of the name."""

    name: str
    parts: tuple[str, ...]


class NamedField(Struct, frozen=True):
    """A general field by its name and title."""

    name: str
    title: str


class ModelStatistics(Struct, frozen=True):
    """The short public form of a validation. What cannot be told is None."""

    version: int
    labels: tuple[NamedLabel, ...]
    entities: tuple[NamedField, ...]
    num_reviewed_comments: int
    num_labels: int
    num_amber_labels: int
    num_red_labels: int
    mean_average_precision_safe: float | None
    dataset_quality: Quality
    dataset_score: int
    balance: float | None
    balance_quality: Quality | None
    coverage: float | None
    coverage_quality: Quality | None
    underperforming_labels_quality: Quality | None
    all_labels_quality: Quality | None


class CustomTrainingAction(Struct, frozen=True, tag_field="kind", tag="custom"):
    """A step that is not about reviewing given comments."""

    id: str
    plan: CustomActionKind


class DatasetTrainingAction(Struct, frozen=True, tag_field="kind", tag="dataset"):
    """A step for the sake of the dataset: themes to look at, or comments of an ordering."""

    id: str
    factor_kind: FactorKind
    quality: Quality
    plan: DatasetActionKind


class LabelTrainingAction(Struct, frozen=True, tag_field="kind", tag="label"):
    """A step for the sake of one label."""

    id: str
    sub_kind: str
    factor_kind: FactorKind
    quality: Quality
    plan: LabelAction
    search_term: str | UnsetType = UNSET


TrainingAction = CustomTrainingAction | DatasetTrainingAction | LabelTrainingAction


class PlannedAction(Struct, frozen=True):
    """A training action and the comments that were chosen for it, in order, once and for all."""

    action: TrainingAction
    comment_uids: tuple[str, ...] = ()


class LabelDetails(Struct, frozen=True):
    """What is known of a label beyond its page.

    `interval` holds average precision in 95 of 100 cases; it is None when there are test examples
    enough or none at all. `volume_error` is the sum of probabilities less the true count on test,
    `calibration_error` the expected one. Errors are those at the balanced threshold; the weighted
    ones stand for comments as they come, not as they were picked for review. `sampled` are the
    thresholds `sampled_0`, `sampled_1`, …, the lowest first.
    """

    colour: Colour
    quality: Quality
    safe: bool
    few_test_examples: bool
    interval: tuple[float, float] | None
    left_out_average_precision: float | None
    volume_error: float
    calibration_error: float
    false_positives: float
    false_negatives: float
    weighted_false_positives: float | None
    weighted_false_negatives: float | None
    sampled: tuple[float, ...]
    informative_weight: float


class ValidationDetails(Struct, frozen=True):
    """What is known of a model beyond its page, and the settings it was measured with.

    `evaluated` counts the test comments that were measured: complete ones whose text is not also a
    training text. `estimated_mean_average_precision` comes from left-out scores of all reviewed
    comments; it is there when those are few, and never mixed with figures from test comments.
    """

    settings: ValidationSettings
    evaluated: int
    duplicates: int
    calibration_error: float
    estimated_mean_average_precision: float | None
    labels: dict[str, LabelDetails]


class ValidationResult(Struct, frozen=True):
    """All that is stored of a validation. Each of `plan`'s entries is one action or a choice."""

    summary: ValidationSummary
    labels: dict[str, LabelMetrics]
    statistics: ModelStatistics
    thresholds: dict[str, OptimalThresholds | None]
    plan: tuple[tuple[PlannedAction, ...], ...]
    details: ValidationDetails


def plan_on_wire(
    plan: Sequence[Sequence[PlannedAction]],
) -> list[TrainingAction | list[TrainingAction]]:
    """Return a plan as clients read it: each entry one action, or a list of some to choose from."""
    return [entry[0].action if len(entry) == 1 else [one.action for one in entry] for entry in plan]


def completeness(
    comment_uids: Sequence[str], seen: Collection[str], *, just_seen: Collection[str] = ()
) -> Completeness:
    """Tell how far an action is: it is complete when each of its comments was seen.

    `seen` holds what was seen before, `just_seen` what this call adds.
    """
    if not comment_uids:
        return "uncompletable"
    missing = set(comment_uids).difference(seen)
    if not missing:
        return "already-complete"
    return "newly-completed" if missing.issubset(just_seen) else "incomplete"
