"""`lodestream import` and `lodestream export`: comments as JSON Lines, in the vendor's shape.

A line is `{"comment": {…}}` and, if a dataset is named, what people said of the comment there:
`labelling`, `entities` and `moon_forms`. What `export` writes `import` reads, here and with the
vendor's own command line client.
"""

from __future__ import annotations

import io
import json
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass
from typing import IO, Any, Final
from urllib.parse import quote, urlencode

import click

from lodestream.cli.http import Refused, Server, full_name, rate, server_options
from lodestream.cli.options import Failed

BATCH: Final = 1024
PAGE: Final = 256
LARGEST_BATCH_BYTES: Final = 16 << 20
_SHOWN_EVERY_S: Final = 0.2

# What the server adds to a comment; it is not accepted back.
_ADDED: Final = (
    "uid",
    "source_id",
    "created_at",
    "last_modified",
    "context",
    "has_annotations",
)
_RESULTS: Final = ("new", "updated", "unchanged")
# What an annotated comment may be sent back with.
_ANNOTATIONS: Final = ("labelling", "entities", "moon_forms")
_SENT: Final = {
    "labelling": ("group", "assigned", "dismissed", "uninformative"),
    "entities": ("assigned", "dismissed"),
}
_ENTITY: Final = ("name", "formatted_value", "spans")
_CAPTURED: Final = ("name", "formatted_value", "spans", "document_spans", "confirmed")
_LABELLED_AT_ONCE: Final = 128


@dataclass
class _Line:
    number: int
    comment: Any
    size: int
    annotations: dict[str, Any]


@click.command("import")
@click.option("--source", metavar="PROJECT/SOURCE", required=True, help="Where the comments go.")
@click.option(
    "--dataset",
    metavar="PROJECT/DATASET",
    help="Where the annotations go that the lines have; without it they are left out.",
)
@click.option(
    "--resume-on-error",
    is_flag=True,
    help="Go on with the next lines when some are refused; exit code 1 in the end.",
)
@click.argument("file", type=click.File("rb"))
@server_options
def import_comments(
    source: str, dataset: str | None, resume_on_error: bool, file: IO[bytes], url: str, token: str
) -> None:
    """Store the comments in FILE (- reads standard input), overwriting those with the same id.

    FILE has a JSON object `{"comment": {...}}` on each line. Lines are stored in batches. At a line
    that is refused the import ends and names it; import again when it is corrected: what is stored
    already counts as unchanged.
    """
    named = full_name(source, what="source")
    path = f"/api/v1/sources/{named}/sync"
    labelling = None if dataset is None else _labellings(dataset)
    bar = _Bar(_size_of(file), "import")
    sums = dict.fromkeys(_RESULTS, 0)
    refused = 0
    with closing(Server(url, token)) as server:
        try:
            source_id = ""
            if labelling is not None:
                source_id = server.call("GET", f"/api/v1/sources/{named}")["source"]["id"]
            for batch in _batches(_lines(file, bar, resume_on_error=resume_on_error)):
                refused += _store(server, path, batch, sums, bar, resume_on_error=resume_on_error)
                if labelling is not None:
                    where = f"{labelling}/{source_id}."
                    refused += _annotate(server, where, batch, bar, resume_on_error=resume_on_error)
        except click.ClickException:
            bar.finish()
            bar.say(f"{sum(sums.values())} comments were stored before:")
            raise
    refused += bar.refused
    bar.finish()
    said = ", ".join(f"{sums[name]} {name}" for name in _RESULTS)
    click.echo(said + (f", {refused} refused" if refused else ""))
    if refused:
        raise Failed(f"{refused} lines were refused")


def _lines(file: IO[bytes], bar: _Bar, *, resume_on_error: bool) -> Iterator[_Line]:
    for number, text in enumerate(file, 1):
        if not text.strip():
            bar.read(len(text))
            continue
        try:
            found = json.loads(text)
            comment = found["comment"]
            if not isinstance(comment, dict):
                raise TypeError
        except (ValueError, KeyError, TypeError, RecursionError):
            problem = f'line {number}: a JSON object {{"comment": {{…}}}} expected'
            if not resume_on_error:
                raise Failed(problem) from None
            bar.refuse(problem)
            bar.read(len(text))
            continue
        for name in _ADDED:
            comment.pop(name, None)
        annotations = {name: found[name] for name in _ANNOTATIONS if name in found}
        yield _Line(number, comment, len(text), annotations)


def _batches(lines: Iterator[_Line]) -> Iterator[list[_Line]]:
    batch: list[_Line] = []
    size = 0
    for line in lines:
        # The largest body is a setting of the server; smaller ones are as fast.
        if batch and (len(batch) == BATCH or size + line.size > LARGEST_BATCH_BYTES):
            yield batch
            batch, size = [], 0
        batch.append(line)
        size += line.size
    if batch:
        yield batch


def _store(
    server: Server,
    path: str,
    batch: list[_Line],
    sums: dict[str, int],
    bar: _Bar,
    *,
    resume_on_error: bool,
) -> int:
    """Store a batch; return how many of its lines were refused.

    A refused batch is halved until the lines at fault stand alone.
    """
    waiting, refused = [batch], 0
    while waiting:
        part = waiting.pop()
        try:
            reply = server.call("POST", path, {"comments": [line.comment for line in part]})
        except Refused as error:
            # Only what lies in the comments themselves is worth another try in parts.
            if error.status not in (400, 413, 422):
                raise
            if len(part) > 1:
                middle = len(part) // 2
                waiting += [part[middle:], part[:middle]]
                continue
            problem = f"line {part[0].number}: {error.message}"
            if not resume_on_error:
                raise Failed(problem) from error
            bar.say(problem)
            refused += 1
        else:
            for name in _RESULTS:
                sums[name] += reply[name]
        bar.read(sum(line.size for line in part), lines=len(part))
    return refused


