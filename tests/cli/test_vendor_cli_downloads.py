"""The vendor's client on `get comments`: each of its three ways to ask, with every option."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.cli.test_vendor_cli import (
    Vendor,
    comment,
    dataset,
    labels,
    project,
    server,
    source,
    upload,
    vendor,
)

__all__ = ["dataset", "project", "server", "source", "vendor"]  # fixtures

PDF = {"name": "a.pdf", "size": 3, "content_type": "application/pdf"}
PNG = {"name": "b.png", "size": 3, "content_type": "image/png"}


@pytest.fixture
def filled(vendor: Vendor, source: str, dataset: str) -> tuple[str, str]:
    """A source of thirty comments, every third from Bob, some with files, one of them reviewed."""
    given = []
    for number in range(30):
        sender = "bob@example.com" if number % 3 == 0 else "ann@example.com"
        one = comment(
            f"c{number:02}",
            attachments=[PDF] if number == 4 else [PNG] if number == 5 else [],
            user_properties={"string:Team": "A" if number < 10 else "B", "number:Stars": number},
        )
        one["comment"]["messages"][0] |= {"from": sender, "to": [f"to{number % 2}@example.com"]}
        one["comment"]["timestamp"] = f"2024-02-{number % 28 + 1:02}T00:00:00Z"
        given.append(one)
    upload(vendor, source, *given)
    said = [
        {**given[number], "labelling": [{"group": "default", "assigned": labels(name)}]}
        for number, name in ((1, "Claim > Late"), (2, "Urgent"))
    ]
    path = vendor.write("said.jsonl", *said)
    where = ("--source", source, "--dataset", dataset)
    vendor.ok("create", "annotations", *where, "--file", path)
    return source, dataset


def found(vendor: Vendor, filled: tuple[str, str], *how: str) -> list[str]:
    """Return the ids of what is downloaded, in the order in which it comes."""
    rows = vendor.rows("get", "comments", filled[0], "--dataset", filled[1], *how)
    return [row["comment"]["id"] for row in rows]


def ids(*numbers: int) -> list[str]:
    return [f"c{number:02}" for number in numbers]


ALL = ids(*range(30))


def test_all_comments_with_a_dataset_and_without(vendor: Vendor, filled: tuple[str, str]) -> None:
    alone = vendor.rows("get", "comments", filled[0])
    assert sorted(row["comment"]["id"] for row in alone) == ALL
    assert sorted(found(vendor, filled)) == ALL


@pytest.mark.parametrize(
    ("how", "wanted"),
    [
        (("--senders", "bob@example.com"), ids(*range(0, 30, 3))),
        (("--senders", "bob@example.com", "ann@example.com"), ALL),
        (("--recipients", "to1@example.com"), ids(*range(1, 30, 2))),
        (("--attachment-types", "application/pdf"), ids(4)),
        (("--attachment-types", "application/pdf", "image/png"), ids(4, 5)),
        (("--only-with-attachments", "true"), ids(4, 5)),
        (("--reviewed-only", "true"), ids(1, 2)),
        (("--reviewed-only", "true", "--senders", "ann@example.com"), ids(1, 2)),
        (("--reviewed-only", "true", "--shuffle", "true"), ids(1, 2)),
        (("--label-filter", "^Claim"), ids(1)),
        (("--label-filter", "Claim|Urgent"), ids(1, 2)),
        (("--label-filter", "no such label"), []),
        (
            ("--from-timestamp", "2024-02-03T00:00:00Z", "--to-timestamp", "2024-02-05T00:00:00Z"),
            ids(2, 3, 4),
        ),
    ],
)
def test_a_filter(
    vendor: Vendor, filled: tuple[str, str], how: tuple[str, ...], wanted: list[str]
) -> None:
    assert sorted(found(vendor, filled, *how)) == wanted


@pytest.mark.parametrize(
    ("properties", "wanted"),
    [
        ({"string:Team": {"one_of": ["A"]}}, ids(*range(10))),
        ({"number:Stars": {"minimum": 28}}, ids(28, 29)),
        ({"number:Stars": {"one_of": [3, 7]}}, ids(3, 7)),
    ],
)
def test_a_filter_by_properties(
    vendor: Vendor, filled: tuple[str, str], properties: Any, wanted: list[str]
) -> None:
    how = ("--user-property-filter", json.dumps(properties))
    assert sorted(found(vendor, filled, *how)) == wanted


def test_shuffled_each_comes_once(vendor: Vendor, filled: tuple[str, str]) -> None:
    orders = [found(vendor, filled, "--shuffle", "true") for _ in range(3)]
    assert all(sorted(order) == ALL for order in orders)
    assert any(order != ALL for order in orders)


def test_with_a_file_progress_is_counted_first(vendor: Vendor, filled: tuple[str, str]) -> None:
    path = vendor.folder / "some.jsonl"
    how = ("--dataset", filled[1], "--senders", "bob@example.com", "--file", str(path))
    vendor.ok("get", "comments", filled[0], *how)
    assert len(path.read_text().splitlines()) == 10


def test_attachments_are_saved_beside_the_file(vendor: Vendor, filled: tuple[str, str]) -> None:
    """Of files that were never uploaded there is nothing to save, which is no error."""
    path = vendor.folder / "with.jsonl"
    how = ("--dataset", filled[1], "--attachments", "true", "--file", str(path))
    vendor.ok("get", "comments", filled[0], *how)
    assert len(path.read_text().splitlines()) == 30
