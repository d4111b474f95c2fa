"""HTML as plain text: what a reader sees, line by line, safe for any input.

Blocks and line breaks begin a line, paragraphs stand between blank lines, list items begin with a
dash or their number, a row of a table is one line with its cells between bars. What is not shown
(scripts, styles, comments, images, hidden elements) is left out. Quoted blocks have `> ` before
each line, as in plain mails; so one set of rules tells replies from quotations.

No tree is built and nothing recurses; each tag costs a bounded time.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from html import unescape
from typing import Final

from lodestream.mail.markup import Element, Elements, Run, StyledLine, is_pixel
from lodestream.mail.rows import Line, Table, lines_of_row, moved
from lodestream.mail.split import QUOTE_MARK, SIGNATURE_MARK

_MOST_TAGS: Final = 250_000
_LONGEST_QUOTED: Final = 2048
_DEEPEST_TABLE: Final = 32
_DEEPEST_QUOTE: Final = 6
_DEEPEST_LIST: Final = 8

_NAME: Final = re.compile(r"/?([A-Za-z][A-Za-z0-9]*)")
# A tag whose attributes may hold `>` in quotes. Tried on a few characters only: where quotes do
# not match, every `<` would else be followed to the end of the text.
_TAG: Final = re.compile(r"""</?[A-Za-z][^<>"']*(?:"[^"]*"[^<>"']*|'[^']*'[^<>"']*)*>""")
_UNSEEN: Final = {
    name: re.compile(rf"</{name}\b", re.IGNORECASE) for name in ("script", "style", "title")
}
_BLOCK: Final = re.compile(
    r"address|article|aside|body|caption|center|dd|details|div|dl|dt|fieldset|figcaption|figure|"
    r"footer|form|header|hr|html|legend|main|nav|option|section|summary|tbody|tfoot|thead"
)
_PARAGRAPHS: Final = frozenset(("p", "h1", "h2", "h3", "h4", "h5", "h6", "pre"))
_MAY_HIDE: Final = frozenset(("div", "span", "table", "tr", "td"))

_HIDDEN: Final = re.compile(r"display\s{0,4}:\s{0,4}none|mso-hide\s{0,4}:\s{0,4}all", re.IGNORECASE)
_CITED: Final = re.compile(
    r"type\s{0,4}=\s{0,4}[\"']?cite|\bcite\s{0,4}=|gmail_quote|border-left|_quote\b|gmx_quote",
    re.IGNORECASE,
)
# Elements that begin with the line above a quotation, or with the headers of an older mail.
_INTRODUCES: Final = re.compile(
    r"gmail_attr|gmail_quote|gmail_extra|moz-cite-prefix|moz-email-headers-table|moz-forward-"
    r"container|yahoo_quoted|yahoo-quoted|divRplyFwdMsg|OLK_SRC_BODY_SECTION|stopSpelling|"
    r"protonmail_quote|tutanota_quote|zmail_extra|appendonsend|WordSection_quote|reply-intro|"
    r"mail_quote_header|_pm_quote|hm-quote-header|mailru-blockquote",
    re.IGNORECASE,
)
_SIGNS: Final = re.compile(
    r"gmail_signature|moz-signature|protonmail_signature_block\b(?!-)|id\s{0,4}=\s{0,4}[\"']?"
    r"(?:x_)*signature[\"' >]",
    re.IGNORECASE,
)
_TIGHT: Final = re.compile(r"Mso(?:Normal|ListParagraph|PlainText)|margin\s{0,4}:\s{0,4}0", re.I)

_SPACE: Final = re.compile(r"\s+")
_UNSEEN_SIGNS: Final = re.compile("[\u200b\u200c\u034f\u00ad\ufeff\u2060]")


def text_of_html(html: str, *, most_chars: int, marked: bool = False) -> str:
    """Return what a reader sees of an HTML text, up to about `most_chars` characters.

    With `marked`, lines that begin a quotation or a signature by the words of HTML have a sign
    before them (see `lodestream.mail.split`). The time grows with the length, whatever it says.
    """
    page = _read(html, _Page(marked=marked), most_chars)
    return "\n".join(line.text for line in page.lines())[:most_chars].rstrip()


def styled_lines(html: str, *, most_chars: int) -> list[StyledLine]:
    """Return the lines of `text_of_html`, marked, with the elements in which their parts stand."""
    page = _read(html, _Page(marked=True, elements=Elements()), most_chars)
    return page.lines()


def _read(html: str, page: _Page, most_chars: int) -> _Page:
    room = 2 * most_chars  # some of it will be blanks that fall together
    at, tags = 0, 0
    while room > 0 and tags < _MOST_TAGS:
        start = html.find("<", at)
        piece = html[at : start if start >= 0 else len(html)]
        if piece:
            room -= page.add_text(unescape(piece[:room]))
        if start < 0:
            break
        tags += 1
        at = _behind_tag(html, start, page)
    return page


def _behind_tag(html: str, start: int, page: _Page) -> int:
    """Take what begins with the `<` at `start`, and return where it ends."""
    if html.startswith("<!--", start):
        return _behind(html, "-->", start + 4)
    if html.startswith(("<!", "<?"), start):
        return _behind(html, ">", start)
    match = _NAME.match(html, start + 1, start + 66)
    if match is None:
        page.add_text("<")  # a sign like any other
        return start + 1
    whole = _TAG.match(html, start, start + _LONGEST_QUOTED)
    end = whole.end() if whole is not None else _behind(html, ">", start)
    name = match[1].lower()
    opens = html[start + 1] != "/"
    if name in _UNSEEN and opens:
        closing = _UNSEEN[name].search(html, end)
        return len(html) if closing is None else _behind(html, ">", closing.end())
    if opens:
        page.open(name, html[match.end() : min(end, start + _LONGEST_QUOTED)])
    else:
        page.close(name)
    return end


def _behind(html: str, sign: str, start: int) -> int:
    at = html.find(sign, start)
    return len(html) if at < 0 else at + len(sign)


class _Page:
    """The lines that are made, and what is open."""

    def __init__(self, *, marked: bool, elements: Elements | None = None) -> None:
        self._marked = marked
        self._elements = elements
        self._lines: list[Line] = []
        self._current: list[str] = []
        # Where markup is wanted: of each piece in `_current` the element, and what it is.
        self._runs: list[tuple[Element | None, str]] = []
        self._tables: list[Table] = []
        self._tables_too_deep = 0
        self._lists: list[int] = []  # the number of the last item; -1 where there are none
        self._quotes: list[bool] = []
        self._depth = 0
        self._bullet = ""
        self._mark = ""
        self._loose = True  # whether the last paragraph that began keeps a distance
        self._verbatim = 0
        self._hidden = ("", 0)

    def add_text(self, text: str) -> int:
        """Add text between tags; return how many characters were taken."""
        if self._hidden[1]:
            return 0
        taken = len(text)
        if self._verbatim and "\n" in text:
            *whole, text = text.split("\n")
            for one in whole:
                self._append(one)
                self._end_line(even_if_blank=True)
        if self._mark and not text.isspace():
            self._end_line()
            self._append(self._mark, leaf="mark")
            self._mark = ""
        self._append(text)
        return taken

    def _append(self, text: str, *, leaf: str = "text", element: Element | None = None) -> None:
        self._current.append(text)
        if self._elements is not None:
            self._runs.append((element or self._elements.innermost, leaf))

    def open(self, name: str, attributes: str) -> None:
        """Take an opening tag."""
        if self._hides(name, attributes):
            return
        if self._marked and attributes:
            self._look_for_marks(name, attributes)
        if self._elements is not None:
            self._open_element(self._elements, name, attributes)
        if name == "br":
            self._end_line(even_if_blank=True)
        elif name in _PARAGRAPHS:
            self._end_line()
            self._loose = name != "p" or not (attributes and _TIGHT.search(attributes))
            self._add_distance()
            self._verbatim += name == "pre"
        elif _BLOCK.fullmatch(name):
            self._end_line()
        elif name == "blockquote":
            self._end_line()
            self._quotes.append(_CITED.search(attributes) is not None)
            self._depth += self._quotes[-1]
        elif name in ("ul", "ol", "menu"):
            self._end_line()
            self._lists.append(0 if name == "ol" else -1)
        elif name == "li":
            self._open_item()
        elif name in ("table", "tr", "td", "th"):
            self._open_in_table(name)

    def _open_element(self, elements: Elements, name: str, attributes: str) -> None:
        if name in ("br", "hr"):
            self._append("", leaf=name)
        elif name == "img" and not is_pixel(attributes):
            self._append("", leaf="image", element=elements.leaf(name, attributes))
        elements.open(name, attributes)

    def _hides(self, name: str, attributes: str) -> bool:
        """Tell whether a tag stands in an element that is not shown, or opens one."""
        if self._hidden[1]:
            if name == self._hidden[0]:
                self._hidden = (name, self._hidden[1] + 1)
            return True
        if attributes and name in _MAY_HIDE and _HIDDEN.search(attributes):
            self._hidden = (name, 1)
            return True
        return False

    def _look_for_marks(self, name: str, attributes: str) -> None:
        if _SIGNS.search(attributes):
            self._mark = SIGNATURE_MARK
        elif name != "blockquote" and _INTRODUCES.search(attributes):
            self._mark = QUOTE_MARK

    def close(self, name: str) -> None:
        """Take a closing tag."""
        if self._hidden[1]:
            if name == self._hidden[0]:
                self._hidden = (name, self._hidden[1] - 1)
            return
        if self._elements is not None:
            self._elements.close(name)
        if name in _PARAGRAPHS:
            self._end_line()
            self._add_distance()
            self._verbatim = max(self._verbatim - (name == "pre"), 0)
        elif _BLOCK.fullmatch(name) or name == "li":
            self._end_line()
        elif name == "blockquote":
            self._end_line()
            if self._quotes:
                self._depth -= self._quotes.pop()
        elif name in ("ul", "ol", "menu"):
            self._end_line()
            if self._lists:
                self._lists.pop()
        elif name in ("table", "tr", "td", "th"):
            self._close_in_table(name)

    def lines(self) -> list[StyledLine]:
        """Return all lines, without blank ones around them or several together."""
        self._end_line()
        while self._tables:
            self._close_in_table("table")
        shown: list[StyledLine] = []
        for line in self._lines:
            if not line.text and (not shown or not shown[-1].text.strip("> ")):
                continue
            prefix = "> " * min(line.depth, _DEEPEST_QUOTE)
            shown.append(StyledLine(prefix + line.text, moved(line.runs, len(prefix))))
        while shown and not shown[-1].text:
            shown.pop()
        return shown

    def _end_line(self, *, even_if_blank: bool = False) -> None:
        raw = "".join(self._current)
        runs: Sequence[Run] = () if self._elements is None else self._runs_of_line()
        self._current.clear()
        text = _SPACE.sub(" ", _UNSEEN_SIGNS.sub("", raw)).strip()
        if text:
            if self._bullet:
                text, runs = self._bullet + text, moved(runs, len(self._bullet))
                self._bullet = ""
            self._lines.append(Line(self._depth, text, runs))
        elif even_if_blank or "\xa0" in raw:
            self._lines.append(Line(self._depth, "", runs))

    def _runs_of_line(self) -> list[Run]:
        """Return the runs of the pieces that are gathered, by their places in the line."""
        text = ""
        runs: list[Run] = []
        for piece, (element, leaf) in zip(self._current, self._runs, strict=True):
            if leaf == "text":
                piece = _SPACE.sub(" ", _UNSEEN_SIGNS.sub("", piece))
                if not text or text[-1] == " ":
                    piece = piece.lstrip(" ")
                start = len(text)
                text += piece
                if runs and runs[-1][1:] == (start, element, "text"):
                    start = runs.pop().start
                runs.append(Run(start, len(text), element))
            elif leaf != "mark":
                runs.append(Run(len(text), len(text), element, leaf))
        self._runs.clear()
        size = len(text.rstrip())
        return [run._replace(start=min(run.start, size), end=min(run.end, size)) for run in runs]

    def _add_distance(self) -> None:
        if self._loose and not self._bullet:
            self._lines.append(Line(self._depth, ""))

    def _open_item(self) -> None:
        self._end_line()
        if not self._lists:
            self._lists.append(-1)
        number = self._lists[-1]
        sign = "- "
        if number >= 0:
            self._lists[-1] = number + 1
            sign = f"{number + 1}. "
        self._bullet = "  " * min(len(self._lists) - 1, _DEEPEST_LIST) + sign

    def _open_in_table(self, name: str) -> None:
        if name == "table":
            self._end_line()
            if len(self._tables) >= _DEEPEST_TABLE:
                self._tables_too_deep += 1
                return
            self._tables.append(Table(self._lines))
            self._lines = self._tables[-1].lines
        elif not self._tables or self._tables_too_deep:
            # Cells of no table: they stand side by side, rows below each other.
            self._append(" ")
            if name == "tr":
                self._end_line()
        else:
            self._end_cell()
            if name == "tr":
                self._end_row()
            else:
                self._tables[-1].in_cell = True
                self._tables[-1].cell = None if self._elements is None else self._elements.innermost
                self._lines = []

    def _close_in_table(self, name: str) -> None:
        if name == "table" and self._tables_too_deep:
            self._tables_too_deep -= 1
            self._end_line()
        elif not self._tables or self._tables_too_deep:
            self._append(" ")
        else:
            self._end_cell()
            if name in ("tr", "table"):
                self._end_row()
            if name == "table":
                table = self._tables.pop()
                self._lines = table.around
                self._lines += table.lines

    def _end_cell(self) -> None:
        self._end_line()
        self._bullet = ""
        table = self._tables[-1]
        if table.in_cell:
            table.cells.append((self._lines, table.cell))
            table.in_cell = False
            self._lines = table.lines

    def _end_row(self) -> None:
        table = self._tables[-1]
        cells, table.cells = table.cells, []
        table.lines += lines_of_row(cells)
