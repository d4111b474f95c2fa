"""What is written as CSV, Parquet or Excel reads back as it was."""

from __future__ import annotations

import csv
import io
import zipfile
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pyarrow.parquet as parquet
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from python_calamine import CalamineWorkbook

from lodestream.formats import write_parquet
from lodestream.formats.write_csv import csv_parts
from lodestream.formats.write_excel import CUT, LONGEST_TEXT, excel_parts, letters_of
from lodestream.formats.write_parquet import parquet_parts
from lodestream.formats.written import Column, Part, Value
from lodestream.formats.zip_stream import ZipStream

NASTY = (
    "=cmd()|'/C calc'!A0",
    "+1",
    "@sum",
    "\t",
    "  spaces  ",
    "a\r\nb\nc\rd",
    'say "hi"; then, stop',
    "_x0041_",
    "_x000D_",
    "<b>&amp;</b>]]>",
    "\x00\x01\x0b\x1f\x7f",
    "007",
    "1e5",
    "true",
    "2024-01-01",
    "😀 \u202e\ufeff",
)
COLUMNS = (
    Column("text"),
    Column("when", "time"),
    Column("whole", "integer"),
    Column("broken", "number"),
    Column("flag", "boolean"),
)
INSTANT = "2024-02-01T08:00:00.123456Z"
ROWS: tuple[tuple[Value, ...], ...] = (
    *((text, INSTANT, 3, 0.25, True) for text in NASTY),
    (None, None, None, None, None),
    ("last", "1999-12-31T23:59:59.999999Z", -(2**53), -1e-300, False),
)


def parts_of(rows: Sequence[Sequence[Value]], *, size: int = 7) -> Iterator[Part]:
    for start in range(0, len(rows), size):
        yield list(zip(*rows[start : start + size], strict=True))


def csv_rows(content: bytes, **options: Any) -> list[list[str]]:
    return list(csv.reader(io.StringIO(content.decode(), newline=""), **options))


def sheets(content: bytes) -> list[list[list[Any]]]:
    book = CalamineWorkbook.from_filelike(io.BytesIO(content))
    return [
        book.get_sheet_by_name(name).to_python(skip_empty_area=False) for name in book.sheet_names
    ]


def test_csv_reads_back() -> None:
    header, *rows = csv_rows(b"".join(csv_parts(COLUMNS, parts_of(ROWS))))
    assert header == [one.name for one in COLUMNS]
    words = {True: "true", False: "false", None: ""}
    for row, wanted in zip(rows, ROWS, strict=True):
        *cells, flag = wanted
        assert row == [*("" if cell is None else str(cell) for cell in cells), words[flag]]  # type: ignore[index]


def test_csv_for_spreadsheets() -> None:
    content = b"".join(
        csv_parts(COLUMNS, parts_of(ROWS), delimiter=";", bom=True, escape_formulas=True)
    )
    assert content.startswith(b"\xef\xbb\xbftext;when")
    rows = csv_rows(content[3:], delimiter=";")
    texts = [row[0] for row in rows[1:]]
    assert texts[:4] == ["'=cmd()|'/C calc'!A0", "'+1", "'@sum", "'\t"]
    assert texts[4:16] == list(NASTY[4:])
    assert rows[-1][2] == str(-(2**53))  # a number is none


def test_parquet_reads_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(write_parquet, "ROWS_IN_GROUP", 10)
    content = b"".join(parquet_parts(COLUMNS, parts_of(ROWS)))
    file = parquet.ParquetFile(io.BytesIO(content))
    assert file.num_row_groups == 2
    found = [tuple(row.values()) for row in file.read().to_pylist()]
    moments = [None if row[1] is None else datetime.fromisoformat(str(row[1])) for row in ROWS]
    assert found == [(row[0], when, *row[2:]) for row, when in zip(ROWS, moments, strict=True)]


def test_an_empty_table_has_its_columns() -> None:
    nothing: list[Part] = []
    assert b"".join(csv_parts(COLUMNS, nothing)) == b"text,when,whole,broken,flag\r\n"
    content = b"".join(parquet_parts(COLUMNS, nothing))
    assert parquet.read_table(io.BytesIO(content)).column_names == [c.name for c in COLUMNS]
    assert sheets(b"".join(excel_parts(COLUMNS, nothing, title="x"))) == [
        [[one.name for one in COLUMNS]]
    ]


