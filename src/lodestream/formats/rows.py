"""The comments in rows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from msgspec import UNSET

from lodestream.domain.comments import CommentNew, Message, PropertyValue, RichText, Text
from lodestream.domain.errors import InvalidInput
from lodestream.formats.columns import Columns, number_in
from lodestream.formats.delimited import ESCAPED, Row
from lodestream.formats.times import read_time

_MOST_TEXT: Final = 65_536
_MOST_THREAD: Final = 1024
_MOST_NAME: Final = 512
_MOST_PEOPLE: Final = 2048


class RowReader:
    """Makes comments of rows, one thread at a time.

    What it makes is not checked again by a schema: that would take as long as all else together.
    """

    def __init__(self, header: Sequence[str], columns: Columns, timestamp_format: str) -> None:
        at = {name: place for place, name in enumerate(header)}
        self._size = len(header)
        self._columns = columns
        self._format = timestamp_format
        self._id, self._time, self._text = (
            at[columns.id],
            at[columns.timestamp],
            at[columns.message],
        )
        self._subject = _place(at, columns.subject)
        self._from = _place(at, columns.from_)
        self._people = [
            (name, at[column])
            for name, column in (("to", columns.to), ("cc", columns.cc))
            if column is not None
        ]
        self._thread = _place(at, columns.thread_id)
        self._strings = [(f"string:{name}", at[name]) for name in columns.string_properties]
        self._numbers = [(f"number:{name}", at[name], name) for name in columns.number_properties]

    def comment(self, row: Row) -> CommentNew:
        """Return the comment in a row. Raises InvalidInput saying why it is none."""
        if row.error:
            raise InvalidInput(row.error)
        cells = row.cells
        if len(cells) != self._size:
            raise InvalidInput(f"{len(cells)} cells, the header has {self._size}")
        self._check_characters(cells)
        text = cells[self._text]
        subject = "" if self._subject is None else cells[self._subject].strip()
        if not subject and (not text or text.isspace()):
            raise InvalidInput(f"column {self._columns.message!r} is empty")
        when = read_time(cells[self._time].strip(), self._format)
        if when is None:
            where = f"column {self._columns.timestamp!r}"
            raise InvalidInput(f"{where}: no time in format {self._format}")
        _require(self._columns.message, text, _MOST_TEXT)
        message = Message(RichText(text))
        if subject:
            _require(str(self._columns.subject), subject, _MOST_TEXT)
            message.subject = Text(subject)
        self._add_people(message, cells)
        thread = "" if self._thread is None else cells[self._thread].strip()
        _require(str(self._columns.thread_id), thread, _MOST_THREAD)
        return CommentNew(
            cells[self._id].strip(),
            when,
            [message],
            self._properties(cells),
            thread_id=thread or UNSET,
        )

    @staticmethod
    def _check_characters(cells: Sequence[str]) -> None:
        joined = "".join(cells)
        if "\0" in joined:
            raise InvalidInput("NUL, which no text may contain")
        if not joined.isascii() and ESCAPED.search(joined):
            raise InvalidInput("bytes that are no UTF-8")

    def _add_people(self, message: Message, cells: Sequence[str]) -> None:
        if self._from is not None and (sender := cells[self._from].strip()):
            _require(str(self._columns.from_), sender, _MOST_NAME)
            message.from_ = sender
        for name, at in self._people:
            people = [one for part in cells[at].split(";") if (one := part.strip())]
            if len(people) > _MOST_PEOPLE:
                raise InvalidInput(f"column of {name!r}: more than {_MOST_PEOPLE} people")
            for one in people:
                _require(name, one, _MOST_NAME)
            if people:
                setattr(message, name, people)

    def _properties(self, cells: Sequence[str]) -> dict[str, PropertyValue]:
        properties: dict[str, PropertyValue] = {}
        for key, at in self._strings:
            if value := cells[at].strip():
                properties[key] = value
        for key, at, name in self._numbers:
            if value := cells[at].strip():
                number = number_in(value)
                if number is None:
                    raise InvalidInput(f"column {name!r}: no number")
                is_whole = value.isascii() and value.isdigit()
                properties[key] = int(value) if is_whole else number
        return properties


def _place(at: dict[str, int], column: str | None) -> int | None:
    return None if column is None else at[column]


def _require(column: str, text: str, most: int) -> None:
    if len(text) > most:
        raise InvalidInput(f"column {column!r}: more than {most} characters")
