"""`lodestream integration`: mailboxes that the server reads by itself."""

from __future__ import annotations

from typing import IO, Any, Final, Literal

import click

from lodestream.cli.options import Commands, confirm, json_option, yes_option
from lodestream.cli.output import duration, show_one, show_rows
from lodestream.cli.remote import body_of, body_option, named, server_options
from lodestream.client import Client
from lodestream.client.calls import full_name, part

_PATH: Final = "/api/lodestream/v1/integrations"
_COLUMNS: Final = ("owner", "name", "type", "title", "enabled", "mailboxes", "id")
_STATES: Final = (
    "integration",
    "email",
    "status",
    "last_synced_at",
    "lag",
    "emails_read",
    "emails_failed",
    "folders",
    "error",
)
_ERRORS: Final = ("created_at", "error_details.kind", "disabled", "error_text")


class _Name(click.ParamType[str]):
    """`PROJECT/NAME` of an integration."""

    name = "integration"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Return the name as it is."""
        try:
            full_name(value)
        except ValueError:
            self.fail(f"{value!r} is no integration: PROJECT/NAME expected", param, ctx)
        return str(value)


INTEGRATION: Final = _Name()
_ARGUMENT: Final = click.argument("name", type=INTEGRATION, metavar="PROJECT/INTEGRATION")
_MAILBOX: Final = click.argument("mailbox", required=False)


@click.group(cls=Commands)
def integration() -> None:
    """Integrations: mailboxes that the server reads by itself."""


@integration.command("list")
@click.argument("project", required=False)
@json_option
@server_options
def list_integrations(client: Client, project: str | None, as_json: bool) -> None:
    """List all integrations that you see, or those of a PROJECT."""
    found = _listed(client, project)
    show_rows(found if as_json else map(_row, found), _COLUMNS, as_json=as_json)


@integration.command("get")
@_ARGUMENT
@json_option
@server_options
def get(client: Client, name: str, as_json: bool) -> None:
    """Show an integration, without its secrets, in the form that `update --file` takes."""
    show_one(_get(client, name), as_json=as_json)


@integration.command("status")
@click.argument("name", type=INTEGRATION, metavar="PROJECT/INTEGRATION", required=False)
@json_option
@server_options
def status(client: Client, name: str | None, as_json: bool) -> None:
    """Show how mailboxes do: when they were last read to their end, what was read, what fails."""
    found = _listed(client, None) if name is None else [_get(client, name)]
    rows = [
        {"integration": named(one), **state} for one in found for state in one["mailbox_states"]
    ]
    if not as_json:
        rows = [{**one, "lag": _lag(one["lag_s"])} for one in rows]
    show_rows(rows, _STATES, as_json=as_json)


@integration.command("create")
@_ARGUMENT
@click.option(
    "--type",
    "kind",
    type=click.Choice(["imap", "exchange_online"]),
    help="What it connects to, unless the file says so.",
)
@click.option("--title", help="Its title, for people.")
@click.option("--enabled/--disabled", default=None, help="Whether it is read at once.")
@body_option
@json_option
@server_options
def create(
    client: Client,
    name: str,
    kind: str | None,
    title: str | None,
    enabled: bool | None,
    file: IO[bytes] | None,
    as_json: bool,
) -> None:
    """Create an integration; the file holds its `configuration`, with the secrets."""
    body = body_of(file, integration_type=kind, title=title, enabled=enabled)
    _put(client, "PUT", name, _settings(body), as_json=as_json)


@integration.command("update")
@_ARGUMENT
@click.option("--title", help="Its title, for people.")
@body_option
@json_option
@server_options
def update(
    client: Client, name: str, title: str | None, file: IO[bytes] | None, as_json: bool
) -> None:
    """Change an integration. A `configuration` replaces the former; absent secrets stay."""
    body = body_of(file, title=title)
    kind = body.get("integration_type") or body.get("type") or _get(client, name)["type"]
    settings = _settings(body) | {"integration_type": kind}
    _put(client, "POST", name, settings, as_json=as_json)


@integration.command("delete")
@_ARGUMENT
@yes_option
@server_options
def delete(client: Client, name: str, yes: bool) -> None:
    """Delete an integration; its buckets stay, with their e-mails."""
    confirm(f"Delete the integration {name}?", yes=yes)
    client.call("DELETE", _path(name))


@integration.command("errors")
@_ARGUMENT
@json_option
@server_options
def errors(client: Client, name: str, as_json: bool) -> None:
    """Show why the server disabled the integration or a mailbox, the newest first."""
    found = client.call("GET", _path(name) + "/errors")["errors"]
    if not as_json:
        found = [
            {**one, "disabled": one["error_action"].get("mailbox_name", "the integration")}
            for one in found
        ]
    show_rows(found, _ERRORS, as_json=as_json)


@integration.command("enable")
@_ARGUMENT
@_MAILBOX
@server_options
def enable(client: Client, name: str, mailbox: str | None) -> None:
    """Switch an integration on, or one MAILBOX of it, after what was wrong is repaired."""
    _switch(client, name, mailbox, "enable")


@integration.command("disable")
@_ARGUMENT
@_MAILBOX
@server_options
def disable(client: Client, name: str, mailbox: str | None) -> None:
    """Switch an integration off, or one MAILBOX of it."""
    _switch(client, name, mailbox, "disable")


@integration.command("sync")
@_ARGUMENT
@_MAILBOX
@server_options
def sync(client: Client, name: str, mailbox: str | None) -> None:
    """Let all mailboxes be read now, or one MAILBOX, without waiting for the next turn."""
    body = {} if mailbox is None else {"mailbox": mailbox}
    count = client.call("POST", _path(name) + "/sync", body, idempotent=True)["mailboxes"]
    click.echo(f"{count} mailboxes will be read now")


def _switch(
    client: Client, name: str, mailbox: str | None, what: Literal["enable", "disable"]
) -> None:
    if mailbox is None:
        client.call("POST", f"{_path(name)}/{what}", idempotent=True)
        return
    found = _get(client, name)
    boxes = found["configuration"]["mailboxes"]
    chosen = [one for one in boxes if one["email"].lower() == mailbox.lower()]
    if not chosen:
        raise click.UsageError(f"{name} has no mailbox {mailbox}")
    for one in chosen:
        one["enabled"] = what == "enable"
    settings = {
        "integration_type": found["type"],
        "configuration": found["configuration"],
        # Of two who change it at once, the second is told.
        "updated_at": found["updated_at"],
    }
    client.call("POST", _path(name), {"integration": settings})


def _put(
    client: Client, method: str, name: str, settings: dict[str, Any], *, as_json: bool
) -> None:
    made = client.call(method, _path(name), {"integration": settings})["integration"]
    show_one(made, as_json=as_json)


def _settings(body: dict[str, Any]) -> dict[str, Any]:
    """Return what may be set; what `get` shows besides is left out, so that it can be sent back."""
    shown = {"id", "owner", "name", "type", "created_at", "mailbox_states", "disabled_reason"}
    return {name: value for name, value in body.items() if name not in shown}


def _listed(client: Client, project: str | None) -> list[dict[str, Any]]:
    path = _PATH if project is None else f"{_PATH}/{part(project)}"
    found: list[dict[str, Any]] = client.call("GET", path)["integrations"]
    return found


def _get(client: Client, name: str) -> dict[str, Any]:
    found: dict[str, Any] = client.call("GET", _path(name))["integration"]
    return found


def _path(name: str) -> str:
    return f"{_PATH}/{full_name(name)}"


def _row(one: dict[str, Any]) -> dict[str, Any]:
    return {**one, "mailboxes": len(one["mailbox_states"])}


def _lag(seconds: float | None) -> str | None:
    return None if seconds is None else duration(seconds)
