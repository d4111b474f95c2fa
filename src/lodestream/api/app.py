"""The ASGI application: bytes in, bytes out.

No framework stands between the server and the handlers: matching a path is the table's own affair
(`routing`), and everything a framework adds costs more than a small fetch itself.
"""

from __future__ import annotations

import asyncio
import ctypes
import gc
import itertools
import logging
import platform
import secrets
import threading
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping, MutableMapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any, Final, TypeVar

from lodestream.api.bodies import Disconnected, Receive, read_body, spool_body
from lodestream.api.calls import handle
from lodestream.api.compression import encode_body, encode_parts
from lodestream.api.errors import error_reply, reply_for
from lodestream.api.http import JSON_TYPE, Reply, Request
from lodestream.api.limits import Gate, Hold
from lodestream.api.metrics import Metrics
from lodestream.api.routing import Guard, Route, Router
from lodestream.api.service import Service
from lodestream.domain.errors import Busy, LodestreamError

Scope = MutableMapping[str, Any]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

_T = TypeVar("_T")

log = logging.getLogger("lodestream.api")

STALLED_S: Final = 600.0
"""A client that takes nothing of a long answer for so long is given up."""


@dataclass(frozen=True, slots=True)
class Quick:
    """The head of a request that may be answered at once (see `api.protocol`)."""

    route: Route
    values: tuple[str, ...]
    method: str
    path: str
    headers: dict[bytes, bytes]
    client: str


