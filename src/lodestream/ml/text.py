"""A comment as the text that the model reads.

Subject, and the newest message without quoted history and signature; of a chat or call every turn.
Names, addresses and times are left out. The rules for quoted history know the marks that mail
programs leave in plain text; where they would leave nothing, the body is read as it is.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

import msgspec
from msgspec import UNSET, Struct, UnsetType

from lodestream.domain.comments import Message
from lodestream.domain.quoting import find_mark, is_quoted

MAX_CHARS: Final = 32_768
"""What follows in a text is not read: an hour's call fits, and the time for a text has a bound."""


class _Part(Struct, gc=False):
    text: str


class _Turn(Struct, gc=False):
    """The members of a message that are read; the others are skipped without being decoded."""

    body: _Part | UnsetType = UNSET
    subject: _Part | UnsetType = UNSET


class _Comment(Struct, gc=False):
    messages: list[_Turn] = []


_decode = msgspec.json.Decoder(_Comment).decode


def model_input(comment: bytes) -> str:
    """Return the text that the model reads, from a comment's stored JSON; empty if it has none.

    Raises msgspec.DecodeError if it is not the JSON of a comment.
    """
    return model_input_of(_decode(comment).messages)


def model_input_of(messages: Sequence[Message | _Turn]) -> str:
    """Return the text that the model reads, from messages in order, oldest first.

    Several messages are the turns of a chat or call, and all are read; but if one after the first
    has a subject of its own, they are the mails of a thread, and the newest is read.
    """
    if not messages:
        return ""
    if len(messages) > 1 and any(_subject(one).strip() for one in messages[1:]):
        messages = messages[-1:]
    parts = [_subject(messages[0])]
    room = MAX_CHARS
    for message in messages:
        if room <= 0:
            break
        body = "" if message.body is UNSET else message.body.text
        parts.append(newest_part(body[:MAX_CHARS]))
        room -= len(parts[-1])
    return _clean("\n".join(parts))[:MAX_CHARS].rstrip()


def newest_part(body: str) -> str:
    """Return a mail's body without the mails it quotes and the signature below `-- `.

    A body in which nothing else would be left, such as a forwarded mail, is returned whole.
    """
    if "\n" not in body:
        return body
    lines = body.splitlines()
    kept: list[str] = []
    at = 0
    while at < len(lines):
        line = lines[at]
        at += 1
        if line.startswith(">"):
            continue
        if line.rstrip() == "--" and kept:
            break
        mark = find_mark(lines, at - 1)
        if mark is None:
            kept.append(line)
        elif is_quoted(lines, mark.end):
            # The answer stands below the quotation, every line of which is marked.
            at = mark.end
        else:
            break
    text = "\n".join(kept)
    return text if text.strip() else body


# What no reader sees: control characters but line ends and tabs, marks of direction, the byte order
# mark, soft hyphens. Joiners stay: Persian, Hindi and emoji are written with them.
_UNSEEN: Final = re.compile(
    "[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x84\x86-\x9f\xad\u200b\u200e\u200f\u202a-\u202e\u2060\ufeff"
    "\ud800-\udfff]"
)
_BLANKS: Final = re.compile(r"[^\S\n]+")
_LINES: Final = re.compile(r"\s*\n\s*")


def _clean(text: str) -> str:
    text = _UNSEEN.sub("", text)
    return _LINES.sub("\n", _BLANKS.sub(" ", text)).strip()


def _subject(message: Message | _Turn) -> str:
    return "" if message.subject is UNSET else message.subject.text[:MAX_CHARS]
