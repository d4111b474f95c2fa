"""Facets: what is stored of a comment for filters to test."""

from __future__ import annotations

import json
import math
import re

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import UNSET, UnsetType

from lodestream.domain import facets
from lodestream.domain.facets import facets_of, fold, number_key, property_key


class Message(msgspec.Struct):
    from_: str | UnsetType = UNSET
    to: list[str] | UnsetType = UNSET
    cc: list[str] | UnsetType = UNSET
    bcc: list[str] | UnsetType = UNSET


def entries_of(*messages: Message) -> list[str]:
    raw = facets_of(messages, {})
    assert raw is not None
    return json.loads(raw)["p"].strip("\x7f").split("\x7f")


def test_a_comment_without_participants_and_properties_has_no_facets() -> None:
    assert facets_of([Message(), Message(to=[])], {}) is None
    assert facets_of([], UNSET) is None
    assert facets_of([], None) is None


def test_properties_are_folded_texts_and_ordered_digits() -> None:
    raw = facets_of([], {"string:Team": "Claims GROẞ", "number:NPS": 7})
    assert raw is not None
    assert json.loads(raw) == {"sTeam": "claims gross", "nNPS": "c01c000000000000"}


@pytest.mark.parametrize("blank", ["", " ", "\t\n", "\u3000"])
def test_a_blank_property_is_missing(blank: str) -> None:
    assert facets_of([], {"string:Team": blank}) is None


def test_a_display_name_is_kept_beside_its_address() -> None:
    entries = entries_of(Message(from_="Ann B <Ann@Mail.Example.ORG>"))
    assert entries == ["ann@mail.\x90example.org", "\x98ann b <ann@mail.example.org>"]


def test_roles_have_tags_of_their_own() -> None:
    entries = entries_of(Message("a@b.c", ["a@b.c"], ["a@b.c"], ["Speaker 1"]))
    assert entries == ["a@\x90b.c", "a@\x91b.c", "a@\x92b.c", "\x97speaker 1"]


def test_the_first_at_sign_of_an_address_is_the_one_before_its_domain() -> None:
    assert entries_of(Message("a@b@c.d", ["a@b@c.d.e"])) == ["a\x9cb@\x90c.d", "a\x9cb@c.\x91d.e"]


def test_a_participant_of_many_messages_is_kept_once() -> None:
    assert entries_of(*[Message("a@b.c")] * 5) == ["a@\x90b.c"]


def test_a_name_that_is_no_path_is_percent_encoded_reversibly() -> None:
    key = property_key('string:a"b\\c%22 d.é\n')
    assert key == "sa%22b%5Cc%2522 d.é%0A"
    decoded = re.sub("%([0-9A-F]{2})", lambda found: chr(int(found[1], 16)), key[1:])
    assert decoded == 'a"b\\c%22 d.é\n'


@pytest.mark.parametrize("name", ["NPS", "bool:x", ":x", "String:x"])
def test_a_key_without_a_known_prefix_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="key must start with 'string:' or 'number:'"):
        property_key(name)


@given(st.floats(allow_nan=False), st.floats(allow_nan=False))
def test_number_keys_stand_in_the_order_of_numbers(a: float, b: float) -> None:
    assert (number_key(a) < number_key(b)) is (a < b)
    assert (number_key(a) == number_key(b)) is (a == b)


def test_integers_and_floats_of_one_value_have_one_key() -> None:
    assert number_key(7) == number_key(7.0)
    assert number_key(0) == number_key(-0.0)
    assert number_key(10**400) == number_key(math.inf)
    assert number_key(-(10**400)) == number_key(-math.inf)


@given(st.text())
def test_folding_leaves_no_reserved_character_and_is_stable(text: str) -> None:
    folded = fold(text)
    assert not set(folded) & set("\x00\x7f\x90\x91\x92\x93\x94\x95\x96\x97\x98\x99\x9a\x9b\x9c")
    assert fold(folded.casefold()) == fold(folded)


@given(st.lists(st.text(min_size=1)), st.text())
def test_facets_are_json_that_postgresql_can_store(people: list[str], value: str) -> None:
    raw = facets_of([Message(to=people)], {"string:x": value})
    if raw is not None:
        assert "\x00" not in "".join(json.loads(raw).values())


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("name <a@b.c>", "a@b.c"),
        ("<a@b.c>", "a@b.c"),
        ("x <y> < a@b.c >", "a@b.c"),
        ("a@b.c", "a@b.c"),
        ("team <sales>", "team <sales>"),
        ("a@b.c (name)", "a@b.c (name)"),
        ("foo@bar>", "foo@bar"),
        (">", ">"),
    ],
)
def test_the_address_of_a_participant(text: str, address: str) -> None:
    assert facets.address_of(text) == address


@pytest.mark.parametrize(
    ("domain", "organisation"),
    [("mail.example.org", "example.org"), ("example.org", "example.org"), ("localhost",) * 2],
)
def test_an_organisation_is_the_last_two_labels(domain: str, organisation: str) -> None:
    assert facets.organisation_of(domain) == organisation


@given(st.sampled_from(["string:", "number:"]), st.text(min_size=1))
def test_a_key_tells_the_name_of_its_property(kind: str, name: str) -> None:
    assert facets.property_name(property_key(kind + name)) == kind + name
