"""Connections that block, kept open from request to request."""

from __future__ import annotations

import select
import socket
import time
from collections import deque
from collections.abc import Iterator
from contextlib import suppress
from typing import Final

from lodestream.client.address import Address
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

_MOST_IDLE: Final = 16
_LONGEST_IDLE_S: Final = 60.0
_READ_SIZE: Final = 65_536
_JOINED: Final = 16_384
"""Bodies up to this size are sent together with their head: one packet, one system call."""


class Connections:
    """A way to one server, for any number of threads."""

    def __init__(self, address: Address, *, timeout_s: float, connect_timeout_s: float) -> None:
        self._address = address
        self._timeout_s = timeout_s
        self._connect_timeout_s = connect_timeout_s
        # A deque is safe among threads for what is done here: append and pop at one end.
        self._idle: deque[_Connection] = deque()

    def exchange(self, method: str, head: bytes, body: bytes | None) -> Reply:
        """Send a request, return the answer.

        Raises Unreachable if there is none, BadAnswer for what is no HTTP.
        """
        connection = self._find_idle() or self._connect()
        try:
            reply = connection.exchange(method, head, body)
        except (OSError, EOFError) as error:
            connection.close()
            raise Unreachable(_told(self._address.url, error), maybe_done=True) from error
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

    def open(self, head: bytes, body: bytes | None) -> Opened:
        """Send a request, return its answer when the head of it is there.

        Raises Unreachable if there is none, BadAnswer for what is no HTTP.
        """
        connection = self._connect()
        try:
            return connection.open(head, body, url=self._address.url)
        except (OSError, EOFError) as error:
            connection.close()
            raise Unreachable(_told(self._address.url, error), maybe_done=True) from error
        except BaseException:
            connection.close()
            raise

    def close(self) -> None:
        """Close the connections that nobody is using."""
        while self._idle:
            with suppress(IndexError):
                self._idle.pop().close()

    def _find_idle(self) -> _Connection | None:
        while True:
            try:
                connection = self._idle.pop()
            except IndexError:
                return None
            if connection.is_usable():
                return connection
            connection.close()

    def _connect(self) -> _Connection:
        try:
            return _Connection(_open(self._address, self._connect_timeout_s), self._timeout_s)
        except (OSError, EOFError) as error:
            raise Unreachable(_told(self._address.url, error), maybe_done=False) from error


class Opened:
    """An answer whose content is read as it comes."""

    def __init__(
        self, connection: _Connection, status: int, headers: dict[str, str], *, url: str
    ) -> None:
        self.status = status
        self.headers = headers
        self._connection = connection
        self._url = url

    def parts(self) -> Iterator[bytes]:
        """Return the content in parts. Raises Unreachable if it breaks off, BadAnswer."""
        try:
            yield from self._connection.parts(length_of(self.headers))
        except (OSError, EOFError) as error:
            what = f"the answer of {self._url} broke off: {told(error)}"
            raise Unreachable(what, maybe_done=True) from error

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()


