"""Bodies of requests: read whole into memory, or, of large files, onto the disk."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from typing import Any, BinaryIO, Final, Protocol

from lodestream.api.calls import authenticate, authorise
from lodestream.api.compression import decode_body, decode_file
from lodestream.api.http import Request
from lodestream.api.limits import SMALL_BODY, Hold
from lodestream.api.multipart import spool_file
from lodestream.api.routing import Route
from lodestream.api.service import Service
from lodestream.domain.errors import TooLarge

Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
_WRITTEN_AT_ONCE: Final = 1 << 20


class InThread(Protocol):
    """Runs work beside the event loop."""

    def __call__(self, work: Callable[..., Any], *arguments: Any) -> Awaitable[Any]:
        """Return what the work returns."""
        ...


class Disconnected(Exception):
    """The client went away before its body was complete."""


async def read_body(
    receive: Receive,
    request: Request,
    service: Service,
    hold: Hold,
    in_thread: InThread,
) -> bytes:
    """Read a body, decompressed. A large one is taken from callers with a good token only.

    Raises TooLarge, Busy if there is no room for it, Unauthenticated, Disconnected.
    """
    limit = service.limits.body_bytes
    encoding = request.headers.get(b"content-encoding")
    size = _declared_length(request.headers, limit)
    is_checked = False
    if size > SMALL_BODY or encoding:
        await in_thread(authenticate, service, request)
        is_checked = True
    hold.grow(size)
    parts: list[bytes] = []
    size, more = 0, True
    while more:
        part, more = await _part(receive)
        size += len(part)
        _check_size(size, limit)
        if size > SMALL_BODY and not is_checked:
            await in_thread(authenticate, service, request)
            is_checked = True
        hold.grow(size)
        parts.append(part)
    body = parts[0] if len(parts) == 1 else b"".join(parts)
    if encoding:
        body = await in_thread(_decoded, body, encoding, limit)
        hold.grow(len(body))
    return body


async def spool_body(
    receive: Receive,
    request: Request,
    service: Service,
    route: Route,
    values: tuple[str, ...],
    hold: Hold,
    in_thread: InThread,
) -> BinaryIO:
    """Read a body, decompressed, into a file without a name: its memory is bounded.

    Only callers who may use the route get this far. Raises TooLarge, Busy if there is no room for
    it, what `authorise` raises, Disconnected.
    """
    limits = service.limits
    limit = limits.file_bytes if route.takes_long else limits.upload_bytes
    _declared_length(request.headers, limit)
    await in_thread(authorise, service, route, request, values)
    file = spool_file(service.spool)
    try:
        waiting: list[bytes] = []
        size = held = 0
        more = True
        while more:
            part, more = await _part(receive)
            size += len(part)
            held += len(part)
            _check_size(size, limit)
            hold.grow(size)
            waiting.append(part)
            if held >= _WRITTEN_AT_ONCE or not more:
                await in_thread(file.writelines, waiting)
                waiting, held = [], 0
        file.seek(0)
        encoding = request.headers.get(b"content-encoding", b"")
        if encoding.strip().lower() not in (b"", b"identity"):
            with file as packed:
                file = await in_thread(_unpacked, service, packed, encoding, limit)
    except BaseException:
        file.close()
        raise
    return file


def _unpacked(service: Service, packed: BinaryIO, encoding: bytes, limit: int) -> BinaryIO:
    file = spool_file(service.spool)
    try:
        decode_file(packed, encoding, file, limit)
    except BaseException:
        file.close()
        raise
    return file


async def _part(receive: Receive) -> tuple[bytes, bool]:
    message = await receive()
    if message["type"] == "http.disconnect":
        raise Disconnected
    return message.get("body", b""), message.get("more_body", False)


def _decoded(body: bytes, encoding: bytes, limit: int) -> bytes:
    return decode_body(body, encoding, limit=limit)


def _declared_length(headers: Mapping[bytes, bytes], limit: int) -> int:
    """Return the length that a request declares, or 0. Raises TooLarge."""
    length = headers.get(b"content-length", b"")
    # Python refuses to read numbers of thousands of digits.
    size = int(length[:18]) if length.isdigit() else 0
    _check_size(size, limit)
    return size


def _check_size(size: int, limit: int) -> None:
    if size > limit:
        raise TooLarge(f"the body is larger than {limit} bytes")
