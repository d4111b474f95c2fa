"""What a fetch and an advance cost, by size of the batch."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from bench.bench import Bench, Figure
from bench.measure import Sample, alternate
from bench.streams import Stream


def run(bench: Bench) -> Iterator[Figure]:
    """Measure rates and waits; there is no goal without something to compare with."""
    counts = {
        1024: bench.count(51_200, 4096),
        128: bench.count(25_600, 1280),
        16: bench.count(12_800, 320),
        1: bench.count(1500, 50),
    }
    with bench.backlog(counts[1024]) as (_, stream, wanted):
        contenders = {
            f"at {size}": draining(stream, wanted[:count], size) for size, count in counts.items()
        }
        bench.keep("fetch + advance", alternate(bench.repeat, contenders))
    yield from ()


def draining(stream: Stream, wanted: Sequence[str], size: int) -> Callable[[], Sample]:
    """Return what drains a stream from its beginning."""

    def drain() -> Sample:
        stream.rewind()
        # What is kept in memory about the stream went with the reset; it is no part of a drain.
        stream.results(1)
        return stream.drain(wanted, size=size)

    return drain
