"""Tokens of Entra ID for Exchange and Graph, by msal: of an application, or of a service user."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import urlencode

from msgspec import UNSET

from lodestream.connectors.http import Http, Reply, retry_after_s
from lodestream.connectors.mailboxes import MailboxRefused, Temporary
from lodestream.domain.integrations import (
    AppAccess,
    CustomApplication,
    ExchangeConnection,
    Ntlm,
    PrivateKeyApplication,
)

AUTHORITY: Final = "https://login.microsoftonline.com"
_PASSING: Final = frozenset({"temporarily_unavailable", "server_error"})
_LONGEST_TOLD: Final = 300
_EARLY_S: Final = 120.0


class EntraTokens:
    """Access tokens for one resource, each kept until shortly before it expires."""

    def __init__(self, connection: ExchangeConnection, resource: str, http: Http) -> None:
        application = connection.application
        if isinstance(application, Ntlm):
            text = "Entra ID gives tokens to applications, and none is configured"
            raise MailboxRefused("invalid_exchange_credentials", text)
        self._connection = connection
        self._scopes = [f"{resource.rstrip('/')}/.default"]
        self._application = _application(connection, application, http)
        self._token = ""
        self._until_s = 0.0

    def get(self, *, anew: bool = False) -> str:
        """Return a token that is valid now; `anew` if the one kept was not taken.

        Raises MailboxRefused if there is none to be had, Temporary if the authority fails.
        """
        if anew or not self._token or time.monotonic() >= self._until_s:
            found = self._ask()
            self._token = str(found.get("access_token") or "")
            if not self._token:
                raise _no_token(found)
            self._until_s = time.monotonic() + float(found.get("expires_in", 600)) - _EARLY_S
        return self._token

    def _ask(self) -> Mapping[str, Any]:
        access = self._connection.access
        if isinstance(access, AppAccess):
            # msal would give the one that it kept.
            self._application.remove_tokens_for_client()
            found = self._application.acquire_token_for_client(scopes=self._scopes)
        else:
            password = "" if access.password is UNSET else access.password
            found = self._application.acquire_token_by_username_password(
                access.username, password, scopes=self._scopes
            )
        return found if isinstance(found, dict) else {}


def _application(
    connection: ExchangeConnection,
    application: CustomApplication | PrivateKeyApplication,
    http: Http,
) -> Any:
    try:
        # Deferred: it belongs to an optional extra.
        import msal
    except ImportError as error:
        text = "Exchange needs the extra `exchange`: pip install 'lodestream[exchange]'"
        raise MailboxRefused("unknown_forbidden_error", text) from error
    logging.getLogger("msal").setLevel(logging.WARNING)
    authority = f"{(connection.authority or AUTHORITY).rstrip('/')}/{application.tenant_id}"
    credential: object = None
    if isinstance(application, PrivateKeyApplication):
        key = "" if application.private_key is UNSET else application.private_key
        credential = {"private_key": key, "thumbprint": application.thumbprint}
    elif application.client_secret is not UNSET:
        credential = application.client_secret
    kind = (
        msal.PublicClientApplication if credential is None else msal.ConfidentialClientApplication
    )
    if credential is None and isinstance(connection.access, AppAccess):
        raise MailboxRefused("invalid_exchange_credentials", "the application has no secret")
    try:
        return kind(
            application.client_id,
            client_credential=credential,
            authority=authority,
            instance_discovery=False,  # would ask another host about this one
            http_client=_MsalHttp(http),
        )
    except ValueError as error:
        text = f"the application cannot be used: {error}"[:_LONGEST_TOLD]
        raise MailboxRefused("invalid_exchange_credentials", text) from error


def _no_token(found: Mapping[str, Any]) -> Exception:
    why = f"no token: {found.get('error')}: {found.get('error_description')}"[:_LONGEST_TOLD]
    if found.get("error") in _PASSING:
        return Temporary(why)
    return MailboxRefused("invalid_exchange_credentials", why)


class _MsalHttp:
    """Our way to hosts, in the shape that msal asks for."""

    def __init__(self, http: Http) -> None:
        self._http = http

    def get(
        self,
        url: str,
        params: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        **_more: object,
    ) -> _MsalReply:
        asked = f"{url}?{urlencode(params)}" if params else url
        return _checked(self._http.send("GET", asked, headers=headers))

    def post(
        self,
        url: str,
        params: Mapping[str, str] | None = None,
        data: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        **_more: object,
    ) -> _MsalReply:
        asked = f"{url}?{urlencode(params)}" if params else url
        return _checked(self._http.send("POST", asked, headers=headers, fields=data or {}))

    def close(self) -> None:
        """Leave connections to their owner."""


class _MsalReply:
    def __init__(self, reply: Reply) -> None:
        self.status_code = reply.status
        self.text = (reply.content or b"").decode("utf-8", "replace")
        self.headers = dict(reply.headers)

    def json(self) -> Any:
        return json.loads(self.text)

    def raise_for_status(self) -> None:
        if self.status_code >= 400:
            text = f"the authority knows no such tenant (HTTP {self.status_code})"
            raise MailboxRefused("invalid_exchange_credentials", text)


def _checked(reply: Reply) -> _MsalReply:
    if reply.status == 429 or reply.status >= 500:
        text = f"the authority gives no token now (HTTP {reply.status})"
        raise Temporary(text, retry_after_s=retry_after_s(reply.headers))
    return _MsalReply(reply)
