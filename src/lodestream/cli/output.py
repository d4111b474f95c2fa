"""What commands print: tables for people, JSON for programs, progress for those who wait."""

from __future__ import annotations

import json
import shutil
import sys
import time
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

import click

_GAP: Final = "  "
_LEAST_WIDTH: Final = 8
_SHOWN_EVERY_S: Final = 0.2
_BAR: Final = 24

Row = Mapping[str, Any]


def print_json(value: object) -> None:
    """Print a value as compact JSON on one line; of a list, each item on a line of its own."""
    for one in value if isinstance(value, list | tuple) else [value]:
        click.echo(json.dumps(one, ensure_ascii=False, separators=(",", ":")))


def show_rows(rows: Iterable[Row], columns: Sequence[str], *, as_json: bool) -> None:
    """Print rows: as a table with these columns, or whole, as JSON lines, as they come."""
    if as_json:
        for row in rows:
            print_json(row)
    else:
        print_table(list(rows), columns)


def show_one(row: Row, *, as_json: bool, columns: Sequence[str] | None = None) -> None:
    """Print one thing: a line for each of its values (those of the columns), or JSON."""
    if as_json:
        print_json(row)
        return
    names = list(row) if columns is None else columns
    width = max(map(len, names), default=0)
    for name in names:
        click.echo(f"{name.ljust(width)}{_GAP}{_cell(find(row, name))}".rstrip())


def print_table(rows: Sequence[Row], columns: Sequence[str]) -> None:
    """Print rows as a table with aligned columns, on standard output.

    On a terminal a line is never wider than the terminal: the widest columns are cut. A column
    `a.b` is what `b` is inside of `a`.
    """
    cells = [[_cell(find(row, name)) for name in columns] for row in rows]
    head = [name.upper().replace("_", " ") for name in columns]
    widths = [max(map(_width, column)) for column in zip(head, *cells, strict=True)]
    if sys.stdout.isatty():
        widths = _fitting(widths, shutil.get_terminal_size().columns)
    right = [bool(rows) and all(_is_number(find(row, name)) for row in rows) for name in columns]
    for line in [head, *cells]:
        padded = (_padded(*one) for one in zip(line, widths, right, strict=True))
        click.echo(_GAP.join(padded).rstrip())


def find(row: Row, name: str) -> Any:
    """Return a value of a row; `a.b` is what `b` is inside of `a`, None if it is not there."""
    if name in row:
        return row[name]
    outer, _, inner = name.partition(".")
    found = row.get(outer)
    return find(found, inner) if inner and isinstance(found, Mapping) else None


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _cell(value: object) -> str:
    if value is None or value == "" or value == [] or value == {}:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list | tuple) and all(isinstance(one, str) for one in value):
        value = " ".join(value)
    elif isinstance(value, Mapping | list | tuple):
        value = json.dumps(value, ensure_ascii=False)
    # What others wrote must not move the cursor or colour the terminal.
    return "".join(one if one.isprintable() else " " for one in str(value))


def _width(text: str) -> int:
    """Return how many columns of a terminal a text takes."""
    if text.isascii():
        return len(text)
    return sum(
        0 if unicodedata.combining(one) else 1 + (unicodedata.east_asian_width(one) in "WF")
        for one in text
    )


def _fitting(widths: list[int], room: int) -> list[int]:
    """Cut the widest columns until all fit, as far as they stay readable."""
    widths = list(widths)
    over = sum(widths) + len(_GAP) * (len(widths) - 1) - room
    while over > 0 and max(widths) > _LEAST_WIDTH:
        widths[widths.index(max(widths))] -= 1
        over -= 1
    return widths


def _padded(text: str, width: int, right: bool) -> str:
    if _width(text) > width:
        while _width(text) > width - 1:
            text = text[:-1]
        text += "…"
    blank = " " * (width - _width(text))
    return blank + text if right else text + blank


class Progress:
    """Shows on standard error how far it is, how fast, and how long it will take.

    Only where somebody looks: nothing is shown unless standard error is a terminal. `total` is how
    much `advance` will be told of, in units of `step`: by default the items themselves; something
    else, such as the bytes of a file, where those are not known beforehand.

        with Progress("import", "comments", total=size) as progress:
            progress.advance(len(batch), step=batch_bytes)
    """

    def __init__(
        self, label: str, unit: str, *, total: int | None = None, shown: bool = True
    ) -> None:
        self._label = label
        self._unit = unit
        self.total = total
        self._started = time.monotonic()
        self._shown_at = 0.0
        self.items = 0
        self._steps = 0
        self._is_seen = shown and sys.stderr.isatty()

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, *_error: object) -> None:
        self.finish()

    def advance(self, items: int, *, step: int | None = None) -> None:
        """Note that so many more items are done."""
        self.items += items
        self._steps += items if step is None else step
        if self._is_seen and time.monotonic() - self._shown_at > _SHOWN_EVERY_S:
            self._show()

    def say(self, text: str) -> None:
        """Write a line that stays, on standard error."""
        clear = "\r\033[K" if self._is_seen else ""
        click.echo(f"{clear}{text}", err=True)

    def finish(self) -> None:
        """Show the end, once."""
        if self._is_seen:
            self._show()
            click.echo(err=True)
            self._is_seen = False

    def _show(self) -> None:
        self._shown_at = time.monotonic()
        text = self.text(self._shown_at - self._started)
        room = shutil.get_terminal_size().columns - 1
        click.echo(f"\r\033[K{text[:room]}", err=True, nl=False)

    def text(self, took_s: float) -> str:
        """Return what is shown when it took so long."""
        took_s = max(took_s, 1e-6)
        speed = f"{self.items} {self._unit}, {self.items / took_s:.0f}/s"
        if not self.total:
            return f"{self._label} {speed}"
        part = min(1.0, self._steps / self.total)
        filled = round(part * _BAR)
        bar = "#" * filled + "-" * (_BAR - filled)
        left = took_s / part - took_s if part else None
        ahead = "" if left is None or part == 1 else f", {duration(left)} left"
        return f"{self._label} [{bar}] {part:4.0%} {speed}{ahead}"


def duration(seconds: float) -> str:
    """Return a time as people say it: `12s`, `3m20s`, `5h06m`, `2d03h`."""
    whole = round(seconds)
    for unit, length, smaller, part in (("d", 86_400, "h", 3600), ("h", 3600, "m", 60)):
        if whole >= length:
            return f"{whole // length}{unit}{whole % length // part:02}{smaller}"
    return f"{whole // 60}m{whole % 60:02}s" if whole >= 60 else f"{whole}s"
