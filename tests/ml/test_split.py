"""Which comments a model is measured on, and that it has not seen them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lodestream.ml.split import is_test, normalised, place, split_comments


@pytest.mark.parametrize(
    ("uid", "where", "test"),
    [
        ("a.1", 0.290512, False),
        ("a.2", 0.045640, True),
        ("a.3", 0.550584, False),
        ("a.4", 0.082816, True),
        ("a.6", 0.013465, True),
        ("source0.msg-001", 0.427226, False),
    ],
)
def test_a_uid_has_its_place_for_ever(uid: str, where: float, test: bool) -> None:
    assert place(uid) == pytest.approx(where, abs=1e-6)
    assert is_test(uid) is test


def test_a_fifth_of_many_comments_is_for_test() -> None:
    share = np.mean([is_test(f"0123456789abcdef.{number}") for number in range(20_000)])

    assert share == pytest.approx(0.2, abs=0.01)


@given(
    st.lists(
        st.tuples(st.text(max_size=8), st.sampled_from(["Yes", "yes ", " YES", "no", "", "maybe"])),
        max_size=60,
    )
)
def test_every_comment_is_in_one_part_and_no_test_text_was_trained_on(
    comments: list[tuple[str, str]],
) -> None:
    uids, texts = [uid for uid, _ in comments], [text for _, text in comments]

    found = split_comments(uids, texts)

    rows = np.concatenate([found.train, found.test, found.duplicates])
    assert sorted(rows.tolist()) == list(range(len(uids)))
    assert found.size == len(uids)
    assert not any(is_test(uids[row]) for row in found.train)
    assert all(is_test(uids[row]) for row in [*found.test, *found.duplicates])
    trained = {normalised(texts[row]) for row in found.train}
    assert trained.isdisjoint(normalised(texts[row]) for row in found.test)
    assert trained.issuperset(normalised(texts[row]) for row in found.duplicates)


def test_texts_are_the_same_if_they_differ_in_case_and_white_space_only() -> None:
    assert normalised(" Hello\n\tWORLD ") == normalised("hello world")
    assert normalised("hello world") != normalised("helloworld")


def test_the_texts_must_be_as_many_as_the_uids() -> None:
    with pytest.raises(ValueError, match="2 uids, but 1 texts"):
        split_comments(["a", "b"], ["x"])
