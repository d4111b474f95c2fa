"""`lodestream secret`: the keys that secrets of integrations and sinks are encrypted with."""

from __future__ import annotations

import click

from lodestream.cli.options import Commands
from lodestream.domain import secrets


@click.group(cls=Commands)
def secret() -> None:
    """Keys that passwords of integrations and sinks are encrypted with."""


@secret.command("new-key")
def new_key() -> None:
    """Make a key for LODESTREAM_SECRET_KEY and print it.

    Keep it as safe as the passwords, and apart from backups: without it they cannot be read.
    """
    click.echo(secrets.new_key())
