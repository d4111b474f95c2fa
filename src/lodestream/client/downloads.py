"""Answers that are too large to be held: they are read as they come."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from types import TracebackType

from lodestream.client.connections import Opened
from lodestream.client.errors import BadAnswer, Unreachable
from lodestream.client.http import GZIP_WINDOW


class Download:
    """An answer of success whose content is still to come; header names are in lower case.

    Its connection is used for nothing else, and closed with it.
    """

    def __init__(self, opened: Opened) -> None:
        self.headers = opened.headers
        self._opened = opened

    def __enter__(self) -> Download:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def __iter__(self) -> Iterator[bytes]:
        """Return the content in parts as they come.

        Raises Unreachable if the answer breaks off, BadAnswer for what is no HTTP: then what came
        is not the whole.
        """
        coding = self.headers.get("content-encoding", "identity").lower()
        if coding == "identity":
            yield from self._opened.parts()
            return
        if coding not in ("gzip", "x-gzip"):
            raise BadAnswer(f"an answer has the encoding {coding!r}, which was not asked for")
        machine = zlib.decompressobj(GZIP_WINDOW)
        try:
            for part in self._opened.parts():
                if plain := machine.decompress(part):
                    yield plain
        except zlib.error as error:
            raise BadAnswer(f"a compressed answer cannot be read: {error}") from error
        if not machine.eof:
            raise Unreachable("a compressed answer broke off", maybe_done=True)

    def close(self) -> None:
        """Let go of the connection, and so end the server's work if there is more to come."""
        self._opened.close()
