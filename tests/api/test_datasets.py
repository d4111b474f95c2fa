"""Datasets over HTTP."""

from __future__ import annotations

from typing import Any

from tests.client import Client

DATASET = "/api/v1/datasets/acme/support"


def create(client: Client, name: str = "support", **definition: object) -> Any:
    return client.ok("PUT", f"/api/v1/datasets/acme/{name}", {"dataset": definition})["dataset"]


def source_id(client: Client, project: str, name: str) -> str:
    answer = client.ok("PUT", f"/api/v1/sources/{project}/{name}", {"source": {}})
    found: str = answer["source"]["id"]
    return found


def test_a_created_dataset_reads_back_with_its_defaults(client: Client) -> None:
    dataset = create(client)
    created = dataset.pop("created")
    assert dataset.pop("last_modified") == created
    assert created.endswith("Z")
    group = {
        "name": "default",
        "label_defs": [],
        "label_collection_name": None,
        "trainable": True,
        "hidden": False,
        "instructions": "",
    }
    assert dataset == {
        "id": dataset["id"],
        "owner": "acme",
        "name": "support",
        "title": "",
        "description": "",
        "model_family": "english",
        "source_ids": [],
        "has_sentiment": True,
        "limited_access": False,
        "entity_defs": [],
        "general_fields": [],
        "label_defs": [],
        "label_groups": [group],
        "_label_properties": [],
        "_timezone": "UTC",
        "_preferred_locales": {"default": "en", "preferences": []},
        "_dataset_flags": [],
        "_model_config": {"kind": "cm"},
    }


def test_every_way_to_read_a_dataset_shows_the_same(client: Client) -> None:
    dataset = create(client)
    by_id = client.ok("GET", f"/api/v1/datasets/id:{dataset['id']}")["dataset"]
    encoded = client.ok("GET", "/api/v1/datasets/acme%2Fsupport")["dataset"]
    assert dataset == by_id == encoded
    assert client.ok("GET", "/api/v1/datasets")["datasets"] == [dataset]
    assert client.ok("GET", "/api/v1/datasets/acme")["datasets"] == [dataset]
    assert client.ok("GET", "/api/v1/datasets/other")["datasets"] == []
