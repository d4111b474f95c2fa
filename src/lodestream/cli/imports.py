"""`lodestream import`: comments and e-mails of any known file into a running server."""

from __future__ import annotations

import contextlib
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, BinaryIO, Final

import click

from lodestream.cli.import_comments import CommentSender, Target
from lodestream.cli.import_mails import (
    SourceOptions,
    read_rtf,
    send_to_bucket,
    send_to_source,
)
from lodestream.cli.import_package import import_package
from lodestream.cli.import_report import Report
from lodestream.cli.options import json_option, progress_option
from lodestream.cli.output import Progress
from lodestream.cli.remote import (
    BUCKET,
    DATASET,
    SOURCE,
    dataset_name,
    find_source,
    named,
    server_options,
)
from lodestream.client import Client
from lodestream.domain.errors import InvalidInput
from lodestream.formats.columns import SINGLE, Wanted
from lodestream.formats.delimited import DELIMITERS, ENCODINGS, Row
from lodestream.formats.found import Bad, FoundComment
from lodestream.formats.read_json import read_json_lines
from lodestream.formats.read_mails import KINDS, kind_of, read_mails
from lodestream.formats.read_sheets import open_parquet, open_workbook
from lodestream.formats.read_tables import Table, open_delimited, reading_of

FORMATS: Final = ("csv", "excel", "parquet", "jsonl", "mail", "package")
_BY_SUFFIX: Final = {
    **dict.fromkeys((".csv", ".tsv", ".tab", ".txt"), "csv"),
    **dict.fromkeys((".xlsx", ".xlsm", ".xlsb", ".xls", ".ods"), "excel"),
    ".parquet": "parquet",
    **dict.fromkeys((".jsonl", ".ndjson", ".json"), "jsonl"),
    **dict.fromkeys(KINDS, "mail"),
    ".zip": "package",
}
_SEVERAL: Final = ("string_property", "number_property")
_TAB: Final = {"tab": "\t", "comma": ",", "semicolon": ";", "pipe": "|"}


@click.command("import")
@click.option("--source", type=SOURCE, help="Where comments, or e-mails as comments, go.")
@click.option("--bucket", type=BUCKET, help="Where e-mails go as they are.")
@click.option(
    "--dataset",
    type=DATASET,
    help="Where the annotations of JSON lines go; without it they are left out.",
)
@click.option("--project", metavar="PROJECT", help="Where all that is in a package goes.")
@click.option(
    "--format",
    "form",
    type=click.Choice(FORMATS),
    help="What FILE is, if its name does not tell.",
)
@click.option(
    "--column",
    "columns",
    metavar="ROLE=COLUMN",
    multiple=True,
    help="What a column of a table is: id, timestamp, message, subject, from, to, cc, thread_id, "
    "string_property or number_property; may be repeated. Without it, columns are what they seem.",
)
@click.option("--sheet", metavar="NAME", help="Sheet of a workbook; the first if not given.")
@click.option("--encoding", type=click.Choice(list(ENCODINGS)), help="Encoding of a CSV file.")
@click.option("--delimiter", metavar="CHARACTER", help="Delimiter of a CSV file: , ; | or tab.")
@click.option(
    "--timestamp-format",
    metavar="PATTERN",
    help="Format of a table's times: iso, rfc2822, unix, unix_ms, or such as %d/%m/%Y.",
)
@click.option("--mailbox", metavar="NAME", default="", help="Mailbox that e-mails come from.")
@click.option("--transform-tag", metavar="TAG", help="How e-mails are read; the source's usual.")
@click.option("--no-attachments", is_flag=True, help="Leave out the contents of attached files.")
@click.option("--dry-run", is_flag=True, help="Store nothing, and tell what would be done.")
@click.option(
    "--errors",
    type=click.File("w", encoding="utf-8", lazy=False),
    help="File for all that is refused, one JSON object on each line.",
)
@click.option("--stop-on-error", is_flag=True, help="End at the first thing that is refused.")
@click.argument("file", type=click.Path(exists=True, path_type=Path, allow_dash=True))
@json_option
@progress_option
@server_options
def import_file(
    client: Client,
    file: Path,
    form: str | None,
    errors: IO[str] | None,
    dry_run: bool,
    stop_on_error: bool,
    as_json: bool,
    no_progress: bool,
    **given: Any,
) -> None:
    """Store what is in FILE: tables, JSON lines, e-mails, archives of the vendor's client.

    Comments with the same id are overwritten; - reads standard input. FILE is a table (CSV, Excel,
    OpenDocument, Parquet), JSON lines as `export` and the vendor's `re get comments` write them,
    e-mails (EML, MSG, MBOX, PST, or a folder of them), or an archive of the vendor's `re package
    download`. What cannot go in is told by its place and the reason; all else goes in. Import again
    when it is corrected: what is stored already is unchanged.
    """
    is_standard_input = str(file) == "-"
    form = form or ("jsonl" if is_standard_input else format_of(file))
    with contextlib.ExitStack() as stack:
        if is_standard_input and form != "jsonl":
            file = stack.enter_context(_standard_input())
        total = None if is_standard_input else _size_of(file)
        unit = "e-mails" if form == "mail" else "comments"
        progress = stack.enter_context(Progress("import", unit, total=total, shown=not no_progress))
        report = Report(progress, errors, stop_on_error, dry_run)
        _run(client, form, file, given, report)
        report.finish(as_json=as_json)


