"""Connections that await, kept open from request to request."""

from __future__ import annotations

import asyncio
import socket
import time
from collections import deque
from collections.abc import AsyncIterator
from typing import Final

from lodestream.client.address import Address
from lodestream.client.connections import check_tunnel, told
from lodestream.client.errors import BadAnswer, Unreachable
from lodestream.client.http import (
    CHUNKED,
    HEAD,
    LINE,
    LONGEST_HEAD,
    REST,
    Reply,
    chunk_size,
    length_of,
    parse_head,
    reading,
)

_MOST_IDLE: Final = 64
_LONGEST_IDLE_S: Final = 60.0
_BUFFER: Final = 1 << 20
_READ_SIZE: Final = 65_536


class AsyncConnections:
    """A way to one server, for any number of tasks of one event loop."""

    def __init__(self, address: Address, *, timeout_s: float, connect_timeout_s: float) -> None:
        self._address = address
        self._timeout_s = timeout_s
        self._connect_timeout_s = connect_timeout_s
        self._idle: deque[_Connection] = deque()

    async def exchange(self, method: str, head: bytes, body: bytes | None) -> Reply:
        """Send a request, return the answer.

        Raises Unreachable if there is none, BadAnswer for what is no HTTP.
        """
        connection = self._find_idle() or await self._connect()
        try:
            async with asyncio.timeout(self._timeout_s) as limit:
                reply = await connection.exchange(method, head, body, limit, self._timeout_s)
        except (OSError, EOFError) as error:
            connection.close()
            message = f"no answer from {self._address.url}: {told(error)}"
            raise Unreachable(message, maybe_done=True) from error
        except asyncio.LimitOverrunError as error:
            connection.close()
            raise BadAnswer("an answer has a head of endless length") from error
        except BaseException:
            # Half an answer is still to come on it: nothing else must read that.
            connection.close()
            raise
        if reply.kept and len(self._idle) < _MOST_IDLE:
            connection.since = time.monotonic()
            self._idle.append(connection)
        else:
            connection.close()
        return reply

    async def open(self, head: bytes, body: bytes | None) -> AsyncOpened:
        """Send a request, return its answer when the head of it is there.

        Raises Unreachable if there is none, BadAnswer for what is no HTTP.
        """
        connection = await self._connect()
        try:
            async with asyncio.timeout(self._timeout_s):
                status, headers = await connection.open(head, body)
        except BaseException as error:
            connection.close()
            if isinstance(error, OSError | EOFError):
                message = f"no answer from {self._address.url}: {told(error)}"
                raise Unreachable(message, maybe_done=True) from error
            raise
        return AsyncOpened(
            connection, status, headers, url=self._address.url, timeout_s=self._timeout_s
        )

    async def close(self) -> None:
        """Close the connections that nobody is using."""
        while self._idle:
            connection = self._idle.pop()
            connection.close()
            await connection.closed()

    def _find_idle(self) -> _Connection | None:
        while self._idle:
            connection = self._idle.pop()
            if connection.is_usable():
                return connection
            connection.close()
        return None

    async def _connect(self) -> _Connection:
        try:
            async with asyncio.timeout(self._connect_timeout_s):
                return await _open(self._address)
        except (OSError, EOFError) as error:
            message = f"no answer from {self._address.url}: {told(error)}"
            raise Unreachable(message, maybe_done=False) from error


class AsyncOpened:
    """An answer whose content is read as it comes."""

    def __init__(
        self,
        connection: _Connection,
        status: int,
        headers: dict[str, str],
        *,
        url: str,
        timeout_s: float,
    ) -> None:
        self.status = status
        self.headers = headers
        self._connection = connection
        self._url = url
        self._timeout_s = timeout_s

    async def parts(self) -> AsyncIterator[bytes]:
        """Return the content in parts. Raises Unreachable if it breaks off, BadAnswer."""
        parts = self._connection.parts(length_of(self.headers))
        while True:
            try:
                async with asyncio.timeout(self._timeout_s):
                    part = await anext(parts, None)
            except (OSError, EOFError) as error:
                what = f"the answer of {self._url} broke off: {told(error)}"
                raise Unreachable(what, maybe_done=True) from error
            if part is None:
                return
            yield part

    async def close(self) -> None:
        """Close the connection."""
        self._connection.close()
        await self._connection.closed()


