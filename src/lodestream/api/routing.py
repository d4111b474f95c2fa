"""Routes: one row each, and the way from a path to its row.

A path is percent-decoded first and matched then, so `acme%2Fsupport` and `acme/support` are the
same two segments; repeated and trailing slashes do not count; a parameter that a row names in
`spans` may have several; any `/<a>/<b>/reinfer_` before the
path, or the configured prefix, is taken off. (Contract: conventions, section 1.)
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, Final, Literal

Method = Literal["GET", "POST", "PUT", "DELETE", "PATCH"]


class Guard(Enum):
    """Where a route's permissions are looked for."""

    PUBLIC = "nothing is needed"
    TOKEN = "a valid token"  # noqa: S105 (a description)
    PROJECT = "all of the permissions, in the project that the path names"
    PROJECT_ANY = "one of the permissions, in the project that the path names"
    OBJECT = "all of the permissions, in the project of the thing that the path names"
    OBJECT_ANY = "one of the permissions, in the project of the thing that the path names"
    HIDDEN_OBJECT = (
        "all of the permissions, in the project of the thing, else there is no such thing"
    )
    LISTED = "only what the permissions cover is listed"
    GLOBAL = "one of the global permissions"
    HANDLER = "a rule of its own, which the handler states"
    NOBODY = "refused to every caller: clients know the operation, this server has no use for it"


@dataclass(frozen=True)
class Needs:
    """What a caller must hold."""

    guard: Guard
    permissions: tuple[str, ...] = ()
    rule: str = ""


@dataclass(frozen=True)
class Query:
    """A query parameter, for the reference and for fuzzing."""

    name: str
    kind: Literal["string", "integer", "boolean"] = "string"
    repeated: bool = False
    required: bool = False
    minimum: int | None = None
    maximum: int | None = None


@dataclass(frozen=True)
class Route:
    """One operation of the API.

    `handler` runs in a thread with a `Call`; `fast` may answer on the event loop, or return None
    to leave the request to `handler`. `body` is the struct of the request (None: no JSON body).
    """

    method: Method
    path: str
    operation: str
    area: str
    handler: Callable[[Any], Any]
    needs: Needs
    body: type | None = None
    reply: type | None = None
    query: tuple[Query, ...] = ()
    body_optional: bool = False
    checks_json: bool = False  # the handler itself checks the JSON that it passes on as text
    raw_body: str | None = None  # content type of a body that is not JSON, and waits on disk
    takes_long: bool = False  # the handler of a file may take minutes
    writes: bool | None = None
    fast: Callable[..., Any] | None = None
    reply_type: str = "application/json"
    spans: str = ""  # name of the parameter that may hold slashes
    statuses: tuple[int, ...] = field(default=())

    @property
    def is_write(self) -> bool:
        """Whether the handler writes; by its method, unless the row says otherwise."""
        return self.method != "GET" if self.writes is None else self.writes

    @property
    def parameters(self) -> tuple[str, ...]:
        """Names of the path's parameters, in order."""
        return tuple(
            part[part.index("{") + 1 : -1] for part in self.path.split("/") if part.endswith("}")
        )


class _Node:
    __slots__ = ("literal", "most", "parameter", "prefixed", "routes")

    def __init__(self) -> None:
        self.literal: dict[str, _Node] = {}
        self.prefixed: list[tuple[str, _Node]] = []  # such as `id:`
        self.parameter: _Node | None = None
        self.routes: dict[str, Route] = {}
        self.most = 1  # how many segments it takes where it is a parameter


@dataclass(frozen=True, slots=True)
class Match:
    """A path's rows by method, and the values of its parameters in order."""

    routes: dict[str, Route]
    values: tuple[str, ...]


ROOTS: Final = frozenset({"api", "auth", "docs", "healthz", "readyz", "metrics"})


_MOST_FOUND: Final = 4096
_LONGEST_KEPT: Final = 1024
_MOST_SPANNED: Final = 32


