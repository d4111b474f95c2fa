"""Packed vectors: their size, their error, and that packing twice changes nothing."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

from lodestream.ml.vectors import Whole, pack, unpack

_shapes = st.tuples(st.integers(0, 5), st.integers(1, 40))
_values = st.floats(-(2.0**100), 2.0**100, width=32)
vectors = _shapes.flatmap(lambda shape: hnp.arrays(np.float32, shape, elements=_values))


def lengths(rows: NDArray[np.float32]) -> NDArray[np.float64]:
    return np.linalg.norm(rows.astype(np.float64), axis=1)


@given(vectors)
def test_an_unpacked_row_has_unit_length_or_is_zero(given_rows: NDArray[np.float32]) -> None:
    back = unpack(pack(given_rows), given_rows.shape[1])
    assert back.dtype == np.float32
    assert back.shape == given_rows.shape
    expected = np.any(given_rows != 0, axis=1).astype(float)
    np.testing.assert_allclose(lengths(back), expected, atol=1e-6)


@given(vectors)
def test_the_angle_stays_within_the_stated_bound(given_rows: NDArray[np.float32]) -> None:
    dim = given_rows.shape[1]
    back = unpack(pack(given_rows), dim).astype(np.float64)
    for row, packed in zip(given_rows.astype(np.float64), back, strict=True):
        if not row.any():
            continue
        # Scaled first: the square of a denormal number is zero.
        unit = row / np.abs(row).max()
        unit /= np.linalg.norm(unit)
        sine = np.linalg.norm(packed - unit * (packed @ unit))
        assert sine <= np.abs(unit).max() * np.sqrt(dim) / 254 + 1e-6


@given(vectors)
def test_packing_again_gives_the_same_bytes(given_rows: NDArray[np.float32]) -> None:
    packed = pack(given_rows)
    assert pack(unpack(packed, given_rows.shape[1])) == packed


@given(vectors.filter(lambda rows: len(rows) > 1))
def test_a_row_does_not_depend_on_its_neighbours(given_rows: NDArray[np.float32]) -> None:
    assert pack(given_rows)[1:] == pack(given_rows[1:])


def test_a_row_takes_one_byte_for_each_dimension_and_four_more() -> None:
    rows = pack(np.random.default_rng(1).normal(size=(3, 384)).astype(np.float32))
    assert [len(row) for row in rows] == [388] * 3


def test_sentence_vectors_keep_their_direction() -> None:
    rows = np.random.default_rng(2).normal(size=(200, 384)).astype(np.float32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    assert (rows * unpack(pack(rows), 384)).sum(axis=1).min() > 0.9999


def test_nothing_packs_to_nothing() -> None:
    assert pack(np.zeros((0, 8), np.float32)) == []
    assert unpack([], 8).shape == (0, 8)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_is_refused(bad: float) -> None:
    rows = np.ones((2, 4), np.float32)
    rows[1, 2] = bad
    with pytest.raises(ValueError, match="not a finite number"):
        pack(rows)


def test_a_single_vector_is_refused() -> None:
    with pytest.raises(ValueError, match="two dimensions"):
        pack(np.ones(4, np.float32))


def test_a_row_of_another_size_is_refused() -> None:
    rows = pack(np.ones((2, 4), np.float32))
    with pytest.raises(ValueError, match="has 12 bytes"):
        unpack(rows, 8)


def test_cosines_do_not_depend_on_what_is_multiplied_with_them() -> None:
    random = np.random.default_rng(3)
    left = unpack(pack(random.normal(size=(50, 384)).astype(np.float32)), 384)
    right = Whole.of(unpack(pack(random.normal(size=(70, 384)).astype(np.float32)), 384))
    together = Whole.of(left).cosines(right)
    alone = np.concatenate([Whole.of(left[row : row + 1]).cosines(right) for row in range(50)])
    assert alone.tobytes() == together.tobytes()
    plain = left.astype(np.float64) @ (right.numbers * right.scales).T.astype(np.float64)
    assert np.abs(together - plain).max() < 1e-6


def test_taking_packed_vectors_apart_loses_nothing() -> None:
    packed = pack(np.random.default_rng(4).normal(size=(100, 384)).astype(np.float32))
    found = Whole.of(unpack([*packed, bytes(388)], 384))
    numbers = np.array([np.frombuffer(row[4:], np.int8) for row in packed])
    assert (found.numbers[:-1] == numbers).all()
    assert not found.numbers[-1].any()
    assert found.scales[-1] == 0
