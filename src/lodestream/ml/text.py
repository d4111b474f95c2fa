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
    for at, line in enumerate(lines):
        if line.startswith(">"):
            continue
        if line.rstrip() == "--" and kept:
            break
        if len(line) <= _MAX_MARK and _begins_quote(lines, at):
            if not _is_quoted(lines, at + 1):
                break
            # The answer stands below the quotation, every line of which is marked.
            continue
        kept.append(line)
    text = "\n".join(kept)
    return text if text.strip() else body


_MAX_MARK: Final = 300
_ORIGINAL: Final = re.compile(
    r"\s*[-_]{2,}\s*(?:original message|forwarded message|begin forwarded message|"
    r"ursprüngliche nachricht|weitergeleitete nachricht|originalnachricht|message d'origine|"
    r"message original|message transféré|mensaje original|mensaje reenviado|mensagem original|"
    r"messaggio originale|messaggio inoltrato|oorspronkelijk bericht|doorgestuurd bericht|"
    r"oprindelig meddelelse|opprinnelig melding|ursprungligt meddelande|wiadomość oryginalna|"
    r"исходное сообщение|原始邮件|原始郵件|転送メッセージ|元のメッセージ)\s*[-_]{2,}\s*",
    re.IGNORECASE,
)
_WROTE: Final = re.compile(
    r"\s*(?:on\s.{4,}\swrote|am\s.{4,}\sschrieb\b.*|le\s.{4,}\sa écrit|el\s.{4,}\sescribió|"
    r"il\s.{4,}\sha scritto|em\s.{4,}\sescreveu|op\s.{4,}\sschreef\b.*|"
    r"w dniu\s.{4,}\snapisał\b.*|den\s.{4,}\s(?:skrev|skreiv)\b.*|.{4,}\sпишет|.{4,}\sнаписал\b.*|"
    r".{4,}写道|.{4,}寫道|.{4,}(?:のメール|書きました))\s?[:：]\s*",
    re.IGNORECASE,
)
_SENDER: Final = re.compile(
    r"\s*\*?(?:from|von|de|da|van|od|fra|från|от|发件人|寄件者|差出人|보낸 사람|من)\s?[:：]",
    re.IGNORECASE,
)
_SENT: Final = re.compile(
    r"\s*\*?(?:sent|date|gesendet|datum|envoyé|enviado(?: el)?|fecha|inviato|data|verzonden|"
    r"wysłano|sendt|skickat|dato|отправлено|дата|发送时间|日期|寄件日期|送信日時|日時|"
    r"보낸 날짜|날짜|تاريخ الإرسال)\s?[:：]",
    re.IGNORECASE,
)


def _begins_quote(lines: Sequence[str], at: int) -> bool:
    line = lines[at]
    if _ORIGINAL.fullmatch(line) or _WROTE.fullmatch(line):
        return True
    # "On Monday, 1 May 2024, somebody with a long name\n<address> wrote:" is broken by some.
    if line.lstrip()[:3].casefold() in ("on ", "am ", "le ", "el ", "il ", "em ", "op "):
        following = lines[at + 1] if at + 1 < len(lines) else ""
        if len(following) <= _MAX_MARK and _WROTE.fullmatch(f"{line} {following}"):
            return True
    if not _SENDER.match(line):
        return False
    return any(_SENT.match(one) for one in lines[at + 1 : at + 4] if len(one) <= _MAX_MARK)


def _is_quoted(lines: Sequence[str], at: int) -> bool:
    """Tell whether the next line that is not blank, or the one after it, is marked as quoted."""
    following = [line for line in lines[at : at + 6] if line.strip()][:2]
    return any(line.startswith(">") for line in following)


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
