"""Uploaded files: a form's part named `file`, or the bare body."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from python_multipart import MultipartParser
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import parse_options_header

from lodestream.api.http import Request
from lodestream.domain.errors import InvalidInput

FILE_PART: Final = b"file"
_MOST_PARTS: Final = 64


@dataclass(frozen=True, slots=True)
class Upload:
    """An uploaded file and the media type that the client gave it."""

    content: bytes
    content_type: str


def uploaded_file(request: Request) -> Upload:
    """Return the file in a request's body.

    Raises InvalidInput if the body is a broken form, or one without a part named `file`.
    """
    kind, options = parse_options_header(request.headers.get(b"content-type", b""))
    if kind.lower() != b"multipart/form-data":
        return Upload(request.body, kind.decode("latin-1") or "application/octet-stream")
    boundary = options.get(b"boundary")
    if not boundary:
        raise InvalidInput("the form has no boundary in its Content-Type header")
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
    raise InvalidInput("the form has no part named 'file'")


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


def _parse(body: bytes, boundary: bytes) -> list[_Part]:
    gathered = _Parts()
    parser = MultipartParser(
        boundary,
        {
            "on_part_begin": gathered.begin,
            "on_header_field": gathered.header_name,
            "on_header_value": gathered.header_value,
            "on_header_end": gathered.header_end,
            "on_part_data": gathered.data,
            "on_end": gathered.end,
        },
    )
    parser.write(body)
    parser.finalize()
    if not gathered.is_complete:
        raise FormParserError("it ends too early")
    return gathered.parts
