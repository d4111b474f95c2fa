"""MSG files: one item of Outlook each, as a compound file (MS-OXMSG)."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from io import BytesIO
from typing import Any, Final

import olefile

from lodestream.domain.errors import Unprocessable
from lodestream.formats.outlook import (
    ATTACH_DATA,
    CODEPAGE,
    MESSAGE_CODEPAGE,
    OutlookFile,
    OutlookItem,
    codec_of_page,
    time_of,
)

MAGIC: Final = olefile.MAGIC
_STREAM: Final = "__substg1.0_"
_PROPERTIES: Final = "__properties_version1.0"
_DEEPEST: Final = 16
_MOST_PARTS: Final = 4096
_TEXT8: Final = 0x001E
_TEXT: Final = 0x001F
_OBJECT: Final = 0x000D


def read_msg(content: bytes) -> OutlookItem:
    """Return the item in an MSG file; what is missing or broken inside is left out.

    Raises Unprocessable if it is no such file.
    """
    try:
        with olefile.OleFileIO(BytesIO(content)) as file:
            tree = _Tree(file)
            if not tree.has_properties():
                raise Unprocessable("it is no MSG file: it has no properties")
            return tree.item((), 0)
    except Unprocessable:
        raise
    # On a broken file the library raises whatever it stumbles over.
    except Exception as error:
        raise Unprocessable(f"it is no MSG file that can be read: {type(error).__name__}") from None


class _Tree:
    """The storages and streams of a compound file."""

    def __init__(self, file: olefile.OleFileIO) -> None:
        self._file = file
        self._inside: dict[tuple[str, ...], list[str]] = {}
        for path in file.listdir(streams=True, storages=True):
            self._inside.setdefault(tuple(path[:-1]), []).append(path[-1])

    def has_properties(self) -> bool:
        """Tell whether the file holds an item."""
        return any(name.startswith((_PROPERTIES, _STREAM)) for name in self._inside.get((), []))

    def item(self, at: tuple[str, ...], depth: int) -> OutlookItem:
        """Return the item in a storage."""
        # The header of the properties is longer at the top than inside of an attachment.
        properties = self._properties(at, 32 if not at else 24)
        recipients = [
            self._properties((*at, name), 8) for name in self._storages(at, "__recip_version1.0_")
        ]
        files = [
            self._attached((*at, name), depth)
            for name in self._storages(at, "__attach_version1.0_")
        ]
        return OutlookItem(properties, recipients, files)

    def _storages(self, at: tuple[str, ...], prefix: str) -> list[str]:
        return sorted(one for one in self._inside.get(at, []) if one.startswith(prefix))[
            :_MOST_PARTS
        ]

    def _attached(self, at: tuple[str, ...], depth: int) -> OutlookFile:
        properties = self._properties(at, 8)
        inner = f"{_STREAM}{ATTACH_DATA:04X}{_OBJECT:04X}"
        embedded = (*at, inner)
        if embedded in self._inside:
            if depth < _DEEPEST and _PROPERTIES in self._inside[embedded]:
                return OutlookFile(properties, item=self.item(embedded, depth + 1))
            return OutlookFile(properties)
        data = properties.pop(ATTACH_DATA, None)
        return OutlookFile(properties, data=data if isinstance(data, bytes) else None)

    def _properties(self, at: tuple[str, ...], header: int) -> dict[int, Any]:
        found: dict[int, Any] = dict(self._fixed(at, header))
        raw: dict[int, tuple[int, bytes]] = {}
        for name in self._inside.get(at, []):
            tag = name.removeprefix(_STREAM)
            if len(tag) != 8 or tag == name:
                continue
            number = int(tag, 16) if _is_hex(tag) else 0
            if number & 0xFFFF in (_TEXT8, _TEXT, 0x0102):
                content = self._read((*at, name))
                if content is not None:
                    raw[number >> 16] = (number & 0xFFFF, content)
        page = found.get(CODEPAGE) or found.get(MESSAGE_CODEPAGE)
        for number, (kind, content) in raw.items():
            if kind == _TEXT:
                found[number] = content.decode("utf-16-le", "replace").rstrip("\0")
            elif kind == _TEXT8:
                found[number] = content.decode(codec_of_page(page), "replace").rstrip("\0")
            else:
                found[number] = content
        return found

    def _fixed(self, at: tuple[str, ...], header: int) -> Iterator[tuple[int, Any]]:
        content = self._read((*at, _PROPERTIES)) or b""
        for start in range(header, len(content) - 15, 16):
            tag, _, value = struct.unpack_from("<IIQ", content, start)
            kind, number = tag & 0xFFFF, tag >> 16
            if kind == 0x0003:
                yield number, value & 0xFFFFFFFF
            elif kind == 0x000B:
                yield number, bool(value & 0xFF)
            elif kind == 0x0040 and (when := time_of(value)) is not None:
                yield number, when

    def _read(self, path: tuple[str, ...]) -> bytes | None:
        try:
            with self._file.openstream(list(path)) as stream:
                content: bytes = stream.read()
        except OSError:
            return None
        return content


def _is_hex(text: str) -> bool:
    return all(one in "0123456789abcdefABCDEF" for one in text)
