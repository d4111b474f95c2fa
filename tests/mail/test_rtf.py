"""RTF bodies back to what they were made of."""

from __future__ import annotations

import time

import compressed_rtf
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lodestream.mail.rtf import decapsulate, decompress

# As Exchange wraps HTML: each tag in a group of its own, what only RTF needs between `\\htmlrtf`.
FROM_HTML = rb"""{\rtf1\ansi\ansicpg1252\fromhtml1 \fbidi \deff0{\fonttbl
{\f0\fswiss Arial;}
{\f1\fmodern\fcharset204 Courier Cyr;}
{\f2\fnil\fcharset128 MS Gothic;}}
{\colortbl\red0\green0\blue0;}
\uc1\pard\plain\deftab360 \f0\fs24
{\*\htmltag19 <html>}
{\*\htmltag34 <head>\par
<title>}\htmlrtf {\htmlrtf0 {\*\htmltag41 </title></head>}\htmlrtf }\htmlrtf0
{\*\htmltag50 <body class="\{a\}">}
{\*\htmltag64 <p>}\htmlrtf {\htmlrtf0 Fish {\*\htmltag84 &amp;}\htmlrtf &\htmlrtf0  chips
{\*\htmltag84 &nbsp;}\htmlrtf \'a0\htmlrtf0 f\'fcr 5\~\u8364?{\*\htmltag72 </p>}
\htmlrtf\par}\htmlrtf0
{\*\mhtmltag148 <img src="cid:1">}{\*\htmltag148 <img src="a.png">}
\f1 \'cf\'f0\'e8\'e2\'e5\'f2 \f2 \'93\'fa\'96\'7b \f0 \ldblquote q\rdblquote  \u-10179?\u-8704?
{\*\htmltag58 </body>}{\*\htmltag27 </html>}}"""
HTML = (
    '<html><head>\n<title></title></head><body class="{a}">'
    "<p>Fish &amp; chips&nbsp;für 5&nbsp;€</p>"
    '<img src="a.png">Привет 日本'
)


def test_the_html_inside_is_put_together_again() -> None:
    found = decapsulate(FROM_HTML)
    assert found.plain is None
    assert found.html is not None
    assert found.html.startswith(HTML)
    assert "\u201cq\u201d 😀" in found.html
    assert found.html.endswith("</body></html>")


@pytest.mark.parametrize(
    ("rtf", "text"),
    [
        (rb"{\rtf1\ansi\fromtext \pard Hello\par\tab Bob\par }", "Hello\n\tBob\n"),
        (
            rb"{\rtf1\ansi\deff0{\fonttbl{\f0 Arial;}}{\info{\title No}}\b Bold\b0  and\line so}",
            "Bold and\nso",
        ),
        (
            rb"{\rtf1\ansi {\*\generator Msftedit;}{\pict\bin5 }{}\x7d}a{\v hidden}\{b\}\\}",
            "a{b}\\",
        ),
        (rb"{\rtf1\ansi\ansicpg932 \'93\'fa\'96\'7b}", "日本"),
        (rb"{\rtf1\ansi\ansicpg1251{\uc2\u8364\'80\'80x}\u1087 ?}", "€xп"),
        (rb"{\rtf1\trowd a\cell b\cell\row c}", "a\tb\t\nc"),
        (rb"{\rtf1\field{\*\fldinst HYPERLINK x}{\fldrslt shown}}", "shown"),
        (b"", ""),
        (b"no RTF at all", "no RTF at all"),
        (rb"{\rtf1 broken \'", "broken "),
    ],
)
def test_other_rtf_gives_its_text(rtf: bytes, text: str) -> None:
    found = decapsulate(rtf)
    assert found.html is None
    assert found.plain == text


def test_a_compressed_body_is_opened() -> None:
    assert decompress(compressed_rtf.compress(FROM_HTML)) == FROM_HTML
    assert decompress(compressed_rtf.compress(FROM_HTML, compressed=False)) == FROM_HTML


@pytest.mark.parametrize("cut", [0, 3, 15, 16, 40, -1])
def test_a_broken_compressed_body_is_empty(cut: int) -> None:
    assert decompress(compressed_rtf.compress(FROM_HTML)[:cut]) == b""


@given(st.binary(max_size=200), st.booleans())
def test_any_bytes_are_read(data: bytes, is_html: bool) -> None:
    head = rb"{\rtf1\fromhtml1 " if is_html else rb"{\rtf1 "
    found = decapsulate(head + data)
    assert (found.html if is_html else found.plain) is not None
    decompress(data)


@pytest.mark.parametrize(
    "piece", [b"{", b"}", b"{\\*", b"\\u1 ", b"\\f1 x", b"{\\*\\htmltag ", b"\\"]
)
def test_time_grows_with_the_length_only(piece: bytes) -> None:
    started = time.process_time()
    decapsulate(rb"{\rtf1\fromhtml1 " + piece * 50_000)
    assert time.process_time() - started < 3
