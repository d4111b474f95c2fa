"""Positions, and the ids that name them on the wire."""

from __future__ import annotations

import base64

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from lodestream.domain.places import (
    MAX_POSITION,
    TIE_BITS,
    created_us,
    first_position,
    parse_sequence_id,
    position_before,
    sequence_id,
)

MILLISECOND = 1000 << TIE_BITS

positions = st.integers(0, MAX_POSITION) | st.builds(
    # Close to the edge of a millisecond, where an id changes its form.
    lambda millis, off: min(max(millis * MILLISECOND + off, 0), MAX_POSITION),
    st.integers(0, MAX_POSITION // MILLISECOND),
    st.integers(-3, 3),
)
sources = st.integers(0, 2**64 - 1)


def key_of(text: str) -> tuple[int, bytes]:
    """What the contract compares: milliseconds, then bytes."""
    raw = base64.b64decode(text, validate=True)
    return int.from_bytes(raw[:8], "little"), raw[8:]


@given(positions, sources)
@example(0, 0)
@example(MAX_POSITION, 0)
@example(MILLISECOND - 1, 0)
@example(MILLISECOND, 0)
def test_an_id_reads_back_as_its_position(position: int, source: int) -> None:
    text = sequence_id(position, source)
    assert len(text) == 32
    assert parse_sequence_id(text) == position


@given(positions, positions, sources, sources)
@example(MILLISECOND - 1, MILLISECOND, 0, 0)
@example(MILLISECOND - 2, MILLISECOND - 1, 7, 0)
@example(MILLISECOND - 1, MILLISECOND, 0, 7)
def test_ids_stand_in_the_order_of_their_positions(
    one: int, other: int, source: int, other_source: int
) -> None:
    if one == other:
        return
    first, second = sorted((one, other))
    assert key_of(sequence_id(first, source)) < key_of(sequence_id(second, other_source))


@given(st.binary(min_size=24, max_size=24))
@example(bytes(24))
@example(b"\xff" * 24)
def test_every_id_of_24_bytes_is_a_place_in_its_millisecond(raw: bytes) -> None:
    """Also one that another server made: then the place before everything of that instant."""
    millis = int.from_bytes(raw[:8], "little")
    position = parse_sequence_id(base64.b64encode(raw).decode())
    assert 0 <= position <= MAX_POSITION
    assert position == position_before(millis * 1000) or created_us(position) // 1000 == millis


def test_the_published_id_is_the_instant_it_was_made_at() -> None:
    position = parse_sequence_id("qs8QcHIBAADJ1p3W2FtmBB3QiOJsCJlR")
    assert position == position_before(1_591_018_049_450 * 1000)  # 2020-06-01T13:27:29.450Z


def test_an_all_zero_key_is_the_place_before_its_millisecond() -> None:
    # Published with the reset of a stream to the first of January 2024.
    text = "APRRwowBAAAAAAAAAAAAAAAAAAAAAAAA"
    assert parse_sequence_id(text) == position_before(1_704_067_200_000_000)
    assert sequence_id(position_before(1_704_067_200_000_000)) == text


@pytest.mark.parametrize(
    "text", ["", "A" * 31, "A" * 33, "A" * 31 + "=", "!" * 32, "ä" * 32, "A" * 31 + "\n", "-_" * 16]
)
def test_anything_else_is_no_id(text: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 (its message is for the caller's caller)
        parse_sequence_id(text)


@given(st.text(max_size=40))
def test_a_text_is_an_id_or_a_value_error(text: str) -> None:
    try:
        position = parse_sequence_id(text)
    except ValueError:
        return
    assert 0 <= position <= MAX_POSITION


@given(st.integers(0, MAX_POSITION >> TIE_BITS))
def test_a_place_before_an_instant_excludes_nothing_that_was_stored_at_it(instant_us: int) -> None:
    first = first_position(0, instant_us)
    assert position_before(instant_us) < first or instant_us == 0
    assert created_us(first) == instant_us or instant_us == 0
    assert instant_us == 0 or created_us(position_before(instant_us)) == instant_us - 1


@given(st.integers(0, MAX_POSITION - 1), st.integers(0, MAX_POSITION >> TIE_BITS))
def test_positions_rise_whatever_the_clock_says(last: int, now_us: int) -> None:
    assert first_position(last, now_us) > last
