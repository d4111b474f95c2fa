"""Uploaded files: a form's part named `file`, or the bare body."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Final, cast

from python_multipart import MultipartParser
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import parse_options_header

from lodestream.api.http import Request
from lodestream.domain.errors import InvalidInput

FILE_PART: Final = b"file"
_MOST_PARTS: Final = 64
_CHUNK: Final = 1 << 18
_IN_MEMORY: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class Upload:
    """An uploaded file and the media type that the client gave it."""

    file: BinaryIO
    content_type: str

    def chunks(self) -> Iterator[bytes]:
        """Yield the content from its beginning on, in pieces."""
        self.file.seek(0)
        while chunk := self.file.read(_CHUNK):
            yield chunk


@contextlib.contextmanager
def uploaded_file(request: Request, folder: Path | None) -> Iterator[Upload]:
    """Give the file in a body that waits on disk, for as long as the context lasts.

    It is the bare body, or the part named `file` of a form, which is copied to a file of its own
    in `folder`. Raises InvalidInput if the body is a broken form, or one without such a part.
    """
    body = request.spool
    assert body is not None
    boundary = _boundary(request)
    if boundary is None:
        yield Upload(body, _content_type(request.headers))
        return
    with spool_file(folder) as target:
        part = _FilePart(target)
        try:
            parser = MultipartParser(boundary, part.callbacks())
            while chunk := body.read(_CHUNK):
                parser.write(chunk)
            parser.finalize()
        except FormParserError as error:
            raise InvalidInput(f"the form cannot be read: {error}") from None
        if not part.is_complete:
            raise InvalidInput("the form cannot be read: it ends too early")
        if part.content_type is None:
            raise InvalidInput("the form has no part named 'file'")
        target.seek(0)
        yield Upload(target, part.content_type)


def spool_file(folder: Path | None) -> BinaryIO:
    """Return a file without a name, in memory while it is small, that is gone when closed."""
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
    where = None if folder is None else str(folder)
    return cast("BinaryIO", tempfile.SpooledTemporaryFile(_IN_MEMORY, dir=where))


def _content_type(headers: Mapping[bytes, bytes]) -> str:
    kind, _ = parse_options_header(headers.get(b"content-type", b""))
    return kind.decode("latin-1") or "application/octet-stream"


def _boundary(request: Request) -> bytes | None:
    """Return what divides the parts of a form; None if the body is no form."""
    kind, options = parse_options_header(request.headers.get(b"content-type", b""))
    if kind.lower() != b"multipart/form-data":
        return None
    boundary = options.get(b"boundary")
    if not boundary:
        raise InvalidInput("the form has no boundary in its Content-Type header")
    return boundary


class _FilePart:
    """Writes the first part named `file` to a file, and drops the others."""

    def __init__(self, target: BinaryIO) -> None:
        self.content_type: str | None = None  # of the file, once it is found
        self.is_complete = False
        self._target = target
        self._is_file = False  # whether the part that is read is the file
        self._parts = 0
        self._headers: dict[bytes, bytes] = {}
        self._name = b""
        self._value = b""

    def callbacks(self) -> Any:
        """Return what the parser is to call."""
        return {
            "on_part_begin": self._begin,
            "on_header_field": self._header_name,
            "on_header_value": self._header_value,
            "on_header_end": self._header_end,
            "on_headers_finished": self._headers_end,
            "on_part_data": self._data,
            "on_end": self._end,
        }

    def _begin(self) -> None:
        if self._parts == _MOST_PARTS:
            raise FormParserError(f"it has more than {_MOST_PARTS} parts")
        self._parts += 1
        self._is_file = False
        self._headers = {}

    def _header_name(self, data: bytes, start: int, end: int) -> None:
        self._name += data[start:end]

    def _header_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def _header_end(self) -> None:
        self._headers[self._name.lower()] = self._value.strip()
        self._name = self._value = b""

    def _headers_end(self) -> None:
        _, disposition = parse_options_header(self._headers.get(b"content-disposition", b""))
        if self.content_type is None and disposition.get(b"name") == FILE_PART:
            self.content_type = _content_type(self._headers)
            self._is_file = True

    def _data(self, data: bytes, start: int, end: int) -> None:
        if self._is_file:
            self._target.write(memoryview(data)[start:end])

    def _end(self) -> None:
        self.is_complete = True
