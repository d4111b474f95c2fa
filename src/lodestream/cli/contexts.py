"""Contexts: servers by name, each with its token, in a file of the user's.

The file is JSON: `{"current": NAME | null, "contexts": [CONTEXT]}`, and only its owner may read it,
for it holds tokens. It is written as a whole: a reader sees the old one or the new one.
"""

from __future__ import annotations

import os
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Final

import click
import msgspec

from lodestream.cli.options import Failed

FILE_VARIABLE: Final = "LODESTREAM_CONTEXTS_FILE"


class Context(msgspec.Struct, frozen=True, kw_only=True):
    """A server, and what is needed to call it."""

    name: str
    url: str
    token: str = ""
    accept_invalid_certificates: bool = False
    proxy: str | None = None


class Contexts(msgspec.Struct, kw_only=True):
    """All contexts, and the name of the one in use."""

    current: str | None = None
    contexts: list[Context] = []

    def get(self, name: str) -> Context:
        """Return the context of this name. Raises Failed if there is none."""
        for one in self.contexts:
            if one.name == name:
                return one
        known = ", ".join(one.name for one in self.contexts) or "none"
        raise Failed(f"no such context: {name} (there is: {known})")

    def find_current(self) -> Context | None:
        """Return the one in use, if there is one."""
        return None if self.current is None else self.get(self.current)

    def put(self, context: Context) -> None:
        """Add a context, or replace the one of its name; the very first comes into use."""
        if not self.contexts:
            self.current = context.name
        self.contexts = [one for one in self.contexts if one.name != context.name] + [context]

    def remove(self, name: str) -> None:
        """Remove a context. Raises Failed if there is none of this name."""
        gone = self.get(name)
        self.contexts = [one for one in self.contexts if one is not gone]
        if self.current == name:
            self.current = None


def default_file() -> Path:
    """Return where the contexts are unless something else is said."""
    return Path(click.get_app_dir("lodestream")) / "contexts.json"


def read_contexts(file: Path) -> Contexts:
    """Return the contexts of a file; none if it is not there.

    Raises Failed if it cannot be read, and if others than its owner may read its tokens.
    """
    try:
        with file.open("rb") as opened:
            if os.name == "posix" and os.fstat(opened.fileno()).st_mode & 0o077:
                raise Failed(f"{file} has tokens in it and others may read it: chmod 600 {file}")
            return msgspec.json.decode(opened.read(), type=Contexts)
    except FileNotFoundError:
        return Contexts()
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise Failed(f"{file} is no file of contexts: {error}") from error


def write_contexts(file: Path, contexts: Contexts) -> None:
    """Write a file of contexts that only its owner may read."""
    file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    # What mkstemp makes is readable to its owner alone.
    handle, temporary = tempfile.mkstemp(dir=file.parent, prefix=f".{file.name}-")
    try:
        with os.fdopen(handle, "wb") as opened:
            opened.write(msgspec.json.format(msgspec.json.encode(contexts)) + b"\n")
            opened.flush()
            os.fsync(opened.fileno())
        Path(temporary).replace(file)
    except BaseException:
        with suppress(FileNotFoundError):
            Path(temporary).unlink()
        raise
