"""Tables of other programs: workbooks (Excel, OpenDocument) and Parquet files."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from datetime import UTC, date, datetime, time, timedelta
from itertools import islice
from pathlib import Path
from typing import Any, Final

from python_calamine import CalamineError, CalamineWorkbook

from lodestream.domain.errors import InvalidInput, Unprocessable
from lodestream.formats.columns import guess_columns
from lodestream.formats.delimited import SAMPLE_ROWS, Row
from lodestream.formats.read_tables import Table

_ROWS_AT_ONCE: Final = 1024


def open_workbook(path: Path, *, sheet: str | None = None) -> Table:
    """Return a sheet of a workbook, the first if none is named. It is held in memory.

    Raises Unprocessable if the file cannot be read or has no such sheet.
    """
    try:
        book = CalamineWorkbook.from_path(path)
        names = book.sheet_names
        if sheet is not None and sheet not in names:
            raise Unprocessable(f"there is no sheet {sheet!r}; there are {names}")
        if not names:
            raise Unprocessable("the workbook has no sheet")
        cells = book.get_sheet_by_name(sheet or names[0])
    except CalamineError as error:
        raise Unprocessable(f"the workbook cannot be read: {error}") from None

    def read() -> Iterator[Row]:
        header: list[str] | None = None
        for line, row in enumerate(cells.iter_rows(), (cells.start or (0, 0))[0] + 1):
            texts = [cell_text(one) for one in row]
            if not any(texts):
                continue
            if header is None:
                header = texts = _named(texts)
            yield Row(line, texts)

    return _table(read)


def open_parquet(path: Path) -> Table:
    """Return the table in a Parquet file, which is read a piece at a time.

    Raises InvalidInput without the library that reads it, Unprocessable for a broken file.
    """
    try:
        # An extra: it is larger than all else together.
        import pyarrow as pa
        from pyarrow import parquet
    except ImportError:
        raise InvalidInput(
            "Parquet files need the extra: pip install 'lodestream[parquet]'"
        ) from None
    try:
        names: list[str] = list(parquet.read_schema(path).names)
    except (pa.ArrowException, OSError) as error:
        raise Unprocessable(f"the Parquet file cannot be read: {error}") from None

    def read() -> Iterator[Row]:
        yield Row(1, names)
        line = 1
        with parquet.ParquetFile(path) as file:
            for batch in file.iter_batches(_ROWS_AT_ONCE):
                columns = [column.to_pylist() for column in batch.columns]
                for row in zip(*columns, strict=True):
                    line += 1
                    yield Row(line, [cell_text(one) for one in row])

    return _table(read)


def _table(read: Any) -> Table:
    return Table(guess_columns(list(islice(read(), SAMPLE_ROWS + 1))), read)


def _named(header: Sequence[str]) -> list[str]:
    """Name the columns of a sheet that have no name, by their place."""
    return [name or f"Column {place}" for place, name in enumerate(header, 1)]


def cell_text(value: Any) -> str:
    """Return a typed cell as the text that a file of rows would have for it."""
    if value is None:
        return ""
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float) and value.is_integer() and abs(value) < 2**53:
        return str(int(value))
    if isinstance(value, datetime):
        return (value if value.tzinfo is None else value.astimezone(UTC)).isoformat()
    if isinstance(value, date | time):
        return value.isoformat()
    if isinstance(value, timedelta):
        return str(value.total_seconds())
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    if isinstance(value, list | tuple) and all(isinstance(one, str) for one in value):
        return "; ".join(value)
    if isinstance(value, list | tuple | dict):
        return json.dumps(value, ensure_ascii=False, default=str)
    return str(value)
