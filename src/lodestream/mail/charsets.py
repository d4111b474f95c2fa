"""Bytes as text: with the charset that a mail declares, or the one they are in."""

from __future__ import annotations

import codecs
import re
from functools import lru_cache
from typing import Final

# What mails say, and what they mean: the wider charset of which people use the whole.
_MEANT: Final = {
    "ascii": "utf-8",
    "us-ascii": "utf-8",
    "ansi_x3.4-1968": "utf-8",
    "utf-8": "utf-8",
    "utf8": "utf-8",
    "utf-8-sig": "utf-8",
    "unicode-1-1-utf-8": "utf-8",
    "unicode-1-1-utf-7": "utf-7",
    "x-unicode-2-0-utf-7": "utf-7",
    "iso-8859-1": "cp1252",
    "iso8859-1": "cp1252",
    "latin1": "cp1252",
    "latin-1": "cp1252",
    "windows-1252": "cp1252",
    "ansi": "cp1252",
    "iso-8859-9": "cp1254",
    "iso-8859-11": "cp874",
    "tis-620": "cp874",
    "iso-8859-8-i": "iso-8859-8",
    "iso-8859-8-e": "iso-8859-8",
    "iso-8859-6-i": "iso-8859-6",
    "windows-874": "cp874",
    "windows-31j": "cp932",
    "shift_jis": "cp932",
    "shift-jis": "cp932",
    "x-sjis": "cp932",
    "sjis": "cp932",
    "cp51932": "euc_jp",
    "x-euc-jp": "euc_jp",
    "iso-2022-jp": "iso2022_jp_ext",
    "iso-2022-jp-ms": "iso2022_jp_ext",
    "cp50220": "iso2022_jp_ext",
    "cp50221": "iso2022_jp_ext",
    "ks_c_5601-1987": "cp949",
    "ks_c_5601": "cp949",
    "ksc5601": "cp949",
    "ks_c_5601-1989": "cp949",
    "korean": "cp949",
    "euc-kr": "cp949",
    "windows-949": "cp949",
    "gb2312": "gb18030",
    "gb_2312-80": "gb18030",
    "gbk": "gb18030",
    "cp936": "gb18030",
    "x-gbk": "gb18030",
    "chinese": "gb18030",
    "x-x-big5": "big5hkscs",
    "big5": "cp950",
    "macintosh": "mac_roman",
    "x-mac-roman": "mac_roman",
    "x-mac-cyrillic": "mac_cyrillic",
    "koi8-ru": "koi8_u",
}


@lru_cache(maxsize=256)
def codec_of(charset: str) -> str | None:
    """Return the name of the codec for a charset's name; None if it is none, or no text's."""
    name = charset.strip("\"' \t\r\n;").lower()
    name = _MEANT.get(name, name)
    try:
        info = codecs.lookup(name)
    except (LookupError, ValueError, UnicodeError):
        return None
    # Codecs such as `hex` or `zip` are no charsets; `unicode_escape` and the like read programs.
    if not info._is_text_encoding or "escape" in info.name or info.name in _NOT_OF_MAILS:
        return None
    return info.name


_NOT_OF_MAILS: Final = frozenset({"idna", "punycode", "undefined", "mbcs", "oem", "charmap"})


def text_in(raw: bytes, charset: str) -> str | None:
    """Return bytes as text in a charset; None if it is unknown or the bytes do not fit it."""
    codec = codec_of(charset)
    if codec is None:
        return None
    try:
        return raw.decode(codec)
    except (UnicodeError, ValueError):
        return None


def decode(raw: bytes, declared: str | None) -> tuple[str, str]:
    """Return bytes as text, and the codec they were read with.

    Tried in this order: a byte order mark, what is declared, UTF-8, what the bytes look like. In
    the end, what cannot be read becomes U+FFFD. Never raises.
    """
    for mark, marked in _MARKS:
        if raw.startswith(mark):
            return raw[len(mark) :].decode(marked, "replace"), marked
    codec = codec_of(declared) if declared else None
    if codec is not None and not (codec == "utf-8" and _ISO_2022.search(raw)):
        text = text_in(raw, codec)
        if text is not None:
            # UTF-8 that is called Latin-1 can be told: by chance it is hardly ever both.
            if codec == "cp1252" and not raw.isascii():
                utf8 = text_in(raw, "utf-8")
                return (text, codec) if utf8 is None else (utf8, "utf-8")
            return text, codec
    found = _detected(raw)
    # A text that is cut inside a character, or has a wrong byte, is in its charset all the same.
    if codec is not None and codec != "utf-8":
        lenient = raw.decode(codec, "replace")
        if lenient.count("\ufffd") * 20 <= len(lenient):
            return lenient, codec
    return found


_MARKS: Final = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
_ISO_2022: Final = re.compile(rb"\x1b\$[@B]|\x1b\(J")
_READ: Final = 16_384


def _detected(raw: bytes) -> tuple[str, str]:
    if _ISO_2022.search(raw):
        return raw.decode("iso2022_jp_ext", "replace"), "iso2022_jp_ext"
    lenient = raw.decode("utf-8", "replace")
    wrong = lenient.count("\ufffd")
    if wrong == 0 or wrong * 50 <= sum(1 for byte in raw[:_READ] if byte > 0x7F):
        return lenient, "utf-8"
    # Imported here: it reads its tables, which hardly any mail needs.
    import chardet

    # What mails are written in; of old code pages a short text could be any.
    found = chardet.detect(raw[:_READ], encoding_era=chardet.EncodingEra.MODERN_WEB)
    name = found["encoding"]
    codec = (codec_of(name) if name else None) or "cp1252"
    return raw.decode(codec, "replace"), codec
