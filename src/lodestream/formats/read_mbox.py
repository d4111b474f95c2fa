"""MBOX files: e-mails one after the other, each after a line that begins with `From `.

Where a line of an e-mail itself begins so, it was quoted with `>` (mboxrd: one is taken away of any
number of them). A line `From ` counts only after a blank one, and if it looks like an envelope.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO, Final

LARGEST_MAIL: Final = 256 << 20
_LONGEST_LINE: Final = 1 << 20
# The year, or a time of day, tells an envelope from a sentence.
_ENVELOPE: Final = re.compile(rb"From (?:\S.*)?(?:\d\d:\d\d|\d{4})|From (?:-|\S*@\S*)\s*$")
_QUOTED: Final = re.compile(rb">+From ")


@dataclass(frozen=True, slots=True)
class MboxMail:
    """An e-mail: the line of its envelope, from 1, its content, None if it is too large."""

    line: int
    content: bytes | None
    size_bytes: int


def looks_like_mbox(beginning: bytes) -> bool:
    """Tell whether a file that begins like this is an MBOX."""
    return _ENVELOPE.match(beginning.lstrip(b"\r\n").split(b"\n", 1)[0]) is not None


def read_mbox(file: BinaryIO, *, largest: int = LARGEST_MAIL) -> Iterator[MboxMail]:
    """Read the e-mails of a file, one after the other; what stands before the first is none."""
    parts: list[bytes] = []
    begun = size = number = 0
    is_blank, is_start = True, True
    for line in _lines(file):
        if is_start and is_blank and line.startswith(b"From ") and _ENVELOPE.match(line):
            if begun:
                yield _mail(begun, parts, size, largest)
            parts, begun, size = [], number + 1, 0
            size += len(line)
        else:
            size += len(line)
            if size <= largest and begun:
                parts.append(line[1:] if is_start and _QUOTED.match(line) else line)
        if line.endswith(b"\n"):
            number += 1
            is_blank = is_start and line in (b"\n", b"\r\n")
            is_start = True
        else:
            is_start = False
    if begun:
        yield _mail(begun, parts, size, largest)


def write_quoted(content: bytes) -> bytes:
    """Return an e-mail as it stands in a file, its lines quoted (mboxrd)."""
    return re.sub(rb"(?m)^(>*From )", rb">\1", content)


def _mail(line: int, parts: list[bytes], size: int, largest: int) -> MboxMail:
    if size > largest:
        return MboxMail(line, None, size)
    # The blank line before the next envelope is none of the e-mail's.
    if len(parts) > 1 and parts[-1] in (b"\n", b"\r\n"):
        parts = parts[:-1]
    return MboxMail(line, b"".join(parts), size)


def _lines(file: BinaryIO) -> Iterator[bytes]:
    while line := file.readline(_LONGEST_LINE):
        yield line
