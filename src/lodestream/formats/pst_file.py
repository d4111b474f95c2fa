"""PST files, the lower half: from the number of a node to its bytes (MS-PST, section 2.2).

Two B-trees of pages lead from nodes to blocks and from blocks to places in the file. Only the pages
that are asked for are read, so memory does not grow with the file; nothing recurses further than a
sound file is deep.
"""

from __future__ import annotations

import struct
from bisect import bisect_right
from collections.abc import Iterator
from functools import lru_cache
from typing import BinaryIO, Final, NamedTuple

from lodestream.domain.errors import Unprocessable

MAGIC: Final = b"!BDN"
LARGEST_NODE: Final = 512 << 20
_LARGEST_FILE: Final = 1 << 50
_PAGE: Final = 512
_DEEPEST: Final = 8
_PERMUTE: Final = 1
_MOST_KEPT: Final = 512
_NODE_TREE: Final = 0x81
_BLOCK_TREE: Final = 0x80


class Node(NamedTuple):
    """Where the bytes of a node are: a block, and a block with the nodes inside of it; 0: none."""

    data: int
    inner: int


class BrokenNode(Exception):
    """A node that cannot be read."""


class PstFile:
    """An open PST file of Outlook 2003 or newer. One thread uses it."""

    def __init__(self, file: BinaryIO) -> None:
        """Read the header. Raises Unprocessable if it is no such file."""
        self._file = file
        file.seek(0)
        head = file.read(564)
        if not head.startswith(MAGIC) or len(head) < 514:
            raise Unprocessable("it is no PST file")
        version = struct.unpack_from("<H", head, 10)[0]
        if version < 23:
            raise Unprocessable("it is a PST of Outlook 2002 or older (ANSI): convert it first")
        if version >= 36:
            raise Unprocessable("it is an OST of Outlook 2013 or newer: export it as a PST first")
        self._nodes, self._blocks = (struct.unpack_from("<Q", head, at)[0] for at in (224, 240))
        cipher = head[513]
        if cipher not in (0, _PERMUTE):
            raise Unprocessable("it is encrypted in a way that is not supported")
        self._is_permuted = cipher == _PERMUTE
        self._page = lru_cache(_MOST_KEPT)(self._read_page)

    def find_node(self, number: int) -> Node | None:
        """Return a node of the file by its number."""
        entry = self._find(self._nodes, number, _NODE_TREE, 32)
        if entry is None or struct.unpack_from("<I", entry)[0] != number:
            return None
        data, inner = struct.unpack_from("<QQ", entry, 8)
        return Node(data, inner)

    def blocks(self, number: int) -> list[bytes]:
        """Return the blocks that a node's data lie in. Raises BrokenNode."""
        found: list[bytes] = []
        size = 0
        for one in self._leaves(number, 0):
            block = self._block(one)
            size += len(block)
            if size > LARGEST_NODE:
                raise BrokenNode("it is too large")
            found.append(block)
        return found

    def inner_nodes(self, number: int) -> dict[int, Node]:
        """Return the nodes inside of a node, by number. Raises BrokenNode."""
        return dict(self._inner(number, 0)) if number else {}

    def _inner(self, number: int, depth: int) -> Iterator[tuple[int, Node]]:
        block = self._block(number)
        if len(block) < 8 or block[0] != 2 or depth > 1:
            raise BrokenNode("its inner nodes cannot be found")
        level, count = block[1], struct.unpack_from("<H", block, 2)[0]
        size = 16 if level else 24
        for at in range(8, min(8 + count * size, len(block) - size + 1), size):
            key, data = struct.unpack_from("<QQ", block, at)
            if level:
                yield from self._inner(data, depth + 1)
            else:
                yield key & 0xFFFFFFFF, Node(data, struct.unpack_from("<Q", block, at + 16)[0])

    def _leaves(self, number: int, depth: int) -> Iterator[int]:
        if not number:
            return
        if not number & 2:
            yield number
            return
        block = self._block(number)
        if len(block) < 8 or block[0] != 1 or depth > 2:
            raise BrokenNode("its list of blocks is broken")
        count = struct.unpack_from("<H", block, 2)[0]
        for at in range(8, min(8 + count * 8, len(block) - 7), 8):
            yield from self._leaves(struct.unpack_from("<Q", block, at)[0], depth + 1)

    def _block(self, number: int) -> bytes:
        entry = self._find(self._blocks, number & ~1, _BLOCK_TREE, 24)
        if entry is None or struct.unpack_from("<Q", entry)[0] & ~1 != number & ~1:
            raise BrokenNode("a block is missing")
        place, size = struct.unpack_from("<QH", entry, 8)
        content = self._read(place, size)
        if len(content) < size:
            raise BrokenNode("the file ends inside of it")
        # Lists of blocks are never encrypted.
        return content.translate(_PLAIN) if self._is_permuted and not number & 2 else content

    def _find(self, place: int, key: int, kind: int, size: int) -> bytes | None:
        """Return the entry of a B-tree with the largest key up to this one."""
        for _ in range(_DEEPEST):
            keys, entries, level = self._page(place, kind, size)
            at = bisect_right(keys, key) - 1
            if at < 0:
                return None
            if level == 0:
                return entries[at]
            place = struct.unpack_from("<Q", entries[at], 16)[0]
        raise BrokenNode("its index is too deep")

    def _read(self, place: int, size: int) -> bytes:
        if place > _LARGEST_FILE:
            raise BrokenNode("it lies outside of the file")
        self._file.seek(place)
        return self._file.read(size)

    def _read_page(self, place: int, kind: int, size: int) -> tuple[list[int], list[bytes], int]:
        page = self._read(place, _PAGE)
        if len(page) < _PAGE or page[496] != kind:
            raise BrokenNode("a page of the index is broken")
        count, width, level = page[488], page[490], page[491]
        width = width or (24 if level else size)
        if width < 24 or count * width > 488:
            raise BrokenNode("a page of the index is broken")
        entries = [page[at : at + width] for at in range(0, count * width, width)]
        mask = 0xFFFFFFFF if kind == _NODE_TREE else ~1 & 0xFFFFFFFFFFFFFFFF
        return [struct.unpack_from("<Q", one)[0] & mask for one in entries], entries, level


# MS-PST, section 5.1: the permutation by which bytes of blocks are read.
_PLAIN: Final = bytes.fromhex(
    "47f1b4e60b6a7248854e9eebe2f89453e0bba002e85a09abdbe3bac67cc310dd"
    "39059630f53760828cc9134a6b1df3fb8f2697ca911701c4322d6e3195ffd923"
    "d1005e79dc443b1a28c5615720903d83b943be67d2464276c06d5b7eb20f1629"
    "3ca903540dda5ddff6b7c762cd8d06d3695c86d614f7a56675acb1e94521700c"
    "879f74a4224c6fbf1f56aa2eb3783350b0a392bccf191ca763cb1e4d3e4b1b9b"
    "4fe7f0eead3ab55904ea40552551e57a893868527bfc27aed7bdfa07f4cc8e5f"
    "ef359c842b15d5773449b6120a7f7188fd9d18417d93d8582ccefe24afdeb836"
    "c8a180a69998a82f0e816573e4c2a28ad4e111d0088b2af2ed9a643fc16cf9ec"
)
