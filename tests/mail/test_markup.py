"""Rich text of HTML mails: a tree whose leaves are places in the plain text."""

from __future__ import annotations

import itertools
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lodestream.domain.comments import CommentNew, RichText
from lodestream.mail.comment import Transform, lenient_comment_of, split_body
from lodestream.mail.email import Email
from lodestream.mail.headers import headers_of
from lodestream.mail.html import styled_lines, text_of_html
from lodestream.mail.mime import parse_mime
from tests.mail.samples import sample, samples

MARKUP = Transform(markup=True)


def read(html: str | None, plain: str | None = None, transform: Transform = MARKUP) -> CommentNew:
    email = Email(headers_of("Message-ID: <m@x>\n"), plain=plain, html=html)
    return lenient_comment_of(email, now_us=10**15, transform=transform)


def body(html: str) -> RichText:
    return read(html).messages[0].body


def nodes(text: RichText) -> list[dict[str, Any]]:
    return [] if text.text_markup is msgspec.UNSET else msgspec.json.decode(text.text_markup)


def shape(node: dict[str, Any], text: str) -> Any:
    """Return a node as its kind and what is in it; text as what stands there."""
    if node.get("kind") == "text":
        return slice_of(node, text)
    if node.get("kind") == "break":
        return node["break_kind"]
    name = next(
        (
            node[key]
            for key in ("paragraph_kind", "style_kind", "list_kind", "cell_kind")
            if key in node
        ),
        node.get("kind", ""),
    )
    members: list[dict[str, Any]] = next(
        (node[k] for k in ("children", "items", "rows", "cells") if k in node), []
    )
    return [name, *(shape(one, text) for one in members)]


def slice_of(node: dict[str, Any], text: str) -> str:
    span = node["span"]
    start, end = span["char_start"], span["char_end"]
    assert 0 <= start < end <= len(text)
    wide = text.encode("utf-16-le", "surrogatepass")
    part = wide[span["utf16_byte_start"] : span["utf16_byte_end"]]
    assert part.decode("utf-16-le", "surrogatepass") == text[start:end]
    return text[start:end]


def shapes(html: str) -> Any:
    found = body(html)
    return [shape(one, found.text) for one in nodes(found)]


@pytest.mark.parametrize(
    ("html", "text", "tree"),
    [
        ("Hi <b>Bob</b>", "Hi Bob", [["orphan", "Hi ", ["b", "Bob"]]]),
        ("<p>One</p><p>T<i>w<b>o</b></i></p>", "One\n\nTwo",
         [["p", "One"], ["p", "T", ["i", "w", ["b", "o"]]]]),
        ("<p>One<p>Two", "One\n\nTwo", [["p", "One"], ["p", "Two"]]),
        ("<div>a<br>b<hr>c</div>", "a\nb\nc", [["div", "a", "br", "b", "hr", "c"]]),
        ("<ul><li>one<li>two<ol><li>in</ol></ul>", "- one\n- two\n  1. in",
         [["ul", ["", "one"], ["", "two", ["ol", ["", "in"]]]]]),
        ("<table><tr><th>A<th>B<tr><td>1<td><b>2</b></table>", "A | B\n1 | 2",
         [["table", ["", ["th", "A"], ["th", "B"]], ["", ["td", "1"], ["td", ["b", "2"]]]]]),
        ("<table><tr><td>a<td><td>c</table>", "a | | c",
         [["table", ["", ["td", "a"], ["td"], ["td", "c"]]]]),
        ("<table><tr><td><p>a</p><p>b</p></td><td>c</td></tr></table>", "a\n\nb\n\nc",
         [["table", ["", ["td", ["p", "a"], ["p", "b"]], ["td", "c"]]]]),
        ("<blockquote>q 😀<u>z</u></blockquote>x", "q 😀z\nx",
         [["blockquote", "q 😀", ["u", "z"]], ["orphan", "x"]]),
        ("<s>a</b>b</s><font><span>c", "abc", [["orphan", ["strike", "ab"], "c"]]),
    ],
)  # fmt: skip
def test_elements_become_nodes(html: str, text: str, tree: Any) -> None:
    assert body(html).text == text
    assert shapes(html) == tree


def test_links_and_images_keep_safe_addresses_only() -> None:
    html = (
        '<p><a href="https://example.com/?a=1&amp;b=2">ok</a> <a href="javascript:alert(1)">no</a>'
        ' <a>none</a><img src="cid:1" alt="logo"><img src="data:image/png;x">'
        '<img src="https://t/p.gif" width="1" height=1></p>'
    )
    (paragraph,) = nodes(body(html))
    found = [(one["kind"], one.get("href", one.get("src"))) for one in paragraph["children"]]
    assert [one for one in found if one[0] != "text"] == [
        ("link", "https://example.com/?a=1&b=2"),
        ("link", None),
        ("link", None),
        ("image", "cid:1"),
        ("image", None),
    ]


