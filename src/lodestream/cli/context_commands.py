"""`lodestream context`: servers by name. None of these commands talks to a server."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import click
import msgspec

from lodestream.cli.contexts import Context, Contexts, read_contexts, write_contexts
from lodestream.cli.options import Commands, Failed, confirm, json_option, yes_option
from lodestream.cli.output import print_json, print_table
from lodestream.cli.remote import CONTEXT, contexts_file, contexts_file_option

_FROM_INPUT = "-"
_COLUMNS = ("current", "name", "url", "accept_invalid_certificates", "proxy")


@click.group(cls=Commands)
def context() -> None:
    """Servers by name, with a token each, that commands talk to.

    They are kept in a file that only you may read. Of several ways to say which server is meant,
    the first counts: --url and --token, --context, LODESTREAM_URL and LODESTREAM_TOKEN, the current
    context, http://127.0.0.1:8000.
    """


@context.command("add")
@click.argument("name", type=CONTEXT)
@click.option("--url", prompt=True, help="Where the server is, with what stands before /api.")
@click.option(
    "--token",
    prompt=True,
    hide_input=True,
    help="Token to call with; asked for without showing it unless given. - reads standard input.",
)
@click.option(
    "--accept-invalid-certificates",
    "-k",
    is_flag=True,
    help="Do not check who the server is; for trials only.",
)
@click.option("--proxy", metavar="URL", help="HTTP proxy to go through.")
@click.option("--use", "is_used", is_flag=True, help="Make it the current one.")
@contexts_file_option
def add(
    name: str,
    url: str,
    token: str,
    accept_invalid_certificates: bool,
    proxy: str | None,
    is_used: bool,
    contexts_file: Path | None,
) -> None:
    """Add a context, or replace the one of this NAME; the very first becomes the current one."""
    file, known = _read(contexts_file)
    _check(url)
    secret = sys.stdin.readline() if token == _FROM_INPUT else token
    known.put(
        Context(
            name=name,
            url=url,
            token=secret.strip(),
            accept_invalid_certificates=accept_invalid_certificates,
            proxy=proxy,
        )
    )
    if is_used:
        known.current = name
    write_contexts(file, known)


@context.command("list")
@json_option
@contexts_file_option
def list_contexts(as_json: bool, contexts_file: Path | None) -> None:
    """List contexts, without their tokens."""
    _, known = _read(contexts_file)
    rows = [_row(one, known) for one in sorted(known.contexts, key=lambda one: one.name)]
    if as_json:
        print_json(rows)
    else:
        print_table([row | {"current": "*" if row["current"] else " "} for row in rows], _COLUMNS)


@context.command("current")
@json_option
@contexts_file_option
def current(as_json: bool, contexts_file: Path | None) -> None:
    """Print the name of the context in use; exit code 1 if there is none."""
    _, known = _read(contexts_file)
    found = _current(known)
    if as_json:
        print_json(_row(found, known))
    else:
        click.echo(found.name)


@context.command("use")
@click.argument("name", type=CONTEXT)
@contexts_file_option
def use(name: str, contexts_file: Path | None) -> None:
    """Make the context NAME the current one."""
    file, known = _read(contexts_file)
    known.current = known.get(name).name
    write_contexts(file, known)


@context.command("delete")
@click.argument("names", metavar="NAME...", type=CONTEXT, nargs=-1, required=True)
@yes_option
@contexts_file_option
def delete(names: tuple[str, ...], yes: bool, contexts_file: Path | None) -> None:
    """Delete contexts, with their tokens."""
    file, known = _read(contexts_file)
    for name in names:
        known.remove(name)
    confirm(f"Delete {', '.join(names)} with the tokens?", yes=yes)
    write_contexts(file, known)


@context.command("get-token")
@click.argument("name", type=CONTEXT, required=False)
@contexts_file_option
def get_token(name: str | None, contexts_file: Path | None) -> None:
    """Print the token of the context NAME, or of the current one."""
    _, known = _read(contexts_file)
    click.echo((_current(known) if name is None else known.get(name)).token)


class _VendorContext(msgspec.Struct):
    name: str
    endpoint: str
    token: str | None = None
    accept_invalid_certificates: bool = False
    proxy: str | None = None


class _VendorContexts(msgspec.Struct):
    current_context: str | None = None
    contexts: list[_VendorContext] = []


@context.command("import-vendor")
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path), required=False)
@click.option("--overwrite", is_flag=True, help="Replace contexts of the same names.")
@contexts_file_option
def import_vendor(file: Path | None, overwrite: bool, contexts_file: Path | None) -> None:
    """Take over the contexts of the vendor's command line client `re`.

    They are in its FILE contexts.json, which is looked for where that client keeps it.
    """
    ours, known = _read(contexts_file)
    theirs = _read_vendors(file or Path(click.get_app_dir("reinfer")) / "contexts.json")
    taken = {one.name for one in known.contexts}
    for one in theirs.contexts:
        if one.name in taken and not overwrite:
            click.echo(f"{one.name}: there is one already; --overwrite replaces it", err=True)
            continue
        _check(one.endpoint)
        known.put(
            Context(
                name=one.name,
                url=one.endpoint.rstrip("/"),
                token=one.token or "",
                accept_invalid_certificates=one.accept_invalid_certificates,
                proxy=one.proxy,
            )
        )
        click.echo(one.name)
    if not taken and theirs.current_context is not None:
        known.current = known.get(theirs.current_context).name
    write_contexts(ours, known)


def _read_vendors(file: Path) -> _VendorContexts:
    try:
        return msgspec.json.decode(file.read_bytes(), type=_VendorContexts)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise Failed(f"{file} is no file of contexts of `re`: {error}") from error
    except OSError as error:
        raise Failed(f"{file} cannot be read: {error.strerror}") from error


def _read(given: Path | None) -> tuple[Path, Contexts]:
    file = contexts_file(given)
    return file, read_contexts(file)


def _current(known: Contexts) -> Context:
    found = known.find_current()
    if found is None:
        raise Failed("no context is in use (see `lodestream context use`)")
    return found


def _check(url: str) -> None:
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise click.UsageError(f"{url!r} is not the URL of a server: http://… or https://…")


def _row(one: Context, known: Contexts) -> dict[str, Any]:
    row: dict[str, Any] = msgspec.to_builtins(one)
    del row["token"]
    return {"current": one.name == known.current, **row}
