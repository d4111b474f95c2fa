"""Items of Outlook, as MSG and PST files hold them, as the e-mails that they were.

Properties are known by their numbers (MS-OXPROPS). What is left of the e-mail's own headers is
used; what they lack is made of properties.
"""

from __future__ import annotations

import mimetypes
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.encoders import encode_base64
from email.header import Header
from email.message import Message
from email.mime.base import MIMEBase
from email.mime.text import MIMEText
from email.utils import format_datetime
from hashlib import sha256
from typing import Any, Final

HEADERS: Final = 0x007D
SUBJECT: Final = 0x0037
BODY: Final = 0x1000
HTML: Final = 0x1013
RTF: Final = 0x1009
CODEPAGE: Final = 0x3FDE
MESSAGE_CODEPAGE: Final = 0x3FFD
MESSAGE_CLASS: Final = 0x001A
NAME: Final = 0x3001
ATTACH_DATA: Final = 0x3701
_SUBMITTED: Final = 0x0039
_DELIVERED: Final = 0x0E06
_MESSAGE_ID: Final = 0x1035
_IN_REPLY_TO: Final = 0x1042
_REFERENCES: Final = 0x1039
_SENDERS: Final = ((0x0C1A, 0x5D01, 0x0C1F), (0x0042, 0x5D02, 0x0065))
_RECIPIENT_KIND: Final = 0x0C15
_KINDS: Final = {1: "To", 2: "Cc", 3: "Bcc"}
_SHOWN: Final = {"To": 0x0E04, "Cc": 0x0E03, "Bcc": 0x0E02}
_DEEPEST: Final = 16

Properties = Mapping[int, Any]
"""Values by number: text, bytes, integers, booleans, and instants as datetime."""


@dataclass(frozen=True, slots=True)
class OutlookFile:
    """Something attached: its properties, its bytes, or the item that it is."""

    properties: Properties
    data: bytes | None = None
    item: OutlookItem | None = None


@dataclass(frozen=True, slots=True)
class OutlookItem:
    """An item of a mailbox."""

    properties: Properties
    recipients: Sequence[Properties] = ()
    files: Sequence[OutlookFile] = field(default_factory=tuple)

    @property
    def is_mail(self) -> bool:
        """Tell whether it is an e-mail, a report or an invitation, and no contact or the like."""
        kind = str(self.properties.get(MESSAGE_CLASS) or "IPM.Note").lower()
        return kind.startswith(("ipm.note", "report.", "ipm.schedule.", "ipm.post", "ipm.recall"))


@dataclass(frozen=True, slots=True)
class RtfBody:
    """What a compressed RTF body holds."""

    html: str | None = None
    plain: str | None = None


RtfReader = Callable[[bytes], RtfBody]


def time_of(ticks: int) -> datetime | None:
    """Return the instant of a count of 100 nanoseconds since 1601; None if it is none."""
    try:
        return datetime(1601, 1, 1, tzinfo=UTC) + timedelta(microseconds=ticks // 10)
    except OverflowError:
        return None


def codec_of_page(page: object) -> str:
    """Return the codec of a Windows code page by its number."""
    known = {
        65001: "utf-8",
        20127: "cp1252",
        1200: "utf-16-le",
        28591: "cp1252",
        50220: "iso2022_jp",
    }
    name = known.get(page, f"cp{page}") if isinstance(page, int) else "cp1252"
    try:
        "".encode(name)
    except LookupError:
        return "cp1252"
    return name


def mime_of(item: OutlookItem, read_rtf: RtfReader) -> bytes:
    """Return an item as MIME; the same for the same item."""
    return _message(item, read_rtf, 0).as_bytes(unixfrom=False)


def _message(item: OutlookItem, read_rtf: RtfReader, depth: int) -> Message:
    html, plain = _bodies(item.properties, read_rtf)
    bodies = [MIMEText(_sound(plain), "plain", "utf-8")] if plain is not None or not html else []
    if plain is None and not html:
        bodies = [MIMEText("", "plain", "utf-8")]
    if html:
        bodies.append(MIMEText(_sound(html), "html", "utf-8"))
    seed = repr(sorted((k, str(v)[:200]) for k, v in item.properties.items())) + str(depth)
    root: Message = bodies[0]
    if len(bodies) > 1:
        root = _multipart("alternative", bodies, seed)
    files = [part for file in item.files if (part := _file(file, read_rtf, depth)) is not None]
    if files:
        root = _multipart("mixed", [root, *files], seed)
    # The headers come first, as they do in an e-mail.
    own = root.items()
    for name, _ in own:
        del root[name]
    for name, value in _headers(item):
        root[name] = value
    for name, value in own:
        root[name] = value
    return root


def _multipart(kind: str, parts: Sequence[Message], seed: str) -> Message:
    whole = MIMEBase("multipart", kind)
    whole.set_boundary("=_" + sha256((kind + seed).encode("utf-8", "replace")).hexdigest()[:32])
    for part in parts:
        if "MIME-Version" in part:
            del part["MIME-Version"]
        whole.attach(part)
    return whole


# Bodies


def _bodies(properties: Properties, read_rtf: RtfReader) -> tuple[str | None, str | None]:
    html = properties.get(HTML)
    if isinstance(html, bytes):
        page = properties.get(CODEPAGE) or properties.get(MESSAGE_CODEPAGE)
        html = html.decode(codec_of_page(page), "replace")
    plain = properties.get(BODY)
    plain = plain if isinstance(plain, str) else None
    if not html and isinstance(rtf := properties.get(RTF), bytes):
        found = read_rtf(rtf)
        html = found.html
        plain = plain if plain else found.plain
    return (html if isinstance(html, str) else None), plain


# All that some library takes for the end of a line is among them.
_CONTROLS: Final = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029]+")
_SURROGATES: Final = re.compile("[\ud800-\udfff]")


