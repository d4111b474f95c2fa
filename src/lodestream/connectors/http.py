"""HTTP to mail systems and their authorities: bounded, checked hosts, no redirects."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Final
from urllib.parse import urlencode, urlsplit
from urllib.request import getproxies, proxy_bypass

import urllib3
from urllib3.exceptions import HTTPError

from lodestream.connectors.mailboxes import MailboxRefused, Temporary
from lodestream.domain.errors import Unprocessable
from lodestream.domain.outbound import require_allowed

MOST_BYTES: Final = 16 << 20
_TIMEOUT: Final = urllib3.Timeout(connect=15.0, read=120.0)
_READ: Final = 1 << 16


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer. `content` is None if it is longer than it may be."""

    status: int
    headers: Mapping[str, str]
    content: bytes | None


class Http:
    """Requests to hosts that may be connected to; connections are kept. `HTTPS_PROXY` counts."""

    def __init__(self, allowed_hosts: Sequence[str] = ()) -> None:
        self._allowed = tuple(allowed_hosts)
        self._pools: dict[str | None, urllib3.PoolManager] = {}

    def send(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str] | None = None,
        fields: Mapping[str, str] | None = None,
        most_bytes: int = MOST_BYTES,
    ) -> Reply:
        """Send a request, with `fields` as a form; return the answer, whatever its status.

        Raises MailboxRefused for a host that may not be connected to, Temporary if none answers.
        """
        require_host(url, self._allowed)
        sent = dict(headers or {})
        body = None
        if fields is not None:
            sent["Content-Type"] = "application/x-www-form-urlencoded"
            body = urlencode(fields)
        try:
            answer = self._pool(url).request(
                method,
                url,
                headers=sent,
                body=body,
                redirect=False,
                retries=False,
                timeout=_TIMEOUT,
                preload_content=False,
            )
            try:
                content = _content(answer, most_bytes)
            finally:
                answer.release_conn()
        except (HTTPError, OSError) as error:
            host = urlsplit(url).hostname
            raise Temporary(f"no answer from {host}: {type(error).__name__}") from error
        return Reply(answer.status, {k.lower(): v for k, v in answer.headers.items()}, content)

    def close(self) -> None:
        """Close all connections."""
        for pool in self._pools.values():
            pool.clear()

    def _pool(self, url: str) -> urllib3.PoolManager:
        parts = urlsplit(url)
        known = getproxies()
        proxy = known.get(parts.scheme) or known.get("all")
        if not proxy or proxy_bypass(parts.hostname or ""):
            proxy = None
        if proxy not in self._pools:
            self._pools[proxy] = (
                urllib3.PoolManager() if proxy is None else urllib3.ProxyManager(proxy)
            )
        return self._pools[proxy]


def _content(answer: urllib3.BaseHTTPResponse, most_bytes: int) -> bytes | None:
    parts, size = [], 0
    for part in answer.stream(_READ):
        size += len(part)
        if size > most_bytes:
            # What is left unread would be taken for the next answer.
            answer.close()
            return None
        parts.append(part)
    return b"".join(parts)


def require_host(url_or_host: str, allowed_hosts: Sequence[str]) -> None:
    """Check that a host may be connected to. Raises MailboxRefused."""
    host = urlsplit(url_or_host).hostname if "://" in url_or_host else url_or_host
    try:
        require_allowed(host or "", allowed_hosts)
    except Unprocessable as error:
        raise MailboxRefused("unknown_forbidden_error", error.message) from error


def retry_after_s(headers: Mapping[str, str]) -> float | None:
    """Return how long `Retry-After` asks to wait; None without a readable one."""
    asked = headers.get("retry-after", "").strip()
    if asked.isascii() and asked.isdigit():
        return float(asked)
    try:
        return max(0.0, parsedate_to_datetime(asked).timestamp() - time.time())
    except (ValueError, TypeError):
        return None