def _run(client: Client, form: str, file: Path, given: dict[str, Any], report: Report) -> None:
    if form == "package":
        _require(given, "project", "a package")
        import_package(client, file, given["project"], report)
    elif form == "mail":
        _import_mails(client, file, given, report)
    else:
        _require(given, "source", "this file")
        source = find_source(client, given["source"])
        dataset = None if given["dataset"] is None else dataset_name(client, given["dataset"])
        # Where the vendor's client leaves the files of the comments that it downloads.
        files = None if given["no_attachments"] else Path(f"{file}.attachments")
        target = Target(named(source), source["id"], dataset)
        sender = CommentSender(client, target, report, files=files)
        if form == "jsonl":
            with _opened(file) as lines:
                sender.send(read_json_lines(lines))
        else:
            with _table(form, file, given) as table:
                reading = reading_of(table, _wanted(given))
                _tell_columns(table, reading, report)
                sender.send(_comments(table, reading), once=True)


def _import_mails(client: Client, file: Path, given: dict[str, Any], report: Report) -> None:
    mails = read_mails(file, read_rtf)
    if given["bucket"] is not None:
        if given["source"] is not None:
            raise click.UsageError("e-mails go to --source or to --bucket, not to both")
        bucket = given["bucket"]
        send_to_bucket(client, mails, bucket, given["mailbox"], report)
        return
    _require(given, "source", "e-mails without --bucket")
    source = find_source(client, given["source"])
    options = SourceOptions(
        named(source),
        source["id"],
        given["mailbox"],
        given["transform_tag"],
        with_files=not given["no_attachments"],
    )
    send_to_source(client, mails, options, report)


def _require(given: dict[str, Any], name: str, what: str) -> None:
    if given[name] is None:
        raise click.UsageError(f"--{name} is needed for {what}")


# Which kind of file it is


def format_of(path: Path) -> str:
    """Return of which format a file is, by its name and else by its beginning.

    Raises UsageError if neither tells.
    """
    if path.is_dir():
        return "mail"
    form = _BY_SUFFIX.get(path.suffix.lower())
    if form is not None:
        return form
    with path.open("rb") as file:
        beginning = file.read(8)
    if beginning.lstrip().startswith(b"{"):
        return "jsonl"
    if beginning.startswith(b"PAR1"):
        return "parquet"
    if kind_of(path) is not None:
        return "mail"
    raise click.UsageError(f"of which format {path.name} is cannot be told; say it: --format")


def _size_of(path: Path) -> int:
    if path.is_dir():
        return sum(one.stat().st_size for one in path.rglob("*") if one.is_file())
    return path.stat().st_size


@contextlib.contextmanager
def _standard_input() -> Iterator[Path]:
    """Copy standard input to a file: tables are read more than once, from the beginning."""
    with tempfile.NamedTemporaryFile() as copy:
        shutil.copyfileobj(sys.stdin.buffer, copy)
        copy.flush()
        yield Path(copy.name)


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[BinaryIO]:
    if str(path) == "-":
        yield sys.stdin.buffer
        return
    with path.open("rb") as file:
        yield file


# Tables


@contextlib.contextmanager
def _table(form: str, path: Path, given: dict[str, Any]) -> Iterator[Table]:
    if form == "excel":
        yield open_workbook(path, sheet=given["sheet"])
    elif form == "parquet":
        yield open_parquet(path)
    else:
        delimiter = _TAB.get(given["delimiter"] or "", given["delimiter"])
        if delimiter == "\\t":
            delimiter = "\t"
        if delimiter is not None and delimiter not in DELIMITERS:
            raise click.UsageError("--delimiter: , ; | or tab expected")
        with path.open("rb") as file:
            yield open_delimited(file, encoding=given["encoding"], delimiter=delimiter)


def _wanted(given: dict[str, Any]) -> Wanted:
    single: dict[str, str] = {}
    several: dict[str, list[str]] = {name: [] for name in _SEVERAL}
    for text in given["columns"]:
        role, equals, column = text.partition("=")
        role = {"body": "message", "text": "message", "date": "timestamp"}.get(role, role)
        if not equals or not column or (role not in SINGLE and role not in several):
            raise click.UsageError(f"--column {text!r}: ROLE=COLUMN expected, such as id=Ticket")
        if role in several:
            several[role].append(column)
        else:
            single[role] = column
    strings, numbers = (tuple(several[name]) for name in _SEVERAL)
    return Wanted(given["timestamp_format"], single, strings, numbers)


def _tell_columns(table: Table, reading: Any, report: Report) -> None:
    columns = reading.columns
    report.columns = {
        **{role: getattr(columns, "from_" if role == "from" else role) for role in SINGLE},
        "string_property": list(columns.string_properties),
        "number_property": list(columns.number_properties),
        "ignored": reading.ignored,
        "timestamp_format": reading.timestamp_format,
        **({"encoding": table.encoding, "delimiter": table.delimiter} if table.encoding else {}),
    }


def _comments(table: Table, reading: Any) -> Iterator[FoundComment | Bad]:
    header = table.guess.columns
    for row in table.body():
        size = sum(map(len, row.cells)) + len(row.cells)
        where = f"line {row.line}"
        try:
            comment = reading.reader.comment(row)
        except InvalidInput as error:
            yield Bad(where, error.message, _content(header, row), size)
        else:
            yield FoundComment(where, comment, {}, row.cells, size)


def _content(header: list[str], row: Row) -> Any:
    cells = [one.encode("utf-8", "replace").decode() for one in row.cells]
    return dict(zip(header, cells, strict=True)) if len(cells) == len(header) else cells
