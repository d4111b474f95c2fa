"""Raw e-mails: headers and bodies as a mailbox holds them, and the comments they become.

Everything here takes time in proportion to what it reads, also where a sender meant it not to:
that is why neither HTML nor addresses nor encoded words are left to the standard library, whose
parsers can be made to read the same text again and again.
(Contract: e-mails, sections 1.1 and 1.3.)
"""

from __future__ import annotations

import re
from base64 import b64decode
from binascii import Error as Base64Error
from collections.abc import Iterator, Mapping
from email.parser import HeaderParser
from email.utils import parsedate_to_datetime
from hashlib import sha256
from typing import Annotated, Final

from msgspec import UNSET, Meta, Struct, UnsetType

from lodestream.domain.comments import (
    Attachment,
    CommentNew,
    Message,
    PropertyValue,
    RichText,
    Text,
)
from lodestream.domain.html_text import text_of_html
from lodestream.domain.ids import COMMENT_ID
from lodestream.domain.times import EPOCH, format_us, parse_us

MAX_TEXT: Final = 65_536
MAX_PARTICIPANT: Final = 512
MAX_PARTICIPANTS: Final = 2048
MAX_ID: Final = 1024


class Headers(Struct, forbid_unknown_fields=True):
    """Headers as one text, or by name; where both are given, the latter replace their namesakes."""

    raw: Annotated[str, Meta(max_length=MAX_TEXT)] | UnsetType = UNSET
    parsed: dict[str, str | int | float | list[str]] | UnsetType = UNSET

    def __post_init__(self) -> None:
        """Check that there are any. Raises ValueError."""
        if self.raw is UNSET and self.parsed is UNSET:
            raise ValueError("either 'raw' or 'parsed' is required")


class Body(Struct, forbid_unknown_fields=True):
    """The body, decoded; of two forms the plain one is read if it is not blank."""

    plain: Annotated[str, Meta(max_length=MAX_TEXT)] | UnsetType = UNSET
    html: Annotated[str, Meta(max_length=32 << 20)] | UnsetType = UNSET


class RawEmail(Struct, forbid_unknown_fields=True):
    """An e-mail as a mailbox holds it."""

    headers: Headers
    body: Body
    attachments: Annotated[list[Attachment], Meta(max_length=128)] = []


class RawEmailDocument(Struct, forbid_unknown_fields=True):
    """An e-mail, and what the comment made of it is to carry."""

    raw_email: RawEmail
    comment_id: Annotated[str, Meta(pattern=COMMENT_ID)] | UnsetType = UNSET
    user_properties: dict[str, PropertyValue] | UnsetType | None = UNSET


def comment_from(document: RawEmailDocument, *, now_us: int) -> CommentNew:
    """Return the comment that an e-mail becomes.

    Without a Message-ID its id is made from its headers; without a date that can be read it is
    dated `now_us`.
    """
    email = document.raw_email
    headers = _headers(email.headers)
    message_id = _first(headers, "message-id")
    sent_us = _sent_us(headers)
    timestamp = format_us(now_us if sent_us is None else sent_us)
    message = Message(body=RichText(text=_body_text(email.body)))
    if "subject" in headers:
        message.subject = Text(text=decoded(_first(headers, "subject"))[:MAX_TEXT])
    if senders := mailboxes(headers.get("from", [])):
        message.from_ = senders[0]
    message.to = mailboxes(headers.get("to", [])) or UNSET
    message.cc = mailboxes(headers.get("cc", [])) or UNSET
    message.bcc = mailboxes(headers.get("bcc", [])) or UNSET
    if sent_us is not None:
        message.sent_at = timestamp
    thread = _thread(headers) or message_id
    return CommentNew(
        id=_comment_id(document, headers, message_id),
        timestamp=timestamp,
        messages=[message],
        user_properties=document.user_properties or {},
        attachments=email.attachments,
        thread_id=_hex(thread) if thread else UNSET,
        text_format="plain",
    )


def _headers(given: Headers) -> dict[str, list[str]]:
    """Return the values of each header, unfolded, by its name in lower case."""
    found: dict[str, list[str]] = {}
    if given.raw is not UNSET:
        # A blank line at the beginning, as some clients leave it, would end the headers.
        text = given.raw.lstrip("\r\n")
        for name, value in HeaderParser().parsestr(text, headersonly=True).items():
            found.setdefault(name.lower(), []).append(_unfolded(str(value)))
    if given.parsed is not UNSET:
        for name, values in given.parsed.items():
            several = values if isinstance(values, list) else [values]
            found[name.lower()] = [_unfolded(str(one)) for one in several]
    return {name: values for name, values in found.items() if values}


_FOLD: Final = re.compile(r"[\r\n]+[ \t]*")


def _unfolded(value: str) -> str:
    return _FOLD.sub(" ", value).strip()


