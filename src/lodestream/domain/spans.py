"""Spans: pieces of a comment's texts, by characters and by bytes of UTF-16.

`char_*` count Unicode code points, `utf16_byte_*` are twice the number of UTF-16 code units, so a
character beyond the basic plane is one of the former and four of the latter. Ends are exclusive.
(Contract: training-validation, section 13.3.)
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from typing import Annotated, Literal

from msgspec import UNSET, Meta, Struct, UnsetType

from lodestream.domain.comments import Message
from lodestream.domain.errors import InvalidInput

ContentPart = Literal["body", "subject", "signature"]
MessageIndex = Annotated[int, Meta(ge=0, lt=2048)]
# An end may lie behind the last character of the longest text.
CharOffset = Annotated[int, Meta(ge=0, le=65_536)]
ByteOffset = Annotated[int, Meta(ge=0, le=262_144)]


class SpanNew(Struct, forbid_unknown_fields=True):
    """A span as clients write it: by bytes, by characters, or by both if they agree."""

    content_part: ContentPart
    message_index: MessageIndex
    utf16_byte_start: ByteOffset | UnsetType = UNSET
    utf16_byte_end: ByteOffset | UnsetType = UNSET
    char_start: CharOffset | UnsetType = UNSET
    char_end: CharOffset | UnsetType = UNSET

    def __post_init__(self) -> None:
        """Check that there is a pair, and no half of one. Raises ValueError."""
        in_bytes = {self.utf16_byte_start is UNSET, self.utf16_byte_end is UNSET}
        in_chars = {self.char_start is UNSET, self.char_end is UNSET}
        if len(in_bytes) > 1 or len(in_chars) > 1 or (True in in_bytes and True in in_chars):
            raise ValueError(
                "a span needs `utf16_byte_start` and `utf16_byte_end`, "
                "or `char_start` and `char_end`"
            )


class Span(Struct, frozen=True):
    """A span of a text that is there."""

    content_part: ContentPart
    message_index: int
    char_start: int
    char_end: int
    utf16_byte_start: int
    utf16_byte_end: int


class Offsets:
    """The places of one text, in characters and in bytes of UTF-16."""

    __slots__ = ("_astral", "_units", "bytes", "chars")

    def __init__(self, text: str) -> None:
        self.chars = len(text)
        # Where the characters of two units stand, by characters and by units: few texts have any.
        self._astral: list[int] = []
        if not text.isascii() and max(text) > "\uffff":
            self._astral = [at for at, one in enumerate(text) if one > "\uffff"]
        self._units = [at + before for before, at in enumerate(self._astral)]
        self.bytes = 2 * (self.chars + len(self._astral))

    def to_bytes(self, char: int) -> int:
        """Return where a character begins, in bytes. Raises ValueError outside the text."""
        if not 0 <= char <= self.chars:
            raise ValueError(f"{char} lies outside the text of {self.chars} characters")
        return 2 * (char + bisect_left(self._astral, char))

    def to_char(self, byte: int) -> int:
        """Return which character begins at a byte.

        Raises ValueError outside the text and inside a character.
        """
        if not 0 <= byte <= self.bytes:
            raise ValueError(f"{byte} lies outside the text of {self.bytes} bytes in UTF-16")
        unit, half = divmod(byte, 2)
        before = bisect_left(self._units, unit)
        if half or (before and self._units[before - 1] + 1 == unit):
            raise ValueError(f"{byte} lies inside a character in UTF-16")
        return unit - before


class Texts:
    """The texts of a comment, to find spans in."""

    def __init__(self, messages: Sequence[Message]) -> None:
        self._messages = messages
        self._offsets: dict[tuple[str, int], Offsets] = {}

    def resolve(self, span: SpanNew, *, where: str) -> Span:
        """Return a span with all its offsets.

        Raises InvalidInput, with `where` before the message, if there is no such text or if the
        span lies outside it, is reversed, splits a character or contradicts itself.
        """
        offsets = self._find(span.content_part, span.message_index)
        if offsets is None:
            raise InvalidInput(
                f"{where}: the comment has no {span.content_part} in message {span.message_index}"
            )
        try:
            return _resolved(span, offsets)
        except ValueError as error:
            raise InvalidInput(f"{where}: {error}") from None

    def _find(self, part: ContentPart, index: int) -> Offsets | None:
        found = self._offsets.get((part, index))
        if found is None and index < len(self._messages):
            text = getattr(self._messages[index], part)
            if text is not UNSET:
                found = self._offsets[part, index] = Offsets(text.text)
        return found


def _resolved(span: SpanNew, offsets: Offsets) -> Span:
    if span.utf16_byte_start is not UNSET and span.utf16_byte_end is not UNSET:
        byte_start, byte_end = span.utf16_byte_start, span.utf16_byte_end
        char_start, char_end = offsets.to_char(byte_start), offsets.to_char(byte_end)
        given = (span.char_start, span.char_end)
        if given not in ((UNSET, UNSET), (char_start, char_end)):
            raise ValueError("characters and bytes of the span do not agree")
    else:
        assert span.char_start is not UNSET
        assert span.char_end is not UNSET
        char_start, char_end = span.char_start, span.char_end
        byte_start, byte_end = offsets.to_bytes(char_start), offsets.to_bytes(char_end)
    if char_start > char_end:
        raise ValueError("the span ends before it begins")
    return Span(span.content_part, span.message_index, char_start, char_end, byte_start, byte_end)
