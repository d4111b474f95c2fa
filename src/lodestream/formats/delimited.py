"""Files of rows: their encoding, their delimiter, and their rows one after the other.

(Contract: sources-comments, section 4.9.)
"""

from __future__ import annotations

import codecs
import csv
import io
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO, Final

from lodestream.domain.errors import Unprocessable

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
ESCAPED: Final = re.compile("[\udc80-\udcff]")
"""What single bytes that are no UTF-8 are read as."""
_CHUNK: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class Row:
    """A row and the line on which it begins, from 1; `error` if it cannot be read."""

    line: int
    cells: list[str]
    error: str = ""


def sniff_encoding(file: BinaryIO) -> str:
    """Return the encoding of a file or of its beginning: a key of `ENCODINGS`.

    A few broken bytes in much UTF-8 do not make it anything else. The file is read to its end, a
    piece at a time: what is not ASCII may come late.
    """
    file.seek(0)
    beginning = file.read(4096)
    if beginning.startswith(codecs.BOM_UTF8):
        return "utf-8"
    if beginning.startswith((codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE)):
        return "utf-32"
    if beginning.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return "utf-16"
    even, odd = beginning[::2].count(0), beginning[1::2].count(0)
    if max(even, odd) * 4 > len(beginning):
        return "utf-16-be" if even > odd else "utf-16-le"
    file.seek(0)
    decoder = codecs.getincrementaldecoder("utf-8")("surrogateescape")
    good = bad = 0
    has_latin_controls = False
    while chunk := file.read(_CHUNK):
        text = decoder.decode(chunk)
        if not text.isascii():
            broken = _count_broken(text)
            bad += broken
            good += len(text) - len(text.encode("ascii", "ignore")) - broken
            if not has_latin_controls:
                has_latin_controls = any(one in chunk for one in b"\x81\x8d\x8f\x90\x9d")
    if good >= 10 * bad:
        return "utf-8"
    return "latin-1" if has_latin_controls else "cp1252"


def _count_broken(text: str) -> int:
    try:
        text.encode()
    except UnicodeEncodeError:
        return len(ESCAPED.findall(text))
    return 0


def sniff_delimiter(file: BinaryIO, encoding: str) -> str:
    """Return the delimiter that divides most rows of the beginning into as many cells."""

    def score(delimiter: str) -> tuple[float, int]:
        rows = [row.cells for row in sample(file, encoding, delimiter, 100) if not row.error]
        if not rows or len(rows[0]) < 2:
            return 0.0, 0
        same = sum(len(cells) == len(rows[0]) for cells in rows) / len(rows)
        return same, len(rows[0])

    return max(DELIMITERS, key=score)


def read_rows(file: BinaryIO, encoding: str, delimiter: str) -> Iterator[Row]:
    """Read the rows of a file from its beginning, one after the other; blank lines are none.

    The file stays open, and is read by nobody else meanwhile. Raises Unprocessable if the content
    is not in this encoding.
    """
    # Single bytes that are no UTF-8 come as lone surrogates: only their rows are refused.
    errors = "surrogateescape" if encoding == "utf-8" else "strict"
    file.seek(0)
    text = io.TextIOWrapper(file, encoding=ENCODINGS[encoding], errors=errors, newline="")
    try:
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
    finally:
        # Else the wrapper would close the file that it was only lent. One that its owner has closed
        # already, because reading ended with an error, needs nothing.
        if not file.closed:
            text.detach()


def sample(file: BinaryIO, encoding: str, delimiter: str, most: int) -> list[Row]:
    """Return the first rows; the end of a sample may be cut off in the middle of one."""
    file.seek(0)
    beginning = file.read(SAMPLE_BYTES + 1)
    is_cut = len(beginning) > SAMPLE_BYTES
    rows: list[Row] = []
    if is_cut:
        beginning = _whole_characters(beginning[:SAMPLE_BYTES], encoding)
    for row in read_rows(io.BytesIO(beginning), encoding, delimiter):
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
