"""A mail's text in three parts: what its writer wrote, the signature, and what is quoted.

The rules work on whole lines. Marks that introduce quotations are those of
`lodestream.domain.quoting`; what they mean depends on what stands around them: the same line begins
a mail that is quoted in full, or stands above the few lines that are answered below.

Time grows with the length of the text only.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from enum import Enum
from typing import Final, NamedTuple

from lodestream.domain.quoting import MarkKind, find_mark, is_quoted
from lodestream.mail.signatures import is_delimiter, is_sent_from, signature_start

QUOTE_MARK: Final = "\x01"
"""Stands before a line with which a mail program begins its quotation, where HTML tells so."""

SIGNATURE_MARK: Final = "\x02"
"""Stands before the first line of a signature, where HTML tells so."""


class Parts(NamedTuple):
    """The parts of a text, each without blank lines around it; empty if there is none."""

    reply: str
    signature: str = ""
    quoted: str = ""


def split_text(text: str) -> Parts:
    """Tell the newest message in a mail from its signature and from the mails it quotes.

    A mail that has nothing but quotations, such as a forwarded one, is all reply. Quoted lines that
    are answered below, one by one, stay in the reply.
    """
    lines = [_TRACKER.sub("", line) for line in _LINE_END.split(text)]
    items = _items(lines)
    parts = _Parts(lines, items).told_apart()
    if parts is None:
        return Parts(_joined(lines))
    reply, signature, quoted = parts
    start = signature_start(reply, mark=SIGNATURE_MARK)
    if start is not None:
        signature, reply = reply[start:] + signature, reply[:start]
    end = _without_quotes_at_end(reply)
    if end == 0:
        return Parts(_joined(lines))
    return Parts(_joined(reply[:end]), _joined(signature), _joined(reply[end:] + quoted))


_LINE_END: Final = re.compile(r"\r\n|\n|\r")
# What a mail tracker leaves alone on a line, or nobody sees.
_TRACKER: Final = re.compile("^[ \t]*\u1427[ \t]*$|[\u200b\ufeff]")
# `> text`, and the initials of whom is quoted: `C> text`.
_QUOTED: Final = re.compile(r"[ \t]?>|[A-Za-z]{1,4}>")
_RULE: Final = re.compile(r"[\s\-_=*#~+]*")


class _Kind(Enum):
    BLANK = 0
    TEXT = 1
    QUOTED = 2
    SIGNATURE = 3  # the line that begins one
    SENT_FROM = 4
    ATTRIBUTION = 5  # of quoted lines, or of what follows up to the end
    CUT = 6  # what follows is an older mail, whatever it looks like


class _Item(NamedTuple):
    kind: _Kind
    start: int
    end: int


def _items(lines: Sequence[str]) -> list[_Item]:
    """Return what the lines are, in order; marks may have several."""
    items: list[_Item] = []
    fences = _fences(lines)
    at = 0
    while at < len(lines):
        kind, end = _Kind.TEXT, fences.get(at, 0)
        if not end:
            kind, end = _item(lines, at)
        items.append(_Item(kind, at, end))
        at = end
    return items


def _item(lines: Sequence[str], at: int) -> tuple[_Kind, int]:
    line = lines[at]
    if not line or line.isspace():
        return _Kind.BLANK, at + 1
    if line[0] == QUOTE_MARK:
        near = [line[1:], *lines[at + 1 : at + 16]]
        mark = find_mark(near, 0)
        end = at + 1 if mark is None else at + mark.end
        introduces = mark is not None and mark.kind is MarkKind.ATTRIBUTION
        return _Kind.ATTRIBUTION if introduces or is_quoted(lines, end) else _Kind.CUT, end
    if _QUOTED.match(line):
        return _Kind.QUOTED, at + 1
    if line[0] == SIGNATURE_MARK or is_delimiter(line):
        return _Kind.SIGNATURE, at + 1
    mark = find_mark(lines, at)
    if mark is not None:
        introduces = mark.kind is MarkKind.ATTRIBUTION
        return _Kind.ATTRIBUTION if introduces else _Kind.CUT, mark.end
    return _Kind.SENT_FROM if is_sent_from(line) else _Kind.TEXT, at + 1


def _fences(lines: Sequence[str]) -> dict[int, int]:
    """Return for the first line of each block of code the line behind it."""
    bounds = [at for at, line in enumerate(lines) if line.startswith("```")]
    return {start: end + 1 for start, end in zip(bounds[::2], bounds[1::2], strict=False)}


class _Parts:
    """Lines on their way into reply, signature and quotation."""

    def __init__(self, lines: Sequence[str], items: Sequence[_Item]) -> None:
        self._lines = lines
        self._items = items
        self._text_follows, self._quotes_follow = _what_follows(items)
        self._reply: list[str] = []
        self._signature: list[str] = []
        self._quoted: list[str] = []

    def told_apart(self) -> tuple[list[str], list[str], list[str]] | None:
        """Return the lines of reply, signature and quotation; None if all of it is one mail."""
        at = 0
        wrote = False  # whether there is a line of the writer's own
        while at < len(self._items):
            item = self._items[at]
            if item.kind is _Kind.CUT or (
                item.kind is _Kind.ATTRIBUTION and wrote and not is_quoted(self._lines, item.end)
            ):
                if not wrote:
                    return None
                self._take(self._quoted, at, len(self._items))
                break
            if item.kind is _Kind.ATTRIBUTION:
                self._take(self._quoted, at, at + 1)
                at = self._behind_introduced(at + 1, wrote=wrote)
                continue
            wrote = wrote or item.kind is _Kind.TEXT
            self._take(self._reply, at, at + 1)
            at += 1
        return (self._reply, self._signature, self._quoted) if wrote else None

    def _behind_introduced(self, at: int, *, wrote: bool) -> int:
        """Take what follows an attribution and is quoted; return where to go on."""
        end = at
        while end < len(self._items) and self._items[end].kind in (_Kind.BLANK, _Kind.QUOTED):
            end += 1
        if not self._text_follows[end]:
            sign = end
            while sign < len(self._items) and self._items[sign].kind not in _SIGNS:
                sign += 1
            self._take(self._quoted, at, sign)
            self._take(self._signature, sign, len(self._items))
            return len(self._items)
        if not wrote and not self._quotes_follow[end]:
            # The whole quotation stands above the answer.
            self._take(self._quoted, at, end)
            return end
        return at

    def _take(self, into: list[str], start: int, end: int) -> None:
        if start < end:
            into += self._lines[self._items[start].start : self._items[end - 1].end]


_SIGNS: Final = (_Kind.SIGNATURE, _Kind.SENT_FROM)


def _what_follows(items: Sequence[_Item]) -> tuple[list[bool], list[bool]]:
    """Return for each item whether a text, and whether quoted lines, follow before the end.

    The end is the first signature, or older mail, from there on.
    """
    text, quotes = [False], [False]
    for item in reversed(items):
        ends = item.kind in (_Kind.SIGNATURE, _Kind.CUT)
        text.append(item.kind is _Kind.TEXT or (text[-1] and not ends))
        quotes.append(item.kind is _Kind.QUOTED or (quotes[-1] and not ends))
    return text[::-1], quotes[::-1]


def _without_quotes_at_end(reply: Sequence[str]) -> int:
    """Return where quoted lines and rules at the end of a reply begin; 0 if there is no more."""
    end = len(reply)
    while end and (_RULE.fullmatch(reply[end - 1]) or _QUOTED.match(reply[end - 1])):
        end -= 1
    return end


_MARKS: Final = re.compile(f"[{QUOTE_MARK}{SIGNATURE_MARK}]")


def _joined(lines: Sequence[str]) -> str:
    """Return lines without the blank ones around them; those inside stay."""
    start, end = 0, len(lines)
    while start < end and not lines[start].strip():
        start += 1
    while end > start and not lines[end - 1].strip():
        end -= 1
    return without_marks("\n".join(lines[start:end])).rstrip()


def without_marks(text: str) -> str:
    """Return a text without the signs that stand for what HTML tells."""
    return _MARKS.sub("", text)
