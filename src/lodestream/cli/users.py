"""`lodestream user` and `lodestream token`: accounts, in the database itself or over the API.

On the database they need no token and work while the server runs; what they change holds for the
server's next request.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import wraps
from pathlib import Path
from typing import Any, TypeAlias

import click

from lodestream.cli.accounts import Accounts, RemoteAccounts, Row
from lodestream.cli.options import Commands, json_option
from lodestream.cli.output import print_json, print_table, show_one
from lodestream.cli.remote import (
    SERVER_OPTIONS,
    answer,
    chosen_server,
    connected,
    is_on_command_line,
    server_options,
    server_options_alone,
)
from lodestream.client import Client, operations
from lodestream.domain import access

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


def _accounts_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options that say whose accounts a command works on; it gets `accounts`.

    They are those of the database, as they need no token there and the first token comes from
    somewhere, unless a server is named by hand.
    """

    @wraps(command)
    def run(*arguments: Any, **given: Any) -> Any:
        is_remote = given.pop("api") or any(map(is_on_command_line, ("url", "token", "context")))
        where = {name: given.pop(name) for name in ("data", "database_url")}
        server = {name: given.pop(name) for name in SERVER_OPTIONS}
        if is_remote and any(map(is_on_command_line, where)):
            raise click.UsageError("--data and --database-url lead to a database, not to a server")
        if is_remote:
            with connected(chosen_server(server)) as client:
                return command(*arguments, accounts=RemoteAccounts(client), **given)
        with _local(**where) as accounts:
            return command(*arguments, accounts=accounts, **given)

    for option in (
        click.option(
            "--database-url",
            metavar="URL",
            help="Database to use instead of the embedded one, as postgresql://user@host/name.  "
            "[LODESTREAM_DATABASE_URL]",
        ),
        click.option(
            "--data",
            type=click.Path(file_okay=False, path_type=Path),
            help="Folder of the embedded database and uploaded files.  [LODESTREAM_DATA, or "
            "lodestream-data]",
        ),
        click.option(
            "--api",
            is_flag=True,
            help="Work on a server over its API instead of the database; so do --url, --token and "
            "--context.",
        ),
    ):
        run = option(run)
    return server_options_alone(run)


@contextmanager
def _local(*, data: Path | None, database_url: str | None) -> Iterator[Accounts]:
    # The libraries of databases are not needed to talk to a server.
    from lodestream.cli.local_accounts import LocalAccounts, opened

    with opened(data=data, database_url=database_url) as db:
        yield LocalAccounts(db)


def _permissions(command: Any) -> Any:
    return json_option(_GLOBAL(_PROJECT(_PERMISSION(command))))


@click.group(cls=Commands)
def token() -> None:
    """Tokens that callers of the API prove themselves with.

    In the database itself, or with --api, --url or --context on a server.
    """


@token.command("create")
@click.option("--user", "username", metavar="NAME", required=True, help="Whose token it is.")
@click.option("--label", default="", metavar="TEXT", help="What the token is for.")
@json_option
@_accounts_options
def create_token(accounts: Accounts, username: str, label: str, as_json: bool) -> None:
    """Make a token and print it; it cannot be shown again."""
    made, secret = accounts.create_token(accounts.find_user(username), label)
    if as_json:
        print_json({"token": made, "secret": secret})
    else:
        click.echo(secret)


@token.command("list")
@click.option("--user", "username", metavar="NAME", help="Only this user's tokens.")
@json_option
@_accounts_options
def list_tokens(accounts: Accounts, username: str | None, as_json: bool) -> None:
    """List tokens, without their secrets."""
    rows = accounts.tokens(accounts.find_user(username) if username else None)
    if as_json:
        print_json(rows)
    else:
        print_table(rows, ("id", "user", "label", "created_at"))


@token.command("revoke")
@click.argument("token_id", metavar="ID")
@_accounts_options
def revoke_token(accounts: Accounts, token_id: str) -> None:
    """Revoke the token with this ID, as `token list` shows it: it is refused at once."""
    accounts.revoke_token(token_id)


@click.group(cls=Commands)
def user() -> None:
    """Users and what they may do.

    In the database itself, or with --api, --url or --context on a server.
    """


@user.command("list")
@json_option
@_accounts_options
def list_users(accounts: Accounts, as_json: bool) -> None:
    """List users and what was granted to them."""
    found = accounts.users()
    if as_json:
        print_json(found)
        return
    rows = [{**one, "projects": list(one["organisation_permissions"])} for one in found]
    print_table(rows, ("id", "username", "email", "global_permissions", "projects"))


