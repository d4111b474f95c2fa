"""`lodestream export`: comments as a file, whole or not at all."""

from __future__ import annotations

import json
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import IO, Any, Final

import click

from lodestream.cli.comments import write_comments
from lodestream.cli.options import Failed, json_option, progress_option
from lodestream.cli.output import Progress, print_json
from lodestream.cli.remote import (
    DATASET,
    SOURCE,
    dataset_name,
    find_source,
    server_options,
)
from lodestream.client import Client
from lodestream.client.calls import full_name

_SUFFIXES: Final = {".csv": "csv", ".jsonl": "jsonl", ".parquet": "parquet", ".xlsx": "xlsx"}
_COUNT_HEADER: Final = "lodestream-comments"
_COUNTED: Final = ("csv", "jsonl")
"""Formats whose rows can be counted as they come."""

_STANDARD_OUTPUT: Final = "-"
_DELIMITERS: Final = {"comma": ",", "semicolon": ";", "tab": "\t"}


class _Version(click.ParamType[Any]):
    name = "version"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return what the API takes for a version."""
        if value in ("latest", "live", "staging"):
            return value
        if value == "none":
            return None
        if value.isascii() and value.isdigit():
            return int(value)
        return self.fail(f"{value!r}: a number, latest, live, staging or none expected", param, ctx)


class _Threshold(click.ParamType[Any]):
    name = "number"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return a number or `auto`."""
        if value == "auto":
            return value
        try:
            return float(value)
        except ValueError:
            return self.fail(f"{value!r}: a number from 0 to 1, or auto, expected", param, ctx)


@click.command("export")
@click.option(
    "--dataset", type=DATASET, help="Whose comments to write; with --source alone: whose labels."
)
@click.option(
    "--format",
    "kind",
    type=click.Choice(sorted(_SUFFIXES.values())),
    help="What to write; told by the ending of FILE if it is left out.",
)
@click.option("--output", type=click.Path(dir_okay=False), help="The same as FILE.")
@click.option("--source", "sources", type=SOURCE, multiple=True, help="Only of this source.")
@click.option("--from-timestamp", metavar="TIME", help="Only from this time on.")
@click.option("--to-timestamp", metavar="TIME", help="Only up to this time.")
@click.option("--label", "names", multiple=True, help="Only with this label; several: any of them.")
@click.option(
    "--filter",
    "filter_json",
    metavar="JSON",
    help="Only what passes this comment filter of the API.",
)
@click.option(
    "--model",
    type=_Version(),
    default="latest",
    show_default=True,
    help="Version that predicts: a number, latest, live, staging, or none.",
)
@click.option(
    "--labels",
    type=click.Choice(["probability", "binary", "names", "none"]),
    default="probability",
    show_default=True,
    help="A column for each label, with its probability or 0 and 1; or one with names.",
)
@click.option(
    "--threshold", type=_Threshold(), help="Least probability that counts, or auto.  [0.25]"
)
@click.option("--no-parents", is_flag=True, help="No column for a label that has others below it.")
@click.option("--no-annotations", is_flag=True, help="Leave out what people assigned.")
@click.option("--no-threads", is_flag=True, help="Leave out what is known of threads; quicker.")
@click.option("--no-properties", is_flag=True, help="Leave out user properties.")
@click.option(
    "--full-names", is_flag=True, help="Columns named string:Team and label:Claim, not Team, Claim."
)
@click.option("--delimiter", type=click.Choice(sorted(_DELIMITERS)), help="Of CSV.  [comma]")
@click.option("--bom", is_flag=True, help="Begin CSV with the mark by which Excel knows UTF-8.")
@click.option(
    "--escape-formulas",
    is_flag=True,
    help="Put an apostrophe before texts in CSV that look like formulas.",
)
@click.argument("file", required=False)
@progress_option
@json_option
@server_options
def export_comments(
    client: Client,
    dataset: str | None,
    kind: str | None,
    output: str | None,
    sources: tuple[str, ...],
    file: str | None,
    no_progress: bool,
    as_json: bool,
    **options: Any,
) -> None:
    """Write the comments of a dataset to FILE, or standard output.

    With --source and without --format, and unless FILE is named like another format, all comments
    of that source are written as JSON Lines in order of timestamp, as the vendor's own client does.

    FILE appears when it is whole, and takes the place of what was there.
    """
    where = _only_one(output, file)
    kind = kind or _SUFFIXES.get(Path(where).suffix.lower() if where else "")
    plain = len(sources) == 1 and kind in (None, "jsonl") and not _is_asked_for()
    if plain:
        work = partial(_plain_lines, client, sources[0], dataset)
    elif dataset is None:
        raise click.UsageError("--dataset is needed, or one --source alone for its plain comments")
    elif kind is None:
        raise click.UsageError("--format is needed, or a FILE whose name ends like a format")
    else:
        body = _body(client, kind, sources, options)
        path = f"/api/lodestream/v1/datasets/{full_name(dataset_name(client, dataset))}/export"
        work = partial(_download, client, path, body)
    _write(work, where, kind or "jsonl", shown=not no_progress, as_json=as_json)


def _only_one(output: str | None, file: str | None) -> str | None:
    if output is not None and file is not None:
        raise click.UsageError("FILE is named twice: as an argument and with --output")
    where = file if output is None else output
    return None if where == _STANDARD_OUTPUT else where


