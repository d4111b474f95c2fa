"""The rulers of the accuracy benchmark are right, and its data are what it says."""

import numpy as np
import pytest

accuracy = pytest.importorskip("bench.accuracy")


def test_probabilities_that_are_frequencies_have_no_calibration_error():
    found = np.array([[0.5], [0.5], [0.25], [0.25], [0.25], [0.25]])
    truth = np.array([[1], [0], [1], [0], [0], [0]], np.bool_)
    assert accuracy.calibration_error(found, truth) == pytest.approx(0)


def test_calibration_error_is_the_mean_distance_over_bins():
    # Two bins: 0.9 against 0.5 (2 pairs), 0.2 against 0 (1 pair); 0.05 is not counted.
    found = np.array([[0.9], [0.9], [0.2], [0.05]])
    truth = np.array([[1], [0], [0], [1]], np.bool_)
    assert accuracy.calibration_error(found, truth) == pytest.approx((2 * 0.4 + 0.2) / 3)


def test_single_labels_are_judged_by_the_most_probable_one():
    found = np.array([[0.2, 0.3], [0.4, 0.1], [0.3, 0.6]])
    truth = np.array([[0, 1], [1, 0], [1, 0]], np.bool_)
    assert accuracy.judge(found, truth, single=True)[1] == pytest.approx(2 / 3)
    assert accuracy.judge(found, truth, single=False)[1] == 0


def test_a_few_shot_set_has_enough_of_each_label_and_no_text_too_many():
    truth = np.random.default_rng(0).random((400, 8)) < np.linspace(0.01, 0.5, 8)
    kept = accuracy.few_shot(truth, 5, seed=1)
    assert len(set(kept)) == len(kept)
    have = truth[kept].sum(axis=0)
    np.testing.assert_array_equal(np.minimum(have, 5), np.minimum(truth.sum(axis=0), 5))
    for at in range(len(kept)):
        assert (truth[kept[at]] & (truth[kept[:at]].sum(axis=0) < 5)).any()


@pytest.mark.parametrize(
    ("name", "train", "test", "labels"), [("clinc", 6100, 1500, 150), ("hotels", 709, 300, 40)]
)
def test_the_data_are_whole(name, train, test, labels):
    data = accuracy.load(name, None)
    assert (len(data.train.texts), len(data.test.texts), len(data.labels)) == (train, test, labels)
    assert data.single == (name == "clinc")
