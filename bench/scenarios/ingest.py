"""Comments in: new ones, the same again, and changed ones; beside Redis where it is there."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

from bench.bench import Bench, Figure
from bench.client import dumps
from bench.measure import Sample, Stopwatch, alternate, speed_ratio
from bench.peers import redis
from bench.peers.peer import Peer
from bench.servers import DidNotStart, Skipped, serve
from bench.streams import Account, Source
from bench.texts import BATCH, ids


class _Rounds:
    """Sends the comments of one source after the other: new, unchanged, updated."""

    def __init__(self, bench: Bench, account: Account, count: int) -> None:
        self._bench = bench
        self._account = account
        self._count = count
        self._batches: list[bytes] = []
        self.sources: list[Source] = []

    @property
    def first(self) -> int:
        """The number of the present source's first comment."""
        return (len(self.sources) - 1) * self._count

    def new(self) -> Sample:
        """Fill one more source."""
        self.sources.append(self._account.new_source(f"ingest-{len(self.sources)}"))
        self._batches = list(self._bench.texts.batches(self.first, self._count))
        return self._send(self._batches, "new")

    def unchanged(self) -> Sample:
        """Send the same again."""
        return self._send(self._batches, "unchanged")

    def updated(self) -> Sample:
        """Send the same ids with another text."""
        return self._send(
            list(self._bench.texts.batches(self.first, self._count, version=1)), "updated"
        )

    def _send(self, batches: list[bytes], did: str) -> Sample:
        return self._account.sync(self.sources[-1], batches, count=self._count, did=did)


def run(bench: Bench) -> Iterator[Figure]:
    """Compare the three ways a sync can go, and the first of them with XADD."""
    count = bench.count(20_480, 2048)
    with contextlib.ExitStack() as stack:
        account = Account(stack.enter_context(serve()))
        rounds = _Rounds(bench, account, count)
        contenders: dict[str, Callable[[], Sample]] = {
            "new": rounds.new,
            "unchanged": rounds.unchanged,
            "updated": rounds.updated,
        }
        try:
            peer = stack.enter_context(redis.running())
        except (Skipped, DidNotStart) as why:
            bench.skip("ingest beside Redis", why)
        else:
            messages = [dumps(bench.texts.comment(number)) for number in range(count)]
            contenders["Redis XADD"] = lambda: _publish(peer, messages)
        taken = alternate(bench.repeat, contenders)
        stream = account.new_stream("ingest", rounds.sources[-1:])
        stream.rewind()
        stream.drain(ids(rounds.first, count), size=BATCH, to_end=True)
    bench.keep("ingest", taken)
    if "Redis XADD" in taken:
        yield Figure("ingest/redis", speed_ratio(taken["new"], taken["Redis XADD"]))
    yield Figure("ingest/unchanged", speed_ratio(taken["unchanged"], taken["new"]))
    yield Figure("ingest/updated", speed_ratio(taken["updated"], taken["new"]))


def _publish(peer: Peer, messages: list[bytes]) -> Sample:
    peer.clear()
    watch = Stopwatch(peer.pids())
    for start in range(0, len(messages), BATCH):
        peer.publish(messages[start : start + BATCH])
    return watch.stop(len(messages))
