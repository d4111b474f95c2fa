"""E-mails of mailboxes as buckets have them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Final

from lodestream.connectors.mailboxes import Skipped
from lodestream.domain.buckets import EmailMetadata, EmailNew
from lodestream.domain.comments import Attachment
from lodestream.domain.times import format_us
from lodestream.mail.as_text import text_of_mime
from lodestream.mail.email import Email
from lodestream.mail.headers import sent_us
from lodestream.mail.mime import parse_mime

MOST_BYTES: Final = 32 << 20
"""The largest e-mail that a bucket takes; a larger one is passed over."""
_LONGEST_ID: Final = 1024
_LONGEST: Final = 1024
_MOST_FILES: Final = 128
_UNWANTED: Final = re.compile("[\x00\ud800-\udfff]")


@dataclass(frozen=True, slots=True)
class Known:
    """What a mailbox knows of an e-mail that the e-mail does not say."""

    mailbox: str
    folder: Sequence[str]
    received_us: int
    is_read: bool | None = None
    importance: str | None = None
    sensitivity: str | None = None
    categories: Sequence[str] = ()
    conversation_id: str | None = None
    conversation_topic: str | None = None
    stable_id: str = ""
    """The mailbox's own id, for an e-mail without Message-ID; made of the e-mail if empty."""


def email_new(raw: bytes, known: Known, *, contents: bool) -> EmailNew | Skipped:
    """Return an e-mail with what its mailbox knows of it; with `contents` its files stay in it.

    One that is too large for a bucket is skipped.
    """
    text = text_of_mime(raw, contents=contents)
    email = parse_mime(raw)
    email_id = id_of(email, raw, known.stable_id)
    if len(text) * 3 > MOST_BYTES and len(text.encode("utf-8", "replace")) > MOST_BYTES:
        return Skipped(email_id, f"it has more than {MOST_BYTES >> 20} MiB")
    return EmailNew(
        id=email_id,
        mailbox=known.mailbox,
        timestamp=format_us(sent_us(email.headers) or known.received_us),
        mime_content=text,
        metadata=_metadata(raw, email, known),
        attachments=[
            Attachment(_text(one.name)[:256], one.size_bytes, _text(one.content_type)[:256])
            for one in email.files[:_MOST_FILES]
        ],
    )


def id_of(email: Email, raw: bytes, stable_id: str = "") -> str:
    """Return the Message-ID as it stands in an e-mail, else one that is always the same for it."""
    message_id = _text(email.headers.first("message-id"))
    if message_id and len(message_id) <= _LONGEST_ID:
        return message_id
    digest = sha256(stable_id.encode() if stable_id else raw).hexdigest()
    return f"<{digest}@without-message-id>"


def _metadata(raw: bytes, email: Email, known: Known) -> EmailMetadata:
    headers = email.headers
    importance = known.importance or headers.first("importance").lower()
    sensitivity = known.sensitivity or headers.first("sensitivity").lower()
    topic = known.conversation_topic or headers.first("thread-topic")
    return EmailMetadata(
        sensitivity=_text(sensitivity)[:_LONGEST] or None,
        size=len(raw),
        categories=[_text(one)[:_LONGEST] for one in known.categories][:_LONGEST],
        importance=_text(importance)[:_LONGEST] or None,
        has_attachments=any(not one.inline for one in email.files),
        conversation_id=_text(known.conversation_id or "")[:_LONGEST] or None,
        conversation_topic=_text(topic)[:_LONGEST] or None,
        is_read=known.is_read,
        folder=[_text(one)[:_LONGEST] for one in known.folder],
        received_at=format_us(known.received_us),
    )


def _text(text: str) -> str:
    return _UNWANTED.sub("\ufffd", text)
