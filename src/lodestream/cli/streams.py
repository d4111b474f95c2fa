"""`lodestream stream`: how streams do, and a consumer for the command line."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Any, Final

import click

from lodestream.cli.options import Commands, Deferred, json_option
from lodestream.cli.output import duration, show_rows
from lodestream.cli.remote import DATASET, answer, dataset_name, server_options
from lodestream.cli.stream_definitions import (
    calls,
    create,
    delete,
    exception,
    get,
    list_streams,
    update,
)
from lodestream.client import Client
from lodestream.client.signals import StopSignals
from lodestream.client.stream_operations import stream_status, streams_status

_VERIFY: Final = Deferred(
    "lodestream.cli.verify:verify_order",
    "Read the order of stored comments again and report what is wrong.",
)


@click.group(cls=Commands, deferred={"verify": _VERIFY})
def stream() -> None:
    """Streams: definitions, how they do, listen, move, verify.

    All but `verify` talk to a running server.
    """


for _command in (list_streams, get, create, update, delete, exception):
    stream.add_command(_command)


_STATUS: Final = (
    "name",
    "state",
    "unread",
    "oldest",
    "last_fetch",
    "last_advance",
    "client",
    "poison",
)


@stream.command("status")
@click.argument("dataset", type=DATASET)
@click.argument("name", required=False)
@json_option
@server_options
def status(client: Client, dataset: str, name: str | None, as_json: bool) -> None:
    """Show how the streams of a dataset do, or the one with this NAME."""
    where = dataset_name(client, dataset)
    if name is None:
        found = answer(client, streams_status(where))["streams"]
    else:
        found = [answer(client, stream_status(where, name))["stream"]]
    show_rows(found if as_json else map(_row, found), _STATUS, as_json=as_json)


def _row(one: dict[str, Any]) -> dict[str, object]:
    age = one["oldest_unread_age_s"]
    fetch, advance, poison = one["last_fetch"], one["last_advance"], one["poison"]
    return {
        "name": one["name"],
        "state": one["state"],
        "unread": one["unread"] if one["unread_is_exact"] else f"{one['unread']}+",
        "oldest": None if age is None else duration(age),
        "last_fetch": fetch and fetch["at"][:19] + "Z",
        "last_advance": advance and advance["at"][:19] + "Z",
        "client": (advance or fetch or {}).get("client"),
        "poison": poison and f"{poison['uid']} ({poison['fetches']} fetches)",
    }


@stream.command("listen")
@click.argument("dataset", type=DATASET)
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
    client: Client,
    dataset: str,
    name: str,
    size: int,
    poll: float,
    until_end: bool,
    no_advance: bool,
) -> None:
    """Print what a stream delivers, as JSON lines, and advance it.

    The stream is advanced after a batch is printed, and never past what was printed: what is
    killed in between comes again. Ends cleanly on SIGTERM and SIGINT.
    """
    stream_calls = calls(client, dataset, name)
    with _Stop() as stop:
        while not stop.is_asked:
            with stop.may_break_in():
                batch = answer(client, stream_calls.fetch(size, None))
            printed = _print_batch(batch, stop)
            if no_advance:
                return
            if printed is not None:
                client.run(stream_calls.advance(printed))
            if batch["is_end_sequence"]:
                if until_end:
                    return
                with stop.may_break_in():
                    time.sleep(poll)


class _Stopped(BaseException):
    """Ends a wait when a signal comes."""


class _Stop:
    """Whether SIGTERM or SIGINT came. A wait ends at once; what is under way is finished."""

    def __init__(self) -> None:
        self.is_asked = False
        self._is_waiting = False
        self._signals = StopSignals(self._came)

    def __enter__(self) -> _Stop:
        self._signals.take()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool:
        self._signals.give_back()
        return isinstance(error, _Stopped)

    @contextmanager
    def may_break_in(self) -> Iterator[None]:
        """Let a signal end what is done here: nothing is under way that must be finished."""
        self._is_waiting = True
        try:
            if self.is_asked:
                raise _Stopped
            yield
        finally:
            self._is_waiting = False

    def _came(self) -> None:
        self.is_asked = True
        if self._is_waiting:
            raise _Stopped


def _print_batch(batch: dict[str, Any], stop: _Stop) -> str | None:
    """Print a batch, up to a signal; return up to where the stream may be advanced."""
    results = batch["results"]
    out = sys.stdout.buffer
    for count, result in enumerate(results, 1):
        line = json.dumps(result, ensure_ascii=False)
        out.write(f"{line}\n".encode())
        if stop.is_asked and count < len(results):
            out.flush()
            last: str = result["sequence_id"]
            return last
    # Only what has left this process counts as printed.
    out.flush()
    whole: str = batch["sequence_id"]
    return whole if results or batch["filtered"] else None


@stream.command("advance")
@click.argument("dataset", type=DATASET)
@click.argument("name")
@click.argument("sequence_id")
@server_options
def advance(client: Client, dataset: str, name: str, sequence_id: str) -> None:
    """Acknowledge everything up to and including SEQUENCE_ID, and print the new place.

    A stream never moves back by this: see `reset`.
    """
    click.echo(client.run(calls(client, dataset, name).advance(sequence_id)))


@stream.command("reset")
@click.argument("dataset", type=DATASET)
@click.argument("name")
@click.option(
    "--to",
    "instant",
    metavar="TIMESTAMP",
    required=True,
    help="Deliver what was stored at or after this instant, as 2024-01-31T12:00:00Z.",
)
@server_options
def reset(client: Client, dataset: str, name: str, instant: str) -> None:
    """Move a stream to an instant, backwards or forwards, and print the new place."""
    click.echo(client.run(calls(client, dataset, name).reset(instant)))
