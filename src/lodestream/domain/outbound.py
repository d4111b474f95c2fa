"""Which hosts the server may connect to on behalf of its users.

Users name hosts: of mail servers, of tokens' authorities, of sinks. Without a bound somebody who
may set those up could make the server talk to machines that only the server can reach.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from typing import Final

from lodestream.domain.errors import Unprocessable

SETTING: Final = "LODESTREAM_OUTBOUND_HOSTS"


def parse_hosts(text: str) -> tuple[str, ...]:
    """Return the entries of a list separated by commas.

    An entry is a host name, `*.` and a domain (for every host below it), an address, or a network
    such as `10.1.0.0/16`.
    """
    return tuple(part.strip() for part in text.split(",") if part.strip())


def require_allowed(host: str, allowed: Sequence[str]) -> None:
    """Check that the server may connect to a host. An empty list allows every host.

    `host` is a name or an address without port; letter case, a final dot and the brackets of an
    IPv6 address do not count. Names are compared as they are written, not looked up: a network
    allows addresses in it, and no names. Raises Unprocessable.
    """
    if not allowed:
        return
    wanted = _plain(host)
    if not any(_matches(wanted, entry) for entry in allowed):
        raise Unprocessable(
            f"the host {host[:200]!r} is not among those that this server may connect to: "
            f"the operator lists them in {SETTING}"
        )


def _matches(host: str, entry: str) -> bool:
    pattern = entry.strip().lower().rstrip(".")
    if pattern.startswith("*."):
        return host.endswith(pattern[1:]) and len(host) > len(pattern) - 1
    try:
        network = ipaddress.ip_network(_plain(pattern), strict=False)
    except ValueError:
        return host == pattern
    try:
        return ipaddress.ip_address(host) in network
    except ValueError:
        return False


def _plain(host: str) -> str:
    host = host.strip().lower().rstrip(".")
    return host[1:-1] if host.startswith("[") and host.endswith("]") else host
