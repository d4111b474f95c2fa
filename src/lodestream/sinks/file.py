"""Sinks of kind `file`: JSON Lines, CSV or Parquet files in a folder, one for each delivery.

A file is written under another name, forced to the disk, and only then given its own, so whoever
looks into the folder sees whole files. The name follows from the first comment: a delivery that is
repeated after a crash, because nobody knew that it had succeeded, replaces its file.
"""

from __future__ import annotations

import contextlib
import csv
import io
import os
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from lodestream.domain.deliveries import Done, Later, Outcome
from lodestream.domain.errors import Unprocessable
from lodestream.domain.places import created_us, parse_sequence_id
from lodestream.domain.sinks import File
from lodestream.sinks.folders import below
from lodestream.sinks.results import Columns, Item, column_types, decode, row_of


class FileSink:
    """Writes files of comments."""

    def __init__(
        self, settings: File, *, sink_id: str, columns: Columns, root: Path | None
    ) -> None:
        """`root` is the folder that all are below. Raises Unprocessable without one."""
        self._settings = settings
        self._folder = below(root, settings.folder)
        self._end = f"-{sink_id[:8]}.{settings.format}"
        self._columns = columns
        if settings.format == "parquet":
            _pyarrow()

    def deliver(self, items: Sequence[Item]) -> list[Outcome]:
        """Write one file of all comments; it is on the disk when this returns."""
        body = self._body(items)
        try:
            self._store(self._name(items[0]), body)
        except OSError as error:
            return [Later(f"cannot write: {os.strerror(error.errno or 0)}")] * len(items)
        return [Done()] * len(items)

    def check(self) -> Outcome:
        """Make the folder, and write and remove a file in it."""
        try:
            self._store(".check" + self._end, b"")
            (self._folder / (".check" + self._end)).unlink()
        except OSError as error:
            return Later(f"cannot write: {os.strerror(error.errno or 0)}")
        return Done()

    def close(self) -> None:
        """Nothing is open between two deliveries."""

    def _name(self, first: Item) -> str:
        place = parse_sequence_id(first.sequence_id)
        instant = datetime.fromtimestamp(created_us(place) / 1e6, UTC)
        return f"{instant:%Y%m%dT%H%M%SZ}-{place:016x}{self._end}"

    def _body(self, items: Sequence[Item]) -> bytes:
        if self._settings.format == "jsonl":
            return b"".join(item.json + b"\n" for item in items)
        rows = [row_of(decode(item.json), self._columns) for item in items]
        types = column_types(rows)
        return _csv(rows, types) if self._settings.format == "csv" else _parquet(rows, types)

    def _store(self, name: str, body: bytes) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        # What a process that died left half written.
        for left in self._folder.glob(f".*{self._end}.part"):
            with contextlib.suppress(OSError):
                left.unlink()
        part = self._folder / f".{name}.part"
        with part.open("wb") as file:
            file.write(body)
            file.flush()
            os.fsync(file.fileno())
        part.replace(self._folder / name)
        # The name is on the disk only when the folder is.
        folder = os.open(self._folder, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def _csv(rows: Sequence[dict[str, Any]], types: dict[str, type]) -> bytes:
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, list(types), restval=None)
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue().encode()


def _parquet(rows: Sequence[dict[str, Any]], types: dict[str, type]) -> bytes:
    pa, parquet = _pyarrow()
    known = {str: pa.string(), int: pa.int64(), float: pa.float64()}
    columns = {
        name: pa.array(
            [_as(kind, row.get(name)) for row in rows],
            known[kind],
        )
        for name, kind in types.items()
    }
    file = io.BytesIO()
    parquet.write_table(pa.table(columns), file, compression="zstd")
    return file.getvalue()


def _as(kind: type, value: Any) -> Any:
    return None if value is None else kind(value)


def _pyarrow() -> tuple[Any, Any]:
    try:
        # The library is an extra, and large: it is loaded where a sink writes such files.
        import pyarrow as pa
        from pyarrow import parquet
    except ImportError:
        raise Unprocessable(
            "Parquet files need the extra of this name: pip install 'lodestream[parquet]'"
        ) from None
    return pa, parquet
