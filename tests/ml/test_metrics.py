"""Curves, thresholds and calibration, against known figures, brute force and scikit-learn."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st
from numpy.typing import NDArray
from sklearn.metrics import (
    average_precision_score,
    fbeta_score,
    precision_recall_curve,
)

from lodestream.ml.metrics import (
    Curve,
    average_precision,
    best_threshold,
    bootstrap_interval,
    calibration_errors,
    cooccurrence,
    find_curve,
    interpolated,
    optimal_thresholds,
    sampled_thresholds,
    shares,
    volume_errors,
    wire_curve,
)

Truth = NDArray[np.bool_]
Scores = NDArray[np.float32]

TRUTH = np.array([1, 1, 0, 1, 0, 1, 0, 0, 0, 0], np.bool_)
SCORES = np.array([0.95, 0.90, 0.80, 0.70, 0.70, 0.40, 0.30, 0.30, 0.20, 0.10])

# Few different values, so that there are many ties, and the ends of the range among them.
probabilities = st.sampled_from([0.0, 1e-7, 0.25, 0.5, 0.75, 1.0]) | st.floats(0, 1, width=32)
pairs = st.lists(st.tuples(st.booleans(), probabilities), min_size=1, max_size=60).filter(
    lambda found: any(truth for truth, _ in found)
)


def arrays(rows: list[tuple[bool, float]]) -> tuple[Truth, Scores]:
    return np.array([one for one, _ in rows]), np.array([one for _, one in rows], np.float32)


def curve_of(truth: Truth, scores: Scores | NDArray[np.float64]) -> Curve:
    found = find_curve(truth, scores)
    assert found is not None
    return found


def random_curve(size: int, positives: int, seed: int = 0) -> tuple[Curve, Truth, Scores]:
    random = np.random.default_rng(seed)
    truth = np.zeros(size, np.bool_)
    truth[random.permutation(size)[:positives]] = True
    scores = (1 / (1 + np.exp(-random.normal(truth * 1.5 - 1, 1)))).astype(np.float32)
    return curve_of(truth, scores), truth, scores


def test_the_curve_of_the_worked_example() -> None:
    curve = curve_of(TRUTH, SCORES)

    assert curve.thresholds.tolist() == [0.95, 0.9, 0.8, 0.7, 0.4, 0.3, 0.2, 0.1]
    precisions = [1, 1, 2 / 3, 0.6, 2 / 3, 0.5, 4 / 9, 0.4]
    assert curve.precisions == pytest.approx(precisions, abs=1e-6)
    assert curve.recalls == pytest.approx([0.25, 0.5, 0.5, 0.75, 1, 1, 1, 1], abs=1e-6)
    assert average_precision(curve) == pytest.approx(0.816667, abs=1e-6)
    assert interpolated(curve).mean() == pytest.approx(0.834983, abs=1e-6)
    found = optimal_thresholds(curve)
    assert (found.high_precision, found.balanced, found.high_recall) == (0.9, 0.4, 0.4)


@pytest.mark.parametrize("truth", set(itertools.permutations([True, False, False, True])))
def test_tied_scores_are_one_point_whatever_their_order(truth: tuple[bool, ...]) -> None:
    curve = curve_of(np.array(truth), np.full(4, 0.5, np.float32))

    assert curve.thresholds.tolist() == [0.5]
    assert average_precision(curve) == 0.5


def test_without_an_example_there_is_no_curve() -> None:
    assert find_curve(np.zeros(3, np.bool_), np.ones(3, np.float32)) is None
    assert find_curve(np.zeros(0, np.bool_), np.zeros(0, np.float32)) is None


@given(pairs)
def test_curve_and_average_precision_agree_with_scikit_learn(
    rows: list[tuple[bool, float]],
) -> None:
    truth, scores = arrays(rows)

    curve = curve_of(truth, scores)

    precisions, recalls, thresholds = precision_recall_curve(truth, scores)
    assert curve.thresholds == pytest.approx(thresholds[::-1])
    assert curve.precisions == pytest.approx(precisions[-2::-1])
    assert curve.recalls == pytest.approx(recalls[-2::-1])
    assert average_precision(curve) == pytest.approx(average_precision_score(truth, scores))


@given(pairs, st.sampled_from([0.5, 1.0, 2.0]))
def test_the_best_threshold_is_the_highest_of_those_that_scikit_learn_finds_best(
    rows: list[tuple[bool, float]], beta: float
) -> None:
    truth, scores = arrays(rows)

    found = best_threshold(curve_of(truth, scores), beta)

    each = {
        float(one): fbeta_score(truth, scores >= one, beta=beta, zero_division=0.0)
        for one in np.unique(scores)
    }
    best = max(each.values())
    assert found == max(one for one, score in each.items() if score > best - 1e-9)


@given(pairs)
def test_optimal_thresholds_stand_in_order(rows: list[tuple[bool, float]]) -> None:
    found = optimal_thresholds(curve_of(*arrays(rows)))

    assert found.high_recall <= found.balanced <= found.high_precision


@given(pairs)
def test_interpolated_precision_is_the_best_at_such_a_recall(
    rows: list[tuple[bool, float]],
) -> None:
    curve = curve_of(*arrays(rows))

    found = interpolated(curve)

    for step in range(101):
        reached = curve.hits * 100 >= step * curve.positives
        assert found[step] == curve.precisions[reached].max()


@given(pairs)
def test_sampled_thresholds_are_the_highest_that_reach_their_recalls(
    rows: list[tuple[bool, float]],
) -> None:
    curve = curve_of(*arrays(rows))

    found = sampled_thresholds(curve, (0.1, 0.5, 0.9))

    assert list(found) == sorted(found)
    for threshold, tenths in zip(found, (9, 5, 1), strict=True):
        reached = curve.hits * 10 >= tenths * curve.positives
        assert threshold == curve.thresholds[reached].max()


def assert_clients_can_read(
    thresholds: tuple[float, ...], precisions: tuple[float, ...], recalls: tuple[float, ...]
) -> None:
    assert len(thresholds) == len(precisions) == len(recalls)
    assert all(math.isfinite(one) for one in (*thresholds, *precisions, *recalls))
    assert all(0 <= one <= 1 for one in (*thresholds, *precisions, *recalls))
    assert all(high > low for high, low in itertools.pairwise(thresholds))
    assert all(low <= high for low, high in itertools.pairwise(recalls))
    assert thresholds[-1] == 0
    assert recalls[-1] == 1
    assert 1 in precisions


@given(pairs)
@example([(False, 1.0), (True, 1.0), (True, 0.0)])
@example([(False, 1.0), (True, 0.5)])
def test_on_the_wire_a_curve_keeps_its_points_and_gets_ends(rows: list[tuple[bool, float]]) -> None:
    curve = curve_of(*arrays(rows))

    thresholds, precisions, recalls = wire_curve(curve)

    assert_clients_can_read(thresholds, precisions, recalls)
    for threshold, precision, recall in zip(
        curve.thresholds, curve.precisions, curve.recalls, strict=True
    ):
        # The padding must not hide what was measured at any threshold a user may set.
        if threshold == 1 and precision < 1:
            continue
        place = next(index for index, one in enumerate(thresholds) if one <= threshold)
        assert (precisions[place], recalls[place]) == (precision, recall)


def test_a_measured_point_at_1_makes_way_for_the_end() -> None:
    below = float(np.nextafter(1.0, 0.0))
    curve = curve_of(np.array([False, True, True]), np.array([1.0, 1.0, below]))

    thresholds, precisions, recalls = wire_curve(curve)

    assert thresholds == (1.0, below, 0.0)
    assert precisions == (1.0, 2 / 3, 2 / 3)
    assert recalls == (0.0, 1.0, 1.0)


def test_on_the_wire_a_label_without_test_examples_is_two_points() -> None:
    assert wire_curve(None) == ((1.0, 0.0), (1.0, 0.0), (0.0, 1.0))


def test_a_curve_that_needs_no_ends_gets_none() -> None:
    curve = curve_of(np.array([True, False, True]), np.array([0.9, 0.5, 0.0]))

    assert wire_curve(curve) == ((0.9, 0.5, 0.0), (1.0, 0.5, 2 / 3), (0.5, 0.5, 1.0))


@pytest.mark.parametrize(("size", "positives"), [(500, 2), (5000, 40), (5000, 2500), (201, 200)])
def test_a_long_curve_is_thinned_evenly(size: int, positives: int) -> None:
    curve, _, _ = random_curve(size, positives)
    assert len(curve.thresholds) > 198

    thresholds, precisions, recalls = wire_curve(curve, 200)

    assert 190 <= len(thresholds) <= 200
    assert_clients_can_read(thresholds, precisions, recalls)
    measured = zip(curve.thresholds, curve.precisions, curve.recalls, strict=True)
    shown = zip(thresholds, precisions, recalls, strict=True)
    assert len(set(shown) & set(measured)) >= len(thresholds) - 2
    steps = min(positives, 198)
    assert max(high - low for low, high in itertools.pairwise(recalls)) <= 2 / steps + 1e-9


@given(pairs, st.integers(4, 12))
def test_a_thinned_curve_is_never_too_long(rows: list[tuple[bool, float]], most: int) -> None:
    curve = curve_of(*arrays(rows))

    thresholds, precisions, recalls = wire_curve(curve, most)

    assert len(thresholds) <= most
    assert_clients_can_read(thresholds, precisions, recalls)


@pytest.mark.slow
def test_the_interval_is_that_of_drawing_comments() -> None:
    curve, truth, scores = random_curve(120, 15)
    random = np.random.default_rng(1)
    drawn = []
    for _ in range(3000):
        rows = random.integers(0, len(truth), len(truth))
        drawn.append(average_precision_score(truth[rows], scores[rows]))

    low, high = bootstrap_interval(curve, len(truth), samples=3000)

    wanted = np.quantile(drawn, [0.025, 0.975])
    assert (low, high) == pytest.approx(wanted, abs=0.03)
    assert low < average_precision(curve) < high


@pytest.mark.parametrize("size", [1, 50])
def test_the_interval_of_a_single_example_is_finite(size: int) -> None:
    truth = np.arange(size) == 0
    curve = curve_of(truth, np.linspace(0.9, 0.1, size, dtype=np.float32))

    low, high = bootstrap_interval(curve, size)

    assert 0 <= low <= high <= 1


def test_the_error_of_calibration_is_a_mean_over_bins() -> None:
    # Two bins: 0.1 twice with one example, 0.9 once without any; in all (0.8 + 0.9) / 3.
    probability = np.array([[0.1], [0.1], [0.9]], np.float32)
    truth = np.array([[True], [False], [False]])
    known = np.ones_like(truth)

    each, together = calibration_errors(truth, known, probability)

    assert each == pytest.approx([1.7 / 3], abs=1e-6)
    assert together == pytest.approx(1.7 / 3, abs=1e-6)
    assert volume_errors(truth, known, probability) == pytest.approx([0.1], abs=1e-6)


def test_pairs_of_which_nothing_is_known_do_not_count() -> None:
    probability = np.array([[1.0, 0.3], [0.5, 0.4]], np.float32)
    truth = np.array([[True, False], [False, False]])
    known = np.array([[True, False], [False, False]])

    each, together = calibration_errors(truth, known, probability)

    assert each.tolist() == [0, 0]
    assert together == 0
    assert volume_errors(truth, known, probability).tolist() == [0, 0]


@given(st.data())
def test_cooccurrence_is_a_share_of_the_rows_comments(data: st.DataObject) -> None:
    columns = data.draw(st.integers(1, 5))
    rows = data.draw(st.lists(st.lists(st.booleans(), min_size=columns, max_size=columns)))
    assume(rows)
    assigned = np.array(rows, np.bool_)

    found = cooccurrence(assigned).toarray()

    for one, two in itertools.product(range(columns), repeat=2):
        having = assigned[assigned[:, one]]
        wanted = having[:, two].mean() if len(having) else 0
        assert found[one, two] == pytest.approx(wanted)


def test_shares_come_with_their_counts() -> None:
    these = np.array([[1, 0], [1, 0], [1, 0], [0, 0]], np.bool_)
    those = np.array([[0, 1], [0, 1], [0, 0], [1, 1]], np.bool_)

    rates, counts = shares(these, those)

    assert rates.toarray() == pytest.approx(np.array([[0, 2 / 3], [0, 0]]))
    assert counts.toarray().tolist() == [[0, 2], [0, 0]]
