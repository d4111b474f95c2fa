"""A small PST file made for tests: folders, and mails with recipients and files (MS-PST).

It writes what the format asks for and no more: one block for each node where that is enough, lists
of blocks and of inner nodes where it is not. libpff opens what it writes.
"""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from lodestream.formats.pst_file import _PLAIN

_CIPHER = bytes(_PLAIN.index(byte) for byte in range(256))
_TEXT, _BINARY, _INT, _TIME, _OBJECT = 0x1F, 0x102, 0x03, 0x40, 0x0D
_LARGEST = 8176


@dataclass
class Item:
    """A mail: properties by number, recipients, and files (bytes, or an item)."""

    properties: dict[int, Any]
    recipients: list[dict[int, Any]] = field(default_factory=list)
    files: list[tuple[dict[int, Any], Any]] = field(default_factory=list)


@dataclass
class Folder:
    """A folder with its mails and the folders inside of it."""

    name: str
    items: list[Item] = field(default_factory=list)
    folders: list[Folder] = field(default_factory=list)


class _Object(int):
    """The number of a node, as the value of a property."""


class PstWriter:
    """Gathers blocks and nodes, and writes them with their indexes."""

    def __init__(self) -> None:
        self._blocks: list[tuple[int, bytes]] = []
        self._nodes: list[tuple[int, int, int, int]] = []
        self._next_block = 4
        self._next_index = 0x10000

    def write(self, root: Folder) -> bytes:
        """Return the file."""
        self._folder(root, 0x122, 0x122)
        return self._file()

    def _folder(self, folder: Folder, number: int, parent: int) -> None:
        inner = []
        for one in folder.folders:
            self._next_index += 0x20
            inner.append(self._next_index | 0x02)
            self._folder(one, inner[-1], number)
        items = []
        for item in folder.items:
            self._next_index += 0x20
            items.append(self._next_index | 0x04)
            self._node(items[-1], *self._item(item), parent=number)
        self._node(number, self._data(_heap_of({0x3001: folder.name}, self)), 0, parent=parent)
        for kind, rows in ((0x0D, inner), (0x0E, items), (0x0F, [])):
            table = _table([{} for _ in rows], rows)
            self._node(number & ~0x1F | kind, self._data(table), 0)

    def _item(self, item: Item) -> tuple[int, int]:
        inner: list[tuple[int, int, int]] = []
        heap = _heap_of(item.properties, self, inner)
        if item.recipients:
            rows = _table(item.recipients, list(range(len(item.recipients))))
            inner.append((0x692, self._data(rows), 0))
        if item.files:
            numbers = [0x8025 + 0x20 * at for at in range(len(item.files))]
            inner.append((0x671, self._data(_table([{} for _ in numbers], numbers)), 0))
            for number, (properties, content) in zip(numbers, item.files, strict=True):
                inside: list[tuple[int, int, int]] = []
                if isinstance(content, Item):
                    inside.append((0x9004, *self._item(content)))
                    content = _Object(0x9004)
                given = {**properties, 0x3701: content}
                data = self._data(_heap_of(given, self, inside))
                inner.append((number, data, self._inner(inside)))
        return self._data(heap), self._inner(inner)

    # Blocks and nodes

    def _node(self, number: int, data: int, inner: int, *, parent: int = 0) -> None:
        self._nodes.append((number, data, inner, parent))

    def _block(self, content: bytes, *, internal: bool) -> int:
        number = self._next_block | (2 if internal else 0)
        self._next_block += 4
        self._blocks.append((number, content if internal else content.translate(_CIPHER)))
        return number

    def _data(self, content: bytes) -> int:
        if len(content) <= _LARGEST:
            return self._block(content, internal=False)
        parts = [content[at : at + _LARGEST] for at in range(0, len(content), _LARGEST)]
        numbers = [self._block(part, internal=False) for part in parts]
        lists = b"".join(struct.pack("<Q", one) for one in numbers)
        head = struct.pack("<BBHI", 1, 1, len(numbers), len(content))
        return self._block(head + lists, internal=True)

    def _inner(self, nodes: list[tuple[int, int, int]]) -> int:
        if not nodes:
            return 0
        entries = b"".join(struct.pack("<QQQ", *one) for one in sorted(nodes))
        return self._block(struct.pack("<BBHI", 2, 0, len(nodes), 0) + entries, internal=True)

    # The file

    def _file(self) -> bytes:
        body = bytearray(0x4600)
        places = {}
        for number, content in self._blocks:
            places[number] = len(body), len(content)
            size = (len(content) + 16 + 63) // 64 * 64
            trailer = struct.pack(
                "<HHIQ",
                len(content),
                _signature(places[number][0], number),
                _crc(content),
                number,
            )
            body += content + bytes(size - 16 - len(content)) + trailer
        body += bytes(-len(body) % 512)
        blocks = [
            struct.pack("<QQHHI", number, places[number][0], places[number][1], 2, 0)
            for number, _ in sorted(self._blocks)
        ]
        nodes = [
            struct.pack("<QQQII", number, data, inner, parent, 0)
            for number, data, inner, parent in sorted(self._nodes)
        ]
        block_tree = _tree(body, 0x80, blocks, 24)
        node_tree = _tree(body, 0x81, nodes, 32)
        body[:564] = _header(len(body), node_tree, block_tree)
        return bytes(body)


