"""Transfer encodings, read leniently: what is declared may not be what is there. Never raises."""

from __future__ import annotations

import binascii
import re
from typing import Final

_BASE64: Final = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
_NOT_BASE64: Final = bytes(sorted(set(range(256)) - set(_BASE64)))
_PLAINLY_TEXT: Final = re.compile(rb"[A-Za-z]{2}[ ,.;:][ ]?[A-Za-z]{2}|<[A-Za-z/!]")
_LOOKED_AT: Final = 4096
_ESCAPES: Final = re.compile(rb"=(?:[0-9A-Fa-f]{2}|[ \t]*\r?\n|$)")


def decoded_bytes(body: bytes, encoding: str) -> bytes:
    """Return a part's bytes as they were before `Content-Transfer-Encoding`.

    What is not encoded as declared, or in a way that is unknown, is returned as it is.
    """
    match encoding.strip().lower():
        case "base64":
            return _from_base64(body)
        case "quoted-printable":
            return binascii.a2b_qp(body) if _is_quoted_printable(body) else body
        case "x-uuencode" | "uuencode" | "x-uue" | "uue":
            return _from_uuencode(body)
    return body


def decoded_size(body: bytes, encoding: str) -> int:
    """Return the length of `decoded_bytes`, of base64 without decoding it."""
    if encoding.strip().lower() != "base64" or _is_plain(body):
        return len(decoded_bytes(body, encoding))
    return _base64_letters(body) * 3 // 4


def _is_plain(body: bytes) -> bool:
    first_line = body[:_LOOKED_AT].lstrip().partition(b"\n")[0]
    return _PLAINLY_TEXT.search(first_line) is not None


def _ends_at(body: bytes) -> int:
    """Return where base64 ends: at its padding; what follows was added on the way."""
    at = body.find(b"=")
    return len(body) if at < 0 else at


def _base64_letters(body: bytes) -> int:
    letters = len(body[: _ends_at(body)].translate(None, _NOT_BASE64))
    return letters - (letters % 4 == 1)  # one letter alone says nothing


def _from_base64(body: bytes) -> bytes:
    if _is_plain(body):
        return body
    letters = body[: _ends_at(body)].translate(None, _NOT_BASE64)
    letters = letters[: len(letters) - (len(letters) % 4 == 1)]
    return binascii.a2b_base64(letters + b"=" * (-len(letters) % 4))


def _is_quoted_printable(body: bytes) -> bool:
    """Tell whether signs of equality are mostly what they have to be."""
    head = body[:_LOOKED_AT]
    signs = head.count(b"=")
    return 5 * len(_ESCAPES.findall(head)) >= 4 * signs


def _from_uuencode(body: bytes) -> bytes:
    parts: list[bytes] = []
    begun = False
    for line in body.splitlines():
        if not begun:
            begun = line.startswith(b"begin ")
        elif line.strip() in (b"end", b"`"):
            break
        else:
            try:
                parts.append(binascii.a2b_uu(line))
            except binascii.Error:
                continue
    return b"".join(parts) if begun else body
