"""HTML as plain text."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lodestream.domain.html_text import text_of_html


def read(html: str, most_chars: int = 65_536) -> str:
    return text_of_html(html, most_chars=most_chars)


@pytest.mark.parametrize(
    ("html", "text"),
    [
        ("", ""),
        ("plain", "plain"),
        ("<p>Hi</p><p>Bob</p>", "Hi\n\nBob"),
        ("a<br>b<br/>c", "a\nb\nc"),
        ("<div>a</div><div>b</div>", "a\n\nb"),
        ("<ul><li>one<li>two</ul>", "one\ntwo"),
        ("<table><tr><td>1<td>2<tr><td>3</table>", "1 2\n3"),
        ("<b>bo</b>ld <i>and</i> so", "bold and so"),
        ("a\n  b\tc&nbsp;d", "a b c d"),
        ("Fish &amp; chips &lt;3 &#128640; &eacute;", "Fish & chips <3 🚀 é"),
        ("<style>p{}</style>a<script>if (1<2) x('</p>')</script>b<TITLE>t</title>", "ab"),
        ("a<!-- <p>no</p> -->b<!DOCTYPE html>c<?xml ?>d", "abcd"),
        ('<a title="x > y" href=z>link</a>', "link"),
        ("1 < 2 and 3 > 2", "1 < 2 and 3 > 2"),
        ("<<p>>", "<\n\n>"),
        ("a<script>never closed", "a"),
        ("a<!-- never closed", "a"),
        ("a<p never closed", "a"),
        ("a<p><p><p><p>b", "a\n\nb"),
        ("<header>h</header><p>b", "h\n\nb"),
    ],
)
def test_what_a_reader_sees_is_left(html: str, text: str) -> None:
    assert read(html) == text


def test_a_long_text_is_cut() -> None:
    assert read("<p>word</p>" * 1000, 10) == "word\n\nword"


@pytest.mark.parametrize(
    "piece", ["<!--", "<a ", '<a "', "<", "<script>", "</", "&", "&#", "<p>", " ", "<a \"'>", "<!["]
)
def test_time_grows_with_the_length_only(piece: str) -> None:
    short, long = (piece * (chars // len(piece)) for chars in (1 << 16, 1 << 20))
    read(short)
    started = time.perf_counter()
    read(long)
    assert time.perf_counter() - started < 2  # it is a matter of minutes where it grows faster


@given(st.text(alphabet="<>/!-ap \n\"'&;#x1", max_size=200))
def test_any_text_can_be_read(html: str) -> None:
    text = read(html)
    assert text == text.strip()
    assert "\n\n\n" not in text
    assert "  " not in text
