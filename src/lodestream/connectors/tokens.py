"""Tokens for IMAP: OAuth 2.0 with a refresh token, or of the application itself. (RFC 6749.)"""

from __future__ import annotations

import time
from typing import Final

import msgspec
from msgspec import UNSET, Struct

from lodestream.connectors.http import Http, Reply, retry_after_s
from lodestream.connectors.mailboxes import MailboxRefused, Temporary
from lodestream.domain.integrations import OAuth2

_EARLY_S: Final = 120.0
_LONGEST_TOLD: Final = 300


class _Token(Struct):
    access_token: str
    expires_in: float = 3600.0


class _Error(Struct):
    error: str
    error_description: str = ""


class Tokens:
    """The access token of a user or an application, kept until shortly before it expires."""

    def __init__(self, access: OAuth2, http: Http) -> None:
        self._access = access
        self._http = http
        self._token = ""
        self._until_s = 0.0

    def get(self) -> str:
        """Return a token that is valid now.

        Raises MailboxRefused if the authority gives none, Temporary if it does not answer.
        """
        if not self._token or time.monotonic() >= self._until_s:
            reply = self._http.send("POST", self._access.token_url, fields=_form(self._access))
            token = _read(reply)
            self._token = token.access_token
            self._until_s = time.monotonic() + token.expires_in - _EARLY_S
        return self._token

    def forget(self) -> None:
        """Ask for a new one the next time: this one was not taken."""
        self._token = ""


def _form(access: OAuth2) -> dict[str, str]:
    form = {"client_id": access.client_id}
    if access.refresh_token is UNSET:
        form["grant_type"] = "client_credentials"
    else:
        form |= {"grant_type": "refresh_token", "refresh_token": access.refresh_token}
    if access.client_secret is not UNSET:
        form["client_secret"] = access.client_secret
    if access.scope is not UNSET:
        form["scope"] = access.scope
    return form


def _read(reply: Reply) -> _Token:
    content = reply.content or b""
    if reply.status == 200:
        try:
            return msgspec.json.decode(content, type=_Token)
        except msgspec.DecodeError as error:
            text = "the authority answers, but not with a token"
            raise MailboxRefused("invalid_exchange_credentials", text) from error
    if reply.status == 429 or reply.status >= 500:
        text = f"the authority gives no token now (HTTP {reply.status})"
        raise Temporary(text, retry_after_s=retry_after_s(reply.headers))
    try:
        told = msgspec.json.decode(content, type=_Error)
        why = f"{told.error}: {told.error_description}"[:_LONGEST_TOLD]
    except msgspec.DecodeError:
        why = f"HTTP {reply.status}"
    raise MailboxRefused("invalid_exchange_credentials", f"the authority gives no token: {why}")
