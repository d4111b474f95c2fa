"""PST files, the upper half: heaps, properties and tables in nodes (MS-PST, section 2.3)."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from functools import cached_property
from typing import Any, Final

from lodestream.formats.outlook import CODEPAGE, MESSAGE_CODEPAGE, codec_of_page, time_of
from lodestream.formats.pst_file import BrokenNode, Node, PstFile

_HEAP: Final = 0xEC
_TREE: Final = 0xB5
_PROPERTIES: Final = 0xBC
_TABLE: Final = 0x7C
_DEEPEST: Final = 8
_TEXT8: Final = 0x001E
_TEXT: Final = 0x001F
_BINARY: Final = 0x0102
OBJECT: Final = 0x000D


class Heap:
    """The small things in a node, and the nodes inside of it."""

    def __init__(self, file: PstFile, node: Node) -> None:
        """Raises BrokenNode if the node holds no heap."""
        self._file = file
        self._node = node
        self._blocks = file.blocks(node.data)
        head = self._blocks[0] if self._blocks else b""
        if len(head) < 12 or head[2] != _HEAP:
            raise BrokenNode("it holds no heap")
        self.kind = head[3]
        self.root: int = struct.unpack_from("<I", head, 4)[0]

    @cached_property
    def inner(self) -> dict[int, Node]:
        """The nodes inside of the node, by number."""
        return self._file.inner_nodes(self._node.inner)

    def piece(self, number: int) -> bytes:
        """Return a piece of the heap by its number; 0 is an empty one. Raises BrokenNode."""
        if number == 0:
            return b""
        index, at = (number >> 5) & 0x7FF, number >> 16
        if at >= len(self._blocks):
            raise BrokenNode("a piece of its heap is missing")
        block = self._blocks[at]
        try:
            place = struct.unpack_from("<H", block)[0]
            count = struct.unpack_from("<H", block, place)[0]
            if not 1 <= index <= count:
                raise BrokenNode("a piece of its heap is missing")
            start, end = struct.unpack_from("<HH", block, place + 4 + 2 * (index - 1))
        except struct.error:
            raise BrokenNode("its heap is broken") from None
        return block[start:end]

    def blocks(self, number: int) -> list[bytes]:
        """Return what a number stands for, in parts: a piece, or a node inside of the node."""
        if number & 0x1F == 0:
            return [self.piece(number)]
        found = self.inner.get(number)
        if found is None:
            raise BrokenNode("a node inside of it is missing")
        return self._file.blocks(found.data)

    def tree(self, number: int) -> Iterator[tuple[int, bytes]]:
        """Yield keys and values of a B-tree in the heap, in order. Raises BrokenNode."""
        head = self.piece(number)
        if len(head) < 8 or head[0] != _TREE:
            raise BrokenNode("its index is broken")
        key, value, levels = head[1], head[2], head[3]
        if key not in (2, 4, 8, 16) or levels > _DEEPEST:
            raise BrokenNode("its index is broken")
        yield from self._records(struct.unpack_from("<I", head, 4)[0], key, value, levels)

    def _records(
        self, number: int, key: int, value: int, level: int
    ) -> Iterator[tuple[int, bytes]]:
        records = self.piece(number)
        width = key + (4 if level else value)
        for at in range(0, len(records) - width + 1, width):
            content = records[at + key : at + width]
            if level:
                yield from self._records(struct.unpack("<I", content)[0], key, value, level - 1)
            else:
                yield int.from_bytes(records[at : at + key], "little"), content


def read_properties(file: PstFile, node: Node) -> tuple[dict[int, Any], Heap]:
    """Return the properties in a node, and its heap. A value that is broken is left out.

    What is an object has the number of its node as value. Raises BrokenNode.
    """
    heap = Heap(file, node)
    if heap.kind != _PROPERTIES:
        raise BrokenNode("it holds no properties")
    raw: dict[int, tuple[int, int]] = {}
    for number, content in heap.tree(heap.root):
        if len(content) >= 6:
            kind, value = struct.unpack_from("<HI", content)
            raw[number] = kind, value
    page = next((raw[n][1] for n in (CODEPAGE, MESSAGE_CODEPAGE) if n in raw), None)
    found: dict[int, Any] = {}
    for number, (kind, value) in raw.items():
        try:
            found[number] = _value(heap, kind, value, codec_of_page(page))
        except (BrokenNode, struct.error):
            continue
    return found, heap


def read_table(heap: Heap) -> list[dict[int, Any]]:
    """Return the rows of a table, each with its number as the value of key 0. Raises BrokenNode."""
    head = _table_head(heap)
    count, ends, _, rows, _ = struct.unpack_from("<B8sIII", head, 1)
    columns = [struct.unpack_from("<HHHBB", head, 22 + 8 * at) for at in range(count)]
    width, bits = struct.unpack_from("<H", ends, 6)[0], struct.unpack_from("<H", ends, 4)[0]
    if not rows or width < 4:
        return []
    found = []
    for block in heap.blocks(rows):
        for start in range(0, len(block) - width + 1, width):
            row = block[start : start + width]
            found.append(_row(heap, row, columns, bits))
    return found


def row_numbers(heap: Heap) -> list[int]:
    """Return the numbers of a table's rows, without reading the rows. Raises BrokenNode."""
    index = struct.unpack_from("<I", _table_head(heap), 10)[0]
    return [number for number, _ in heap.tree(index)]


def _table_head(heap: Heap) -> bytes:
    head = heap.piece(heap.root)
    if heap.kind != _TABLE or len(head) < 22 or head[0] != _TABLE or len(head) < 22 + 8 * head[1]:
        raise BrokenNode("it holds no table")
    return head


def _row(
    heap: Heap, row: bytes, columns: list[tuple[int, int, int, int, int]], bits: int
) -> dict[int, Any]:
    found: dict[int, Any] = {0: struct.unpack_from("<I", row)[0]}
    for kind, number, at, size, bit in columns:
        if not row[bits + bit // 8] & (0x80 >> bit % 8):
            continue
        cell = row[at : at + size]
        try:
            if size == 8:
                found[number] = _wide(kind, cell)
            else:
                value = int.from_bytes(cell, "little")
                found[number] = _value(heap, kind, value, "cp1252")
        except (BrokenNode, struct.error):
            continue
    return found


def _value(heap: Heap, kind: int, value: int, codec: str) -> Any:
    if kind in (0x0002, 0x0003):
        return value
    if kind == 0x000B:
        return bool(value & 0xFF)
    if kind in (0x0014, 0x0040):
        return _wide(kind, b"".join(heap.blocks(value)))
    if kind in (_TEXT, _TEXT8, _BINARY):
        content = b"".join(heap.blocks(value))
        if kind == _BINARY:
            return content
        return content.decode("utf-16-le" if kind == _TEXT else codec, "replace").rstrip("\0")
    if kind == OBJECT:
        return struct.unpack_from("<I", b"".join(heap.blocks(value)))[0]
    return None


def _wide(kind: int, content: bytes) -> Any:
    number = struct.unpack("<q", content)[0]
    return time_of(number) if kind == 0x0040 else number