@user.command("get")
@click.argument("username", metavar="NAME")
@json_option
@_accounts_options
def get_user(accounts: Accounts, username: str, as_json: bool) -> None:
    """Show a user, by name or id."""
    show_one(accounts.find_user(username), as_json=as_json)


@user.command("current")
@json_option
@server_options
def current_user(client: Client, as_json: bool) -> None:
    """Show the user whose token is used, as the server that applies sees it."""
    show_one(answer(client, operations.current_user())["user"], as_json=as_json)


@user.command("create")
@click.argument("username", metavar="NAME")
@click.argument("email")
@_permissions
@_accounts_options
def create_user(
    accounts: Accounts,
    username: str,
    email: str,
    global_permissions: Names,
    project: str | None,
    permissions: Names,
    as_json: bool,
) -> None:
    """Create a user and print the user's id."""
    made = accounts.create_user(
        username,
        email,
        globally=access.parse_global_permissions(global_permissions),
        in_projects=_in_projects(project, permissions),
    )
    _show(made, as_json=as_json)


@user.command("update")
@click.argument("username", metavar="NAME")
@_permissions
@_accounts_options
def update_user(
    accounts: Accounts,
    username: str,
    global_permissions: Names,
    project: str | None,
    permissions: Names,
    as_json: bool,
) -> None:
    """Replace permissions: the global ones if any is given, those in the project if it is."""

    def instead(held: Names, new: Names) -> Names:
        return new or held

    if not global_permissions and not permissions:
        raise click.UsageError("say which permissions: --global-permission, --permission or both")
    _change(accounts, username, instead, global_permissions, project, permissions, as_json=as_json)


@user.command("grant")
@click.argument("username", metavar="NAME")
@_permissions
@_accounts_options
def grant(
    accounts: Accounts,
    username: str,
    global_permissions: Names,
    project: str | None,
    permissions: Names,
    as_json: bool,
) -> None:
    """Grant permissions, besides those that the user has."""

    def more(held: Names, new: Names) -> Names:
        return tuple(dict.fromkeys((*held, *new)))

    _change(accounts, username, more, global_permissions, project, permissions, as_json=as_json)


@user.command("revoke")
@click.argument("username", metavar="NAME")
@_permissions
@_accounts_options
def revoke(
    accounts: Accounts,
    username: str,
    global_permissions: Names,
    project: str | None,
    permissions: Names,
    as_json: bool,
) -> None:
    """Take permissions away; `--permission all` takes the user out of the project."""

    def fewer(held: Names, gone: Names) -> Names:
        return tuple(name for name in held if name not in gone)

    gone = access.PROJECT_PERMISSIONS if "all" in permissions else None
    _change(
        accounts, username, fewer, global_permissions, project, permissions,
        as_json=as_json, of_all=gone,
    )  # fmt: skip


@user.command("delete")
@click.argument("username", metavar="NAME")
@_accounts_options
def delete_user(accounts: Accounts, username: str) -> None:
    """Delete a user: the tokens stop at once, the audit log keeps the name."""
    accounts.delete_user(accounts.find_user(username)["id"])


def _change(
    accounts: Accounts,
    username: str,
    combine: Callable[[Names, Names], Names],
    global_permissions: Names,
    project: str | None,
    permissions: Names,
    *,
    as_json: bool,
    of_all: Any = None,
) -> None:
    """Combine what a user was granted with these permissions, globally and in the project.

    `of_all` is what `--permission all` stands for.
    """
    globally = access.parse_global_permissions(global_permissions)
    in_projects: Mapping[str, Names] = _in_projects(project, permissions)
    if of_all is not None:
        in_projects = {name: tuple(of_all) for name in in_projects}
    before = accounts.find_user(username)
    held = {name: tuple(names) for name, names in before["organisation_permissions"].items()}
    changed = accounts.change_user(
        before["id"],
        globally=combine(tuple(before["global_permissions"]), globally),
        in_projects={
            name: combine(held.get(name, ()), names) for name, names in in_projects.items()
        },
    )
    _show(changed, as_json=as_json)


def _in_projects(project: str | None, permissions: Names) -> dict[str, Names]:
    if bool(project) != bool(permissions):
        raise click.UsageError("--project and --permission belong together")
    if project is None:
        return {}
    if "all" in permissions:
        return {project: access.ALL_FINE_GRAINED_PROJECT_PERMISSIONS}
    return {project: access.parse_project_permissions(permissions)}


def _show(user: Row, *, as_json: bool) -> None:
    if as_json:
        print_json(user)
    else:
        click.echo(user["id"])
