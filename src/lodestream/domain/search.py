"""Searching texts for words: what matches, how well, and where.

A word matches where a word begins with it, whatever the case; in scripts that put no space between
words it matches anywhere. Texts with the whole phrase come before those with only some of the
words, which are weighed by BM25.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from lodestream.domain.comments import Message
from lodestream.domain.spans import ContentPart, Offsets, Span

MOST_WORDS: Final = 16
"""Words of a query beyond these are only looked for as part of the phrase."""

MOST_HIGHLIGHTS: Final = 64
"""Most places in one comment that are pointed out."""

PHRASE: Final = 1e6
"""What a text with the whole phrase gains over one without."""

_K1: Final = 1.2
_B: Final = 0.75
_WORD: Final = re.compile(r"\w+")
_SPACELESS: Final = re.compile(
    "[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u9fff\uf900-\ufaff]"
)
_PARTS: Final[tuple[ContentPart, ...]] = ("subject", "body", "signature")


@dataclass(frozen=True, slots=True)
class Match:
    """How a text matches: whether as a phrase, how often each word is there, and its length."""

    phrase: bool
    counts: tuple[int, ...]
    chars: int


class Search:
    """A query, ready to be looked for in many texts."""

    def __init__(self, query: str) -> None:
        words = list(dict.fromkeys(word.lower() for word in _WORD.findall(query)))
        self._phrase = _pattern(query.split())
        self._words = [_pattern([word]) for word in words[:MOST_WORDS]]
        if not self._words:  # such as a query of emoji only
            self._words = [self._phrase]
        ascii_only = bool(words) and all(word.isascii() for word in words)
        self._needles = [word.encode() for word in words[:MOST_WORDS]] if ascii_only else []

    def may_match(self, stored: bytes) -> bool:
        """Tell, fast, whether a stored comment may match; False is certain."""
        if not self._needles:
            return True
        lowered = stored.lower()
        return any(needle in lowered for needle in self._needles)

    def match(self, texts: Sequence[str]) -> Match | None:
        """Return how well texts that belong together match, or None if no word is in them."""
        counts = tuple(
            sum(sum(1 for _ in word.finditer(text)) for text in texts) for word in self._words
        )
        if not any(counts):
            return None
        phrase = any(self._phrase.search(text) is not None for text in texts)
        return Match(phrase, counts, sum(map(len, texts)))

    def spans(self, messages: Sequence[Message]) -> list[Span]:
        """Return where the phrase, or else any of the words, stands; not more than a bound."""
        found: list[Span] = []
        for index, part, text in parts_of(messages):
            offsets: Offsets | None = None
            for start, end in self._places(text):
                offsets = offsets or Offsets(text)
                to_bytes = offsets.to_bytes
                found.append(Span(part, index, start, end, to_bytes(start), to_bytes(end)))
                if len(found) == MOST_HIGHLIGHTS:
                    return found
        return found

    def _places(self, text: str) -> list[tuple[int, int]]:
        places = [match.span() for match in self._phrase.finditer(text)]
        if not places:
            places = [match.span() for word in self._words for match in word.finditer(text)]
        # Of words that begin with each other only the longest is pointed out.
        longest: list[tuple[int, int]] = []
        for start, end in sorted(places, key=lambda place: (place[0], -place[1])):
            if not longest or start >= longest[-1][1]:
                longest.append((start, end))
        return longest


def _pattern(words: Sequence[str]) -> re.Pattern[str]:
    """Return the pattern of words one after the other, with any white space between them."""
    text = r"\s+".join(map(re.escape, words)) or r"(?!)"
    first = words[0][:1] if words else ""
    at_start = _WORD.match(first) and not _SPACELESS.match(first)
    return re.compile(rf"(?<!\w){text}" if at_start else text, re.IGNORECASE)


def parts_of(messages: Sequence[Message]) -> Iterator[tuple[int, ContentPart, str]]:
    """Return every text of a comment, with the index of its message and its part."""
    for index, message in enumerate(messages):
        for part in _PARTS:
            found = getattr(message, part)
            if found:
                yield index, part, found.text


def relevances(matches: Sequence[Match], searched: int) -> list[float]:
    """Return how relevant each match is among `searched` texts; larger is better.

    References
    ----------
    Robertson and Zaragoza, The Probabilistic Relevance Framework: BM25 and Beyond (2009).
    """
    if not matches:
        return []
    columns = zip(*(match.counts for match in matches), strict=True)
    having = [sum(count > 0 for count in column) for column in columns]
    weights = [math.log(1 + (searched - n + 0.5) / (n + 0.5)) for n in having]
    mean = sum(match.chars for match in matches) / len(matches) or 1.0
    found = []
    for match in matches:
        damped = _K1 * (1 - _B + _B * match.chars / mean)
        score = sum(
            weight * count * (_K1 + 1) / (count + damped)
            for weight, count in zip(weights, match.counts, strict=True)
        )
        found.append(score + (PHRASE if match.phrase else 0.0))
    return found
