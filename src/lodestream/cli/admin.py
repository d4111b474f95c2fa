"""`lodestream audit` and `lodestream quota`: who did what, and how much there may be."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Any, Final

import click

from lodestream.cli.options import Commands, json_option
from lodestream.cli.output import show_rows
from lodestream.cli.remote import answer, at_most, limit_option, server_options
from lodestream.client import Client, admin_operations, operations

_EVENTS: Final = ("timestamp", "event_type", "actor", "about")
_QUOTAS: Final = ("quota_kind", "current_max_usage", "hard_limit", "auto_increase_up_to")
_PAGE: Final = 128
_INSTANT: Final = click.DateTime(["%Y-%m-%dT%H:%M:%S%z", "%Y-%m-%dT%H:%M:%S.%f%z"])


@click.group(cls=Commands)
def audit() -> None:
    """The audit log: who changed what."""


@audit.command("list")
@click.option("--from-timestamp", "minimum", type=_INSTANT, metavar="TIMESTAMP", help="From then.")
@click.option("--to-timestamp", "maximum", type=_INSTANT, metavar="TIMESTAMP", help="Before then.")
@limit_option
@json_option
@server_options
def list_events(
    client: Client,
    minimum: datetime | None,
    maximum: datetime | None,
    limit: int | None,
    as_json: bool,
) -> None:
    """List what was done, the oldest first; times as 2024-01-31T12:00:00Z."""
    found = at_most(limit, _events(client, minimum, maximum, as_json), as_json=as_json)
    show_rows(found, _EVENTS, as_json=as_json)


def _events(
    client: Client, minimum: datetime | None, maximum: datetime | None, as_json: bool
) -> Iterator[dict[str, Any]]:
    continuation: str | None = None
    while True:
        call = operations.audit_page(
            minimum=minimum, maximum=maximum, continuation=continuation, limit=_PAGE
        )
        page = answer(client, call)
        for event in page["audit_events"]:
            yield event if as_json else _row(event, page)
        continuation = page.get("continuation")
        if continuation is None:
            return


def _row(event: dict[str, Any], page: dict[str, Any]) -> dict[str, Any]:
    users = {one["id"]: one["username"] for one in page["users"]}
    about = []
    for kind in ("project", "source", "dataset", "trigger", "user"):
        names = {one["id"]: one.get("username") or one.get("name") for one in page[f"{kind}s"]}
        about += [f"{kind} {names.get(one, one)}" for one in event.get(f"{kind}_ids", ())]
    actor = event["actor_user_id"]
    return {**event, "actor": users.get(actor, actor), "about": ", ".join(about)}


@click.group(cls=Commands)
def quota() -> None:
    """Quotas: how much of everything there may be."""


@quota.command("list")
@json_option
@server_options
def list_quotas(client: Client, as_json: bool) -> None:
    """List the quotas with what is in use now."""
    found = answer(client, admin_operations.quotas())["quotas"]
    show_rows(found, _QUOTAS, as_json=as_json)


@quota.command("set")
@click.argument("kind")
@click.argument("hard_limit", type=click.IntRange(0))
@click.option(
    "--auto-increase-up-to",
    type=click.IntRange(0),
    metavar="LIMIT",
    help="How far users may raise it themselves.",
)
@server_options
def set_quota(client: Client, kind: str, hard_limit: int, auto_increase_up_to: int | None) -> None:
    """Set the limit of a KIND of things, as `quota list` names it."""
    (tenant,) = client.call("GET", "/api/_private/tenants")["tenants"]
    client.set_quota(
        kind,
        hard_limit,
        tenant_id=tenant["tenant_id"],
        auto_increase_up_to=auto_increase_up_to,
    )
