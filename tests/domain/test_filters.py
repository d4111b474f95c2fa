"""The comment filter: its grammar and its meaning."""

from __future__ import annotations

import json
from typing import Any

import pytest
from msgspec import Raw

from lodestream.domain.errors import InvalidInput
from lodestream.domain.filters import (
    CommentFilter,
    FilterSubject,
    NumberPropertyFilter,
    Participants,
    StringPropertyFilter,
    ThreadInfo,
    canonical_echo,
    matches,
    parse_filter,
)
from lodestream.domain.ids import HEX16
from lodestream.domain.times import parse_us

SOURCE = "18ba5ce699f8da1f"
STREAM = "5f1c2a7be0d94c3391ab04d27e6650c8"


def parse(value: Any) -> CommentFilter:
    return parse_filter(json.dumps(value).encode())


def subject(**changes: Any) -> FilterSubject:
    fields = {"timestamp_us": parse_us("2024-01-15T12:00:00Z"), "source_id": SOURCE, **changes}
    return FilterSubject(**fields)


def holds(value: Any, **changes: Any) -> bool:
    return matches(parse(value), subject(**changes))


EMPTY: list[Any] = [
    None,
    {},
    {"messages": {}},
    {"messages": {"from": {}, "to": {}, "recipient": {}}},
    {"user_properties": {}},
    {"user_properties": {"string:A": {}, "number:B": {}}},
    {"user_properties": {"string:A": {"include_missing": True}}},
    {"user_properties": {"string:A": {"one_of": [], "not_one_of": []}}},
    {"user_properties": {"number:A": {"minimum": None, "maximum": None}}},
    {"timestamp": {}},
    {"sources": []},
    {"trigger_exceptions": {}},
    {"trigger_exceptions": {STREAM: {}}},
    {"annotations": {}},
    {"annotations": {"labels": {}}},
    {"entities": {}},
    {"entities": {"presence": []}},
    {"thread_properties": {}},
    {"thread_properties": {"id": {}, "duration": {"minimum": None}}},
]


@pytest.mark.parametrize("value", EMPTY)
def test_an_empty_filter_holds_of_everything(value: Any) -> None:
    assert holds(value)
    assert holds(value, user_properties={"string:A": "x", "number:A": 1})


@pytest.mark.parametrize("value", EMPTY)
def test_an_empty_filter_is_echoed_as_given_but_for_null(value: Any) -> None:
    assert json.loads(canonical_echo(json.dumps(value).encode())) == (value or {})


