"""Other durable queues, and a file server as the limit of what a Python client can take."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass

from bench.bench import Bench, Figure
from bench.client import dumps, loads
from bench.measure import Sample, Stopwatch, alternate, speed_ratio
from bench.peers import nats, nginx, pgmq, rabbitmq, redis
from bench.peers.peer import Peer
from bench.scenarios.fetch import draining
from bench.servers import DidNotStart, Skipped
from bench.streams import Stream, check


@dataclass(frozen=True)
class _Match:
    """A peer, how to run it, and how many comments to measure at which size."""

    key: str
    name: str
    running: Callable[[], AbstractContextManager[Peer]]
    counts: dict[int, int]
    slow_start: bool = False


_MATCHES = (
    _Match("redis", "Redis XREADGROUP + XACK", redis.running, {1024: 51_200, 16: 12_800}),
    _Match("pgmq", "PGMQ-style table", pgmq.running, {1024: 20_480}),
    _Match("nats", "NATS JetStream", nats.running, {1024: 20_480}),
    _Match("rabbitmq", "RabbitMQ quorum", rabbitmq.running, {1024: 10_240}, slow_start=True),
    _Match("nginx", "nginx static file", nginx.running, {1024: 51_200}),
)


def run(bench: Bench) -> Iterator[Figure]:
    """Compare with every peer that is there, one peer at a time."""
    with bench.backlog(bench.count(51_200, 2048)) as (_, stream, wanted):
        stream.rewind()
        messages = _messages(stream, len(wanted))
        for match in _MATCHES:
            if bench.smoke and match.slow_start:
                bench.skip(match.name, "too slow to start for a short run")
                continue
            try:
                with match.running() as peer:
                    yield from _compare(bench, match, peer, stream, wanted, messages)
            except (Skipped, DidNotStart) as why:
                bench.skip(match.name, why)


def _compare(
    bench: Bench,
    match: _Match,
    peer: Peer,
    stream: Stream,
    wanted: Sequence[str],
    messages: Sequence[bytes],
) -> Iterator[Figure]:
    for size, full in match.counts.items():
        count = bench.count(full, 2048 if size > 16 else 320)

        def consume(count: int = count, size: int = size) -> Sample:
            return _consume(peer, messages[:count], wanted[:count], size)

        taken = alternate(
            bench.repeat,
            {"Lodestream": draining(stream, wanted[:count], size), match.name: consume},
        )
        bench.keep(f"{match.name} at {size}", taken)
        ratio = speed_ratio(taken["Lodestream"], taken[match.name])
        yield Figure(f"fetch/{match.key}/{size}", ratio)


def _messages(stream: Stream, count: int) -> list[bytes]:
    """Return what the stream delivers, one message a comment: peers carry the very same."""
    messages: list[bytes] = []
    while len(messages) < count:
        reply = loads(stream.results(1024))
        messages += [dumps(result) for result in reply["results"]]
        stream.skip_to(reply["sequence_id"])
    return messages


def _consume(peer: Peer, messages: Sequence[bytes], wanted: Sequence[str], size: int) -> Sample:
    peer.clear()
    for start in range(0, len(messages), 1024):
        peer.publish(messages[start : start + 1024])
    watch = Stopwatch(peer.pids())
    seen = peer.consume(len(messages), size)
    sample = watch.stop(len(messages))
    check(seen, wanted, ordered=False)
    return sample