class _Connection:
    """One connection, one request at a time."""

    def __init__(self, sock: socket.socket, timeout_s: float) -> None:
        self._socket = sock
        self._socket.settimeout(timeout_s)
        self._buffer = b""
        self.since = 0.0

    def is_usable(self) -> bool:
        """Tell whether it is still open: a server closes what was idle for long."""
        if time.monotonic() - self.since > _LONGEST_IDLE_S:
            return False
        # Anything to read now is the end of the connection, or an answer that nobody asked for.
        if hasattr(select, "poll"):
            poll = select.poll()
            poll.register(self._socket, select.POLLIN)
            return not poll.poll(0)
        return not select.select([self._socket], [], [], 0)[0]

    def exchange(self, method: str, head: bytes, body: bytes | None) -> Reply:
        """Send a request, read the answer. Raises OSError or EOFError if that fails."""
        self._send(head, body)
        steps = reading(method)
        need = next(steps)
        while True:
            got = self._read(need)
            try:
                need = steps.send(got)
            except StopIteration as end:
                reply: Reply = end.value
                # Bytes after the answer would be taken for the next one.
                return reply._replace(kept=reply.kept and not self._buffer)

    def open(self, head: bytes, body: bytes | None, *, url: str) -> Opened:
        """Send a request, read the head of the answer. Raises OSError or EOFError if that fails."""
        self._send(head, body)
        status, headers = 100, dict[str, str]()
        while status < 200:
            status, headers, _ = parse_head(self._until(b"\r\n\r\n"))
        return Opened(self, status, headers, url=url)

    def parts(self, length: int) -> Iterator[bytes]:
        """Read a body of a length of `http.length_of`. Raises OSError, EOFError or BadAnswer."""
        if length == CHUNKED:
            while size := chunk_size(self._until(b"\n")):
                yield from self._pieces(size)
                self._exactly(2)
            while self._until(b"\n") not in (b"\r\n", b"\n"):
                pass
        elif length == REST:
            yield self._buffer
            self._buffer = b""
            while part := self._socket.recv(_READ_SIZE):
                yield part
        else:
            yield from self._pieces(length)

    def _pieces(self, size: int) -> Iterator[bytes]:
        while size:
            if not self._buffer:
                self._buffer = self._receive()
            piece, self._buffer = self._buffer[:size], self._buffer[size:]
            size -= len(piece)
            yield piece

    def _send(self, head: bytes, body: bytes | None) -> None:
        if body is None or len(body) <= _JOINED:
            self._socket.sendall(head + (body or b""))
        else:
            self._socket.sendall(head)
            self._socket.sendall(body)

    def close(self) -> None:
        """Close it."""
        self._socket.close()

    def _read(self, need: int) -> bytes | bytearray:
        if need == HEAD:
            return self._until(b"\r\n\r\n")
        if need == LINE:
            return self._until(b"\n")
        if need == REST:
            return self._rest()
        return self._exactly(need)

    def _until(self, end: bytes) -> bytes:
        while (at := self._buffer.find(end)) < 0:
            if len(self._buffer) > LONGEST_HEAD:
                raise BadAnswer("an answer has a head of endless length")
            self._buffer += self._receive()
        at += len(end)
        found, self._buffer = self._buffer[:at], self._buffer[at:]
        return found

    def _exactly(self, size: int) -> bytes | bytearray:
        have = len(self._buffer)
        if have >= size:
            found, self._buffer = self._buffer[:size], self._buffer[size:]
            return found
        whole = bytearray(size)
        whole[:have] = self._buffer
        self._buffer = b""
        with memoryview(whole) as view:
            while have < size:
                count = self._socket.recv_into(view[have:])
                if not count:
                    raise EOFError
                have += count
        return whole

    def _rest(self) -> bytes:
        parts = [self._buffer]
        self._buffer = b""
        while part := self._socket.recv(_READ_SIZE):
            parts.append(part)
        return b"".join(parts)

    def _receive(self) -> bytes:
        got = self._socket.recv(_READ_SIZE)
        if not got:
            raise EOFError
        return got


def _open(address: Address, timeout_s: float) -> socket.socket:
    sock = socket.create_connection(address.endpoint, timeout_s)
    try:
        # A request is sent whole: waiting for more to send would only delay it.
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if address.tunnel is not None:
            sock.sendall(address.tunnel)
            _pass_proxy(sock)
        if address.tls is not None:
            return address.tls.wrap_socket(sock, server_hostname=address.host)
    except BaseException:
        sock.close()
        raise
    return sock


def _pass_proxy(sock: socket.socket) -> None:
    head = b""
    # Byte by byte: what follows the head belongs to TLS already.
    while not head.endswith(b"\r\n\r\n"):
        byte = sock.recv(1)
        if not byte or len(head) > LONGEST_HEAD:
            raise EOFError
        head += byte
    check_tunnel(head)


def check_tunnel(head: bytes) -> None:
    """Raise OSError unless a proxy agreed to lead on."""
    status, _, _ = parse_head(head)
    if not 200 <= status < 300:
        raise OSError(f"the proxy refuses to lead there (HTTP {status})")


def _told(url: str, error: OSError | EOFError) -> str:
    return f"no answer from {url}: {told(error)}"


def told(error: BaseException) -> str:
    """Return why a connection failed, in words."""
    if isinstance(error, EOFError):
        return "the connection was closed"
    return getattr(error, "strerror", None) or str(error) or type(error).__name__
