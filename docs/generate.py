"""Writes the pages of docs/reference that are derived from the program.

python docs/generate.py           write them
python docs/generate.py --check   tell which are old; exit code 1 if any is
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import click

from lodestream.cli.main import main as lodestream

REFERENCE = Path(__file__).parent / "reference"


def cli_page() -> str:
    """Return the reference of the command line."""
    lines = [
        "# Command line",
        "",
        "<!-- Made by docs/generate.py from the commands themselves. -->",
        "",
        "Settings in the environment, such as `LODESTREAM_DATA`, hold for every command that has "
        "the option; the option wins.",
        "",
    ]
    for context in _contexts(_context(lodestream, "lodestream", None)):
        help_text = context.command.get_help(context).strip()
        lines += [f"## `{context.command_path}`", "", "```text", help_text, "```", ""]
    return "\n".join(lines).rstrip() + "\n"


def _context(command: click.Command, name: str, parent: click.Context | None) -> click.Context:
    return click.Context(
        command, parent, name, terminal_width=88, max_content_width=88, **command.context_settings
    )


def _contexts(context: click.Context) -> Iterator[click.Context]:
    yield context
    if isinstance(context.command, click.Group):
        for name, command in sorted(context.command.commands.items()):
            if not command.hidden:
                yield from _contexts(_context(command, name, context))


PAGES: dict[str, Callable[[], str]] = {"cli.md": cli_page}


def outdated() -> list[str]:
    """Return the names of the pages that are not what the program says today."""
    return [
        name
        for name, make in PAGES.items()
        if not (REFERENCE / name).exists()
        or (REFERENCE / name).read_text(encoding="utf-8") != make()
    ]


def main() -> None:
    """Write or check every page."""
    old = outdated()
    if "--check" in sys.argv:
        for name in old:
            print(f"docs/reference/{name} is old: run scripts/docs")
        sys.exit(1 if old else 0)
    for name in old:
        (REFERENCE / name).write_text(PAGES[name](), encoding="utf-8")
        print(f"wrote docs/reference/{name}")


if __name__ == "__main__":
    main()