class _Connection:
    """One connection, one request at a time."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self.since = 0.0

    def is_usable(self) -> bool:
        """Tell whether it is still open: a server closes what was idle for long."""
        fresh = time.monotonic() - self.since <= _LONGEST_IDLE_S
        return fresh and not self._reader.at_eof() and not self._writer.is_closing()

    async def exchange(
        self,
        method: str,
        head: bytes,
        body: bytes | None,
        limit: asyncio.Timeout,
        timeout_s: float,
    ) -> Reply:
        """Send a request, read the answer. Raises OSError or EOFError if that fails.

        `limit` is set anew whenever something came: it limits silence, not large answers.
        """
        self._writer.write(head if body is None else head + body)
        await self._writer.drain()
        steps = reading(method)
        need = next(steps)
        while True:
            got = await self._read(need)
            limit.reschedule(asyncio.get_running_loop().time() + timeout_s)
            try:
                need = steps.send(got)
            except StopIteration as end:
                reply: Reply = end.value
                return reply

    async def open(self, head: bytes, body: bytes | None) -> tuple[int, dict[str, str]]:
        """Send a request, read status and headers of the answer. Raises OSError or EOFError."""
        self._writer.write(head if body is None else head + body)
        await self._writer.drain()
        status, headers = 100, dict[str, str]()
        while status < 200:
            status, headers, _ = parse_head(await self._read(HEAD))
        return status, headers

    async def parts(self, length: int) -> AsyncIterator[bytes]:
        """Read a body of a length of `http.length_of`. Raises OSError, EOFError or BadAnswer."""
        if length == CHUNKED:
            while size := chunk_size(await self._read(LINE)):
                async for piece in self._pieces(size):
                    yield piece
                await self._read(2)
            while await self._read(LINE) not in (b"\r\n", b"\n"):
                pass
        elif length == REST:
            while part := await self._reader.read(_READ_SIZE):
                yield part
        else:
            async for piece in self._pieces(length):
                yield piece

    async def _pieces(self, size: int) -> AsyncIterator[bytes]:
        while size:
            piece = await self._reader.read(min(size, _READ_SIZE))
            if not piece:
                raise EOFError
            size -= len(piece)
            yield piece

    def close(self) -> None:
        """Close it."""
        self._writer.close()

    async def closed(self) -> None:
        """Wait until it is closed."""
        try:
            await self._writer.wait_closed()
        except OSError:
            return  # It ended in another way, but it ended.

    async def _read(self, need: int) -> bytes:
        if need in (HEAD, LINE):
            found = await self._reader.readuntil(b"\r\n\r\n" if need == HEAD else b"\n")
            if len(found) > LONGEST_HEAD:
                raise BadAnswer("an answer has a head of endless length")
            return found
        if need == REST:
            return await self._reader.read(-1)
        return await self._reader.readexactly(need)


async def _open(address: Address) -> _Connection:
    host, port = address.endpoint
    direct = address.tunnel is None
    reader, writer = await asyncio.open_connection(
        host,
        port,
        limit=_BUFFER,
        ssl=address.tls if direct else None,
        server_hostname=address.host if direct and address.tls else None,
    )
    try:
        writer.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if address.tunnel is not None and address.tls is not None:
            writer.write(address.tunnel)
            check_tunnel(await reader.readuntil(b"\r\n\r\n"))
            await writer.start_tls(address.tls, server_hostname=address.host)
    except BaseException:
        writer.close()
        raise
    return _Connection(reader, writer)
