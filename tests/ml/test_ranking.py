"""Which comments come first."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lodestream.ml.ranking import (
    Place,
    best,
    diversified,
    first_of_threads,
    informative,
    largest,
    presence,
    shuffled,
    uncertain,
)

KEYS = st.lists(st.sampled_from([0.0, 0.25, 0.5, 1.0]), max_size=60)


def in_order(keys: list[float]) -> list[Place]:
    return sorted(((key, pos) for pos, key in enumerate(keys)), reverse=True)


@given(KEYS, st.integers(1, 10))
def test_pages_hold_everything_once_and_in_order(keys: list[float], size: int) -> None:
    positions = np.arange(len(keys), dtype=np.int64)
    found: list[Place] = []
    after: Place | None = None
    while page := best(np.array(keys), positions, size, after):
        assert len(page) <= size
        found += page
        after = page[-1]
    assert found == in_order(keys)


@given(KEYS, st.data())
def test_a_thread_is_where_its_first_comment_is(keys: list[float], data: st.DataObject) -> None:
    threads = [data.draw(st.integers(0, 5)) for _ in keys]
    found = first_of_threads(
        np.array(keys), np.arange(len(keys), dtype=np.int64), np.array(threads, np.int64)
    )
    expected = {}
    for _, pos in reversed(in_order(keys)):
        expected[threads[pos]] = pos
    assert sorted(found.tolist()) == sorted(expected.values())


def test_a_shuffle_looks_random_and_has_no_collisions() -> None:
    positions = np.arange(10**15, 10**15 + 100_000, dtype=np.int64)
    first, second = shuffled(positions, 1), shuffled(positions, 2)
    assert len(np.unique(first)) == len(positions)
    for one, other in ((first, second), (first, positions), (first[:-1], first[1:])):
        assert abs(np.corrcoef(one.astype(float), other.astype(float))[0, 1]) < 0.02
    assert (shuffled(positions, 1) == first).all()


def test_sentiments_part_a_probability() -> None:
    probability = np.array([[0.8]], np.float32)
    sentiment = np.array([[0.5]], np.float32)
    assert presence(probability, sentiment)[0, 0] == pytest.approx(0.8)
    assert presence(probability, sentiment, wanted="positive")[0, 0] == pytest.approx(0.6)
    assert presence(probability, sentiment, wanted="negative")[0, 0] == pytest.approx(0.2)
    assert presence(probability, None, wanted="negative")[0, 0] == 0


def test_keys_of_scores() -> None:
    p = np.array([[0.5, 0.9], [0.0, 1.0]], np.float32)
    assert uncertain(p, [0, 1], 0.5).tolist() == [1.0, 0.0]
    assert uncertain(p, [], 0.5).tolist() == [0.0, 0.0]
    assert uncertain(p, [1], 2 / 3)[1] == pytest.approx(0.5)
    assert informative(p).tolist() == pytest.approx([0.25 + 0.09, 0.0])
    assert largest(p.astype(np.float64), [1.0, 0.5]).tolist() == pytest.approx([0.5, 0.5])
    assert largest(np.zeros((2, 0))).tolist() == [0.0, 0.0]


def test_what_is_alike_moves_back() -> None:
    vectors = np.array([[1, 0], [1, 0], [0, 1], [0, 0]], np.float32)
    rank = np.array([1.0, 0.9, 0.5, 0.1])
    assert diversified(rank, vectors) == [0, 2, 3, 1]
    assert diversified(rank, np.zeros((4, 1), np.float32)) == [0, 1, 2, 3]


@given(st.lists(st.floats(0, 1), max_size=20), st.integers(0, 2**32 - 1))
def test_diversifying_loses_nothing(rank: list[float], seed: int) -> None:
    random = np.random.default_rng(seed)
    vectors = random.normal(size=(len(rank), 3)).astype(np.float32)
    vectors /= np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-9)
    assert sorted(diversified(np.array(rank), vectors)) == list(range(len(rank)))
