"""`lodestream stream`: how streams do, and a consumer for the command line."""

from __future__ import annotations

import json
import sys
import threading
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.parse import quote

import click

from lodestream.actions.verify import Report, verify
from lodestream.cli.http import Server, full_name, rate, server_options
from lodestream.cli.options import (
    Commands,
    Failed,
    any_database,
    database_options,
    json_option,
    print_json,
    print_table,
    settings_from,
    stopped_by_signals,
)
from lodestream.domain.errors import NotFound
from lodestream.store.catalogue import Catalogue
from lodestream.store.db import Database
from lodestream.store.migrate import schema_version

_OURS = "/api/lodestream/v1/datasets/"
_V1 = "/api/v1/datasets/"


@click.group(cls=Commands)
def stream() -> None:
    """Streams: how they do, listen, move, verify.

    All but `verify` talk to a running server.
    """


@stream.command("status")
@click.argument("dataset", metavar="PROJECT/DATASET")
@click.argument("name", required=False)
@server_options
@json_option
def status(dataset: str, name: str | None, url: str, token: str, as_json: bool) -> None:
    """Show how the streams of a dataset do, or the one with this NAME."""
    path = f"{_OURS}{full_name(dataset, what='dataset')}/streams"
    with closing(Server(url, token)) as server:
        if name is None:
            found = server.call("GET", path)["streams"]
        else:
            found = [server.call("GET", f"{path}/{quote(name, safe='')}/status")["stream"]]
    if as_json:
        print_json(found if name is None else found[0])
        return
    print_table([_row(one) for one in found], tuple(_row(_NOTHING)))


_NOTHING: dict[str, Any] = {
    "name": "",
    "state": "",
    "unread": 0,
    "unread_is_exact": True,
    "oldest_unread_age_s": None,
    "last_fetch": None,
    "last_advance": None,
    "poison": None,
}


def _row(one: dict[str, Any]) -> dict[str, object]:
    age = one["oldest_unread_age_s"]
    fetch, advance, poison = one["last_fetch"], one["last_advance"], one["poison"]
    return {
        "name": one["name"],
        "state": one["state"],
        "unread": one["unread"] if one["unread_is_exact"] else f"{one['unread']}+",
        "oldest": None if age is None else _duration(age),
        "last fetch": fetch and fetch["at"][:19] + "Z",
        "last advance": advance and advance["at"][:19] + "Z",
        "client": (advance or fetch or {}).get("client"),
        "poison": poison and f"{poison['uid']} ({poison['fetches']} fetches)",
    }


def _duration(seconds: float) -> str:
    for unit, length in (("d", 86_400), ("h", 3600), ("m", 60)):
        if seconds >= length:
            return f"{seconds / length:.1f}{unit}"
    return f"{seconds:.0f}s"


@stream.command("listen")
@click.argument("dataset", metavar="PROJECT/DATASET")
@click.argument("name")
@click.option(
    "--size",
    type=click.IntRange(1, 1024),
    default=256,
    show_default=True,
    help="Comments to fetch at once.",
)
@click.option(
    "--poll",
    type=click.FloatRange(0.01, 3600),
    default=1.0,
    show_default=True,
    help="Seconds to wait when there is nothing new.",
)
@click.option("--until-end", is_flag=True, help="Stop when there is nothing new.")
@click.option("--no-advance", is_flag=True, help="Print one batch and leave the stream as it is.")
@server_options
def listen(
    dataset: str,
    name: str,
    size: int,
    poll: float,
    until_end: bool,
    no_advance: bool,
    url: str,
    token: str,
) -> None:
    """Print what a stream delivers, as JSON lines, and advance it.

    The stream is advanced after a batch is printed, and never past what was printed: what is
    killed in between comes again. Ends cleanly on SIGTERM and SIGINT.
    """
    path = f"{_V1}{full_name(dataset, what='dataset')}/streams/{quote(name, safe='')}"
    with stopped_by_signals() as stop, closing(Server(url, token, stop=stop)) as server:
        while not stop.is_set():
            batch = server.call("POST", path + "/fetch", {"size": size})
            printed = _print_batch(batch, stop)
            if no_advance:
                return
            if printed is not None:
                server.call("POST", path + "/advance", {"sequence_id": printed})
            if batch["is_end_sequence"]:
                if until_end:
                    return
                stop.wait(poll)


