"""The rating of a model and its four factors."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score

from lodestream.domain.validation import FactorKind, RatingFactor
from lodestream.domain.validation_settings import ValidationSettings
from lodestream.ml.balance import (
    Origins,
    area_under_curve,
    balance_score,
    bias_model_score,
    fit_bias,
    fit_logistic,
    lexical_vectors,
    origins_of,
    sample_weights,
)
from lodestream.ml.health import assess
from lodestream.ml.rating import (
    Reach,
    balance_factor,
    coverage_factor,
    informative_weights,
    label_factors,
    leaf_most,
    quality_of,
    rate,
    reach_of,
    rounded,
)
from tests.ml.validations import make_evidence, make_vectors

SETTINGS = ValidationSettings()
FAIR = Origins(shuffle=0.5, rebalance=0.0, search=0.0, unknown=0.0)


def factor(kind: FactorKind, score: float) -> RatingFactor:
    return RatingFactor(kind, quality_of(score), score, (), (), ())


def values(found: RatingFactor) -> dict[str, float]:
    return {one.kind: one.value for one in found.contributors}


def test_the_rating_of_the_worked_example() -> None:
    assessments = assess(make_evidence(), SETTINGS)
    factors = [
        factor("overall_label_health", 82),
        factor("lowest_label_health", 60),
        factor("coverage", 76),
        factor("biased", 76.75),
    ]

    found = rate(factors, assessments, SETTINGS, measured=True)

    assert found.score == pytest.approx(75.0875, abs=1e-6)
    assert (rounded(found.score), found.quality) == (75, "good")
    assert found.needs_refinement
    assert found.bins == (50, 70, 90)


def test_a_rating_needs_no_refinement_if_all_is_good() -> None:
    kinds: tuple[FactorKind, ...] = (
        "overall_label_health",
        "lowest_label_health",
        "coverage",
        "biased",
    )
    well, ill = make_evidence(), make_evidence(train=np.array([40, 40, 19]))
    good = [factor(kind, 69.5) for kind in kinds]

    assert not rate(good, assess(well, SETTINGS), SETTINGS, measured=True).needs_refinement
    assert rate(good, assess(ill, SETTINGS), SETTINGS, measured=True).needs_refinement


def test_without_safe_labels_a_rating_has_no_quality() -> None:
    found = rate([factor("coverage", 100)], [], SETTINGS, measured=False)

    assert found.quality == "none"


@pytest.mark.parametrize(
    ("score", "shown", "word"),
    [
        (0, 0, "poor"),
        (10.5, 11, "poor"),
        (49.49, 49, "poor"),
        (49.5, 50, "average"),
        (69.5, 70, "good"),
        (89.49, 89, "good"),
        (89.5, 90, "excellent"),
        (100, 100, "excellent"),
    ],
)
def test_number_and_word_agree(score: float, shown: int, word: str) -> None:
    assert (rounded(score), quality_of(score)) == (shown, word)


# Balance


def test_the_balance_of_the_worked_example() -> None:
    model_score = bias_model_score(0.6)
    origins = Origins(shuffle=0.15, rebalance=0.02, search=0.2, unknown=0.0)

    assert model_score == pytest.approx(0.8, abs=1e-6)
    assert balance_score(model_score, origins, SETTINGS) == pytest.approx(76.75, abs=1e-6)


def test_without_known_origins_only_the_bias_model_counts() -> None:
    unknown = Origins(shuffle=0.0, rebalance=0.0, search=0.49, unknown=0.51)

    assert balance_score(0.8, unknown, SETTINGS) == pytest.approx(80)


def test_searched_comments_count_against_balance_whatever_was_searched() -> None:
    found = origins_of(
        ["shuffle", "rebalance", "text_search", "attachment_text_search", None, "teach", None, None]
    )

    assert found == Origins(shuffle=0.125, rebalance=0.125, search=0.25, unknown=0.375)
    assert balance_score(1.0, found, SETTINGS) < balance_score(1.0, FAIR, SETTINGS)


def test_no_origins_are_no_shares() -> None:
    assert origins_of([]) == Origins(0.0, 0.0, 0.0, 0.0)


def test_a_model_better_than_chance_the_wrong_way_round_is_no_better() -> None:
    assert bias_model_score(0.3) == 1
    assert bias_model_score(1.0) == 0


def test_balance_asks_for_what_is_missing() -> None:
    few = Origins(shuffle=0.1, rebalance=0.5, search=0.0, unknown=0.0)

    assert balance_factor(0.84, few, [], SETTINGS).dataset_actions == ("shuffle", "bias")
    assert balance_factor(0.85, FAIR, [], SETTINGS).dataset_actions == ()
    none = balance_factor(None, FAIR, [], SETTINGS)
    assert (none.quality, none.score) == ("none", 0)


def test_the_bias_model_agrees_with_scikit_learn() -> None:
    random = np.random.default_rng(3)
    rows, positive = make_vectors(600, 24, random), np.arange(600) % 3 == 0
    rows[positive, 0] += 0.2

    found = fit_logistic(rows, positive, c=1.0)

    theirs = LogisticRegression(C=1.0, class_weight="balanced", tol=1e-8, max_iter=1000)
    theirs.fit(rows.astype(np.float64), positive)
    assert found[:-1] == pytest.approx(theirs.coef_[0], abs=5e-3)
    assert found[-1] == pytest.approx(theirs.intercept_[0], abs=5e-3)
    margin = rows @ found[:-1]
    assert area_under_curve(positive, margin) == pytest.approx(roc_auc_score(positive, margin))


def test_ties_count_a_half_for_the_area_under_the_curve() -> None:
    positive = np.array([True, False, True, False])

    assert area_under_curve(positive, np.zeros(4)) == 0.5
    assert area_under_curve(positive, np.array([1.0, 1.0, 2.0, 0.0])) == 0.875


def test_comments_of_one_kind_cannot_be_told_apart() -> None:
    random = np.random.default_rng(0)

    found = fit_bias(make_vectors(800, 16, random), make_vectors(900, 16, random), SETTINGS)

    assert found.auc == pytest.approx(0.5, abs=0.05)


def test_comments_about_other_things_are_told_apart() -> None:
    random = np.random.default_rng(0)
    reviewed, unreviewed = make_vectors(300, 16, random), make_vectors(700, 16, random)
    unreviewed[:350, 0] = 2.0

    found = fit_bias(reviewed, unreviewed, SETTINGS)

    assert found.auc > 0.7
    assert found.unreviewed[:350].min() > found.unreviewed[350:].max()
    assert found.reviewed.shape == (300,)
    assert np.all((found.reviewed > 0) & (found.reviewed < 1))


def test_the_bias_model_looks_at_so_many_comments_and_scores_all() -> None:
    random = np.random.default_rng(0)
    settings = ValidationSettings(bias_max=50)

    found = fit_bias(make_vectors(120, 8, random), make_vectors(90, 8, random), settings)

    assert (found.reviewed.shape, found.unreviewed.shape) == ((120,), (90,))


def test_scores_of_the_bias_model_come_from_models_that_have_not_seen_the_comment() -> None:
    # As many dimensions as comments: a model separates what it was fitted to perfectly, whatever
    # it is; of what it has not seen it knows nothing.
    random = np.random.default_rng(0)
    reviewed, unreviewed = make_vectors(100, 400, random), make_vectors(100, 400, random)
    together, is_new = np.concatenate([reviewed, unreviewed]), np.arange(200) >= 100
    seen = fit_logistic(together, is_new, c=1.0)
    assert area_under_curve(is_new, together @ seen[:-1]) > 0.99

    found = fit_bias(reviewed, unreviewed, SETTINGS)

    assert found.auc == pytest.approx(0.5, abs=0.12)
    scores = np.concatenate([found.reviewed, found.unreviewed])
    assert area_under_curve(is_new, scores) == pytest.approx(found.auc, abs=1e-6)


def test_a_bias_model_of_a_handful_of_comments_is_refused() -> None:
    vectors = make_vectors(9, 4, np.random.default_rng(0))

    with pytest.raises(ValueError, match="too few"):
        fit_bias(vectors[:4], vectors[4:], SETTINGS)


def test_texts_without_an_encoder_have_vectors_too() -> None:
    found = lexical_vectors(["late parcel", "Parcel, LATE!", "price", "", "🙂"])

    assert found.dtype == np.float32
    assert found[0] == pytest.approx(found[1])
    assert found[0] @ found[2] < 0.5
    assert np.linalg.norm(found, axis=1) == pytest.approx([1, 1, 1, 0, 0])


def test_weights_of_comments_have_mean_1_and_bounds() -> None:
    found = sample_weights(np.array([0.0, 0.5, 1.0]), SETTINGS)

    assert found.mean() == pytest.approx(1)
    assert found / found[1] == pytest.approx([0.1, 1, 10])


# Coverage


def test_a_label_that_never_stands_alone_says_nothing() -> None:
    labels = ["A", "A > B", "Urgent"]
    # A > B alone (with its parent), A > B with Urgent, Urgent never alone, A never leaf-most.
    assigned = np.array([[1, 1, 0], [1, 1, 1], [0, 0, 0]], np.bool_)

    assert leaf_most(labels, assigned).tolist() == [
        [False, True, False],
        [False, True, True],
        [False, False, False],
    ]
    assert informative_weights(labels, assigned, SETTINGS).tolist() == [0, 1, 0]


def test_a_label_that_rarely_stands_alone_says_a_little() -> None:
    assigned = np.zeros((40, 2), np.bool_)
    assigned[:, 0] = True
    assigned[2:, 1] = True

    found = informative_weights(["A", "B"], assigned, SETTINGS)

    assert found == pytest.approx([0.5, 0])


def test_coverage_is_the_share_of_comments_that_a_label_tells_about() -> None:
    probability = np.array([[0.9, 0.1], [0.4, 0.6], [0.2, 0.1], [0.1, 0.2]], np.float32)
    uninformative = np.array([0.0, 0.0, 0.5, 0.49])

    found = reach_of(
        ["A", "A > B"],
        probability,
        uninformative,
        weights=np.array([0.5, 1.0]),
        thresholds=np.array([0.5, 0.6]),
    )

    # float32 0.6 lies just above 0.6. Covered: a half, one, one as uninformative, nothing.
    assert found.coverage == pytest.approx(2.5 / 4)
    assert found.label_only == pytest.approx(1.5 / 4)
    assert found.any_label == pytest.approx(1.9 / 4)
    assert found.labels == pytest.approx(1.0 / 4)
    assert found.uninformative == pytest.approx(0.99 / 4)


@pytest.mark.parametrize("shape", [(0, 2), (0, 0)])
def test_no_comments_are_covered_by_nothing(shape: tuple[int, int]) -> None:
    empty = np.zeros(shape, np.float32)
    found = reach_of(["A", "B"][: shape[1]], empty, None, np.ones(shape[1]), np.ones(shape[1]))

    assert found == Reach(0.0, 0.0, 0.0, 0.0, 0.0)


def test_without_labels_nothing_is_covered() -> None:
    found = reach_of([], np.zeros((3, 0), np.float32), None, np.zeros(0), np.zeros(0))

    assert found == Reach(0.0, 0.0, 0.0, 0.0, 0.0)


def coverage(reach: float, **changes: Any) -> RatingFactor:
    evidence = make_evidence(volume=np.array([1.0, 9.0, 5.0]), recall=np.array([0.1, 0.2, 0.9]))
    options: dict[str, Any] = {"themes_share": 0.0, "measured": True}
    return coverage_factor(
        Reach(reach, reach, reach, 1.5, 0.0),
        evidence,
        assess(evidence, SETTINGS),
        SETTINGS,
        **(options | changes),
    )


def test_coverage_asks_for_labels_that_miss_much_the_most_frequent_first() -> None:
    found = coverage(0.8)

    assert (found.score, found.quality) == (80, "good")
    assert [one.label for one in found.label_actions] == ["B", "A"]
    assert found.dataset_actions == ("low_confidence",)
    assert values(found)["expected_num_labels"] == 1.5


def test_coverage_asks_for_themes_while_many_comments_are_in_them() -> None:
    assert coverage(0.95, themes_share=0.2).dataset_actions == ("discover",)
    assert coverage(0.95, themes_share=0.1).dataset_actions == ()


def test_coverage_that_cannot_be_measured_has_no_quality() -> None:
    assert coverage(0.0, measured=False).quality == "none"


# Labels


def test_all_labels_with_a_training_example_count_and_the_lowest_tenth_again() -> None:
    labels = [f"L{number:02}" for number in range(21)]
    precision = np.linspace(0.6, 1.0, 21)
    train = np.full(21, 40)
    train[0] = 0  # The worst one was never trained.
    evidence = make_evidence(labels, precision=precision, train=train)

    overall, lowest = label_factors(evidence, assess(evidence, SETTINGS), SETTINGS)

    assert overall.score == pytest.approx(100 * precision[1:].mean())
    assert lowest.score == pytest.approx(100 * precision[1:3].mean())
    assert {one.label for one in lowest.label_actions} == {"L01", "L02"}
    found = values(lowest)
    assert found["lowest_labels_map"] == pytest.approx(precision[1:3].mean())
    assert (found["lowest_labels_poor_ratio"], found["lowest_labels_average_ratio"]) == (0, 1)


def test_means_of_precision_are_over_safe_labels() -> None:
    safe = make_evidence().thresholds[0]
    evidence = make_evidence(
        train=np.array([20, 60, 10]),
        precision=np.array([0.6, 0.8, 0.1]),
        thresholds=[safe, safe, None],
    )

    overall, _ = label_factors(evidence, assess(evidence, SETTINGS), SETTINGS)

    assert values(overall) == pytest.approx(
        {"mean_ap": 0.7, "weighted_map": 0.75, "num_poor_labels": 1, "num_average_labels": 1}
    )
    assert [one.label for one in overall.label_actions] == ["C", "A"]


@pytest.mark.parametrize("labels", [(), ("A", "B")])
def test_labels_without_examples_have_no_quality(labels: tuple[str, ...]) -> None:
    nothing = np.zeros(len(labels), np.int64)
    unknown = np.full(len(labels), np.nan)
    evidence = make_evidence(
        labels,
        train=nothing,
        reviewed=nothing,
        precision=unknown,
        left_out_precision=unknown,
        thresholds=[None] * len(labels),
    )

    for found in label_factors(evidence, assess(evidence, SETTINGS), SETTINGS):
        assert (found.quality, found.score) == ("none", 0)
        assert all(np.isfinite(one.value) for one in found.contributors)
