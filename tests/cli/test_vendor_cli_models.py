"""The vendor's client on models and predictions, against a server that has learned something."""

from __future__ import annotations

import json
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from lodestream.cli.demo import sample_labels
from tests.cli.test_vendor_cli import RE, Vendor
from tests.processes import ServerProcess, environment, free_port

TOKEN = "vendor-test-token"
DATASET = "demo/hotel"
SOURCE = "demo/guest-messages"
V1 = f"/api/v1/datasets/{DATASET}"
PRIVATE = f"/api/_private/datasets/{DATASET}"


@dataclass
class Learned:
    """A server with the pinned version 1 of the sample data, and the vendor's client."""

    server: ServerProcess
    vendor: Vendor

    def call(self, method: str, path: str, body: Any = None) -> Any:
        """Ask the server, and insist on success."""
        request = urllib.request.Request(
            self.server.url + path,
            None if body is None else json.dumps(body).encode(),
            {"Authorization": f"Bearer {TOKEN}", "Content-Type": "application/json"},
            method=method,
        )
        with urllib.request.urlopen(request, timeout=60) as reply:
            return json.load(reply)

    def await_validation(self) -> None:
        """Wait until version 1 is there and was measured."""
        for _ in range(600):
            (newest,) = self.call("POST", f"{PRIVATE}/labellers", {"limit": 1})["labellers"] or [{}]
            if newest.get("validated"):
                return
            time.sleep(0.2)
        raise AssertionError(f"no version was measured\n{self.server.tail()}")


@pytest.fixture(scope="module")
def learned(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Learned]:
    if RE is None:
        pytest.skip(
            "NO `re`: cargo install reinfer-cli --version 0.35.0 --locked, or LODESTREAM_TEST_RE"
        )
    given = environment(free_port(), LODESTREAM_ADMIN_TOKEN=TOKEN, LODESTREAM_LEARNING="true")
    folder = tmp_path_factory.mktemp("learned")
    server = ServerProcess(folder, given, command=["demo", "--data", "kept", "--no-encoder"])
    found = Learned(server, Vendor(tmp_path_factory.mktemp("vendor")))
    found.vendor.ok("config", "add", "--name", "x", "--endpoint", server.url, "--token", TOKEN)
    source_id = found.call("GET", f"/api/v1/sources/{SOURCE}")["source"]["id"]
    labels = json.loads(sample_labels().replace("SOURCE_ID", source_id))
    found.call("POST", f"{V1}/sync-annotations", labels)
    found.await_validation()
    found.call("PUT", f"{PRIVATE}/labellers/1/pin")
    model = {
        "version": 1,
        "label_thresholds": [
            {"name": ["Booking"], "threshold": 0.5},
            {"name": ["Facilities", "Spa"], "threshold": 0.2},
        ],
    }
    found.call("PUT", f"{V1}/streams", {"stream": {"name": "model", "model": model}})
    start = {"to_comment_created_at": "2000-01-01T00:00:00Z"}
    found.call("POST", f"{V1}/streams/model/reset", start)
    yield found
    server.stop()


def test_statistics_of_a_dataset_name_the_newest_version(learned: Learned) -> None:
    (row,) = learned.vendor.rows("get", "datasets", "--stats")
    measured = row["stats"]["validation"]["validation"]
    assert (measured["version"], measured["reviewed_size"]) == (1, 140)
    assert row["stats"]["number_of_labels"] == 21


def test_statistics_of_a_stream_are_those_of_its_labels(learned: Learned) -> None:
    rows = learned.vendor.rows("get", "stream-stats", "demo/hotel/model")
    assert {row["label_name"] for row in rows} == {"Booking", "Facilities > Spa"}
    for row in rows:
        assert 0 <= float(row["precision"]) <= 1
        assert 0 <= float(row["recall"]) <= 1


def test_a_stream_is_compared_with_a_version(learned: Learned) -> None:
    rows = learned.vendor.rows("get", "stream-stats", "demo/hotel/model", "-d", DATASET, "-v", "1")
    assert {row["label_name"] for row in rows} == {"Booking", "Facilities > Spa"}
    assert all(row["compare_to_precision"] == row["precision"] for row in rows)


def test_stream_comments_come_with_their_predictions(learned: Learned) -> None:
    (batch,) = learned.vendor.rows(
        "get", "stream-comments", "--stream", "demo/hotel/model", "--size", "16"
    )
    found = [label for one in batch["results"] for label in one["labels"]]
    assert {tuple(label["name"]) for label in found} == {("Booking",), ("Facilities", "Spa")}
    assert all(label["probability"] >= 0.2 for label in found)


@pytest.mark.parametrize("how", [("--predictions", "true"), ("--model-version", "1")])
def test_comments_are_downloaded_with_predictions(learned: Learned, how: tuple[str, str]) -> None:
    target = learned.vendor.folder / f"predicted{how[0]}.jsonl"
    learned.vendor.ok("get", "comments", SOURCE, "--dataset", DATASET, *how, "-f", str(target))
    lines = [json.loads(line) for line in target.read_text().splitlines()]
    assert len(lines) == 240
    # The client leaves out `labelling` where nothing is predicted.
    predicted = [one for one in lines if one.get("labelling", [{}])[0].get("predicted")]
    assert len(predicted) > 100


def test_a_stream_is_made_from_the_listing_of_another_for_a_version(learned: Learned) -> None:
    rows = learned.vendor.rows("get", "streams", "--dataset", DATASET)
    (row,) = [row for row in rows if row["name"] == "model"]
    row["name"] = "copied"
    path = learned.vendor.write("streams.jsonl", row)
    learned.vendor.ok("create", "streams", "-d", DATASET, "-f", path, "-v", "1")
    made = learned.call("GET", f"{V1}/streams/copied")["stream"]
    assert made["model"]["version"] == 1
    assert len(made["model"]["label_thresholds"]) == 2


def test_a_stream_for_a_version_that_is_not_pinned_is_refused(learned: Learned) -> None:
    (row,) = [
        row
        for row in learned.vendor.rows("get", "streams", "--dataset", DATASET)
        if row["name"] == "model"
    ]
    row["name"] = "refused"
    path = learned.vendor.write("refused.jsonl", row)
    said = learned.vendor.refused("create", "streams", "-d", DATASET, "-f", path, "-v", "99")
    assert "99" in said
