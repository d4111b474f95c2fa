"""`lodestream import` and `lodestream export`: comments as JSON Lines, in the vendor's shape.

A line is `{"comment": {…}}` and, if a dataset is named, what people said of the comment there:
`labelling`, `entities` and `moon_forms`. What `export` writes `import` reads, here and with the
vendor's own command line client.
"""

from __future__ import annotations

import io
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import IO, Any, Final
from urllib.parse import quote, urlencode

import click

from lodestream.cli.options import Failed, progress_option
from lodestream.cli.output import Progress
from lodestream.cli.remote import (
    DATASET,
    SOURCE,
    dataset_name,
    find_source,
    named,
    server_options,
    source_name,
)
from lodestream.client import Client, ClientError, Refused
from lodestream.client.calls import full_name

BATCH: Final = 1024
PAGE: Final = 256
LARGEST_BATCH_BYTES: Final = 16 << 20

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
@click.option("--source", type=SOURCE, required=True, help="Where the comments go.")
@click.option(
    "--dataset",
    type=DATASET,
    help="Where the annotations go that the lines have; without it they are left out.",
)
@click.option(
    "--resume-on-error",
    is_flag=True,
    help="Go on with the next lines when some are refused; exit code 1 in the end.",
)
@click.argument("file", type=click.File("rb"))
@progress_option
@server_options
def import_comments(
    client: Client,
    source: str,
    dataset: str | None,
    resume_on_error: bool,
    file: IO[bytes],
    no_progress: bool,
) -> None:
    """Store the comments in FILE (- reads standard input), overwriting those with the same id.

    FILE has a JSON object `{"comment": {...}}` on each line. Lines are stored in batches. At a line
    that is refused the import ends and names it; import again when it is corrected: what is stored
    already counts as unchanged.
    """
    found = find_source(client, source)
    path = f"/api/v1/sources/{full_name(named(found))}/sync"
    where = None
    if dataset is not None:
        where = f"{_labellings(dataset_name(client, dataset))}/{found['id']}."
    sums = dict.fromkeys(_RESULTS, 0)
    bar = _Bar(_size_of(file), shown=not no_progress)
    with bar:
        try:
            for batch in _batches(_lines(file, bar, resume_on_error=resume_on_error)):
                _store(client, path, batch, sums, bar, resume_on_error=resume_on_error)
                if where is not None:
                    _annotate(client, where, batch, bar, resume_on_error=resume_on_error)
        except (click.ClickException, ClientError):
            bar.finish()
            bar.say(f"{sum(sums.values())} comments were stored before:")
            raise
    said = ", ".join(f"{sums[name]} {name}" for name in _RESULTS)
    click.echo(said + (f", {bar.refused} refused" if bar.refused else ""))
    if bar.refused:
        raise Failed(f"{bar.refused} lines were refused")


class _Bar(Progress):
    """How far an import is, in bytes of the file, and how many lines were refused."""

    def __init__(self, size: int | None, *, shown: bool) -> None:
        super().__init__("import", "comments", total=size, shown=shown)
        self.refused = 0

    def refuse(self, problem: str) -> None:
        """Tell of a line that does not go in."""
        self.refused += 1
        self.say(problem)


def _lines(file: IO[bytes], bar: _Bar, *, resume_on_error: bool) -> Iterator[_Line]:
    for number, text in enumerate(file, 1):
        if not text.strip():
            bar.advance(0, step=len(text))
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
            bar.advance(0, step=len(text))
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
    client: Client,
    path: str,
    batch: list[_Line],
    sums: dict[str, int],
    bar: _Bar,
    *,
    resume_on_error: bool,
) -> None:
    """Store a batch. One that is refused is halved until the lines at fault stand alone."""
    waiting = [batch]
    while waiting:
        part = waiting.pop()
        try:
            body = {"comments": [line.comment for line in part]}
            # Sending the same comments again changes nothing.
            reply = client.call("POST", path, body, idempotent=True)
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
            bar.refuse(problem)
        else:
            for name in _RESULTS:
                sums[name] += reply[name]
        bar.advance(len(part), step=sum(line.size for line in part))


def _labellings(dataset: str) -> str:
    return f"/api/_private/datasets/{full_name(dataset)}/labellings"


def _annotate(
    client: Client, where: str, batch: list[_Line], bar: _Bar, *, resume_on_error: bool
) -> None:
    """Store the annotations of a batch's lines."""
    for line in batch:
        if not line.annotations or not isinstance(line.comment.get("id"), str):
            continue
        try:
            path = where + quote(line.comment["id"], safe="")
            # They replace what was there: twice is as once.
            client.call("POST", path, line.annotations, idempotent=True)
        except Refused as error:
            if error.status not in (400, 404, 413, 422):
                raise
            problem = f"line {line.number}: annotations: {error.message}"
            if not resume_on_error:
                raise Failed(problem) from error
            bar.refuse(problem)


@click.command("export")
@click.option("--source", type=SOURCE, required=True, help="Where the comments are.")
@click.option(
    "--dataset",
    type=DATASET,
    help="Whose annotations to write beside the comments.",
)
@click.argument("file", type=click.File("wb", atomic=True), default="-")
@progress_option
@server_options
def export_comments(
    client: Client, source: str, dataset: str | None, file: IO[bytes], no_progress: bool
) -> None:
    """Write the comments of a source to FILE (or standard output), in order of timestamp."""
    path = f"/api/_private/sources/{full_name(source_name(client, source))}/comments"
    labellings = None if dataset is None else _labellings(dataset_name(client, dataset))
    query = {"limit": PAGE, "include_markup": "true"}
    after: str | None = None
    with Progress("export", "comments", shown=not no_progress) as progress:
        while True:
            page = query if after is None else {**query, "after": after}
            reply = client.call("GET", f"{path}?{urlencode(page)}")
            said = _annotations(client, labellings, reply["comments"]) if labellings else {}
            for comment in reply["comments"]:
                found = {"comment": comment, **said.get(comment["uid"], {})}
                file.write(json.dumps(found, ensure_ascii=False).encode() + b"\n")
            progress.advance(len(reply["comments"]))
            after = reply.get("continuation")
            if after is None:
                break
        file.flush()


def _annotations(
    client: Client, labellings: str, comments: list[dict[str, Any]]
) -> dict[str, dict[str, Any]]:
    """Return what people said of those comments of which they said anything, by uid."""
    uids = [comment["uid"] for comment in comments if comment["has_annotations"]]
    found: dict[str, dict[str, Any]] = {}
    for start in range(0, len(uids), _LABELLED_AT_ONCE):
        wanted = [("id", uid) for uid in uids[start : start + _LABELLED_AT_ONCE]]
        query = urlencode([*wanted, ("allow_missing", "true")])
        for one in client.call("GET", f"{labellings}?{query}")["results"]:
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