class App:
    """Serves a route table."""

    def __init__(
        self,
        service: Service,
        router: Router,
        *,
        metrics: Metrics,
        access_log: bool = False,
        on_stop: Callable[[], None] = lambda: None,
    ) -> None:
        self.service = service
        self.router = router
        self._metrics = metrics
        self._access_log = access_log
        self._gate = Gate(service.limits)
        self._on_stop = on_stop
        self._readers = ThreadPoolExecutor(service.threads, thread_name_prefix="read")
        # Large files take minutes: they keep no thread from short requests.
        self._long = ThreadPoolExecutor(_LONG_AT_ONCE, thread_name_prefix="long")
        # Long answers take turns here, part by part.
        self._streamers = ThreadPoolExecutor(2, thread_name_prefix="stream")
        self._instance = secrets.token_hex(4)
        self._numbers = itertools.count(1)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request (or follow the server's start and stop)."""
        if scope["type"] == "http":
            await self._serve(scope, receive, send)
        elif scope["type"] == "lifespan":
            await self._live(receive, send)
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1000})

    def find_quick(
        self, method: bytes, url: bytes, headers: list[tuple[bytes, bytes]], client: str
    ) -> Quick | None:
        """Return the head of a request that may be answered at once, or None."""
        if not self.service.db.is_sqlite or b"%" in url or b"?" in url:
            return None
        path, verb = url.decode("latin-1"), method.decode("latin-1")
        match = self.router.find(path)
        route = None if match is None else match.routes.get(verb)
        if match is None or route is None or route.fast is None:
            return None
        known = dict(headers)
        if b"transfer-encoding" in known or b"content-encoding" in known:
            return None
        return Quick(route, match.values, verb, path, known, client)

    def answer_quick(self, quick: Quick, body: bytes) -> Reply | None:
        """Answer a request at once, headers and encoding included; None leaves it undone."""
        started = time.perf_counter()
        request_id = self._request_id(quick.headers)
        try:
            with self._gate.admit(quick.headers):
                request = Request(
                    method=quick.method,
                    path=quick.path,
                    query_string=b"",
                    headers=quick.headers,
                    body=body,
                    client=quick.client,
                    request_id=request_id,
                )
                assert quick.route.fast is not None
                reply: Reply | None = quick.route.fast(self.service, request, quick.values)
        except LodestreamError as error:
            reply = reply_for(error)
        except Exception:
            reply = self._bug(request_id, quick.route)
        if reply is None:
            return None
        reply = _finished(reply, quick.headers, request_id, started)
        self._after(quick.route, quick.method, reply.status, request_id, started)
        return reply

    async def _live(self, receive: Receive, send: Send) -> None:
        while True:
            message = await receive()
            if message["type"] == "lifespan.startup":
                _settle_memory()
                await send({"type": "lifespan.startup.complete"})
            elif message["type"] == "lifespan.shutdown":
                for pool in (self._long, self._streamers, self._readers, self.service.writers):
                    pool.shutdown()
                self._on_stop()
                await send({"type": "lifespan.shutdown.complete"})
                return

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        started = time.perf_counter()
        method: str = scope["method"]
        headers = dict(scope["headers"])
        request_id = self._request_id(headers)
        match = self.router.find(scope["path"])
        route = None
        if match is None:
            reply = error_reply(404, "404 Not Found")
        else:
            route = match.routes.get("GET" if method == "HEAD" else method)
            if route is None:
                reply = error_reply(405, "405 Method Not Allowed")
                reply.headers.append((b"allow", ", ".join(sorted(match.routes)).encode()))
            else:
                reply = await self._answer(scope, receive, headers, request_id, route, match.values)
        # A file is only read; what has to be made takes more.
        is_made = reply.parts is not None and reply.size_bytes is None
        with self._gate.stream(wanted=is_made) as may_stream:
            if not may_stream:
                reply = reply_for(
                    Busy("too many long answers at once; try again", retry_after_s=10)
                )
            reply = _finished(reply, headers, request_id, started)
            # Counted before it is sent, so that whoever has an answer finds it in the metrics.
            self._after(route, method, reply.status, request_id, started)
            await send(
                {"type": "http.response.start", "status": reply.status, "headers": reply.headers}
            )
            if reply.parts is not None and method != "HEAD":
                await self._send_parts(receive, send, reply.parts, request_id)
                return
        body = b"" if method == "HEAD" else reply.body
        await send({"type": "http.response.body", "body": body})

    async def _send_parts(
        self, receive: Receive, send: Send, parts: Iterator[bytes], request_id: str
    ) -> None:
        """Send a body part by part, the next being made meanwhile.

        A failure breaks the connection, so that the client cannot take what came for the whole. A
        client that goes away, or takes nothing for `STALLED_S`, ends the work.
        """
        gone = asyncio.ensure_future(_until_gone(receive))
        coming = self._next_part(parts)
        try:
            while (part := await coming) is not None and not gone.done():
                coming = self._next_part(parts)
                async with asyncio.timeout(STALLED_S):
                    await send({"type": "http.response.body", "body": part, "more_body": True})
            if not gone.done():
                await send({"type": "http.response.body", "body": b""})
        except Exception:
            log.exception("a long answer broke off", extra={"request_id": request_id})
            raise
        finally:
            gone.cancel()
            await asyncio.gather(coming, return_exceptions=True)
            close = getattr(parts, "close", None)
            if close is not None:
                await asyncio.get_running_loop().run_in_executor(self._streamers, close)

    def _next_part(self, parts: Iterator[bytes]) -> asyncio.Future[bytes | None]:
        return asyncio.get_running_loop().run_in_executor(self._streamers, next, parts, None)

    def _after(
        self, route: Route | None, method: str, status: int, request_id: str, started: float
    ) -> None:
        took_s = time.perf_counter() - started
        operation = "none" if route is None else route.operation
        self._metrics.observe(operation, status, took_s)
        if self._access_log or status >= 500:
            log.info(
                "request",
                extra={
                    "request_id": request_id,
                    "method": method,
                    "operation": operation,
                    "status": status,
                    "took_ms": round(took_s * 1e3, 2),
                },
            )

    async def _answer(
        self,
        scope: Scope,
        receive: Receive,
        headers: dict[bytes, bytes],
        request_id: str,
        route: Route,
        values: tuple[str, ...],
    ) -> Reply:
        try:
            with self._admitted(route, headers), self._gate.share(route) as hold:
                client = scope.get("client")
                request = Request(
                    method=scope["method"],
                    path=scope["path"],
                    query_string=scope["query_string"],
                    headers=headers,
                    body=b"",
                    client=client[0] if client else "",
                    request_id=request_id,
                )
                if route.takes_long:
                    return await self._answer_long(receive, request, route, values, hold)
                if route.raw_body is not None:
                    request.spool = await spool_body(
                        receive, request, self.service, route, values, hold, self._in_thread
                    )
                else:
                    request.body = await read_body(
                        receive, request, self.service, hold, self._in_thread
                    )
                # SQLite answers small questions faster than a thread would start; a PostgreSQL
                # server is awaited in a thread.
                if route.fast is not None and self.service.db.is_sqlite:
                    fast: Reply | None = route.fast(self.service, request, values)
                    if fast is not None:
                        return fast
                pool = self.service.writers if route.is_write else self._readers
                loop = asyncio.get_running_loop()
                return await loop.run_in_executor(
                    pool, _handle, self.service, route, request, values
                )
        except LodestreamError as error:
            return reply_for(error)
        except Disconnected:
            return error_reply(400, "the client went away")
        except Exception:
            return self._bug(request_id, route)

    async def _answer_long(
        self,
        receive: Receive,
        request: Request,
        route: Route,
        values: tuple[str, ...],
        hold: Hold,
    ) -> Reply:
        """Answer a request whose handler needs time for its file."""
        with self._gate.spool():
            request.spool = await spool_body(
                receive, request, self.service, route, values, hold, self._in_thread
            )
            request.abandoned = threading.Event()
            work = self._long.submit(_handle, self.service, route, request, values)
            try:
                return await asyncio.wrap_future(work)
            except asyncio.CancelledError:
                # The server stops; the handler is to end soon, and closes the file.
                request.abandoned.set()
                if work.cancel():
                    request.spool.close()
                raise

    def _bug(self, request_id: str, route: Route) -> Reply:
        log.exception("bug", extra={"request_id": request_id, "operation": route.operation})
        return error_reply(500, f"500 Internal Server Error (request {request_id})")

    def _request_id(self, headers: Mapping[bytes, bytes]) -> str:
        """Return the caller's request id, if it is fit to be logged and echoed, or a new one."""
        given = headers.get(b"x-request-id", b"")
        if 0 < len(given) <= 128 and given.replace(b"-", b"").isalnum():
            return given.decode("ascii")
        return f"{self._instance}-{next(self._numbers):x}"

    def _admitted(
        self, route: Route, headers: Mapping[bytes, bytes]
    ) -> AbstractContextManager[None]:
        # A server that is too busy is still alive, and says so.
        is_public = route.needs.guard is Guard.PUBLIC
        return nullcontext() if is_public else self._gate.admit(headers)

    async def _in_thread(self, work: Callable[..., _T], *arguments: Any) -> _T:
        return await asyncio.get_running_loop().run_in_executor(self._readers, work, *arguments)


