"""What the Python client costs beside `http.client` and orjson, by size of the batch."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Iterator, Sequence

from bench.bench import Bench, Figure
from bench.client import Client as RawClient
from bench.client import dumps, loads
from bench.measure import Sample, alternate, amount
from bench.streams import Stream, check
from lodestream.client import Client

_STREAM = "DefaultProject/backlog/backlog"
_PATH = "/api/v1/datasets/DefaultProject/backlog/streams/backlog"


def run(bench: Bench) -> Iterator[Figure]:
    """Compare the processor time of the client's side alone: the server's is the same."""
    counts = {1024: bench.count(51_200, 4096), 16: bench.count(9600, 320)}
    with bench.backlog(counts[1024]) as (server, stream, wanted):
        raw = server.client()
        with Client(server.url, server.token) as library:
            for size, count in counts.items():
                contenders = {
                    "http.client and orjson": _draining(
                        stream, wanted[:count], lambda size=size: _raw_loop(raw, size)
                    ),
                    "lodestream.client": _draining(
                        stream, wanted[:count], lambda size=size: _listen(library, size)
                    ),
                }
                taken = alternate(bench.repeat, contenders)
                bench.keep(f"client at {size}", taken)
                pairs = zip(*taken.values(), strict=True)
                yield Figure(
                    f"client/{size}",
                    amount(ours.client_s / theirs.client_s for theirs, ours in pairs),
                )


def _raw_loop(client: RawClient, size: int) -> Iterator[str]:
    """Consume as by hand: fetch, parse, use every comment, advance."""
    body = dumps({"size": size})
    while True:
        batch = loads(client.send("POST", f"{_PATH}/fetch", body))
        for result in batch["results"]:
            yield result["comment"]["id"]
        place = dumps({"sequence_id": batch["sequence_id"]})
        client.send("POST", f"{_PATH}/advance", place)
        if batch["is_end_sequence"]:
            return


def _listen(client: Client, size: int) -> Iterator[str]:
    """Consume with the library; every comment is read whole."""
    for result in client.stream(_STREAM).listen(size=size, until_end=True):
        yield result.comment.id


def _draining(
    stream: Stream, wanted: Sequence[str], consume: Callable[[], Iterator[str]]
) -> Callable[[], Sample]:
    def drain() -> Sample:
        stream.rewind()
        stream.results(1)
        gc.collect()
        seen: list[str] = []
        client_s, wall_s = time.process_time(), time.perf_counter()
        for comment_id in consume():
            seen.append(comment_id)
            if len(seen) == len(wanted):
                break
        client_s, wall_s = time.process_time() - client_s, time.perf_counter() - wall_s
        check(seen, wanted)
        return Sample(len(seen), wall_s, client_s)

    return drain
