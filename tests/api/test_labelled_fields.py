"""Fields and extractions of comments over HTTP, with their spans."""

from __future__ import annotations

from typing import Any

import pytest

from tests.build import dataset_path, make_comment, make_source, sync
from tests.client import Client

Json = dict[str, Any]
LABELLINGS = "/api/_private/datasets/acme/support/labellings"
TEXT = "😀 refund 退款 for order 42, please"
TYPES = [
    {"name": "order", "title": "Order", "inherits_from": [], "trainable": False},
    {"name": "amount", "title": "Amount", "inherits_from": [], "trainable": False},
]
FIELDS = [
    {"api_name": "order-number", "field_type_name": "order"},
    {"api_name": "gross", "field_type_name": "amount"},
    {"api_name": "net", "field_type_name": "amount"},
]
FORM = [{"name": "id", "kind": "order"}, {"name": "sum", "kind": "amount"}]


@pytest.fixture
def source(client: Client) -> str:
    source: str = make_source(client)["id"]
    subject = {"subject": {"text": "Re: 退款"}, "body": {"text": TEXT}}
    sync(client, [make_comment("c0", messages=[subject]), make_comment("c1", TEXT)])
    definition = {
        "source_ids": [source],
        "has_sentiment": False,
        "entity_defs": TYPES,
        "general_fields": FIELDS,
        "label_defs": [{"name": "Refund", "moon_form": FORM}, {"name": "Other"}],
    }
    client.ok("PUT", dataset_path(), {"dataset": definition})
    return source


def put(client: Client, source: str, comment: str = "c0", **update: Any) -> Json:
    answer: Json = client.ok("POST", f"{LABELLINGS}/{source}.{comment}", update)
    return answer


def span_of(part: str, text: str = TEXT, content_part: str = "body", index: int = 0) -> Json:
    """All six fields of the span of a piece of a text."""
    start = text.index(part)
    end = start + len(part)
    return {
        "content_part": content_part,
        "message_index": index,
        "char_start": start,
        "char_end": end,
        "utf16_byte_start": len(text[:start].encode("utf-16-le")),
        "utf16_byte_end": len(text[:end].encode("utf-16-le")),
    }


def in_bytes(span: Json) -> Json:
    return {name: value for name, value in span.items() if not name.startswith("char")}


def in_chars(span: Json) -> Json:
    return {name: value for name, value in span.items() if not name.startswith("utf16")}


def ids(client: Client) -> dict[str, str]:
    dataset = client.ok("GET", dataset_path())["dataset"]
    found = {one["name"]: one["id"] for one in dataset["entity_defs"]}
    return found | {one["api_name"]: one["field_id"] for one in dataset["general_fields"]}


def test_a_field_is_answered_with_everything_that_clients_need(client: Client, source: str) -> None:
    span = span_of("42")
    given = {"name": "order", "formatted_value": "42", "span": in_bytes(span)}
    answer = put(client, source, entities={"assigned": [given]})
    known = ids(client)
    assert answer["entities"]["assigned"] == [
        {
            "id": known["order"],
            "kind": "order",
            "name": "order",
            "formatted_value": "42",
            "field_id": known["order-number"],
            "spans": [span],
            "span": span,
        }
    ]
    assert answer["comment"]["has_annotations"] is True
    read = client.ok("GET", f"{LABELLINGS}?id={source}.c0")["results"][0]
    assert read["entities"] == answer["entities"]


@pytest.mark.parametrize("part", ["refund", "退款", "😀", "order 42", ""])
@pytest.mark.parametrize("form", [in_bytes, in_chars, dict])
def test_offsets_are_exact_in_either_form(
    client: Client, source: str, part: str, form: Any
) -> None:
    span = span_of(part)
    given = {"name": "order", "formatted_value": part, "spans": [form(span)]}
    answer = put(client, source, entities={"assigned": [given]})
    assert answer["entities"]["assigned"][0]["spans"] == [span]


def test_a_value_may_have_several_spans_or_none(client: Client, source: str) -> None:
    spans = [span_of("refund"), span_of("退款", "Re: 退款", "subject")]
    given = [
        {"name": "amount", "formatted_value": "both", "spans": [in_bytes(one) for one in spans]},
        {"name": "amount", "formatted_value": "none"},
    ]
    answer = put(client, source, entities={"dismissed": given})
    both, none = answer["entities"]["dismissed"]
    assert both["spans"] == spans
    assert "span" not in both
    assert none["spans"] == []
    # Two general fields are of this type, so none is meant; clients get an id all the same.
    assert both["field_id"] == ids(client)["amount"]


