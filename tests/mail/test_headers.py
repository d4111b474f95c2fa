"""Encoded words and addresses in headers."""

from __future__ import annotations

import pytest

from lodestream.mail.headers import decoded, mailboxes


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
        ("=?utf-8?q?=FF?=", "ÿ"),
        ("=?unicode_escape?q?=5Cu0041?=", "=?unicode_escape?q?=5Cu0041?="),
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


def test_encoded_words_cut_inside_a_character_are_joined() -> None:
    assert decoded("=?utf-8?q?J=C3?= =?utf-8?q?=B6rg?=") == "Jörg"


def test_the_members_of_a_group_are_people() -> None:
    assert mailboxes(["Friends: a@x, B <b@x>;, c@x"]) == ["a@x", "B <b@x>", "c@x"]
