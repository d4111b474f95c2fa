"""A million comments: whether size slows anything down, and what memory it takes."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence

from bench import machine
from bench.bench import Bench, Figure
from bench.measure import Sample, alternate, amount, speed_ratio
from bench.servers import Server, serve
from bench.streams import Account, Source, Stream
from bench.texts import BATCH, ids

_SMALL = 10_240
_PASSES = 5
_SPAN = _PASSES * _SMALL
_INGEST = 40_960
_SETTLE_S = 2.5


def run(bench: Bench) -> Iterator[Figure]:
    """Fill a large database and a small one, empty them, and compare."""
    rows = bench.rows // BATCH * BATCH
    with serve() as large, serve() as small:
        account = Account(large)
        source, stream, places = _in_and_out(bench, account, rows)
        now, height = machine.memory_mb(large.own_pids)
        bench.extras["server memory at its height, MB"] = height
        yield Figure("memory", amount([now]))
        _, little, _ = _in_and_out(bench, Account(small), _SMALL)
        for where, first in (
            ("head", 0),
            ("middle", rows // 2 // BATCH * BATCH),
            ("tail", rows - _SPAN),
        ):
            taken = alternate(
                bench.repeat,
                {
                    "million": _window(stream, places, first),
                    "ten thousand": lambda: _passes(little, (), [0] * _PASSES),
                },
            )
            bench.keep(f"fetch at the {where}", taken)
            yield Figure(f"million/{where}", speed_ratio(taken["million"], taken["ten thousand"]))
        taken = alternate(
            bench.repeat,
            {
                "million": _Growing(bench, large, account, source, rows).more,
                "ten thousand": lambda: _fresh(bench),
            },
        )
        bench.keep("ingest of new", taken)
        yield Figure("million/ingest", speed_ratio(taken["million"], taken["ten thousand"]))


def _in_and_out(bench: Bench, account: Account, rows: int) -> tuple[Source, Stream, list[str]]:
    """Fill a source and drain it; return the place after every batch, too."""
    source = account.new_source("rows")
    stream = account.new_stream("rows", [source])
    part = 100 * BATCH
    for first in range(0, rows, part):
        count = min(part, rows - first)
        sample = account.sync(source, bench.texts.batches(first, count), count=count, did="new")
        if rows > _SMALL:
            bench.samples.setdefault("filling, by 100 batches", []).append(sample)
            print(f"  {first + count} rows, {sample.rate:.0f}/s", flush=True)
    places: list[str] = []
    whole = stream.drain(ids(0, rows), size=BATCH, to_end=True, places=places)
    bench.samples.setdefault(f"emptying {rows} rows", []).append(whole)
    return source, stream, places


def _window(stream: Stream, places: Sequence[str], first: int) -> Callable[[], Sample]:
    """Return what drains a part of a large stream that begins at a comment's number."""
    return lambda: _passes(stream, places, range(first, first + _SPAN, _SMALL))


def _passes(stream: Stream, places: Sequence[str], starts: Sequence[int]) -> Sample:
    """Drain parts of a stream, one after the other, each as long as the small stream."""
    total = Sample(0, 0.0)
    for first in starts:
        stream.rewind()
        if first:
            stream.skip_to(places[first // BATCH - 1])
        stream.results(1)
        total += stream.drain(ids(first, _SMALL), size=BATCH)
    return total


class _Growing:
    """Adds comments to a source again and again."""

    def __init__(
        self, bench: Bench, server: Server, account: Account, source: Source, rows: int
    ) -> None:
        self._bench = bench
        self._server = server
        self._account = account
        self._source = source
        self._rows = rows

    def more(self) -> Sample:
        """Add comments; the work that the server does after it has answered is counted, too."""
        batches = list(self._bench.texts.batches(self._rows, _INGEST))
        self._rows += _INGEST
        sample = self._account.sync(self._source, batches, count=_INGEST, did="new")
        before = machine.cpu_s(self._server.pids)
        time.sleep(_SETTLE_S)
        after_s = machine.cpu_s(self._server.pids) - before
        # On one core, what is done later is time that something else does not get.
        return sample + Sample(0, after_s, 0.0, after_s)


def _fresh(bench: Bench) -> Sample:
    """Do the same on a small database. It grows by that, so it is another one each time."""
    with serve() as server:
        account = Account(server)
        source = account.new_source("rows")
        batches = bench.texts.batches(0, _SMALL)
        account.sync(source, batches, count=_SMALL, did="new")
        time.sleep(_SETTLE_S)
        return _Growing(bench, server, account, source, _SMALL).more()
