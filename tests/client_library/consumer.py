"""A consumer in a process of its own: writes the id of what it handles to a file.

    python -m tests.client_library.consumer URL TOKEN STREAM FILE MODE SIZE ADVANCE

It starts a line before it handles a comment, and ends it when that is done, so that a line that
was begun only tells of work that was under way.
"""

from __future__ import annotations

import asyncio
import os
import sys
import time

from lodestream.client import AsyncClient, Client

_WORK_S = 0.003


def main() -> None:
    url, token, stream, file, mode, size, advance = sys.argv[1:]
    log = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    options = {"size": int(size), "advance": advance, "poll_s": 0.05}

    def blocking() -> None:
        with (
            Client(url, token) as client,
            client.stream(stream).listen(**options) as results,  # type: ignore[call-overload]
        ):
            for result in results:
                os.write(log, result.id.encode())
                time.sleep(_WORK_S)
                os.write(log, b"\n")

    async def awaiting() -> None:
        async with (
            AsyncClient(url, token) as client,
            client.stream(stream).listen(**options) as results,  # type: ignore[call-overload]
        ):
            async for result in results:
                os.write(log, result.id.encode())
                await asyncio.sleep(_WORK_S)
                os.write(log, b"\n")

    if mode == "blocking":
        blocking()
    else:
        asyncio.run(awaiting())
    os.write(log, b"clean end\n")


if __name__ == "__main__":
    main()
