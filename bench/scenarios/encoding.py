"""What compression costs: most HTTP clients ask for gzip without being told to."""

from __future__ import annotations

from collections.abc import Iterator

from bench.bench import Bench, Figure
from bench.measure import alternate, speed_ratio
from bench.scenarios.fetch import draining


def run(bench: Bench) -> Iterator[Figure]:
    """Compare cycles with gzip, compressed by the server and decompressed here, with identity."""
    with bench.backlog(bench.count(51_200, 4096)) as (server, stream, wanted):
        packed = stream.through(server.client(accept_encoding="gzip, deflate"))
        taken = alternate(
            bench.repeat,
            {"gzip": draining(packed, wanted, 1024), "identity": draining(stream, wanted, 1024)},
        )
    bench.keep("encoding", taken)
    yield Figure("gzip", speed_ratio(taken["gzip"], taken["identity"]))
