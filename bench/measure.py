"""Samples, taken in alternation, and the ratios between them."""

from __future__ import annotations

import gc
import math
import statistics
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from bench import machine


@dataclass(frozen=True)
class Sample:
    """So many comments in so much time.

    `client_s` and `server_s` are processor seconds of the two ends; 0 if not known.
    `waits_s` are the times of single requests.
    """

    comments: int
    wall_s: float
    client_s: float = 0.0
    server_s: float = 0.0
    waits_s: tuple[float, ...] = ()

    def __add__(self, other: Sample) -> Sample:
        """Return both as one."""
        return Sample(
            self.comments + other.comments,
            self.wall_s + other.wall_s,
            self.client_s + other.client_s,
            self.server_s + other.server_s,
            self.waits_s + other.waits_s,
        )

    @property
    def rate(self) -> float:
        """Comments a second."""
        return self.comments / self.wall_s

    @property
    def cpu_us(self) -> float:
        """Processor microseconds a comment, both ends together; 0 if one of them is not known."""
        if not self.server_s:
            return 0.0
        return (self.client_s + self.server_s) / self.comments * 1e6


class Stopwatch:
    """Takes one sample, of this process as the client and of others as the server."""

    def __init__(self, server_pids: Iterable[int]) -> None:
        # What an earlier sample left behind is not this one's to clear away.
        gc.collect()
        self._pids = list(server_pids)
        self._server_s = machine.cpu_s(self._pids)
        self._client_s = time.process_time()
        self._wall_s = time.perf_counter()

    def stop(self, comments: int, waits_s: Iterable[float] = ()) -> Sample:
        """Return what was measured since this stopwatch was made."""
        wall_s = time.perf_counter() - self._wall_s
        client_s = time.process_time() - self._client_s
        server_s = machine.cpu_s(self._pids) - self._server_s
        return Sample(comments, wall_s, client_s, server_s, tuple(waits_s))


def alternate(
    repeat: int, contenders: Mapping[str, Callable[[], Sample]]
) -> dict[str, list[Sample]]:
    """Let every contender run once, then every one again, and so on: A/B/A/B.

    What disturbs the machine for a while then disturbs all of them. A first round is not counted
    if there are several: caches fill, and code is run for the first time.
    """
    taken: dict[str, list[Sample]] = {name: [] for name in contenders}
    if repeat > 1:
        for run in contenders.values():
            run()
    for _ in range(repeat):
        for name, run in contenders.items():
            taken[name].append(run())
    return taken


@dataclass(frozen=True)
class Ratio:
    """The median of the rounds' ratios, the least and the most of them, and that of the processor
    time (None if it is not known of both)."""

    median: float
    least: float
    most: float
    by_cpu: float | None = None


def speed_ratio(ours: Iterable[Sample], theirs: Iterable[Sample]) -> Ratio:
    """Return how many times as fast `ours` is; each round is compared within itself."""
    pairs = list(zip(ours, theirs, strict=True))
    by_rate = [one.rate / other.rate for one, other in pairs]
    by_cpu = [other.cpu_us / one.cpu_us for one, other in pairs if one.cpu_us and other.cpu_us]
    return _ratio(by_rate, by_cpu)


def cost_ratio(ours: Iterable[Sample], theirs: Iterable[Sample]) -> Ratio:
    """Return how many times as much time a comment of `ours` takes."""
    return speed_ratio(theirs, ours)


def amount(values: Iterable[float]) -> Ratio:
    """Return a plain figure, such as megabytes, in the shape of a ratio."""
    return _ratio(list(values), [])


def percentile(values: Iterable[float], percent: float) -> float:
    """Return the least value that so many percent of the values do not exceed."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(percent / 100 * len(ordered)) - 1)]


def _ratio(values: list[float], by_cpu: list[float]) -> Ratio:
    cpu = statistics.median(by_cpu) if by_cpu else None
    return Ratio(statistics.median(values), min(values), max(values), cpu)
