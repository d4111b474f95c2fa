"""Answers that are remembered while nothing changes."""

from __future__ import annotations

from lodestream.actions.memo import Memo


def test_an_answer_holds_for_its_stamp_only() -> None:
    memo: Memo[str] = Memo()
    memo.keep("question", 1, "answer")
    assert memo.find("question", 1) == "answer"
    assert memo.find("question", 2) is None
    assert memo.find("question", 1) is None
    assert memo.find("another", 1) is None


def test_what_was_not_asked_for_goes_first() -> None:
    memo: Memo[int] = Memo(2)
    memo.keep("a", 0, 1)
    memo.keep("b", 0, 2)
    assert memo.find("a", 0) == 1
    memo.keep("c", 0, 3)
    assert [memo.find(one, 0) for one in "abc"] == [1, None, 3]