def _labellings(dataset: str) -> str:
    return f"/api/_private/datasets/{full_name(dataset, what='dataset')}/labellings"


def _annotate(
    server: Server, where: str, batch: list[_Line], bar: _Bar, *, resume_on_error: bool
) -> int:
    """Store the annotations of a batch's lines; return how many were refused."""
    refused = 0
    for line in batch:
        if not line.annotations or not isinstance(line.comment.get("id"), str):
            continue
        try:
            server.call("POST", where + quote(line.comment["id"], safe=""), line.annotations)
        except Refused as error:
            if error.status not in (400, 404, 413, 422):
                raise
            problem = f"line {line.number}: annotations: {error.message}"
            if not resume_on_error:
                raise Failed(problem) from error
            bar.say(problem)
            refused += 1
    return refused


@click.command("export")
@click.option("--source", metavar="PROJECT/SOURCE", required=True, help="Where the comments are.")
@click.option(
    "--dataset",
    metavar="PROJECT/DATASET",
    help="Whose annotations to write beside the comments.",
)
@click.argument("file", type=click.File("wb", atomic=True), default="-")
@server_options
def export_comments(
    source: str, dataset: str | None, file: IO[bytes], url: str, token: str
) -> None:
    """Write the comments of a source to FILE (or standard output), in order of timestamp."""
    named = full_name(source, what="source")
    query = {"limit": PAGE, "include_markup": "true"}
    with closing(Server(url, token)) as server:
        bar = _Bar(None, "export")
        after: str | None = None
        while True:
            page = query if after is None else {**query, "after": after}
            path = f"/api/_private/sources/{named}/comments?{urlencode(page)}"
            reply = server.call("GET", path)
            said = {} if dataset is None else _annotations(server, dataset, reply["comments"])
            for comment in reply["comments"]:
                found = {"comment": comment, **said.get(comment["uid"], {})}
                file.write(json.dumps(found, ensure_ascii=False).encode() + b"\n")
            bar.read(0, lines=len(reply["comments"]))
            after = reply.get("continuation")
            if after is None:
                break
        file.flush()
        bar.finish()


def _annotations(
    server: Server, dataset: str, comments: list[dict[str, Any]]
) -> dict[str, dict[str, Any]]:
    """Return what people said of those comments of which they said anything, by uid."""
    uids = [comment["uid"] for comment in comments if comment["has_annotations"]]
    found: dict[str, dict[str, Any]] = {}
    for start in range(0, len(uids), _LABELLED_AT_ONCE):
        wanted = [("id", uid) for uid in uids[start : start + _LABELLED_AT_ONCE]]
        query = urlencode([*wanted, ("allow_missing", "true")])
        for one in server.call("GET", f"{_labellings(dataset)}?{query}")["results"]:
            found[one["comment"]["uid"]] = _to_be_sent(one)
    return found


def _to_be_sent(one: dict[str, Any]) -> dict[str, Any]:
    """Return the annotations of a comment in the form in which they are sent back."""

    def only(value: dict[str, Any], names: Iterable[str]) -> dict[str, Any]:
        return {name: value[name] for name in names if name in value}

    sent: dict[str, Any] = {
        "labelling": [only(group, _SENT["labelling"]) for group in one["labelling"]],
        "entities": {
            name: [only(entity, _ENTITY) for entity in one["entities"][name]]
            for name in _SENT["entities"]
        },
    }
    if "moon_forms" in one:
        sent["moon_forms"] = [
            {
                "group": group["group"],
                "assigned": [
                    {
                        "label": form["label"],
                        "captures": [
                            {"fields": [only(field, _CAPTURED) for field in capture["fields"]]}
                            for capture in form["captures"]
                        ],
                    }
                    for form in group["assigned"]
                ],
            }
            for group in one["moon_forms"]
        ]
    return sent


def _size_of(file: IO[bytes]) -> int | None:
    """Return how many bytes there are to read, if it can be told."""
    try:
        if not file.seekable():
            return None
        here = file.tell()
        end = file.seek(0, io.SEEK_END)
        file.seek(here)
    except (OSError, ValueError):
        return None
    return end - here


class _Bar:
    """Shows on standard error how far it is and how fast, where somebody looks."""

    def __init__(self, size: int | None, label: str) -> None:
        self._size = size
        self._label = label
        self._started = time.monotonic()
        self._shown = 0.0
        self._bytes = 0
        self._lines = 0
        self._is_seen = sys.stderr.isatty()
        self.refused = 0

    def read(self, size: int, *, lines: int = 0) -> None:
        """Note progress."""
        self._bytes += size
        self._lines += lines
        if self._is_seen and time.monotonic() - self._shown > _SHOWN_EVERY_S:
            self._show()

    def refuse(self, problem: str) -> None:
        """Tell of a line that could not even be sent."""
        self.refused += 1
        self.say(problem)

    def say(self, problem: str) -> None:
        """Write a line that stays."""
        clear = "\r\033[K" if self._is_seen else ""
        click.echo(f"{clear}{problem}", err=True)

    def finish(self) -> None:
        """Show the end."""
        if self._is_seen:
            self._show()
            click.echo(err=True)

    def _show(self) -> None:
        self._shown = time.monotonic()
        speed = f"{self._lines} comments, {rate(self._lines, self._started):.0f}/s"
        if self._size:
            part = min(1.0, self._bytes / self._size)
            filled = round(part * 30)
            drawn = "#" * filled + "-" * (30 - filled)
            text = f"{self._label} [{drawn}] {part:4.0%} {speed}"
        else:
            text = f"{self._label} {speed}"
        click.echo(f"\r\033[K{text}", err=True, nl=False)
