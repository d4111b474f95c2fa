"""HTML as plain text, for reading by a model: safe for any input, and simple."""

from __future__ import annotations

import re
from html import unescape
from typing import Final

_MOST_TAGS: Final = 250_000
_LONGEST_QUOTED: Final = 2048

_NAME: Final = re.compile(r"/?([A-Za-z][A-Za-z0-9]*)")
# A tag whose attributes may hold `>` in quotes. Tried on a few characters only: where quotes do
# not match, every `<` would else be followed to the end of the text.
_TAG: Final = re.compile(r"""</?[A-Za-z][^<>"']*(?:"[^"]*"[^<>"']*|'[^']*'[^<>"']*)*>""")
_UNSEEN: Final = {
    name: re.compile(rf"</{name}\b", re.IGNORECASE) for name in ("script", "style", "title")
}
_BREAKS: Final = re.compile(
    r"address|article|aside|blockquote|br|center|dd|details|div|dl|dt|fieldset|figcaption|figure|"
    r"footer|form|header|hr|li|main|nav|ol|option|pre|section|summary|table|tbody|tfoot|thead|tr|ul"
)
_PARAGRAPHS: Final = re.compile(r"p|h[1-6]")
_CELLS: Final = re.compile(r"td|th")

_SPACE: Final = re.compile(r"\s+")
_BLANKS: Final = re.compile(r" +")
_AROUND_LINE: Final = re.compile(r" ?\n ?")
_EMPTY_LINES: Final = re.compile(r"\n{3,}")


def text_of_html(html: str, *, most_chars: int) -> str:
    """Return what a reader sees of an HTML text, up to about `most_chars` characters.

    Blocks, list items and table rows begin a line, paragraphs follow an empty one. What is not
    shown (scripts, styles, comments, images) is left out. The time grows with the length, whatever
    stands in the text.
    """
    parts: list[str] = []
    room = 2 * most_chars  # some of it will be blanks that fall together
    at, tags = 0, 0
    while room > 0 and tags < _MOST_TAGS:
        start = html.find("<", at)
        piece = html[at : start if start >= 0 else len(html)]
        if piece:
            parts.append(_SPACE.sub(" ", unescape(piece[:room])))
            room -= len(parts[-1])
        if start < 0:
            break
        tags += 1
        at, mark = _after_tag(html, start)
        parts.append(mark)
    text = _AROUND_LINE.sub("\n", _BLANKS.sub(" ", "".join(parts)))
    return _EMPTY_LINES.sub("\n\n", text).strip()[:most_chars].rstrip()


def _after_tag(html: str, start: int) -> tuple[int, str]:
    """Return where what begins with the `<` at `start` ends, and what is read in its place."""
    if html.startswith("<!--", start):
        return _behind(html, "-->", start + 4), ""
    if html.startswith(("<!", "<?"), start):
        return _behind(html, ">", start), ""
    match = _NAME.match(html, start + 1, start + 66)
    if match is None:
        return start + 1, "<"  # a sign like any other
    whole = _TAG.match(html, start, start + _LONGEST_QUOTED)
    end = whole.end() if whole is not None else _behind(html, ">", start)
    name = match[1].lower()
    if name in _UNSEEN and html[start + 1] != "/":
        closing = _UNSEEN[name].search(html, end)
        return (len(html) if closing is None else _behind(html, ">", closing.end())), ""
    if _PARAGRAPHS.fullmatch(name):
        return end, "\n\n"
    if _BREAKS.fullmatch(name):
        return end, "\n"
    return end, " " if _CELLS.fullmatch(name) else ""


def _behind(html: str, sign: str, start: int) -> int:
    at = html.find(sign, start)
    return len(html) if at < 0 else at + len(sign)