def _handle(service: Service, route: Route, request: Request, values: tuple[str, ...]) -> Reply:
    try:
        with request.spool or nullcontext():
            return handle(service, route, request, values)
    except StopIteration as error:
        # It cannot pass from a thread to the event loop: the caller would wait for ever.
        raise RuntimeError("a handler let StopIteration out") from error


async def _until_gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


_LONG_AT_ONCE = 2
_KEPT_BYTES = 16 * 1024 * 1024
_MOST_ARENAS = 4


def _settle_memory() -> None:
    """Keep Python and the C library from doing for each batch what need not be done again.

    A batch of comments makes many objects and no cycles; they end by their reference counts, so
    the collector seldom has to look, and never at what was there from the start. And glibc gives
    the memory of a batch back to the system at its end, to ask for it again, page by page, at the
    next one: a fourth of a large fetch. It may keep as much as a few batches need.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 50, 100)
    if platform.libc_ver()[0] == "glibc":
        set_option = ctypes.CDLL(None).mallopt
        trim_threshold, mmap_threshold, arena_max = -1, -3, -8  # names in <malloc.h>
        set_option(trim_threshold, _KEPT_BYTES)
        set_option(mmap_threshold, _KEPT_BYTES)
        set_option(arena_max, _MOST_ARENAS)


_WORTH_COMPRESSING: Final = (JSON_TYPE, b"application/x-ndjson")


def _finished(
    reply: Reply, headers: Mapping[bytes, bytes], request_id: str, started: float
) -> Reply:
    """Return a reply as it goes out: encoded, with all of its headers."""
    body, parts, encoding = reply.body, reply.parts, None
    if reply.content_type in _WORTH_COMPRESSING or reply.content_type.startswith(b"text/"):
        accepted = headers.get(b"accept-encoding", b"")
        if parts is None:
            body, encoding = encode_body(body, accepted)
        else:
            parts, encoding = encode_parts(parts, accepted)
    size = len(body) if parts is None else reply.size_bytes
    took_ms = (time.perf_counter() - started) * 1e3
    head = [
        (b"content-type", reply.content_type),
        *([] if size is None else [(b"content-length", b"%d" % size)]),
        (b"server-timing", b"total;dur=%.1f" % took_ms),
        (b"x-request-id", request_id.encode()),
        *reply.headers,
    ]
    if encoding is not None:
        head.append((b"content-encoding", encoding))
        head.append((b"vary", b"accept-encoding"))
    return Reply(body, reply.status, reply.content_type, head, parts)
