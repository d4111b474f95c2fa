import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression

from lodestream.ml import calibration, combine, zero_shot
from lodestream.ml.hierarchy import raise_parents


def scores_of(rows, labels, seed=0):
    rng = np.random.default_rng(seed)
    score = rng.normal(0.2, 0.3, (rows, labels))
    truth = (rng.random(score.shape) < 1 / (1 + np.exp(-(8 * score - 3)))).astype(np.float64)
    return score, truth, np.ones_like(score)


def test_the_common_sigmoid_is_that_of_logistic_regression():
    score, truth, weight = scores_of(400, 5)
    slope, intercept, loss = calibration.pooled_sigmoid(score, truth, weight)
    reference = LogisticRegression(C=1e6, tol=1e-8).fit(score.reshape(-1, 1), truth.ravel())
    assert slope == pytest.approx(reference.coef_[0, 0], rel=0.01)
    assert intercept == pytest.approx(reference.intercept_[0], rel=0.01)
    p = reference.predict_proba(score.reshape(-1, 1))[:, 1]
    expected = -np.mean(np.log(np.where(truth.ravel() > 0, p, 1 - p)))
    assert loss == pytest.approx(expected, rel=1e-4)


def test_with_many_examples_a_label_gets_its_own_sigmoid():
    score, truth, weight = scores_of(20_000, 2)
    truth[:, 1] = score[:, 1] * 3 + 0.5 > np.random.default_rng(1).logistic(size=len(score))
    fitted = calibration.fit_platt(score, truth, weight, strength=10)
    for label in range(2):
        reference = LogisticRegression(C=1e6).fit(score[:, [label]], truth[:, label])
        assert fitted.slope[label] == pytest.approx(reference.coef_[0, 0], rel=0.05)


def test_a_label_with_few_examples_keeps_near_the_common_sigmoid():
    score, truth, weight = scores_of(300, 10)
    weight[5:, 0] = 0
    slope, intercept, _ = calibration.pooled_sigmoid(score, truth, weight)
    fitted = calibration.fit_platt(score, truth, weight, strength=10)
    assert fitted.slope[0] == pytest.approx(slope, rel=0.1)
    assert fitted.intercept[0] == pytest.approx(intercept, abs=1)


def test_pairs_without_weight_do_not_count():
    score, truth, weight = scores_of(200, 3)
    weight[::2, 1] = 0
    fitted = calibration.fit_platt(score, truth, weight, strength=10)
    truth[::2, 1] = 1 - truth[::2, 1]
    score[::2, 1] = 99
    again = calibration.fit_platt(score, truth, weight, strength=10)
    np.testing.assert_allclose(fitted.slope, again.slope)
    np.testing.assert_allclose(fitted.intercept, again.intercept)


SCORES = st.lists(st.floats(-3, 3, width=32), min_size=1, max_size=30)


@settings(deadline=None)
@given(SCORES, st.data())
def test_a_higher_score_never_gets_a_lower_probability(values, data):
    truth = data.draw(st.lists(st.booleans(), min_size=len(values), max_size=len(values)))
    score = np.array(values)[:, None]
    target = np.array(truth, float)[:, None]
    fitted = calibration.fit_platt(score, target, np.ones_like(score), strength=10)
    found = fitted(np.linspace(-4, 4, 50)[:, None])[:, 0]
    assert np.isfinite(found).all()
    assert np.all((found >= 0) & (found <= 1))
    assert np.all(np.diff(found) >= 0)


def test_logistic_fit_is_that_of_scikit_learn():
    rng = np.random.default_rng(3)
    evidence = np.column_stack([rng.normal(size=(500, 2)), np.ones(500)])
    truth = (evidence @ [1.0, -2.0, 0.5] > rng.logistic(size=500)).astype(float)
    fitted = calibration.fit_logistic(
        evidence, truth, np.ones(500), prior=np.zeros(3), firmness=np.ones(3)
    )
    # C = 1 is a precision of 1 for every weight, the constant being one of them.
    reference = LogisticRegression(C=1, fit_intercept=False, tol=1e-8).fit(evidence, truth)
    np.testing.assert_allclose(fitted, reference.coef_[0], atol=1e-3)


