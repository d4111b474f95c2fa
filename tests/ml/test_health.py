"""The health of labels: scores, colours, warnings and what to do."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from lodestream.domain.validation_settings import ValidationSettings
from lodestream.ml.health import Assessment, ancestry, assess, colour_of, health_score
from tests.ml.validations import make_evidence, matrix

SETTINGS = ValidationSettings()
BETTER = ["correct_label", "missing_label", "teach_unreviewed"]


def health_of(**changes: Any) -> Assessment:
    """The health of one label about which everything is well, apart from the changes."""
    as_arrays = {name: np.array([value]) for name, value in changes.items()}
    return assess(make_evidence(["A"], **as_arrays), SETTINGS)[0]


def warnings(found: Assessment) -> list[str]:
    return [one.kind for one in found.warnings]


def actions(found: Assessment) -> list[str]:
    return [one.kind for one in found.actions]


def test_a_label_that_is_well_has_nothing_to_do() -> None:
    found = health_of()

    assert (found.colour, found.quality, found.score) == ("blue", "excellent", 0.95)
    assert (found.warnings, found.actions, found.need_pinned) == ((), (), 0)


@pytest.mark.parametrize(
    ("precision", "examples", "searched", "wanted"),
    [
        (0.8, 40, 0.0, 0.8),
        (0.8, 10, 0.5, 0.4),
        (0.8, 20, 1.0, 0.64),
        (0.8, 20, 0.75, 0.72),
        (0.8, 0, 0.0, 0.0),
    ],
)
def test_health_is_precision_less_what_makes_it_doubtful(
    precision: float, examples: int, searched: float, wanted: float
) -> None:
    assert health_score(precision, examples, searched, SETTINGS) == pytest.approx(wanted)


@pytest.mark.parametrize(
    ("precision", "examples", "wanted"),
    [
        (0.95, 19, ("red", "poor")),
        (0.49, 100, ("red", "poor")),
        (0.50, 20, ("amber", "average")),
        (0.69, 20, ("amber", "average")),
        (0.70, 20, ("blue", "good")),
        (0.90, 20, ("blue", "excellent")),
    ],
)
def test_colour_and_word_go_by_examples_and_precision(
    precision: float, examples: int, wanted: tuple[str, str]
) -> None:
    assert colour_of(precision, examples, SETTINGS) == wanted


@pytest.mark.parametrize(
    ("reviewed", "likely", "confident", "warning", "action"),
    [
        (9, 9, 0, "very_low_reviewed_comments", "search_for_examples"),
        (9, 10, 0, "very_low_reviewed_comments", "teach_unreviewed"),
        (10, 99, 10, "low_reviewed_comments", "confirm_top_predicted"),
        (24, 99, 9, "low_reviewed_comments", "teach_unreviewed"),
    ],
)
def test_a_label_with_few_examples_asks_for_more(
    reviewed: int, likely: int, confident: int, warning: str, action: str
) -> None:
    found = health_of(reviewed=reviewed, likely=likely, confident=confident)

    assert (warnings(found), actions(found)) == ([warning], [action])
    assert found.need_pinned == 25 - reviewed
    assert found.on_wire(SETTINGS).need_pinned_increment == min(10, 25 - reviewed)


@pytest.mark.parametrize(
    ("precision", "warning"),
    [(0.49, "very_low_average_precision"), (0.69, "low_average_precision")],
)
def test_a_label_that_is_often_wrong_is_to_be_corrected(precision: float, warning: str) -> None:
    found = health_of(precision=precision)

    assert (warnings(found), actions(found)) == ([warning], BETTER)
    assert found.need_pinned == 10
    assert {action.warning.kind for action in found.label_actions() if action.warning} == {warning}


def test_without_test_examples_left_out_scores_count() -> None:
    found = health_of(precision=np.nan, left_out_precision=0.6)

    assert (found.score, found.colour) == (0.6, "amber")
    assert warnings(found) == ["low_average_precision"]


def test_a_label_that_was_never_measured_is_not_called_bad_at_it() -> None:
    found = health_of(precision=np.nan, left_out_precision=np.nan, train=0, reviewed=0)

    assert (found.score, found.colour) == (0, "red")
    assert warnings(found) == ["very_low_reviewed_comments"]


@pytest.mark.parametrize(
    ("reviewed", "searched", "warned"), [(30, 0.51, True), (30, 0.5, False), (9, 0.9, False)]
)
def test_a_label_that_was_mostly_found_by_searching_is_biased(
    reviewed: int, searched: float, warned: bool
) -> None:
    found = health_of(reviewed=reviewed, searched=searched)

    assert ("biased" in warnings(found)) is warned


def test_a_safe_label_that_misses_half_has_poor_coverage() -> None:
    found = health_of(recall=0.49)

    assert warnings(found) == ["poor_coverage"]
    assert actions(found) == ["missing_label", "teach_unreviewed"]
    assert health_of(recall=0.5).warnings == ()
    unsafe = assess(make_evidence(["A"], recall=np.array([0.1]), thresholds=[None]), SETTINGS)
    assert unsafe[0].warnings == ()


@pytest.mark.parametrize(
    ("doubted", "expected", "wanted"),
    [
        (5, 0, ["correct_label"]),
        (4, 3, []),
        (0, 4, ["missing_label"]),
        (9, 9, ["correct_label", "missing_label"]),
    ],
)
def test_inconsistent_reviews_are_to_be_looked_at_first(
    doubted: int, expected: int, wanted: list[str]
) -> None:
    # 50 reviewed examples, 40 of them for training: 5 and 4 are a tenth.
    found = health_of(doubted=doubted, expected=expected)

    assert (found.warnings, actions(found)) == ((), wanted)
    assert [action.warning for action in found.label_actions() if action.warning] == []


def test_an_inconsistent_label_keeps_its_other_actions() -> None:
    found = health_of(expected=20, precision=0.6)

    assert actions(found) == ["missing_label", "correct_label", "teach_unreviewed"]
    assert all(action.warning for action in found.label_actions())


def test_few_examples_cannot_contradict_each_other() -> None:
    found = health_of(reviewed=24, train=20, doubted=24, expected=24, confident=0)

    assert actions(found) == ["teach_unreviewed"]


def confused(
    labels: list[str], share: float, count: float, **changes: Any
) -> tuple[list[str], list[tuple[str, object]]]:
    evidence = make_evidence(
        labels,
        confusion=matrix(len(labels), {(0, 1): share}),
        confused=matrix(len(labels), {(0, 1): count}),
        **changes,
    )
    found = assess(evidence, SETTINGS)
    assert found[1].warnings == ()
    return warnings(found[0]), [(one.kind, one.label) for one in found[0].actions]


def test_labels_that_are_taken_for_each_other_are_to_be_told_apart() -> None:
    assert confused(["A", "B"], 0.3, 3) == (["confused"], [("deconfuse", "B")])


@pytest.mark.parametrize(("share", "count"), [(0.29, 10), (1.0, 2)])
def test_a_few_mistakes_are_no_confusion(share: float, count: float) -> None:
    assert confused(["A", "B"], share, count) == ([], [])


@pytest.mark.parametrize("labels", [["A", "A > B"], ["A > B", "A"], ["A", "A > B > C"]])
def test_a_label_is_not_confused_with_those_above_and_below(labels: list[str]) -> None:
    assert confused(labels, 1.0, 10) == ([], [])


def test_only_safe_labels_are_called_confused() -> None:
    thresholds = [make_evidence().thresholds[0], None]

    assert confused(["A", "B"], 1.0, 10, thresholds=thresholds) == ([], [])


@pytest.mark.parametrize(("back", "wanted"), [(0.8, "merge"), (0.79, "deconfuse")])
def test_labels_that_come_together_both_ways_are_to_be_merged(back: float, wanted: str) -> None:
    together = matrix(2, {(0, 1): 0.9, (1, 0): back})

    assert confused(["A", "B"], 0.5, 5, cooccurrence=together)[1] == [(wanted, "B")]


def test_the_worst_confusions_come_first_and_not_too_many() -> None:
    labels = ["A", "B", "C", "D", "E"]
    shares = {(0, 1): 0.4, (0, 2): 0.9, (0, 3): 0.5, (0, 4): 0.45}
    evidence = make_evidence(
        labels,
        confusion=matrix(5, shares),
        confused=matrix(5, dict.fromkeys(shares, 9.0)),
    )

    found = assess(evidence, SETTINGS)[0]

    assert [one.label for one in found.warnings] == ["C", "D", "E"]


def test_the_hierarchy_follows_from_names() -> None:
    found = ancestry(["A", "A > B", "A > B > C", "AB", "X > Y"]).toarray()

    assert [tuple(pair) for pair in np.argwhere(found).tolist()] == [(1, 0), (2, 0), (2, 1)]
