"""`lodestream stream list`, `get`, `create`, `update`, `delete` and `exception`."""

from __future__ import annotations

from typing import IO, Any, Final

import click

from lodestream.cli.options import Commands, confirm, json_option, yes_option
from lodestream.cli.output import show_one, show_rows
from lodestream.cli.remote import (
    DATASET,
    answer,
    body_of,
    body_option,
    dataset_name,
    server_options,
)
from lodestream.client import Client, stream_operations
from lodestream.client.stream_operations import StreamCalls

_COLUMNS: Final = ("name", "title", "model.version", "id", "created_at")
_DATASET = click.argument("dataset", type=DATASET)
_NAME = click.argument("name")


def _settings(command: Any) -> Any:
    """Add the options for what a stream is created or changed with."""
    for option in (
        click.option(
            "--model-version",
            type=click.IntRange(0),
            help="Pinned version whose predictions it delivers; thresholds go into --file.",
        ),
        click.option("--description", help="What it is for."),
        click.option("--title", help="Its title, for people."),
    ):
        command = option(command)
    return json_option(body_option(command))


def _fields(file: IO[bytes] | None, model_version: int | None, **options: Any) -> dict[str, Any]:
    if model_version is not None:
        options["model"] = {"version": model_version}
    return body_of(file, **options)


@click.command("list")
@_DATASET
@json_option
@server_options
def list_streams(client: Client, dataset: str, as_json: bool) -> None:
    """List the streams of a dataset."""
    found = answer(client, stream_operations.streams(dataset_name(client, dataset)))["streams"]
    show_rows(found, _COLUMNS, as_json=as_json)


@click.command("get")
@_DATASET
@_NAME
@json_option
@server_options
def get(client: Client, dataset: str, name: str, as_json: bool) -> None:
    """Show the definition of a stream."""
    show_one(answer(client, calls(client, dataset, name).get())["stream"], as_json=as_json)


@click.command("create")
@_DATASET
@_NAME
@_settings
@server_options
def create(
    client: Client, dataset: str, name: str, file: IO[bytes] | None, as_json: bool, **given: Any
) -> None:
    """Create a stream, which delivers what is stored from now on.

    A comment_filter goes into --file, and a model with thresholds.
    """
    fields = _fields(file, **given)
    call = stream_operations.create_stream(
        dataset_name(client, dataset),
        name,
        title=fields.get("title", ""),
        description=fields.get("description", ""),
        comment_filter=fields.get("comment_filter"),
        model=fields.get("model"),
    )
    show_one(answer(client, call)["stream"], as_json=as_json)


@click.command("update")
@_DATASET
@_NAME
@_settings
@server_options
def update(
    client: Client, dataset: str, name: str, file: IO[bytes] | None, as_json: bool, **given: Any
) -> None:
    """Change some of the definition of a stream; its position stays."""
    call = calls(client, dataset, name).update(**_fields(file, **given))
    show_one(answer(client, call)["stream"], as_json=as_json)


@click.command("delete")
@_DATASET
@_NAME
@yes_option
@server_options
def delete(client: Client, dataset: str, name: str, yes: bool) -> None:
    """Delete a stream with its position and its exceptions."""
    stream = calls(client, dataset, name)
    confirm(f"Delete the stream {name!r} of {dataset} with its position?", yes=yes)
    client.run(stream.delete())


@click.group(cls=Commands)
def exception() -> None:
    """Tags on comments that a consumer of a stream could not handle."""


@exception.command("add")
@_DATASET
@_NAME
@click.argument("uids", metavar="UID...", nargs=-1, required=True)
@click.option("--type", "reason", required=True, help="What went wrong, for people.")
@server_options
def add_exception(
    client: Client, dataset: str, name: str, uids: tuple[str, ...], reason: str
) -> None:
    """Tag comments as exceptions of a stream."""
    client.run(calls(client, dataset, name).tag(uids, reason))


@exception.command("remove")
@_DATASET
@_NAME
@click.argument("uids", metavar="UID...", nargs=-1, required=True)
@server_options
def remove_exception(client: Client, dataset: str, name: str, uids: tuple[str, ...]) -> None:
    """Take the tags off comments."""
    client.run(calls(client, dataset, name).untag(uids))


def calls(client: Client, dataset: str, name: str) -> StreamCalls:
    """Return the calls of a stream of a dataset that is given by its name or its id."""
    if not name or "/" in name:
        raise click.UsageError(f"{name!r} is no name of a stream")
    return StreamCalls.of(f"{dataset_name(client, dataset)}/{name}")
