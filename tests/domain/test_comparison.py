"""Whether a label is more frequent in one group than in another."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lodestream.domain.comparison import difference

COUNTS = st.floats(0, 1e9)
GROUPS = st.tuples(COUNTS, COUNTS).map(sorted)


def test_a_worked_example() -> None:
    found = difference(30, 400, 60, 500)
    assert found.log_odds_ratio == pytest.approx(0.511860, abs=1e-6)
    assert found.is_significant


def test_a_difference_as_chance_makes_it_is_not_significant() -> None:
    assert not difference(30, 400, 38, 500).is_significant
    assert not difference(0, 0, 0, 0).is_significant


@given(GROUPS, GROUPS)
def test_groups_that_change_places_change_the_sign(a: list[float], b: list[float]) -> None:
    one, other = difference(a[0], a[1], b[0], b[1]), difference(b[0], b[1], a[0], a[1])
    assert math.isfinite(one.log_odds_ratio)
    assert one.log_odds_ratio == pytest.approx(-other.log_odds_ratio)
    assert one.is_significant is other.is_significant
