"""Sums of probabilities, in all and by group."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lodestream.ml.volumes import Groups, Sums, sides


def test_a_comment_counts_once_in_each_of_its_groups() -> None:
    groups = Groups.of([(5, 1), (3, 0), (5, 0), (5, 1)], 3)
    assert groups.comments().tolist() == [2, 1, 0]
    rows, numbers = groups.rows_of(np.array([3, 4, 5]))
    assert list(zip(rows.tolist(), numbers.tolist(), strict=True)) == [(0, 0), (2, 0), (2, 1)]


@given(
    st.lists(st.tuples(st.integers(0, 9), st.integers(0, 3)), max_size=30),
    st.integers(0, 2**32 - 1),
    st.integers(1, 10),
)
def test_sums_by_group_are_those_of_a_loop(
    pairs: list[tuple[int, int]], seed: int, part: int
) -> None:
    random = np.random.default_rng(seed)
    probability = random.random((10, 3)).astype(np.float32)
    sentiment = random.uniform(-1, 1, (10, 3)).astype(np.float32)
    positive, negative = sides(probability, sentiment)
    assert negative is not None
    sums = Sums(3, [2, 0], [Groups.of(pairs, 4)])
    for start in range(0, 10, part):
        there = slice(start, start + part)
        sums.add(np.arange(10)[there], positive[there], negative[there])
    assert sums.positive + sums.negative == pytest.approx(probability.sum(axis=0), abs=1e-5)
    for group in range(4):
        members = sorted({pos for pos, number in pairs if number == group})
        for side, values in enumerate((positive, negative)):
            expected = values[members][:, [2, 0]].sum(axis=0)
            assert sums.by_group[0][side][group] == pytest.approx(expected)
            best = values[members].max(axis=1, initial=0).sum()
            assert sums.any_by_group[0][side][group] == pytest.approx(best)
