"""Excel workbooks (Office Open XML), written row after row without ever being held.

Texts are written as texts, never as formulas, numbers or links, whatever they look like. They stand
in their cells and not in the table of shared texts, which would have to be kept to the end.
(Standard: ECMA-376, part 1, section 18.)
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime, timedelta
from typing import Final

from lodestream.formats.written import Column, Part, Value
from lodestream.formats.zip_stream import ZipStream

ROWS_IN_SHEET: Final = 1_048_576
MOST_COLUMNS: Final = 16_384
LONGEST_TEXT: Final = 32_767
"""What Excel takes; the longest text is counted in units of UTF-16."""

CUT: Final = " […]"
"""Ends a text that was longer."""

_BYTES_IN_SHEET: Final = 3 << 30
_XML: Final = '<?xml version="1.0" encoding="UTF-8" standalone="yes"?>\n'
_MAIN: Final = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
_RELATIONS: Final = "http://schemas.openxmlformats.org/package/2006/relationships"
_DOCUMENT: Final = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
_TYPE: Final = "application/vnd.openxmlformats-officedocument.spreadsheetml"

# Every sheet is of the default type, so that the list of types can be written before the sheets.
_CONTENT_TYPES: Final = (
    f'{_XML}<Types xmlns="http://schemas.openxmlformats.org/package/2006/content-types">'
    '<Default Extension="rels" '
    'ContentType="application/vnd.openxmlformats-package.relationships+xml"/>'
    f'<Default Extension="xml" ContentType="{_TYPE}.worksheet+xml"/>'
    f'<Override PartName="/xl/workbook.xml" ContentType="{_TYPE}.sheet.main+xml"/>'
    f'<Override PartName="/xl/styles.xml" ContentType="{_TYPE}.styles+xml"/></Types>'
)
_ROOT: Final = (
    f'{_XML}<Relationships xmlns="{_RELATIONS}"><Relationship Id="rId1" '
    f'Type="{_DOCUMENT}/officeDocument" Target="xl/workbook.xml"/></Relationships>'
)
# Cell formats by number: 0 plain, 1 bold, 2 a time.
_STYLES: Final = (
    f'{_XML}<styleSheet xmlns="{_MAIN}">'
    '<numFmts count="1"><numFmt numFmtId="164" formatCode="yyyy\\-mm\\-dd\\ hh:mm:ss"/></numFmts>'
    '<fonts count="2"><font><sz val="11"/><name val="Calibri"/></font>'
    '<font><b/><sz val="11"/><name val="Calibri"/></font></fonts>'
    '<fills count="2"><fill><patternFill patternType="none"/></fill>'
    '<fill><patternFill patternType="gray125"/></fill></fills>'
    '<borders count="1"><border><left/><right/><top/><bottom/><diagonal/></border></borders>'
    '<cellStyleXfs count="1"><xf numFmtId="0" fontId="0" fillId="0" borderId="0"/></cellStyleXfs>'
    '<cellXfs count="3"><xf numFmtId="0" fontId="0" fillId="0" borderId="0" xfId="0"/>'
    '<xf numFmtId="0" fontId="1" fillId="0" borderId="0" xfId="0" applyFont="1"/>'
    '<xf numFmtId="164" fontId="0" fillId="0" borderId="0" xfId="0" applyNumberFormat="1"/>'
    "</cellXfs></styleSheet>"
)
_SHEET: Final = (
    f'{_XML}<worksheet xmlns="{_MAIN}"><sheetViews><sheetView workbookViewId="0">'
    '<pane ySplit="1" topLeftCell="A2" activePane="bottomLeft" state="frozen"/>'
    "</sheetView></sheetViews><sheetData>"
)
_SHEET_END: Final = b"</sheetData></worksheet>"


def excel_parts(
    columns: Sequence[Column],
    parts: Iterable[Part],
    *,
    title: str,
    rows_in_sheet: int = ROWS_IN_SHEET,
) -> Iterator[bytes]:
    """Return a table as a workbook, bytes for each part.

    When a sheet is full another begins, with the header again. Times are Excel's own, in UTC; those
    before 1901, which it does not know, are texts. Longer texts are cut: see `CUT`.
    Raises ArchiveTooLarge if the file becomes larger than Excel can read.
    """
    archive = ZipStream()
    letters = [letters_of(number) for number in range(len(columns))]
    yield b"".join(
        (
            archive.add("[Content_Types].xml", _CONTENT_TYPES.encode()),
            archive.add("_rels/.rels", _ROOT.encode()),
            archive.add("xl/styles.xml", _STYLES.encode()),
        )
    )
    sheets, row, size = 1, 1, 0
    yield _begin_sheet(archive, 1, columns, letters)
    for part in parts:
        count, done = len(part[0]) if part else 0, 0
        while done < count:
            if row == rows_in_sheet or size > _BYTES_IN_SHEET:
                sheets, row, size = sheets + 1, 1, 0
                yield archive.write(_SHEET_END) + archive.end()
                yield _begin_sheet(archive, sheets, columns, letters)
            taken = min(count - done, rows_in_sheet - row)
            some = [values[done : done + taken] for values in part]
            text = _rows(columns, letters, some, first=row + 1, count=taken)
            yield archive.write(text)
            done, row, size = done + taken, row + taken, size + len(text)
    yield archive.write(_SHEET_END) + archive.end()
    yield archive.add("xl/workbook.xml", _workbook(title, sheets)) + archive.add(
        "xl/_rels/workbook.xml.rels", _workbook_relations(sheets)
    )
    yield archive.close()


def letters_of(number: int) -> str:
    """Return the letters of a column; that of number 0 is A."""
    letters = ""
    number += 1
    while number:
        number, place = divmod(number - 1, 26)
        letters = chr(65 + place) + letters
    return letters


def _begin_sheet(
    archive: ZipStream, number: int, columns: Sequence[Column], letters: Sequence[str]
) -> bytes:
    cells = (
        f'<c r="{letter}1" s="1" t="inlineStr"><is><t xml:space="preserve">{_text(one.name)}'
        "</t></is></c>"
        for letter, one in zip(letters, columns, strict=True)
    )
    header = f'{_SHEET}<row r="1">{"".join(cells)}</row>'
    return archive.begin(f"xl/worksheets/sheet{number}.xml") + archive.write(header.encode())


def _rows(
    columns: Sequence[Column],
    letters: Sequence[str],
    part: Part,
    *,
    first: int,
    count: int,
) -> bytes:
    numbers = range(first, first + count)
    ready = [
        _CELLS[one.kind](letter, numbers, values)
        for one, letter, values in zip(columns, letters, part, strict=True)
    ]
    rows = map("".join, zip(*ready, strict=True))
    # Every character that XML does not know has been escaped.
    return "".join(
        [f'<row r="{number}">{cells}</row>' for number, cells in zip(numbers, rows, strict=True)]
    ).encode()


def _texts(letter: str, numbers: Sequence[int], values: Sequence[Value]) -> list[str]:
    return [
        ""
        if value is None
        else f'<c r="{letter}{number}" t="inlineStr"><is><t xml:space="preserve">'
        f"{_text(str(value))}</t></is></c>"
        for number, value in zip(numbers, values, strict=True)
    ]


def _numbers(letter: str, numbers: Sequence[int], values: Sequence[Value]) -> list[str]:
    return [
        "" if value is None else f'<c r="{letter}{number}"><v>{value}</v></c>'
        for number, value in zip(numbers, values, strict=True)
    ]


def _booleans(letter: str, numbers: Sequence[int], values: Sequence[Value]) -> list[str]:
    return [
        "" if value is None else f'<c r="{letter}{number}" t="b"><v>{1 if value else 0}</v></c>'
        for number, value in zip(numbers, values, strict=True)
    ]


_DAY_0: Final = datetime(1899, 12, 30)  # noqa: DTZ001 (Excel's times have no zone)
_FIRST_YEAR: Final = 1901
_DAY: Final = timedelta(days=1)


def _times(letter: str, numbers: Sequence[int], values: Sequence[Value]) -> list[str]:
    cells = []
    for number, value in zip(numbers, values, strict=True):
        if value is None:
            cells.append("")
            continue
        moment = datetime.fromisoformat(str(value)).replace(tzinfo=None)
        if moment.year < _FIRST_YEAR:
            cells += _texts(letter, [number], [value])
        else:
            cells.append(f'<c r="{letter}{number}" s="2"><v>{(moment - _DAY_0) / _DAY}</v></c>')
    return cells


_CELLS: Final = {
    "text": _texts,
    "time": _times,
    "integer": _numbers,
    "number": _numbers,
    "boolean": _booleans,
}

# What XML cannot hold, and what looks like it had been escaped (ECMA-376, section 22.9.2.19). A
# reader of XML turns a carriage return into a line feed, so that is escaped, too.
_SPECIAL: Final = re.compile("[&<>\x00-\x08\x0b-\x1f\ufffe\uffff]|_x(?=[0-9A-Fa-f]{4}_)")


def _text(text: str) -> str:
    if len(text) * 2 > LONGEST_TEXT:
        text = _cut(text)
    return _SPECIAL.sub(_escape, text)


def _escape(match: re.Match[str]) -> str:
    found = match[0]
    known = {"&": "&amp;", "<": "&lt;", ">": "&gt;", "_x": "_x005F_x"}.get(found)
    return known or f"_x{ord(found):04X}_"


def _cut(text: str) -> str:
    units = text.encode("utf-16-le")
    if len(units) <= 2 * LONGEST_TEXT:
        return text
    # Half a character at the end is left out.
    kept = units[: 2 * (LONGEST_TEXT - len(CUT))].decode("utf-16-le", errors="ignore")
    return kept + CUT


def _workbook(title: str, sheets: int) -> bytes:
    listed = "".join(
        f'<sheet name="{_sheet_name(title, number)}" sheetId="{number}" r:id="rId{number}"/>'
        for number in range(1, sheets + 1)
    )
    return (
        f'{_XML}<workbook xmlns="{_MAIN}" xmlns:r="{_DOCUMENT}"><sheets>{listed}</sheets>'
        "</workbook>"
    ).encode()


def _sheet_name(title: str, number: int) -> str:
    name = re.sub(r"[\[\]:*?/\\'\x00-\x1f]", " ", title)[:24].strip() or "Sheet"
    return _text(name if number == 1 else f"{name} {number}").replace('"', "&quot;")


def _workbook_relations(sheets: int) -> bytes:
    listed = "".join(
        f'<Relationship Id="rId{number}" Type="{_DOCUMENT}/worksheet" '
        f'Target="worksheets/sheet{number}.xml"/>'
        for number in range(1, sheets + 1)
    )
    styles = f'<Relationship Id="rId{sheets + 1}" Type="{_DOCUMENT}/styles" Target="styles.xml"/>'
    return f'{_XML}<Relationships xmlns="{_RELATIONS}">{listed}{styles}</Relationships>'.encode()
