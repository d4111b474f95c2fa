"""Ids that were met already, in memory or not."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from lodestream.formats.seen import Seen

_NUMBERS = st.integers(-(2**63), 2**63 - 1) | st.integers(-5, 5)


@given(st.lists(st.lists(_NUMBERS)), st.integers(1, 6))
def test_a_number_is_met_once(batches: list[list[int]], kept: int) -> None:
    seen, met = Seen(kept=kept), set[int]()
    for batch in batches:
        found = seen.add(batch)
        for number, is_old in zip(batch, found, strict=True):
            assert is_old is (number in met)
            met.add(number)
