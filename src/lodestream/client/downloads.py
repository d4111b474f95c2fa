"""Answers that are too large to be held: they are read as they come."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from types import TracebackType

from lodestream.client.connections import Opened
from lodestream.client.errors import BadAnswer, Unreachable
from lodestream.client.http import GZIP_WINDOW


class Coding:
    """Reads a body in the encoding that its headers tell."""

    def __init__(self, headers: dict[str, str]) -> None:
        """Raise BadAnswer for an encoding that was not asked for."""
        coding = headers.get("content-encoding", "identity").lower()
        if coding not in ("identity", "gzip", "x-gzip"):
            raise BadAnswer(f"an answer has the encoding {coding!r}, which was not asked for")
        self._machine = None if coding == "identity" else zlib.decompressobj(GZIP_WINDOW)

    def read(self, part: bytes) -> bytes:
        """Return what a part says, as far as it can be told yet. Raises BadAnswer."""
        if self._machine is None:
            return part
        try:
            return self._machine.decompress(part)
        except zlib.error as error:
            raise BadAnswer(f"a compressed answer cannot be read: {error}") from error

    def end(self) -> None:
        """Check that nothing lacks. Raises Unreachable if the answer broke off."""
        if self._machine is not None and not self._machine.eof:
            raise Unreachable("a compressed answer broke off", maybe_done=True)


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
        coding = Coding(self.headers)
        for part in self._opened.parts():
            if plain := coding.read(part):
                yield plain
        coding.end()

    def close(self) -> None:
        """Let go of the connection, and so end the server's work if there is more to come."""
        self._opened.close()
