"""Files of rows: how they are written, what their columns mean, and the comments in them.

(Contract: sources-comments, section 4.9.)
"""

from __future__ import annotations

import codecs
import csv
import io
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from math import isfinite
from typing import Any, Final, Literal

import msgspec

from lodestream.domain.comments import CommentNew, PropertyValue
from lodestream.domain.csv_times import guess_formats, read_time
from lodestream.domain.errors import InvalidInput, Unprocessable
from lodestream.domain.ids import is_comment_id

ENCODINGS: Final = {
    "utf-8": "utf-8-sig",
    "utf-16": "utf-16",
    "utf-16-le": "utf-16-le",
    "utf-16-be": "utf-16-be",
    "utf-32": "utf-32",
    "cp1252": "cp1252",
    "latin-1": "latin-1",
}
"""Names of encodings, as they are sniffed and may be asked for, and Python's codecs."""
DELIMITERS: Final = (",", "\t", ";", "|")
SAMPLE_BYTES: Final = 1 << 20
SAMPLE_ROWS: Final = 1000
_CHUNK: Final = 1 << 20

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


@dataclass(frozen=True, slots=True)
class Row:
    """A row and the line on which it begins, from 1; `error` if it cannot be read."""

    line: int
    cells: list[str]
    error: str = ""


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
class Sniffed:
    """What a file looks like.

    `timestamp_formats` are those that read the first times best; several, if they do equally.
    """

    encoding: str
    delimiter: str
    columns: list[str]
    has_header: bool
    roles: dict[str, Role] = field(default_factory=dict)
    timestamp_formats: list[str] = field(default_factory=list)


# How it is written


_ESCAPED: Final = re.compile("[\udc80-\udcff]")
_NOT_ASCII: Final = re.compile("[^\x00-\x7f]")


def sniff_encoding(content: bytes) -> str:
    """Return the encoding of a file or of its beginning: a key of `ENCODINGS`.

    A few broken bytes in much UTF-8 do not make it anything else.
    """
    if content.startswith(codecs.BOM_UTF8):
        return "utf-8"
    if content.startswith((codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE)):
        return "utf-32"
    if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return "utf-16"
    beginning = content[:4096]
    even, odd = beginning[::2].count(0), beginning[1::2].count(0)
    if max(even, odd) * 4 > len(beginning):
        return "utf-16-be" if even > odd else "utf-16-le"
    decoder = codecs.getincrementaldecoder("utf-8")("surrogateescape")
    good = bad = 0
    for start in range(0, len(content), _CHUNK):
        chunk = content[start : start + _CHUNK]
        text = decoder.decode(chunk)
        if not text.isascii():
            broken = len(_ESCAPED.findall(text))
            bad += broken
            good += len(_NOT_ASCII.findall(text)) - broken
    if good >= 10 * bad:
        return "utf-8"
    return "latin-1" if any(one in content for one in b"\x81\x8d\x8f\x90\x9d") else "cp1252"


def sniff_delimiter(content: bytes, encoding: str) -> str:
    """Return the delimiter that divides most rows of the beginning into as many cells."""

    def score(delimiter: str) -> tuple[float, int]:
        rows = [row.cells for row in _sample(content, encoding, delimiter, 100) if not row.error]
        if not rows or len(rows[0]) < 2:
            return 0.0, 0
        same = sum(len(cells) == len(rows[0]) for cells in rows) / len(rows)
        return same, len(rows[0])

    return max(DELIMITERS, key=score)


def read_rows(content: bytes, encoding: str, delimiter: str) -> Iterator[Row]:
    """Read the rows of a file, one after the other; blank lines are none.

    Raises Unprocessable if the content is not in this encoding.
    """
    # Single bytes that are no UTF-8 come as lone surrogates: only their rows are refused.
    errors = "surrogateescape" if encoding == "utf-8" else "strict"
    text = io.TextIOWrapper(
        io.BytesIO(content), encoding=ENCODINGS[encoding], errors=errors, newline=""
    )
    reader = csv.reader(text, delimiter=delimiter)
    while True:
        line = reader.line_num + 1
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            yield Row(line, [], str(error))
            continue
        except UnicodeError:
            where = f"from line {line} on"
            raise Unprocessable(f"the file cannot be read as {encoding} {where}") from None
        if cells:
            yield Row(line, cells)


def _sample(content: bytes, encoding: str, delimiter: str, most: int) -> list[Row]:
    """Return the first rows; the end of a sample may be cut off in the middle of one."""
    is_cut = len(content) > SAMPLE_BYTES
    rows: list[Row] = []
    beginning = content[:SAMPLE_BYTES]
    if is_cut:
        beginning = _whole_characters(beginning, encoding)
    for row in read_rows(beginning, encoding, delimiter):
        rows.append(row)
        if len(rows) == most:
            return rows
    return rows[:-1] if is_cut and len(rows) > 1 else rows


