"""Mailboxes of IMAP servers (RFC 3501, 6154, 7162), opened read-only.

Where a folder was left is told by its UIDVALIDITY, the UID up to which e-mails have been read, and
on servers with CONDSTORE the HIGHESTMODSEQ up to which changes of those have been. E-mails that
come while a folder is read have higher UIDs, changes higher MODSEQs, than what was remembered
before they were asked for: so none is missed, and at worst one is read twice.
"""

from __future__ import annotations

import imaplib
import logging
import ssl
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import timedelta
from typing import Any, Final, TypeVar

import msgspec
from imapclient import IMAPClient, SocketTimeout
from imapclient.exceptions import IMAPClientError, LoginError
from msgspec import UNSET, Struct

from lodestream.connectors.emails import MOST_BYTES, Known, email_new
from lodestream.connectors.http import Http, require_host
from lodestream.connectors.mailboxes import Folder, MailboxRefused, Page, Skipped, Temporary
from lodestream.connectors.tokens import Tokens
from lodestream.domain.buckets import EmailNew
from lodestream.domain.integrations import ImapConnection, Mailbox, OAuth2
from lodestream.domain.times import EPOCH, parse_us

T = TypeVar("T")

PAGE_EMAILS: Final = 64
PAGE_BYTES: Final = 8 << 20
"""What a page has at most, apart from a single e-mail that is larger."""
_UIDS_AT_ONCE: Final = 10_000
_TIMEOUT: Final = SocketTimeout(connect=30, read=120)
_WAIT_S: Final = 60.0
_UNREAD: Final = frozenset({b"\\noselect", b"\\nonexistent", b"\\drafts", b"\\flagged"})
"""Folders that hold nothing, only drafts, or only what is in another folder, too."""
_US: Final = timedelta(microseconds=1)


class Mark(Struct, forbid_unknown_fields=True):
    """How far a folder has been read; its JSON is the fingerprint."""

    validity: int
    uid: int = 0  # all e-mails up to it have been read
    modseq: int = 0  # all changes of them up to it have been read
    changes_to: int = 0  # while they are being read: what `modseq` will be then,
    changes_uid: int = 0  # and up to which UID that has been done


