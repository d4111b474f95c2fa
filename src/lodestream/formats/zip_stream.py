"""A ZIP archive that is written from its beginning to its end, without going back.

Each entry is compressed as it comes and followed by its sizes (APPNOTE.TXT 6.3.10, sections 4.3.9
and 4.4.4, bit 3). Written without the 64-bit extensions, which Excel refuses in such archives, so
entries and archive stay below 4 GiB.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Any, Final

from isal import isal_zlib

LARGEST_BYTES: Final = (1 << 32) - 1

_LOCAL: Final = struct.Struct("<4s5H3I2H")
_DESCRIPTOR: Final = struct.Struct("<4s3I")
_CENTRAL: Final = struct.Struct("<4s6H3I5H2I")
_END: Final = struct.Struct("<4s4H2IH")
_VERSION: Final = 20
_FLAGS: Final = 0x0808  # sizes follow the data; names are UTF-8
_DEFLATE: Final = 8
_FIRST_DAY: Final = 0x0021  # 1 January 1980: archives of the same content are the same


class ArchiveTooLarge(Exception):
    """The archive would have 4 GiB or more."""


@dataclass
class _Entry:
    name: bytes
    offset: int
    crc: int = 0
    packed: int = 0
    size: int = 0


class ZipStream:
    """Makes the bytes of an archive; one entry is open at a time."""

    def __init__(self) -> None:
        self._entries: list[_Entry] = []
        self._deflate: Any = None
        self._offset = 0

    def begin(self, name: str) -> bytes:
        """Begin an entry."""
        entry = _Entry(name.encode(), self._offset)
        self._entries.append(entry)
        self._deflate = isal_zlib.compressobj(1, isal_zlib.DEFLATED, -15)
        head = _LOCAL.pack(
            b"PK\3\4", _VERSION, _FLAGS, _DEFLATE, 0, _FIRST_DAY, 0, 0, 0, len(entry.name), 0
        )
        return self._out(head + entry.name)

    def write(self, data: bytes) -> bytes:
        """Add to the open entry."""
        entry = self._entries[-1]
        entry.crc = isal_zlib.crc32(data, entry.crc)
        entry.size += len(data)
        return self._packed(self._deflate.compress(data))

    def end(self) -> bytes:
        """End the open entry. Raises ArchiveTooLarge."""
        entry = self._entries[-1]
        rest = self._packed(self._deflate.flush())
        if max(entry.size, entry.packed) > LARGEST_BYTES:
            raise ArchiveTooLarge(f"{entry.name.decode()} would have 4 GiB or more")
        return rest + self._out(_DESCRIPTOR.pack(b"PK\7\x08", entry.crc, entry.packed, entry.size))

    def add(self, name: str, data: bytes) -> bytes:
        """Add a whole entry."""
        return self.begin(name) + self.write(data) + self.end()

    def close(self) -> bytes:
        """End the archive, with the list of what is in it. Raises ArchiveTooLarge."""
        if self._offset > LARGEST_BYTES:
            raise ArchiveTooLarge("the archive would have 4 GiB or more")
        start = self._offset
        listed = b"".join(map(_central, self._entries))
        count = len(self._entries)
        return listed + _END.pack(b"PK\5\6", 0, 0, count, count, len(listed), start, 0)

    def _packed(self, data: bytes) -> bytes:
        self._entries[-1].packed += len(data)
        return self._out(data)

    def _out(self, data: bytes) -> bytes:
        self._offset += len(data)
        return data


def _central(entry: _Entry) -> bytes:
    head = _CENTRAL.pack(
        b"PK\1\2",
        _VERSION,
        _VERSION,
        _FLAGS,
        _DEFLATE,
        0,
        _FIRST_DAY,
        entry.crc,
        entry.packed,
        entry.size,
        len(entry.name),
        0,
        0,
        0,
        0,
        0,
        entry.offset,
    )
    return head + entry.name
