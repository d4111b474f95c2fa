"""Files of rows into a source: good rows become comments, bad ones are told by line and reason."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from itertools import islice
from typing import BinaryIO, Final

from lodestream.actions.ingest import Counts
from lodestream.domain.comments import Incoming, prepare, source_tag
from lodestream.domain.errors import InvalidInput
from lodestream.domain.sources import Source
from lodestream.formats.columns import Wanted
from lodestream.formats.delimited import Row
from lodestream.formats.read_tables import open_delimited, reading_of
from lodestream.formats.rows import RowReader
from lodestream.formats.seen import Seen

MOST_TOLD: Final = 1000
"""How many bad rows are listed; all are counted."""
_ROWS_AT_ONCE: Final = 1024

Store = Callable[[Sequence[Incoming]], Future[Counts]]
"""Begins to store a batch, as `ingest.sync_comments`."""


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
    *,
    source: Source,
    file: BinaryIO,
    encoding: str | None,
    delimiter: str | None,
    wanted: Wanted,
    salt: int,
    store: Store,
) -> Report:
    """Create or overwrite the comments in a file of rows, a thousand at a time.

    A batch is read while the one before is stored. Raises Unprocessable if the file as a whole
    makes no sense: no header, a column that is not there, times of which day and month cannot be
    told apart. What `store` raises passes; what was stored before stays then, and the file can be
    sent again.
    """
    table = open_delimited(file, encoding=encoding, delimiter=delimiter)
    reading = reading_of(table, wanted)
    report = Report(ignored_columns=reading.ignored)
    rows, seen = table.body(), Seen()
    under_way: Future[Counts] | None = None
    while chunk := list(islice(rows, _ROWS_AT_ONCE)):
        read = list(_read(chunk, reading.reader, source, salt, report))
        batch = _without_repetitions(read, seen, report)
        if under_way is not None:
            _add(report.counts, under_way.result())
        under_way = store(batch)
    if under_way is not None:
        _add(report.counts, under_way.result())
    report.rejected.sort()
    return report


def _read(
    rows: Sequence[Row], reader: RowReader, source: Source, salt: int, report: Report
) -> Iterator[tuple[int, Incoming]]:
    """Return the good rows, as comments, with their lines."""
    tag = source_tag(source.key)
    for row in rows:
        try:
            yield row.line, prepare(reader.comment(row), salt=salt, tag=tag)
        except InvalidInput as error:
            report.reject(row.line, error.message)


def _without_repetitions(
    read: Sequence[tuple[int, Incoming]], seen: Seen, report: Report
) -> list[Incoming]:
    batch: list[Incoming] = []
    repeated = seen.add([incoming.key_hash for _, incoming in read])
    for (line, incoming), is_repeated in zip(read, repeated, strict=True):
        if is_repeated:
            report.reject(line, f"the id {incoming.id!r} stands in an earlier row")
        else:
            batch.append(incoming)
    return batch


def _add(total: Counts, more: Counts) -> None:
    for name in total.__struct_fields__:
        setattr(total, name, getattr(total, name) + getattr(more, name))