class ImapMailbox:
    """A mailbox of an IMAP server. Connects when it is first asked, and again if it must."""

    def __init__(
        self, connection: ImapConnection, mailbox: Mailbox, *, allowed_hosts: Sequence[str] = ()
    ) -> None:
        # At level DEBUG these libraries would log what they send and receive.
        for name in ("imapclient", "urllib3"):
            logging.getLogger(name).setLevel(logging.INFO)
        require_host(connection.host, allowed_hosts)
        self._connection = connection
        self._mailbox = mailbox
        self._start_us = None
        if mailbox.start_timestamp is not None:
            self._start_us = parse_us(mailbox.start_timestamp)
        self._http = Http(allowed_hosts)
        access = connection.access
        self._tokens = Tokens(access, self._http) if isinstance(access, OAuth2) else None
        self._client: IMAPClient | None = None

    def folders(self) -> list[Folder]:
        """Return the folders that hold e-mails, a folder of all of them first.

        An e-mail that is in several folders is in the bucket as the one read last has it: that
        should be a folder somebody chose.
        """
        found = self._retried(lambda client: client.list_folders())
        chosen = []
        for flags, delimiter, name in found:
            folded = {flag.lower() for flag in flags}
            if folded & _UNREAD or not name:
                continue
            chosen.append((b"\\all" not in folded, _folder(delimiter, name)))
        return [folder for _, folder in sorted(chosen, key=lambda one: (one[0], one[1].path))]

    def changes(self, folder: Folder, fingerprint: str | None) -> Page:
        """Return e-mails that came or changed since a fingerprint, or all from the beginning on."""
        mark = _mark(fingerprint)
        return self._retried(lambda client: self._page(client, folder, mark))

    def close(self) -> None:
        """Leave the server."""
        self._http.close()
        client, self._client = self._client, None
        if client is not None:
            _leave(client)

    # The connection

    def _retried(self, ask: Callable[[IMAPClient], T]) -> T:
        """Ask; if a kept connection turns out to be closed, connect and ask again.

        Raises MailboxRefused or Temporary.
        """
        kept = self._client is not None
        try:
            return self._ask(ask)
        except _Dropped as error:
            if not kept:
                raise Temporary(error.text) from error
        try:
            return self._ask(ask)
        except _Dropped as error:
            raise Temporary(error.text) from error

    def _ask(self, ask: Callable[[IMAPClient], T]) -> T:
        if self._client is None:
            self._client = self._connect()
        try:
            return ask(self._client)
        except (imaplib.IMAP4.abort, OSError) as error:
            client, self._client = self._client, None
            _leave(client)
            raise _Dropped(_told(error)) from error
        except IMAPClientError as error:
            # The client's state is not known any more; what was asked may come again.
            client, self._client = self._client, None
            _leave(client)
            raise _temporary(str(error)) from error

    def _connect(self) -> IMAPClient:
        connection = self._connection
        secure = connection.security == "tls"
        port = connection.port or (993 if secure else 143)
        context = ssl.create_default_context()
        try:
            client = IMAPClient(
                connection.host, port, ssl=secure, ssl_context=context, timeout=_TIMEOUT
            )
        except (OSError, IMAPClientError) as error:
            raise Temporary(f"{connection.host} does not answer: {_told(error)}") from error
        client.normalise_times = False
        try:
            if connection.security == "starttls":
                client.starttls(context)
            self._log_in(client)
            # Without it some servers do not tell the HIGHESTMODSEQ of a folder.
            if client.has_capability("CONDSTORE") and client.has_capability("ENABLE"):
                client.enable("CONDSTORE")
        except (MailboxRefused, Temporary):
            _leave(client)
            raise
        except (OSError, IMAPClientError) as error:
            _leave(client)
            raise Temporary(f"{connection.host} refuses: {_told(error)}") from error
        return client

    def _log_in(self, client: IMAPClient) -> None:
        access = self._connection.access
        if not isinstance(access, OAuth2):
            password = "" if access.password is UNSET else access.password
            try:
                # The command LOGIN has no letters but those of ASCII.
                ascii_only = access.username.isascii() and password.isascii()
                (client.login if ascii_only else client.plain_login)(access.username, password)
            except LoginError as error:
                raise _refused_login(error, "invalid_exchange_credentials") from error
            return
        assert self._tokens is not None
        user = self._mailbox.email if access.username is UNSET else access.username
        token = self._tokens.get()
        try:
            client.oauth2_login(user, token)
        except LoginError as error:
            self._tokens.forget()
            # The authority knows the application; what fails is this mailbox.
            kind = "mailbox_access_denied" if access.username is UNSET else _CREDENTIALS
            raise _refused_login(error, kind) from error

    # A folder

    def _page(self, client: IMAPClient, folder: Folder, mark: Mark | None) -> Page:
        try:
            # Read-only: EXAMINE. It is done each time, as only that tells what is new.
            found = client.select_folder(folder.id, readonly=True)
        except imaplib.IMAP4.abort:
            raise
        except IMAPClientError as error:
            return _closed_folder(folder, mark, str(error))
        validity, highest = found.get(b"UIDVALIDITY", 0), found.get(b"HIGHESTMODSEQ", 0)
        if mark is None or mark.validity != validity:
            mark = Mark(validity, modseq=highest)
        changed = self._next_changed(client, mark, highest)
        if changed:
            return self._read(client, folder, mark, changed, new=False)
        last = found.get(b"UIDNEXT", 0) - 1
        if last < 0:
            last = max(client.search(["UID", f"{mark.uid + 1}:*"]), default=mark.uid)
        for uids, upto in self._next_new(client, mark, last):
            if not uids:
                mark.uid = upto
                continue
            page = self._read(client, folder, mark, uids, new=True)
            if page.emails or page.skipped:
                return msgspec.structs.replace(page, more=page.more or mark.uid < last)
        return Page([], _fingerprint(mark), None, more=False)

    def _next_new(
        self, client: IMAPClient, mark: Mark, last: int
    ) -> Iterator[tuple[list[int], int]]:
        """Yield UIDs of e-mails not read yet, and up to where there are no others."""
        first = mark.uid + 1
        criteria: list[Any] = []
        if self._start_us is not None:
            # A day goes by the server's time zone: the exact bound is kept below.
            day = (EPOCH + self._start_us * _US - timedelta(days=1)).date()
            criteria = ["SINCE", day]
        while first <= last:
            upto = min(first + _UIDS_AT_ONCE - 1, last)
            found = client.search(["UID", f"{first}:{upto}", *criteria])
            # Servers take `5:3` for `3:5`, so that old ones may come back.
            uids = sorted(uid for uid in found if first <= uid <= upto)
            for at in range(0, len(uids), PAGE_EMAILS):
                some = uids[at : at + PAGE_EMAILS]
                yield some, some[-1]
            yield [], upto
            first = upto + 1

    def _next_changed(self, client: IMAPClient, mark: Mark, highest: int) -> list[int]:
        """Return UIDs of e-mails that changed since they were read; `mark` tells how far it is."""
        if not mark.changes_to:
            if not highest or highest <= mark.modseq:
                return []
            mark.changes_to, mark.changes_uid = highest, 0
        while mark.changes_uid < mark.uid:
            first, upto = mark.changes_uid + 1, min(mark.changes_uid + _UIDS_AT_ONCE, mark.uid)
            found = client.search(["UID", f"{first}:{upto}", "MODSEQ", mark.modseq + 1])
            uids = sorted(uid for uid in found if first <= uid <= upto)
            if uids:
                mark.changes_uid = uids[0] - 1
                return uids[:PAGE_EMAILS]
            mark.changes_uid = upto
        mark.modseq, mark.changes_to, mark.changes_uid = mark.changes_to, 0, 0
        return []

    def _read(
        self, client: IMAPClient, folder: Folder, mark: Mark, uids: Sequence[int], *, new: bool
    ) -> Page:
        """Return as many of these e-mails as fit into a page; `mark` moves on to the last."""
        heads = client.fetch(uids, ["FLAGS", "INTERNALDATE", "RFC822.SIZE"])
        wanted: list[int] = []
        skipped: list[Skipped] = []
        size, upto = 0, uids[-1]
        for uid in uids:
            head = heads.get(uid)
            if head is None or b"INTERNALDATE" not in head or not self._is_wanted(head):
                continue  # deleted meanwhile, a draft, or from before the start
            length = head.get(b"RFC822.SIZE", 0)
            if length > MOST_BYTES:
                reason = f"it has more than {MOST_BYTES >> 20} MiB"
                skipped.append(Skipped(f"UID {uid} in {'/'.join(folder.path)}", reason))
                continue
            if wanted and size + length > PAGE_BYTES:
                upto = wanted[-1]
                break
            wanted.append(uid)
            size += length
        emails = []
        bodies = client.fetch(wanted, ["BODY.PEEK[]"])
        for uid in wanted:
            raw = bodies.get(uid, {}).get(b"BODY[]")
            if raw is None:
                continue  # deleted meanwhile
            made = self._email(folder, raw, heads[uid])
            if isinstance(made, Skipped):
                skipped.append(made)
            else:
                emails.append(made)
        if new:
            mark.uid = upto
        else:
            mark.changes_uid = upto
        received = [_received_us(heads[uid]) for uid in wanted]
        more = not new or upto < uids[-1]
        return Page(emails, _fingerprint(mark), max(received, default=None), more, tuple(skipped))

    def _is_wanted(self, head: Mapping[bytes, Any]) -> bool:
        if any(flag.lower() == b"\\draft" for flag in head.get(b"FLAGS", ())):
            return False
        return self._start_us is None or _received_us(head) >= self._start_us

    def _email(self, folder: Folder, raw: bytes, head: Mapping[bytes, Any]) -> EmailNew | Skipped:
        flags = [flag.decode("utf-8", "replace") for flag in head.get(b"FLAGS", ())]
        known = Known(
            mailbox=self._mailbox.email,
            folder=folder.path,
            received_us=_received_us(head),
            is_read="\\seen" in {flag.lower() for flag in flags},
            # Flags that are no keywords of servers or programs are what people sort by.
            categories=sorted(flag for flag in flags if flag[:1] not in "\\$"),
        )
        return email_new(raw, known, contents=self._mailbox.sync_attachments)


