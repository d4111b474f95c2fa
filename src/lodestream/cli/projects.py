"""`lodestream project`: what everything else belongs to."""

from __future__ import annotations

from typing import IO, Final

import click

from lodestream.cli.options import Commands, confirm, json_option, yes_option
from lodestream.cli.output import show_one, show_rows
from lodestream.cli.remote import answer, body_of, body_option, server_options
from lodestream.client import Client, admin_operations, operations

_COLUMNS: Final = ("name", "title", "description", "id", "created_at")


@click.group(cls=Commands)
def project() -> None:
    """Projects, which everything else belongs to."""


_TITLE = click.option("--title", help="Its title, for people.")
_DESCRIPTION = click.option("--description", help="What it is for.")


@project.command("list")
@json_option
@server_options
def list_projects(client: Client, as_json: bool) -> None:
    """List the projects that you see."""
    found = answer(client, admin_operations.whole_projects())["projects"]
    show_rows(found, _COLUMNS, as_json=as_json)


@project.command("get")
@click.argument("name")
@json_option
@server_options
def get(client: Client, name: str, as_json: bool) -> None:
    """Show a project."""
    show_one(answer(client, admin_operations.project(name))["project"], as_json=as_json)


@project.command("create")
@click.argument("name")
@_TITLE
@_DESCRIPTION
@click.option("--user-id", "user_ids", metavar="ID", multiple=True, help="Who administers it.")
@body_option
@json_option
@server_options
def create(
    client: Client,
    name: str,
    title: str | None,
    description: str | None,
    user_ids: tuple[str, ...],
    file: IO[bytes] | None,
    as_json: bool,
) -> None:
    """Create a project."""
    fields = body_of(file, title=title, description=description)
    made = operations.create_project(name, user_ids=user_ids or None, **fields)
    show_one(answer(client, made)["project"], as_json=as_json)


@project.command("update")
@click.argument("name")
@_TITLE
@_DESCRIPTION
@body_option
@json_option
@server_options
def update(
    client: Client,
    name: str,
    title: str | None,
    description: str | None,
    file: IO[bytes] | None,
    as_json: bool,
) -> None:
    """Change some settings of a project."""
    fields = body_of(file, title=title, description=description)
    changed = answer(client, admin_operations.update_project(name, **fields))
    show_one(changed["project"], as_json=as_json)


@project.command("delete")
@click.argument("name")
@click.option("--force", is_flag=True, help="With everything in it.")
@yes_option
@server_options
def delete(client: Client, name: str, force: bool, yes: bool) -> None:
    """Delete a project that is empty, or with --force everything in it, too."""
    what = "with everything in it" if force else "if it is empty"
    confirm(f"Delete the project {name}, {what}?", yes=yes)
    client.delete_project(name, force=force)
