"""What a dataset costs as a file, with annotations, predictions, threads and properties."""

from __future__ import annotations

import csv
import io
import sys
from collections.abc import Iterator
from typing import Any

from bench import machine
from bench.bench import Bench, Figure
from bench.client import Client, WrongAnswer, dumps
from bench.measure import Sample, Stopwatch, amount
from bench.scenarios.predictions import await_complete, learn
from bench.servers import Server, serve
from bench.streams import Account
from bench.texts import ids

FORMATS = ("csv", "jsonl", "parquet", "xlsx")
_PATH = "/api/lodestream/v1/datasets/DefaultProject/predictions/export"
_A_MILLION = 1_000_000


def run(bench: Bench) -> Iterator[Figure]:
    """Export a dataset in each format; the figure is the server's processor time for a million.

    A comment costs the same however many there are, which a smaller number shows as well.
    """
    count = bench.count(51_200, 2048)
    with serve(learning=True) as server:
        account = Account(server)
        source = account.new_source("predictions")
        account.new_stream("predictions", [source])
        account.sync(source, bench.texts.batches(0, count), count=count, did="new")
        client = server.client()
        learn(client, bench, source.id)
        await_complete(client, "inference_complete")
        _check(client, count)
        before = machine.memory_mb(server.own_pids)[0]
        for file in FORMATS:
            taken = [_export(server, client, file, count) for _ in range(bench.repeat)]
            bench.keep("export", {file: taken})
            seconds = [sample.server_s / sample.comments * _A_MILLION for sample in taken]
            yield Figure(f"export/{file}", amount(seconds))
        now = machine.memory_mb(server.own_pids)[0]
        bench.extras["more memory of the server after exports, MB"] = now - before


def _export(server: Server, client: Client, file: str, count: int) -> Sample:
    watch = Stopwatch(server.pids)
    content = client.send("POST", _PATH, dumps({"format": file}))
    sample = watch.stop(count)
    if not content:
        raise WrongAnswer(f"an export as {file} is empty")
    return sample


def _check(client: Client, count: int) -> None:
    """Raise WrongAnswer unless an export holds every comment once, with its predictions."""
    content = client.send("POST", _PATH, dumps({"format": "csv"})).decode()
    csv.field_size_limit(sys.maxsize)
    rows: list[dict[str, Any]] = list(csv.DictReader(io.StringIO(content, newline="")))
    if sorted(row["id"] for row in rows) != sorted(ids(0, count)):
        raise WrongAnswer(f"{count} comments wanted, an export has {len(rows)} or others")
    if not all(row["model_version"] for row in rows):
        raise WrongAnswer("a comment was exported without its predictions")
