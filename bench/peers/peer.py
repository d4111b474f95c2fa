"""What a peer has to be able to do."""

from __future__ import annotations

import asyncio
import importlib
import shutil
from collections.abc import Sequence
from types import ModuleType
from typing import Any, Protocol

from bench.servers import Skipped


class Peer(Protocol):
    """A queue that is running, and its one consumer."""

    def pids(self) -> list[int]:
        """The processes behind it."""

    def clear(self) -> None:
        """Make it empty."""

    def publish(self, messages: Sequence[bytes]) -> None:
        """Store messages, and return when the peer has said that it has them."""

    def consume(self, count: int, size: int) -> list[str]:
        """Take so many messages in batches of at most `size`, parse and acknowledge them.

        Return the ids of their comments. Ends when the last acknowledgement was taken.
        """


class Blocking:
    """An asynchronous peer, called from synchronous code."""

    def __init__(self, runner: asyncio.Runner, peer: Any) -> None:
        self._runner = runner
        self._peer = peer

    def pids(self) -> list[int]:
        found: list[int] = self._peer.pids()
        return found

    def clear(self) -> None:
        self._runner.run(self._peer.clear())

    def publish(self, messages: Sequence[bytes]) -> None:
        self._runner.run(self._peer.publish(messages))

    def consume(self, count: int, size: int) -> list[str]:
        seen: list[str] = self._runner.run(self._peer.consume(count, size))
        return seen


def program(name: str, *elsewhere: str) -> str:
    """Return the path of a program. Raises Skipped if it is not installed."""
    for one in (name, *elsewhere):
        found = shutil.which(one)
        if found:
            return found
    raise Skipped(f"{name} is not installed")


def library(name: str) -> ModuleType:
    """Import a library of the dependency group `bench`. Raises Skipped if it is not there."""
    try:
        return importlib.import_module(name)
    except ImportError:
        raise Skipped(f"the library {name} is not installed (dependency group `bench`)") from None