def test_a_type_is_found_by_any_of_its_names(client: Client, source: str) -> None:
    known = ids(client)
    ways: list[Json] = [
        {"id": known["amount"]},
        {"kind": "amount"},
        {"name": "amount"},
        {"name": "net"},
        {"field_id": known["net"]},
        {"id": "0" * 16, "name": "amount"},
        {"name": "amount", "field_id": known["net"]},
    ]
    for way in ways:
        answer = put(client, source, entities={"assigned": [{**way, "formatted_value": "1"}]})
        assert answer["entities"]["assigned"][0]["name"] == "amount", way
    assert answer["entities"]["assigned"][0]["field_id"] == known["net"]
    wrong = {"name": "order", "field_id": known["net"], "formatted_value": "1"}
    body = {"entities": {"assigned": [wrong]}}
    assert client.post(f"{LABELLINGS}/{source}.c0", body).status == 400


def bad(**change: object) -> Json:
    span = {**in_bytes(span_of("refund")), **change}
    return {key: value for key, value in span.items() if value is not None}


BAD_SPANS = [
    bad(utf16_byte_start=1),
    bad(utf16_byte_start=2),
    bad(utf16_byte_end=7),
    bad(utf16_byte_start=20, utf16_byte_end=10),
    bad(utf16_byte_end=2 * len(TEXT) + 4),
    bad(utf16_byte_end=262_145),
    bad(utf16_byte_start=-2),
    bad(utf16_byte_start=None),
    bad(utf16_byte_start=6.5),
    bad(char_start=1),
    bad(char_start=0, char_end=3),
    bad(content_part="signature"),
    bad(content_part="title"),
    bad(message_index=1),
    bad(message_index=2048),
    bad(message_index=-1),
    in_chars({**span_of("refund"), "char_end": len(TEXT) + 1}),
    in_chars({**span_of("refund"), "char_start": 65_537}),
    {},
]


@pytest.mark.parametrize("span", BAD_SPANS)
def test_a_bad_span_is_refused(client: Client, source: str, span: Json) -> None:
    given = {"name": "order", "formatted_value": "1", "span": span}
    update = {"labelling": [{"assigned": []}], "entities": {"assigned": [given]}}
    answer = client.post(f"{LABELLINGS}/{source}.c0", update)
    assert answer.status == 400, answer.content
    assert put(client, source)["entities"]["assigned"] == []


def test_the_end_of_the_longest_text_is_inside_it(client: Client, source: str) -> None:
    text = "😀" * 65_536
    sync(client, [make_comment("long", text)])
    span = span_of("😀" * 2 + "😀" * 65_534, text)
    given = {"name": "order", "formatted_value": "all", "spans": [in_bytes(span)]}
    answer = put(client, source, "long", entities={"assigned": [given]})
    assert answer["entities"]["assigned"][0]["spans"] == [span]


def test_new_words_drop_fields_and_keep_labels(client: Client, source: str) -> None:
    with_span = {"name": "order", "formatted_value": "42", "span": in_bytes(span_of("42"))}
    without = {"name": "amount", "formatted_value": "7"}
    label = [{"name": "Refund", "sentiment": "positive"}]
    for comment in ("c0", "c1"):
        put(
            client,
            source,
            comment,
            labelling=[{"assigned": label}],
            entities={"assigned": [with_span, without]},
        )
    sync(client, [make_comment("c0", "Other words"), make_comment("c1", TEXT, thread_id="t")])
    changed, kept = put(client, source, "c0"), put(client, source, "c1")
    assert [one["formatted_value"] for one in changed["entities"]["assigned"]] == ["7"]
    assert [one["name"] for one in changed["labelling"][0]["assigned"]] == ["Refund"]
    assert [one["formatted_value"] for one in kept["entities"]["assigned"]] == ["42", "7"]


def test_a_comment_of_fields_alone_stops_being_reviewed_with_them(
    client: Client, source: str
) -> None:
    given = {"name": "order", "formatted_value": "42", "span": in_bytes(span_of("42"))}
    assert put(client, source, entities={"assigned": [given]})["comment"]["has_annotations"]
    sync(client, [make_comment("c0", "Other words")])
    assert not put(client, source)["comment"]["has_annotations"]


def test_removing_a_field_type_removes_its_annotations(client: Client, source: str) -> None:
    given = [
        {"name": "order", "formatted_value": "1"},
        {"name": "amount", "formatted_value": "2"},
    ]
    put(client, source, entities={"assigned": given})
    change = {"entity_defs": TYPES[:1], "general_fields": FIELDS[:1]}
    label = {"label": {"moon_form": FORM[:1]}}
    client.ok(
        "POST",
        "/api/_private/datasets/acme/support/labels/default?label_name=Refund",
        label,
    )
    client.ok("POST", dataset_path(), {"dataset": change})
    assert [one["name"] for one in put(client, source)["entities"]["assigned"]] == ["order"]
    # A type of the same name is another one: what was dropped does not come back.
    client.ok("POST", dataset_path(), {"dataset": {"entity_defs": TYPES}})
    assert [one["name"] for one in put(client, source)["entities"]["assigned"]] == ["order"]


def form(label: str, *captures: list[Json]) -> Json:
    return {
        "label": {"name": label, "sentiment": "positive"},
        "captures": [{"fields": fields} for fields in captures],
    }


