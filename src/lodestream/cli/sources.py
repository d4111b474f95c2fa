"""`lodestream source`: named collections of comments."""

from __future__ import annotations

from typing import IO, Any, Final

import click

from lodestream.cli.options import Commands, confirm, json_option, yes_option
from lodestream.cli.output import show_one, show_rows
from lodestream.cli.remote import (
    BUCKET,
    SOURCE,
    answer,
    body_of,
    body_option,
    find_bucket,
    find_source,
    named,
    server_options,
    source_name,
    time_range,
    time_range_options,
)
from lodestream.client import Client, operations

_COLUMNS: Final = ("owner", "name", "title", "id", "_kind", "language", "updated_at")


@click.group(cls=Commands)
def source() -> None:
    """Sources: collections of comments of one kind."""


def _settings(command: Any) -> Any:
    """Add the options for what a source is created or changed with."""
    for option in (
        click.option("--transform-tag", metavar="TAG", help="How e-mails become comments."),
        click.option("--bucket", type=BUCKET, help="Where its e-mails come from."),
        click.option("--should-translate/--no-should-translate", default=None),
        click.option("--description", help="What is in it."),
        click.option("--title", help="Its title, for people."),
    ):
        command = option(command)
    return json_option(body_option(command))


def _fields(
    client: Client, file: IO[bytes] | None, bucket: str | None, **options: Any
) -> dict[str, Any]:
    options["email_transform_tag"] = options.pop("transform_tag")
    if bucket is not None:
        options["bucket_id"] = find_bucket(client, bucket)["id"]
    return body_of(file, **options)


@source.command("list")
@click.argument("project", required=False)
@json_option
@server_options
def list_sources(client: Client, project: str | None, as_json: bool) -> None:
    """List all sources that you see, or those of a PROJECT."""
    found = answer(client, operations.sources(project))["sources"]
    show_rows(found, _COLUMNS, as_json=as_json)


@source.command("get")
@click.argument("name", type=SOURCE)
@json_option
@server_options
def get(client: Client, name: str, as_json: bool) -> None:
    """Show a source."""
    show_one(find_source(client, name), as_json=as_json)


@source.command("create")
@click.argument("name", type=SOURCE)
@_settings
@click.option("--language", help="Of its comments: en, de, or xlm for any other.")
@click.option("--kind", help="What its comments are: unknown, call or chat.")
@server_options
def create(
    client: Client, name: str, file: IO[bytes] | None, as_json: bool, kind: str | None, **given: Any
) -> None:
    """Create a source."""
    fields = _fields(client, file, _kind=kind, **given)
    show_one(answer(client, operations.create_source(name, **fields))["source"], as_json=as_json)


@source.command("update")
@click.argument("name", type=SOURCE)
@_settings
@click.option("--detach-bucket", is_flag=True, help="Take e-mails from no bucket any more.")
@server_options
def update(
    client: Client,
    name: str,
    file: IO[bytes] | None,
    as_json: bool,
    detach_bucket: bool,
    **given: Any,
) -> None:
    """Change some settings of a source."""
    fields = _fields(client, file, **given)
    if detach_bucket:
        fields["bucket_id"] = None
    call = operations.update_source(source_name(client, name), **fields)
    show_one(answer(client, call)["source"], as_json=as_json)


@source.command("delete")
@click.argument("name", type=SOURCE)
@yes_option
@server_options
def delete(client: Client, name: str, yes: bool) -> None:
    """Delete a source with all its comments."""
    found = find_source(client, name)
    if not yes:
        count = client.count_comments(named(found))
        confirm(f"Delete the source {named(found)} with its {count} comments?", yes=yes)
    client.delete_source(found["id"])


@source.command("statistics")
@click.argument("name", type=SOURCE)
@time_range_options
@json_option
@server_options
def statistics(client: Client, name: str, as_json: bool, **times: str | None) -> None:
    """Count the comments of a source."""
    call = operations.source_statistics(source_name(client, name), time_range(times))
    show_one(answer(client, call)["statistics"], as_json=as_json)
