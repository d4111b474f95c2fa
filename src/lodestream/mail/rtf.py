"""RTF as Outlook stores bodies: back to the HTML or text that it was made of.

An RTF body may carry the HTML it was made of, tag by tag, between its own words (MS-OXRTFEX); then
that HTML is put together again. Otherwise the text of the RTF is read. Any bytes are taken; nothing
here raises or recurses, and time grows with the length only.
"""

from __future__ import annotations

import codecs
import re
from dataclasses import dataclass, replace
from typing import Final

import compressed_rtf

_MOST_COMPRESSED: Final = 4 << 20
_DEEPEST: Final = 4096
_LONGEST_MARK: Final = 2048


@dataclass(frozen=True, slots=True)
class Decapsulated:
    """What an RTF body was made of: one of the two."""

    html: str | None = None
    plain: str | None = None


def decapsulate(rtf: bytes) -> Decapsulated:
    """Return the HTML that an RTF body carries, or else its text. Line ends are `\\n`."""
    reader = _Reader(is_html=_carries_html(rtf))
    reader.read(rtf)
    text = reader.text()
    return Decapsulated(html=text) if reader.is_html else Decapsulated(plain=text)


def decompress(data: bytes) -> bytes:
    """Return an RTF body as mailboxes keep it, compressed (MS-OXRTFCP), as RTF.

    Empty if the data are broken.
    """
    if len(data) > _MOST_COMPRESSED:
        return b""
    try:
        return bytes(compressed_rtf.decompress(data))
    except Exception:  # the library has no class of its own, and raises others on broken data
        return b""


def _carries_html(rtf: bytes) -> bool:
    # The mark stands in the header, before the fonts.
    return _FROM_HTML.search(rtf, 0, _LONGEST_MARK) is not None


_FROM_HTML: Final = re.compile(rb"\\fromhtml1?(?![0-9])")

_TOKEN: Final = re.compile(
    rb"\\(?P<word>[A-Za-z]{1,32})(?P<number>-?[0-9]{1,10})? ?"
    rb"|\\'(?P<hex>[0-9A-Fa-f]{2})"
    rb"|\\(?P<sign>[^A-Za-z])"
    rb"|(?P<brace>[{}])"
    rb"|(?P<text>[^\\{}\r\n]+)"
    rb"|[\r\n]+|\\",
    re.DOTALL,
)

# Groups in which there is nothing to be read.
_UNREAD: Final = frozenset(
    b"fonttbl colortbl stylesheet info pict object header footer headerl headerr headerf footerl "
    b"footerr footerf filetbl listtable revtbl xe tc mhtmltag fldinst themedata datastore".split()
)
_SIGNS: Final = {b"~": "\xa0", b"_": "\u00ad", b"\n": "\n", b"\r": "\n"}
_WORDS: Final = {
    b"par": "\n",
    b"line": "\n",
    b"sect": "\n",
    b"page": "\n",
    b"row": "\n",
    b"cell": "\t",
    b"tab": "\t",
    b"emdash": "\u2014",
    b"endash": "\u2013",
    b"lquote": "\u2018",
    b"rquote": "\u2019",
    b"ldblquote": "\u201c",
    b"rdblquote": "\u201d",
    b"bullet": "\u2022",
    b"emspace": "\u2003",
    b"enspace": "\u2002",
}
_ENTITIES: Final = {"\xa0": "&nbsp;", "\u00ad": "&shy;"}

_CHARSETS: Final = {
    77: "mac_roman",
    128: "cp932",
    129: "cp949",
    130: "johab",
    134: "gbk",
    136: "cp950",
    161: "cp1253",
    162: "cp1254",
    163: "cp1258",
    177: "cp1255",
    178: "cp1256",
    186: "cp1257",
    204: "cp1251",
    222: "cp874",
    238: "cp1250",
    255: "cp437",
}
_PAGES: Final = {65001: "utf-8", 10000: "mac_roman", 20127: "ascii", 936: "gbk", 54936: "gb18030"}


@dataclass(frozen=True, slots=True)
class _State:
    """What holds up to the end of a group."""

    is_unread: bool = False
    in_fonts: bool = False
    in_tag: bool = False  # in a piece of the HTML
    is_rtf_only: bool = False  # what HTML says elsewhere
    is_hidden: bool = False
    fallback_chars: int = 1  # signs that follow each Unicode character, for old readers
    codec: str = ""  # empty: the document's


