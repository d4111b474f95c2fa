"""PST files: the e-mails in their folders (MS-PST, section 2.4)."""

from __future__ import annotations

import contextlib
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, BinaryIO, Final

from lodestream.formats.outlook import (
    ATTACH_DATA,
    MESSAGE_CLASS,
    NAME,
    OutlookFile,
    OutlookItem,
    Properties,
)
from lodestream.formats.pst_file import MAGIC, BrokenNode, Node, PstFile
from lodestream.formats.pst_items import Heap, read_properties, read_table, row_numbers

__all__ = ["MAGIC", "PstMail", "read_pst"]

_ROOT: Final = 0x122
_FOLDERS: Final = 0x0D
_CONTENTS: Final = 0x0E
_RECIPIENTS: Final = 0x692
_FILES: Final = 0x671
_NORMAL_FOLDER: Final = 0x02
_DEEPEST: Final = 64
_DEEPEST_ITEM: Final = 16
_MOST_FILES: Final = 1024


@dataclass(frozen=True, slots=True)
class PstMail:
    """An item in a folder; `item` is None where it cannot be read, and `problem` says why."""

    number: int
    folder: tuple[str, ...]
    item: OutlookItem | None
    problem: str = ""


def read_pst(file: BinaryIO) -> Iterator[PstMail]:
    """Read the items of a PST file, folder by folder, one at a time.

    What is broken is told by the item or folder that it spoils. Raises Unprocessable if the file is
    none.
    """
    pst = PstFile(file)
    visited: set[int] = set()
    waiting: list[tuple[int, tuple[str, ...], int]] = [(_ROOT, (), 0)]
    while waiting:
        number, path, depth = waiting.pop()
        if number in visited or depth > _DEEPEST:
            continue
        visited.add(number)
        try:
            with _told():
                name = _folder_name(pst, number)
        except BrokenNode as error:
            yield PstMail(number, path, None, f"a folder: {error}")
            name = ""
        path = (*path, name) if name else path
        yield from _items(pst, number, path)
        try:
            with _told():
                inner = _rows_of(pst, number, _FOLDERS)
        except BrokenNode as error:
            yield PstMail(number, path, None, f"the folders in a folder: {error}")
            continue
        waiting += [
            (one, path, depth + 1) for one in reversed(inner) if one & 0x1F == _NORMAL_FOLDER
        ]


@contextlib.contextmanager
def _told() -> Iterator[None]:
    """Let what a broken file leads to end as one error."""
    try:
        yield
    except (struct.error, IndexError, ValueError, OverflowError) as error:
        raise BrokenNode("what is in it makes no sense") from error


def _folder_name(pst: PstFile, number: int) -> str:
    node = pst.find_node(number)
    if node is None:
        raise BrokenNode("it is missing")
    properties, _ = read_properties(pst, node)
    return str(properties.get(NAME) or "").strip()


def _rows_of(pst: PstFile, folder: int, kind: int) -> list[int]:
    node = pst.find_node(folder & ~0x1F | kind)
    return [] if node is None or not node.data else row_numbers(Heap(pst, node))


def _items(pst: PstFile, folder: int, path: tuple[str, ...]) -> Iterator[PstMail]:
    try:
        with _told():
            numbers = _rows_of(pst, folder, _CONTENTS)
    except BrokenNode as error:
        yield PstMail(folder, path, None, f"the contents of a folder: {error}")
        return
    for number in numbers:
        try:
            node = pst.find_node(number)
            if node is None:
                raise BrokenNode("it is missing")
            with _told():
                item = _item(pst, node, 0)
        except BrokenNode as error:
            yield PstMail(number, path, None, str(error))
        else:
            yield PstMail(number, path, item)


def _item(pst: PstFile, node: Node, depth: int) -> OutlookItem:
    properties, heap = read_properties(pst, node)
    if not OutlookItem({MESSAGE_CLASS: properties.get(MESSAGE_CLASS)}).is_mail:
        return OutlookItem(properties)
    recipients = _table(pst, heap, _RECIPIENTS)
    files = [
        file
        for row in _table(pst, heap, _FILES)[:_MOST_FILES]
        if (file := _file(pst, heap, row, depth)) is not None
    ]
    return OutlookItem(properties, recipients, files)


def _table(pst: PstFile, heap: Heap, number: int) -> list[dict[int, Any]]:
    node = heap.inner.get(number)
    return [] if node is None or not node.data else read_table(Heap(pst, node))


def _file(pst: PstFile, heap: Heap, row: Properties, depth: int) -> OutlookFile | None:
    node = heap.inner.get(row[0])
    if node is None:
        return None
    properties, inside = read_properties(pst, node)
    data = properties.pop(ATTACH_DATA, None)
    if isinstance(data, bytes):
        return OutlookFile(properties, data=data)
    embedded = inside.inner.get(data) if isinstance(data, int) else None
    if embedded is None or depth >= _DEEPEST_ITEM:
        return OutlookFile(properties)
    try:
        with _told():
            return OutlookFile(properties, item=_item(pst, embedded, depth + 1))
    except BrokenNode:
        return OutlookFile(properties)  # such as a drawing, which is no item
