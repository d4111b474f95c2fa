"""Answers that are too large to be held, for the client that awaits."""

from __future__ import annotations

from collections.abc import AsyncIterator
from types import TracebackType

from lodestream.client.async_connections import AsyncOpened
from lodestream.client.downloads import Coding


class AsyncDownload:
    """An answer of success whose content is still to come; header names are in lower case.

    Its connection is used for nothing else, and closed with it.
    """

    def __init__(self, opened: AsyncOpened) -> None:
        self.headers = opened.headers
        self._opened = opened

    async def __aenter__(self) -> AsyncDownload:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()

    async def __aiter__(self) -> AsyncIterator[bytes]:
        """Return the content in parts as they come.

        Raises Unreachable if the answer breaks off, BadAnswer for what is no HTTP: then what came
        is not the whole.
        """
        coding = Coding(self.headers)
        async for part in self._opened.parts():
            if plain := coding.read(part):
                yield plain
        coding.end()

    async def close(self) -> None:
        """Let go of the connection, and so end the server's work if there is more to come."""
        await self._opened.close()
