"""`lodestream model`: the versions of what a dataset has learnt."""

from __future__ import annotations

from typing import IO, Any, Final, Literal

import click

from lodestream.cli.options import Commands, json_option
from lodestream.cli.output import show_one, show_rows
from lodestream.cli.remote import (
    DATASET,
    answer,
    body_of,
    dataset_name,
    read_object,
    server_options,
)
from lodestream.client import Client, model_operations

Tag = Literal["live", "staging"]

_COLUMNS: Final = (
    "version", "trained_time", "pinned", "tags", "validated", "used_by_triggers",
    "settings.starred", "settings.description",
)  # fmt: skip
_VALIDATION: Final = (
    "version", "dataset_score", "dataset_quality", "num_reviewed_comments", "num_labels",
    "num_amber_labels", "num_red_labels", "mean_average_precision_safe", "balance", "coverage",
)  # fmt: skip
_TAGS: Final = click.Choice(["live", "staging"])
_DATASET = click.argument("dataset", type=DATASET)
_VERSION = click.argument("version", type=click.IntRange(0))


@click.group(cls=Commands)
def model() -> None:
    """Model versions of a dataset: list, pin, tag, validate, predict."""


@model.command("list")
@_DATASET
@json_option
@server_options
def list_models(client: Client, dataset: str, as_json: bool) -> None:
    """List the versions of a dataset's model, the newest first."""
    found = answer(client, model_operations.models(dataset_name(client, dataset)))
    tags: dict[int, list[str]] = {}
    for one in found["model_tags"]:
        tags.setdefault(one["version"], []).append(one["name"])
    rows = [{**one, "tags": tags.get(one["version"], [])} for one in found["labellers"]]
    show_rows(rows, _COLUMNS, as_json=as_json)


@model.command("pin")
@_DATASET
@_VERSION
@server_options
def pin(client: Client, dataset: str, version: int) -> None:
    """Keep a version for good, so that streams and predictions may use it."""
    client.pin_model(dataset_name(client, dataset), version)


@model.command("unpin")
@_DATASET
@_VERSION
@server_options
def unpin(client: Client, dataset: str, version: int) -> None:
    """No longer keep a version for good; refused while a stream or a tag needs it."""
    client.unpin_model(dataset_name(client, dataset), version)


@model.command("tag")
@_DATASET
@_VERSION
@click.argument("tag", type=_TAGS)
@server_options
def tag(client: Client, dataset: str, version: int, tag: Tag) -> None:
    """Call a pinned version live or staging."""
    client.tag_model(dataset_name(client, dataset), version, tag)


@model.command("untag")
@_DATASET
@click.argument("tag", type=_TAGS)
@server_options
def untag(client: Client, dataset: str, tag: Tag) -> None:
    """Call no version live, or staging, any more."""
    client.untag_model(dataset_name(client, dataset), tag)


@model.command("update")
@_DATASET
@_VERSION
@click.option("--starred/--not-starred", default=None, help="Mark it, or not.")
@click.option("--description", help="What to remember about it.")
@json_option
@server_options
def update(
    client: Client,
    dataset: str,
    version: int,
    starred: bool | None,
    description: str | None,
    as_json: bool,
) -> None:
    """Star or describe a version."""
    fields = body_of(None, starred=starred, description=description)
    call = model_operations.update_model(dataset_name(client, dataset), version, **fields)
    show_one(answer(client, call)["labeller"], as_json=as_json)


@model.command("validation")
@_DATASET
@click.argument("version")
@click.option("--labels", is_flag=True, help="Label by label, with everything that was measured.")
@json_option
@server_options
def validation(client: Client, dataset: str, version: str, labels: bool, as_json: bool) -> None:
    """Show how good a VERSION is."""
    where = dataset_name(client, dataset)
    if labels:
        found = client.run(model_operations.whole_validation(where, version))
        show_one(found, as_json=as_json)
        return
    found = client.validation(where, version)
    show_one(found, as_json=as_json, columns=_VALIDATION)


@model.command("predict")
@_DATASET
@click.argument("version")
@click.option("--text", help="The text to predict for.")
@click.option(
    "--file", type=click.File("rb"), help='JSON as the API takes it: {"documents": […]} and so on.'
)
@json_option
@server_options
def predict(
    client: Client,
    dataset: str,
    version: str,
    text: str | None,
    file: IO[bytes] | None,
    as_json: bool,
) -> None:
    """Predict the labels of a text; VERSION is a pinned one, or live or staging."""
    if (text is None) == (file is None):
        raise click.UsageError("give either --text or --file")
    asked: dict[str, Any] = {"documents": [{"messages": [{"body": {"text": text}}]}]}
    if file is not None:
        asked = read_object(file)
    call = model_operations.predict(
        dataset_name(client, dataset), version, asked.pop("documents", ()), asked.get("threshold")
    )
    found = answer(client, call)
    if as_json:
        show_one(found, as_json=True)
        return
    rows = [
        {"document": at, "label": " > ".join(one["name"]), "probability": one["probability"]}
        for at, labels in enumerate(found["predictions"], 1)
        for one in labels
    ]
    show_rows(rows, ("document", "label", "probability"), as_json=False)
