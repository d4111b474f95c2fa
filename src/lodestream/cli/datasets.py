"""`lodestream dataset`: sources seen together, with labels, models and streams."""

from __future__ import annotations

from typing import IO, Any, Final

import click

from lodestream.cli.options import Commands, confirm, json_option, yes_option
from lodestream.cli.output import show_one, show_rows
from lodestream.cli.remote import (
    DATASET,
    SOURCE,
    answer,
    body_of,
    body_option,
    dataset_name,
    find_dataset,
    find_source,
    server_options,
    time_range,
    time_range_options,
)
from lodestream.client import Client, operations

_COLUMNS: Final = ("owner", "name", "title", "id", "model_family", "has_sentiment", "last_modified")
_SHOWN: Final = (
    "id", "owner", "name", "title", "description", "model_family", "has_sentiment", "created",
    "last_modified", "source_ids", "labels", "general_fields",
)  # fmt: skip


@click.group(cls=Commands)
def dataset() -> None:
    """Datasets: sources seen together, with labels, models and streams."""


def _settings(command: Any) -> Any:
    """Add the options for what a dataset is created or changed with."""
    for option in (
        click.option(
            "--source",
            "-s",
            "sources",
            type=SOURCE,
            multiple=True,
            help="A source to see; may be repeated.",
        ),
        click.option("--description", help="What it is for."),
        click.option("--title", help="Its title, for people."),
    ):
        command = option(command)
    return json_option(body_option(command))


def _fields(
    client: Client, file: IO[bytes] | None, sources: tuple[str, ...], **options: Any
) -> dict[str, Any]:
    if sources:
        options["source_ids"] = [find_source(client, one)["id"] for one in sources]
    return body_of(file, **options)


def _show(found: dict[str, Any], *, as_json: bool) -> None:
    labels = [one["name"] for one in found["label_defs"]]
    fields = [one["api_name"] for one in found["general_fields"]]
    row = found if as_json else {**found, "labels": ", ".join(labels), "general_fields": fields}
    show_one(row, as_json=as_json, columns=_SHOWN)


@dataset.command("list")
@click.argument("project", required=False)
@json_option
@server_options
def list_datasets(client: Client, project: str | None, as_json: bool) -> None:
    """List all datasets that you see, or those of a PROJECT."""
    found = answer(client, operations.datasets(project))["datasets"]
    show_rows(found, _COLUMNS, as_json=as_json)


@dataset.command("get")
@click.argument("name", type=DATASET)
@json_option
@server_options
def get(client: Client, name: str, as_json: bool) -> None:
    """Show a dataset."""
    _show(find_dataset(client, name), as_json=as_json)


@dataset.command("create")
@click.argument("name", type=DATASET)
@_settings
@click.option("--has-sentiment/--no-has-sentiment", default=None)
@click.option("--model-family", help="The language of its comments, such as english.")
@click.option(
    "--copy-annotations-from", "copied", type=DATASET, help="A dataset to take labels over from."
)
@server_options
def create(
    client: Client,
    name: str,
    file: IO[bytes] | None,
    as_json: bool,
    copied: str | None,
    **given: Any,
) -> None:
    """Create a dataset, empty or as a copy of another one's labels and annotations."""
    copy_from = None if copied is None else find_dataset(client, copied)["id"]
    fields = _fields(client, file, copy_annotations_from=copy_from, **given)
    _show(answer(client, operations.create_dataset(name, **fields))["dataset"], as_json=as_json)


@dataset.command("update")
@click.argument("name", type=DATASET)
@_settings
@server_options
def update(client: Client, name: str, file: IO[bytes] | None, as_json: bool, **given: Any) -> None:
    """Change some settings of a dataset; --source names all its sources anew."""
    fields = _fields(client, file, **given)
    call = operations.update_dataset(dataset_name(client, name), **fields)
    _show(answer(client, call)["dataset"], as_json=as_json)


@dataset.command("delete")
@click.argument("name", type=DATASET)
@yes_option
@server_options
def delete(client: Client, name: str, yes: bool) -> None:
    """Delete a dataset with its labels, annotations, models and streams; sources stay."""
    name = dataset_name(client, name)
    confirm(f"Delete the dataset {name} with its labels, models and streams?", yes=yes)
    client.delete_dataset(name)


@dataset.command("statistics")
@click.argument("name", type=DATASET)
@time_range_options
@body_option
@json_option
@server_options
def statistics(
    client: Client, name: str, file: IO[bytes] | None, as_json: bool, **times: str | None
) -> None:
    """Count the comments of a dataset, by label; --file asks for more, as the API has it."""
    asked = body_of(file, comment_filter=time_range(times) or None)
    call = operations.dataset_statistics(dataset_name(client, name), **asked)
    found = answer(client, call)["statistics"]
    if as_json:
        show_one(found, as_json=True)
        return
    counts = found.get("label_counts") or {}
    rows = [{"label": name, **both} for name, both in sorted(counts.items())]
    show_one(found, as_json=False, columns=("num_comments", "min_timestamp", "max_timestamp"))
    if rows:
        click.echo()
        show_rows(rows, tuple(rows[0]), as_json=False)


@dataset.command("status")
@click.argument("name", type=DATASET)
@json_option
@server_options
def status(client: Client, name: str, as_json: bool) -> None:
    """Show how far training, validation and predictions are."""
    found = client.dataset_status(dataset_name(client, name))
    show_one(found, as_json=as_json)
