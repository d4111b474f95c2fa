"""What it costs to merge many sources into one stream, among still more of them."""

from __future__ import annotations

from collections.abc import Iterator

from bench.bench import Bench, Figure
from bench.measure import alternate, speed_ratio
from bench.scenarios.fetch import draining
from bench.servers import serve
from bench.streams import Account, Source
from bench.texts import ids

_RUN = 32
"""Comments that come from one source before the next one's turn."""


def run(bench: Bench) -> Iterator[Figure]:
    """Compare a dataset of a tenth of all sources with a dataset of one that holds as much."""
    sources, count = bench.count(1000, 30), bench.count(51_200, 960)
    with serve() as server:
        account = Account(server)
        every = [account.new_source(f"many-{number}") for number in range(sources)]
        alone = account.new_source("alone")
        merged = account.new_stream("merged", every[::10])
        single = account.new_stream("single", [alone])
        account.sync(alone, bench.texts.batches(0, count), count=count, did="new")
        _spread(bench, account, every[::10], first=count, count=count)
        others = [source for rank, source in enumerate(every) if rank % 10]
        _spread(bench, account, others, first=2 * count, count=len(others) * _RUN)
        taken = alternate(
            bench.repeat,
            {
                "many sources": draining(merged, ids(count, count), 1024),
                "one source": draining(single, ids(0, count), 1024),
            },
        )
    bench.keep("sources", taken)
    yield Figure("sources", speed_ratio(taken["many sources"], taken["one source"]))


def _spread(
    bench: Bench, account: Account, sources: list[Source], *, first: int, count: int
) -> None:
    """Send comments to sources in turn, a few to each."""
    for turn, body in enumerate(bench.texts.batches(first, count, size=_RUN)):
        account.sync(sources[turn % len(sources)], [body], count=_RUN, did="new")