def _tree(body: bytearray, kind: int, entries: list[bytes], width: int) -> tuple[int, int]:
    level = 0
    while True:
        most = 488 // width
        pages = [entries[at : at + most] for at in range(0, len(entries), most)]
        above = []
        for page in pages:
            place, number = len(body), (len(body) >> 9) * 4
            content = b"".join(page).ljust(488, b"\0")
            content += struct.pack("<BBBBI", len(page), most, width, level, 0)
            trailer = struct.pack("<BBHIQ", kind, kind, _signature(place, number), 0, number)
            trailer = trailer[:4] + struct.pack("<I", _crc(content)) + trailer[8:]
            body += content + trailer
            above.append(page[0][:8] + struct.pack("<QQ", number, place))
        if len(pages) == 1:
            return struct.unpack("<QQ", above[0][8:])
        entries, width, level = above, 24, level + 1


def _header(size: int, nodes: tuple[int, int], blocks: tuple[int, int]) -> bytes:
    head = bytearray(564)
    head[0:4] = b"!BDN"
    struct.pack_into("<2sHHBB", head, 8, b"SM", 23, 19, 1, 1)
    struct.pack_into("<Q", head, 24 + 8, 0x1000)
    struct.pack_into("<Q", head, 184, size)
    struct.pack_into("<QQQQ", head, 216, *nodes, *blocks)
    head[248] = 2
    head[512], head[513] = 0x80, 1
    struct.pack_into("<I", head, 4, _crc(bytes(head[8:479])))
    struct.pack_into("<I", head, 524, _crc(bytes(head[8:524])))
    return bytes(head)


def _crc(content: bytes) -> int:
    # The same polynomial as of zlib, without its inversions.
    return zlib.crc32(content, 0xFFFFFFFF) ^ 0xFFFFFFFF


def _signature(place: int, number: int) -> int:
    value = (place ^ number) & 0xFFFFFFFF
    return (value >> 16) ^ (value & 0xFFFF)


# Heaps


class _Heap:
    def __init__(self, kind: int) -> None:
        self._kind = kind
        self._pieces: list[bytes] = []

    def add(self, piece: bytes) -> int:
        self._pieces.append(piece)
        return len(self._pieces) << 5

    def done(self, root: int) -> bytes:
        content = struct.pack("<HBBII", 0, 0xEC, self._kind, root, 0)
        places = [len(content)]
        for piece in self._pieces:
            content += piece
            places.append(len(content))
        content += bytes(len(content) % 2)
        at = len(content)
        content += struct.pack("<HH", len(self._pieces), 0)
        content += b"".join(struct.pack("<H", place) for place in places)
        return struct.pack("<H", at) + content[2:]


def _ticks(when: datetime) -> int:
    return int((when - datetime(1601, 1, 1, tzinfo=UTC)).total_seconds()) * 10_000_000


def _raw(value: Any) -> tuple[int, bytes]:
    if isinstance(value, _Object):
        return _OBJECT, struct.pack("<II", value, 0)
    if isinstance(value, int):
        return _INT, struct.pack("<I", value)
    if isinstance(value, datetime):
        return _TIME, struct.pack("<Q", _ticks(value))
    if isinstance(value, str):
        return _TEXT, value.encode("utf-16-le")
    return _BINARY, value


def _heap_of(
    properties: dict[int, Any], writer: PstWriter, inner: list[tuple[int, int, int]] | None = None
) -> bytes:
    heap, records = _Heap(0xBC), b""
    for at, (number, value) in enumerate(sorted(properties.items())):
        kind, raw = _raw(value)
        if kind == _INT:
            (place,) = struct.unpack("<I", raw)
        elif len(raw) <= 1000 or inner is None:
            place = heap.add(raw) if raw else 0
        else:
            # What is large lies in a node inside of the node.
            place = 0x8041 + 0x20 * at
            inner.append((place, writer._data(raw), 0))
        records += struct.pack("<HHI", number, kind, place)
    tree = heap.add(records)
    return heap.done(heap.add(struct.pack("<BBBBI", 0xB5, 2, 6, 0, tree)))


def _table(rows: list[dict[int, Any]], numbers: list[int]) -> bytes:
    heap = _Heap(0x7C)
    kinds = {number: _raw(value)[0] for row in rows for number, value in row.items()}
    columns = [(0x03, 0x67F2, 0, 4, 0), (0x03, 0x67F3, 4, 4, 1)]
    for at, (number, kind) in enumerate(sorted(kinds.items())):
        columns.append((kind, number, 8 + 4 * at, 4, 2 + at))
    end = 8 + 4 * len(kinds)
    width = end + (len(columns) + 7) // 8
    content = b""
    for row, number in zip(rows, numbers, strict=True):
        cells, bits = bytearray(width), 0xC0
        struct.pack_into("<II", cells, 0, number, 0)
        for kind, name, place, _, bit in columns[2:]:
            if name in row:
                raw = _raw(row[name])[1]
                value = struct.unpack("<I", raw)[0] if kind == _INT else heap.add(raw)
                struct.pack_into("<I", cells, place, value)
                bits |= 0x80 >> bit
        cells[end] = bits
        content += cells
    index = b"".join(struct.pack("<II", one, at) for at, one in enumerate(numbers))
    by_number = heap.add(struct.pack("<BBBBI", 0xB5, 4, 4, 0, heap.add(index) if index else 0))
    matrix = heap.add(content) if content else 0
    head = struct.pack("<BBHHHHIII", 0x7C, len(columns), end, end, end, width, by_number, matrix, 0)
    described = sorted(columns, key=lambda one: (one[1], one[0]))
    head += b"".join(struct.pack("<HHHBB", *one) for one in described)
    return heap.done(heap.add(head))
