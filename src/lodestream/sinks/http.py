"""Calls of a target over HTTP, and what their answers mean for the comments they carried."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from time import monotonic, time
from typing import Final

import urllib3
from msgspec import Struct

from lodestream import __version__
from lodestream.domain.deliveries import Done, Failed, Gone, Later, Outcome, Refused

MOST_DETAIL_BYTES: Final = 1024
CONNECT_TIMEOUT_S: Final = 10.0
AGENT: Final = f"lodestream/{__version__}"

# Somebody has to set something right before the target takes anything; no comment is at fault.
_SET_UP_WRONGLY: Final = frozenset({401, 402, 403, 404, 405, 406, 407, 426})
_BUSY: Final = frozenset({408, 421, 423, 424, 425, 429, 502, 503, 504, 507, 509, 529})


class Answer(Struct, frozen=True):
    """An answer of a target, with its whole body unless a bound was given."""

    status: int
    body: bytes
    retry_after_s: float | None


class Caller:
    """Keeps connections to one target. Redirects are never followed."""

    def __init__(self, *, timeout_s: float) -> None:
        self._timeout_s = timeout_s
        self._pool = urllib3.PoolManager(
            num_pools=1,
            maxsize=1,
            retries=False,
            timeout=urllib3.Timeout(connect=min(CONNECT_TIMEOUT_S, timeout_s), read=timeout_s),
        )

    def call(
        self,
        method: str,
        url: str,
        body: bytes | None,
        headers: Mapping[str, str],
        *,
        most_bytes: int = MOST_DETAIL_BYTES,
    ) -> Answer | Later | Failed:
        """Send a request; Later if the target was not reached, Failed if it did not answer."""
        sent = {"user-agent": AGENT, **headers}
        try:
            answer = self._pool.request(
                method, url, body=body, headers=sent, redirect=False, preload_content=False
            )
            content, is_whole = _read(answer, most_bytes, until=monotonic() + self._timeout_s)
            if not is_whole:
                answer.close()  # the rest is nobody's business
            answer.release_conn()
        except (
            urllib3.exceptions.NewConnectionError,
            urllib3.exceptions.ConnectTimeoutError,
            urllib3.exceptions.SSLError,
        ) as error:
            return Later(f"not reached: {type(error).__name__}", _detail(error))
        except urllib3.exceptions.HTTPError as error:
            return Failed(f"no answer: {type(error).__name__}", _detail(error))
        return Answer(answer.status, content, _retry_after_s(answer.headers.get("retry-after")))

    def close(self) -> None:
        """Close the connections."""
        self._pool.clear()


def meaning(answer: Answer) -> Outcome:
    """Return what a status says of the comments that were sent. Raises Gone on 410."""
    status = answer.status
    reason = f"HTTP {status}"
    detail = answer.body.decode("utf-8", "replace")
    if 200 <= status < 300:
        return Done()
    if status == 410:
        raise Gone(reason)
    if status in _BUSY or status in _SET_UP_WRONGLY or status < 400:
        return Later(reason, detail, answer.retry_after_s)
    return Refused(reason, detail) if status < 500 else Failed(reason, detail)


def _read(answer: urllib3.BaseHTTPResponse, most: int, *, until: float) -> tuple[bytes, bool]:
    """Return the beginning of a body, and whether it is all; a slow one is waited for in vain."""
    parts: list[bytes] = []
    size = 0
    while size < most and monotonic() < until:
        part = answer.read1(min(most - size, 65_536))
        if not part:
            return b"".join(parts), True
        parts.append(part)
        size += len(part)
    return b"".join(parts), False


def _detail(error: Exception) -> str:
    return str(error)[:MOST_DETAIL_BYTES]


def _retry_after_s(text: str | None) -> float | None:
    """Read a Retry-After header: seconds, or a date (RFC 9110, 10.2.3)."""
    if text is None:
        return None
    text = text.strip()
    if text.isascii() and text.isdigit():
        return float(text[:9])
    with contextlib.suppress(ValueError, OverflowError):
        return max(0.0, parsedate_to_datetime(text).timestamp() - time())
    return None