def test_an_echo_keeps_keys_order_and_spelling() -> None:
    given = (
        '{ "user_properties" : {"number:Region": {"one_of": [2, 1.0, "7"], "minimum": null}},'
        '\n "timestamp": {"minimum": "2024-01-01T00:00:00"}, "sources": [] }'
    )
    assert canonical_echo(given.encode()) == (
        b'{"user_properties":{"number:Region":{"one_of":[2,1.0,"7"],"minimum":null}},'
        b'"timestamp":{"minimum":"2024-01-01T00:00:00"},"sources":[]}'
    )
    assert canonical_echo(Raw(b" null ")) == b"{}"


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({"a": 1}, "comment_filter: Object contains unknown field `a`"),
        ([], "comment_filter: Expected `object | null`, got `array`"),
        (
            {"messages": {"from": {"include_missing": True}}},
            "comment_filter.messages.from: Object contains unknown field `include_missing`",
        ),
        (
            {"user_properties": {"NPS": {}}},
            "comment_filter.user_properties['NPS']: key must start with 'string:' or 'number:'",
        ),
        (
            {"user_properties": {"string:": {}}},
            "comment_filter.user_properties['string:']: the name after the colon is empty",
        ),
        (
            {"user_properties": {"string:A": {"one_of": ["x", 1]}}},
            "comment_filter.user_properties['string:A'].one_of[1]: Expected `str`, got `int`",
        ),
        (
            {"user_properties": {"number:A": {"one_of": ["1e3", "x"]}}},
            "comment_filter.user_properties['number:A'].one_of[1]: Expected a number",
        ),
        (
            {"user_properties": {"number:A": {"minimum": "inf"}}},
            "comment_filter.user_properties['number:A'].minimum: Expected a finite number",
        ),
        (
            {"user_properties": {"number:A": {"minimum": True}}},
            "comment_filter.user_properties['number:A'].minimum: Expected a number",
        ),
        (
            {"user_properties": {"string:A": {"minimum": 1}}},
            "comment_filter.user_properties['string:A']: Object contains unknown field `minimum`",
        ),
        (
            {"user_properties": {"string:A": {"one_of": None}}},
            "comment_filter.user_properties['string:A'].one_of: Expected `array`, got `null`",
        ),
        (
            {"user_properties": {"string:A": {"one_of": [None]}}},
            "comment_filter.user_properties['string:A'].one_of[0]: Expected `str`, got `null`",
        ),
        (
            {"user_properties": {"string:A": {"one_of": [""]}}},
            "comment_filter.user_properties['string:A'].one_of[0]: Expected `str` of length >= 1",
        ),
        (
            {"user_properties": {"string:A": {"one_of": [str(n) for n in range(129)]}}},
            "comment_filter.user_properties['string:A'].one_of: Expected `array` of length <= 128",
        ),
        ({"sources": None}, "comment_filter.sources: Expected `array`, got `null`"),
        (
            {"sources": ["ABC"]},
            f"comment_filter.sources[0]: Expected `str` matching regex {HEX16!r}",
        ),
        ({"reviewed": None}, "comment_filter.reviewed: Expected `str`, got `null`"),
        ({"reviewed": "all"}, "comment_filter.reviewed: Invalid enum value 'all'"),
        (
            {"timestamp": {"minimum": "yesterday"}},
            "comment_filter.timestamp.minimum: Expected a timestamp: "
            "Invalid isoformat string: 'yesterday'",
        ),
        ({"timestamp": {"maximum": 1}}, "comment_filter.timestamp.maximum: Expected a timestamp"),
        (
            {"entities": {"presence": [{"id": "x", "rule": "often"}]}},
            "comment_filter.entities.presence[0].rule: Invalid enum value 'often'",
        ),
        (
            {"entities": {"presence": [{"rule": "absent"}]}},
            "comment_filter.entities.presence[0]: needs either `id` or `kind`",
        ),
    ],
)
def test_a_refusal_names_the_path(value: Any, message: str) -> None:
    raw = json.dumps(value).encode()
    for read in (parse_filter, canonical_echo):
        with pytest.raises(InvalidInput) as refusal:
            read(raw)
        assert refusal.value.message == message


def test_a_refusal_begins_with_where_the_filter_stands() -> None:
    with pytest.raises(InvalidInput, match=r"^stream\.comment_filter\.sources: "):
        parse_filter(b'{"sources":1}', where="stream.comment_filter")
    with pytest.raises(InvalidInput, match=r"^filter: JSON is malformed"):
        parse_filter(b"{]", where="filter")
    with pytest.raises(InvalidInput, match=r"^comment_filter"):
        parse_filter(b'{"sources":["\xff"]}')


def test_the_prefix_of_a_property_decides_its_filter() -> None:
    parsed = parse({"user_properties": {"string:NPS": {}, "number:NPS": {"one_of": ["7"]}}})
    assert isinstance(parsed.user_properties["string:NPS"], StringPropertyFilter)
    number = parsed.user_properties["number:NPS"]
    assert isinstance(number, NumberPropertyFilter)
    assert number.one_of == (7.0,)


def test_property_values_differing_in_case_match_and_names_do_not() -> None:
    value = {"user_properties": {"string:Team": {"one_of": ["CLAIMS", "Strasse"]}}}
    assert holds(value, user_properties={"string:Team": "claims"})
    assert holds(value, user_properties={"string:Team": "STRAẞE"})
    assert not holds(value, user_properties={"string:team": "claims"})
    assert not holds(value, user_properties={"number:Team": 1})


