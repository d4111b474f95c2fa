"""Writes the pages of docs/reference that are derived from the program.

python docs/generate.py           write them
python docs/generate.py --check   tell which are old; exit code 1 if any is
"""

from __future__ import annotations

import json
import re
import sys
import tomllib
from collections.abc import Callable, Collection, Iterator
from copy import copy
from dataclasses import fields
from pathlib import Path
from typing import Any

import click

from lodestream.api.openapi import AREAS, summary_of
from lodestream.api.routes import ROUTES
from lodestream.api.routing import Guard, Route
from lodestream.cli.main import main as lodestream
from lodestream.cli.remote import SERVER_OPTIONS
from lodestream.settings import PREFIX, Settings

ROOT = Path(__file__).parents[1]
REFERENCE = ROOT / "docs" / "reference"
CONTRACT = ROOT / "tests" / "contract"


def cli_page() -> str:
    """Return the reference of the command line."""
    lines = [
        "# Command line",
        "",
        "<!-- Made by docs/generate.py from the commands themselves. -->",
        "",
        "Settings in the environment, such as `LODESTREAM_DATA`, hold for every command that has "
        "the option; the option wins. How to say which server is meant, and what output looks "
        "like, is told in [Use the command line](../howto/cli.md).",
        "",
    ]
    shown = False
    for context in _contexts(_context(lodestream, "lodestream", None)):
        names = {one.name for one in context.command.params}
        talks = set(SERVER_OPTIONS) <= names
        if talks and not shown:
            # Nearly every command has them: they are told once, before the first.
            lines += _server_options(context)
            shown = True
        hidden = SERVER_OPTIONS if talks else ()
        lines += [f"## `{context.command_path}`", "", *_help(context, hidden)]
        if talks:
            lines += ["And the [options of commands that talk to a server](#which-server).", ""]
    return "\n".join(lines).rstrip() + "\n"


def _server_options(context: click.Context) -> list[str]:
    options = [one for one in context.command.params if one.name in SERVER_OPTIONS]
    alone = click.Command("", params=options, add_help_option=False)
    told = "Every command that talks to a server has these options, too:"
    return ["## Which server", "", told, "", *_help(_context(alone, "COMMAND", None), ())]


def _help(context: click.Context, hidden: Collection[str]) -> list[str]:
    """Return the help of a command without some of its options."""
    command = copy(context.command)
    command.params = [one for one in command.params if one.name not in hidden]
    return ["```text", command.get_help(context).strip(), "```", ""]


def _context(command: click.Command, name: str, parent: click.Context | None) -> click.Context:
    return click.Context(
        command, parent, name, terminal_width=88, max_content_width=88, **command.context_settings
    )


def _contexts(context: click.Context) -> Iterator[click.Context]:
    yield context
    if isinstance(context.command, click.Group):
        for name in context.command.list_commands(context):
            command = context.command.get_command(context, name)
            if command is not None and not command.hidden:
                yield from _contexts(_context(command, name, context))


def settings_page() -> str:
    """Return the reference of the settings."""
    lines = [
        "# Settings",
        "",
        "<!-- Made by docs/generate.py from src/lodestream/settings.py. -->",
        "",
        "Every setting is read from the environment when a command starts. Where a command has an "
        "option of the same name, the option wins; see [Command line](cli.md).",
        "",
        "| variable | default | unit | meaning |",
        "|---|---|---|---|",
    ]
    for one in fields(Settings):
        default = "" if one.default == "" else f"`{str(one.default).lower()}`"
        unit, meaning = one.metadata["unit"], one.metadata["meaning"]
        lines.append(f"| `{PREFIX}{one.name.upper()}` | {default} | {unit} | {_cell(meaning)} |")
    return "\n".join(lines) + "\n"


def api_page() -> str:
    """Return the reference of the API: every operation with what it does and needs."""
    lines = [
        "# API",
        "",
        "<!-- Made by docs/generate.py from the route table. -->",
        "",
        "Every running server describes its API: as a document at `/api/openapi.json`, with every "
        "field and bound, and as a page at `/docs`, where operations can be tried. This is the "
        "overview. What clients of the service whose wire this is can expect is told in "
        "[Compatibility](compatibility.md).",
        "",
        "A permission without further words is needed in the project that the path names, directly "
        "or by the id of a thing in it; without the right to see the project the answer is 404, "
        "without the permission 403.",
        "",
    ]
    for area in dict.fromkeys(route.area for route in ROUTES):
        lines += [f"## {_title(area)}", "", AREAS[area], ""]
        lines += ["| operation | request | needs | what it does |", "|---|---|---|---|"]
        for route in ROUTES:
            if route.area == area:
                lines.append(
                    f"| `{route.operation}` | {_request(route.method, route.path)} "
                    f"| {_cell(_needs(route))} | {_cell(summary_of(route)[0])} |"
                )
        lines.append("")
    return "\n".join(lines).rstrip() + "\n"


