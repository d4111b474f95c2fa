"""The figures beside their goals, for people and for programs."""

from __future__ import annotations

import json
import statistics
from collections.abc import Iterable, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

from bench import machine
from bench.bench import Bench, Figure
from bench.client import JSON_LIBRARY
from bench.goals import GOALS
from bench.measure import Sample, percentile

_LIBRARIES = ("lodestream", "uvicorn", "sqlalchemy", "psycopg", "redis", "nats-py", "aio-pika")


def line(figure: Figure) -> str:
    """Return one figure as it is told while the others are still being measured."""
    goal = GOALS[figure.key]
    verdict = goal.verdict(figure.ratio.median)
    return f"{_number(figure.ratio.median)} {goal.unit:2}  {verdict:6}  {goal.figure}"


def table(figures: Iterable[Figure]) -> str:
    """Return all figures as a table in Markdown, in the order of the goals."""
    found = {figure.key: figure for figure in figures}
    rows: list[tuple[str, ...]] = [
        ("figure", "measured", "rounds", "by CPU", "floor", "aim", "ok?")
    ]
    for key, goal in GOALS.items():
        if key not in found:
            rows.append((goal.figure, "", "", "", _number(goal.floor), _number(goal.aim), "?"))
            continue
        ratio = found[key].ratio
        rows.append(
            (
                goal.figure,
                f"{_number(ratio.median)} {goal.unit}".strip(),
                f"{_number(ratio.least)} to {_number(ratio.most)}",
                "" if ratio.by_cpu is None else _number(ratio.by_cpu),
                _number(goal.floor),
                _number(goal.aim),
                goal.verdict(ratio.median),
            )
        )
    return _markdown(rows)


def samples_table(bench: Bench) -> str:
    """Return the medians of everything measured as a table in Markdown."""
    rows: list[tuple[str, ...]] = [
        ("measured", "comments/s", "µs client + server", "p50 ms", "p99 ms")
    ]
    for name, samples in bench.samples.items():
        values = _summary(samples)
        cpu = f"{values['client_us']:.1f} + {values['server_us']:.1f}"
        waits = [f"{values[key]:.2f}" if key in values else "" for key in ("p50_ms", "p99_ms")]
        rows.append((name, f"{values['rate']:.0f}", cpu, *waits))
    return _markdown(rows)


def write_json(path: Path, bench: Bench, figures: Iterable[Figure]) -> None:
    """Write everything that was measured, and on what kind of machine."""
    content = {
        "machine": machine.facts(),
        "libraries": {"json": JSON_LIBRARY} | _versions(),
        "options": {"repeat": bench.repeat, "smoke": bench.smoke, "rows": bench.rows},
        "figures": [_figure(figure) for figure in figures],
        "samples": {
            name: {"median": _summary(samples), "rounds": [_round(one) for one in samples]}
            for name, samples in bench.samples.items()
        },
        "extras": bench.extras,
        "skipped": bench.skipped,
    }
    path.write_text(json.dumps(content, indent=1) + "\n")


def _figure(figure: Figure) -> dict[str, Any]:
    goal, ratio = GOALS[figure.key], figure.ratio
    return {
        "key": figure.key,
        "figure": goal.figure,
        "measured": ratio.median,
        "least": ratio.least,
        "most": ratio.most,
        "by_cpu": ratio.by_cpu,
        "floor": goal.floor,
        "aim": goal.aim,
        "lower_is_better": goal.lower,
        "verdict": goal.verdict(ratio.median),
    }


def _summary(samples: list[Sample]) -> dict[str, float]:
    def median(values: Iterable[float]) -> float:
        return statistics.median(values)

    values = {
        "rate": median(one.rate for one in samples),
        "client_us": median(one.client_s / one.comments * 1e6 for one in samples),
        "server_us": median(one.server_s / one.comments * 1e6 for one in samples),
    }
    if all(one.waits_s for one in samples):
        values["p50_ms"] = median(percentile(one.waits_s, 50) * 1e3 for one in samples)
        values["p99_ms"] = median(percentile(one.waits_s, 99) * 1e3 for one in samples)
    return values


def _round(sample: Sample) -> dict[str, float]:
    return {
        "comments": sample.comments,
        "wall_s": round(sample.wall_s, 6),
        "client_s": round(sample.client_s, 6),
        "server_s": round(sample.server_s, 6),
    }


def _versions() -> dict[str, str]:
    found = {}
    for name in _LIBRARIES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def _number(value: float) -> str:
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}"


def _markdown(rows: Sequence[Sequence[str]]) -> str:
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = [
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + " |"
        for row in rows
    ]
    lines.insert(1, "|" + "|".join("-" * (width + 2) for width in widths) + "|")
    return "\n".join(lines)