def _first(headers: Mapping[str, list[str]], name: str) -> str:
    return headers.get(name, [""])[0]


def _body_text(body: Body) -> str:
    plain = "" if body.plain is UNSET else body.plain
    if plain.strip() or body.html is UNSET:
        return plain
    return text_of_html(body.html, most_chars=MAX_TEXT)


def _comment_id(
    document: RawEmailDocument, headers: Mapping[str, list[str]], message_id: str
) -> str:
    if document.comment_id is not UNSET:
        return document.comment_id
    if message_id:
        return _hex(message_id)
    return sha256(repr(sorted(headers.items())).encode("utf-8", "replace")).hexdigest()


def _hex(message_id: str) -> str:
    raw = message_id.encode("utf-8", "replace")
    return raw.hex() if 2 * len(raw) <= MAX_ID else sha256(raw).hexdigest()


_MESSAGE_ID: Final = re.compile(r"<[^<>\s]+>")


def _thread(headers: Mapping[str, list[str]]) -> str:
    """Return the id of the mail that began the thread, or an empty string."""
    for name in ("references", "in-reply-to"):
        match = _MESSAGE_ID.search(_first(headers, name))
        if match is not None:
            return match[0]
    return ""


def _sent_us(headers: Mapping[str, list[str]]) -> int | None:
    """Return when an e-mail was sent, or at least received; None if no date can be read."""
    dates = [_first(headers, "date")]
    dates += [one.rpartition(";")[2] for one in headers.get("received", [])[:1]]
    for text in dates:
        instant_us = _instant_us(text.strip()[:128])
        if instant_us:  # the first instant of 1970 stands for none
            return instant_us
    return None


def _instant_us(text: str) -> int | None:
    try:
        moment = parsedate_to_datetime(text)
    except (ValueError, TypeError, IndexError, OverflowError):
        try:
            return parse_us(text)
        except (ValueError, OverflowError):
            return None
    moment = moment if moment.tzinfo is not None else moment.replace(tzinfo=EPOCH.tzinfo)
    try:
        return parse_us(moment.isoformat())
    except (ValueError, OverflowError):
        return None


# Addresses and encoded words


def mailboxes(values: list[str]) -> list[str]:
    """Return the mailboxes of address headers: `Name <address>` or `address`, decoded."""
    found: list[str] = []
    for value in values:
        for one in _split_addresses(value):
            text = _spaced(_UNQUOTED.sub(r"\1 ", decoded(one.strip())))[:MAX_PARTICIPANT].strip()
            if text:
                found.append(text)
            if len(found) == MAX_PARTICIPANTS:
                return found
    return found


_UNQUOTED: Final = re.compile(r'^"([^"\\]*)"\s*(?=<)')
_SPECIAL: Final = re.compile(r'[",()<>\\]')


def _split_addresses(value: str) -> Iterator[str]:
    """Split at commas that stand in no quotes, angle brackets or parentheses."""
    start, depth = 0, 0
    quoted = False
    skip = -1
    for match in _SPECIAL.finditer(value):
        at, sign = match.start(), match[0]
        if at == skip:
            continue
        if sign == "\\":
            skip = at + 1
        elif sign == '"':
            quoted = not quoted
        elif not quoted and sign in "(<":
            depth += 1
        elif not quoted and sign in ")>":
            depth = max(depth - 1, 0)
        elif sign == "," and not quoted and depth == 0:
            yield value[start:at]
            start = at + 1
    yield value[start:]


_ENCODED: Final = re.compile(
    r"=\?([A-Za-z0-9_.:+\-]{1,40})(?:\*[A-Za-z0-9\-]{1,40})?\?([bBqQ])\?([^?\s]{0,1024})\?="
    r"(?:\s+(?==\?[A-Za-z0-9_.:+\-]{1,40}\?[bBqQ]\?))?"
)
_UNWANTED: Final = re.compile("[\x00\ud800-\udfff]")


def decoded(value: str) -> str:
    """Return a header's value with its encoded words (RFC 2047) as text."""
    if "=?" in value:
        value = _ENCODED.sub(_decoded_word, value)
    return _spaced(_UNWANTED.sub("\ufffd", value))


def _decoded_word(match: re.Match[str]) -> str:
    charset, encoding, body = match.groups()
    try:
        if encoding in "bB":
            raw = b64decode(body + "=" * (-len(body) % 4))
        else:
            raw = _QUOTED.sub(
                lambda one: bytes([int(one[1], 16)]), body.replace("_", " ").encode("latin-1")
            )
        return raw.decode(charset, "replace")
    except (Base64Error, LookupError, ValueError):  # ValueError: also what no charset can read
        return match[0]


_QUOTED: Final = re.compile(rb"=([0-9A-Fa-f]{2})")


def _spaced(text: str) -> str:
    return " ".join(text.split())
