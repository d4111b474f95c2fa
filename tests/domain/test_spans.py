"""Spans: offsets by characters and by bytes of UTF-16."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lodestream.domain.comments import Message, RichText, Text
from lodestream.domain.errors import InvalidInput
from lodestream.domain.spans import Offsets, Span, SpanNew, Texts

TEXTS = (
    st.text(st.sampled_from("aé退款طلب払😀👩🏽\u200d🚀\ud7ff\ue000\uffff𐀀"), max_size=40)
    | st.text()
)


def comment(text: str) -> Texts:
    return Texts([Message(RichText(text), subject=Text("Re: " + text))])


@given(TEXTS)
def test_every_place_agrees_with_the_codec(text: str) -> None:
    offsets = Offsets(text)
    for char in range(len(text) + 1):
        byte = len(text[:char].encode("utf-16-le"))
        assert offsets.to_bytes(char) == byte
        assert offsets.to_char(byte) == char


@given(TEXTS)
def test_every_other_place_is_refused(text: str) -> None:
    offsets = Offsets(text)
    good = {len(text[:char].encode("utf-16-le")) for char in range(len(text) + 1)}
    for byte in set(range(-1, offsets.bytes + 3)) - good:
        with pytest.raises(ValueError, match="lies"):
            offsets.to_char(byte)
    for char in (-1, len(text) + 1):
        with pytest.raises(ValueError, match="outside"):
            offsets.to_bytes(char)


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("😀 refund", "refund"),
        ("我想要退款，谢谢", "退款"),
        ("返金してください🙏お願い", "お願い"),
        ("أريد استرداد المبلغ", "استرداد"),
        ("👩🏽\u200d🚀 and 👨\u200d👩\u200d👧", "👨\u200d👩\u200d👧"),
    ],
)
def test_both_forms_of_a_span_name_the_same_text(text: str, part: str) -> None:
    start = text.index(part)
    end = start + len(part)
    byte_start, byte_end = (len(text[:at].encode("utf-16-le")) for at in (start, end))
    expected = Span("body", 0, start, end, byte_start, byte_end)
    for new in (
        SpanNew("body", 0, char_start=start, char_end=end),
        SpanNew("body", 0, byte_start, byte_end),
        SpanNew("body", 0, byte_start, byte_end, start, end),
    ):
        assert comment(text).resolve(new, where="x") == expected
    cut = text.encode("utf-16-le")[expected.utf16_byte_start : expected.utf16_byte_end]
    assert cut.decode("utf-16-le") == part == text[expected.char_start : expected.char_end]


@pytest.mark.parametrize(
    ("span", "said"),
    [
        (SpanNew("body", 0, 0, 14), "outside"),
        (SpanNew("body", 0, 1, 4), "inside a character"),
        (SpanNew("body", 0, 2, 6), "inside a character"),
        (SpanNew("body", 0, 6, 4), "ends before"),
        (SpanNew("body", 0, char_start=2, char_end=7), "outside"),
        (SpanNew("body", 0, 0, 4, 0, 2), "do not agree"),
        (SpanNew("body", 1, 0, 2), "no body in message 1"),
        (SpanNew("signature", 0, 0, 2), "no signature in message 0"),
    ],
)
def test_what_is_no_span_of_the_text_is_refused(span: SpanNew, said: str) -> None:
    with pytest.raises(InvalidInput, match=said):
        comment("😀abcd").resolve(span, where="entities")


@pytest.mark.parametrize(
    "given_offsets",
    [
        {},
        {"utf16_byte_start": 0},
        {"char_end": 1},
        {"char_start": 0, "char_end": 1, "utf16_byte_end": 2},
    ],
)
def test_a_span_has_a_whole_pair(given_offsets: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="a span needs"):
        SpanNew("body", 0, **given_offsets)
