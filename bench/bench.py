"""What every scenario works with, and what it gives back."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from bench.measure import Ratio, Sample
from bench.servers import Server, serve
from bench.streams import Account, Stream
from bench.texts import Texts, ids


@dataclass(frozen=True)
class Figure:
    """One line of the report: the goal it is held against, and what was measured."""

    key: str
    ratio: Ratio


@dataclass
class Bench:
    """The options, and everything measured so far."""

    repeat: int
    smoke: bool
    rows: int
    texts: Texts = field(default_factory=Texts)
    samples: dict[str, list[Sample]] = field(default_factory=dict)
    extras: dict[str, float] = field(default_factory=dict)
    skipped: list[str] = field(default_factory=list)

    def count(self, full: int, smoke: int) -> int:
        """Return how many comments to use: so many, or so many in a short run."""
        return smoke if self.smoke else full

    def keep(self, scenario: str, taken: dict[str, list[Sample]]) -> None:
        """Keep samples for the report, under the scenario's name and their own."""
        for name, samples in taken.items():
            self.samples[f"{scenario}: {name}"] = samples

    def skip(self, what: str, why: object) -> None:
        """Say aloud that something cannot be measured here."""
        self.skipped.append(f"{what}: {why}")
        print(f"SKIPPED {what}: {why}", flush=True)

    @contextlib.contextmanager
    def backlog(self, count: int) -> Iterator[tuple[Server, Stream, Sequence[str]]]:
        """Run a server with one stream over so many comments; give the stream and their ids."""
        with serve() as server:
            account = Account(server)
            source = account.new_source("backlog")
            stream = account.new_stream("backlog", [source])
            account.sync(source, self.texts.batches(0, count), count=count, did="new")
            yield server, stream, ids(0, count)
