"""Uploaded files: a form's part named `file`, or the bare body."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, BinaryIO, Final, cast

from python_multipart import MultipartParser
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import parse_options_header

from lodestream.api.http import Request
from lodestream.domain.errors import InvalidInput

FILE_PART: Final = b"file"
_MOST_PARTS: Final = 64
_CHUNK: Final = 1 << 20
_NO_FILE: Final = "the form has no part named 'file'"


@dataclass(frozen=True, slots=True)
class Upload:
    """An uploaded file and the media type that the client gave it."""

    content: bytes
    content_type: str


def uploaded_file(request: Request) -> Upload:
    """Return the file in a request's body.

    Raises InvalidInput if the body is a broken form, or one without a part named `file`.
    """
    boundary = _boundary(request)
    if boundary is None:
        kind, _ = parse_options_header(request.headers.get(b"content-type", b""))
        return Upload(request.body, kind.decode("latin-1") or "application/octet-stream")
    try:
        found = _parse(request.body, boundary)
    except FormParserError as error:
        raise InvalidInput(f"the form cannot be read: {error}") from None
    for part in found:
        _, disposition = parse_options_header(part.headers.get(b"content-disposition", b""))
        if disposition.get(b"name") == FILE_PART:
            kind, _ = parse_options_header(part.headers.get(b"content-type", b""))
            content_type = kind.decode("latin-1") or "application/octet-stream"
            return Upload(b"".join(part.content), content_type)
    raise InvalidInput(_NO_FILE)


@contextlib.contextmanager
def spooled_file(request: Request) -> Iterator[BinaryIO]:
    """Give the file in a body that waits on disk, for as long as the context lasts.

    It is the bare body, or the part named `file` of a form, which is copied to a file of its own.
    Raises InvalidInput as `uploaded_file`.
    """
    body = request.spool
    assert body is not None
    boundary = _boundary(request)
    if boundary is None:
        yield body
        return
    with tempfile.SpooledTemporaryFile(_CHUNK) as spool:
        target = cast("BinaryIO", spool)
        parts = _FilePart(target)
        try:
            parser = MultipartParser(boundary, parts.callbacks())
            while chunk := body.read(_CHUNK):
                parser.write(chunk)
            parser.finalize()
        except FormParserError as error:
            raise InvalidInput(f"the form cannot be read: {error}") from None
        if not parts.is_complete:
            raise InvalidInput("the form cannot be read: it ends too early")
        if not parts.is_found:
            raise InvalidInput(_NO_FILE)
        target.seek(0)
        yield target


def _boundary(request: Request) -> bytes | None:
    """Return what divides the parts of a form; None if the body is no form."""
    kind, options = parse_options_header(request.headers.get(b"content-type", b""))
    if kind.lower() != b"multipart/form-data":
        return None
    boundary = options.get(b"boundary")
    if not boundary:
        raise InvalidInput("the form has no boundary in its Content-Type header")
    return boundary


@dataclass
class _Part:
    headers: dict[bytes, bytes] = field(default_factory=dict)
    content: list[bytes] = field(default_factory=list)


class _Parts:
    """Gathers the parts of a form as the parser meets them."""

    def __init__(self) -> None:
        self.parts: list[_Part] = []
        self.is_complete = False
        self._name = b""
        self._value = b""

    def begin(self) -> None:
        if len(self.parts) == _MOST_PARTS:
            raise FormParserError(f"it has more than {_MOST_PARTS} parts")
        self.parts.append(_Part())

    def header_name(self, data: bytes, start: int, end: int) -> None:
        self._name += data[start:end]

    def header_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def header_end(self) -> None:
        self.parts[-1].headers[self._name.lower()] = self._value.strip()
        self._name = self._value = b""

    def data(self, data: bytes, start: int, end: int) -> None:
        self.parts[-1].content.append(data[start:end])

    def end(self) -> None:
        self.is_complete = True

    def callbacks(self) -> Any:
        """Return what the parser is to call."""
        return {
            "on_part_begin": self.begin,
            "on_header_field": self.header_name,
            "on_header_value": self.header_value,
            "on_header_end": self.header_end,
            "on_part_data": self.data,
            "on_end": self.end,
        }


class _FilePart(_Parts):
    """Writes the first part named `file` to a file, and drops the others."""

    def __init__(self, target: BinaryIO) -> None:
        super().__init__()
        self._target = target
        self._into: int | None = None

    @property
    def is_found(self) -> bool:
        """Tell whether the part was there."""
        return self._into is not None

    def header_end(self) -> None:
        super().header_end()
        disposition = self.parts[-1].headers.get(b"content-disposition", b"")
        if self._into is None and parse_options_header(disposition)[1].get(b"name") == FILE_PART:
            self._into = len(self.parts)

    def data(self, data: bytes, start: int, end: int) -> None:
        if self._into == len(self.parts):
            self._target.write(data[start:end])


def _parse(body: bytes, boundary: bytes) -> list[_Part]:
    gathered = _Parts()
    parser = MultipartParser(boundary, gathered.callbacks())
    parser.write(body)
    parser.finalize()
    if not gathered.is_complete:
        raise FormParserError("it ends too early")
    return gathered.parts
