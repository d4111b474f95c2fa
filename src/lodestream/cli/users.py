"""`lodestream user` and `lodestream token`: accounts, from the server's own machine.

They work on the database itself, so they need no token and work while the server runs; what they
change holds for the server's next request.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeAlias

import click

from lodestream.actions import tokens as token_actions
from lodestream.actions import users as user_actions
from lodestream.cli.database import database_options, migrated_database, settings_from
from lodestream.cli.options import Commands, json_option
from lodestream.cli.output import print_json, print_table
from lodestream.domain import access
from lodestream.domain.errors import NotFound
from lodestream.domain.ids import is_id
from lodestream.domain.times import format_us
from lodestream.domain.users import OPERATOR, Token, User
from lodestream.settings import Settings
from lodestream.store import accounts, tokens
from lodestream.store.db import Reader

Names: TypeAlias = tuple[str, ...]

_GLOBAL = click.option(
    "--global-permission",
    "-g",
    "global_permissions",
    metavar="P",
    multiple=True,
    help="A global permission, such as tenant-admin. May be repeated.",
)
_PROJECT = click.option(
    "--project", metavar="NAME", help="The project of the --permission options."
)
_PERMISSION = click.option(
    "--permission",
    "-p",
    "permissions",
    metavar="P",
    multiple=True,
    help="A permission in the project, or `all`. May be repeated.",
)


@click.group(cls=Commands)
def token() -> None:
    """Tokens that callers of the API prove themselves with."""


@token.command("create")
@click.option("--user", "username", metavar="NAME", required=True, help="Whose token it is.")
@click.option("--label", default="", metavar="TEXT", help="What the token is for.")
@json_option
@database_options
def create_token(
    username: str, label: str, as_json: bool, data: Path | None, database_url: str | None
) -> None:
    """Make a token and print it; it cannot be shown again."""
    with migrated_database(settings_from(data=data, database_url=database_url)) as db:
        with db.read() as tx:
            user = _find_user(tx, username)
        made, secret = token_actions.create_token(db, actor=OPERATOR, user_id=user.id, label=label)
    if as_json:
        print_json({"token": _token_row(made, user.username), "secret": secret})
    else:
        click.echo(secret)


@token.command("list")
@click.option("--user", "username", metavar="NAME", help="Only this user's tokens.")
@json_option
@database_options
def list_tokens(
    username: str | None, as_json: bool, data: Path | None, database_url: str | None
) -> None:
    """List tokens, without their secrets."""
    with (
        migrated_database(settings_from(data=data, database_url=database_url)) as db,
        db.read() as tx,
    ):
        users = [_find_user(tx, username)] if username else accounts.list_users(tx)
        names = {user.id: user.username for user in users}
        found = tokens.list_tokens(tx, users[0].id if username else None)
    rows = [_token_row(one, names[one.user_id]) for one in found]
    if as_json:
        print_json(rows)
    else:
        print_table(rows, ("id", "user", "label", "created_at"))


@token.command("revoke")
@click.argument("token_id", metavar="ID")
@database_options
def revoke_token(token_id: str, data: Path | None, database_url: str | None) -> None:
    """Revoke the token with this ID, as `token list` shows it: it is refused at once."""
    with migrated_database(settings_from(data=data, database_url=database_url)) as db:
        token_actions.revoke_token(db, actor=OPERATOR, token_id=token_id)


@click.group(cls=Commands)
def user() -> None:
    """Users and what they may do."""


@user.command("create")
@click.argument("username", metavar="NAME")
@click.argument("email")
@_GLOBAL
@_PROJECT
@_PERMISSION
@json_option
@database_options
def create_user(
    username: str,
    email: str,
    global_permissions: tuple[str, ...],
    project: str | None,
    permissions: tuple[str, ...],
    as_json: bool,
    data: Path | None,
    database_url: str | None,
) -> None:
    """Create a user and print the user's id."""
    in_projects = _in_projects(project, permissions)
    globally = access.parse_global_permissions(global_permissions)
    with migrated_database(settings_from(data=data, database_url=database_url)) as db:
        made = user_actions.create_user(
            db,
            actor=OPERATOR,
            username=username,
            email=email,
            global_permissions=globally,
            in_projects=in_projects,
        )
    _show(made, as_json=as_json)