def test_extractions_decide_which_labels_are_assigned(client: Client, source: str) -> None:
    span = span_of("42")
    fields = [{"name": "id", "formatted_value": "42", "spans": [in_bytes(span)]}]
    given = {"group": "default", "assigned": [form("Refund", fields, []), form("New")]}
    answer = put(client, source, moon_forms=[given])
    assert [one["name"] for one in answer["labelling"][0]["assigned"]] == ["New", "Refund"]
    (shown,) = answer["moon_forms"]
    new, refund = shown["assigned"]
    assert (new["label"]["name"], new["captures"]) == ("New", [])
    (field,) = refund["captures"][0]["fields"]
    assert field["kind"] == "order"
    assert field["field_type_id"] == field["id"] == ids(client)["order"]
    assert field["spans"] == [span]
    assert field["document_spans"] == []
    assert "predicted" not in shown
    answer = put(client, source, labelling=[{"assigned": [new["label"]]}])
    assert "moon_forms" not in answer


def test_what_the_client_sends_of_an_empty_form_is_understood(client: Client, source: str) -> None:
    label = {"name": "Refund", "sentiment": "positive"}
    answer = put(client, source, moon_forms=[{"group": "default", "assigned": [{"label": label}]}])
    assert [one["name"] for one in answer["labelling"][0]["assigned"]] == ["Refund"]
    assert "moon_forms" not in answer
    answer = put(client, source, moon_forms=[{"group": "default", "assigned": []}])
    assert answer["labelling"][0]["assigned"] == []


def test_dismissed_extractions_come_as_an_object_and_go_as_a_list(
    client: Client, source: str
) -> None:
    dismissed = {
        "labels": [{"name": "Other", "sentiment": "positive"}],
        "entities": [{"name": "amount", "formatted_value": "7"}],
        "captures": [form("Refund", [{"name": "sum", "formatted_value": "7"}])],
    }
    draft = [form("Refund", [{"name": "sum", "formatted_value": "8", "confirmed": False}])]
    given = {"assigned": [form("Refund")], "dismissed": dismissed, "drafted": draft}
    answer = put(client, source, moon_forms=[given])
    assert [one["name"] for one in answer["labelling"][0]["dismissed"]] == ["Other"]
    assert [one["name"] for one in answer["entities"]["dismissed"]] == ["amount"]
    (shown,) = answer["moon_forms"]
    assert [one["label"]["name"] for one in shown["dismissed"]] == ["Other", "Refund"]
    drafted = shown["drafted"][0]["captures"][0]["fields"][0]
    assert (drafted["formatted_value"], drafted["confirmed"]) == ("8", False)


BAD_FORMS: list[Json] = [
    {"moon_forms": [{"assigned": [form("Refund", [{"name": "x", "formatted_value": "1"}])]}]},
    {"moon_forms": [{"assigned": [form("New", [{"name": "id", "formatted_value": "1"}])]}]},
    {"moon_forms": [{"assigned": [form("Refund"), form("Refund")]}]},
    {"moon_forms": [{"assigned": [form("Refund")]}], "labelling": [{"assigned": []}]},
    {"moon_forms": [{"assigned": []}, {"assigned": []}]},
    {"moon_forms": [{"assigned": [], "dismissed": []}]},
    {"moon_forms": [{"assigned": [form("Refund", *([[]] * 257))]}]},
    {"moon_forms": [{"assigned": [form("Refund", [{"formatted_value": "1"}] * 33)]}]},
]


@pytest.mark.parametrize("update", BAD_FORMS)
def test_a_bad_form_is_refused(client: Client, source: str, update: Json) -> None:
    assert client.post(f"{LABELLINGS}/{source}.c0", update).status == 400
    assert not put(client, source)["comment"]["has_annotations"]


def test_a_label_takes_its_extractions_along(client: Client, source: str) -> None:
    label = "/api/_private/datasets/acme/support/labels/default?label_name="
    client.ok("POST", label + "Other", {"label": {"moon_form": FORM[:1]}})
    fields = [{"name": "id", "formatted_value": "42"}, {"name": "sum", "formatted_value": "7"}]
    put(client, source, moon_forms=[{"assigned": [form("Refund", fields)]}])
    client.ok("POST", label + "Refund", {"label": {"name": "Money back"}})
    (shown,) = put(client, source)["moon_forms"]
    assert shown["assigned"][0]["label"]["name"] == "Money back"
    assert len(shown["assigned"][0]["captures"][0]["fields"]) == 2
    client.ok("POST", label + "Money%20back", {"label": {"name": "Other"}})
    (shown,) = put(client, source)["moon_forms"]
    (kept,) = shown["assigned"][0]["captures"][0]["fields"]
    assert (kept["name"], kept["formatted_value"]) == ("id", "42")
    client.ok("DELETE", label + "Other")
    assert "moon_forms" not in put(client, source)
