"""What the columns of a file of rows mean.

(Contract: sources-comments, section 4.9.)
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from math import isfinite
from typing import Final, Literal

from lodestream.domain.errors import Unprocessable
from lodestream.domain.ids import is_comment_id
from lodestream.formats.delimited import ESCAPED, Row
from lodestream.formats.times import guess_formats

Role = Literal[
    "id",
    "timestamp",
    "message",
    "subject",
    "from",
    "to",
    "cc",
    "thread_id",
    "string_property",
    "number_property",
]


SINGLE: Final = ("id", "timestamp", "message", "subject", "from", "to", "cc", "thread_id")
"""The roles that one column has; the first three are required."""


@dataclass(frozen=True, slots=True)
class Columns:
    """Which column is what, by name."""

    id: str
    timestamp: str
    message: str
    subject: str | None = None
    from_: str | None = None
    to: str | None = None
    cc: str | None = None
    thread_id: str | None = None
    string_properties: tuple[str, ...] = ()
    number_properties: tuple[str, ...] = ()

    def named(self) -> list[str]:
        """Return every column that is used."""
        single = (self.subject, self.from_, self.to, self.cc, self.thread_id)
        return [
            self.id,
            self.timestamp,
            self.message,
            *(one for one in single if one is not None),
            *self.string_properties,
            *self.number_properties,
        ]


@dataclass(frozen=True, slots=True)
class Guess:
    """What the columns of a file seem to be, by its first rows.

    `timestamp_formats` are those that read the first times best; several, if they do equally.
    """

    columns: list[str]
    has_header: bool
    roles: dict[str, Role] = field(default_factory=dict)
    timestamp_formats: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a caller says of a file's columns; None and nothing: let it be guessed.

    `single` maps roles to column names. If any column is named, columns that are not are left out,
    but for the three that are required.
    """

    timestamp_format: str | None = None
    single: dict[str, str] = field(default_factory=dict)
    string_properties: tuple[str, ...] = ()
    number_properties: tuple[str, ...] = ()


_NAMES: Final[dict[Role, tuple[str, ...]]] = {
    "id": ("id", "comment id", "message id", "uid", "unique id", "uuid", "ticket id", "case id",
           "record id", "response id", "review id", "ticket", "case number", "number", "key"),
    "timestamp": ("timestamp", "date", "datetime", "date time", "time", "created at", "created",
                  "creation date", "created date", "sent at", "sent", "received at", "received",
                  "submitted at", "opened at", "review date", "response date"),
    "message": ("message", "text", "body", "comment", "verbatim", "content", "description",
                "feedback", "review", "review text", "response", "answer", "message text",
                "comment text", "comments"),
    "subject": ("subject", "title", "headline"),
    "from": ("from", "sender", "author", "email", "e mail", "from address"),
    "to": ("to", "recipient", "recipients", "to address"),
    "cc": ("cc",),
    "thread_id": ("thread id", "thread", "conversation id", "conversation"),
}  # fmt: skip
_SEPARATORS: Final = re.compile(r"[\s_\-.:]+")


def guess_columns(rows: Sequence[Row]) -> Guess:
    """Tell what the columns of a file are by its first rows. Raises Unprocessable without any."""
    sound = [row for row in rows if not row.error]
    if not sound:
        raise Unprocessable("the file has no rows")
    columns = [_clean(one) for one in sound[0].cells]
    values = {
        name: [row.cells[at].strip() for row in sound[1:] if len(row.cells) == len(columns)]
        for at, name in enumerate(columns)
    }
    formats = {name: guess_formats(found) for name, found in values.items()}
    roles = _roles(columns, values, formats)
    times = next((name for name, role in roles.items() if role == "timestamp"), None)
    return Guess(
        columns, _looks_like_names(columns), roles, [] if times is None else formats[times]
    )


