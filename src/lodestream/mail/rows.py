"""Lines of text with what stands in them, and rows of tables as lines."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from lodestream.mail.markup import Element, Run
from lodestream.mail.split import without_marks

_LONGEST_CELL: Final = 400


class Line:
    """A line, how deep it is quoted, and the runs in it."""

    __slots__ = ("depth", "runs", "text")

    def __init__(self, depth: int, text: str, runs: Sequence[Run] = ()) -> None:
        self.depth = depth
        self.text = text
        self.runs = runs


class Table:
    """A table that is open: the lines around it, its own, and the cells of the row so far."""

    __slots__ = ("around", "cell", "cells", "in_cell", "lines")

    def __init__(self, around: list[Line]) -> None:
        self.around = around
        self.lines: list[Line] = []
        self.cells: list[tuple[list[Line], Element | None]] = []
        self.in_cell = False
        self.cell: Element | None = None


Cell = tuple[list[Line], Element | None]


def lines_of_row(cells: Sequence[Cell]) -> list[Line]:
    """Return a row as one line, its cells between bars; or one below the other if they are long.

    A cell of several lines tells that the table is there for the layout.
    """
    texts = [[line for line in cell if line.text] for cell, _ in cells]
    filled = [lines for lines in texts if lines]
    if len(filled) > 1 and all(
        len(lines) == 1 and len(lines[0].text) <= _LONGEST_CELL for lines in filled
    ):
        row = [
            lines[0] if lines else Line(0, "", (Run(0, 0, element, "none"),))
            for lines, (_, element) in zip(texts, cells, strict=True)
        ]
        return [_joined(row, filled[0][0].depth)]
    return [line for cell, _ in cells for line in cell]


def _joined(row: Sequence[Line], depth: int) -> Line:
    """Return the cells of a row as one line, with bars between them."""
    text = ""
    runs: list[Run] = []
    last = max(at for at, line in enumerate(row) if line.text)
    for at, line in enumerate(row):
        if at <= last:
            text += (" |" if text else "|") if at else ""
            text += f" {line.text}" if text and line.text else line.text
        size = len(without_marks(line.text))
        runs += moved(line.runs, len(without_marks(text)) - size)
    return Line(depth, text, runs)


def moved(runs: Sequence[Run], by: int) -> Sequence[Run]:
    """Return runs that stand `by` characters further on."""
    if not by or not runs:
        return runs
    return [run._replace(start=run.start + by, end=run.end + by) for run in runs]
