"""What a filter costs for each comment that it looks at."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from bench.bench import Bench, Figure
from bench.measure import Sample, alternate, cost_ratio
from bench.scenarios.fetch import draining
from bench.servers import serve
from bench.streams import Account, Stream
from bench.texts import TEAMS, ids

_FILTERS: dict[str, dict[str, object]] = {
    "property": {"user_properties": {"string:Team": {"one_of": ["team 7"]}}},
    "domain": {"messages": {"from": {"domain_one_of": ["branch7.example"]}}},
}


def run(bench: Bench) -> Iterator[Figure]:
    """Compare streams that deliver one comment in a hundred with one that delivers all."""
    count = bench.count(100_000, 5000)
    with serve() as server:
        account = Account(server)
        source = account.new_source("filters")
        everything = account.new_stream("everything", [source])
        chosen = {name: account.new_stream(name, [source], one) for name, one in _FILTERS.items()}
        account.sync(source, bench.texts.batches(0, count), count=count, did="new")
        wanted = ids(0, count)
        contenders = {name: _draining_all(one, wanted[7::TEAMS]) for name, one in chosen.items()}
        contenders["no filter"] = draining(everything, wanted, 1024)
        taken = alternate(bench.repeat, contenders)
    bench.keep("filters", taken)
    for name in chosen:
        yield Figure(f"filter/{name}", cost_ratio(taken[name], taken["no filter"]))


def _draining_all(stream: Stream, wanted: list[str]) -> Callable[[], Sample]:
    def drain() -> Sample:
        stream.rewind()
        stream.results(1)
        return stream.drain(wanted, size=1024, to_end=True)

    return drain