def choose_columns(found: Guess, wanted: Wanted) -> Columns:
    """Return what each column is, as wanted and else as guessed.

    Raises Unprocessable if there is no header, or a column that is named or needed is not there.
    """
    if len(set(found.columns)) < len(found.columns):
        raise Unprocessable("the first row must be a header: names of columns are repeated")
    named = (*wanted.single.values(), *wanted.string_properties, *wanted.number_properties)
    for one in named:
        if one not in found.columns:
            raise Unprocessable(f"the file has no column {one!r}; it has {found.columns}")
    guessed = {
        role: name for name, role in found.roles.items() if role in SINGLE and name not in named
    }
    single = dict(wanted.single)
    for role in SINGLE[:3] if named else SINGLE:
        if role in guessed:
            single.setdefault(role, guessed[role])
    for role in SINGLE[:3]:
        if role not in single:
            raise Unprocessable(f"no column is the {role}; name it: {role}=<column>")
    strings, numbers = wanted.string_properties, wanted.number_properties
    if not named:
        strings = tuple(n for n, role in found.roles.items() if role == "string_property")
        numbers = tuple(n for n, role in found.roles.items() if role == "number_property")
    return Columns(
        id=single["id"],
        timestamp=single["timestamp"],
        message=single["message"],
        subject=single.get("subject"),
        from_=single.get("from"),
        to=single.get("to"),
        cc=single.get("cc"),
        thread_id=single.get("thread_id"),
        string_properties=strings,
        number_properties=numbers,
    )


def _clean(name: str) -> str:
    return ESCAPED.sub("\ufffd", name).replace("\0", "").strip()


def _looks_like_names(columns: Sequence[str]) -> bool:
    """Tell whether a first row may be a header: names are no dates, numbers or repetitions."""
    if len(set(columns)) < len(columns) or not all(columns):
        return False
    return not any(number_in(one) is not None or guess_formats([one]) for one in columns)


def _roles(
    columns: Sequence[str], values: dict[str, list[str]], formats: dict[str, list[str]]
) -> dict[str, Role]:
    by_name = {_SEPARATORS.sub(" ", name).strip().lower(): name for name in reversed(columns)}
    roles: dict[str, Role] = {}
    for role, synonyms in _NAMES.items():
        for synonym in synonyms:
            name = by_name.get(synonym)
            if name is not None and name not in roles:
                # A column named like a time in which no times are is none.
                if role == "timestamp" and any(values[name]) and not formats[name]:
                    continue
                roles[name] = role
                break
    _guess_by_values(columns, values, formats, roles)
    for name in columns:
        if name and name not in roles:
            found = [one for one in values[name] if one]
            is_number = bool(found) and all(_is_plain_number(one) for one in found)
            roles[name] = "number_property" if is_number else "string_property"
    return roles


def _guess_by_values(
    columns: Sequence[str],
    values: dict[str, list[str]],
    formats: dict[str, list[str]],
    roles: dict[str, Role],
) -> None:
    def free() -> list[str]:
        return [name for name in columns if name and name not in roles]

    if "timestamp" not in roles.values():
        dated = [name for name in free() if formats[name]]
        if dated:
            roles[dated[0]] = "timestamp"
    if "message" not in roles.values():
        lengths = {name: sum(map(len, values[name])) for name in free()}
        longest = max(lengths, key=lambda name: lengths[name], default=None)
        if longest is not None and any(" " in one for one in values[longest]):
            roles[longest] = "message"
    if "id" not in roles.values():
        for name in free():
            found = values[name]
            if found and len(set(found)) == len(found) and all(map(is_comment_id, found)):
                roles[name] = "id"
                break


def _is_plain_number(text: str) -> bool:
    # Digits with zeros in front are a code, not an amount.
    return number_in(text) is not None and not re.match(r"[+-]?0\d", text)


def number_in(text: str) -> float | None:
    """Return the number that a text is, or None."""
    try:
        value = float(text)
    except ValueError:
        return None
    return value if isfinite(value) and "_" not in text else None
