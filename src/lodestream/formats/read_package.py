"""Archives of the vendor's `re package download`: datasets with all that belongs to them.

datasets/<id>.dataset.json            a dataset: its label groups, fields and settings
sources/<id>.source.json              a source
buckets/<id>.buckets.json             a bucket
comments/<source id>.<n>.comments.json  JSON lines: annotated comments
emails/<bucket id>.<n>.emails.json      JSON lines: e-mails
"""

from __future__ import annotations

import json
import re
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from lodestream.domain.errors import Unprocessable
from lodestream.formats.found import Bad, FoundComment
from lodestream.formats.read_json import LONGEST_LINE, read_line

_MEMBER: Final = re.compile(
    r"(?:.*/)?(datasets|sources|buckets|comments|emails|documents)/([^/]+?)\."
    r"(?:(\d+)\.)?(dataset|source|buckets?|comments|emails|document)(?:\.[^/]*)?"
)
_LARGEST_DEFINITION: Final = 64 << 20


class Package:
    """An open archive; nothing of it is unpacked to disk."""

    def __init__(self, path: Path) -> None:
        """Read its table of contents. Raises Unprocessable if it is no such archive."""
        try:
            self._zip = zipfile.ZipFile(path)
        except (zipfile.BadZipFile, OSError) as error:
            raise Unprocessable(f"the archive cannot be read: {error}") from None
        self._members: dict[str, list[tuple[str, int, zipfile.ZipInfo]]] = {}
        self.unknown: list[str] = []
        for info in self._zip.infolist():
            match = _MEMBER.fullmatch(info.filename)
            if match is not None:
                member = (match[2], int(match[3] or 0), info)
                self._members.setdefault(match[1], []).append(member)
            elif not info.is_dir():
                self.unknown.append(info.filename)
        if "datasets" not in self._members and "sources" not in self._members:
            self.close()
            raise Unprocessable("the archive has neither datasets nor sources: it is no package")

    def close(self) -> None:
        """Close the file."""
        self._zip.close()

    def definitions(self, kind: str) -> dict[str, dict[str, Any]]:
        """Return the datasets, sources or buckets, by their ids where they come from.

        Raises Unprocessable if one cannot be read.
        """
        found: dict[str, dict[str, Any]] = {}
        for name, _, info in self._members.get(kind, []):
            if info.file_size > _LARGEST_DEFINITION:
                raise Unprocessable(f"{info.filename} is too large")
            try:
                value = json.loads(self._zip.read(info))
            except (ValueError, RecursionError, *_BROKEN) as error:
                raise Unprocessable(f"{info.filename} cannot be read: {error}") from None
            # The object itself, or inside of its name as in an answer of the API.
            value = value.get(kind[:-1], value) if isinstance(value, dict) else value
            if not isinstance(value, dict):
                raise Unprocessable(f"{info.filename}: a JSON object expected")
            found[str(value.get("id") or name)] = value
        return found

    def size_bytes(self, kind: str) -> int:
        """Return how many bytes the comments or e-mails have, unpacked."""
        return sum(info.file_size for _, _, info in self._members.get(kind, []))

    def documents(self) -> int:
        """Return how many files of documents there are, which are not read."""
        return len(self._members.get("documents", []))

    def comments(self, source_id: str) -> Iterator[FoundComment | Bad]:
        """Read the comments of a source, with what people said of them."""
        for where, line in self._lines("comments", source_id):
            yield line if isinstance(line, Bad) else read_line(line, where)

    def emails(self, bucket_id: str) -> Iterator[tuple[str, dict[str, Any], int] | Bad]:
        """Read the e-mails of a bucket, as the API has them, each with its place and size."""
        for where, line in self._lines("emails", bucket_id):
            if isinstance(line, Bad):
                yield line
                continue
            try:
                value = json.loads(line)
            except (ValueError, RecursionError):
                value = None
            if isinstance(value, dict):
                yield where, value, len(line)
            else:
                yield Bad(where, "a JSON object expected", line, len(line))

    def _lines(self, kind: str, owner: str) -> Iterator[tuple[str, bytes | Bad]]:
        members = [one for one in self._members.get(kind, []) if one[0] == owner]
        for _, _, info in sorted(members, key=lambda one: one[1]):
            number = 0
            try:
                with self._zip.open(info) as file:
                    while line := file.readline(LONGEST_LINE + 1):
                        number += 1
                        where = f"{info.filename} line {number}"
                        if len(line) > LONGEST_LINE:
                            yield where, Bad(where, f"longer than {LONGEST_LINE} bytes")
                            break
                        if line.strip():
                            yield where, line
            except _BROKEN as error:
                where = f"{info.filename} line {number + 1}"
                yield where, Bad(where, f"the archive is broken: {error}")


_BROKEN: Final = (zipfile.BadZipFile, zlib.error, EOFError, OSError, NotImplementedError)
