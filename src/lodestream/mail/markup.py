"""Rich text: the elements of an HTML text as a tree whose leaves are places in the plain text.

(Contract: sources and comments, section 3.8.) Elements that say nothing of how a text is to be
shown are left out, and so are scripts in links.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Sequence
from html import unescape
from typing import Any, Final, NamedTuple

_DEEPEST: Final = 48
_LONGEST_URL: Final = 4096
_MOST_SPANNED: Final = 1000
_MOST_RUNS: Final = 20_000

_STYLE_NAMES: Final = (
    "strong|b|mark|em|i|cite|var|strike|del|u|abbr|dfn|ins|kbd|code|samp|q|big|small|time|bdi|sub|"
    "sup"
)
_STYLES: Final = {name: name for name in _STYLE_NAMES.split("|")} | {"s": "strike"}
_PARAGRAPH_NAMES: Final = (
    "p|div|address|article|aside|blockquote|center|pre|details|summary|section|h1|h2|h3|h4|h5|h6|"
    "dl|dt|dd"
)
_PARAGRAPHS: Final = frozenset(_PARAGRAPH_NAMES.split("|"))
_KINDS: Final = (
    dict.fromkeys(_STYLES, "style")
    | dict.fromkeys(_PARAGRAPHS, "paragraph")
    | {"a": "link", "ul": "list", "ol": "list", "menu": "list", "li": "item"}
    | {"table": "table", "tr": "row", "td": "cell", "th": "cell", "caption": "caption"}
)
_INLINE: Final = frozenset({"style", "link"})
# An end tag closes nothing beyond the element of these in which it stands.
_WALLS: Final = {
    "style": frozenset({"paragraph", "item", "cell", "caption"}),
    "link": frozenset({"paragraph", "item", "cell", "caption"}),
    "paragraph": frozenset({"item", "cell", "caption"}),
    "list": frozenset({"cell", "caption"}),
    "item": frozenset({"list", "cell", "caption"}),
    "row": frozenset({"table"}),
    "cell": frozenset({"table", "row"}),
    "caption": frozenset({"table"}),
    "table": frozenset[str](),
}

_ATTRIBUTE: Final = re.compile(
    r"""([A-Za-z][\w:-]{0,40})\s{0,4}=\s{0,4}(?:"([^"]*)"|'([^']*)'|([^\s"'>]+))"""
)
_SAFE: Final = re.compile(r"(?:https?|mailto|tel|ftp|cid):", re.IGNORECASE)


class Element:
    """An element that is shown, and the one in which it stands."""

    __slots__ = ("attributes", "depth", "kind", "name", "parent", "section")

    def __init__(self, name: str, kind: str, attributes: str, parent: Element | None) -> None:
        self.name = name
        self.kind = kind
        self.attributes = attributes
        self.parent = parent
        self.depth: int = 0 if parent is None else parent.depth + 1
        self.section = "tbody"  # of a table that is open: where the next row belongs


class Run(NamedTuple):
    """A piece of a line, from `start` to `end`, in an element; or what stands there unseen."""

    start: int
    end: int
    element: Element | None
    leaf: str = "text"  # `text`, `br`, `hr`, `image`, or nothing at all: the element is there


