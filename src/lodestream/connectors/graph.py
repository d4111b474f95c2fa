"""Mailboxes of Microsoft 365 by Graph: a delta query for each folder, e-mails as MIME.

Where a folder was left is told by the link that Graph gives after each page of changes. Ids are
asked for in their immutable form, so that an e-mail keeps its own when it is moved.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any, Final
from urllib.parse import quote, urlsplit

import msgspec
from msgspec import UNSET, Struct, field

from lodestream.connectors.emails import MOST_BYTES, Known, email_new
from lodestream.connectors.entra import EntraTokens
from lodestream.connectors.http import Http, Reply, retry_after_s
from lodestream.connectors.mailboxes import Folder, MailboxRefused, Page, Skipped, Temporary
from lodestream.connectors.unread import Unread
from lodestream.domain.buckets import EmailNew
from lodestream.domain.integrations import ErrorKind, ExchangeConnection, Mailbox
from lodestream.domain.times import parse_us

ENDPOINT: Final = "https://graph.microsoft.com/v1.0"
PAGE_EMAILS: Final = 50
_PREFER: Final = f'IdType="ImmutableId", odata.maxpagesize={PAGE_EMAILS}'
_FIELDS: Final = (
    "receivedDateTime,isRead,isDraft,importance,categories,conversationId,internetMessageId"
)
_DEEPEST: Final = 64
_GONE: Final = frozenset({"SyncStateNotFound", "syncStateNotFound", "resyncRequired"})
_PASSING: Final = frozenset({408, 429, 500, 502, 503, 504, 509})


class _Message(Struct, rename="camel"):
    id: str
    received: str | None = field(default=None, name="receivedDateTime")
    is_read: bool | None = None
    is_draft: bool = False
    importance: str | None = None
    categories: list[str] = []
    conversation_id: str | None = None
    removed: msgspec.Raw | msgspec.UnsetType = field(default=UNSET, name="@removed")


class _Changes(Struct):
    value: list[_Message]
    next_link: str | None = field(default=None, name="@odata.nextLink")
    delta_link: str | None = field(default=None, name="@odata.deltaLink")


class _MailFolder(Struct, rename="camel"):
    id: str
    display_name: str = ""
    child_folder_count: int = 0
    kind: str = field(default="", name="@odata.type")


class _Folders(Struct):
    value: list[_MailFolder]
    next_link: str | None = field(default=None, name="@odata.nextLink")


class _Code(Struct):
    code: str = ""
    message: str = ""


class _Error(Struct):
    error: _Code


class GraphMailbox:
    """A mailbox of Microsoft 365. `http` carries requests in another way."""

    def __init__(
        self,
        connection: ExchangeConnection,
        mailbox: Mailbox,
        *,
        allowed_hosts: Sequence[str] = (),
        http: Http | None = None,
    ) -> None:
        self._endpoint = (connection.graph_endpoint or ENDPOINT).rstrip("/")
        parts = urlsplit(self._endpoint)
        self._origin = f"{parts.scheme}://{parts.netloc}"
        if parts.scheme != "https" or not parts.hostname:
            raise MailboxRefused("unknown_forbidden_error", "the endpoint of Graph is no HTTPS URL")
        self._mailbox = mailbox
        self._http = http or Http(allowed_hosts)
        self._tokens = EntraTokens(connection, self._origin, self._http)
        self._user = f"{self._endpoint}/users/{quote(mailbox.email, safe='@')}"
        start = mailbox.start_timestamp
        self._start_us = None if start is None else parse_us(start)
        self._unread: dict[str, Unread[_Message]] = {}

    def folders(self) -> list[Folder]:
        """Return the mail folders, without that of drafts and those that are searches."""
        try:
            drafts = self._read(f"{self._user}/mailFolders/drafts?$select=id", _MailFolder)
            return list(self._folders_in(f"{self._user}/mailFolders", (), {drafts.id}, 0))
        except _GoneError as error:
            raise MailboxRefused("mailbox_inbox_not_found", str(error)) from error
        except (_ExpiredError, _UnreadableError) as error:
            raise Temporary(str(error)) from error

    def changes(self, folder: Folder, fingerprint: str | None) -> Page:
        """Return e-mails that came, changed or were moved here since a fingerprint."""
        unread = self._unread.pop(folder.id, None)
        if unread is None or unread.fingerprint != fingerprint:
            try:
                unread = self._ask(folder, fingerprint)
            except _GoneError:
                return Page([], fingerprint or "", None, more=False)
            except (_ExpiredError, _UnreadableError) as error:
                raise Temporary(str(error)) from error
        return self._page(folder, unread)

    def close(self) -> None:
        """Close connections."""
        self._http.close()

    # Folders

    def _folders_in(
        self, url: str, above: tuple[str, ...], passed_over: set[str], depth: int
    ) -> list[Folder]:
        found: list[Folder] = []
        link: str | None = f"{url}?$top=100&$select=id,displayName,childFolderCount"
        while link is not None:
            some = self._read(self._own(link), _Folders)
            for one in some.value:
                path = (*above, one.display_name or one.id)
                if one.id in passed_over or one.kind == "#microsoft.graph.mailSearchFolder":
                    continue
                found.append(Folder(one.id, path))
                if one.child_folder_count and depth < _DEEPEST:
                    below = f"{self._user}/mailFolders/{quote(one.id, safe='')}/childFolders"
                    found += self._folders_in(below, path, passed_over, depth + 1)
            link = some.next_link
        return found

    # Changes

    def _ask(self, folder: Folder, fingerprint: str | None) -> Unread[_Message]:
        """Ask for the next changes; begin anew if Graph does not know the fingerprint any more."""
        first = (
            f"{self._user}/mailFolders/{quote(folder.id, safe='')}/messages/delta?$select={_FIELDS}"
        )
        known = fingerprint if fingerprint and self._is_own(fingerprint) else None
        try:
            found = self._read(known or first, _Changes)
        except _ExpiredError:
            if known is None:
                raise
            found = self._read(first, _Changes)
        after = found.next_link or found.delta_link
        if after is None:
            raise Temporary("Graph answers a delta query without a link to go on with")
        messages = deque(one for one in found.value if one.removed is UNSET)
        more = found.next_link is not None
        return Unread(fingerprint, messages, self._own(after), more)

    def _page(self, folder: Folder, unread: Unread[_Message]) -> Page:
        page = unread.next_page(lambda item: self._email(folder, item))
        if unread.items:
            self._unread[folder.id] = unread
        return page

    def _email(self, folder: Folder, message: _Message) -> tuple[EmailNew, int] | Skipped | None:
        url = f"{self._user}/messages/{quote(message.id, safe='')}"
        if message.is_draft:
            return None
        try:
            if message.received is None:
                # Of a change only what has changed may be told.
                message = self._read(f"{url}?$select={_FIELDS}", _Message)
            if message.received is None or message.is_draft:
                return None
            received_us = parse_us(message.received)
            if self._start_us is not None and received_us < self._start_us:
                return None
            raw = self._send(f"{url}/$value", most_bytes=MOST_BYTES).content
        except _GoneError:
            return None  # deleted meanwhile, or moved: then its new folder tells of it
        except _UnreadableError as error:
            return Skipped(message.id, str(error))
        if raw is None:
            return Skipped(message.id, f"it has more than {MOST_BYTES >> 20} MiB")
        known = Known(
            mailbox=self._mailbox.email,
            folder=folder.path,
            received_us=received_us,
            is_read=message.is_read,
            importance=message.importance,
            categories=message.categories,
            conversation_id=message.conversation_id,
            stable_id=message.id,
        )
        made = email_new(raw, known, contents=self._mailbox.sync_attachments)
        return made if isinstance(made, Skipped) else (made, received_us)

    # Requests

    def _is_own(self, url: str) -> bool:
        parts = urlsplit(url)
        return f"{parts.scheme}://{parts.netloc}" == self._origin

    def _own(self, url: str) -> str:
        """Return a link of an answer. Raises Temporary if the token would go to another host."""
        if not self._is_own(url):
            raise Temporary("Graph answers with a link to another host")
        return url

    def _read(self, url: str, kind: type[Any]) -> Any:
        content = self._send(url).content
        try:
            return msgspec.json.decode(content or b"", type=kind)
        except msgspec.DecodeError as error:
            raise Temporary("Graph answers with something unexpected") from error

    def _send(self, url: str, *, most_bytes: int = 16 << 20) -> Reply:
        for anew in (False, True):
            token = self._tokens.get(anew=anew)
            headers = {"Authorization": f"Bearer {token}", "Prefer": _PREFER}
            reply = self._http.send("GET", url, headers=headers, most_bytes=most_bytes)
            if reply.status != 401:
                break
        if reply.status == 200:
            return reply
        raise _failure(reply)


class _GoneError(Exception):
    """A folder or an e-mail is not there any more."""


class _ExpiredError(Exception):
    """Graph does not know any more up to where changes were told."""


class _UnreadableError(Exception):
    """An item cannot be had as MIME."""


_KINDS: Final[Mapping[str, ErrorKind]] = {
    "Request_ResourceNotFound": "mailbox_not_found",
    "ResourceNotFound": "mailbox_not_found",
    "ErrorInvalidUser": "mailbox_not_found",
    "ErrorNonExistentMailbox": "mailbox_not_found",
    "MailboxNotEnabledForRESTAPI": "mailbox_invalid_license",
    "MailboxNotSupportedForRESTAPI": "mailbox_invalid_license",
    "Authorization_RequestDenied": "app_access_insufficient_scopes",
}


def _failure(reply: Reply) -> Exception:
    """Return what an answer other than success means."""
    try:
        told = msgspec.json.decode(reply.content or b"", type=_Error).error
    except msgspec.DecodeError:
        told = _Code()
    text = f"Graph refuses (HTTP {reply.status}) {told.code}: {told.message}"[:500]
    if reply.status in _PASSING:
        return Temporary(text, retry_after_s=retry_after_s(reply.headers))
    if reply.status == 410 or told.code in _GONE:
        return _ExpiredError(text)
    if told.code in _KINDS:
        return MailboxRefused(_KINDS[told.code], text)
    if reply.status == 401:
        return MailboxRefused("invalid_exchange_credentials", text)
    if reply.status == 403:
        return MailboxRefused("mailbox_access_denied", text)
    if reply.status == 404:
        return _GoneError(text)
    return _UnreadableError(text)
