"""An e-mail as the comment that syncing it makes. (Contract: e-mails, section 1.3.)"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Final

import msgspec
from msgspec import UNSET, Raw

from lodestream.domain.comments import (
    MAX_PROPERTY_CHARS,
    Attachment,
    CommentNew,
    Message,
    PropertyValue,
    RichText,
    Text,
)
from lodestream.domain.errors import Unprocessable
from lodestream.domain.times import format_us
from lodestream.mail.email import Email, FilePart
from lodestream.mail.headers import Headers, address_of, decoded, domain_of, mailboxes, sent_us
from lodestream.mail.html import styled_lines, text_of_html
from lodestream.mail.markup import StyledLine, markup_of
from lodestream.mail.split import Parts, split_text, without_marks

MAX_TEXT: Final = 65_536
MAX_ID: Final = 1024
MAX_ATTACHMENTS: Final = 128
_MOST_READ: Final = 4 * MAX_TEXT
"""Characters of a body that are looked at; what is quoted is often longer than what is new."""


@dataclass(frozen=True, slots=True)
class Transform:
    """What a transform tag asks for."""

    properties: bool = True  # those that are made from headers
    signatures: bool = True  # whether they are moved out of the body
    quotes: bool = True  # whether quoted mails are taken out of the body
    markup: bool = False  # whether HTML is read, where there is any, and its markup kept


@dataclass(frozen=True, slots=True)
class Origin:
    """What a mailbox knows of an e-mail that the e-mail does not say."""

    mailbox: str = ""
    folder: Sequence[str] = ()
    conversation_id: str = ""
    received_us: int | None = None  # stands in for a date that the e-mail does not have


def comment_of(
    email: Email,
    *,
    comment_id: str | None = None,
    properties: Mapping[str, PropertyValue] | None = None,
    own_properties: Collection[str] = (),
    origin: Origin | None = None,
    transform: Transform | None = None,
) -> CommentNew:
    """Return the comment that an e-mail becomes: one, with one message.

    `properties` are added to those made of the e-mail, which win but where `own_properties` has the
    name. Raises Unprocessable if the e-mail has neither an id nor `comment_id`, or no date.
    """
    origin = origin or Origin()
    transform = transform or Transform()
    headers = email.headers
    message_id = headers.first("message-id")
    if comment_id is None and not message_id:
        raise Unprocessable("neither 'comment_id' nor a Message-ID header is there")
    date_us = sent_us(headers)
    at_us = origin.received_us if date_us is None else date_us
    if at_us is None:
        raise Unprocessable("no date can be read: neither in 'Date' nor in 'Received'")
    message = _message(email, transform)
    if date_us is not None:
        message.sent_at = format_us(date_us)
    given = dict(properties or {})
    made = properties_of(email, message, origin) if transform.properties else {}
    winning = {name: given[name] for name in own_properties if name in given}
    thread = origin.conversation_id or first_of_thread(headers) or message_id
    return CommentNew(
        id=comment_id or hex_id(message_id),
        timestamp=format_us(at_us),
        messages=[message],
        user_properties={**given, **made, **winning},
        attachments=[_attachment(file) for file in email.files[:MAX_ATTACHMENTS]],
        thread_id=hex_id(thread) if thread else UNSET,
        text_format="markdown" if transform.markup else "plain",
    )


def lenient_comment_of(
    email: Email,
    *,
    now_us: int,
    comment_id: str | None = None,
    properties: Mapping[str, PropertyValue] | None = None,
    transform: Transform | None = None,
) -> CommentNew:
    """Return the comment of an e-mail that is not to be stored, whatever it lacks.

    Without a Message-ID its id is made from its headers; without a date it is dated `now_us`.
    """
    if comment_id is None and not email.headers.first("message-id"):
        content = repr(email.headers.items()).encode("utf-8", "replace")
        comment_id = sha256(content).hexdigest()
    return comment_of(
        email,
        comment_id=comment_id,
        properties=properties,
        origin=Origin(received_us=now_us),
        transform=transform,
    )


def _message(email: Email, transform: Transform) -> Message:
    headers = email.headers
    text, lines = _text(email, transform)
    parts = _split(text, transform)
    message = Message(body=_rich(parts.reply, lines))
    if parts.signature:
        message.signature = _rich(parts.signature, lines)
    if "subject" in headers:
        message.subject = Text(text=decoded(headers.first("subject"))[:MAX_TEXT])
    if senders := mailboxes(headers.all("from") or headers.all("sender")):
        message.from_ = senders[0]
    message.to = mailboxes(headers.all("to")) or UNSET
    message.cc = mailboxes(headers.all("cc")) or UNSET
    message.bcc = mailboxes(headers.all("bcc")) or UNSET
    return message


# Bodies

_UNWANTED: Final = re.compile("[\x00\ud800-\udfff]")
# What a program writes in place of the plain form it did not make.
_PLACEHOLDER: Final = re.compile(r"\bHTML\b")


def split_body(email: Email, transform: Transform | None = None) -> Parts:
    """Return the parts of an e-mail's text: what is new, its signature, and what it quotes.

    The plain form is read if it is not blank, else the text of the HTML form. What a transform
    leaves in the body is in the first part. Each is cut to what a comment may hold.
    """
    transform = transform or Transform()
    return _split(_text(email, transform)[0], transform)


def _split(text: str, transform: Transform) -> Parts:
    parts = split_text(_UNWANTED.sub("\ufffd", text[:_MOST_READ]))
    if not transform.quotes or not transform.signatures:
        signature = parts.signature if transform.signatures else ""
        kept = [parts.reply, "" if transform.signatures else parts.signature]
        kept += [] if transform.quotes else [parts.quoted]
        quoted = parts.quoted if transform.quotes else ""
        parts = Parts("\n\n".join(one for one in kept if one), signature, quoted)
    return Parts(*(one[:MAX_TEXT] for one in parts))


def _text(email: Email, transform: Transform) -> tuple[str, Sequence[StyledLine]]:
    """Return the text that is read and, if it is that of HTML with markup, its lines."""
    if transform.markup and email.html:
        lines = styled_lines(email.html, most_chars=_MOST_READ)
        if lines:
            return "\n".join(line.text for line in lines), lines
    plain = (email.plain or "").strip()
    if plain and (email.html is None or len(plain) > 400 or not _PLACEHOLDER.search(plain)):
        return email.plain or "", ()
    html = text_of_html(email.html or "", most_chars=_MOST_READ, marked=True)
    return html or plain, ()


def _rich(text: str, lines: Sequence[StyledLine]) -> RichText:
    """Return a text that is made of some of the lines, with their markup."""
    rich = RichText(text=text)
    shown = [
        line._replace(text=without_marks(_UNWANTED.sub("\ufffd", line.text))) for line in lines
    ]
    nodes = markup_of(text, shown) if shown else None
    if nodes:
        rich.text_markup = Raw(msgspec.json.encode(nodes))
    return rich


# Ids

_MESSAGE_ID: Final = re.compile(r"<[^<>\s]+>")


def hex_id(message_id: str) -> str:
    """Return the id of a comment or thread: the Message-ID in hex; of long ones a digest."""
    raw = message_id.encode("utf-8", "replace")
    return raw.hex() if 2 * len(raw) <= MAX_ID else sha256(raw).hexdigest()


def first_of_thread(headers: Headers) -> str:
    """Return the Message-ID of the mail that an answer goes back to; empty if it is none."""
    for name in ("references", "in-reply-to"):
        match = _MESSAGE_ID.search(headers.first(name))
        if match is not None:
            return match[0]
    return ""


# Properties and files


def properties_of(email: Email, message: Message, origin: Origin) -> dict[str, PropertyValue]:
    """Return the user properties that are made of an e-mail; those that would be blank are not."""
    sender = "" if message.from_ is UNSET else address_of(message.from_)
    receivers = [[] if one is UNSET else one for one in (message.to, message.cc, message.bcc)]
    receiver = address_of(receivers[0][0]) if receivers[0] else ""
    texts = {
        "Folder": " / ".join(origin.folder),
        "Mailbox": origin.mailbox,
        "Message ID": email.headers.first("message-id"),
        "Sender": sender,
        "Sender Domain": domain_of(sender),
        "Recipient Domain": domain_of(receiver),
        "Has Attachments": "Yes" if email.files else "No",
    }
    made: dict[str, PropertyValue] = {
        f"string:{name}": _UNWANTED.sub("\ufffd", text)[:MAX_PROPERTY_CHARS]
        for name, text in texts.items()
        if text.strip()
    }
    made["number:Recipient Count"] = sum(len(one) for one in receivers)
    return made


def _attachment(file: FilePart) -> Attachment:
    attachment = Attachment(
        name=_UNWANTED.sub("\ufffd", file.name),
        size=file.size_bytes,
        content_type=_UNWANTED.sub("\ufffd", file.content_type),
    )
    if file.inline:
        attachment.inline = True
    if file.content_hash:
        attachment.content_hash = file.content_hash
    return attachment
