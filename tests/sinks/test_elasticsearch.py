"""Sinks of kind elasticsearch."""

from __future__ import annotations

import base64
from typing import Any

import pytest

from lodestream.domain.deliveries import Done, Later, Outcome, Refused, Rejected
from lodestream.domain.sinks import Elasticsearch
from lodestream.sinks import elasticsearch
from lodestream.sinks.elasticsearch import ElasticsearchSink, document, template
from lodestream.sinks.results import decode
from tests.sinks.items import SOURCE_ID, item
from tests.sinks.targets import Index, Target, serving


def sink_of(target: Target, **settings: Any) -> ElasticsearchSink:
    return ElasticsearchSink(Elasticsearch(target.url + "/", "comments", **settings))


def test_documents_have_the_uid_as_id_and_repeats_replace_them() -> None:
    index = Index()
    with serving(index) as target:
        sink = sink_of(target, username="u", password="p")
        assert sink.deliver([item("a"), item("b")]) == [Done(), Done()]
        sink.deliver([item("a", thread_id="t")])
    assert set(index.documents) == {f"{SOURCE_ID}.a", f"{SOURCE_ID}.b"}
    assert index.documents[f"{SOURCE_ID}.a"]["thread_id"] == "t"
    assert [one.method for one in target.requests] == ["GET", "PUT", "POST", "POST"]
    assert list(index.templates) == ["/_index_template/lodestream-comments"]
    basic = base64.b64encode(b"u:p").decode()
    assert target.requests[-1].headers["authorization"] == f"Basic {basic}"
    assert target.requests[-1].headers["content-type"] == "application/x-ndjson"


def test_a_document_is_flat_with_labels_and_their_parents() -> None:
    labels = {"Claim > Status": 0.9, "Claim > Other": 0.4, "Thanks": 0.5}
    made = document(decode(item(labels=labels, thread_id="t").json))
    assert made["labels"] == ["Claim > Status", "Claim", "Thanks", "Claim > Other"]
    assert {one["name"]: one["probability"] for one in made["label_probabilities"]} == {
        **labels,
        "Claim": 0.9,
    }
    assert made["properties"] == {"Folder": "Inbox"}
    assert made["numbers"] == {"Size": 3}
    assert made["entities"] == {"policy-number": ["881"]}
    assert (made["subject"], made["body"]) == (["Policy"], ["Where is it?"])
    assert (made["from"], made["to"]) == (
        ["ann@example.com"],
        ["bob@example.com", "cy@example.com"],
    )


def test_property_names_with_dots_make_no_objects() -> None:
    made = document(decode(item(user_properties={"string:a": "x", "string:a.b": "y"}).json))
    assert made["properties"] == {"a": "x", "a_b": "y"}


def test_the_template_gives_types_to_names_that_are_not_known_yet() -> None:
    mappings = template("comments")["template"]["mappings"]
    assert mappings["properties"]["timestamp"] == {"type": "date"}
    assert mappings["properties"]["labels"]["type"] == "keyword"
    kinds = [one for rule in mappings["dynamic_templates"] for one in rule.values()]
    types = {one["path_match"]: one["mapping"]["type"] for one in kinds}
    assert (types["properties.*"], types["numbers.*"]) == ("keyword", "double")


@pytest.mark.parametrize(
    ("status", "first", "others"), [(400, Rejected, Done), (429, Later, Done), (503, Later, Done)]
)
def test_each_item_has_its_own_outcome(
    status: int, first: type[Outcome], others: type[Outcome]
) -> None:
    bad = f"{SOURCE_ID}.a"
    index = Index(lambda name, _document: status if name == bad else 201)
    with serving(index) as target:
        found = sink_of(target).deliver([item("a"), item("b"), item("c")])
    assert [type(one) for one in found] == [first, others, others]


def test_where_every_document_is_refused_the_index_may_be_at_fault() -> None:
    with serving(Index(lambda _name, _document: 400)) as target:
        found = sink_of(target).deliver([item("a"), item("b")])
    assert [type(one) for one in found] == [Refused, Refused]
    assert "mapper_parsing_exception" in found[0].reason  # type: ignore[union-attr]


def test_an_index_template_that_cannot_be_stored_is_no_comments_fault() -> None:
    with serving(lambda _request: (400, {}, b"old version")) as target:
        found = sink_of(target).deliver([item("a")])
    assert isinstance(found[0], Later)


def test_an_answer_of_something_else_is_no_acknowledgement() -> None:
    with serving(lambda _request: (200, {}, b"<html>welcome</html>")) as target:
        found = sink_of(target, make_template=False).deliver([item("a")])
    assert isinstance(found[0], Later)


def test_large_batches_are_sent_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(elasticsearch, "MOST_BODY_BYTES", 1500)
    index = Index()
    with serving(index) as target:
        found = sink_of(target).deliver([item(f"c{n}") for n in range(7)])
    assert found == [Done()] * 7
    assert len(target.requests) > 4
    assert [name.partition(".")[2] for name in index.order] == [f"c{n}" for n in range(7)]


def test_an_id_that_is_too_long_for_the_index_is_hashed() -> None:
    index = Index()
    with serving(index) as target:
        sink_of(target).deliver([item("x" * 1024)])
    [name] = index.documents
    assert name.startswith("sha256-")
    assert index.documents[name]["uid"] == f"{SOURCE_ID}." + "x" * 1024
