"""Searching texts for words."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lodestream.domain.comments import Message, RichText, Text
from lodestream.domain.search import MOST_HIGHLIGHTS, Match, Search, relevances


def message(body: str, subject: str | None = None) -> Message:
    more: dict[str, Any] = {} if subject is None else {"subject": Text(subject)}
    return Message(RichText(body), **more)


def found(query: str, text: str) -> list[str]:
    return [text[one.char_start : one.char_end] for one in Search(query).spans([message(text)])]


CASES = [
    ("refund", "Refunds, a REFUND", ["Refund", "REFUND"]),
    ("art", "party of arts", ["art"]),
    ("late  refund", "a late\nrefund; late", ["late\nrefund"]),
    ("late refund", "refund it, too late", ["refund", "late"]),
    ("re refund", "refund", ["refund"]),
    ("Straße", "die STRAßE", ["STRAßE"]),
    ("退款", "我要退款谢谢", ["退款"]),
    ("😀", "so 😀😀", ["😀", "😀"]),
    ("a+b", "a+b a b", ["a+b"]),
    ("(", "f(x", ["("]),
    ("x", "", []),
]


@pytest.mark.parametrize(("query", "text", "expected"), CASES)
def test_words_are_found(query: str, text: str, expected: list[str]) -> None:
    assert found(query, text) == expected
    assert (Search(query).match([text]) is not None) is bool(expected)


def test_spans_have_a_bound() -> None:
    assert len(found("a", "a " * 1000)) == MOST_HIGHLIGHTS


@given(st.text(max_size=50), st.text(max_size=200))
def test_spans_lie_in_the_text_and_follow_each_other(query: str, text: str) -> None:
    spans = Search(query).spans([message(text, subject=text)])
    for part in ("subject", "body"):
        ends = [(one.char_start, one.char_end) for one in spans if one.content_part == part]
        assert all(start < end <= len(text) for start, end in ends)
        assert all(before[1] <= after[0] for before, after in pairwise(ends))
        for one in spans:
            piece = text[: one.char_start].encode("utf-16-le", "surrogatepass")
            assert one.utf16_byte_start == len(piece)


@given(
    st.text("ab \u00e4\n退", min_size=1, max_size=6), st.text("abAB \u00c4\u00e4\n退", max_size=20)
)
def test_what_is_passed_over_does_not_match(query: str, text: str) -> None:
    search = Search(query)
    if not search.may_match(text.encode()):
        assert search.match([text]) is None


def test_a_phrase_weighs_more_than_any_words() -> None:
    phrase, often, seldom = (
        Match(True, (1, 1), 100),
        Match(False, (50, 50), 10),
        Match(False, (1, 0), 10),
    )
    scores = relevances([seldom, phrase, often], 1000)
    assert sorted(scores, reverse=True) == [scores[1], scores[2], scores[0]]
    assert relevances([], 10) == []
    assert all(score > 0 for score in relevances([Match(False, (1,), 0)], 1))
