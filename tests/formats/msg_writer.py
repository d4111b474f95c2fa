"""Small MSG files made for tests: a compound file (MS-CFB) with the streams of an item."""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import pairwise
from typing import Any

_FREE, _END, _FAT = 0xFFFFFFFF, 0xFFFFFFFE, 0xFFFFFFFD
_NONE = 0xFFFFFFFF
_SECTOR, _SMALL, _CUTOFF = 512, 64, 4096

Tree = dict[str, Any]
"""Names to bytes, or to what is inside of a storage."""


@dataclass
class _Entry:
    name: str
    kind: int
    content: bytes = b""
    child: int = _NONE
    right: int = _NONE
    start: int = _END


@dataclass
class _Compound:
    entries: list[_Entry] = field(default_factory=list)

    def add(self, name: str, value: Any, *, kind: int = 1) -> int:
        number = len(self.entries)
        entry = _Entry(name, kind if isinstance(value, dict) else 2)
        self.entries.append(entry)
        if isinstance(value, bytes):
            entry.content = value
            return number
        # A list is a tree, too, as long as it is in order.
        names = sorted(value, key=lambda one: (len(one), one.upper()))
        children = [self.add(one, value[one]) for one in names]
        for one, following in pairwise(children):
            self.entries[one].right = following
        entry.child = children[0] if children else _NONE
        return number

    def write(self) -> bytes:
        small, small_chain, sectors, chain = b"", [], [], []

        def put(content: bytes) -> int:
            if not content:
                return _END
            first = len(sectors)
            for at in range(0, len(content), _SECTOR):
                sectors.append(content[at : at + _SECTOR].ljust(_SECTOR, b"\0"))
                chain.append(len(sectors))
            chain[-1] = _END
            return first

        for entry in self.entries:
            if entry.kind != 2 or not entry.content:
                continue
            if len(entry.content) >= _CUTOFF:
                entry.start = put(entry.content)
                continue
            entry.start = len(small_chain)
            for at in range(0, len(entry.content), _SMALL):
                small += entry.content[at : at + _SMALL].ljust(_SMALL, b"\0")
                small_chain.append(len(small_chain) + 1)
            small_chain[-1] = _END
        root = self.entries[0]
        root.start, root.content = put(small), small
        table = put(b"".join(struct.pack("<I", one) for one in small_chain).ljust(_SECTOR, b"\xff"))
        listed = [_directory_entry(one) for one in self.entries]
        directory = put(b"".join(listed + [_unused()] * (-len(listed) % 4)))
        count = 1
        while (len(sectors) + count) * 4 > count * _SECTOR:
            count += 1
        first = len(sectors)
        chain += [_FAT] * count
        chain += [_FREE] * (-len(chain) % 128)
        fat = b"".join(struct.pack("<I", one) for one in chain)
        small_sectors = -(-len(small_chain) * 4 // _SECTOR)
        head = bytes.fromhex("d0cf11e0a1b11ae1") + bytes(16)
        head += struct.pack("<HHHHH", 0x3E, 3, 0xFFFE, 9, 6) + bytes(6)
        head += struct.pack("<IIIII", 0, count, directory, 0, _CUTOFF)
        head += struct.pack("<IIII", table, max(1, small_sectors), _END, 0)
        places = [first + at for at in range(count)]
        head += b"".join(struct.pack("<I", one) for one in places).ljust(436, b"\xff")
        return head + b"".join(sectors) + fat


def _directory_entry(entry: _Entry) -> bytes:
    name = entry.name.encode("utf-16-le") + b"\0\0"
    head = name.ljust(64, b"\0") + struct.pack("<HBB", len(name), entry.kind, 1)
    links = struct.pack("<III", _NONE, entry.right, entry.child)
    return (head + links + bytes(36) + struct.pack("<IQ", entry.start, len(entry.content)))[:128]


def _unused() -> bytes:
    return bytes(68) + struct.pack("<III", _NONE, _NONE, _NONE) + bytes(48)


def compound(tree: Tree) -> bytes:
    """Return a compound file."""
    made = _Compound()
    made.add("Root Entry", tree, kind=5)
    return made.write()


def msg(
    properties: dict[int, Any],
    recipients: list[dict[int, Any]] | None = None,
    files: list[tuple[dict[int, Any], Any]] | None = None,
    *,
    top: bool = True,
) -> Tree:
    """Return the streams of an item; a file is bytes or the streams of another item."""
    tree = _streams(properties, 32 if top else 24)
    for number, one in enumerate(recipients or []):
        tree[f"__recip_version1.0_#{number:08X}"] = _streams(one, 8)
    for number, (described, content) in enumerate(files or []):
        inside = _streams(described, 8)
        if isinstance(content, dict):
            inside["__substg1.0_3701000D"] = content
        else:
            inside["__substg1.0_37010102"] = content
        tree[f"__attach_version1.0_#{number:08X}"] = inside
    if top:
        tree["__nameid_version1.0"] = {"__substg1.0_00020102": b""}
    return tree


def _streams(properties: dict[int, Any], header: int) -> Tree:
    tree: Tree = {}
    records = bytes(header)
    for number, value in sorted(properties.items()):
        if isinstance(value, str | bytes):
            kind = 0x1F if isinstance(value, str) else 0x102
            raw = value.encode("utf-16-le") if isinstance(value, str) else value
            tree[f"__substg1.0_{number:04X}{kind:04X}"] = raw
            records += struct.pack("<HHIII", kind, number, 6, len(raw), 0)
        elif isinstance(value, datetime):
            since = value - datetime(1601, 1, 1, tzinfo=UTC)
            ticks = int(since.total_seconds()) * 10_000_000
            records += struct.pack("<HHIQ", 0x40, number, 6, ticks)
        else:
            records += struct.pack("<HHIQ", 0x03, number, 6, value)
    tree["__properties_version1.0"] = records
    return tree
