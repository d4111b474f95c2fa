"""Connections of integrations: their secrets apart, and the hosts that those are sent to."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, TypeAlias
from urllib.parse import urlsplit

import msgspec
from msgspec import UNSET, Struct

from lodestream.domain.errors import Unprocessable
from lodestream.domain.integrations import (
    AppAccess,
    ExchangeConnection,
    Graph,
    ImapConnection,
    Ntlm,
    OAuth2,
    PrivateKeyApplication,
    UserAccess,
)

Connection: TypeAlias = ExchangeConnection | ImapConnection

AUTHORITY: Final = "https://login.microsoftonline.com"
GRAPH: Final = "https://graph.microsoft.com/v1.0"
EWS: Final = "https://outlook.office365.com/EWS/Exchange.asmx"

_SECRET_FIELDS: Final = frozenset({"password", "client_secret", "private_key", "refresh_token"})
_PARTS: Final = ("access", "application")
_LOOPBACK: Final = frozenset({"localhost", "127.0.0.1", "::1"})


def without_secrets(connection: Connection) -> tuple[Connection, dict[str, str]]:
    """Return a connection as it may be shown, and the secrets that were in it by their names."""
    taken: dict[str, str] = {}
    parts: dict[str, Struct] = {}
    for name, part in _parts(connection):
        bare = {}
        for field in _secret_fields(part):
            value = getattr(part, field)
            if value is not UNSET:
                taken[f"{name}.{field}"] = value
                bare[field] = UNSET
        parts[name] = msgspec.structs.replace(part, **bare)
    return msgspec.structs.replace(connection, **parts), taken


def with_secrets(connection: Connection, secrets: Mapping[str, str]) -> Connection:
    """Return a connection with those of the secrets that it has a place for and lacks."""
    parts: dict[str, Struct] = {}
    for name, part in _parts(connection):
        given = {
            field: secrets[f"{name}.{field}"]
            for field in _secret_fields(part)
            if getattr(part, field) is UNSET and f"{name}.{field}" in secrets
        }
        parts[name] = msgspec.structs.replace(part, **given)
    return msgspec.structs.replace(connection, **parts)


def may_keep_secrets(before: Connection, after: Connection) -> bool:
    """Tell whether secrets given for one connection may be used for another.

    Whoever may change an integration is not to learn its secrets by sending them elsewhere.
    """
    return _places(after) <= _places(before) | {AUTHORITY, GRAPH, EWS}


def hosts(connection: Connection) -> list[str]:
    """Return the hosts that a connection leads to.

    Raises Unprocessable for a URL without a host, and for one that would send secrets in the clear.
    """
    server = [connection.host] if isinstance(connection, ImapConnection) else []
    return [*server, *map(_host, _urls(connection))]


def require_sound(connection: Connection) -> None:
    """Raise Unprocessable if the parts of a connection do not belong together."""
    if isinstance(connection, ImapConnection):
        hosts(connection)
        return
    application, is_graph = connection.application, isinstance(connection.microsoft_api, Graph)
    if isinstance(application, Ntlm):
        if is_graph or not isinstance(connection.access, UserAccess):
            raise Unprocessable("'ntlm' goes with 'user_access' and 'ews' only")
        if connection.ews_endpoint is None:
            raise Unprocessable("'ntlm' needs the 'ews_endpoint' of the Exchange server")
    if isinstance(application, PrivateKeyApplication) and not isinstance(
        connection.access, AppAccess
    ):
        raise Unprocessable("'private_key' goes with 'app_access' only")
    hosts(connection)


def _places(connection: Connection) -> frozenset[str]:
    """Return where secrets, or tokens got by them, are sent, and how protected they are."""
    urls = frozenset(url.rstrip("/") for url in _urls(connection))
    if not isinstance(connection, ImapConnection):
        return urls
    port = "" if connection.port is UNSET else connection.port
    return urls | {f"{connection.security} {connection.host.lower()} {port}"}


def _urls(connection: Connection) -> list[str]:
    if isinstance(connection, ImapConnection):
        access = connection.access
        return [access.token_url] if isinstance(access, OAuth2) else []
    is_ntlm = isinstance(connection.application, Ntlm)
    authority = [] if is_ntlm else [connection.authority or AUTHORITY]
    if isinstance(connection.microsoft_api, Graph):
        return [*authority, connection.graph_endpoint or GRAPH]
    return [*authority, connection.ews_endpoint or EWS]


def _parts(connection: Connection) -> list[tuple[str, Struct]]:
    return [(name, getattr(connection, name)) for name in _PARTS if hasattr(connection, name)]


def _secret_fields(part: Struct) -> list[str]:
    return [name for name in part.__struct_fields__ if name in _SECRET_FIELDS]


def _host(url: str) -> str:
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError:
        host = None
    if not host or parts.scheme not in ("https", "http"):
        raise Unprocessable(f"{url[:200]!r} is not the URL of a host")
    if parts.scheme == "http" and host not in _LOOPBACK:
        raise Unprocessable(f"{url[:200]!r}: secrets are sent by https only")
    return host
