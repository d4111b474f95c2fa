"""Whether the server lives, whether it is ready, and what it counts."""

from __future__ import annotations

from ipaddress import ip_address
from typing import Any, Final

from lodestream.api.calls import Call, authenticate
from lodestream.api.http import Reply, Request
from lodestream.api.metrics import CONTENT_TYPE
from lodestream.domain import access
from lodestream.domain.errors import Unavailable
from lodestream.store.migrate import schema_version

METRICS_NEED: Final = (access.AUDIT_READ, access.TENANT_ADMIN)
METRICS_RULE: Final = (
    "no token from the server's own machine; else audit-read or tenant-admin globally"
)

# A request that came through a proxy is not from this machine, wherever the proxy runs.
_FORWARDED: Final = (
    b"forwarded",
    b"via",
    b"x-forwarded-for",
    b"x-forwarded-host",
    b"x-forwarded-proto",
    b"x-real-ip",
)


def health(_call: Call[Any]) -> None:
    """Tell that the process answers."""


def ready(call: Call[Any]) -> None:
    """Tell that the database can be reached and has the schema that this program needs."""
    version = schema_version(call.service.db)
    if not version.is_current:
        raise Unavailable(
            f"the database has schema {version.current or '(none)'}, "
            f"this program needs {version.needed}"
        )


def metrics(call: Call[Any]) -> Reply:
    """Return counters and gauges in Prometheus's text format."""
    service = call.service
    if not _is_local(call.request):
        access.require_global(authenticate(service, call.request), METRICS_NEED)
    return Reply(service.metrics.exposition(service.figures), content_type=CONTENT_TYPE)


def _is_local(request: Request) -> bool:
    """Tell whether a request was made on this machine, to this machine.

    The name it was made to counts, too: a web page that has its own name resolve to this machine
    must not read what belongs to the operator.
    """
    if any(name in request.headers for name in _FORWARDED):
        return False
    host = request.header(b"host").lower()
    name = host[1 : host.find("]")] if host.startswith("[") else host.partition(":")[0]
    return _is_loopback(request.client) and (name == "localhost" or _is_loopback(name))


def _is_loopback(address: str) -> bool:
    try:
        return ip_address(address).is_loopback
    except ValueError:
        return False