@pytest.mark.parametrize(
    ("include_missing", "without", "blank"),
    [(None, True, True), (True, True, True), (False, False, False)],
)
def test_not_one_of_and_missing_values(
    include_missing: bool | None, without: bool, blank: bool
) -> None:
    predicate: dict[str, Any] = {"not_one_of": ["Test"]}
    if include_missing is not None:
        predicate["include_missing"] = include_missing
    value = {"user_properties": {"string:Team": predicate}}
    assert holds(value) is without
    assert holds(value, user_properties={"string:Team": " "}) is blank
    assert not holds(value, user_properties={"string:Team": "test"})
    assert holds(value, user_properties={"string:Team": "Sales"})


def test_one_of_fails_a_missing_value_unless_included() -> None:
    assert not holds({"user_properties": {"string:A": {"one_of": ["x"]}}})
    assert holds({"user_properties": {"string:A": {"one_of": ["x"], "include_missing": True}}})
    assert not holds({"user_properties": {"string:A": {"include_missing": False}}})


@pytest.mark.parametrize(("number", "inside"), [(-1, False), (0, True), (6.0, True), (6.1, False)])
def test_a_range_includes_both_ends(number: float, inside: bool) -> None:
    value = {"user_properties": {"number:NPS": {"minimum": 0, "maximum": 6}}}
    assert holds(value, user_properties={"number:NPS": number}) is inside


def test_a_null_bound_is_no_bound() -> None:
    value = {"user_properties": {"number:NPS": {"minimum": None, "maximum": 6}}}
    assert holds(value, user_properties={"number:NPS": -1000})
    assert not holds(value)


def test_numbers_compare_numerically() -> None:
    assert holds(
        {"user_properties": {"number:A": {"one_of": [7.0]}}}, user_properties={"number:A": 7}
    )


def test_two_properties_must_both_hold_and_one_of_two_values_suffices() -> None:
    value = {"user_properties": {"string:A": {"one_of": ["x", "y"]}, "number:B": {"one_of": [1]}}}
    assert holds(value, user_properties={"string:A": "y", "number:B": 1})
    assert not holds(value, user_properties={"string:A": "y", "number:B": 2})
    assert not holds(value, user_properties={"string:A": "z", "number:B": 1})


def test_a_domain_of_a_property_is_what_follows_the_at_sign() -> None:
    value = {"user_properties": {"string:From": {"domain_not_one_of": ["ACME.com"]}}}
    assert not holds(value, user_properties={"string:From": "ann@acme.com"})
    assert not holds(value, user_properties={"string:From": "Ann <ann@Acme.com>"})
    assert holds(value, user_properties={"string:From": "ann@mail.acme.com"})
    assert holds(value, user_properties={"string:From": "no address"})
    assert holds(value)


FROM_ANN = Participants(from_=("Ann B <ANN@Mail.Example.COM>",), to=("help@acme.com", "Speaker 1"))


@pytest.mark.parametrize(
    ("messages", "expected"),
    [
        ({"from": {"one_of": ["ann@mail.example.com"]}}, True),
        ({"from": {"one_of": ["ann b <ann@mail.example.com>"]}}, True),
        ({"from": {"one_of": ["mail.example.com"]}}, False),
        ({"from": {"domain_one_of": ["mail.example.com"]}}, True),
        ({"from": {"domain_one_of": ["@MAIL.example.com"]}}, True),
        ({"from": {"domain_one_of": ["example.com"]}}, False),
        ({"from": {"domain_not_one_of": ["mail.example.com"]}}, False),
        ({"from": {"organisation_one_of": ["example"]}}, True),
        ({"from": {"organisation_one_of": ["example.com"]}}, True),
        ({"from": {"organisation_one_of": ["mail"]}}, False),
        ({"from": {"organisation_not_one_of": ["Example"]}}, False),
        ({"from": {"one_of": ["ann@mail.example.com"], "domain_one_of": ["acme.com"]}}, False),
        ({"to": {"one_of": ["speaker 1"]}}, True),
        ({"to": {"domain_one_of": ["acme.com"], "include_missing": False}}, True),
        ({"to": {"one_of": ["speaker 1"], "include_missing": False}}, True),
        ({"to": {"not_one_of": ["speaker 1"]}}, False),
        ({"recipient": {"one_of": ["HELP@acme.com"]}, "cc": {"not_one_of": ["x@y.z"]}}, True),
        ({"cc": {"include_missing": False}}, False),
        ({"cc": {"one_of": ["x@y.z"], "include_missing": True}}, True),
        ({"cc": {"one_of": ["help@acme.com"]}}, False),
    ],
)
def test_participants(messages: Any, expected: bool) -> None:
    assert holds({"messages": messages}, participants=FROM_ANN) is expected