def test_rivals_count_the_odds_of_the_others():
    own = np.array([[2.0, 1.0, -3.0, 5.0]])
    competes = np.array([True, True, True, False])
    found = combine.rivals(own, competes)
    floor = 1e-3
    for at in range(3):
        others = sum(np.exp(own[0, j]) for j in range(3) if j != at)
        assert found[0, at] == pytest.approx(np.log(others + floor) - np.log(floor))
    assert found[0, 3] == 0


def one_label_each(rows, labels):
    truth = np.zeros((rows, labels))
    truth[np.arange(rows), np.arange(rows) % labels] = 1
    return truth


def test_only_where_texts_have_a_single_label_do_rivals_count():
    truth = one_label_each(60, 4)
    own = np.random.default_rng(0).normal(-2, 1, truth.shape) + 3 * truth
    leaves = np.ones(4, np.bool_)
    single = combine.fit(own, (None, None), truth, np.ones_like(truth), leaves)
    assert single.competes.all()
    assert single.weights[1, 3] < 0
    truth[:20, :2] = 1
    several = combine.fit(own, (None, None), truth, np.ones_like(truth), leaves)
    assert not several.competes.any()


def test_a_parent_is_no_rival_of_its_child():
    truth = np.hstack([one_label_each(60, 4), np.ones((60, 1))])
    leaves = np.array([True] * 4 + [False])
    assert combine.almost_single(truth, leaves)
    assert not combine.almost_single(truth, np.ones(5, np.bool_))


def test_blend_of_model_and_description():
    mixed = zero_shot.blend(np.array([[0.9]]), np.array([[0.3]]), np.array([10.0]), 10)
    assert mixed[0, 0] == pytest.approx(0.662614, abs=1e-6)


def test_without_examples_the_description_alone_counts():
    mixed = zero_shot.blend(np.array([[0.9]]), np.array([[0.3]]), np.array([0.0]), 0)
    assert mixed[0, 0] == pytest.approx(0.3)


def test_a_text_nearer_to_the_description_is_more_probable():
    near = np.linspace(-8, 8, 40, dtype=np.float32)[:, None]
    usual = zero_shot.fit_weights((None, near[:0]), np.zeros((0, 1)), np.zeros((0, 1), np.bool_))
    found = zero_shot.probability((None, near), usual)[:, 0]
    assert np.all(np.diff(found) > 0)
    assert found[20] < 0.05
    assert found[-1] > 0.9


def test_a_description_that_misleads_is_not_followed():
    rng = np.random.default_rng(0)
    truth = (rng.random((500, 2)) < 0.2).astype(float)
    near = (rng.normal(size=truth.shape) - 3 * truth).astype(np.float32)
    found = zero_shot.fit_weights((near, None), truth, np.ones(truth.shape, np.bool_))
    assert found[0] == 0


def test_parents_rise_to_their_children():
    labels = ("A", "A > B", "A > B > C", "D")
    probability = np.array([[0.40, 0.65, 0.20, 0.1], [0.1, 0.2, 0.3, 0.0]], np.float32)
    raise_parents(probability, labels)
    expected = np.array([[0.65, 0.65, 0.20, 0.1], [0.3, 0.3, 0.3, 0.0]], np.float32)
    np.testing.assert_array_equal(probability, expected)


def test_a_level_that_is_no_label_is_stepped_over():
    probability = np.array([[0.1, 0.7]], np.float32)
    raise_parents(probability, ("A", "A > B > C"))
    assert probability[0, 0] == np.float32(0.7)


PATHS = st.lists(st.sampled_from("abc"), min_size=1, max_size=4).map(" > ".join)


@settings(deadline=None)
@given(st.lists(PATHS, min_size=1, max_size=12, unique=True), st.randoms())
def test_no_parent_is_below_a_descendant(labels, random):
    probability = np.array([[random.random() for _ in labels]], np.float32)
    before = probability.copy()
    raise_parents(probability, labels)
    assert np.all(probability >= before)
    for at, label in enumerate(labels):
        for other, name in enumerate(labels):
            if name.startswith(f"{label} > "):
                assert probability[0, at] >= probability[0, other]
