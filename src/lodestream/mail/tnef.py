"""Outlook's own envelope (`winmail.dat`): the text and the files in it. (MS-OXTNEF.)

Any bytes are taken; nothing here raises. What cannot be read is left out.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Final

from lodestream.mail.charsets import decode
from lodestream.mail.email import FilePart
from lodestream.mail.rtf import decapsulate, decompress

SIGNATURE: Final = b"\x78\x9f\x3e\x22"
_MOST_ATTRIBUTES: Final = 10_000
_MOST_PROPERTIES: Final = 10_000
_MOST_FILES: Final = 1000
_MAX_NAME: Final = 256

# Attributes, by the lower half of their ids
_BODY: Final = 0x800C
_MESSAGE: Final = 0x9003
_CODE_PAGE: Final = 0x9007
_FILE_BEGINS: Final = 0x9002
_FILE_DATA: Final = 0x800F
_FILE_TITLE: Final = 0x8010
_FILE: Final = 0x9005

# MAPI properties, by their ids
_PLAIN: Final = 0x1000
_RTF: Final = 0x1009
_HTML: Final = 0x1013
_CONTENT: Final = 0x3701
_SHORT_NAME: Final = 0x3704
_LONG_NAME: Final = 0x3707
_DISPLAY_NAME: Final = 0x3001
_MIME_TYPE: Final = 0x370E
_CONTENT_ID: Final = 0x3712
_INTERNET_CODE_PAGE: Final = 0x3FDE

_SIZES: Final = {2: 4, 3: 4, 4: 4, 5: 8, 6: 8, 7: 8, 0xA: 4, 0xB: 4, 0x14: 8, 0x40: 8, 0x48: 16}
_STRING8: Final = 0x1E
_UNICODE: Final = 0x1F
_OBJECT: Final = 0x0D
_BINARY: Final = 0x102
_OF_ANY_LENGTH: Final = frozenset({_STRING8, _UNICODE, _OBJECT, _BINARY})
_SEVERAL: Final = 0x1000


@dataclass(frozen=True, slots=True)
class Envelope:
    """What lies in an envelope; a text that is not there is None."""

    plain: str | None = None
    html: str | None = None
    files: tuple[FilePart, ...] = ()


def read_tnef(data: bytes) -> Envelope | None:
    """Return what lies in an envelope; None if it is none."""
    if not data.startswith(SIGNATURE):
        return None
    reader = _Reader()
    for _, (number, value) in zip(range(_MOST_ATTRIBUTES), _attributes(data), strict=False):
        reader.take(number, value)
    return reader.envelope()


def _attributes(data: bytes) -> Iterator[tuple[int, bytes]]:
    at = len(SIGNATURE) + 2
    while at + 9 <= len(data):
        number, size = struct.unpack_from("<II", data, at + 1)
        at += 9
        yield number & 0xFFFF, data[at : at + size]
        at += size + 2  # behind the check sum, which is not worth a refusal


@dataclass(slots=True)
class _File:
    title: bytes = b""
    content: bytes = b""
    properties: dict[int, Any] = field(default_factory=dict)


class _Reader:
    """Gathers the attributes of an envelope."""

    def __init__(self) -> None:
        self._code_page = ""
        self._body = b""
        self._properties: dict[int, Any] = {}
        self._files: list[_File] = []

    def take(self, number: int, value: bytes) -> None:
        """Take an attribute."""
        if number == _CODE_PAGE and len(value) >= 4:
            self._code_page = f"cp{struct.unpack_from('<I', value)[0]}"
        elif number == _BODY:
            self._body = value
        elif number == _MESSAGE:
            self._properties = dict(_properties(value))
        elif number == _FILE_BEGINS and len(self._files) < _MOST_FILES:
            self._files.append(_File())
        elif self._files:
            file = self._files[-1]
            if number == _FILE_TITLE:
                file.title = value
            elif number == _FILE_DATA:
                file.content = value
            elif number == _FILE:
                file.properties = dict(_properties(value))

    def envelope(self) -> Envelope:
        """Return what was gathered."""
        plain = self._text(self._properties.get(_PLAIN, self._body)) or None
        html = self._html()
        if html is None and isinstance(rtf := self._properties.get(_RTF), bytes):
            found = decapsulate(decompress(rtf))
            html, plain = found.html or None, plain or found.plain or None
        files = tuple(one for one in map(self._file, self._files) if one is not None)
        return Envelope(_with_line_feeds(plain), _with_line_feeds(html), files)

    def _html(self) -> str | None:
        value = self._properties.get(_HTML)
        page = self._properties.get(_INTERNET_CODE_PAGE)
        if isinstance(value, bytes) and isinstance(page, int):
            return decode(value.rstrip(b"\0"), "utf-8" if page == 65001 else f"cp{page}")[0] or None
        return self._text(value) or None

    def _file(self, file: _File) -> FilePart | None:
        given = file.properties
        names = (given.get(one) for one in (_LONG_NAME, _DISPLAY_NAME, _SHORT_NAME))
        name = next((text for one in names if (text := self._text(one))), "")
        content = file.content
        value = given.get(_CONTENT)
        if not content and isinstance(value, bytes):
            # The content of an object stands behind the id of its class.
            content = value[16:] if value[16:20] == SIGNATURE else value
        kind = self._text(given.get(_MIME_TYPE)).lower()
        if content.startswith(SIGNATURE):
            kind = "application/ms-tnef"
        content_id = self._text(given.get(_CONTENT_ID)).strip("<> ")
        return FilePart(
            name=(name or self._text(file.title))[:_MAX_NAME],
            content_type=(kind or "application/octet-stream")[:_MAX_NAME],
            size_bytes=len(content),
            inline=bool(content_id),
            content_id=content_id,
            read=lambda: content,
        )

    def _text(self, value: Any) -> str:
        if isinstance(value, bytes):
            value = decode(value.rstrip(b"\0"), self._code_page or None)[0]
        return value.rstrip("\0") if isinstance(value, str) else ""


def _with_line_feeds(text: str | None) -> str | None:
    return None if text is None else text.replace("\r\n", "\n").replace("\r", "\n")


def _properties(data: bytes) -> Iterator[tuple[int, Any]]:
    """Yield the MAPI properties that are whole, each with its first value."""
    try:
        yield from _whole_properties(data)
    except (struct.error, ValueError):
        return  # it ends too early, or goes on in a way that nobody knows


def _whole_properties(data: bytes) -> Iterator[tuple[int, Any]]:
    (count,) = struct.unpack_from("<I", data)
    at = 4
    for _ in range(min(count, _MOST_PROPERTIES)):
        kind, number = struct.unpack_from("<HH", data, at)
        at += 4
        if number >= 0x8000:
            at = _behind_name(data, at)
            number = -1
        base = kind & ~_SEVERAL
        values = 1
        if kind & _SEVERAL or base in _OF_ANY_LENGTH:
            (values,) = struct.unpack_from("<I", data, at)
            at += 4
        first: Any = None
        for place in range(min(values, _MOST_PROPERTIES)):
            value, at = _value(data, at, base)
            first = value if place == 0 else first
        if number >= 0:
            yield number, first


def _behind_name(data: bytes, at: int) -> int:
    (kind,) = struct.unpack_from("<I", data, at + 16)
    at += 20
    if kind == 0:
        return at + 4
    (size,) = struct.unpack_from("<I", data, at)
    return at + 4 + _padded(int(size))


def _value(data: bytes, at: int, kind: int) -> tuple[Any, int]:
    if kind in _OF_ANY_LENGTH:
        (size,) = struct.unpack_from("<I", data, at)
        at += 4
        value = data[at : at + size]
        if len(value) < size:
            raise ValueError("it ends too early")
        whole = value.decode("utf-16-le", "replace") if kind == _UNICODE else value
        return whole, at + _padded(int(size))
    if kind not in _SIZES:
        raise ValueError(f"unknown type {kind:x}")
    if kind == 3:
        return struct.unpack_from("<i", data, at)[0], at + 4
    return None, at + _SIZES[kind]


def _padded(size: int) -> int:
    return size + -size % 4
