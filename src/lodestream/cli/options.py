"""What every command shares: groups, common options, exit codes, how an expected failure is told.

Exit codes: 0 the command did what it says; 1 it was refused or found something wrong; 2 it was
called wrongly; 3 the server or the database could not be reached.

This module is imported by every call of the command line, so it imports little itself. What works
on the database is in `database`, what talks to a server in `remote`, what prints in `output`.
"""

from __future__ import annotations

import contextlib
import importlib
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from types import FrameType, MappingProxyType
from typing import Any, Final, NamedTuple, TypeVar

import click
from click.shell_completion import CompletionItem

from lodestream.domain.errors import LodestreamError, Unavailable

OK: Final = 0
FAILED: Final = 1
USAGE: Final = 2
UNREACHABLE: Final = 3

_Command = TypeVar("_Command", bound=Callable[..., Any])


class Failed(click.ClickException):
    """The command was refused, or found something wrong."""

    exit_code = FAILED


class Unreachable(click.ClickException):
    """The server or the database could not be reached."""

    exit_code = UNREACHABLE


class Deferred(NamedTuple):
    """A command that is imported when it is called: `module:name`, and the summary in its docs."""

    where: str
    summary: str

    def load(self) -> click.Command:
        """Import it."""
        module, _, name = self.where.partition(":")
        found: click.Command = getattr(importlib.import_module(module), name)
        return found


class Commands(click.Group):
    """A group of commands whose expected failures are one line on standard error.

    A command in `deferred` is imported when it is called, and no other: a call that needs no
    database does not pay for the database's libraries. Its summary is repeated there, so that
    help and completion need not import it; a test compares the two.
    """

    def __init__(
        self,
        *arguments: Any,
        deferred: Mapping[str, Deferred] = MappingProxyType({}),
        **named: Any,
    ) -> None:
        settings = {"help_option_names": ["-h", "--help"], **(named.pop("context_settings", {}))}
        super().__init__(*arguments, context_settings=settings, **named)
        self.deferred = deferred

    def invoke(self, ctx: click.Context) -> Any:
        """Run a command; turn an expected refusal into its message and exit code."""
        with told_in_one_line():
            return super().invoke(ctx)

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names of all commands, imported or not."""
        return sorted({*super().list_commands(ctx), *self.deferred})

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Return a command, imported if it is not yet; None if there is none of this name."""
        found = super().get_command(ctx, cmd_name)
        if found is None and cmd_name in self.deferred:
            found = self.commands[cmd_name] = self.deferred[cmd_name].load()
        return found

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the list of commands into the help."""
        names = self.list_commands(ctx)
        limit = formatter.width - 6 - max(map(len, names), default=0)
        with formatter.section("Commands"):
            formatter.write_dl([(name, self._summary(ctx, name, limit)) for name in names])

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """Return the commands and options that begin like this."""
        offered = [
            CompletionItem(name, help=self._summary(ctx, name, 45))
            for name in self.list_commands(ctx)
            if name.startswith(incomplete)
        ]
        return offered + click.Command.shell_complete(self, ctx, incomplete)

    def _summary(self, ctx: click.Context, name: str, limit: int) -> str:
        if name in self.deferred:
            found: click.Command | None = click.Command(name, help=self.deferred[name].summary)
        else:
            found = self.get_command(ctx, name)
        assert found is not None
        return found.get_short_help_str(limit)


@contextlib.contextmanager
def told_in_one_line() -> Iterator[None]:
    """Turn expected errors into a message and an exit code."""
    try:
        yield
    except Unavailable as error:
        raise Unreachable(f"{error.message} (try `lodestream doctor`)") from error
    except LodestreamError as error:
        raise Failed(error.message) from error
    except BrokenPipeError:
        raise
    except OSError as error:
        where = f": {error.filename}" if error.filename else ""
        raise Failed(f"{error.strerror or error}{where} (try `lodestream doctor`)") from error


@contextlib.contextmanager
def stopped_by_signals() -> Iterator[threading.Event]:
    """Let SIGTERM and SIGINT set an event, for as long as the context lasts, and nothing more.

    uvicorn takes the signals over while it serves, and raises them again when it has stopped.
    """
    stopped = threading.Event()

    def stop(_signal: int, _frame: FrameType | None) -> None:
        stopped.set()

    before = {one: signal.signal(one, stop) for one in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield stopped
    finally:
        for one, handler in before.items():
            signal.signal(one, handler)


def json_option(command: _Command) -> _Command:
    """Add `--json`: for programs instead of people."""
    flag = click.option(
        "--json", "as_json", is_flag=True, help="Print JSON, one object on each line."
    )
    return flag(command)


def yes_option(command: _Command) -> _Command:
    """Add `--yes`, for commands that call `confirm`."""
    return click.option("--yes", "-y", is_flag=True, help="Do not ask whether to do it.")(command)


def progress_option(command: _Command) -> _Command:
    """Add `--no-progress`, for commands that show a `Progress`."""
    flag = click.option("--no-progress", is_flag=True, help="Do not show how far it is.")
    return flag(command)


def confirm(question: str, *, yes: bool) -> None:
    """Ask before something is lost; with `yes` nothing is asked.

    Raises Failed if the answer is no, and where nobody can answer.
    """
    if yes:
        return
    if not somebody_can_answer():
        raise Failed(f"{question} Nobody can be asked here: add --yes to do it")
    if not click.confirm(question, err=True):
        raise Failed("nothing was done")


def somebody_can_answer() -> bool:
    """Tell whether there is a terminal to ask questions at."""
    return sys.stdin.isatty()