def _print_batch(batch: dict[str, Any], stop: threading.Event) -> str | None:
    """Print a batch, up to a signal; return up to where the stream may be advanced."""
    results = batch["results"]
    out = sys.stdout.buffer
    for count, result in enumerate(results, 1):
        line = json.dumps(result, ensure_ascii=False)
        out.write(f"{line}\n".encode())
        if stop.is_set() and count < len(results):
            out.flush()
            last: str = result["sequence_id"]
            return last
    # Only what has left this process counts as printed.
    out.flush()
    whole: str = batch["sequence_id"]
    return whole if results or batch["filtered"] else None


@stream.command("advance")
@click.argument("dataset", metavar="PROJECT/DATASET")
@click.argument("name")
@click.argument("sequence_id")
@server_options
def advance(dataset: str, name: str, sequence_id: str, url: str, token: str) -> None:
    """Acknowledge everything up to and including SEQUENCE_ID, and print the new place.

    A stream never moves back by this: see `reset`.
    """
    path = f"{_V1}{full_name(dataset, what='dataset')}/streams/{quote(name, safe='')}/advance"
    with closing(Server(url, token)) as server:
        click.echo(server.call("POST", path, {"sequence_id": sequence_id})["sequence_id"])


@stream.command("reset")
@click.argument("dataset", metavar="PROJECT/DATASET")
@click.argument("name")
@click.option(
    "--to",
    "instant",
    metavar="TIMESTAMP",
    required=True,
    help="Deliver what was stored at or after this instant, as 2024-01-31T12:00:00Z.",
)
@server_options
def reset(dataset: str, name: str, instant: str, url: str, token: str) -> None:
    """Move a stream to an instant, backwards or forwards, and print the new place."""
    path = f"{_V1}{full_name(dataset, what='dataset')}/streams/{quote(name, safe='')}/reset"
    with closing(Server(url, token)) as server:
        click.echo(server.call("POST", path, {"to_comment_created_at": instant})["sequence_id"])


@stream.command("verify")
@click.argument("dataset", metavar="[PROJECT/DATASET]", required=False)
@json_option
@database_options
@click.pass_context
def verify_order(
    ctx: click.Context,
    dataset: str | None,
    as_json: bool,
    data: Path | None,
    database_url: str | None,
) -> None:
    """Read the order of stored comments again and report what is wrong.

    Works on the database itself, of a dataset or of everything, also while the server runs. Exit
    code 1 if there are holes, duplicates or comments out of order.
    """
    name = None if dataset is None else full_name(dataset, what="dataset")
    with any_database(settings_from(data=data, database_url=database_url)) as db:
        version = schema_version(db)
        if not version.is_current:
            raise Failed(f"the schema is not {version.needed}: run `lodestream migrate`")
        dataset_id = None if name is None else _dataset_id(db, name)
        report = verify(db, dataset_id=dataset_id, progress=_progress())
    if as_json:
        print_json(
            {
                "comments": report.comments,
                "streams": report.streams,
                "found": report.found,
                "findings": [
                    {
                        "kind": one.kind,
                        "what": one.what,
                        "source_id": one.source_id,
                        "position": one.position,
                    }
                    for one in report.findings
                ],
            }
        )
    else:
        _print_report(report)
    if not report.is_clean:
        ctx.exit(1)


def _dataset_id(db: Database, name: str) -> str:
    owner, _, dataset_name = name.partition("/")
    found = Catalogue(db).find_dataset(owner, dataset_name)
    if found is None:
        raise NotFound(f"No such dataset: {name}")
    return found.id


def _print_report(report: Report) -> None:
    for one in report.findings:
        where = "" if one.source_id is None else f"source {one.source_id}: "
        at = "" if one.position is None else f" (at {one.position})"
        click.echo(f"{where}{one.what}{at}")
    unlisted = sum(report.found.values()) - len(report.findings)
    if unlisted:
        click.echo(f"… and {unlisted} more")
    checked = f"{report.comments} comments and {report.streams} streams checked"
    click.echo(f"{checked}: {sum(report.found.values()) or 'nothing'} wrong")


def _progress() -> Callable[[int], None]:
    """Show on standard error how far it is, where somebody looks."""
    if not sys.stderr.isatty():
        return lambda _rows: None
    started, done, shown = time.monotonic(), 0, 0.0

    def tell(rows: int) -> None:
        nonlocal done, shown
        done += rows
        if time.monotonic() - shown > 0.5:
            shown = time.monotonic()
            click.echo(f"\r{done} rows read, {rate(done, started):.0f}/s ", err=True, nl=False)

    return tell
