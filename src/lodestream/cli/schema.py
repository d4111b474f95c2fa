"""`lodestream migrate`: the database's schema."""

from __future__ import annotations

from pathlib import Path

import click

from lodestream.cli.database import any_database, database_options, migrate_database, settings_from
from lodestream.cli.options import json_option
from lodestream.cli.output import print_json
from lodestream.store.migrate import schema_version


@click.command()
@click.option("--check", is_flag=True, help="Only tell; exit code 1 if there is something to do.")
@json_option
@database_options
@click.pass_context
def migrate(
    ctx: click.Context, check: bool, as_json: bool, data: Path | None, database_url: str | None
) -> None:
    """Bring the database's schema to the version that this program needs."""
    settings = settings_from(data=data, database_url=database_url)
    with any_database(settings) as db:
        before = schema_version(db)
        if not check:
            migrate_database(db)
        after = schema_version(db)
    if as_json:
        print_json({"before": before.current, "now": after.current, "needed": after.needed})
    elif before.current == after.current:
        state = "is current" if after.is_current else f"is not {after.needed}"
        click.echo(f"schema {after.current or '(none)'} {state}")
    else:
        click.echo(f"schema {before.current or '(none)'} became {after.current}")
    if not after.is_current:
        ctx.exit(1)