def _whole_characters(beginning: bytes, encoding: str) -> bytes:
    if encoding.startswith("utf-16") or encoding == "utf-32":
        # Up to the last line feed: no half of a surrogate pair is left.
        unit = 4 if encoding == "utf-32" else 2
        beginning = beginning[: len(beginning) // unit * unit]
        zeros = b"\0" * (unit - 1)
        is_big = encoding == "utf-16-be" or beginning.startswith(
            (codecs.BOM_UTF16_BE, codecs.BOM_UTF32_BE)
        )
        mark = zeros + b"\n" if is_big else b"\n" + zeros
        at = beginning.rfind(mark)
        while at > 0 and at % unit:
            at = beginning.rfind(mark, 0, at + len(mark) - 1)
        return beginning[: at + unit] if at > 0 else beginning
    return beginning


# What columns mean


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


def sniff(content: bytes, *, encoding: str | None = None, delimiter: str | None = None) -> Sniffed:
    """Tell what a file, or its beginning, looks like. Raises Unprocessable if it has no row."""
    encoding = encoding or sniff_encoding(content)
    delimiter = delimiter or sniff_delimiter(content, encoding)
    rows = [row for row in _sample(content, encoding, delimiter, SAMPLE_ROWS + 1) if not row.error]
    if not rows:
        raise Unprocessable("the file has no rows")
    columns = [_clean(one) for one in rows[0].cells]
    values = {
        name: [row.cells[at].strip() for row in rows[1:] if len(row.cells) == len(columns)]
        for at, name in enumerate(columns)
    }
    formats = {name: guess_formats(found) for name, found in values.items()}
    roles = _roles(columns, values, formats)
    times = next((name for name, role in roles.items() if role == "timestamp"), None)
    return Sniffed(
        encoding,
        delimiter,
        columns,
        _looks_like_names(columns),
        roles,
        [] if times is None else formats[times],
    )


def _clean(name: str) -> str:
    return _ESCAPED.sub("\ufffd", name).replace("\0", "").strip()


def _looks_like_names(columns: Sequence[str]) -> bool:
    """Tell whether a first row may be a header: names are no dates, numbers or repetitions."""
    if len(set(columns)) < len(columns) or not all(columns):
        return False
    return not any(_number(one) is not None or guess_formats([one]) for one in columns)


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
    return _number(text) is not None and not re.match(r"[+-]?0\d", text)


def _number(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if isfinite(value) and "_" not in text else None


# Comments


class RowReader:
    """Makes comments of rows."""

    def __init__(self, header: Sequence[str], columns: Columns, timestamp_format: str) -> None:
        self._size = len(header)
        self._at = {name: place for place, name in enumerate(header)}
        self._columns = columns
        self._format = timestamp_format

    def comment(self, row: Row) -> CommentNew:
        """Return the comment in a row. Raises InvalidInput saying why it is none."""
        self._check(row)
        columns, of = self._columns, row.cells
        text = of[self._at[columns.message]]
        subject = self._cell(of, columns.subject)
        if not text.strip() and not subject:
            raise InvalidInput(f"column {columns.message!r} is empty")
        when = read_time(of[self._at[columns.timestamp]].strip(), self._format)
        if when is None:
            raise InvalidInput(f"column {columns.timestamp!r}: no time in format {self._format}")
        message: dict[str, Any] = {"body": {"text": text}}
        if subject:
            message["subject"] = {"text": subject}
        if sender := self._cell(of, columns.from_):
            message["from"] = sender
        for name, column in (("to", columns.to), ("cc", columns.cc)):
            people = [one.strip() for one in self._cell(of, column).split(";")]
            if found := [one for one in people if one]:
                message[name] = found
        comment: dict[str, Any] = {
            "id": of[self._at[columns.id]].strip(),
            "timestamp": when,
            "messages": [message],
            "user_properties": self._properties(of),
        }
        if thread := self._cell(of, columns.thread_id):
            comment["thread_id"] = thread
        try:
            return msgspec.convert(comment, CommentNew)
        except msgspec.ValidationError as error:
            raise InvalidInput(str(error)) from None

    def _check(self, row: Row) -> None:
        if row.error:
            raise InvalidInput(row.error)
        if len(row.cells) != self._size:
            raise InvalidInput(f"{len(row.cells)} cells, the header has {self._size}")
        for cell in row.cells:
            if "\0" in cell:
                raise InvalidInput("NUL, which no text may contain")
            if not cell.isascii() and _ESCAPED.search(cell):
                raise InvalidInput("bytes that are no UTF-8")

    def _cell(self, cells: Sequence[str], column: str | None) -> str:
        return "" if column is None else cells[self._at[column]].strip()

    def _properties(self, cells: Sequence[str]) -> dict[str, PropertyValue]:
        properties: dict[str, PropertyValue] = {}
        for name in self._columns.string_properties:
            if value := self._cell(cells, name):
                properties[f"string:{name}"] = value
        for name in self._columns.number_properties:
            if value := self._cell(cells, name):
                number = _number(value)
                if number is None:
                    raise InvalidInput(f"column {name!r}: no number")
                properties[f"number:{name}"] = int(number) if value.isdigit() else number
        return properties
