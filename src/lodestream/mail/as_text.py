"""A MIME message as text, read by `parse_mime` like the bytes it was made of.

JSON carries text, mails are bytes: most are UTF-8 and stay as they are. Of others the parts that
are not are written anew in base64, as a mail server does for one that takes no 8-bit mail, so that
nothing is lost whatever charset they are in. Only raw bytes in headers, which no standard allows,
are decoded by what they look like.
"""

from __future__ import annotations

import re
from base64 import encodebytes
from collections.abc import Iterator
from typing import Final

from lodestream.mail.charsets import decode
from lodestream.mail.headers import Headers
from lodestream.mail.mime import Part, inner_bounds, is_text, parse_mime, part_at
from lodestream.mail.transfer import decoded_bytes

_DEEPEST: Final = 24
_KEPT: Final = frozenset({"text/calendar", "message/delivery-status"})
"""Files that are read as the text of a message that has no other."""
_ENVELOPE: Final = re.compile(rb"ms-tnef|winmail\.dat", re.IGNORECASE)
_OF_A_FILE: Final = ("content-type", "content-disposition", "content-transfer-encoding")


def text_of_mime(raw: bytes, *, contents: bool = True) -> str:
    """Return a message as text whose UTF-8 bytes are read like `raw`.

    Without `contents` the files in it are left out; calendar items and delivery reports stay, as
    they may be all the text there is, and so does the text in Outlook's envelope.
    """
    if contents:
        try:
            return raw.decode()
        except UnicodeDecodeError:
            pass
    start = len(raw) - len(raw.lstrip(b"\r\n"))
    top = part_at(raw, start, len(raw), default="text/plain")
    pieces = [raw[:start], *_rewritten(raw, start, top, 0, contents=contents)]
    if not contents and _ENVELOPE.search(raw):
        pieces = _with_text_of_envelope(raw[start : top.start], raw, b"".join(pieces))
    return b"".join(pieces).decode("utf-8", "replace")


def _with_text_of_envelope(head: bytes, raw: bytes, without_files: bytes) -> list[bytes]:
    """Return a message without files; if all of its text lay in Outlook's envelope, with that."""
    left, whole = parse_mime(without_files), parse_mime(raw)
    text = whole.html or whole.plain or ""
    if (left.plain or "").strip() or left.html or not text.strip():
        return [without_files]
    kind = b"html" if whole.html else b"plain"
    rest = _without(_utf8(head), *_OF_A_FILE).rstrip(b"\r\n") + b"\r\n"
    described = b"Content-Type: text/" + kind + b"; charset=utf-8\r\n"
    body = encodebytes(text.encode("utf-8", "replace")).replace(b"\n", b"\r\n")
    return [rest, described, b"Content-Transfer-Encoding: base64\r\n\r\n", body]


def headers_of_mime(text: str) -> Headers:
    """Return the headers at the top of a message."""
    raw = text[: 1 << 20].encode("utf-8", "replace").lstrip(b"\r\n")
    return part_at(raw, 0, len(raw), default="text/plain").headers


def _rewritten(
    raw: bytes, start: int, part: Part, depth: int, *, contents: bool
) -> Iterator[bytes]:
    """Yield a part, which begins with its headers at `start`, piece by piece."""
    bounds = inner_bounds(raw, part) if _is_multipart(part, depth) else []
    head, body = raw[start : part.start], raw[part.start : part.end]
    kept = contents or _stays(raw, part, depth)
    if not bounds or not kept:
        yield from _leaf(head, body, part, kept=kept)
        return
    yield _utf8(head)
    at = part.start
    default = _default(part)
    for begin, end in bounds:
        inner = part_at(raw, begin, end, default=default)
        if contents or _stays(raw, inner, depth + 1):
            yield _utf8(raw[at:begin])
            yield from _rewritten(raw, begin, inner, depth + 1, contents=contents)
        else:
            # The line of its boundary goes with it, and the line end in front of that.
            boundary = max(at, raw.rfind(b"\n", at, begin - 1) + 1)
            yield _utf8(raw[at:boundary]).removesuffix(b"\n").removesuffix(b"\r")
        at = end
    yield _utf8(raw[at : part.end])


def _leaf(head: bytes, body: bytes, part: Part, *, kept: bool) -> Iterator[bytes]:
    if not kept:
        yield _without(_utf8(head), *_OF_A_FILE)
    elif _is_utf8(body):
        yield _utf8(head)
        yield body
    else:
        encoded = encodebytes(decoded_bytes(body, part.encoding)).replace(b"\n", b"\r\n")
        rest = _without(_utf8(head), "content-transfer-encoding")
        yield b"Content-Transfer-Encoding: base64\r\n" + (rest or b"\r\n")
        yield encoded


def _is_multipart(part: Part, depth: int) -> bool:
    return part.content_type.startswith("multipart/") and depth < _DEEPEST


def _stays(raw: bytes, part: Part, depth: int) -> bool:
    """Tell whether a part has anything in it that is no file."""
    bounds = inner_bounds(raw, part) if _is_multipart(part, depth) else []
    if not bounds:
        return _is_multipart(part, depth) or is_text(part) or part.content_type in _KEPT
    default = _default(part)
    return any(_stays(raw, part_at(raw, *one, default=default), depth + 1) for one in bounds)


def _default(part: Part) -> str:
    return "message/rfc822" if part.content_type == "multipart/digest" else "text/plain"


def _is_utf8(raw: bytes) -> bool:
    try:
        raw.decode()
    except UnicodeDecodeError:
        return False
    return True


def _utf8(raw: bytes) -> bytes:
    """Return bytes that are no body as UTF-8."""
    return raw if _is_utf8(raw) else decode(raw, None)[0].encode("utf-8", "replace")


def _without(head: bytes, *names: str) -> bytes:
    """Return headers without those of these names, folded lines included."""
    pattern = "|".join(re.escape(name) for name in names).encode()
    line = rb"(?im)^(?:" + pattern + rb")[ \t]*:.*(?:\r?\n[ \t].*)*(?:\r?\n|\Z)"
    return re.sub(line, b"", head)