@pytest.mark.parametrize(
    ("bounds", "expected"),
    [
        ({"minimum": "2024-01-15T12:00:00Z"}, True),
        ({"maximum": "2024-01-15T12:00:00"}, True),
        ({"maximum": "2024-01-15T13:00:00+01:00"}, True),
        ({"minimum": "2024-01-15T12:00:00.000001Z"}, False),
        ({"minimum": "2024-01-16T00:00:00Z", "maximum": "2024-01-01T00:00:00Z"}, False),
    ],
)
def test_a_timestamp_range_includes_both_ends(bounds: Any, expected: bool) -> None:
    assert holds({"timestamp": bounds}) is expected


def test_reviewed_is_what_the_subject_says_of_its_dataset() -> None:
    assert holds({"reviewed": "only_reviewed"}, reviewed=True)
    assert not holds({"reviewed": "only_unreviewed"}, reviewed=True)
    assert holds({"reviewed": "only_unreviewed"})


def test_an_unknown_source_matches_nothing() -> None:
    assert holds({"sources": ["0" * 16, SOURCE]})
    assert not holds({"sources": ["0" * 16]})


@pytest.mark.parametrize(
    ("predicate", "untagged", "wrong", "late"),
    [
        ({"one_of": [None]}, True, False, False),
        ({"not_one_of": [None]}, False, True, True),
        ({"one_of": ["wrong"]}, False, True, False),
        ({"one_of": [None, "wrong"]}, True, True, False),
        ({"not_one_of": ["wrong"]}, True, False, True),
        ({"one_of": ["wrong"], "include_missing": True}, True, True, False),
        ({"one_of": [None], "include_missing": False}, False, False, False),
    ],
)
def test_exceptions(predicate: Any, untagged: bool, wrong: bool, late: bool) -> None:
    value = {"trigger_exceptions": {STREAM: predicate}}
    assert holds(value) is untagged
    assert holds(value, exceptions={STREAM: "wrong"}) is wrong
    assert holds(value, exceptions={STREAM: "late"}) is late


def test_labels_are_exact_names_of_assigned_labels() -> None:
    value = {"annotations": {"labels": {"one_of": ["Claim > Status"]}}}
    assert holds(value, assigned_labels=("Other", "Claim > Status"))
    assert not holds(value, assigned_labels=("Claim", "claim > status"))
    assert not holds(value)
    assert holds({"annotations": {"labels": {"one_of": ["x"], "include_missing": True}}})


def test_presence_rules() -> None:
    present = {"entities": {"presence": [{"id": "e1", "rule": "present"}]}}
    absent = {"entities": {"presence": [{"kind": "date", "rule": "absent"}]}}
    assert holds(present, entity_ids=("e1",))
    assert not holds(present)
    assert holds(absent)
    assert not holds(absent, entity_kinds=("date",))


def test_thread_values_and_their_absence() -> None:
    thread = ThreadInfo(
        id="T1",
        thread_position=1,
        num_messages=3,
        num_participants=2,
        duration_s=60.0,
        response_time_s=None,
        all_senders=("Ann <ann@b.c>",),
    )
    assert holds({"thread_properties": {"num_messages": {"minimum": 3}}}, thread=thread)
    assert not holds({"thread_properties": {"num_messages": {"minimum": 3}}})
    assert not holds({"thread_properties": {"response_time": {"minimum": 0}}}, thread=thread)
    assert holds({"thread_properties": {"all_senders": {"one_of": ["ANN@b.c"]}}}, thread=thread)
    assert not holds({"thread_properties": {"id": {"one_of": ["t1"]}}}, thread=thread)
    assert holds({"thread_properties": {"id": {"not_one_of": ["t1"]}}})
