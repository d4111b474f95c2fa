"""A whole MIME message as headers and bodies: never fails, and reads what it can."""

from __future__ import annotations

from email import message_from_bytes
from email.message import Message
from typing import Final

from lodestream.domain.raw_emails import MAX_TEXT, Body, Headers, RawEmail

_MOST_PARTS: Final = 1000


def split_mime(mime: str) -> RawEmail:
    """Return a message's headers and its first plain and HTML body that are no attachments.

    Transfer encodings and charsets that contradict the content are passed over.
    """
    text = mime.lstrip("\r\n")
    message = message_from_bytes(text.encode())
    headers = _head_of(text)[:MAX_TEXT]
    plain = html = None
    for number, part in enumerate(message.walk()):
        if number == _MOST_PARTS:
            break
        if part.is_multipart() or part.get_content_disposition() == "attachment":
            continue
        kind = part.get_content_type()
        if kind == "text/plain" and plain is None:
            plain = _content(part)
        elif kind == "text/html" and html is None:
            html = _content(part)
    body = Body()
    if plain is not None:
        body.plain = plain[:MAX_TEXT]
    if html is not None:
        body.html = html
    return RawEmail(Headers(raw=headers), body)


def _head_of(text: str) -> str:
    ends = [at for at in (text.find("\n\n"), text.find("\r\n\r\n")) if at >= 0]
    return text[: min(ends)] if ends else text


def _content(part: Message) -> str:
    content = part.get_payload(decode=True)
    if not isinstance(content, bytes):
        return ""
    # What was not encoded came as text, and is UTF-8 by now whatever the header says.
    encoding = str(part.get("Content-Transfer-Encoding", "")).strip().lower()
    declared = part.get_content_charset() or "utf-8"
    is_encoded = encoding in ("base64", "quoted-printable")
    for charset in (declared, "utf-8") if is_encoded else ("utf-8", declared):
        try:
            return content.decode(charset).replace("\0", "\ufffd")
        except (LookupError, UnicodeDecodeError, ValueError):
            continue
    return content.decode("latin-1").replace("\0", "\ufffd")
