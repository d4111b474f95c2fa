"""HTML as plain text."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lodestream.mail.charsets import decode
from lodestream.mail.html import text_of_html
from lodestream.mail.split import split_text
from tests.mail.samples import sample, samples


def read(html: str, most_chars: int = 65_536) -> str:
    return text_of_html(html, most_chars=most_chars)


@pytest.mark.parametrize(
    ("html", "text"),
    [
        ("", ""),
        ("plain", "plain"),
        ("<p>Hi</p><p>Bob</p>", "Hi\n\nBob"),
        ("a<br>b<br/>c", "a\nb\nc"),
        ("<div>a</div><div>b</div>", "a\nb"),
        ("<div>a</div><div><br></div><div>b</div>", "a\n\nb"),
        ("<p class=MsoNormal>a</p><p class=MsoNormal>&nbsp;</p><p class=MsoNormal>b</p>", "a\n\nb"),
        ("<ul><li>one<li>two</ul>", "- one\n- two"),
        ("<ol><li>one<ul><li>in</ul><li>two</ol>", "1. one\n  - in\n2. two"),
        ("<table><tr><td>1<td>2<tr><td>3</table>", "1 | 2\n3"),
        ("<table><tr><td><p>1</p></td><td></td><td><p>3</p></td></tr></table>", "1 | | 3"),
        ("<table><tr><td><p>a</p><p>b</p></td><td>c</td></tr></table>", "a\n\nb\n\nc"),
        ("<b>bo</b>ld <i>and</i> so", "bold and so"),
        ("a\n  b\tc&nbsp;d", "a b c d"),
        ("Fish &amp; chips &lt;3 &#128640; &eacute;", "Fish & chips <3 🚀 é"),
        ("<style>p{}</style>a<script>if (1<2) x('</p>')</script>b<TITLE>t</title>", "ab"),
        ("a<!-- <p>no</p> -->b<!DOCTYPE html>c<?xml ?>d", "abcd"),
        ('<div style="display:none">x<div>y</div>z</div>seen', "seen"),
        ('<a title="x > y" href=z>link</a><img src=pixel>', "link"),
        (
            "<blockquote type=cite>a<br>b<blockquote type=cite>c</blockquote></blockquote>d",
            "> a\n> b\n> > c\nd",
        ),
        ("<blockquote style='margin:0 0 0 40px'>a</blockquote>b", "a\nb"),
        ("<pre>a\nb\n\nc</pre>", "a\nb\n\nc"),
        ("1 < 2 and 3 > 2", "1 < 2 and 3 > 2"),
        ("a<script>never closed", "a"),
        ("a<!-- never closed", "a"),
        ("a<p never closed", "a"),
        ("</table></td></li></ul></blockquote></p>a", "a"),
    ],
)
def test_what_a_reader_sees_is_left(html: str, text: str) -> None:
    assert read(html) == text


def test_a_long_text_is_cut() -> None:
    assert read("<p>word</p>" * 1000, 10) == "word\n\nword"


@pytest.mark.parametrize("name", samples("talon/html_replies/*.html"))
def test_of_what_mail_programs_send_the_reply_remains(name: str) -> None:
    html, _ = decode(sample(name), None)
    reply = split_text(text_of_html(html, most_chars=65_536, marked=True)).reply
    assert reply.split() == ["Hi.", "I", "am", "fine.", "Thanks,", "Alex"]


@pytest.mark.parametrize(
    "piece",
    [
        "<!--",
        "<a ",
        '<a "',
        "<",
        "<script>",
        "</",
        "&",
        "<p>",
        " ",
        "<a \"'>",
        "<![",
        "<table><tr><td>",
        "<table>",
        "<td>a",
        "<tr>",
        "<li>",
        "<ul>",
        "<blockquote type=cite>a",
        "<pre>\n",
    ],
)
def test_time_grows_with_the_length_only(piece: str) -> None:
    long = piece * ((1 << 20) // len(piece))
    started = time.process_time()
    read(long)
    assert time.process_time() - started < 3  # it is a matter of minutes where it grows faster


@given(
    st.lists(
        st.sampled_from(
            [
                "table",
                "tr",
                "td",
                "th",
                "ul",
                "ol",
                "li",
                "p",
                "pre",
                "div",
                "blockquote",
                "br",
                "hr",
                "b",
            ]
        ).map(lambda name: f"<{name}>")
        | st.sampled_from(
            ["</table>", "</td>", "</ul>", "</p>", "</blockquote>", "a", "\n", "&lt;"]
        )
        | st.text(alphabet="<>/!-ap \n\"'&;#x1", max_size=9),
        max_size=30,
    ).map("".join)
)
def test_any_text_can_be_read(html: str) -> None:
    text = read(html)
    assert text == text.strip("\n")
    assert "\n\n\n" not in text
