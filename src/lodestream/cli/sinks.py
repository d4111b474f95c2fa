"""`lodestream sink`: where the comments of streams are sent to."""

from __future__ import annotations

from typing import IO, Any, Final

import click

from lodestream.cli.options import Commands, Failed, confirm, json_option, yes_option
from lodestream.cli.output import duration, show_one, show_rows
from lodestream.cli.remote import DATASET, dataset_name, read_object, server_options
from lodestream.client import Client
from lodestream.client.calls import full_name, part

_STARTS: Final = click.Choice(["stream", "beginning", "now"])
_COLUMNS: Final = ("name", "kind", "state", "unread", "oldest", "delivered", "dead", "last_error")
_ATTEMPTS: Final = ("number", "at", "result", "comments", "delivered", "took_ms", "reason", "uid")
_DATASET = click.argument("dataset", type=DATASET)
_STREAM = click.argument("stream")
_NAME = click.argument("name")
_MAX_FAILURES = click.option(
    "--max-failures",
    type=click.IntRange(1, 100),
    help="How often a comment may fail alone before it is given up.",
)
_SENSITIVE = click.option(
    "--sensitive/--no-sensitive",
    "include_sensitive",
    default=None,
    help="Whether sensitive user properties are sent, too.",
)


@click.group(cls=Commands)
def sink() -> None:
    """Sinks: webhooks, indexes, topics, tables and files that follow a stream."""


@sink.command("list")
@_DATASET
@_STREAM
@json_option
@server_options
def list_sinks(client: Client, dataset: str, stream: str, as_json: bool) -> None:
    """List the sinks of a stream, and how they do."""
    found = client.call("GET", _path(client, dataset, stream))["sinks"]
    show_rows(found if as_json else map(_row, found), _COLUMNS, as_json=as_json)


@sink.command("get")
@_DATASET
@_STREAM
@_NAME
@json_option
@server_options
def get(client: Client, dataset: str, stream: str, name: str, as_json: bool) -> None:
    """Show a sink, and how it does. Its secrets are never shown."""
    found = client.call("GET", _path(client, dataset, stream, name))["sink"]
    show_one(found, as_json=as_json)


_CONFIGURATION = click.option(
    "--file",
    type=click.File("rb"),
    help="JSON object with the configuration: `kind`, and what that kind needs (- reads standard "
    "input).",
)


@sink.command("create")
@_DATASET
@_STREAM
@_NAME
@click.option("--start", type=_STARTS, help="Where it begins.  [stream: where the stream stands]")
@_MAX_FAILURES
@_SENSITIVE
@_CONFIGURATION
@json_option
@server_options
def create(
    client: Client,
    dataset: str,
    stream: str,
    name: str,
    file: IO[bytes] | None,
    as_json: bool,
    **given: Any,
) -> None:
    """Create a sink; --file holds its configuration, with `kind` and secrets."""
    if file is None:
        raise click.UsageError("--file is needed: it holds the configuration of the sink")
    body = {"name": name, "configuration": read_object(file), **_given(given)}
    # To make it twice would be refused as taken, and the secret that was made up be lost.
    made = client.call("PUT", _path(client, dataset, stream), {"sink": body}, idempotent=False)
    if "secret" in made and not as_json:
        click.echo(f"The signing secret, shown this once:\n\n  {made['secret']}\n")
    secret = {"secret": made["secret"]} if "secret" in made else {}
    show_one({**made["sink"], **(secret if as_json else {})}, as_json=as_json)


@sink.command("update")
@_DATASET
@_STREAM
@_NAME
@_MAX_FAILURES
@_SENSITIVE
@_CONFIGURATION
@json_option
@server_options
def update(
    client: Client,
    dataset: str,
    stream: str,
    name: str,
    file: IO[bytes] | None,
    as_json: bool,
    **given: Any,
) -> None:
    """Change a sink; --file holds a new configuration. Secrets that it leaves out stay."""
    body = _given(given)
    if file is not None:
        body["configuration"] = read_object(file)
    _change(client, dataset, stream, name, body, as_json=as_json)


