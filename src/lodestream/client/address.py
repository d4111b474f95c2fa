"""Where a server is, and the way to it."""

from __future__ import annotations

import base64
import os
import re
import ssl
import sys
from dataclasses import dataclass
from typing import Final
from urllib.parse import unquote, urlsplit

_TARGET: Final = re.compile(r"^/[!-~]*$")
_NAME: Final = re.compile(r"^[A-Za-z0-9_.:-]+$")


@dataclass(frozen=True)
class Proxy:
    """An HTTP proxy; `fields` are the header lines that open it."""

    host: str
    port: int
    fields: str


@dataclass(frozen=True)
class Address:
    """A server: `prefix` stands before every path, as `/organisation/tenant/reinfer_`."""

    url: str
    host: str
    port: int
    prefix: str
    tls: ssl.SSLContext | None
    proxy: Proxy | None

    @property
    def authority(self) -> str:
        """The host, and the port unless it is the usual one, as the header `Host` has them."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == (443 if self.tls else 80) else f"{host}:{self.port}"

    def target(self, path: str) -> str:
        """Return what a request line names for a path of the API.

        Raises ValueError if the path has characters that must be percent-encoded.
        """
        if not _TARGET.match(path):
            raise ValueError(f"{path!r} is no path: it begins with a slash, percent-encoded")
        if self.proxy and not self.tls:
            return f"http://{self.authority}{self.prefix}{path}"
        return self.prefix + path

    @property
    def fields(self) -> str:
        """The header lines that the way to the server needs in every request."""
        opening = self.proxy.fields if self.proxy and not self.tls else ""
        return f"Host: {self.authority}\r\n{opening}"

    @property
    def tunnel(self) -> bytes | None:
        """What to ask the proxy for before TLS begins; None if there is nothing to ask."""
        if not self.proxy or not self.tls:
            return None
        host = f"[{self.host}]" if ":" in self.host else self.host
        end = f"{host}:{self.port}"
        return f"CONNECT {end} HTTP/1.1\r\nHost: {end}\r\n{self.proxy.fields}\r\n".encode("ascii")

    @property
    def endpoint(self) -> tuple[str, int]:
        """The host and port that are connected to: the proxy's, if there is one."""
        return (self.proxy.host, self.proxy.port) if self.proxy else (self.host, self.port)


def find_address(
    url: str, *, tls: ssl.SSLContext | None, use_environment: bool, proxy_url: str | None = None
) -> Address:
    """Read the URL of a server, and of the proxy that leads to it.

    Unless a proxy is given, `HTTPS_PROXY`, `HTTP_PROXY`, `ALL_PROXY` and `NO_PROXY` count with
    `use_environment`, as they do for curl.

    Raises ValueError for what is no URL of a server, or a proxy that cannot be used.
    """
    parts = urlsplit(url if "://" in url else f"http://{url}")
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.fragment:
        raise ValueError(f"{url!r} is not the URL of a server")
    if parts.username is not None:
        raise ValueError("the URL of a server has no user in it: give the token apart")
    host = parts.hostname
    prefix = parts.path.rstrip("/")
    if not _NAME.match(host) or (prefix and not _TARGET.match(prefix)):
        raise ValueError(f"{url!r} is not the URL of a server")
    secure = parts.scheme == "https"
    context = (tls or ssl.create_default_context()) if secure else None
    port = parts.port or (443 if secure else 80)
    if proxy_url:
        proxy: Proxy | None = _read_proxy(proxy_url)
    else:
        proxy = _find_proxy(parts.scheme, host) if use_environment else None
    return Address(url, host, port, prefix, context, proxy)


def _find_proxy(scheme: str, host: str) -> Proxy | None:
    if sys.platform not in ("darwin", "win32") and not any(
        name.lower().endswith("_proxy") for name in os.environ
    ):
        return None
    # Takes longer to import than all else here, and most machines have no proxy.
    from urllib.request import getproxies, proxy_bypass

    known = getproxies()
    url = known.get(scheme) or known.get("all")
    if not url or proxy_bypass(host):
        return None
    return _read_proxy(url)


def _read_proxy(url: str) -> Proxy:
    parts = urlsplit(url if "://" in url else f"http://{url}")
    if parts.scheme != "http" or not parts.hostname:
        # The URL may have a password in it, and is not repeated.
        raise ValueError("the proxy is not an HTTP proxy (http://host:port): no other can be used")
    fields = ""
    if parts.username is not None:
        secret = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
        basic = base64.b64encode(secret.encode()).decode()
        fields = f"Proxy-Authorization: Basic {basic}\r\n"
    return Proxy(parts.hostname, parts.port or 80, fields)
