"""MIME: bytes as they travel, to an e-mail. Any bytes are one; nothing here raises.

The message is never copied: parts are places in it. Nesting has a bound, below which a part is a
file; and so has the number of parts. (RFC 2045 to 2047, 2231, 3462, 3676, 5322.)
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from html import escape
from typing import Final

from lodestream.mail.calendars import text_of_calendar
from lodestream.mail.charsets import decode
from lodestream.mail.email import Email, FilePart
from lodestream.mail.flowed import unflowed
from lodestream.mail.headers import Headers, decoded, headers_of, parameters
from lodestream.mail.html import text_of_html
from lodestream.mail.tnef import read_tnef
from lodestream.mail.transfer import decoded_bytes, decoded_size

_DEEPEST: Final = 24
_MOST_PARTS: Final = 1000
_LONGEST_HEADERS: Final = 1 << 20
_LONGEST_TEXT: Final = 32 << 20
_MAX_NAME: Final = 256

_BLANK_LINE: Final = re.compile(rb"(?:\A|\n)[ \t]*\r?\n")


def parse_mime(raw: bytes) -> Email:
    """Read a MIME message, or headers with one body, whatever is wrong with it.

    Its text is that of the parts that are shown, in order; of alternatives both forms are kept.
    A forwarded message is a file, and so is everything that has a name. In place of Outlook's own
    envelope are the files in it, and its text if there is no other.
    """
    if b"\n" not in raw:
        raw = raw.replace(b"\r", b"\n")
    start = len(raw) - len(raw.lstrip(b"\r\n"))
    top = part_at(raw, start, len(raw), default="text/plain")
    found = _Found(raw)
    found.walk(top, 0)
    plain, html = found.texts()
    files: list[FilePart] = []
    for file in found.files:
        envelope = read_tnef(file.read()) if file.is_tnef and file.read is not None else None
        if envelope is None:
            files.append(file)
            continue
        files += envelope.files
        if not (plain or "").strip() and not html:
            plain, html = envelope.plain, envelope.html
    return Email(
        headers=top.headers,
        plain=plain,
        html=html,
        files=tuple(files),
        charset=found.charset,
        content_type=top.content_type,
    )


@dataclass(frozen=True, slots=True)
class Part:
    """A part: its headers, and where its body is."""

    headers: Headers
    content_type: str
    parameters: dict[str, str]
    disposition: str
    name: str
    start: int
    end: int

    @property
    def encoding(self) -> str:
        return self.headers.first("content-transfer-encoding").partition(";")[0]


def part_at(raw: bytes, start: int, end: int, *, default: str) -> Part:
    """Return the part that begins with its headers at `start`."""
    blank = _BLANK_LINE.search(raw, start, min(end, start + _LONGEST_HEADERS))
    if raw[start : start + 1] in (b"\n", b"\r"):
        head, body = b"", start + (2 if raw.startswith(b"\r\n", start) else 1)
    elif blank is None:
        head, body = raw[start : min(end, start + _LONGEST_HEADERS)], end
        if not _begins_with_header(head):
            head, body = b"", start
    else:
        head, body = raw[start : blank.start() + 1], blank.end()
        if not _begins_with_header(head):
            head, body = b"", start
    headers = headers_of(decode(head, None)[0])
    content_type, given = parameters(headers.first("content-type"))
    if "/" not in content_type:
        content_type = {"text": "text/plain", "html": "text/html"}.get(content_type, default)
    disposition, of_file = parameters(headers.first("content-disposition"))
    name = of_file.get("filename") or given.get("name") or ""
    return Part(headers, content_type, given, disposition, name, min(body, end), end)


_HEADER_LINE: Final = re.compile(rb"(?:From |>From )|[!-9;-~]{1,256}[ \t]*:")


def _begins_with_header(head: bytes) -> bool:
    return any(_HEADER_LINE.match(line) for line in head[:4096].split(b"\n", 4)[:4])


def inner_bounds(raw: bytes, part: Part) -> list[tuple[int, int]]:
    """Return where the parts inside a multipart begin and end; none if it is not what it says."""
    boundary = part.parameters.get("boundary", "").encode("utf-8", "surrogateescape")
    lines = _boundary_lines(raw, boundary, part.start, part.end) if boundary else []
    if not lines:
        # The boundary is not declared, or not as it is used: a line such as one tells it.
        guess = _LOOKS_LIKE_BOUNDARY.search(raw, part.start, min(part.end, part.start + 65_536))
        if guess is None:
            return []
        lines = _boundary_lines(raw, guess[1], part.start, part.end)
    bounds: list[tuple[int, int]] = []
    for at, (_, start, closes) in enumerate(lines[:_MOST_PARTS]):
        if closes:
            break
        end = lines[at + 1][0] if at + 1 < len(lines) else part.end
        end -= raw[end - 1 : end] == b"\r" and end > start
        bounds.append((start, max(start, end)))
    return bounds


def is_text(part: Part) -> bool:
    """Tell whether a part is shown, and no file."""
    if part.disposition == "attachment" or part.name:
        return False
    return part.content_type in ("text/plain", "text/html")


@dataclass(slots=True)
class _Shown:
    """One text that is shown, in one form or both."""

    plain: str | None = None
    html: str | None = None


@dataclass(slots=True)
class _Found:
    """What has been found in a message so far."""

    raw: bytes
    files: list[FilePart] = field(default_factory=list)
    shown: list[_Shown] = field(default_factory=list)
    calendars: list[str] = field(default_factory=list)
    charset: str = ""
    parts: int = 0

    def walk(self, part: Part, depth: int, *, among: _Shown | None = None) -> None:
        """Take a part and those inside it; `among` gathers the forms of alternatives."""
        self.parts += 1
        if self.parts > _MOST_PARTS:
            return
        kind = part.content_type
        if kind.startswith("multipart/") and depth < _DEEPEST:
            inner = list(self._inner(part))
            if inner:
                if kind == "multipart/alternative" and among is None:
                    among = _Shown()
                    self.shown.append(among)
                for one in inner:
                    # Files between alternatives are none of the text's forms.
                    self.walk(one, depth + 1, among=among)
                return
            part = _as_text(part)
        if is_text(part):
            self._take_text(part, among)
        elif part.content_type != "text/enriched" or part.name or among is None:
            self._take_file(part)

    def _inner(self, part: Part) -> Iterator[Part]:
        default = "message/rfc822" if part.content_type == "multipart/digest" else "text/plain"
        for start, end in inner_bounds(self.raw, part):
            yield part_at(self.raw, start, end, default=default)

    def _text(self, part: Part) -> str:
        body = self.raw[part.start : min(part.end, part.start + _LONGEST_TEXT)]
        data = decoded_bytes(body, part.encoding)
        declared = part.parameters.get("charset")
        if not declared and part.content_type == "text/html":
            found = _META_CHARSET.search(data, 0, 2048)
            declared = None if found is None else found[1].decode("ascii")
        text, codec = decode(data, declared)
        self.charset = self.charset or codec
        text = text.replace("\r\n", "\n").replace("\r", "\n")
        if part.parameters.get("format", "").lower() == "flowed":
            text = unflowed(text, delete_space=part.parameters.get("delsp", "").lower() == "yes")
        return text

    def _take_text(self, part: Part, among: _Shown | None) -> None:
        shown = among
        text = self._text(part)
        is_html = part.content_type == "text/html"
        if shown is None or (shown.html if is_html else shown.plain) is not None:
            shown = _Shown()
            self.shown.append(shown)
        if is_html:
            shown.html = text
        else:
            shown.plain = text

    def _take_file(self, part: Part) -> None:
        body = self.raw[part.start : part.end].removesuffix(b"\n").removesuffix(b"\r")
        encoding = part.encoding
        name = part.name or decoded(part.headers.first("content-location")).rpartition("/")[2]
        if part.content_type == "text/calendar":
            self.calendars.append(text_of_calendar(self._text(part)))
        elif part.content_type == "message/delivery-status" and not self.shown:
            self.shown.append(_Shown(plain=self._text(part)))
        if not name and part.content_type == "message/rfc822":
            inner = part_at(body, 0, len(body), default="text/plain").headers
            name = decoded(inner.first("subject"))[: _MAX_NAME - 4].strip() + ".eml"
        self.files.append(
            FilePart(
                name=(name or _NAMES.get(part.content_type, ""))[:_MAX_NAME],
                content_type=part.content_type[:_MAX_NAME],
                size_bytes=decoded_size(body, encoding),
                inline=part.disposition == "inline" or "content-id" in part.headers,
                content_id=part.headers.first("content-id").strip("<> "),
                read=partial(decoded_bytes, body, encoding),
            )
        )

    def texts(self) -> tuple[str | None, str | None]:
        """Return the shown text in both forms; None for a form in which no part is."""
        shown = [one for one in self.shown if one.plain is not None or one.html is not None]
        if not shown and self.calendars:
            return "\n\n".join(self.calendars), None
        plain = html = None
        if any(one.plain is not None for one in shown):
            plain = "\n".join(_plain_of(one) for one in shown)
        if any(one.html is not None for one in shown):
            html = "\n".join(_html_of(one) for one in shown)
        return plain, html


_NAMES: Final = {
    "message/delivery-status": "delivery-status.txt",
    "text/rfc822-headers": "headers.txt",
    "text/calendar": "invite.ics",
    "application/ms-tnef": "winmail.dat",
}
_META_CHARSET: Final = re.compile(rb"charset\s{0,4}=\s{0,4}[\"']?([A-Za-z0-9_.:\-]{2,40})", re.I)
_LOOKS_LIKE_BOUNDARY: Final = re.compile(
    rb"(?<![^\n])--([^\s][^\r\n]{0,199})\r?\n(?=content-[a-z\-]{2,40}[ \t]*:)", re.I
)


def _as_text(part: Part) -> Part:
    """Return a multipart in which no parts are found as the text it must be."""
    return Part(part.headers, "text/plain", {}, "", "", part.start, part.end)


def _boundary_lines(
    raw: bytes, boundary: bytes, start: int, end: int
) -> list[tuple[int, int, bool]]:
    """Return of each line that is a boundary where it begins and ends, and whether it is the last.

    The line end in front of it belongs to it.
    """
    pattern = re.compile(
        rb"(?<![^\n])--" + re.escape(boundary) + rb"(--)?[ \t]{0,200}(?:\r?\n|(?!.))", re.DOTALL
    )
    return [
        (max(match.start() - 1, start), match.end(), match[1] is not None)
        for match in pattern.finditer(raw, start, end)
    ]


def _plain_of(shown: _Shown) -> str:
    if shown.plain is not None:
        return shown.plain
    return text_of_html(shown.html or "", most_chars=1 << 20)


def _html_of(shown: _Shown) -> str:
    if shown.html is not None:
        return shown.html
    return "<pre>" + escape(shown.plain or "") + "</pre>"
