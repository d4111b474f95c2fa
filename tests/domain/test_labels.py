"""Names of labels, and what follows from their hierarchy."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lodestream.domain.errors import InvalidInput, Unprocessable
from lodestream.domain.fields import FieldTypes
from lodestream.domain.labels import (
    LABEL_NAME,
    LabelDef,
    LabelDefUpsert,
    is_label_name,
    parents_of,
    with_parents,
)
from lodestream.domain.taxonomy import (
    merged_labels,
    relabelled,
)

NO_TYPES = FieldTypes([])


def names(labels: tuple[LabelDef, ...]) -> list[str]:
    return [label.name for label in labels]


def labels(*given_names: str) -> list[LabelDef]:
    return [LabelDef(name, title=name.upper()) for name in given_names]


@pytest.mark.parametrize(
    "name",
    [
        "A",
        "Billing",
        "Billing > Refund",
        "Ärger",
        "A > $ 5 / month",
        "1 < 2",
        "a" * 64,
        "A > B > C",
    ],
)
def test_names_that_are_allowed(name: str) -> None:
    assert is_label_name(name)


@pytest.mark.parametrize(
    "name",
    [
        "",
        " A",
        "A ",
        "A >",
        "A > ",
        "> A",
        "A >B",
        "A> B",
        "A >  B",
        "A >> B",
        "(A)",
        "A > B ",
        "A`B",
        "A\n",
        "A\tB",
        "a" * 65,
    ],
)
def test_names_that_are_not_allowed(name: str) -> None:
    assert not is_label_name(name)


@given(st.from_regex(LABEL_NAME, fullmatch=True))
def test_a_name_that_the_schema_allows_is_a_name_unless_it_is_long_or_ends_a_line(
    name: str,
) -> None:
    assert is_label_name(name) is (len(name) <= 64 and not name.endswith("\n"))


@given(st.text(alphabet="ab >", max_size=12))
def test_every_parent_of_a_name_is_a_name(name: str) -> None:
    if is_label_name(name):
        assert all(is_label_name(parent) for parent in parents_of(name))
        assert re.fullmatch(LABEL_NAME, name)


def test_missing_parents_come_right_before_their_first_child() -> None:
    assert with_parents(["X", "A > B > C", "A > D"]) == ["X", "A", "A > B", "A > B > C", "A > D"]


def test_parents_that_are_given_keep_the_place_they_were_given() -> None:
    assert with_parents(["A > B", "A"]) == ["A > B", "A"]


def test_renaming_a_label_moves_what_is_below_it_and_nothing_else() -> None:
    before = labels("A", "A > B", "A > B > C", "AB", "X > A")
    after = relabelled(before, "A > B", "A > Z")
    assert names(after) == ["A", "A > Z", "A > Z > C", "AB", "X", "X > A"]


def test_renaming_to_a_taken_name_merges_and_the_other_definition_holds() -> None:
    before = labels("A", "A > B", "Z", "Z > B", "Z > C")
    after = relabelled(before, "A", "Z")
    assert names(after) == ["Z", "Z > B", "Z > C"]
    assert [label.title for label in after] == ["Z", "Z > B", "Z > C"]


def test_a_label_can_move_below_itself() -> None:
    after = relabelled(labels("A", "A > B"), "A", "A > B")
    assert names(after) == ["A", "A > B", "A > B > B"]


def test_a_child_can_take_the_place_of_its_parent() -> None:
    after = relabelled(labels("A", "A > B", "A > B > C"), "A > B", "A")
    assert names(after) == ["A", "A > C"]


def test_renaming_creates_the_parents_of_the_new_name() -> None:
    assert names(relabelled(labels("A"), "A", "X > Y > A")) == ["X", "X > Y", "X > Y > A"]


def test_a_child_whose_name_would_be_too_long_stops_a_rename() -> None:
    before = labels("A", "A > " + "b" * 60)
    with pytest.raises(Unprocessable, match="64"):
        relabelled(before, "A", "AA")


def test_merging_changes_only_what_is_given() -> None:
    stored = [LabelDef("A", title="Old", instructions="Keep")]
    merged = merged_labels(stored, [LabelDefUpsert(name="A", title="New")], NO_TYPES)
    assert merged == (LabelDef("A", title="New", instructions="Keep"),)


def test_a_name_may_come_once_in_a_batch() -> None:
    batch = [LabelDefUpsert(name="A"), LabelDefUpsert(name="A")]
    with pytest.raises(InvalidInput, match="'A'"):
        merged_labels([], batch, NO_TYPES)
