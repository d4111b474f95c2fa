"""Mailboxes of Exchange by Exchange Web Services, through exchangelib.

Where a folder was left is told by the state that Exchange gives after each page of changes
(SyncFolderItems). Nothing is asked for that changes a mailbox.
"""

from __future__ import annotations

import contextlib
import logging
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final, TypeVar
from urllib.parse import urlsplit

from msgspec import UNSET

from lodestream.connectors.emails import MOST_BYTES, Known, email_new
from lodestream.connectors.entra import EntraTokens
from lodestream.connectors.http import Http, require_host
from lodestream.connectors.mailboxes import Folder, MailboxRefused, Page, Skipped, Temporary
from lodestream.connectors.unread import Unread
from lodestream.domain.buckets import EmailNew
from lodestream.domain.integrations import (
    AppAccess,
    ErrorKind,
    ExchangeConnection,
    Mailbox,
    Ntlm,
    UserAccess,
)
from lodestream.domain.times import EPOCH, parse_us

T = TypeVar("T")

ENDPOINT: Final = "https://outlook.office365.com/EWS/Exchange.asmx"
PAGE_EMAILS: Final = 50
_BUSY_S: Final = 60.0
_HEAD: Final = ("item_class", "datetime_received", "size", "is_draft")
_FIELDS: Final = (
    "mime_content",
    "is_read",
    "importance",
    "sensitivity",
    "categories",
    "conversation_id",
    "conversation_topic",
)
_MAIL: Final = ("IPM.NOTE", "IPM.SCHEDULE", "REPORT.")
"""Classes of items that are mails; others in a folder are appointments, contacts, tasks, posts."""

_KINDS: Final[dict[str, ErrorKind]] = {
    "UnauthorizedError": "invalid_exchange_credentials",
    "ErrorNonExistentMailbox": "mailbox_not_found",
    "ErrorNoPublicFolderReplicaAvailable": "mailbox_not_found",
    "ErrorMailboxMoveInProgress": "mailbox_removed",
    "ErrorAccessDenied": "mailbox_access_denied",
    "ErrorImpersonateUserDenied": "mailbox_access_denied",
    "ErrorImpersonationDenied": "mailbox_access_denied",
    "ErrorImpersonationFailed": "mailbox_access_denied",
    "ErrorMissingEmailAddress": "mailbox_primary_address_not_found",
    "ErrorNonPrimarySmtpAddress": "mailbox_primary_address_not_found",
    "ErrorAccountDisabled": "mailbox_invalid_license",
}


