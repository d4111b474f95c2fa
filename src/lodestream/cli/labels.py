"""`lodestream label` and `lodestream label-group`: what a dataset's comments may be about."""

from __future__ import annotations

from typing import IO, Any, Final

import click

from lodestream.cli.options import Commands, Failed, confirm, json_option, yes_option
from lodestream.cli.output import show_one, show_rows
from lodestream.cli.remote import (
    DATASET,
    answer,
    body_of,
    body_option,
    dataset_name,
    server_options,
)
from lodestream.client import Client, NotFound, label_operations

_COLUMNS: Final = ("name", "title", "instructions", "external_id")
_GROUP = click.option(
    "--group",
    metavar="NAME",
    default=label_operations.DEFAULT_GROUP,
    show_default=True,
    help="The label group.",
)
_DATASET = click.argument("dataset", type=DATASET)


@click.group(cls=Commands)
def label() -> None:
    """Labels of a dataset: list, create, rename, merge, delete."""


def _settings(command: Any) -> Any:
    """Add the options for what a label is created or changed with."""
    for option in (
        click.option("--external-id", metavar="ID", help="What another system calls it."),
        click.option("--instructions", help="When it applies."),
        click.option("--title", help="Its title, for people."),
    ):
        command = option(command)
    return body_option(command)


@label.command("list")
@_DATASET
@_GROUP
@json_option
@server_options
def list_labels(client: Client, dataset: str, group: str, as_json: bool) -> None:
    """List the labels of a group."""
    found = answer(client, label_operations.label_group(dataset_name(client, dataset), group))
    show_rows(found["label_group"]["label_defs"], _COLUMNS, as_json=as_json)


@label.command("create")
@_DATASET
@click.argument("names", metavar="NAME...", nargs=-1, required=True)
@_GROUP
@_settings
@server_options
def create(
    client: Client,
    dataset: str,
    names: tuple[str, ...],
    group: str,
    file: IO[bytes] | None,
    **given: Any,
) -> None:
    """Create labels, such as "Claim > Status"; those that exist get the settings given."""
    settings = body_of(file, **given)
    labels = [{**settings, "name": name} for name in names]
    client.run(label_operations.put_labels(dataset_name(client, dataset), labels, group=group))


@label.command("update")
@_DATASET
@click.argument("name")
@_GROUP
@_settings
@json_option
@server_options
def update(
    client: Client,
    dataset: str,
    name: str,
    group: str,
    file: IO[bytes] | None,
    as_json: bool,
    **given: Any,
) -> None:
    """Change some settings of a label."""
    fields = body_of(file, **given)
    where = dataset_name(client, dataset)
    changed = answer(client, label_operations.update_label(where, name, group=group, **fields))
    show_one(changed["label"], as_json=as_json)


@label.command("rename")
@_DATASET
@click.argument("name")
@click.argument("new_name")
@_GROUP
@server_options
def rename(client: Client, dataset: str, name: str, new_name: str, group: str) -> None:
    """Give a label, and all below it, a new name; annotations go along."""
    where = dataset_name(client, dataset)
    if _exists(client, where, new_name, group):
        raise Failed(f"there is a label {new_name!r} already: `label merge` makes one of both")
    _tell(client.update_label(where, name, group=group, name=new_name))


@label.command("merge")
@_DATASET
@click.argument("name")
@click.argument("into")
@_GROUP
@yes_option
@server_options
def merge(client: Client, dataset: str, name: str, into: str, group: str, yes: bool) -> None:
    """Merge a label into another: comments that had NAME have INTO, and NAME is gone."""
    where = dataset_name(client, dataset)
    if not _exists(client, where, into, group):
        raise Failed(f"there is no label {into!r}: `label rename` gives {name!r} that name")
    confirm(f"Merge the label {name!r} into {into!r}?", yes=yes)
    _tell(client.update_label(where, name, group=group, name=into))


@label.command("delete")
@_DATASET
@click.argument("name")
@_GROUP
@yes_option
@server_options
def delete(client: Client, dataset: str, name: str, group: str, yes: bool) -> None:
    """Delete a label and all below it, from annotations, too."""
    where = dataset_name(client, dataset)
    confirm(f"Delete the label {name!r} and all below it from {where}?", yes=yes)
    _tell(client.delete_label(where, name, group=group))


def _exists(client: Client, dataset: str, name: str, group: str) -> bool:
    try:
        client.run(label_operations.label(dataset, name, group=group))
    except NotFound:
        return False
    return True


def _tell(modified: int) -> None:
    click.echo(f"{modified} comments changed")


@click.group("label-group", cls=Commands)
def label_group() -> None:
    """Groups of labels."""


@label_group.command("list")
@_DATASET
@json_option
@server_options
def list_groups(client: Client, dataset: str, as_json: bool) -> None:
    """List the label groups of a dataset."""
    found = answer(client, label_operations.label_groups(dataset_name(client, dataset)))
    rows = found["label_groups"]
    if not as_json:
        rows = [{**one, "labels": len(one["label_defs"])} for one in rows]
    show_rows(rows, ("name", "labels", "hidden", "instructions"), as_json=as_json)


@label_group.command("create")
@_DATASET
@click.argument("name")
@click.option("--instructions", help="What its labels are for.")
@body_option
@server_options
def create_group(
    client: Client, dataset: str, name: str, instructions: str | None, file: IO[bytes] | None
) -> None:
    """Create an empty label group."""
    fields = body_of(file, instructions=instructions)
    client.create_label_group(dataset_name(client, dataset), name, **fields)


@label_group.command("delete")
@_DATASET
@click.argument("name")
@yes_option
@server_options
def delete_group(client: Client, dataset: str, name: str, yes: bool) -> None:
    """Delete a label group with its labels."""
    where = dataset_name(client, dataset)
    confirm(f"Delete the label group {name!r} of {where} with its labels?", yes=yes)
    client.delete_label_group(where, name)
