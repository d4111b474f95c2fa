"""`lodestream stream verify`: the order of what is stored, read again in the database itself."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from lodestream.actions.verify import Report, verify
from lodestream.cli.database import any_database, database_options, settings_from
from lodestream.cli.options import Failed, json_option, progress_option
from lodestream.cli.output import Progress, print_json
from lodestream.domain.errors import NotFound
from lodestream.store.catalogue import Catalogue
from lodestream.store.db import Database
from lodestream.store.migrate import schema_version


@click.command("verify")
@click.argument("dataset", metavar="[PROJECT/DATASET]", required=False)
@json_option
@progress_option
@database_options
@click.pass_context
def verify_order(
    ctx: click.Context,
    dataset: str | None,
    as_json: bool,
    no_progress: bool,
    data: Path | None,
    database_url: str | None,
) -> None:
    """Read the order of stored comments again and report what is wrong.

    Works on the database itself, of a dataset or of everything, also while the server runs. Exit
    code 1 if there are holes, duplicates or comments out of order.
    """
    with any_database(settings_from(data=data, database_url=database_url)) as db:
        version = schema_version(db)
        if not version.is_current:
            raise Failed(f"the schema is not {version.needed}: run `lodestream migrate`")
        dataset_id = None if dataset is None else _dataset_id(db, dataset)
        with Progress("verify", "rows", shown=not no_progress) as progress:
            report = verify(db, dataset_id=dataset_id, progress=progress.advance)
    if as_json:
        print_json(_as_json(report))
    else:
        _print_report(report)
    if not report.is_clean:
        ctx.exit(1)


def _dataset_id(db: Database, name: str) -> str:
    owner, slash, dataset_name = name.partition("/")
    if not slash or not owner or not dataset_name or "/" in dataset_name:
        raise click.UsageError(f"{name!r} is no dataset: PROJECT/NAME expected")
    found = Catalogue(db).find_dataset(owner, dataset_name)
    if found is None:
        raise NotFound(f"No such dataset: {name}")
    return found.id


def _as_json(report: Report) -> dict[str, Any]:
    return {
        "comments": report.comments,
        "streams": report.streams,
        "found": report.found,
        "findings": [
            {
                "kind": one.kind,
                "what": one.what,
                "source_id": one.source_id,
                "position": one.position,
            }
            for one in report.findings
        ],
    }


def _print_report(report: Report) -> None:
    for one in report.findings:
        where = "" if one.source_id is None else f"source {one.source_id}: "
        at = "" if one.position is None else f" (at {one.position})"
        click.echo(f"{where}{one.what}{at}")
    unlisted = sum(report.found.values()) - len(report.findings)
    if unlisted:
        click.echo(f"… and {unlisted} more")
    checked = f"{report.comments} comments and {report.streams} streams checked"
    click.echo(f"{checked}: {sum(report.found.values()) or 'nothing'} wrong")