class EwsMailbox:
    """A mailbox of Exchange. `http` carries requests for tokens in another way."""

    def __init__(
        self,
        connection: ExchangeConnection,
        mailbox: Mailbox,
        *,
        allowed_hosts: Sequence[str] = (),
        http: Http | None = None,
    ) -> None:
        self._endpoint = connection.ews_endpoint or ENDPOINT
        require_host(self._endpoint, allowed_hosts)
        try:
            # Deferred: it belongs to an optional extra, and takes long to import.
            import exchangelib
        except ImportError as error:
            text = "Exchange needs the extra `exchange`: pip install 'lodestream[exchange]'"
            raise MailboxRefused("unknown_forbidden_error", text) from error
        # At level DEBUG it would log what it sends and receives.
        logging.getLogger("exchangelib").setLevel(logging.WARNING)
        self._library = exchangelib
        self._connection = connection
        self._mailbox = mailbox
        self._http = http or Http(allowed_hosts)
        self._tokens = None
        if not isinstance(connection.application, Ntlm):
            parts = urlsplit(self._endpoint)
            self._tokens = EntraTokens(connection, f"{parts.scheme}://{parts.netloc}", self._http)
        start = mailbox.start_timestamp
        self._start_us = None if start is None else parse_us(start)
        self._account: Any = None
        self._is_taken = False  # whether the server has taken the token that we have
        self._folders: dict[str, Any] = {}
        self._unread: dict[str, Unread[Any]] = {}

    def folders(self) -> list[Folder]:
        """Return the mail folders, without that of drafts."""
        return self._asked(lambda account: list(self._folders_of(account)))

    def changes(self, folder: Folder, fingerprint: str | None) -> Page:
        """Return e-mails that came, changed or were moved here since a fingerprint."""
        return self._asked(lambda account: self._changes(account, folder, fingerprint))

    def close(self) -> None:
        """Close connections."""
        self._http.close()
        self._leave()

    def _leave(self) -> None:
        self._is_taken = False
        account, self._account = self._account, None
        if account is not None:
            account.protocol.close()
            # The library keeps every protocol for ever, with its credentials.
            with contextlib.suppress(KeyError):
                del type(account.protocol)[account.protocol.config]

    # The account

    def _asked(self, ask: Callable[[Any], T]) -> T:
        """Ask, with errors as the loop knows them. Raises MailboxRefused or Temporary."""
        errors = self._library.errors
        try:
            if self._account is None:
                self._account = self._open()
            found = ask(self._account)
            self._is_taken = True
            return found
        except errors.RateLimitError as error:
            raise Temporary("Exchange asks to wait", retry_after_s=float(error.wait)) from error
        except errors.ErrorServerBusy as error:
            raise Temporary("Exchange is busy", retry_after_s=error.back_off or _BUSY_S) from error
        except errors.EWSError as error:
            kind = _KINDS.get(type(error).__name__)
            text = f"Exchange refuses: {type(error).__name__}: {error}"[:500]
            if isinstance(error, errors.UnauthorizedError) and self._tokens and self._is_taken:
                # The token has expired meanwhile: the next question comes with a new one.
                self._leave()
                raise Temporary(text) from error
            if kind is None:
                raise Temporary(text) from error
            raise MailboxRefused(kind, text) from error
        except OSError as error:
            raise Temporary(f"no answer from Exchange: {type(error).__name__}") from error

    def _open(self) -> Any:
        library, connection = self._library, self._connection
        access = connection.access
        delegates = connection.access_type == "delegate" or (
            connection.access_type is None and not isinstance(access, AppAccess)
        )
        configuration = library.Configuration(
            service_endpoint=self._endpoint,
            credentials=self._credentials(access),
            auth_type=library.NTLM if self._tokens is None else library.OAUTH2,
            version=self._version(),
        )
        return library.Account(
            primary_smtp_address=self._mailbox.email,
            config=configuration,
            autodiscover=False,
            access_type=library.DELEGATE if delegates else library.IMPERSONATION,
        )

    def _credentials(self, access: UserAccess | AppAccess) -> Any:
        if self._tokens is not None:
            from oauthlib.oauth2 import OAuth2Token

            token = OAuth2Token({"access_token": self._tokens.get(), "token_type": "Bearer"})
            return self._library.OAuth2AuthorizationCodeCredentials(access_token=token)
        if not isinstance(access, UserAccess):
            raise MailboxRefused("invalid_exchange_credentials", "NTLM needs a user's password")
        password = "" if access.password is UNSET else access.password
        return self._library.Credentials(access.username, password)

    def _version(self) -> Any:
        """Return the version of the server: given, or known of the cloud; None to find it out."""
        given = self._connection.build_version
        if given is None:
            from exchangelib.version import EXCHANGE_O365

            return None if self._tokens is None else self._library.Version(EXCHANGE_O365)
        try:
            numbers = [int(part) for part in given.split(".")]
            return self._library.Version(self._library.Build(*numbers[:4]))
        except (TypeError, ValueError) as error:
            text = f"'build_version' is no version of Exchange: {given}"
            raise MailboxRefused("unknown_forbidden_error", text) from error

    # Folders and changes

    def _folders_of(self, account: Any) -> Iterator[Folder]:
        top = account.msg_folder_root
        drafts = account.drafts.id
        for one in top.walk():
            if one.id == drafts or (one.folder_class or "IPF.Note").split(".")[:2] != _IPF_NOTE:
                continue
            path: list[str] = []
            above: Any = one
            while above is not None and above.id != top.id:
                path.insert(0, above.name)
                above = above.parent
            self._folders[one.id] = one
            yield Folder(one.id, tuple(path))

    def _changes(self, account: Any, folder: Folder, fingerprint: str | None) -> Page:
        unread = self._unread.pop(folder.id, None)
        if unread is None or unread.fingerprint != fingerprint:
            errors = self._library.errors
            try:
                unread = self._next(account, folder, fingerprint, fingerprint)
            except errors.ErrorInvalidSyncStateData:
                unread = self._next(account, folder, fingerprint, None)
            except (errors.ErrorFolderNotFound, errors.ErrorItemNotFound):
                return Page([], fingerprint or "", None, more=False)
        return self._page(account, folder, unread)

    def _next(
        self, account: Any, folder: Folder, fingerprint: str | None, state: str | None
    ) -> Unread[Any]:
        from exchangelib.items import ID_ONLY
        from exchangelib.services import SyncFolderItems

        if folder.id not in self._folders:
            self._folders_of_account(account)
        held = self._folders[folder.id]
        service = SyncFolderItems(account=account)
        changes = service.call(
            folder=held,
            shape=ID_ONLY,
            additional_fields=set(held.normalize_fields(fields=_HEAD)),
            sync_state=state or None,
            ignore=None,
            max_changes_returned=PAGE_EMAILS,
            sync_scope=None,
        )
        items = deque(
            item[0] if kind == service.READ_FLAG_CHANGE else item
            for kind, item in changes
            if kind != service.DELETE
        )
        more = not service.includes_last_item_in_range and service.sync_state != state
        return Unread(fingerprint, items, service.sync_state or "", more)

    def _folders_of_account(self, account: Any) -> None:
        for _ in self._folders_of(account):
            continue

    def _page(self, account: Any, folder: Folder, unread: Unread[Any]) -> Page:
        page = unread.next_page(lambda item: self._email(account, folder, item))
        if unread.items:
            self._unread[folder.id] = unread
        return page

    def _email(
        self, account: Any, folder: Folder, item: Any
    ) -> tuple[EmailNew, int] | Skipped | None:
        if getattr(item, "item_class", None) is None:
            item = self._fetch(account, item, _HEAD)  # of a change of the flag only the id is told
        if item is None or not item.item_class.upper().startswith(_MAIL) or item.is_draft:
            return None
        if item.datetime_received is None:
            return None
        received_us = (item.datetime_received - EPOCH) // _US
        if self._start_us is not None and received_us < self._start_us:
            return None
        if (item.size or 0) > 2 * MOST_BYTES:
            return Skipped(item.id, f"it has more than {MOST_BYTES >> 20} MiB")
        whole = self._fetch(account, item, _FIELDS)
        if whole is None or whole.mime_content is None:
            return None
        known = Known(
            mailbox=self._mailbox.email,
            folder=folder.path,
            received_us=received_us,
            is_read=whole.is_read,
            importance=(whole.importance or "").lower(),
            sensitivity=(whole.sensitivity or "").lower(),
            categories=whole.categories or (),
            conversation_id=whole.conversation_id and whole.conversation_id.id,
            conversation_topic=whole.conversation_topic,
            stable_id=item.id,
        )
        made = email_new(whole.mime_content, known, contents=self._mailbox.sync_attachments)
        return made if isinstance(made, Skipped) else (made, received_us)

    def _fetch(self, account: Any, item: Any, fields: Sequence[str]) -> Any:
        """Return an item with some fields; None if it is not there any more."""
        found = next(iter(account.fetch([(item.id, item.changekey)], only_fields=fields)), None)
        errors = self._library.errors
        if isinstance(found, (errors.ErrorItemNotFound, errors.ErrorInvalidChangeKey)):
            return None
        if isinstance(found, Exception):
            raise found
        return found


_IPF_NOTE: Final = ["IPF", "Note"]
_US: Final = EPOCH.resolution
