"""PostgreSQL beside SQLite.

The server and its client share a core as ever; PostgreSQL's processes run where they like, as they
would on a machine of their own. Their processor time is counted.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from bench.bench import Bench, Figure
from bench.measure import alternate, speed_ratio
from bench.scenarios.fetch import draining
from bench.servers import postgres, serve
from bench.streams import Account
from bench.texts import ids


def run(bench: Bench) -> Iterator[Figure]:
    """Compare two servers with the same comments. Raises Skipped without PostgreSQL."""
    counts = {1024: bench.count(51_200, 4096), 16: bench.count(6400, 320)}
    wanted = ids(0, counts[1024])
    with contextlib.ExitStack() as stack:
        servers = {
            "PostgreSQL": stack.enter_context(serve(postgres=stack.enter_context(postgres()))),
            "SQLite": stack.enter_context(serve()),
        }
        streams = {}
        for name, server in servers.items():
            account = Account(server)
            source = account.new_source("same")
            streams[name] = account.new_stream("same", [source])
            batches = bench.texts.batches(0, counts[1024])
            account.sync(source, batches, count=counts[1024], did="new")
        for size, count in counts.items():
            taken = alternate(
                bench.repeat,
                {name: draining(stream, wanted[:count], size) for name, stream in streams.items()},
            )
            bench.keep(f"databases at {size}", taken)
            yield Figure(f"postgresql/{size}", speed_ratio(taken["PostgreSQL"], taken["SQLite"]))