class Elements:
    """The elements that are open at a place of an HTML text."""

    def __init__(self) -> None:
        self.innermost: Element | None = None
        self._too_deep: dict[str, int] = {}

    def open(self, name: str, attributes: str) -> None:
        """Take an opening tag."""
        kind = _KINDS.get(name)
        if kind is None:
            if name in ("thead", "tbody", "tfoot"):
                table = self._find({"table"}, frozenset())
                if table is not None:
                    table.section = name
            return
        if kind not in _INLINE:
            self._leave(self._find({"p"}, _WALLS["paragraph"], by_name=True))
        if kind in ("item", "row", "cell", "caption"):
            self._leave(self._find({kind}, _WALLS[kind]))
        if kind == "item" and (self.innermost is None or self.innermost.kind != "list"):
            self._push("ul", "list", "")
        elif kind == "caption" or kind == "row":
            table = self._find({"table"}, frozenset())
            if table is None:
                return
            self.innermost = table
        elif kind == "cell":
            row = self._find({"row"}, frozenset({"table"}))
            if row is None:
                return
            self.innermost = row
        self._push(name, kind, attributes)

    def close(self, name: str) -> None:
        """Take a closing tag; one that closes nothing is passed over."""
        if self._too_deep.get(name):
            self._too_deep[name] -= 1
        elif name in _KINDS:
            self._leave(self._find({name}, _WALLS[_KINDS[name]], by_name=True))

    def leaf(self, name: str, attributes: str) -> Element:
        """Return an element that holds nothing, such as an image."""
        return Element(name, "leaf", attributes, self.innermost)

    def _push(self, name: str, kind: str, attributes: str) -> None:
        if self.innermost is not None and self.innermost.depth >= _DEEPEST:
            self._too_deep[name] = self._too_deep.get(name, 0) + 1
        else:
            parent, self.innermost = self.innermost, Element(name, kind, attributes, self.innermost)
            if kind == "row" and parent is not None:
                self.innermost.section = parent.section

    def _find(
        self, wanted: set[str], walls: frozenset[str], *, by_name: bool = False
    ) -> Element | None:
        one = self.innermost
        while one is not None:
            if (one.name if by_name else one.kind) in wanted:
                return one
            if one.kind in walls:
                return None
            one = one.parent
        return None

    def _leave(self, element: Element | None) -> None:
        if element is not None:
            self.innermost = element.parent


class StyledLine(NamedTuple):
    """A line of plain text, and the runs in it; their places are those without marks."""

    text: str
    runs: Sequence[Run] = ()


def markup_of(text: str, lines: Sequence[StyledLine]) -> list[dict[str, Any]]:
    """Return the tree of a text whose lines are some of `lines`, in their order.

    What is in no line there, such as a line that was cut, is text without an element. Empty if
    there is more markup than anybody would write.
    """
    if sum(len(line.runs) for line in lines) > _MOST_RUNS:
        return []
    places: dict[str, list[int]] = {}
    for number, line in enumerate(lines):
        places.setdefault(line.text, []).append(number)
    tree = _Tree(text)
    at = offset = 0
    for row in text.split("\n"):
        known = places.get(row, [])
        found = bisect_left(known, at)
        if found < len(known):
            at = known[found] + 1
            for run in lines[known[found]].runs:
                tree.add(run._replace(start=run.start + offset, end=run.end + offset))
        elif row:
            tree.add(Run(offset, offset + len(row), None))
        offset += len(row) + 1
    return tree.nodes


class _Tree:
    """Nodes, made of runs in the order of the text."""

    def __init__(self, text: str) -> None:
        self.nodes: list[dict[str, Any]] = []
        self._wide = [at for at, sign in enumerate(text) if sign > "\uffff"]
        self._open: list[tuple[Element | None, dict[str, Any]]] = []

    def add(self, run: Run) -> None:
        """Add a leaf below the elements in which it stands."""
        chain: list[Element] = []
        one = run.element.parent if run.leaf == "image" and run.element else run.element
        while one is not None:
            chain.append(one)
            one = one.parent
        chain.reverse()
        outer = 1 if self._open and self._open[0][0] is None else 0
        if outer and chain and chain[0].kind not in _INLINE:
            self._open.clear()
            outer = 0
        same = 0
        most = min(len(chain), len(self._open) - outer)
        while same < most and self._open[outer + same][0] is chain[same]:
            same += 1
        del self._open[outer + same :]
        for element in chain[same:]:
            node = _node(element)
            self._children(element.kind).append(node)
            self._open.append((element, node))
        leaf = self._leaf(run)
        if leaf is not None:
            self._children("leaf").append(leaf)

    def _leaf(self, run: Run) -> dict[str, Any] | None:
        if run.leaf in ("br", "hr"):
            return {"kind": "break", "break_kind": run.leaf}
        if run.leaf == "image" and run.element is not None:
            given = _attributes(run.element.attributes)
            return {"kind": "image", "src": _url(given.get("src")), "alt": given.get("alt")}
        if run.leaf != "text" or run.start == run.end:
            return None
        span = {
            "char_start": run.start,
            "char_end": run.end,
            "utf16_byte_start": self._utf16(run.start),
            "utf16_byte_end": self._utf16(run.end),
        }
        return {"kind": "text", "span": span}

    def _utf16(self, at: int) -> int:
        return 2 * (at + bisect_left(self._wide, at))

    def _children(self, kind: str) -> list[dict[str, Any]]:
        """Return the list that a child of a kind belongs to, below what is open."""
        if not self._open:
            if kind != "leaf" and kind not in _INLINE:
                return self.nodes
            # Text that stands in no paragraph is one of its own.
            self._open.append((None, _paragraph("orphan")))
            self.nodes.append(self._open[0][1])
        node = self._open[-1][1]
        if "items" in node:
            return _inside(node["items"], kind == "item", {"children": []})
        if "rows" in node:
            if kind == "caption":
                return _list(node["captions"])
            return _in_row(node["rows"], kind)
        if "cells" in node:
            return _inside(node["cells"], kind == "cell", _cell("td", 1, 1))
        return _list(node["children"])


