"""`lodestream bucket`: collections of raw e-mails."""

from __future__ import annotations

from typing import Any, Final

import click

from lodestream.cli.options import Commands, confirm, json_option, yes_option
from lodestream.cli.output import show_one, show_rows
from lodestream.cli.remote import (
    BUCKET,
    answer,
    at_most,
    bucket_name,
    find_bucket,
    limit_option,
    named,
    paged,
    server_options,
)
from lodestream.client import Client, bucket_operations
from lodestream.client.calls import Call

_COLUMNS: Final = ("owner", "name", "title", "id", "created_at")
_EMAILS: Final = ("id", "mailbox", "timestamp", "attachments", "mime_chars")
_STATES: Final = ("mailbox_name", "folder_path", "status", "synced_until", "last_synced_at")
_PAGE: Final = 64


@click.group(cls=Commands)
def bucket() -> None:
    """Buckets: collections of raw e-mails that sources read from."""


@bucket.command("list")
@click.argument("project", required=False)
@json_option
@server_options
def list_buckets(client: Client, project: str | None, as_json: bool) -> None:
    """List all buckets that you see, or those of a PROJECT."""
    found = answer(client, bucket_operations.buckets(project))["buckets"]
    show_rows(found, _COLUMNS, as_json=as_json)


@bucket.command("get")
@click.argument("name", type=BUCKET)
@json_option
@server_options
def get(client: Client, name: str, as_json: bool) -> None:
    """Show a bucket."""
    show_one(find_bucket(client, name), as_json=as_json)


@bucket.command("create")
@click.argument("name", type=BUCKET)
@click.option("--title", help="Its title, for people.")
@json_option
@server_options
def create(client: Client, name: str, title: str | None, as_json: bool) -> None:
    """Create a bucket."""
    fields = {} if title is None else {"title": title}
    made = answer(client, bucket_operations.create_bucket(name, **fields))
    show_one(made["bucket"], as_json=as_json)


@bucket.command("update")
@click.argument("name", type=BUCKET)
@click.option("--title", required=True, help="Its title, for people.")
@json_option
@server_options
def update(client: Client, name: str, title: str, as_json: bool) -> None:
    """Change the title of a bucket."""
    call = bucket_operations.update_bucket(bucket_name(client, name), title=title)
    show_one(answer(client, call)["bucket"], as_json=as_json)


@bucket.command("delete")
@click.argument("name", type=BUCKET)
@yes_option
@server_options
def delete(client: Client, name: str, yes: bool) -> None:
    """Delete a bucket with its e-mails; sources keep the comments made of them."""
    found = find_bucket(client, name)
    if not yes:
        count = client.count_emails(named(found))
        confirm(f"Delete the bucket {named(found)} with its {count} e-mails?", yes=yes)
    client.delete_bucket(found["id"])


@bucket.command("statistics")
@click.argument("name", type=BUCKET)
@json_option
@server_options
def statistics(client: Client, name: str, as_json: bool) -> None:
    """Count the e-mails of a bucket."""
    call = bucket_operations.bucket_statistics(bucket_name(client, name))
    found = answer(client, call)["statistics"]
    count = found["count"]
    many = count["value"] if count["kind"] == "exact" else f"{count['value']} or more"
    show_one(found if as_json else {"emails": many}, as_json=as_json)


@bucket.command("emails")
@click.argument("name", type=BUCKET)
@click.option("--id", "email_id", metavar="ID", help="Only those with this id.")
@limit_option
@json_option
@server_options
def emails(
    client: Client, name: str, email_id: str | None, limit: int | None, as_json: bool
) -> None:
    """List the e-mails of a bucket, in the order they were first stored."""
    where = bucket_name(client, name)

    def page(continuation: str | None) -> Call[Any]:
        return bucket_operations.emails_page(where, continuation=continuation, limit=_PAGE)

    if email_id is not None:
        found = iter(answer(client, bucket_operations.emails_by_id(where, email_id))["emails"])
    else:
        found = paged(client, page, "emails", cursor="continuation")
    found = at_most(limit, found, as_json=as_json)
    show_rows(found if as_json else map(_row, found), _EMAILS, as_json=as_json)


def _row(email: dict[str, Any]) -> dict[str, Any]:
    names = [one["name"] for one in email["attachments"]]
    return {**email, "attachments": names, "mime_chars": len(email["mime_content"])}


@bucket.command("sync-states")
@click.argument("name", type=BUCKET)
@json_option
@server_options
def sync_states(client: Client, name: str, as_json: bool) -> None:
    """Show where connectors are with every folder of every mailbox."""
    call = bucket_operations.sync_states(find_bucket(client, name)["id"])
    rows = answer(client, call)["keyed_sync_states"]
    if not as_json:
        rows = [{**one, "folder_path": "/".join(one["folder_path"])} for one in rows]
    show_rows(rows, _STATES, as_json=as_json)
