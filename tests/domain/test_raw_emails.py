"""Raw e-mails as comments."""

from __future__ import annotations

import time
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lodestream.domain.comments import CommentNew, prepare
from lodestream.domain.raw_emails import (
    Body,
    Headers,
    RawEmail,
    RawEmailDocument,
    comment_from,
    decoded,
    mailboxes,
)
from lodestream.domain.times import format_us

NOW_US = 1_700_000_000_000_000


def read(
    headers: dict[str, Any] | str, plain: str = "Hello", html: str | None = None
) -> CommentNew:
    given = Headers(raw=headers) if isinstance(headers, str) else Headers(parsed=headers)
    body = Body(plain=plain) if html is None else Body(plain=plain, html=html)
    comment = comment_from(RawEmailDocument(RawEmail(given, body)), now_us=NOW_US)
    prepare(msgspec.convert(msgspec.to_builtins(comment), CommentNew), salt=0, tag=0)
    return comment


def test_folded_and_repeated_headers_are_read() -> None:
    comment = read(
        "\r\nSubject: a long\r\n  subject\r\nTo: a@x,\r\n b@x\r\nto: c@x\r\nnot a header\r\n"
    )
    (message,) = comment.messages
    assert msgspec.to_builtins(message.subject) == {"text": "a long subject"}
    assert message.to == ["a@x", "b@x", "c@x"]


def test_headers_by_name_replace_those_of_the_text() -> None:
    headers = Headers(raw="Subject: raw\nFrom: a@x", parsed={"SUBJECT": "parsed"})
    comment = comment_from(RawEmailDocument(RawEmail(headers, Body())), now_us=NOW_US)
    (message,) = comment.messages
    assert msgspec.to_builtins(message) == {
        "body": {"text": ""},
        "subject": {"text": "parsed"},
        "from": "a@x",
    }


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("plain", "plain"),
        ("=?utf-8?q?J=C3=B6rg_M.?=", "Jörg M."),
        ("=?UTF-8?B?w5xiZXI=?= =?utf-8?b?IGRpZXM?=", "Über dies"),
        ("=?iso-8859-1*de?Q?M=E4rz?= 1", "März 1"),
        ("=?nonsense?q?a?=", "=?nonsense?q?a?="),
        ("=?utf-8?b?!?=", ""),
        ("=?utf-8?b?A?=", "=?utf-8?b?A?="),
        ("=?utf-8?q?=FF?=", "\ufffd"),
        ("=?unicode_escape?q?=5Cud800?=", "\ufffd"),
        ("=?utf-8?q?a=00b?=", "a\ufffdb"),
        ("=?utf-8?q?a", "=?utf-8?q?a"),
    ],
)
def test_encoded_words_are_read(value: str, text: str) -> None:
    assert decoded(value) == text


@pytest.mark.parametrize(
    ("value", "people"),
    [
        ("", []),
        (" , ,", []),
        ("a@x, B <b@x>", ["a@x", "B <b@x>"]),
        ('"Doe, Jane" <j@x>, k@x', ["Doe, Jane <j@x>", "k@x"]),
        ("=?utf-8?q?Doe=2C_J=C3=B6rg?= <j@x>, k@x", ["Doe, Jörg <j@x>", "k@x"]),
        (r'"a\"b, c" <d@x>, e@x', [r'"a\"b, c" <d@x>', "e@x"]),
        ("a (b, c) <d@x>", ["a (b, c) <d@x>"]),
        ("x" * 600, ["x" * 512]),
    ],
)
def test_people_are_told_apart(value: str, people: list[str]) -> None:
    assert mailboxes([value]) == people


def test_no_more_people_are_read_than_a_comment_may_have() -> None:
    assert len(mailboxes([",".join(f"a{at}@x" for at in range(3000))])) == 2048


@pytest.mark.parametrize(
    ("headers", "instant"),
    [
        ({"Date": "Thu, 09 Jan 2020 16:34:45 +0100"}, "2020-01-09T15:34:45.000000Z"),
        ({"Date": "Thu, 09 Jan 2020 16:34:45 +0000 (UTC)"}, "2020-01-09T16:34:45.000000Z"),
        ({"Date": "9 Jan 2020 16:34 -0000"}, "2020-01-09T16:34:00.000000Z"),
        ({"Date": "2020-01-09T16:34:45+01:00"}, "2020-01-09T15:34:45.000000Z"),
        (
            {"Date": "soon", "Received": ["from a by b; 9 Jan 2020 16:34:45 +0000", "; x"]},
            "2020-01-09T16:34:45.000000Z",
        ),
    ],
)
def test_the_date_is_read_leniently(headers: dict[str, Any], instant: str) -> None:
    comment = read(headers)
    assert comment.timestamp == instant
    assert comment.messages[0].sent_at == instant


@pytest.mark.parametrize(
    "date", ["", "soon", "Thu, 01 Jan 1970 00:00:00 +0000", "1 Jan 1300 00:00:00 +0000", "9" * 99]
)
def test_an_email_without_a_date_is_dated_now(date: str) -> None:
    comment = read({"Date": date})
    assert comment.timestamp == format_us(NOW_US)
    assert isinstance(comment.messages[0].sent_at, msgspec.UnsetType)


def test_the_id_is_that_of_the_message_or_made_of_the_headers() -> None:
    assert read({"Message-ID": "<m@x>"}).id == b"<m@x>".hex()
    assert len(read({"Message-ID": "<" + "m" * 600 + ">"}).id) == 64
    first, again, other = read({"From": "a@x"}), read({"From": "a@x"}), read({"From": "b@x"})
    assert first.id == again.id != other.id


def test_the_thread_is_that_of_the_first_mail() -> None:
    headers = {"Message-ID": "<m2@x>", "In-Reply-To": "<m1@x>"}
    assert read(headers).thread_id == b"<m1@x>".hex()
    assert read(headers | {"References": "<m0@x> <m1@x>"}).thread_id == b"<m0@x>".hex()
    assert read({"Message-ID": "<m2@x>"}).thread_id == b"<m2@x>".hex()


def test_html_is_read_where_there_is_no_plain_text() -> None:
    assert read({}, "plain", "<p>html</p>").messages[0].body.text == "plain"
    assert read({}, " \n", "<p>html</p>").messages[0].body.text == "html"


@pytest.mark.parametrize(
    "piece",
    ["=?", "=?utf-8?q?", "=?a?q?b?= ", "(", '"', "a,", "<", "\\", "\n ", "a:b\n", " ", "<a>"],
)
@pytest.mark.parametrize("name", ["Subject", "From", "Date", "References", "Message-ID"])
def test_time_grows_with_the_length_only(piece: str, name: str) -> None:
    started = time.perf_counter()
    text = (piece * 65_536)[:65_000]
    read({name: text})
    read(f"{name}: {text}")
    assert time.perf_counter() - started < 2  # it is a matter of minutes where it grows faster


@given(
    st.dictionaries(
        st.sampled_from(["Date", "From", "To", "Subject", "Message-ID", "References", "Received"]),
        st.text(alphabet=st.characters(codec="utf-8", exclude_characters="\0"), max_size=60)
        | st.integers()
        | st.lists(st.text(alphabet='=?bq"<>,;@()\\ a1', max_size=40), max_size=3),
    )
)
def test_any_headers_make_a_comment_that_could_be_stored(headers: dict[str, Any]) -> None:
    read(headers)


@given(st.text(alphabet=st.characters(codec="utf-8", exclude_characters="\0"), max_size=200))
def test_any_text_can_be_read_as_headers(text: str) -> None:
    read(text)
