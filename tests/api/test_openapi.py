"""The API's description of itself, and the page that shows it."""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import Iterator
from hashlib import sha256
from typing import Any

import msgspec
import pytest
from jsonschema import Draft202012Validator

from lodestream.api.openapi import AREAS, document
from lodestream.api.routes import ROUTES
from lodestream.api.routing import Guard
from tests.build import fetch, make_comment, make_pipeline, sync
from tests.client import Client

DOCUMENT = msgspec.json.decode(msgspec.json.encode(document(ROUTES)))
OPERATIONS = {
    operation["operationId"]: (path, method, operation)
    for path, methods in DOCUMENT["paths"].items()
    for method, operation in methods.items()
}


def values_of(value: Any, key: str) -> Iterator[Any]:
    """Every value that stands under a key, anywhere inside."""
    if isinstance(value, dict):
        if key in value:
            yield value[key]
        for inner in value.values():
            yield from values_of(inner, key)
    elif isinstance(value, list):
        for inner in value:
            yield from values_of(inner, key)


def conforms(answer: Any, schema_name: str) -> None:
    """Insist that JSON is what a schema says."""
    schema = {"$ref": f"#/components/schemas/{schema_name}", "components": DOCUMENT["components"]}
    Draft202012Validator(schema).validate(answer)


@pytest.mark.parametrize("route", [pytest.param(r, id=r.operation) for r in ROUTES])
def test_every_route_is_described(route: Any) -> None:
    path, method, operation = OPERATIONS[route.operation]
    assert method == route.method.lower()
    assert re.sub(r"\{\w+\}", "{}", path) == re.sub(r"\{\w+\}", "{}", route.path)
    assert operation["summary"]
    assert len(operation["summary"]) <= 110
    in_path = [one["name"] for one in operation["parameters"] if one["in"] == "path"]
    assert in_path == re.findall(r"\{(\w+)\}", path)
    assert route.area in AREAS
    assert ("security" in operation) is (route.needs.guard is Guard.PUBLIC)


def test_every_schema_is_one_and_every_reference_leads_somewhere() -> None:
    for name, schema in DOCUMENT["components"]["schemas"].items():
        Draft202012Validator.check_schema(schema)
        assert schema.get("description"), name
    for reference in values_of(DOCUMENT, "$ref"):
        target: Any = DOCUMENT
        for part in reference.removeprefix("#/").split("/"):
            target = target[part]


def test_patterns_are_not_pythons_own() -> None:
    for pattern in values_of(DOCUMENT["components"]["schemas"], "pattern"):
        if isinstance(pattern, str):
            assert not re.search(r"\(\?[^:]", pattern), pattern


def test_the_description_needs_no_token(client: Client) -> None:
    answer = client.as_user(None).get("/api/openapi.json")
    assert answer.status == 200
    assert answer.json == DOCUMENT


def test_what_is_stored_and_sent_as_text_is_what_the_description_says(client: Client) -> None:
    stream = make_pipeline(client, comment_filter={"user_properties": {"string:Team": {}}})
    conforms(stream, "StreamWire")
    sync(client, [make_comment("c1", user_properties={"string:Team": "a", "number:N": 1.5})])
    conforms(fetch(client), "FetchReply")
    results = "/api/v1/datasets/acme/support/streams/all/results"
    conforms(client.ok("GET", results), "ResultsReply")
    conforms(client.ok("GET", "/api/v1/sources/acme/inbox/comments/c1"), "CommentReply")
    conforms(client.get("/api/v1/sources/acme/nothing").json, "ErrorReply")


def test_the_page_runs_its_own_script_and_loads_nothing_from_elsewhere(client: Client) -> None:
    answer = client.as_user(None).get("/docs")
    assert answer.status == 200
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    page = answer.content.decode()
    script = re.findall(r"<script>(.*?)</script>", page, re.DOTALL)
    assert len(script) == 1
    allowed = b64encode(sha256(script[0].encode()).digest()).decode()
    policy = answer.headers["content-security-policy"]
    assert f"script-src 'sha256-{allowed}'" in policy
    assert "default-src 'none'" in policy
    assert "://" not in page
    assert "innerHTML" not in page
