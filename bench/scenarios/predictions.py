"""What it costs a stream to attach the predictions of a model."""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator
from typing import Any, Final

from bench.bench import Bench, Figure
from bench.client import Client, WrongAnswer
from bench.measure import alternate, speed_ratio
from bench.scenarios.fetch import draining
from bench.servers import serve
from bench.streams import Account
from bench.texts import ids

# A label for comments that hold both words: each comment has about one of them.
_LABELS: Final = {
    f"{one} and {two}": {one, two}
    for one, two in itertools.pairwise(
        ("bank", "claim", "delivery", "fee", "invoice", "meeting", "policy")
    )
}
_REVIEWED: Final = 200
_PATIENCE_S: Final = 300.0


def run(bench: Bench) -> Iterator[Figure]:
    """Compare a stream with a model of six labels with one without, at 1024."""
    count = bench.count(20_480, 2048)
    with serve(learning=True) as server:
        account = Account(server)
        source = account.new_source("predictions")
        plain = account.new_stream("predictions", [source])
        account.sync(source, bench.texts.batches(0, count), count=count, did="new")
        client = server.client()
        learn(client, bench, source.id)
        model = {
            "version": 1,
            "label_thresholds": [{"name": [name], "threshold": 0.5} for name in _LABELS],
        }
        attached = account.stream_beside("predictions", "attached", model=model)
        await_complete(client, "inference_complete")
        attached.rewind()
        wanted = ids(0, count)
        contenders = {
            "with predictions": draining(attached, wanted, 1024),
            "without": draining(plain, wanted, 1024),
        }
        # Once, uncounted: until all is ready, predictions are made on the spot.
        contenders["with predictions"]()
        time.sleep(2.0)
        taken = alternate(bench.repeat, contenders)
    bench.keep("predictions", taken)
    yield Figure("predictions/1024", speed_ratio(taken["with predictions"], taken["without"]))


def learn(client: Client, bench: Bench, source_id: str) -> None:
    """Label comments by the words in them, wait for version 1, and pin it."""
    said = []
    for number in range(_REVIEWED):
        comment: Any = bench.texts.comment(number)
        words = set(comment["messages"][0]["body"]["text"].split())
        said.append(
            {
                "comment_uid": f"{source_id}.{comment['id']}",
                "labels": {
                    "assigned": [{"name": name} for name, both in _LABELS.items() if both <= words]
                },
            }
        )
    base = "/api/v1/datasets/DefaultProject/predictions"
    client.call("POST", f"{base}/sync-annotations", {"annotations": said})
    await_complete(client, "training_complete")
    private = "/api/_private/datasets/DefaultProject/predictions"
    client.call("PUT", f"{private}/labellers/1/pin")


def await_complete(client: Client, what: str) -> None:
    """Wait until a part of the learning is complete. Raises WrongAnswer if it takes too long."""
    path = "/api/_private/datasets/DefaultProject/predictions/labellers"
    until = time.monotonic() + _PATIENCE_S
    while time.monotonic() < until:
        reply = client.call("POST", path, {"limit": 1})
        if reply["labellers"] and reply["dataset_status"][what] == 1:
            return
        time.sleep(0.5)
    raise WrongAnswer(f"{what} was not reached in {_PATIENCE_S:.0f} s")
