"""The command `lodestream`.

Exit codes: 0 the command did what it says; 1 it was refused, failed or found something wrong; 2 it
was called wrongly; 3 the server or the database could not be reached.
"""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

from lodestream import __version__
from lodestream.cli.comments import export_comments, import_comments
from lodestream.cli.demo import demo
from lodestream.cli.doctor import doctor
from lodestream.cli.encoder import encoder
from lodestream.cli.options import Commands
from lodestream.cli.schema import migrate
from lodestream.cli.secret import secret
from lodestream.cli.serve import serve
from lodestream.cli.streams import stream
from lodestream.cli.transfer import backup, copy, restore
from lodestream.cli.users import token, user
from lodestream.cli.work import worker

_SHELLS = ("bash", "zsh", "fish")


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
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


for _command in (
    serve,
    demo,
    worker,
    migrate,
    doctor,
    encoder,
    stream,
    import_comments,
    export_comments,
    token,
    user,
    secret,
    backup,
    restore,
    copy,
):
    main.add_command(_command)