_CREDENTIALS: Final = "invalid_exchange_credentials"


class _Dropped(Exception):
    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.text = text


def _folder(delimiter: bytes | None, name: str | bytes) -> Folder:
    text = name.decode("utf-8", "replace") if isinstance(name, bytes) else name
    parts = text.split(delimiter.decode()) if delimiter else [text]
    return Folder(text, tuple(part for part in parts if part) or (text,))


def _mark(fingerprint: str | None) -> Mark | None:
    try:
        return None if fingerprint is None else msgspec.json.decode(fingerprint, type=Mark)
    except msgspec.DecodeError:
        return None


def _fingerprint(mark: Mark) -> str:
    return msgspec.json.encode(mark).decode()


def _received_us(head: Mapping[bytes, Any]) -> int:
    moment = head[b"INTERNALDATE"]
    received: int = (moment - EPOCH) // _US
    return received


def _closed_folder(folder: Folder, mark: Mark | None, text: str) -> Page:
    """Return an empty page for a folder that cannot be opened; the others should be read.

    Raises Temporary if it can be later.
    """
    if not any(code in text.upper() for code in ("[NONEXISTENT]", "[NOPERM]", "[CANNOT]")):
        raise _temporary(text)
    logging.getLogger("lodestream.connectors").warning(
        "a folder cannot be opened", extra={"folder": "/".join(folder.path), "reason": text[:200]}
    )
    return Page([], _fingerprint(mark or Mark(0)), None, more=False)


_PASSING: Final = (
    "[UNAVAILABLE]",
    "[INUSE]",
    "[LIMIT]",
    "[THROTTLED]",
    "[SERVERBUG]",
    "TOO MANY",
    "TRY AGAIN",
    "TEMPORAR",
    "THROTTLE",
    "LIMITS",
    "NOT AVAILABLE",
)


def _temporary(text: str) -> Temporary:
    throttled = any(sign in text.upper() for sign in _PASSING)
    return Temporary(text[:500], retry_after_s=_WAIT_S if throttled else None)


def _refused_login(error: LoginError, kind: Any) -> MailboxRefused | Temporary:
    text = str(error)
    # The library makes a failed login of a connection that ended, too.
    dropped = isinstance(error.__context__, (imaplib.IMAP4.abort, OSError))
    if dropped or any(sign in text.upper() for sign in _PASSING):
        return _temporary(text)
    return MailboxRefused(kind, text[:500])


def _leave(client: IMAPClient) -> None:
    try:
        client.logout()
    except (OSError, IMAPClientError):
        # It is gone already; what is left is to close our end.
        try:
            client.shutdown()
        except OSError:
            return


def _told(error: BaseException) -> str:
    return getattr(error, "strerror", None) or str(error) or type(error).__name__