def _is_asked_for() -> bool:
    """Tell whether anything was asked for that plain lines do not have."""
    context = click.get_current_context()
    of_tables = (
        "kind",
        "from_timestamp",
        "to_timestamp",
        "names",
        "filter_json",
        "model",
        "labels",
    )
    return any(
        context.get_parameter_source(name) is click.core.ParameterSource.COMMANDLINE
        for name in (*of_tables, "threshold", "no_annotations", "no_threads")
    )


def _body(
    client: Client, kind: str, sources: tuple[str, ...], options: dict[str, Any]
) -> dict[str, Any]:
    """Return the request that the options describe."""
    comment_filter = _filter(options["filter_json"])
    times = {
        name: options[option]
        for name, option in (("minimum", "from_timestamp"), ("maximum", "to_timestamp"))
        if options[option] is not None
    }
    if times:
        comment_filter["timestamp"] = times
    if sources:
        comment_filter["sources"] = [find_source(client, one)["id"] for one in sources]
    body: dict[str, Any] = {
        "format": kind,
        "comment_filter": comment_filter,
        "model_version": options["model"],
        "labels": options["labels"],
        "parents": not options["no_parents"],
        "annotations": not options["no_annotations"],
        "threads": not options["no_threads"],
        "properties": not options["no_properties"],
        "column_names": "full" if options["full_names"] else "plain",
        "delimiter": _DELIMITERS[options["delimiter"] or "comma"],
        "bom": options["bom"],
        "escape_formulas": options["escape_formulas"],
    }
    if options["threshold"] is not None:
        body["threshold"] = options["threshold"]
    if options["names"]:
        any_of = {"kind": "string_any_of", "any_of": list(options["names"])}
        body["attribute_filters"] = [{"attribute": "labels", "filter": any_of}]
    return body


def _filter(text: str | None) -> dict[str, Any]:
    if text is None:
        return {}
    try:
        found = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise click.UsageError(f"--filter is not JSON: {error}") from error
    if not isinstance(found, dict):
        raise click.UsageError("--filter has to be a JSON object")
    return found


def _write(
    work: Callable[[_Counting, Progress], int],
    where: str | None,
    kind: str,
    *,
    shown: bool,
    as_json: bool,
) -> None:
    started = time.monotonic()
    unit = "comments" if kind in _COUNTED else "KiB"
    with Progress("export", unit, shown=shown) as progress:
        if where is None:
            work(_Counting(sys.stdout.buffer), progress)
            sys.stdout.buffer.flush()
            return
        with _whole_file(Path(where)) as file:
            counting = _Counting(file)
            comments = work(counting, progress)
    if as_json:
        took_s = round(time.monotonic() - started, 3)
        found = {"file": where, "format": kind, "comments": comments}
        print_json({**found, "bytes": counting.size, "took_s": took_s})


class _Counting:
    """A file that knows how much was written to it."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self.size = 0

    def write(self, data: bytes) -> int:
        """Write all of it."""
        self._file.write(data)
        self.size += len(data)
        return len(data)


@contextmanager
def _whole_file(path: Path) -> Iterator[IO[bytes]]:
    """Yield a file that takes its name when all is written and on the disk, and else is removed.

    Raises Failed if the file cannot be written.
    """
    try:
        number, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".part", dir=path.parent)
    except OSError as error:
        raise Failed(f"cannot write {path}: {error.strerror}") from error
    part = Path(name)
    try:
        with os.fdopen(number, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        # mkstemp lets nobody else read; a new file is as the user's other files are.
        mask = os.umask(0)
        os.umask(mask)
        part.chmod(0o666 & ~mask)
        part.replace(path)
        _sync_folder(path.parent)
    except OSError as error:
        raise Failed(f"cannot write {path}: {error.strerror}") from error
    finally:
        part.unlink(missing_ok=True)


def _sync_folder(folder: Path) -> None:
    """Make a new name outlast a power cut, where folders can be synced."""
    with suppress(OSError):
        number = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(number)
        finally:
            os.close(number)


def _plain_lines(
    client: Client, source: str, dataset: str | None, target: _Counting, progress: Progress
) -> int:
    write_comments(client, source, dataset, target, progress)
    return progress.items


def _download(
    client: Client, path: str, body: dict[str, Any], target: _Counting, progress: Progress
) -> int:
    """Write what the server sends; return how many comments it is."""
    with client.download("POST", path, body) as answer:
        total = int(answer.headers.get(_COUNT_HEADER, "0"))
        if body["format"] not in _COUNTED:
            for part in answer:
                target.write(part)
                progress.advance(target.size // 1024 - progress.items)
            return total
        progress.total = total or None
        rows = _csv_rows() if body["format"] == "csv" else _lines
        for part in answer:
            target.write(part)
            progress.advance(rows(part))
    return progress.items


def _lines(part: bytes) -> int:
    return part.count(b"\n")


def _csv_rows() -> Callable[[bytes], int]:
    """Return what counts the rows in the parts of a CSV file, one after the other."""
    state = {"outside": True, "header": True}

    def count(part: bytes) -> int:
        pieces = part.split(b'"')
        # Between quotes line feeds belong to texts.
        found = sum(map(_lines, pieces[0 if state["outside"] else 1 :: 2]))
        if len(pieces) % 2 == 0:
            state["outside"] = not state["outside"]
        if state["header"] and found:
            state["header"] = False
            found -= 1
        return found

    return count
