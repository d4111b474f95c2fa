"""A table as it is written to a file: columns, and parts that hold some rows of every column."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from msgspec import Struct

Kind = Literal["text", "time", "integer", "number", "boolean"]

Value = str | int | float | bool | None
"""A cell. Times are texts as `domain.times.format_us` writes them; None is an empty cell.
What is written as text, as all but Parquet, takes the digits of a number for the number."""

Part = Sequence[Sequence[Value]]
"""Some rows: for each column its values. By column, because that is quickest to make and write."""


class Column(Struct, frozen=True):
    """A column: its name, unique in its table, and what its cells hold."""

    name: str
    kind: Kind = "text"
