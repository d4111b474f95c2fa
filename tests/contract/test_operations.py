"""The route table and the list of the compatible API's operations agree."""

from __future__ import annotations

import json
import re
import tomllib
from pathlib import Path
from typing import Any

import pytest

from lodestream.api.routes import ROUTES
from lodestream.api.routing import Guard

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
OPERATIONS: list[dict[str, Any]] = json.loads((HERE / "operations.json").read_text())
OURS = {route.operation: route for route in ROUTES}
SERVED = [one for one in OPERATIONS if one.get("served")]
NAMESPACES = ("/api/v1/", "/api/_private/", "/api/preview/", "/auth/")
# Operations that clients use and the list does not name, and ours alone.
OUTSIDE = {
    "getCurrentUser",
    "refreshUserPermissions",
    "getDatasetById",
    "getApplianceConfig",
    "updateApplianceConfig",
    "getTenant",
    "getTenants",
}


def shape(path: str) -> str:
    return re.sub(r"\{\w+\}", "{}", path)


def test_the_list_is_whole() -> None:
    assert len(OPERATIONS) == 170
    assert len({one["operation"] for one in OPERATIONS}) == 170
    assert {one["tier"] for one in OPERATIONS} == {1, 2, 3}


@pytest.mark.parametrize("one", [pytest.param(one, id=one["operation"]) for one in SERVED])
def test_an_operation_that_was_served_is_served_still_and_in_its_place(one: dict[str, Any]) -> None:
    route = OURS[one["operation"]]
    assert (route.method, shape(route.path)) == (one["method"], shape(one["path"]))


def test_every_route_of_a_listed_operation_is_marked_as_served() -> None:
    listed = {one["operation"] for one in OPERATIONS}
    marked = {one["operation"] for one in SERVED}
    assert {name for name in OURS if name in listed} == marked, "mark it in operations.json"


def test_no_route_stands_in_the_place_of_an_operation_under_another_name() -> None:
    places = {(one["method"], shape(one["path"])): one["operation"] for one in OPERATIONS}
    for route in ROUTES:
        assert places.get((route.method, shape(route.path)), route.operation) == route.operation


def test_what_is_ours_alone_stands_in_our_own_namespace() -> None:
    listed = {one["operation"] for one in OPERATIONS}
    for route in ROUTES:
        if route.operation not in listed | OUTSIDE:
            assert not route.path.startswith(NAMESPACES), route.operation


def test_every_operation_that_is_served_succeeds_in_some_test() -> None:
    proofs: dict[str, list[str]] = json.loads((HERE / "proofs.json").read_text())
    never_succeeds = {route.operation for route in ROUTES if route.needs.guard is Guard.NOBODY}
    assert set(OURS) - never_succeeds <= set(proofs), "run python -m tests.contract.record_proofs"
    for modules in proofs.values():
        assert modules
        for module in modules:
            assert (ROOT / module).exists(), "run python -m tests.contract.record_proofs"


def test_differences_are_told_of_operations_that_are_served() -> None:
    told = tomllib.loads((ROOT / "docs" / "reference" / "differences.toml").read_text())
    assert set(told["served"]) | set(told["partly"]) <= set(OURS)