class Router:
    """Finds the row of a path."""

    def __init__(self, routes: Iterable[Route], *, prefix: str = "") -> None:
        self.routes = tuple(routes)
        self._prefix = [part for part in prefix.split("/") if part]
        self._root = _Node()
        self._found: dict[str, Match] = {}  # paths that were asked for lately
        for route in self.routes:
            self._add(route)

    def find(self, path: str) -> Match | None:
        """Return the rows of a decoded path, or None if there are none."""
        match = self._found.get(path)
        if match is None:
            match = self._search(path)
            if match is not None and len(path) <= _LONGEST_KEPT:
                if len(self._found) >= _MOST_FOUND:
                    self._found.clear()
                self._found[path] = match
        return match

    def _search(self, path: str) -> Match | None:
        if "\0" in path or not _is_text(path):
            return None  # nothing has such a name, and the databases would refuse to look for it
        parts = [part for part in path.split("/") if part]
        parts = self._without_prefix(parts)
        values: list[str] = []
        node = _descend(self._root, parts, 0, values)
        return None if node is None else Match(node.routes, tuple(values))

    def _without_prefix(self, parts: list[str]) -> list[str]:
        if parts and parts[0] in ROOTS:
            return parts
        if self._prefix and parts[: len(self._prefix)] == self._prefix:
            return parts[len(self._prefix) :]
        if len(parts) > 3 and parts[2] == "reinfer_":
            return parts[3:]
        return parts

    def _add(self, route: Route) -> None:
        node = self._root
        for part in (part for part in route.path.split("/") if part):
            node = _child(node, part)
            if route.spans and part == f"{{{route.spans}}}":
                node.most = _MOST_SPANNED
        assert route.method not in node.routes, (route.method, route.path)
        node.routes[route.method] = route


def _is_text(path: str) -> bool:
    """Tell whether a path is free of lone surrogates, as which undecodable bytes may come."""
    if path.isascii():
        return True
    try:
        path.encode()
    except UnicodeEncodeError:
        return False
    return True


def _child(node: _Node, part: str) -> _Node:
    if "{" not in part:
        return node.literal.setdefault(part, _Node())
    prefix = part[: part.index("{")]
    if not prefix:
        node.parameter = node.parameter or _Node()
        return node.parameter
    for known, child in node.prefixed:
        if known == prefix:
            return child
    child = _Node()
    node.prefixed.append((prefix, child))
    return child


def _descend(node: _Node, parts: Sequence[str], at: int, values: list[str]) -> _Node | None:
    if at == len(parts):
        return node if node.routes else None
    part = parts[at]
    child = node.literal.get(part)
    if child is not None:
        found = _descend(child, parts, at + 1, values)
        if found is not None:
            return found
    for prefix, child in node.prefixed:
        if part.startswith(prefix):
            values.append(part[len(prefix) :])
            found = _descend(child, parts, at + 1, values)
            if found is not None:
                return found
            values.pop()
    if node.parameter is not None:
        for end in range(at + 1, min(at + node.parameter.most, len(parts)) + 1):
            values.append("/".join(parts[at:end]))
            found = _descend(node.parameter, parts, end, values)
            if found is not None:
                return found
            values.pop()
    return None


def needs_project(*permissions: str) -> Needs:
    """All of the permissions, in the project that the path names."""
    return Needs(Guard.PROJECT, permissions)


def needs_project_any(*permissions: str) -> Needs:
    """One of the permissions, in the project that the path names."""
    return Needs(Guard.PROJECT_ANY, permissions)


def needs_object(*permissions: str) -> Needs:
    """All of the permissions, in the project of the thing found by id."""
    return Needs(Guard.OBJECT, permissions)


def needs_hidden_object(*permissions: str) -> Needs:
    """All of the permissions, in the project of the thing; to all others it does not exist."""
    return Needs(Guard.HIDDEN_OBJECT, permissions)


def lists_where(*permissions: str) -> Needs:
    """A valid token; only what the permissions cover is listed."""
    return Needs(Guard.LISTED, permissions)


def needs_global(*permissions: str) -> Needs:
    """One of the global permissions."""
    return Needs(Guard.GLOBAL, permissions)


def needs_rule(rule: str, *permissions: str) -> Needs:
    """A rule that the handler applies."""
    return Needs(Guard.HANDLER, permissions, rule)


PUBLIC: Final = Needs(Guard.PUBLIC)
TOKEN: Final = Needs(Guard.TOKEN)
NOBODY: Final = Needs(Guard.NOBODY)
