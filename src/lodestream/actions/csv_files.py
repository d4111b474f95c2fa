"""Files of rows into a source: good rows become comments, bad ones are told by line and reason."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice
from typing import Final

from lodestream.actions import ingest
from lodestream.actions.ingest import Counts
from lodestream.domain.comments import Incoming, prepare, source_tag
from lodestream.domain.csv import SAMPLE_ROWS, Columns, Row, RowReader, Sniffed, read_rows, sniff
from lodestream.domain.csv_times import guess_formats, narrowed
from lodestream.domain.errors import InvalidInput, Unprocessable
from lodestream.domain.sources import Source
from lodestream.store.db import Database

MOST_TOLD: Final = 1000
"""How many bad rows are listed; all are counted."""
_ROWS_AT_ONCE: Final = 1024
_SINGLE: Final = ("id", "timestamp", "message", "subject", "from", "to", "cc", "thread_id")


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a caller says of a file; None and nothing: let it be sniffed.

    `single` maps roles to column names. If any column is named, columns that are not are left out,
    but for the three that are required.
    """

    encoding: str | None = None
    delimiter: str | None = None
    timestamp_format: str | None = None
    single: dict[str, str] = field(default_factory=dict)
    string_properties: tuple[str, ...] = ()
    number_properties: tuple[str, ...] = ()


@dataclass(slots=True)
class Report:
    """What became of a file's rows."""

    counts: Counts = field(default_factory=Counts)
    rejected: list[tuple[int, str]] = field(default_factory=list)
    rejected_count: int = 0
    ignored_columns: list[str] = field(default_factory=list)

    def reject(self, line: int, reason: str) -> None:
        """Note a bad row."""
        self.rejected_count += 1
        if len(self.rejected) < MOST_TOLD:
            self.rejected.append((line, reason[:500]))


def sync_csv(
    db: Database, *, actor_id: str, source: Source, content: bytes, wanted: Wanted, salt: int
) -> Report:
    """Create or overwrite the comments in a file of rows, a thousand at a time.

    Raises Unprocessable if the file as a whole makes no sense: no header, a column that is not
    there, times of which day and month cannot be told apart. Raises NotFound and QuotaExceeded as
    `ingest.sync_comments`; what was stored before stays then, and the file can be sent again.
    """
    found = sniff(content, encoding=wanted.encoding, delimiter=wanted.delimiter)
    columns = _columns(found, wanted)
    used = columns.named()
    report = Report(ignored_columns=[one for one in found.columns if one not in used])
    reader = RowReader(found.columns, columns, _timestamp_format(content, found, columns, wanted))
    rows = islice(read_rows(content, found.encoding, found.delimiter), 1, None)
    for batch in _batches(rows, reader, source, salt, report):
        counts = ingest.sync_comments(db, actor_id=actor_id, source=source, batch=batch)
        _add(report.counts, counts)
    return report


def _batches(
    rows: Iterator[Row], reader: RowReader, source: Source, salt: int, report: Report
) -> Iterator[list[Incoming]]:
    tag = source_tag(source.key)
    seen: set[int] = set()
    batch: list[Incoming] = []
    for row in rows:
        try:
            incoming = prepare(reader.comment(row), salt=salt, tag=tag)
        except InvalidInput as error:
            report.reject(row.line, error.message)
            continue
        if incoming.key_hash in seen:
            report.reject(row.line, f"the id {incoming.id!r} stands in an earlier row")
            continue
        seen.add(incoming.key_hash)
        batch.append(incoming)
        if len(batch) == _ROWS_AT_ONCE:
            yield batch
            batch = []
    if batch:
        yield batch


def _columns(found: Sniffed, wanted: Wanted) -> Columns:
    if len(set(found.columns)) < len(found.columns):
        raise Unprocessable("the first row must be a header: names of columns are repeated")
    named = (*wanted.single.values(), *wanted.string_properties, *wanted.number_properties)
    for one in named:
        if one not in found.columns:
            raise Unprocessable(f"the file has no column {one!r}; it has {found.columns}")
    sniffed = {
        role: name for name, role in found.roles.items() if role in _SINGLE and name not in named
    }
    single = dict(wanted.single)
    for role in _SINGLE[:3] if named else _SINGLE:
        if role in sniffed:
            single.setdefault(role, sniffed[role])
    for role in _SINGLE[:3]:
        if role not in single:
            raise Unprocessable(f"no column is the {role}; name it: ?{role}=<column>")
    strings, numbers = wanted.string_properties, wanted.number_properties
    if not named:
        strings = tuple(n for n, role in found.roles.items() if role == "string_property")
        numbers = tuple(n for n, role in found.roles.items() if role == "number_property")
    return Columns(
        id=single["id"],
        timestamp=single["timestamp"],
        message=single["message"],
        subject=single.get("subject"),
        from_=single.get("from"),
        to=single.get("to"),
        cc=single.get("cc"),
        thread_id=single.get("thread_id"),
        string_properties=strings,
        number_properties=numbers,
    )


def _timestamp_format(content: bytes, found: Sniffed, columns: Columns, wanted: Wanted) -> str:
    """Return the format of the file's times, looking further than the sample if need be."""
    if wanted.timestamp_format is not None:
        return wanted.timestamp_format
    at = found.columns.index(columns.timestamp)
    formats = found.timestamp_formats
    if found.roles.get(columns.timestamp) != "timestamp" or not formats:
        formats = _sniff_times(content, found, at)
    if not formats:
        raise Unprocessable(
            f"the times in column {columns.timestamp!r} are in no known format; "
            "name it: ?timestamp_format=<pattern>"
        )
    if len(formats) > 1:
        rows = islice(read_rows(content, found.encoding, found.delimiter), 1, None)
        formats = narrowed(formats, (row.cells[at].strip() for row in rows if len(row.cells) > at))
    if len(formats) > 1:
        raise Unprocessable(
            f"the times in column {columns.timestamp!r} can be read as {' or '.join(formats)}; "
            "say which: ?timestamp_format=<pattern>"
        )
    return formats[0]


def _sniff_times(content: bytes, found: Sniffed, at: int) -> list[str]:
    """Return the formats that read the column at a place."""
    rows = islice(read_rows(content, found.encoding, found.delimiter), 1, SAMPLE_ROWS)
    return guess_formats(row.cells[at].strip() for row in rows if len(row.cells) > at)


def _add(total: Counts, more: Counts) -> None:
    for name in total.__struct_fields__:
        setattr(total, name, getattr(total, name) + getattr(more, name))