def _inside(members: Any, fits: bool, member: dict[str, Any]) -> list[dict[str, Any]]:
    """Return where a child of a list goes: among its members, or into one made for it."""
    if not fits:
        members.append(member)
        members = member["children"]
    return _list(members)


def _in_row(rows: Any, kind: str) -> list[dict[str, Any]]:
    if kind == "row":
        return _list(rows)
    row: dict[str, Any] = {"section": "tbody", "cells": []}
    rows.append(row)
    return _inside(row["cells"], kind == "cell", _cell("td", 1, 1))


def _list(members: Any) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = members
    return found


def _node(element: Element) -> dict[str, Any]:
    name, kind = element.name, element.kind
    if kind == "paragraph":
        return _paragraph(name)
    if kind == "style":
        return {"kind": kind, "style_kind": _STYLES[name], "children": []}
    if kind == "link":
        href = _url(_attributes(element.attributes).get("href"))
        return {"kind": kind, "href": href, "children": []}
    if kind == "list":
        return {"kind": kind, "list_kind": "ol" if name == "ol" else "ul", "items": []}
    if kind == "table":
        border = _attributes(element.attributes).get("border", "0")
        return {"kind": kind, "rows": [], "captions": [], "borderless": border in ("", "0")}
    if kind == "row":
        return {"section": element.section, "cells": []}
    if kind == "cell":
        given = _attributes(element.attributes)
        return _cell(name, _count(given.get("rowspan")), _count(given.get("colspan")))
    return {"children": []}


def _paragraph(kind: str) -> dict[str, Any]:
    return {"kind": "paragraph", "paragraph_kind": kind, "children": []}


def _cell(kind: str, rowspan: int, colspan: int) -> dict[str, Any]:
    return {"cell_kind": kind, "rowspan": rowspan, "colspan": colspan, "children": []}


def _count(value: str | None) -> int:
    is_number = value is not None and value.isascii() and value.isdigit()
    return max(1, min(int(value[:6]), _MOST_SPANNED)) if value and is_number else 1


def _attributes(text: str) -> dict[str, str]:
    found: dict[str, str] = {}
    for match in _ATTRIBUTE.finditer(text):
        value = match[2] or match[3] or match[4] or ""
        found.setdefault(match[1].lower(), unescape(value).strip())
    return found


def _url(value: str | None) -> str | None:
    """Return an address that is safe to follow, or None."""
    if value is None or len(value) > _LONGEST_URL or not _SAFE.match(value):
        return None
    return value


def is_pixel(attributes: str) -> bool:
    """Tell whether an image is one that nobody is to see, but a server is to notice."""
    given = _attributes(attributes)
    return given.get("width") in ("0", "1") or given.get("height") in ("0", "1")
