"""Tables, from whatever file: rows under a header, and how comments are read from them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import BinaryIO

from lodestream.domain.errors import Unprocessable
from lodestream.formats.columns import Columns, Guess, Wanted, choose_columns, guess_columns
from lodestream.formats.delimited import (
    SAMPLE_ROWS,
    Row,
    read_rows,
    sample,
    sniff_delimiter,
    sniff_encoding,
)
from lodestream.formats.rows import RowReader
from lodestream.formats.times import guess_formats, narrowed


@dataclass(frozen=True, slots=True)
class Table:
    """Rows that may be read several times, from the first; the first is the header.

    `encoding` and `delimiter` are those of a text file, empty for others.
    """

    guess: Guess
    read: Callable[[], Iterator[Row]]
    encoding: str = ""
    delimiter: str = ""

    def body(self) -> Iterator[Row]:
        """Read the rows under the header."""
        return islice(self.read(), 1, None)


@dataclass(frozen=True, slots=True)
class Reading:
    """How the comments of a table are read."""

    columns: Columns
    timestamp_format: str
    ignored: list[str]
    reader: RowReader


def open_delimited(
    file: BinaryIO, *, encoding: str | None = None, delimiter: str | None = None
) -> Table:
    """Return the table in a text file; what is not said is sniffed.

    Raises Unprocessable if it has no row.
    """
    encoding = encoding or sniff_encoding(file)
    delimiter = delimiter or sniff_delimiter(file, encoding)
    guess = guess_columns(sample(file, encoding, delimiter, SAMPLE_ROWS + 1))
    return Table(guess, lambda: read_rows(file, encoding, delimiter), encoding, delimiter)


def reading_of(table: Table, wanted: Wanted) -> Reading:
    """Return how the comments of a table are read, as wanted and else as it seems.

    Raises Unprocessable if the table makes no sense: no header, a column that is not there, times
    of which day and month cannot be told apart.
    """
    columns = choose_columns(table.guess, wanted)
    used = columns.named()
    ignored = [one for one in table.guess.columns if one not in used]
    form = wanted.timestamp_format or _timestamp_format(table, columns)
    return Reading(columns, form, ignored, RowReader(table.guess.columns, columns, form))


def _timestamp_format(table: Table, columns: Columns) -> str:
    """Return the format of the table's times, looking further than the sample if need be."""
    at = table.guess.columns.index(columns.timestamp)
    formats = table.guess.timestamp_formats
    if table.guess.roles.get(columns.timestamp) != "timestamp" or not formats:
        formats = guess_formats(_cells(islice(table.body(), SAMPLE_ROWS), at))
    if not formats:
        raise Unprocessable(
            f"the times in column {columns.timestamp!r} are in no known format; "
            "name it: timestamp_format=<pattern>"
        )
    if len(formats) > 1:
        formats = narrowed(formats, _cells(table.body(), at))
    if len(formats) > 1:
        raise Unprocessable(
            f"the times in column {columns.timestamp!r} can be read as {' or '.join(formats)}; "
            "say which: timestamp_format=<pattern>"
        )
    return formats[0]


def _cells(rows: Iterator[Row], at: int) -> Iterator[str]:
    return (row.cells[at].strip() for row in rows if len(row.cells) > at)