@sink.command("enable")
@_DATASET
@_STREAM
@_NAME
@json_option
@server_options
def enable(client: Client, dataset: str, stream: str, name: str, as_json: bool) -> None:
    """Let a sink deliver, and try at once."""
    _change(client, dataset, stream, name, {"enabled": True}, as_json=as_json)


@sink.command("disable")
@_DATASET
@_STREAM
@_NAME
@json_option
@server_options
def disable(client: Client, dataset: str, stream: str, name: str, as_json: bool) -> None:
    """Stop a sink; it keeps its place."""
    _change(client, dataset, stream, name, {"enabled": False}, as_json=as_json)


@sink.command("reset")
@_DATASET
@_STREAM
@_NAME
@click.option("--to", required=True, metavar="PLACE", help="stream, beginning, now or an instant.")
@json_option
@server_options
def reset(client: Client, dataset: str, stream: str, name: str, to: str, as_json: bool) -> None:
    """Move a sink: to where its stream stands, to either end, or to comments since an instant."""
    body = {"to": to} if to in _STARTS.choices else {"to_comment_created_at": to}
    path = _path(client, dataset, stream, name, "reset")
    show_one(_row(client.call("POST", path, body)["sink"]), as_json=as_json)


@sink.command("attempts")
@_DATASET
@_STREAM
@_NAME
@click.option("--limit", type=click.IntRange(1, 200), default=20, show_default=True)
@json_option
@server_options
def attempts(
    client: Client, dataset: str, stream: str, name: str, limit: int, as_json: bool
) -> None:
    """Show the last deliveries that were tried, the newest first."""
    path = _path(client, dataset, stream, name, f"attempts?limit={limit}")
    show_rows(client.call("GET", path)["attempts"], _ATTEMPTS, as_json=as_json)


@sink.command("test")
@_DATASET
@_STREAM
@_NAME
@server_options
def test(client: Client, dataset: str, stream: str, name: str) -> None:
    """Reach for the target, without sending it a comment."""
    told = client.call("POST", _path(client, dataset, stream, name, "test"))
    if not told["reached"]:
        detail = f": {told['detail']}" if told["detail"] else ""
        raise Failed(f"the target cannot be used: {told['reason']}{detail}")
    click.echo("The target was reached.")


@sink.command("delete")
@_DATASET
@_STREAM
@_NAME
@yes_option
@server_options
def delete(client: Client, dataset: str, stream: str, name: str, yes: bool) -> None:
    """Delete a sink with its place; what the target has stays there."""
    path = _path(client, dataset, stream, name)
    confirm(f"Delete the sink {name!r} of the stream {stream!r}?", yes=yes)
    client.call("DELETE", path)


def _change(
    client: Client, dataset: str, stream: str, name: str, body: dict[str, Any], *, as_json: bool
) -> None:
    path = _path(client, dataset, stream, name)
    show_one(client.call("POST", path, {"sink": body})["sink"], as_json=as_json)


def _path(client: Client, dataset: str, stream: str, *rest: str) -> str:
    parts: tuple[str, ...] = (
        full_name(dataset_name(client, dataset)),
        "streams",
        part(stream),
        "sinks",
    )
    if rest:
        parts = (*parts, part(rest[0]), *rest[1:])
    return "/api/lodestream/v1/datasets/" + "/".join(parts)


def _given(options: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in options.items() if value is not None}


def _row(one: dict[str, Any]) -> dict[str, object]:
    age = one["oldest_unread_age_s"]
    return {
        "name": one["name"],
        "kind": one["configuration"]["kind"],
        "state": one["state"],
        "unread": one["unread"] if one["unread_is_exact"] else f"{one['unread']}+",
        "oldest": None if age is None else duration(age),
        "delivered": one["delivered"],
        "dead": one["dead_letters"],
        "last_error": one["last_error"],
    }
