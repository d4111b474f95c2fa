"""The command `python -m bench`."""

from __future__ import annotations

import argparse
import contextlib
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType

from bench import machine, report
from bench.bench import Bench, Figure
from bench.client import WrongAnswer
from bench.scenarios import (
    client,
    databases,
    encoding,
    export,
    fetch,
    filters,
    ingest,
    million,
    peers,
    predictions,
    sources,
)
from bench.servers import Skipped

_SCENARIOS: dict[str, Callable[[Bench], Iterator[Figure]]] = {
    "fetch": fetch.run,
    "ingest": ingest.run,
    "peers": peers.run,
    "encoding": encoding.run,
    "filters": filters.run,
    "sources": sources.run,
    "databases": databases.run,
    "predictions": predictions.run,
    "export": export.run,
    "client": client.run,
}
_LARGE = {"million": million.run}


class OutOfTime(Exception):
    """The limit was reached before everything was measured."""


def main() -> int:
    """Measure, print, and return the exit status: 1 if a comment was lost or an answer wrong."""
    options = _options()
    known = _SCENARIOS | _LARGE
    chosen = options.only or [*_SCENARIOS, *(_LARGE if options.large else ())]
    repeat = options.repeat or (1 if options.smoke else 5)
    bench = Bench(repeat=repeat, smoke=options.smoke, rows=options.rows)
    if not machine.pin():
        bench.skip("one core for both ends", "this system does not let a process choose")
    _limit(options.limit or (120 if options.smoke else 2400))
    figures: list[Figure] = []
    try:
        for name in chosen:
            _measure(name, known[name], bench, figures)
    except WrongAnswer as wrong:
        print(f"WRONG: {wrong}", file=sys.stderr)
        return 1
    except (OutOfTime, KeyboardInterrupt) as end:
        print(f"ended early: {end!r}", file=sys.stderr)
        return 130 if isinstance(end, KeyboardInterrupt) else 1
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        print(f"\n{report.table(figures)}\n\n{report.samples_table(bench)}")
        for what, value in bench.extras.items():
            print(f"\n{what}: {value:.0f}")
        if options.json:
            report.write_json(options.json, bench, figures)
    if bench.smoke:
        print("\nA short run: what it says about speed is not worth much.")
    print("\nEvery comment came exactly once, and in order.")
    return 0


def _measure(
    name: str,
    scenario: Callable[[Bench], Iterator[Figure]],
    bench: Bench,
    figures: list[Figure],
) -> None:
    start = time.monotonic()
    print(f"{name} …", flush=True)
    # Closed at once whatever happens, so that what it started ends with it.
    with contextlib.closing(scenario(bench)) as found:  # type: ignore[type-var]
        try:
            for figure in found:
                figures.append(figure)
                print(f"  {report.line(figure)}", flush=True)
        except Skipped as why:
            bench.skip(name, why)
    print(f"  ({time.monotonic() - start:.0f} s)", flush=True)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m bench", description="Measure Lodestream beside its goals."
    )
    parser.add_argument("--repeat", type=int, help="rounds that count (default 5)")
    parser.add_argument(
        "--smoke",
        action="store_true",
        help="small sizes, one round: whether everything comes out right, not how fast",
    )
    parser.add_argument("--large", action="store_true", help="also a million comments")
    parser.add_argument(
        "--rows", type=int, default=1_000_000, help="what a million is (default 1000000)"
    )
    parser.add_argument(
        "--only", nargs="+", choices=[*_SCENARIOS, *_LARGE], help="these scenarios alone"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write everything measured")
    parser.add_argument("--limit", type=float, help="seconds after which to stop")
    options = parser.parse_args()
    if options.rows < 200_000:
        parser.error("--rows: at least 200000, so that head, middle and tail do not overlap")
    return options


def _limit(seconds: float) -> None:
    """Stop after so many seconds, and on SIGTERM as on Ctrl-C: by an exception, which cleans up."""

    def out_of_time(_signal: int, _frame: FrameType | None) -> None:
        raise OutOfTime(f"the limit of {seconds:.0f} s was reached")

    def ended(_signal: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    signal.signal(signal.SIGALRM, out_of_time)
    signal.signal(signal.SIGTERM, ended)
    signal.setitimer(signal.ITIMER_REAL, seconds)


if __name__ == "__main__":
    sys.exit(main())
