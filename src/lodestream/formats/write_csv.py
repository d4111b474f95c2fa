"""CSV as RFC 4180 has it: commas, quotes where they are needed, lines that end with CR LF."""

from __future__ import annotations

import codecs
import csv
import io
from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from lodestream.formats.written import Column, Part, Value

_FORMULA: Final = ("=", "+", "-", "@", "\t", "\r", "\n")


def csv_parts(
    columns: Sequence[Column],
    parts: Iterable[Part],
    *,
    delimiter: str = ",",
    bom: bool = False,
    escape_formulas: bool = False,
) -> Iterator[bytes]:
    """Return a table as CSV in UTF-8, a header first, bytes for each part.

    True and false are `true` and `false`, empty cells nothing. `bom` begins the file with the mark
    by which Excel knows UTF-8. `escape_formulas` puts an apostrophe before texts that a program
    for spreadsheets might take for a formula; such a file does not read back as it was.
    """
    escaped = [one.kind == "text" and escape_formulas for one in columns]
    boolean = [one.kind == "boolean" for one in columns]
    names: list[Value] = [one.name for one in columns]
    header = [_without_formulas(names)] if escape_formulas else [names]
    yield (codecs.BOM_UTF8 if bom else b"") + _lines(header, delimiter)
    for part in parts:
        ready = [
            _without_formulas(values) if texts else _words(values) if flags else values
            for values, texts, flags in zip(part, escaped, boolean, strict=True)
        ]
        yield _lines(zip(*ready, strict=True), delimiter)


def _without_formulas(values: Sequence[Value]) -> list[Value]:
    return [f"'{v}" if isinstance(v, str) and v.startswith(_FORMULA) else v for v in values]


def _words(values: Sequence[Value]) -> list[Value]:
    return [None if v is None else "true" if v else "false" for v in values]


def _lines(rows: Iterable[Sequence[Value]], delimiter: str) -> bytes:
    text = io.StringIO(newline="")
    csv.writer(text, delimiter=delimiter, lineterminator="\r\n").writerows(rows)
    return text.getvalue().encode()