class _Reader:
    """Goes through the tokens of an RTF text once."""

    def __init__(self, *, is_html: bool) -> None:
        self.is_html = is_html
        self._state = _State()
        self._outer: list[_State] = []
        self._too_deep = 0
        self._codec = "cp1252"
        self._fonts: dict[int, str] = {}
        self._font = 0
        self._pieces: list[str] = []
        self._bytes = bytearray()
        self._to_skip = 0
        self._starts_group = False
        self._is_optional = False  # the group's name is one that readers need not know

    def text(self) -> str:
        """Return what was read."""
        self._flush()
        text = "".join(self._pieces)
        # Characters beyond the first plane come in two halves.
        return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")

    def read(self, rtf: bytes) -> None:
        """Take all tokens."""
        at = 0
        while at < len(rtf):
            token = _TOKEN.match(rtf, at)
            assert token is not None  # every sign begins a token
            at = token.end()
            kind = token.lastgroup
            starts, self._starts_group = self._starts_group, False
            if kind == "brace":
                self._take_brace(opens=token[0] == b"{")
            elif token["word"]:
                value = None if token["number"] is None else int(token["number"])
                if token["word"] == b"bin":
                    at += max(value or 0, 0)  # a picture's bytes, whatever signs they hold
                else:
                    self._take_word(token["word"], value, starts=starts)
            elif kind == "hex":
                self._take_bytes(bytes.fromhex(token["hex"].decode("ascii")))
            elif kind == "sign":
                self._take_sign(token["sign"], starts=starts)
            elif kind == "text":
                self._take_bytes(token["text"])

    def _take_brace(self, *, opens: bool) -> None:
        self._flush()
        self._to_skip = 0
        if opens:
            self._is_optional = False
            if len(self._outer) >= _DEEPEST:
                self._too_deep += 1
                return
            self._outer.append(self._state)
            self._starts_group = True
        elif self._too_deep:
            self._too_deep -= 1
        elif self._outer:
            self._state = self._outer.pop()

    def _take_word(self, word: bytes, value: int | None, *, starts: bool) -> None:
        if starts or self._is_optional:
            is_optional, self._is_optional = self._is_optional, False
            if self._opens_group(word, is_optional=is_optional):
                return
        if word == b"u" and value is not None:
            self._take_unit(value & 0xFFFF)
        elif word in _WORDS:
            self._take_text(_WORDS[word])
        else:
            self._set(word, value)

    def _opens_group(self, word: bytes, *, is_optional: bool) -> bool:
        """Tell whether a word names the group that it begins, and note what it is."""
        if word == b"htmltag" and self.is_html:
            self._state = replace(self._state, in_tag=True)
        elif word == b"fonttbl":
            self._state = replace(self._state, is_unread=True, in_fonts=True)
        elif word in _UNREAD or is_optional:
            self._state = replace(self._state, is_unread=True)
        else:
            return False
        return True

    def _set(self, word: bytes, value: int | None) -> None:
        """Take a word that changes how what follows is read."""
        state = self._state
        is_on = value != 0
        if word == b"htmlrtf":
            self._flush()
            self._state = replace(state, is_rtf_only=is_on)
        elif word in (b"v", b"deleted"):
            self._flush()
            self._state = replace(state, is_hidden=is_on)
        elif word == b"uc" and value is not None:
            self._state = replace(state, fallback_chars=max(0, min(value, 16)))
        elif word == b"ansicpg" and value is not None:
            self._codec = _known(_PAGES.get(value, f"cp{value}")) or self._codec
        elif word == b"mac":
            self._codec = "mac_roman"
        elif state.in_fonts:
            self._set_font(word, value)
        elif word in (b"f", b"plain"):
            self._flush()
            font = -1 if value is None else value
            self._state = replace(
                state,
                codec=self._fonts.get(font, ""),
                is_hidden=state.is_hidden and word != b"plain",
            )

    def _set_font(self, word: bytes, value: int | None) -> None:
        if value is None or len(self._fonts) > _DEEPEST:
            return
        if word == b"f":
            self._font = value
        elif word == b"fcharset" and value in _CHARSETS:
            self._fonts[self._font] = _CHARSETS[value]
        elif word == b"cpg":
            self._fonts[self._font] = _known(_PAGES.get(value, f"cp{value}")) or ""

    def _take_sign(self, sign: bytes, *, starts: bool) -> None:
        if sign == b"*" and starts:
            self._is_optional = True
        elif sign in _SIGNS:
            self._take_text(_SIGNS[sign])
        elif sign in b"\\{}":
            self._take_bytes(sign)

    def _take_unit(self, unit: int) -> None:
        if self._is_read():
            self._flush()
            self._pieces.append(chr(unit))
        self._to_skip = self._state.fallback_chars

    def _take_text(self, text: str) -> None:
        if self._to_skip:
            self._to_skip -= 1
        elif self._is_read():
            self._flush()
            is_content = self.is_html and not self._state.in_tag
            self._pieces.append(_ENTITIES.get(text, text) if is_content else text)

    def _take_bytes(self, data: bytes) -> None:
        skipped = min(self._to_skip, len(data))
        self._to_skip -= skipped
        if self._is_read():
            self._bytes += data[skipped:]

    def _is_read(self) -> bool:
        state = self._state
        return not (state.is_unread or state.is_rtf_only or state.is_hidden or self._too_deep)

    def _flush(self) -> None:
        """Decode the bytes since the last change; some characters have several."""
        if self._bytes:
            codec = "" if self._state.in_tag else self._state.codec
            self._pieces.append(self._bytes.decode(codec or self._codec, "replace"))
            self._bytes.clear()


def _known(codec: str) -> str:
    """Return the name of a codec of text, or an empty string if there is none of that name."""
    try:
        return codec if codecs.lookup(codec)._is_text_encoding else ""
    except LookupError:
        return ""
