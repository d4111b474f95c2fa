"""What is stored of a validation, in the shapes in which clients read it."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from msgspec import Struct

from lodestream.domain.validation import (
    Completeness,
    Contributor,
    Cooccurrence,
    CustomTrainingAction,
    DatasetTrainingAction,
    FieldsStats,
    FieldStats,
    LabelAction,
    LabelCooccurrence,
    LabelHealth,
    LabelHealthAction,
    LabelMetrics,
    LabelSummary,
    LabelTrainingAction,
    LabelWarning,
    ModelRating,
    ModelStatistics,
    NamedField,
    NamedLabel,
    OptimalThresholds,
    PlannedAction,
    RatingFactor,
    SmartHealth,
    TrainingAction,
    ValidationSummary,
    completeness,
    plan_on_wire,
)

THRESHOLDS = OptimalThresholds(high_precision=0.8, balanced=0.5, high_recall=0.2)
WARNING = LabelWarning("low_average_precision")
CONFUSED = LabelWarning("confused", "Claim")
ACTION = LabelHealthAction("teach_unreviewed")
MERGE = LabelHealthAction("merge", "Claim")
HEALTH = LabelHealth(SmartHealth(0.6, (WARNING, CONFUSED), (ACTION, MERGE)), 10.0, 10.0)


def wire(value: Any) -> Any:
    return msgspec.json.decode(msgspec.json.encode(value))


def test_health_names_the_other_label_of_a_pair_only() -> None:
    assert wire(HEALTH) == {
        "need_pinned": 10.0,
        "need_pinned_increment": 10.0,
        "smart": {
            "score": 0.6,
            "warnings": [
                {"kind": "low_average_precision"},
                {"kind": "confused", "label": "Claim"},
            ],
            "actions": [{"kind": "teach_unreviewed"}, {"kind": "merge", "label": "Claim"}],
        },
    }
    assert wire(LabelHealth(None)) == {"smart": None}


def test_the_summary_has_the_keys_that_clients_read() -> None:
    factor = RatingFactor(
        "coverage",
        "good",
        71.0,
        ("low_confidence",),
        (LabelAction("Claim > Status", ACTION, WARNING), LabelAction("Claim", MERGE)),
        (Contributor("coverage", 0.71),),
    )
    summary = ValidationSummary(
        fingerprint="c0ffee",
        model_kind="default",
        version=8,
        training_time=41.5,
        input_updated_at="2024-02-01T11:59:00.000000Z",
        trained_time="2024-02-01T12:00:00.000000Z",
        entities=FieldsStats(),
        train_size=400,
        test_size=100,
        reviewed_size=500,
        min_comments_threshold=20,
        mean_average_precision_safe=None,
        recalls=(0.0, 1.0),
        mean_precision_curve_safe=(1.0, 0.4),
        labels={
            "Claim > Status": LabelSummary(
                45, 12, 57, 0.84, THRESHOLDS, HEALTH, LabelCooccurrence((0.5,), (1,))
            ),
            "Claim": LabelSummary(0, 0, 0, None, None, LabelHealth(None)),
        },
        model_rating=ModelRating(71.0, "good", False, (factor,), (50, 70, 90)),
        has_uninformative=False,
        cooccurrence=Cooccurrence((1.0,), (0,)),
    )

    found = wire(summary)

    assert found == {
        "fingerprint": "c0ffee",
        "model_kind": "default",
        "version": 8,
        "training_time": 41.5,
        "input_updated_at": "2024-02-01T11:59:00.000000Z",
        "trained_time": "2024-02-01T12:00:00.000000Z",
        "entities": {
            "num_train_entities": 0,
            "num_test_entities": 0,
            "num_reviewed_entities": 0,
            "num_train_documents": 0,
            "num_test_documents": 0,
            "num_reviewed_documents": 0,
            "error_count": 0,
            "entities_by_def_id": {},
        },
        "train_size": 400,
        "test_size": 100,
        "reviewed_size": 500,
        "min_comments_threshold": 20,
        "mean_average_precision_safe": None,
        "recalls": [0.0, 1.0],
        "mean_precision_curve_safe": [1.0, 0.4],
        "labels": {
            "Claim > Status": {
                "train_size": 45,
                "test_size": 12,
                "reviewed_size": 57,
                "average_precision": 0.84,
                "optimal_thresholds": {"high_precision": 0.8, "balanced": 0.5, "high_recall": 0.2},
                "health": wire(HEALTH),
                "cooccurrence": {"rates": [0.5], "label_indices": [1]},
            },
            "Claim": {
                "train_size": 0,
                "test_size": 0,
                "reviewed_size": 0,
                "average_precision": None,
                "optimal_thresholds": None,
                "health": {"smart": None},
            },
        },
        "model_rating": {
            "score": 71.0,
            "quality": "good",
            "needs_refinement": False,
            "factors": [
                {
                    "kind": "coverage",
                    "quality": "good",
                    "score": 71.0,
                    "dataset_actions": ["low_confidence"],
                    "label_actions": [
                        {
                            "label": "Claim > Status",
                            "action": {"kind": "teach_unreviewed"},
                            "warning": {"kind": "low_average_precision"},
                        },
                        {"label": "Claim", "action": {"kind": "merge", "label": "Claim"}},
                    ],
                    "contributors": [{"kind": "coverage", "value": 0.71}],
                }
            ],
            "bins": [50, 70, 90],
        },
        "has_uninformative": False,
        "cooccurrence": {"row_major_matrix": [1.0], "label_indices": [0]},
    }


def test_a_label_has_the_keys_that_clients_read() -> None:
    metrics = LabelMetrics(
        average_precision=None,
        train_size=1,
        test_size=0,
        reviewed_size=1,
        recalls=(0.0, 1.0),
        test_error_count=2.0,
        test_expected_count=0.0,
        precisions=(1.0, 0.0),
        thresholds=(1.0, 0.0),
        optimal_thresholds=None,
        health=LabelHealth(None),
    )

    assert wire(metrics) == {
        "average_precision": None,
        "train_size": 1,
        "test_size": 0,
        "reviewed_size": 1,
        "recalls": [0.0, 1.0],
        "test_error_count": 2.0,
        "test_expected_count": 0.0,
        "precisions": [1.0, 0.0],
        "thresholds": [1.0, 0.0],
        "optimal_thresholds": None,
        "health": {"smart": None},
    }


def test_statistics_have_all_their_keys_whatever_is_known() -> None:
    statistics = ModelStatistics(
        version=2,
        labels=(NamedLabel("A > B", ("A", "B")),),
        entities=(NamedField("date", "Date"),),
        num_reviewed_comments=0,
        num_labels=1,
        num_amber_labels=0,
        num_red_labels=1,
        mean_average_precision_safe=None,
        dataset_quality="none",
        dataset_score=0,
        balance=None,
        balance_quality=None,
        coverage=None,
        coverage_quality=None,
        underperforming_labels_quality=None,
        all_labels_quality=None,
    )

    found = wire(statistics)

    assert found["labels"] == [{"name": "A > B", "parts": ["A", "B"]}]
    assert found["entities"] == [{"name": "date", "title": "Date"}]
    assert len(found) == 16
    assert found["balance"] is None


def test_a_field_that_was_not_measured_has_no_figures() -> None:
    found = wire(FieldsStats(entities_by_def_id={"0123456789abcdef": FieldStats()}))

    one = found["entities_by_def_id"]["0123456789abcdef"]
    assert one["health"] == {"smart": None}
    assert "precision" not in one
    assert wire(FieldStats(precision=0.5))["precision"] == 0.5


DATASET = DatasetTrainingAction("1", "biased", "poor", "shuffle")
LABEL = LabelTrainingAction(
    "2", "merge", "coverage", "poor", LabelAction("A", MERGE), search_term="lost"
)
CUSTOM = CustomTrainingAction("3", "insufficient-labels")


def test_training_actions_say_what_kind_they_are() -> None:
    assert wire([DATASET, LABEL, CUSTOM]) == [
        {
            "kind": "dataset",
            "id": "1",
            "factor_kind": "biased",
            "quality": "poor",
            "plan": "shuffle",
        },
        {
            "kind": "label",
            "id": "2",
            "sub_kind": "merge",
            "factor_kind": "coverage",
            "quality": "poor",
            "plan": {"label": "A", "action": {"kind": "merge", "label": "Claim"}},
            "search_term": "lost",
        },
        {"kind": "custom", "id": "3", "plan": "insufficient-labels"},
    ]


@pytest.mark.parametrize("action", [DATASET, LABEL, CUSTOM])
def test_training_actions_are_read_back_as_they_were(action: Struct) -> None:
    assert msgspec.json.decode(msgspec.json.encode(action), type=TrainingAction) == action


def test_a_plan_has_one_action_or_a_choice_in_each_place() -> None:
    plan = [(PlannedAction(DATASET),), (PlannedAction(LABEL), PlannedAction(CUSTOM))]

    assert plan_on_wire(plan) == [DATASET, [LABEL, CUSTOM]]


@pytest.mark.parametrize(
    ("uids", "seen", "just_seen", "wanted"),
    [
        ([], [], [], "uncompletable"),
        (["a", "b"], [], [], "incomplete"),
        (["a", "b"], ["a"], ["c"], "incomplete"),
        (["a", "b"], ["a"], ["b"], "newly-completed"),
        (["a", "b"], ["a", "b", "c"], [], "already-complete"),
        (["a", "b"], ["a", "b"], ["b"], "already-complete"),
    ],
)
def test_an_action_is_complete_when_all_its_comments_were_seen(
    uids: list[str], seen: list[str], just_seen: list[str], wanted: Completeness
) -> None:
    assert completeness(uids, seen, just_seen=just_seen) == wanted