REPLY = (
    "<html><body><p>Dear <b>Bob</b>,</p><p>the <i>new</i> price is <b>5</b>.</p>"
    '<p>Best regards<br><b>Alice</b><br>Tel. +44 20 7946 0000</p><div class="gmail_quote">'
    '<div class="gmail_attr">On Mon, 5 Jan 2026 at 10:00, Bob &lt;b@x.org&gt; wrote:</div>'
    "<blockquote>what is the <b>price</b>?</blockquote></div></body></html>"
)


def test_markup_is_split_as_the_text_is() -> None:
    (message,) = read(REPLY).messages
    assert message.body.text == "Dear Bob,\n\nthe new price is 5."
    assert [shape(one, message.body.text) for one in nodes(message.body)] == [
        ["p", "Dear ", ["b", "Bob"], ","],
        ["p", "the ", ["i", "new"], " price is ", ["b", "5"], "."],
    ]
    assert isinstance(message.signature, RichText)
    text = message.signature.text
    assert text == "Best regards\nAlice\nTel. +44 20 7946 0000"
    assert [shape(one, text) for one in nodes(message.signature)] == [
        ["p", "Best regards", "br", ["b", "Alice"], "br", "Tel. +44 20 7946 0000"]
    ]


def test_without_html_there_is_no_markup() -> None:
    comment = read(None, "plain text")
    assert (comment.messages[0].body.text, nodes(comment.messages[0].body)) == ("plain text", [])
    assert comment.text_format == "markdown"
    other = read("<p><b>x</b></p>", "plain", Transform())
    assert (other.messages[0].body.text, nodes(other.messages[0].body)) == ("plain", [])
    assert other.text_format == "plain"


def leaves(tree: list[dict[str, Any]], text: str) -> list[tuple[int, int]]:
    """Check a tree, and return the places of its texts in order."""
    found: list[tuple[int, int]] = []
    for node in tree:
        if node.get("kind") == "text":
            slice_of(node, text)
            found.append((node["span"]["char_start"], node["span"]["char_end"]))
        for members in ("children", "items", "captions", "rows", "cells"):
            found += leaves(node.get(members, []), text)
    return found


def check(html: str) -> None:
    comment = read(html)
    (message,) = comment.messages
    parts = [message.body] + (
        [message.signature] if isinstance(message.signature, RichText) else []
    )
    for part in parts:
        places = leaves(nodes(part), part.text)
        assert places == sorted(places)
        assert all(one[1] <= two[0] for one, two in itertools.pairwise(places))
        if nodes(part):
            # What no leaf holds is what the layout adds.
            rest = list(part.text)
            for start, end in places:
                rest[start:end] = [" "] * (end - start)
            assert set("".join(rest)) <= set("\n -|>.0123456789")


TAG = st.sampled_from(
    [
        "p",
        "div",
        "b",
        "i",
        "u",
        "a",
        "ul",
        "ol",
        "li",
        "table",
        "tr",
        "td",
        "th",
        "blockquote",
        "br",
        "pre",
        "h1",
        "span",
        "style",
        "thead",
        "img",
        "hr",
        "caption",
    ]
)
PIECE = st.one_of(
    TAG.map(lambda name: f"<{name}>"),
    TAG.map(lambda name: f"</{name}>"),
    st.sampled_from(["word ", " ", "é😀", "&nbsp;", "a b\n c", "\u200b", "<br>"]),
)


@settings(max_examples=150, deadline=None)
@given(st.lists(PIECE, max_size=25).map("".join))
def test_leaves_are_the_text_in_order(html: str) -> None:
    check(html)
    lines = styled_lines(html, most_chars=65_536)
    assert "\n".join(line.text for line in lines) == text_of_html(
        html, most_chars=65_536, marked=True
    )


def test_leaves_are_the_text_of_real_mails() -> None:
    checked = 0
    for name in samples("talon/**/*.*") + samples("mail_gem/**/*.eml"):
        email = parse_mime(sample(name))
        html = email.html
        if name.endswith(".html"):
            html = sample(name).decode("utf-8", "replace")
        if html:
            check(html)
            alone = Email(email.headers, html=html)
            assert split_body(alone, MARKUP) == split_body(alone)
            checked += 1
    assert checked > 10


def test_what_is_too_much_or_too_deep_costs_little() -> None:
    assert nodes(body("<b>x</b>" * 30_000)) == []
    deep = body("<div><b>" * 5000 + "x")
    assert len(msgspec.json.encode(nodes(deep))) < 10_000
