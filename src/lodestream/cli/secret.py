"""`lodestream secret`: the keys that secrets of integrations and sinks are encrypted with."""

from __future__ import annotations

from pathlib import Path

import click

from lodestream.cli.database import database_options, migrated_database, settings_from
from lodestream.cli.options import Commands
from lodestream.domain import secrets
from lodestream.domain.secrets import Keyring
from lodestream.store import sealed


@click.group(cls=Commands)
def secret() -> None:
    """Keys that passwords of integrations and sinks are encrypted with."""


@secret.command("new-key")
def new_key() -> None:
    """Make a key for LODESTREAM_SECRET_KEY and print it.

    Keep it as safe as the passwords, and apart from backups: without it they cannot be read.
    """
    click.echo(secrets.new_key())


@secret.command("renew")
@database_options
def renew(data: Path | None, database_url: str | None) -> None:
    """Encrypt everything anew, with the first key of LODESTREAM_SECRET_KEY.

    To change the key, put a new one in front of the old one, restart all servers and workers, call
    this, and take the old one away. Changes nothing if there is a secret that no key opens.
    """
    settings = settings_from(data=data, database_url=database_url)
    keyring = Keyring(settings.secret_key)
    with migrated_database(settings) as db, db.write() as tx:
        count = sealed.renew(tx, keyring.resealed)
    click.echo(f"{count} encrypted with the first key")
