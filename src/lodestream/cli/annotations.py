"""`lodestream annotation`: what was said of a comment, by whom, and the way back."""

from __future__ import annotations

from typing import Any, Final

import click

from lodestream.cli.options import Commands, json_option
from lodestream.cli.output import show_one, show_rows
from lodestream.cli.remote import DATASET, answer, dataset_name, limit_option, server_options
from lodestream.client import Client, label_operations

_COLUMNS: Final = ("revision", "timestamp", "username", "before", "after")
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
    where = dataset_name(client, dataset)
    rows: list[dict[str, Any]] = []
    older_than: int | None = None
    while limit is None or len(rows) < limit:
        page = answer(
            client,
            label_operations.annotation_history(
                where, uid, limit=64, older_than_revision=older_than
            ),
        )["events"]
        if not page:
            break
        rows += page
        older_than = page[-1]["revision"]
    rows = rows[:limit]
    show_rows(rows if as_json else map(_row, rows), _COLUMNS, as_json=as_json)


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