def test_excel_reads_back_over_several_sheets() -> None:
    content = b"".join(excel_parts(COLUMNS, parts_of(ROWS), title="a/b: [c]", rows_in_sheet=9))
    archive = zipfile.ZipFile(io.BytesIO(content))
    assert archive.testzip() is None
    found = sheets(content)
    assert [len(sheet) for sheet in found] == [9, 9, 3]
    rows = [row for sheet in found for row in sheet[1:]]
    for row, wanted in zip(rows, ROWS, strict=True):
        assert (row[0] or None) == wanted[0]
        if wanted[1] is not None:
            moment = datetime.fromisoformat(str(wanted[1]))
            assert abs(row[1].replace(tzinfo=UTC) - moment) <= timedelta(milliseconds=1)
            assert row[2:] == list(wanted[2:])
    names = CalamineWorkbook.from_filelike(io.BytesIO(content)).sheet_names
    assert names == ["a b   c", "a b   c 2", "a b   c 3"]


def test_excel_holds_texts_as_texts_and_never_as_formulas() -> None:
    content = b"".join(excel_parts(COLUMNS, parts_of(ROWS), title="x"))
    sheet = zipfile.ZipFile(io.BytesIO(content)).read("xl/worksheets/sheet1.xml")
    assert b"<f>" not in sheet
    assert sheet.count(b't="inlineStr"') == len(COLUMNS) + len(NASTY) + 1


def test_a_text_that_excel_cannot_hold_is_cut_and_says_so() -> None:
    for text in ("x" * 40_000, "😀" * 20_000):
        content = b"".join(excel_parts([Column("t")], [[[text]]], title="x"))
        cell = sheets(content)[0][1][0]
        assert len(cell.encode("utf-16-le")) // 2 <= LONGEST_TEXT
        assert cell.endswith(CUT)
        assert text.startswith(cell.removesuffix(CUT))
    whole = "x" * LONGEST_TEXT
    assert sheets(b"".join(excel_parts([Column("t")], [[[whole]]], title="x")))[0][1] == [whole]


def test_times_before_those_of_excel_are_texts() -> None:
    old = "1850-01-01T00:00:00.000000Z"
    content = b"".join(excel_parts([Column("t", "time")], [[[old]]], title="x"))
    assert sheets(content)[0][1] == [old]


@pytest.mark.parametrize(("number", "letters"), [(0, "A"), (25, "Z"), (26, "AA"), (16_383, "XFD")])
def test_columns_have_letters(number: int, letters: str) -> None:
    assert letters_of(number) == letters


def test_an_archive_that_ends_early_is_none() -> None:
    archive = ZipStream()
    content = archive.add("a", b"x" * 100_000) + archive.add("b", b"")
    with pytest.raises(zipfile.BadZipFile):
        zipfile.ZipFile(io.BytesIO(content))
    whole = zipfile.ZipFile(io.BytesIO(content + archive.close()))
    assert (whole.read("a"), whole.read("b")) == (b"x" * 100_000, b"")


TEXTS = st.lists(st.text(st.characters(exclude_categories=["Cs"])), min_size=1, max_size=20)


@settings(deadline=None, max_examples=60)
@given(TEXTS)
def test_any_text_reads_back(texts: list[str]) -> None:
    columns, parts = [Column("n", "integer"), Column("t")], [[range(len(texts)), texts]]
    content = b"".join(csv_parts(columns, parts))
    assert [row[1] for row in csv_rows(content)[1:]] == texts
    table = parquet.read_table(io.BytesIO(b"".join(parquet_parts(columns, parts))))
    assert table["t"].to_pylist() == texts
    cells = [row[1] for row in sheets(b"".join(excel_parts(columns, parts, title="x")))[0][1:]]
    # The reader of the test leaves these two as they are escaped.
    escaped = [t.replace("\ufffe", "_xFFFE_").replace("\uffff", "_xFFFF_") for t in texts]
    assert cells == escaped
