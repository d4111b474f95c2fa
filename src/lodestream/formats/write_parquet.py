"""Parquet, a row group at a time; needs the extra `parquet`."""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator, Sequence
from types import ModuleType
from typing import Any, Final

from lodestream.formats.written import Column, Part

ROWS_IN_GROUP: Final = 65_536
BYTES_IN_GROUP: Final = 32 << 20
"""A row group ends after so many rows, or so much memory: what a writer holds at once."""


class ParquetMissing(Exception):
    """The library that writes Parquet is not installed."""


def require_pyarrow() -> tuple[ModuleType, ModuleType]:
    """Return `pyarrow` and `pyarrow.parquet`. Raises ParquetMissing if it is not installed."""
    try:
        # Large, and only in installations that asked for it.
        import pyarrow as pa
        from pyarrow import parquet
    except ImportError:
        raise ParquetMissing(
            "Parquet needs the extra `parquet`: pip install 'lodestream[parquet]'"
        ) from None
    return pa, parquet


def parquet_parts(columns: Sequence[Column], parts: Iterable[Part]) -> Iterator[bytes]:
    """Return a table as a Parquet file, bytes for each row group and for the end.

    Texts are strings, times timestamps in UTC with microseconds, integers and numbers 64 bits wide.
    Raises ParquetMissing.
    """
    arrow, parquet = require_pyarrow()
    schema = _schema(arrow, columns)
    sink = _Sink()
    with parquet.ParquetWriter(sink, schema, compression="zstd", compression_level=1) as writer:
        waiting: list[Any] = []
        rows = size = 0
        for part in parts:
            batch = _batch(arrow, schema, columns, part)
            waiting.append(batch)
            rows += batch.num_rows
            size += batch.nbytes
            if rows >= ROWS_IN_GROUP or size >= BYTES_IN_GROUP:
                writer.write_table(arrow.Table.from_batches(waiting), row_group_size=rows)
                waiting, rows, size = [], 0, 0
                yield sink.take()
        if waiting:
            writer.write_table(arrow.Table.from_batches(waiting), row_group_size=max(rows, 1))
    yield sink.take()


class _Sink(io.RawIOBase):
    """Takes what the writer writes until it is taken away."""

    def __init__(self) -> None:
        super().__init__()
        self._pieces: list[bytes] = []
        self._written = 0

    def writable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._written

    def write(self, data: Any) -> int:
        piece = bytes(data)
        self._pieces.append(piece)
        self._written += len(piece)
        return len(piece)

    def take(self) -> bytes:
        """Return what was written since the last call."""
        taken = b"".join(self._pieces)
        self._pieces.clear()
        return taken


def _schema(arrow: ModuleType, columns: Sequence[Column]) -> Any:
    types = {
        "text": arrow.string(),
        "time": arrow.timestamp("us", tz="UTC"),
        "integer": arrow.int64(),
        "number": arrow.float64(),
        "boolean": arrow.bool_(),
    }
    return arrow.schema([arrow.field(one.name, types[one.kind]) for one in columns])


def _batch(arrow: ModuleType, schema: Any, columns: Sequence[Column], part: Part) -> Any:
    arrays = []
    for column, field, values in zip(columns, schema, part, strict=True):
        if column.kind == "time":
            arrays.append(arrow.array(values, arrow.string()).cast(field.type))
        elif column.kind == "number":
            # Numbers may come as integers beyond what a double holds exactly.
            doubles = [None if one is None else float(one) for one in values]
            arrays.append(arrow.array(doubles, field.type))
        else:
            arrays.append(arrow.array(values, field.type))
    return arrow.RecordBatch.from_arrays(arrays, schema=schema)
