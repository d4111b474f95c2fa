"""The command `lodestream`.

Exit codes: 0 the command did what it says; 1 it was refused, failed or found something wrong; 2 it
was called wrongly; 3 the server or the database could not be reached.
"""

from __future__ import annotations

from typing import Final

import click
from click.shell_completion import get_completion_class

from lodestream import __version__
from lodestream.cli.options import Commands, Deferred

_SHELLS = ("bash", "zsh", "fish")

COMMANDS: Final = {
    "serve": Deferred("lodestream.cli.serve:serve", "Serve the API and do the background work."),
    "demo": Deferred(
        "lodestream.cli.demo:demo",
        "Serve sample data, and print commands that read it through a stream.",
    ),
    "worker": Deferred(
        "lodestream.cli.work:worker",
        "Do background work: train models, predict, read mailboxes, deliver to sinks, tidy up.",
    ),
    "migrate": Deferred(
        "lodestream.cli.schema:migrate",
        "Bring the database's schema to the version that this program needs.",
    ),
    "doctor": Deferred(
        "lodestream.cli.doctor:doctor", "Check what a server needs, and explain what is wrong."
    ),
    "encoder": Deferred("lodestream.cli.encoder:encoder", "Models that turn texts into vectors."),
    "context": Deferred(
        "lodestream.cli.context_commands:context",
        "Servers by name, with a token each, that commands talk to.",
    ),
    "project": Deferred(
        "lodestream.cli.projects:project", "Projects, which everything else belongs to."
    ),
    "source": Deferred(
        "lodestream.cli.sources:source", "Sources: collections of comments of one kind."
    ),
    "comment": Deferred(
        "lodestream.cli.comment_commands:comment",
        "Comments: get, list, query, delete; see also `import` and `export`.",
    ),
    "attachment": Deferred(
        "lodestream.cli.comment_commands:attachment", "Files that belong to comments."
    ),
    "bucket": Deferred(
        "lodestream.cli.buckets:bucket",
        "Buckets: collections of raw e-mails that sources read from.",
    ),
    "integration": Deferred(
        "lodestream.cli.integrations:integration",
        "Integrations: mailboxes that the server reads by itself.",
    ),
    "dataset": Deferred(
        "lodestream.cli.datasets:dataset",
        "Datasets: sources seen together, with labels, models and streams.",
    ),
    "label": Deferred(
        "lodestream.cli.labels:label",
        "Labels of a dataset: list, create, rename, merge, delete.",
    ),
    "label-group": Deferred("lodestream.cli.labels:label_group", "Groups of labels."),
    "annotation": Deferred(
        "lodestream.cli.annotations:annotation",
        "Annotations of a comment: their history, and the way back.",
    ),
    "model": Deferred(
        "lodestream.cli.models:model",
        "Model versions of a dataset: list, pin, tag, validate, predict.",
    ),
    "audit": Deferred("lodestream.cli.admin:audit", "The audit log: who changed what."),
    "quota": Deferred("lodestream.cli.admin:quota", "Quotas: how much of everything there may be."),
    "stream": Deferred(
        "lodestream.cli.streams:stream", "Streams: definitions, how they do, listen, move, verify."
    ),
    "sink": Deferred(
        "lodestream.cli.sinks:sink",
        "Sinks: webhooks, indexes, topics, tables and files that follow a stream.",
    ),
    "import": Deferred(
        "lodestream.cli.imports:import_file",
        "Store what is in FILE: tables, JSON lines, e-mails, archives of the vendor's client.",
    ),
    "connect": Deferred(
        "lodestream.cli.connect:connect",
        "Read mailboxes from here, and send what is new to buckets of a server elsewhere.",
    ),
    "export": Deferred(
        "lodestream.cli.exports:export_comments",
        "Write the comments of a dataset to FILE, or standard output.",
    ),
    "token": Deferred(
        "lodestream.cli.users:token", "Tokens that callers of the API prove themselves with."
    ),
    "user": Deferred("lodestream.cli.users:user", "Users and what they may do."),
    "secret": Deferred(
        "lodestream.cli.secret:secret",
        "Keys that passwords of integrations and sinks are encrypted with.",
    ),
    "backup": Deferred(
        "lodestream.cli.transfer:backup",
        "Write database and uploaded files into DIR, while the server runs.",
    ),
    "restore": Deferred(
        "lodestream.cli.transfer:restore",
        "Bring back what `backup` wrote into DIR, into an empty database of either kind.",
    ),
    "copy": Deferred(
        "lodestream.cli.transfer:copy",
        "Copy a whole instance into another database, SQLite or PostgreSQL.",
    ),
}
"""Every command, imported when it is called."""


@click.group(
    cls=Commands,
    deferred=COMMANDS,
)
@click.version_option(__version__, prog_name="lodestream")
def main() -> None:
    """Self-hosted communications mining: comments in, durable streams out.

    Exit codes: 0 done; 1 refused, failed or found something wrong; 2 called wrongly; 3 the server
    or the database could not be reached.
    """


@main.command()
@click.argument("shell", type=click.Choice(_SHELLS))
def completion(shell: str) -> None:
    """Print a script that completes commands and options in a SHELL.

    For bash: lodestream completion bash > ~/.local/share/bash-completion/completions/lodestream
    """
    kind = get_completion_class(shell)
    assert kind is not None
    # `source` of the class would ask a bash for its version; the script itself needs none.
    maker = kind(main, {}, "lodestream", "_LODESTREAM_COMPLETE")
    click.echo(maker.source_template % maker.source_vars())
