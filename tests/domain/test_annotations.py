"""What changes make of the annotations of one comment."""

from __future__ import annotations

from typing import get_args

from hypothesis import given
from hypothesis import strategies as st

from lodestream.domain.annotations import (
    NOTHING,
    Action,
    Author,
    LabelMark,
    State,
    decode_state,
    encode,
    relabelled,
    undone,
    with_delta,
    with_labels,
)
from lodestream.domain.labelling import LabelNew
from lodestream.domain.labels import is_below

KEYS = {"A": 1, "A > B": 2, "A > B > C": 3, "AB": 4, "Z": 5}
NAMES = {key: name for name, key in KEYS.items()}
ME = Author("0" * 16, "2024-01-01T00:00:00.000000Z")
YOU = Author("1" * 16, "2025-01-01T00:00:00.000000Z")

deltas = st.tuples(
    st.sampled_from(get_args(Action)),
    st.sampled_from(sorted(KEYS)),
    st.sampled_from(["positive", "negative"]),
)
changes = st.lists(deltas, max_size=6)


def after(before: State, *wanted: tuple[Action, str, str], author: Author = ME) -> State:
    for action, name, sentiment in wanted:
        label = LabelNew(name, sentiment)  # type: ignore[arg-type]
        before = with_delta(before, label, KEYS[name], action=action, author=author)
    return before


def bare(state: State) -> dict[str, tuple[bool, bool]]:
    """Each label's name, whether it is dismissed, and whether the sentiment is negative."""
    return {mark.name: (gone, mark.negative) for gone, mark in state.labels().values()}


@given(changes)
def test_no_state_contradicts_itself(wanted: list[tuple[Action, str, str]]) -> None:
    state = after(NOTHING, *wanted)
    assigned = [mark.name for mark in state.assigned]
    dismissed = [mark.name for mark in state.dismissed]
    assert assigned == sorted(set(assigned))
    assert dismissed == sorted(set(dismissed))
    assert not set(assigned) & set(dismissed)
    assert not any(is_below(child, parent) for child in assigned for parent in dismissed)
    assert decode_state(encode(state)) == state


@given(changes, changes)
def test_undoing_the_last_change_gives_back_the_state_before(
    first: list[tuple[Action, str, str]], then: list[tuple[Action, str, str]]
) -> None:
    before = after(NOTHING, *first)
    changed = after(before, *then)
    assert undone(changed, before, changed) == before


@given(changes, changes, changes)
def test_undoing_an_earlier_change_leaves_what_it_did_not_touch(
    first: list[tuple[Action, str, str]],
    then: list[tuple[Action, str, str]],
    last: list[tuple[Action, str, str]],
) -> None:
    before = after(NOTHING, *first)
    changed = after(before, *then)
    current = after(changed, *last)
    found = undone(current, before, changed)
    if found is None:
        return
    touched = {n for n in KEYS if bare(before).get(n) != bare(changed).get(n)}
    kept = {name: mark for name, mark in bare(current).items() if name not in touched}
    lost = kept.items() - bare(found).items()
    # A dismissed parent gives way to a child that comes back.
    assert all(gone for _, (gone, _) in lost)


@given(changes)
def test_saying_the_same_again_changes_nothing(wanted: list[tuple[Action, str, str]]) -> None:
    state = after(NOTHING, *wanted)
    again = with_labels(
        state,
        assigned=[LabelNew(mark.name, mark.sentiment) for mark in state.assigned],
        dismissed=[LabelNew(mark.name, mark.sentiment) for mark in state.dismissed],
        keys=KEYS,
        author=YOU,
    )
    assert again == state


@given(changes, st.dictionaries(st.sampled_from([1, 2, 3]), st.sampled_from([None, 4, 5])))
def test_a_merge_loses_no_assignment(
    wanted: list[tuple[Action, str, str]], targets: dict[int, int | None]
) -> None:
    before = after(NOTHING, *wanted)
    moves = {old: None if new is None else (new, NAMES[new]) for old, new in targets.items()}
    found = relabelled(before, moves)
    expected = {targets.get(mark.key, mark.key) for mark in before.assigned} - {None}
    assert {mark.key for mark in found.assigned} == expected
    assert not {mark.key for mark in found.dismissed} & expected


def test_another_sentiment_is_news() -> None:
    first = after(NOTHING, ("assign", "A", "positive"))
    second = after(first, ("assign", "A", "negative"), author=YOU)
    (mark,) = second.assigned
    assert mark == LabelMark(1, "A", negative=True, metadata=YOU.metadata())