def _needs(route: Route) -> str:
    needs = route.needs
    if needs.rule:
        return needs.rule
    names = [f"`{one}`" for one in needs.permissions]
    match needs.guard:
        case Guard.PUBLIC:
            return "nothing"
        case Guard.TOKEN:
            return "a token"
        case Guard.NOBODY:
            return "refused to everyone"
        case Guard.GLOBAL:
            return " or ".join(names) + ", globally"
        case Guard.LISTED if names:
            return f"a token; lists what {' and '.join(names)} covers"
        case Guard.LISTED:
            return "a token; lists what the caller may see"
        case Guard.PROJECT_ANY | Guard.OBJECT_ANY:
            return " or ".join(names)
        case Guard.HIDDEN_OBJECT:
            return " and ".join(names) + ", else 404"
        case _ if names:
            return " and ".join(names)
    return "any permission in the project"


def compatibility_page() -> str:
    """Return which operations of the compatible API there are, how far, and how that is proved."""
    known: list[dict[str, Any]] = json.loads((CONTRACT / "operations.json").read_text())
    proofs: dict[str, list[str]] = json.loads((CONTRACT / "proofs.json").read_text())
    differences = tomllib.loads((REFERENCE / "differences.toml").read_text())
    ours = {route.operation for route in ROUTES}
    lines = [
        "# Compatibility",
        "",
        "<!-- Made by docs/generate.py from the route table, tests/contract/operations.json, "
        "tests/contract/proofs.json and differences.toml. -->",
        "",
        "The compatible API has operations of three tiers: without tier 1 the product does not "
        "work, tier 2 is expected, tier 3 comes later. Served now:",
        "",
        "| tier | operations | served |",
        "|---|---|---|",
    ]
    for tier in (1, 2, 3):
        names = [one["operation"] for one in known if one["tier"] == tier]
        lines.append(f"| {tier} | {len(names)} | {sum(name in ours for name in names)} |")
    lines += [
        "",
        "**Proved for every operation that is served:** it has the path and method of the "
        "contract (`tests/contract/test_operations.py`); it refuses callers without token, "
        "permission or view of the project (`tests/api/test_refusals.py`); no bad body, path or "
        "query makes it fail (`tests/api/test_hostile.py`); and generated requests are answered as "
        "the description says (`tests/contract/test_schemathesis.py`). The column *proved by* "
        "names the tests in which an operation succeeds besides; for streams there are "
        "also `tests/contract/test_streams.py` and all of `tests/proof`.",
        "",
        "## Differences that concern many operations",
        "",
        *(f"- {text}" for text in differences["general"]),
        "",
    ]
    for area in sorted({one["area"] for one in known}):
        lines += [f"## {_title(area)}", ""]
        lines += [
            "| operation | tier | status | proved by | differences |",
            "|---|---|---|---|---|",
        ]
        for one in known:
            if one["area"] == area:
                lines.append(_compatibility_row(one, ours, proofs, differences))
        lines.append("")
    return "\n".join(lines).rstrip() + "\n"


def _compatibility_row(
    one: dict[str, Any], ours: set[str], proofs: dict[str, list[str]], differences: dict[str, Any]
) -> str:
    name = one["operation"]
    partly = differences["partly"].get(name)
    status = "not yet" if name not in ours else "served" if partly is None else "partly"
    proved = ", ".join(f"`{proof}`" for proof in proofs.get(name, []) if name in ours)
    told = partly or differences["served"].get(name, "")
    request = _request(one["method"], one["path"])
    return f"| `{name}`<br>{request} | {one['tier']} | {status} | {proved} | {_cell(told)} |"


def _request(method: str, path: str) -> str:
    return f"{method} `{path}`"


def _title(area: str) -> str:
    return area.replace("_", " ").capitalize()


def _cell(text: str) -> str:
    return re.sub(r"\s+", " ", text).replace("|", "\\|")


PAGES: dict[str, Callable[[], str]] = {
    "api.md": api_page,
    "cli.md": cli_page,
    "compatibility.md": compatibility_page,
    "settings.md": settings_page,
}


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
