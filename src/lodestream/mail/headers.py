"""Headers as a mail has them: folded lines, encoded words, mailboxes, dates, parameters.

Everything here takes time in proportion to what it reads, also where a sender meant it not to: that
is why addresses and encoded words are not left to the standard library, whose parsers can be made
to read the same text again and again. Nothing here raises.
"""

from __future__ import annotations

import re
from base64 import b64decode
from binascii import Error as Base64Error
from collections.abc import Iterator
from email.utils import parsedate_to_datetime
from typing import Final
from urllib.parse import unquote_to_bytes

from lodestream.domain.times import EPOCH, parse_us
from lodestream.mail.charsets import decode, text_in

MAX_PARTICIPANT: Final = 512
MAX_PARTICIPANTS: Final = 2048


class Headers:
    """The values of headers, unfolded, by name; names compare without regard to case."""

    __slots__ = ("_values",)

    def __init__(self) -> None:
        self._values: dict[str, list[str]] = {}

    def add(self, name: str, value: str) -> None:
        """Add a header below those of the same name."""
        self._values.setdefault(name.strip().lower(), []).append(_unfolded(value))

    def replace(self, name: str, values: list[str]) -> None:
        """Set the values of a header; none takes it away."""
        self._values[name.strip().lower()] = [_unfolded(one) for one in values]

    def all(self, name: str) -> list[str]:
        """Return the values of a header in order."""
        return self._values.get(name, [])

    def first(self, name: str) -> str:
        """Return the first value of a header, or an empty string."""
        values = self._values.get(name)
        return values[0] if values else ""

    def __contains__(self, name: str) -> bool:
        return bool(self._values.get(name))

    def items(self) -> list[tuple[str, list[str]]]:
        """Return names in lower case with their values, sorted by name."""
        return sorted((name, values) for name, values in self._values.items() if values)


_FOLD: Final = re.compile(r"[\r\n]+[ \t]*")


def _unfolded(value: str) -> str:
    return _FOLD.sub(" ", value).strip() if "\n" in value or "\r" in value else value.strip()


_HEADER: Final = re.compile(r"([!-9;-~]{1,256})[ \t]*:(.*)", re.DOTALL)
_LINE: Final = re.compile(r"\r\n|\n|\r(?!\n)")


def headers_of(text: str) -> Headers:
    """Read headers, each on its own line or folded; lines that are none are left out.

    A line from a mailbox file (`From ann@example.com Mon Jan 1`) at the beginning is no header.
    """
    found = Headers()
    name, parts = "", [""]
    for line in _LINE.split(text):
        if line[:1] in (" ", "\t"):
            parts.append(line.strip())
            continue
        match = _HEADER.match(line)
        if match is None:
            continue  # what is folded below it still belongs to the header above
        if name:
            found.add(name, " ".join(parts))
        name, parts = match[1], [match[2].strip()]
    if name:
        found.add(name, " ".join(parts))
    return found


# Dates


def sent_us(headers: Headers) -> int | None:
    """Return when an e-mail was sent, or at least received; None if no date can be read.

    Microseconds since 1970 UTC. The first instant of 1970 stands for none.
    """
    dates = headers.all("date")[:2] + headers.all("resent-date")[:1]
    dates += [one.rpartition(";")[2] for one in headers.all("received")[:2]]
    for text in dates:
        instant_us = _instant_us(text.strip()[:128])
        if instant_us:
            return instant_us
    return None


_COMMENT: Final = re.compile(r"\s*\([^()]{0,64}\)?\s*$")


def _instant_us(text: str) -> int | None:
    text = _COMMENT.sub("", text)
    try:
        moment = parsedate_to_datetime(text)
    except (ValueError, TypeError, IndexError, OverflowError):
        try:
            return parse_us(text)
        except (ValueError, OverflowError):
            return None
    moment = moment if moment.tzinfo is not None else moment.replace(tzinfo=EPOCH.tzinfo)
    try:
        return parse_us(moment.isoformat())
    except (ValueError, OverflowError):
        return None


# Addresses


def mailboxes(values: list[str]) -> list[str]:
    """Return the mailboxes of address headers: `Name <address>` or `address`, decoded."""
    found: list[str] = []
    for value in values:
        for one in _split_addresses(value):
            text = _spaced(_UNQUOTED.sub(r"\1 ", decoded(one.strip())))[:MAX_PARTICIPANT].strip()
            if text:
                found.append(text)
            if len(found) == MAX_PARTICIPANTS:
                return found
    return found


_ANGLE: Final = re.compile(r"<([^<>\s]{0,320}@[^<>\s]{1,255})>")
_BARE: Final = re.compile(r"[^\s<>()\[\]\",;:@]{1,64}@[^\s<>()\[\]\",;:@]{1,255}")


def address_of(mailbox: str) -> str:
    """Return the address in a mailbox in lower case; an empty string if there is none."""
    match = _ANGLE.search(mailbox)
    if match is not None:
        return match[1].lower()
    bare = _BARE.search(mailbox)
    return "" if bare is None else bare[0].lower()


def domain_of(address: str) -> str:
    """Return what stands behind the `@` of an address."""
    return address.rpartition("@")[2] if "@" in address else ""


_UNQUOTED: Final = re.compile(r'^"([^"\\]*)"\s*(?=<)')
_SPECIAL: Final = re.compile(r'[",;:()<>\\]')
_GROUP: Final = re.compile(r"[^@<>\"]{0,128}")