@user.command("list")
@json_option
@database_options
def list_users(as_json: bool, data: Path | None, database_url: str | None) -> None:
    """List users and what was granted to them."""
    with (
        migrated_database(settings_from(data=data, database_url=database_url)) as db,
        db.read() as tx,
    ):
        found = accounts.list_users(tx)
    if as_json:
        print_json([_user_row(one) for one in found])
        return
    rows = [
        {
            **_user_row(one),
            "global_permissions": " ".join(one.global_permissions),
            "projects": " ".join(grant.project for grant in one.grants),
        }
        for one in found
    ]
    print_table(rows, ("id", "username", "email", "global_permissions", "projects"))


@user.command("grant")
@click.argument("username", metavar="NAME")
@_GLOBAL
@_PROJECT
@_PERMISSION
@json_option
@database_options
def grant(
    username: str,
    global_permissions: tuple[str, ...],
    project: str | None,
    permissions: tuple[str, ...],
    as_json: bool,
    data: Path | None,
    database_url: str | None,
) -> None:
    """Grant permissions, besides those that the user has."""

    def more(held: Names, new: Names) -> Names:
        return tuple(dict.fromkeys((*held, *new)))

    added = access.parse_global_permissions(global_permissions)
    in_projects = _in_projects(project, permissions)
    settings = settings_from(data=data, database_url=database_url)
    _show(_change(settings, username, more, added, in_projects), as_json=as_json)


@user.command("revoke")
@click.argument("username", metavar="NAME")
@_GLOBAL
@_PROJECT
@_PERMISSION
@json_option
@database_options
def revoke(
    username: str,
    global_permissions: tuple[str, ...],
    project: str | None,
    permissions: tuple[str, ...],
    as_json: bool,
    data: Path | None,
    database_url: str | None,
) -> None:
    """Take permissions away; `--permission all` takes the user out of the project."""

    def fewer(held: Names, gone: Names) -> Names:
        return tuple(name for name in held if name not in gone)

    removed = access.parse_global_permissions(global_permissions)
    in_projects = _in_projects(project, permissions)
    if "all" in permissions:
        in_projects = {name: tuple(access.PROJECT_PERMISSIONS) for name in in_projects}
    settings = settings_from(data=data, database_url=database_url)
    _show(_change(settings, username, fewer, removed, in_projects), as_json=as_json)


@user.command("delete")
@click.argument("username", metavar="NAME")
@database_options
def delete_user(username: str, data: Path | None, database_url: str | None) -> None:
    """Delete a user: the tokens stop at once, the audit log keeps the name."""
    with migrated_database(settings_from(data=data, database_url=database_url)) as db:
        with db.read() as tx:
            found = _find_user(tx, username)
        user_actions.delete_user(db, actor=OPERATOR, user_id=found.id)


def _find_user(tx: Reader, name: str) -> User:
    """Return the user with this username, or with this id."""
    found = accounts.find_by_name(tx, name)
    if found is None and is_id(name):
        found = accounts.find(tx, name)
    if found is None:
        raise NotFound(f"No such user: {name}")
    return found


def _change(
    settings: Settings,
    username: str,
    combine: Callable[[Names, Names], Names],
    globally: Names,
    in_projects: dict[str, Names],
) -> User:
    """Combine what a user was granted with these permissions, globally and in projects."""
    with migrated_database(settings) as db:
        with db.read() as tx:
            before = _find_user(tx, username)
        held = {one.project: one.permissions for one in before.grants}
        return user_actions.update_user(
            db,
            actor=OPERATOR,
            user_id=before.id,
            global_permissions=combine(before.global_permissions, globally),
            in_projects={
                name: combine(held.get(name, ()), names) for name, names in in_projects.items()
            },
        )


def _in_projects(project: str | None, permissions: Names) -> dict[str, Names]:
    if bool(project) != bool(permissions):
        raise click.UsageError("--project and --permission belong together")
    if project is None:
        return {}
    if "all" in permissions:
        return {project: access.ALL_FINE_GRAINED_PROJECT_PERMISSIONS}
    return {project: access.parse_project_permissions(permissions)}


def _show(user: User, *, as_json: bool) -> None:
    if as_json:
        print_json(_user_row(user))
    else:
        click.echo(user.id)


def _user_row(user: User) -> dict[str, Any]:
    return {
        "id": user.id,
        "username": user.username,
        "email": user.email,
        "created": format_us(user.created_us),
        "last_login_at": None if user.last_login_us is None else format_us(user.last_login_us),
        "global_permissions": list(user.global_permissions),
        "organisation_permissions": {one.project: list(one.permissions) for one in user.grants},
    }


def _token_row(token: Token, username: str) -> dict[str, Any]:
    return {
        "id": token.id,
        "user": username,
        "user_id": token.user_id,
        "label": token.label,
        "created_at": format_us(token.created_us),
    }
