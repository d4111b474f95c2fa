"""`lodestream annotation`: what was said of a comment, by whom, and the way back."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import click

from lodestream.cli.options import Commands, json_option
from lodestream.cli.output import show_one, show_rows
from lodestream.cli.remote import (
    DATASET,
    answer,
    at_most,
    dataset_name,
    limit_option,
    server_options,
)
from lodestream.client import Client, label_operations

_COLUMNS: Final = ("revision", "timestamp", "username", "before", "after")
_PAGE: Final = 64
_DATASET = click.argument("dataset", type=DATASET)


@click.group(cls=Commands)
def annotation() -> None:
    """Annotations of a comment: their history, and the way back."""


@annotation.command("history")
@_DATASET
@click.argument("uid")
@limit_option
@json_option
@server_options
def history(client: Client, dataset: str, uid: str, limit: int | None, as_json: bool) -> None:
    """Show the changes of the annotations of the comment UID, the newest first."""
    events = _events(client, dataset_name(client, dataset), uid)
    found = at_most(limit, events, as_json=as_json)
    show_rows(found if as_json else map(_row, found), _COLUMNS, as_json=as_json)


def _events(client: Client, dataset: str, uid: str) -> Iterator[dict[str, Any]]:
    older_than: int | None = None
    while True:
        call = label_operations.annotation_history(
            dataset, uid, limit=_PAGE, older_than_revision=older_than
        )
        page = answer(client, call)["events"]
        yield from page
        if len(page) < _PAGE:
            return
        older_than = page[-1]["revision"]


def _row(event: dict[str, Any]) -> dict[str, Any]:
    return {**event, "before": _labels(event["before"]), "after": _labels(event["after"])}


def _labels(state: dict[str, Any]) -> str:
    groups = state["labelling"]
    groups = groups if isinstance(groups, list) else [groups]
    assigned = [one["name"] for group in groups for one in group.get("assigned", ())]
    dismissed = [f"not {one['name']}" for group in groups for one in group.get("dismissed", ())]
    return ", ".join(assigned + dismissed)


@annotation.command("undo")
@_DATASET
@click.argument("uid")
@click.option("--revision", type=click.IntRange(0), help="Which change; the last one if not given.")
@json_option
@server_options
def undo(client: Client, dataset: str, uid: str, revision: int | None, as_json: bool) -> None:
    """Take back a change of the annotations of the comment UID; that is a change, too."""
    where = dataset_name(client, dataset)
    done = answer(client, label_operations.undo_annotation(where, uid, revision=revision))
    done.pop("status")
    show_one(done, as_json=as_json)