def _split_addresses(value: str) -> Iterator[str]:
    """Split at commas that stand in no quotes, angle brackets or parentheses.

    Of a group (`Friends: ann@x, bob@x;`) the members are returned.
    """
    start, depth = 0, 0
    quoted, grouped = False, False
    skip = -1
    for match in _SPECIAL.finditer(value):
        at, sign = match.start(), match[0]
        if at == skip:
            continue
        if sign == "\\":
            skip = at + 1
        elif sign == '"':
            quoted = not quoted
        elif quoted:
            continue
        elif sign in "(<":
            depth += 1
        elif sign in ")>":
            depth = max(depth - 1, 0)
        elif depth:
            continue
        elif sign == ":" and not grouped and _GROUP.fullmatch(value, start, at):
            start, grouped = at + 1, True
        elif sign == "," or sign == ";":
            yield value[start:at]
            start = at + 1
            grouped = grouped and sign == ","
    yield value[start:]


# Encoded words

_ENCODED: Final = re.compile(
    r"=\?([A-Za-z0-9_.:+\-]{1,40})(?:\*[A-Za-z0-9\-]{1,40})?\?([bBqQ])\?([^?]{0,1024})\?="
    r"(\s+(?==\?[A-Za-z0-9_.:+\-]{1,40}(?:\*[A-Za-z0-9\-]{1,40})?\?[bBqQ]\?))?"
)
_UNWANTED: Final = re.compile("[\x00\ud800-\udfff]")
_QUOTED: Final = re.compile(rb"=([0-9A-Fa-f]{2})")


def decoded(value: str) -> str:
    """Return a header's value with its encoded words (RFC 2047) as text, blanks folded.

    Words that follow each other are decoded as one: some programs cut them inside a character.
    """
    if "=?" in value:
        value = "".join(_decoded_words(value))
    return _spaced(_UNWANTED.sub("\ufffd", value))


def _decoded_words(value: str) -> Iterator[str]:
    charset, raw = "", b""
    at = 0
    for match in _ENCODED.finditer(value):
        word = _bytes_of_word(match)
        if match.start() > at or word is None or match[1].lower() != charset:
            yield _word(raw, charset) + value[at : match.start()]
            charset, raw = match[1].lower(), b""
        if word is None:
            yield match[0]
        else:
            raw += word
        at = match.end()
    yield _word(raw, charset) + value[at:]


def _bytes_of_word(match: re.Match[str]) -> bytes | None:
    """Return the bytes of an encoded word; None if it is none."""
    text = match[3]
    if text_in(b"", match[1]) is None:
        return None
    try:
        if match[2] in "bB":
            return b64decode(text + "=" * (-len(text) % 4))
        raw = text.replace("_", " ").encode("latin-1")
    except (Base64Error, ValueError):
        return None
    return _QUOTED.sub(lambda one: bytes([int(one[1], 16)]), raw)


def _word(raw: bytes, charset: str) -> str:
    return decode(raw, charset)[0] if raw else ""


def _spaced(text: str) -> str:
    return " ".join(text.split())


# Parameters: `text/plain; charset=utf-8; name="a.txt"`

_PARAMETER: Final = re.compile(
    r";[\s;]*([A-Za-z0-9!#$&+\-^_`|~.]{1,64}(?:\*\d{1,4})?\*?)\s{0,8}=\s{0,8}"
    r"(?:\"((?:[^\"\\]|\\.){0,4096})\"?|([^;\"]{0,4096}))"
)
_ESCAPED: Final = re.compile(r"\\(.)")
_SECTION: Final = re.compile(r"(.+?)(?:\*(\d+))?(\*)?")


def parameters(value: str) -> tuple[str, dict[str, str]]:
    """Return a structured header's own value in lower case, and its parameters, decoded.

    Names are in lower case. Continued and encoded ones (RFC 2231) are joined, encoded words in
    values read though they should not be there.
    """
    head = value.partition(";")[0].strip().lower()
    pieces: dict[str, list[tuple[int, bool, str]]] = {}
    for match in _PARAMETER.finditer(value[:65_536]):
        text = match[3].strip() if match[2] is None else _ESCAPED.sub(r"\1", match[2])
        section = _SECTION.fullmatch(match[1].lower())
        if section is not None:
            name, number, encoded = section[1], int(section[2] or 0), section[3] is not None
            pieces.setdefault(name, []).append((number, encoded, text))
    return head, {name: _joined(found) for name, found in pieces.items()}


def _joined(pieces: list[tuple[int, bool, str]]) -> str:
    pieces.sort(key=lambda piece: piece[0])
    first_encoded = [piece for piece in pieces if piece[1]]
    if not first_encoded:
        if len({number for number, _, _ in pieces}) < len(pieces):
            return decoded(pieces[0][2])  # given twice: the first counts
        return decoded("".join(text for _, _, text in pieces))
    charset, raw = "", b""
    for at, (_, encoded, text) in enumerate(pieces):
        if encoded and at == 0 and text.count("'") >= 2:
            charset, _, text = text.split("'", 2)
        raw += unquote_to_bytes(text) if encoded else text.encode("utf-8", "replace")
    return _spaced(_UNWANTED.sub("\ufffd", decode(raw, charset or None)[0]))
