"""Files of rows over HTTP: what they look like, and into a source with them."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Future
from functools import partial
from typing import Any, Final

from msgspec import Struct

from lodestream.actions import csv_files as actions
from lodestream.actions import ingest
from lodestream.actions.ingest import Counts
from lodestream.api.calls import Call
from lodestream.api.comments import count_ingested
from lodestream.api.http import Request
from lodestream.api.multipart import uploaded_file
from lodestream.api.sources import named_source
from lodestream.domain import access
from lodestream.domain.comments import Incoming
from lodestream.domain.errors import InvalidInput, PermissionMissing
from lodestream.formats.columns import SINGLE, Wanted
from lodestream.formats.delimited import DELIMITERS, ENCODINGS
from lodestream.formats.read_tables import open_delimited

SNIFF_RULE: Final = "`sources-add-comments` in some project"


class SniffReply(Struct):
    """What a file of rows looks like.

    `roles` tells what each column seems to be; `timestamp_formats` has several members if day and
    month cannot be told apart.
    """

    columns: list[str]
    encoding: str
    delimiter: str
    has_header: bool
    roles: dict[str, str]
    timestamp_formats: list[str]
    status: str = "ok"


class RejectedRow(Struct):
    """A row that did not become a comment, by the line on which it begins."""

    line: int
    reason: str


class SyncCsvReply(Struct):
    """What became of a file's rows; the first thousand rejected ones are listed."""

    new: int
    updated: int
    unchanged: int
    updated_properties_only: int
    updated_text_changed: int
    rejected: list[RejectedRow]
    rejected_count: int
    ignored_columns: list[str]
    status: str = "ok"


def sniff_csv(call: Call[None]) -> SniffReply:
    """Tell what a file of rows, or its beginning, looks like."""
    where = access.projects_with(call.actor, (access.SOURCES_ADD_COMMENTS,))
    if where is not None and not where:
        raise PermissionMissing(access.SOURCES_ADD_COMMENTS)
    request = call.request
    with uploaded_file(request, call.service.spool) as upload:
        table = open_delimited(
            upload.file, encoding=_encoding(request), delimiter=_delimiter(request)
        )
    found = table.guess
    return SniffReply(
        found.columns,
        table.encoding,
        table.delimiter,
        found.has_header,
        dict(found.roles),
        found.timestamp_formats,
    )


def sync_csv(call: Call[None]) -> SyncCsvReply:
    """Create or overwrite the comments in a file of rows.

    Bad rows are told by line and reason; all others go in, a thousand at a time. If no column is
    named, every column is taken for what it seems to be.
    """
    request = call.request
    source = named_source(call)

    def store(batch: Sequence[Incoming]) -> Future[Counts]:
        request.require_wanted()
        # In line with all other writes, so that none waits for more than a batch of this file.
        sync = partial(ingest.sync_comments, call.service.db, actor_id=call.actor.user_id)
        return call.service.in_turn(partial(sync, source=source, batch=batch))

    with uploaded_file(request, call.service.spool) as upload:
        report = actions.sync_csv(
            source=source,
            file=upload.file,
            encoding=_encoding(request),
            delimiter=_delimiter(request),
            wanted=_wanted(request),
            salt=call.service.catalogue.salt(),
            store=store,
        )
    counts = report.counts
    count_ingested(call, counts)
    return SyncCsvReply(
        counts.new,
        counts.updated,
        counts.unchanged,
        counts.updated_properties_only,
        counts.updated_text_changed,
        [RejectedRow(line, reason) for line, reason in report.rejected],
        report.rejected_count,
        report.ignored_columns,
    )


def _wanted(request: Request) -> Wanted:
    single: dict[str, str] = {}
    for role in SINGLE:
        name = request.query(role)
        if name:
            single[role] = name
    return Wanted(
        timestamp_format=request.query("timestamp_format") or None,
        single=single,
        string_properties=tuple(request.query_all("string_property")),
        number_properties=tuple(request.query_all("number_property")),
    )


_ALIASES: Final = {"utf8": "utf-8", "iso-8859-1": "latin-1", "windows-1252": "cp1252"}


def _encoding(request: Request) -> str | None:
    asked = request.query("encoding")
    if not asked:
        return None
    name = _ALIASES.get(asked.lower(), asked.lower())
    if name not in ENCODINGS:
        known = ", ".join(ENCODINGS)
        raise InvalidInput(f"query parameter 'encoding': one of {known} expected")
    return name


def _delimiter(request: Request) -> str | None:
    asked: Any = request.query("delimiter")
    if not asked:
        return None
    if asked not in DELIMITERS:
        raise InvalidInput("query parameter 'delimiter': comma, tab, ';' or '|' expected")
    return str(asked)
