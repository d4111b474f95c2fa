import numpy as np
import pytest

from lodestream.ml import landmarks, lexical, ridge
from lodestream.ml.kernels import Kernel, Parts, Rows, as_stored, gram

KERNELS = [Kernel(0.0, 0.3, 0.5), Kernel(2.0, 0.1, 0.65), Kernel(4.0, 0.5, 0.35)]
TOPICS = ["cancel booking", "gym opening hours", "wifi password", "late check out", "thank you"]


def make_rows(count, seed=0, *, with_vectors=True):
    rng = np.random.default_rng(seed)
    topic = rng.integers(0, len(TOPICS), count)
    texts = [f"{TOPICS[t]} {rng.integers(0, 50)} {rng.integers(0, 9)}" for t in topic]
    centres = np.random.default_rng(99).normal(size=(len(TOPICS), 24))
    vectors = centres[topic] + rng.normal(size=(count, 24))
    vectors = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
    counts = lexical.count(texts)
    blocks = lexical.Lexicon.fit(counts).transform(counts)
    target = (topic[:, None] == np.arange(4)).astype(np.float32)
    return as_stored(Rows(*blocks, vectors if with_vectors else None)), target


def refit(kernel, target, strength):
    """Ridge regression as the book has it, in double precision, offset given by the caller."""
    matrix = kernel.astype(np.float64) + strength * np.eye(len(kernel))
    return np.linalg.solve(matrix, target.astype(np.float64))


@pytest.mark.parametrize("kernel", KERNELS)
def test_held_out_scores_are_those_of_models_trained_without_the_text(kernel):
    rows, target = make_rows(40)
    matrix = gram(kernel, rows)
    fit = ridge.solve(ridge.inverse(matrix.copy(), 0.2), target)
    offset = target.mean(0)
    for out in range(len(target)):
        others = np.arange(len(target)) != out
        dual = refit(matrix[np.ix_(others, others)], target[others] - offset, 0.2)
        expected = matrix[out, others] @ dual + offset
        np.testing.assert_allclose(fit.held_out[out], expected, atol=1e-4)


def test_dual_weights_solve_the_equations():
    rows, target = make_rows(60)
    matrix = gram(KERNELS[1], rows)
    fit = ridge.solve(ridge.inverse(matrix.copy(), 0.1), target)
    expected = refit(matrix, target - target.mean(0), 0.1)
    np.testing.assert_allclose(fit.dual, expected, atol=1e-3)


def test_the_inverse_is_whole_and_symmetric():
    rows, _ = make_rows(1100)
    matrix = gram(KERNELS[0], rows)
    inverse = ridge.inverse(matrix.copy(), 0.5)
    np.testing.assert_array_equal(inverse, inverse.T)
    product = inverse @ (matrix + 0.5 * np.eye(len(matrix), dtype=np.float32))
    np.testing.assert_allclose(product, np.eye(len(matrix)), atol=1e-3)


def masked_set():
    rows, target = make_rows(50)
    known = np.random.default_rng(5).random(target.shape) < 0.7
    known[:, 0] = True
    return gram(KERNELS[1], rows), target, known


def test_unknown_pairs_leave_the_model_of_the_others():
    matrix, target, known = masked_set()
    fit = ridge.solve(ridge.inverse(matrix.copy(), 0.2), target, known)
    for label in range(target.shape[1]):
        seen = known[:, label]
        offset = target[seen, label].mean()
        expected = refit(matrix[np.ix_(seen, seen)], target[seen, label] - offset, 0.2)
        np.testing.assert_allclose(fit.dual[seen, label], expected, atol=2e-3)
        assert not fit.dual[~seen, label].any()


def test_what_an_unknown_pair_is_said_to_be_changes_nothing():
    matrix, target, known = masked_set()
    inverse = ridge.inverse(matrix, 0.2)
    fit = ridge.solve(inverse, target, known)
    again = ridge.solve(inverse, np.where(known, target, 1 - target), known)
    np.testing.assert_array_equal(fit.dual, again.dual)
    np.testing.assert_array_equal(fit.held_out, again.held_out)


def test_held_out_scores_with_unknown_pairs_are_near_to_refitting():
    matrix, target, known = masked_set()
    fit = ridge.solve(ridge.inverse(matrix.copy(), 0.2), target, known)
    for label in range(target.shape[1]):
        seen = np.flatnonzero(known[:, label])
        offset = target[seen, label].mean()
        for out in seen:
            others = seen[seen != out]
            dual = refit(matrix[np.ix_(others, others)], target[others, label] - offset, 0.2)
            expected = matrix[out, others] @ dual + offset
            assert fit.held_out[out, label] == pytest.approx(expected, abs=0.05)


def test_all_known_and_no_mask_are_the_same():
    rows, target = make_rows(30)
    inverse = ridge.inverse(gram(KERNELS[0], rows), 0.2)
    one = ridge.solve(inverse, target)
    other = ridge.solve(inverse, target, np.ones(target.shape, np.bool_))
    np.testing.assert_array_equal(one.dual, other.dual)


@pytest.mark.parametrize("kernel", [*KERNELS, Kernel(2.0, 1.0, 0.5)])
def test_a_kernel_mixed_from_parts_is_the_kernel(kernel):
    rows, _ = make_rows(30, with_vectors=kernel.lexical < 1)
    np.testing.assert_allclose(Parts.of(rows).gram(kernel), gram(kernel, rows), atol=1e-5)


def solve_by_landmarks(rows, target, chosen, known=None, strength=0.2):
    return landmarks.solve(
        KERNELS[1],
        rows,
        chosen,
        target,
        np.ones(target.shape, np.bool_) if known is None else known,
        strength=strength,
        progress=lambda _: None,
    )


def test_with_all_texts_as_landmarks_the_scores_are_the_exact_ones():
    rows, target = make_rows(300)
    matrix = gram(KERNELS[1], rows)
    exact = ridge.solve(ridge.inverse(matrix.copy(), 0.2), target)
    near = solve_by_landmarks(rows, target, np.arange(300))
    np.testing.assert_allclose(matrix @ near.dual, matrix @ exact.dual, atol=0.01)
    # Leverages are estimated, so held-out scores differ a little.
    assert np.abs(near.held_out - exact.held_out).mean() < 0.02


def test_fewer_landmarks_stay_near_to_the_exact_scores():
    rows, target = make_rows(600)
    matrix = gram(KERNELS[1], rows)
    exact = ridge.solve(ridge.inverse(matrix.copy(), 0.2), target)
    chosen = np.arange(0, 600, 3)
    near = solve_by_landmarks(rows, target, chosen)
    scores = matrix[:, chosen] @ near.dual
    assert np.corrcoef(scores.ravel(), (matrix @ exact.dual).ravel())[0, 1] > 0.98


def test_landmarks_ignore_what_unknown_pairs_are_said_to_be():
    rows, target = make_rows(300)
    known = np.random.default_rng(5).random(target.shape) < 0.7
    chosen = np.arange(0, 300, 2)
    one = solve_by_landmarks(rows, target, chosen, known)
    other = solve_by_landmarks(rows, np.where(known, target, 1 - target), chosen, known)
    np.testing.assert_array_equal(one.dual, other.dual)
    negatives = solve_by_landmarks(rows, target * known, chosen)
    positive = target.astype(np.bool_) & ~known
    assert one.held_out[positive].mean() > negatives.held_out[positive].mean() + 0.1