def _sound(text: str | None) -> str:
    return _SURROGATES.sub("\ufffd", text or "").rstrip("\0").replace("\0", " ")


# Headers

_OF_MIME: Final = frozenset({"content-type", "content-transfer-encoding", "mime-version"})
_FOLD: Final = re.compile(r"\r?\n(?=[ \t])")


def _headers(item: OutlookItem) -> Iterator[tuple[str, str]]:
    written: set[str] = set()
    text = item.properties.get(HEADERS)
    for name, value in _parsed(text if isinstance(text, str) else ""):
        if name.lower() not in _OF_MIME:
            written.add(name.lower())
            yield name, _value(value)
    for name, value in _made(item):
        if name.lower() not in written and value:
            yield name, _value(value)


def _parsed(text: str) -> Iterator[tuple[str, str]]:
    for line in re.split(r"\r?\n", _FOLD.sub("", text)):
        name, colon, value = line.partition(":")
        if colon and name and all(33 <= ord(one) < 127 for one in name):
            yield name, value.strip()


# A quoted text, or words one after the other, with letters that headers cannot have.
_FOREIGN: Final = re.compile(
    r'"([^"]*[^\x00-\x7f][^"]*)"'
    r'|([^\s"<>,;()]*[^\x00-\x7f][^\s"<>,;()]*(?: +[^\s"<>,;()]*[^\x00-\x7f][^\s"<>,;()]*)*)'
)


def _value(text: str) -> str:
    text = _CONTROLS.sub(" ", _sound(text))
    if text.isascii():
        return text
    # Only names and words are encoded: what stands around them says where addresses are.
    return _FOREIGN.sub(lambda match: _encoded(match[1] or match[2]), text)


def _encoded(text: str) -> str:
    return Header(text, "utf-8", errors="replace").encode(linesep="")


def _made(item: OutlookItem) -> Iterator[tuple[str, str]]:
    properties = item.properties
    when = properties.get(_SUBMITTED) or properties.get(_DELIVERED)
    if isinstance(when, datetime):
        yield "Date", format_datetime(when)
    yield "From", _sender(properties)
    for name, people in _recipients(item).items():
        yield name, people
    # A prefix such as `RE: ` is marked by two characters before it.
    subject = str(properties.get(SUBJECT) or "")
    yield "Subject", subject[2:] if subject.startswith("\x01") else subject
    for name, number in (
        ("Message-ID", _MESSAGE_ID),
        ("In-Reply-To", _IN_REPLY_TO),
        ("References", _REFERENCES),
    ):
        yield name, str(properties.get(number) or "")


def _sender(properties: Properties) -> str:
    for name, smtp, address in _SENDERS:
        shown = str(properties.get(name) or "")
        found = properties.get(smtp) or properties.get(address)
        if shown or found:
            return _mailbox(shown, str(found or ""))
    return ""


def _recipients(item: OutlookItem) -> dict[str, str]:
    lists: dict[str, list[str]] = {"To": [], "Cc": [], "Bcc": []}
    for one in item.recipients:
        kind = _KINDS.get(one.get(_RECIPIENT_KIND, 1))
        address = one.get(0x39FE) or one.get(0x3003) or ""
        if kind is not None:
            lists[kind].append(_mailbox(str(one.get(NAME) or ""), str(address)))
    return {
        name: ", ".join(found) or str(item.properties.get(_SHOWN[name]) or "").replace(";", ",")
        for name, found in lists.items()
    }


def _mailbox(name: str, address: str) -> str:
    """Return a mailbox as headers have it; an address inside of Exchange is no address."""
    if "@" not in address or address.startswith("/"):
        address = ""
    if not address or name in ("", address):
        return address or _quoted(name)
    return f"{_quoted(name)} <{address}>"


def _quoted(name: str) -> str:
    """Return a name as it stands before an address."""
    if not name or re.fullmatch(r"[\w !#$%&'*+/=?^`{|}~-]+", name, re.ASCII):
        return name
    return '"' + re.sub(r'["\\]', "", name) + '"'


# Files


def _file(file: OutlookFile, read_rtf: RtfReader, depth: int) -> Message | None:
    if file.item is not None:
        if depth >= _DEEPEST:
            return None
        part = MIMEBase("message", "rfc822")
        part.attach(_message(file.item, read_rtf, depth + 1))
        subject = str(file.item.properties.get(SUBJECT) or "").lstrip("\x01")
        _describe(part, _name(file.properties) or subject or "message", inline=False)
        return part
    if file.data is None:
        return None
    name = _name(file.properties)
    declared = str(file.properties.get(0x370E) or mimetypes.guess_type(name)[0] or "")
    kind = declared if re.fullmatch(r"[\w.+-]+/[\w.+-]+", declared, re.ASCII) else ""
    main, _, sub = (kind or "application/octet-stream").lower().partition("/")
    if main in ("multipart", "message"):
        main, sub = "application", "octet-stream"
    part = MIMEBase(main, sub)
    part.set_payload(file.data)
    encode_base64(part)
    content_id = str(file.properties.get(0x3712) or "")
    if content_id and content_id.isascii():
        part["Content-ID"] = "<" + re.sub(r"[<>\s]", "", content_id) + ">"
    _describe(part, name or "attachment", inline=bool(content_id))
    return part


def _name(properties: Properties) -> str:
    found = properties.get(0x3707) or properties.get(0x3704) or properties.get(NAME) or ""
    return _CONTROLS.sub(" ", _sound(str(found))).strip()


def _describe(part: Message, name: str, *, inline: bool) -> None:
    given: Any = name if name.isascii() else ("utf-8", "", name)
    part.add_header("Content-Disposition", "inline" if inline else "attachment", filename=given)
