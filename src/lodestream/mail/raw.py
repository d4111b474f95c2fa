"""A raw e-mail as clients send it, headers and decoded bodies, to an e-mail."""

from __future__ import annotations

from msgspec import UNSET

from lodestream.domain.raw_emails import RawEmail
from lodestream.mail.email import Email, FilePart
from lodestream.mail.headers import Headers, headers_of


def email_of(raw: RawEmail) -> Email:
    """Return the e-mail; of its files only the descriptions are known.

    Headers by name replace those of the same name in the text. Type and transfer encoding are those
    of a body that was decoded already, and say nothing.
    """
    return Email(
        headers=_headers(raw),
        plain=None if raw.body.plain is UNSET else _with_line_feeds(raw.body.plain),
        html=None if raw.body.html is UNSET else _with_line_feeds(raw.body.html),
        files=tuple(
            FilePart(
                name=one.name,
                content_type=one.content_type,
                size_bytes=one.size,
                inline=one.inline is True,
                content_hash="" if one.content_hash is UNSET else one.content_hash,
            )
            for one in raw.attachments
        ),
        charset="utf-8",
    )


def _headers(raw: RawEmail) -> Headers:
    given = raw.headers
    # A blank line at the beginning, as some clients leave it, would end the headers.
    text = "" if given.raw is UNSET else given.raw.lstrip("\r\n")
    headers = headers_of(text)
    if given.parsed is not UNSET:
        for name, values in given.parsed.items():
            several = values if isinstance(values, list) else [values]
            headers.replace(name, [str(one) for one in several])
    return headers


def _with_line_feeds(text: str) -> str:
    return text.replace("\r\n", "\n").replace("\r", "\n") if "\r" in text else text
