"""Files of rows: what they look like, and the comments in them."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lodestream.domain.errors import InvalidInput, LodestreamError, Unprocessable
from lodestream.domain.times import format_us, parse_us
from lodestream.formats import delimited
from lodestream.formats.columns import Columns
from lodestream.formats.delimited import SAMPLE_BYTES, Row
from lodestream.formats.read_tables import Table, open_delimited
from lodestream.formats.rows import RowReader
from lodestream.formats.times import FORMATS, guess_formats, narrowed, read_time


def sniff(content: bytes) -> Table:
    return open_delimited(io.BytesIO(content))


def roles(content: bytes) -> dict[str, str]:
    return dict(sniff(content).guess.roles)


def sniff_encoding(content: bytes) -> str:
    return delimited.sniff_encoding(io.BytesIO(content))


def read_rows(content: bytes, encoding: str, delimiter: str) -> Iterator[Row]:
    return delimited.read_rows(io.BytesIO(content), encoding, delimiter)


TABLE = "id;date;text;stars\r\n1;09/01/2020;Zu teuer, für mich;5\r\n2;31/01/2020;Schön;4\r\n"


@pytest.mark.parametrize(
    ("codec", "name"),
    [
        ("utf-8", "utf-8"),
        ("utf-8-sig", "utf-8"),
        ("utf-16", "utf-16"),
        ("utf-16-le", "utf-16-le"),
        ("utf-16-be", "utf-16-be"),
        ("utf-32", "utf-32"),
        ("cp1252", "cp1252"),
    ],
)
def test_encoding_and_delimiter_are_told(codec: str, name: str) -> None:
    content = TABLE.encode(codec)
    found = sniff(content)
    assert (found.encoding, found.delimiter) == (name, ";")
    assert found.guess.columns == ["id", "date", "text", "stars"]
    assert found.guess.has_header
    assert [row.cells[2] for row in read_rows(content, found.encoding, ";")][1:] == [
        "Zu teuer, für mich",
        "Schön",
    ]


def test_bytes_that_cp1252_does_not_have_make_it_latin_1() -> None:
    assert sniff_encoding("a\x81b ü".encode("latin-1")) == "latin-1"
    assert sniff_encoding("20 €".encode("cp1252")) == "cp1252"
    assert sniff_encoding(b"plain") == "utf-8"
    assert sniff_encoding(b"") == "utf-8"


def test_a_broken_byte_spoils_its_row_only() -> None:
    content = ("id,text\n" + "1,schöne Grüße über Öl\n" * 10).encode() + b"2,broken \xff\n3,fine\n"
    assert sniff_encoding(content) == "utf-8"
    reader = RowReader(["id", "text"], Columns("id", "text", "text"), "iso")
    rows = list(read_rows(content, "utf-8", ","))
    with pytest.raises(InvalidInput, match="no UTF-8"):
        reader.comment(rows[11])
    assert rows[12].cells == ["3", "fine"]


@pytest.mark.parametrize("codec", ["utf-8", "utf-16", "utf-16-be", "cp1252"])
def test_the_beginning_of_a_large_file_is_enough(codec: str) -> None:
    text = "id,date,text\n" + "".join(
        f"{number},2020-01-09,{'ü' * (number % 61)} text\n" for number in range(40_000)
    )
    content = text.encode(codec)
    assert len(content) > SAMPLE_BYTES
    found = sniff(content)
    assert found.guess.columns == ["id", "date", "text"]
    assert found.guess.roles == {"id": "id", "date": "timestamp", "text": "message"}
    assert found.guess.timestamp_formats == ["iso"]


def test_columns_are_known_by_their_names() -> None:
    header = "Comment ID,Created_At,Verbatim,Subject,From,To,CC,Thread ID,Team,NPS,Zip"
    content = f"{header}\na1,2020-01-09,Hello,S,f,t,c,th,Red,7,01234\n"
    assert roles(content.encode()) == {
        "Comment ID": "id",
        "Created_At": "timestamp",
        "Verbatim": "message",
        "Subject": "subject",
        "From": "from",
        "To": "to",
        "CC": "cc",
        "Thread ID": "thread_id",
        "Team": "string_property",
        "NPS": "number_property",
        "Zip": "string_property",
    }


def test_columns_are_known_by_their_values() -> None:
    content = b"a,b,c\nx1,2020-01-09 10:00,It was very good\nx2,2020-01-10 11:00,So so\n"
    assert roles(content) == {"a": "id", "b": "timestamp", "c": "message"}


def test_a_file_without_a_header_is_told() -> None:
    assert not sniff(b"1,2020-01-09,text\n2,2020-01-10,more\n").guess.has_header
    with pytest.raises(Unprocessable):
        sniff(b"")


def test_line_numbers_are_those_on_which_rows_begin() -> None:
    content = b'id,text\n1,"two\nlines"\n\n2,one\n'
    assert [row.line for row in read_rows(content, "utf-8", ",")] == [1, 2, 5]


def test_a_wrong_encoding_is_a_refusal() -> None:
    with pytest.raises(Unprocessable, match="utf-16"):
        list(read_rows(b"abc", "utf-16-le", ","))


@pytest.mark.parametrize(
    ("text", "pattern"),
    [
        ("2020-01-09", "iso"),
        ("2020-01-09T16:34:45.5+01:00", "iso"),
        ("Thu, 09 Jan 2020 16:34:45 +0000", "rfc2822"),
        ("1578587685", "unix"),
        ("1578587685123", "unix_ms"),
        ("31/01/2020", "%d/%m/%Y"),
        ("01/31/2020 4:34 PM", "%m/%d/%Y %I:%M %p"),
        ("31.01.2020 16:34:45", "%d.%m.%Y %H:%M:%S"),
        ("2020/01/31", "%Y/%m/%d"),
        ("31 Jan 2020", "%d %b %Y"),
        ("January 31, 2020", "%B %d, %Y"),
    ],
)
def test_formats_of_times_are_told(text: str, pattern: str) -> None:
    assert narrowed(guess_formats([text]), [text]) == [pattern]


_PATTERNS = [one for one in FORMATS if one.startswith("%") and "%b" not in one and "%B" not in one]


@given(
    st.sampled_from(_PATTERNS),
    st.datetimes(min_value=datetime(1500, 1, 1)),  # noqa: DTZ001
    st.text("0123456789/.:- ,", max_size=3),
)
def test_times_of_digits_are_read_as_strptime_does(
    pattern: str, when: datetime, noise: str
) -> None:
    written = when.replace(tzinfo=UTC).strftime(pattern)
    for text in (written, written + noise, noise + written, written.replace("0", "")):
        try:
            moment = datetime.strptime(text, pattern)  # noqa: DTZ007
        except ValueError:
            expected = None
        else:
            moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
            expected = None
            if moment.year >= 1400:
                expected = format_us(parse_us(moment.isoformat()))
        assert read_time(text, pattern) == expected, (text, pattern)


def test_what_is_no_time_has_no_format() -> None:
    for text in ("", "7", "hello 7", "12345678", "1.5", "x" * 100 + "1"):
        assert guess_formats([text]) == []
    assert read_time("31/02/2020", "%d/%m/%Y") is None
    assert read_time("09.01.2020", "%Q") is None


def test_day_and_month_are_told_apart_by_any_value() -> None:
    both = guess_formats(["05/06/2020", "01/02/2020"])
    assert both == ["%d/%m/%Y", "%m/%d/%Y"]
    assert narrowed(both, ["05/06/2020", "01/02/2020"]) == both
    assert narrowed(both, ["05/06/2020", "13/02/2020"]) == ["%d/%m/%Y"]
    assert narrowed(both, ["05/06/2020", "01/13/2020"]) == ["%m/%d/%Y"]
    assert narrowed(both, ["05/05/2020"]) == ["%d/%m/%Y"]


def test_a_row_becomes_a_comment() -> None:
    header = ["id", "date", "text", "subject", "from", "to", "cc", "thread", "Team", "NPS"]
    columns = Columns(
        "id", "date", "text", "subject", "from", "to", "cc", "thread", ("Team",), ("NPS",)
    )
    cells = ["1", "09/01/2020", "Hi", "S", "a@x", "b@x; c@x;", "", "t", "Red", "7"]
    comment = RowReader(header, columns, "%d/%m/%Y").comment(Row(2, cells))
    assert (comment.id, comment.timestamp) == ("1", "2020-01-09T00:00:00.000000Z")
    (message,) = comment.messages
    assert message.body.text == "Hi"
    assert (message.from_, message.to) == ("a@x", ["b@x", "c@x"])
    assert comment.user_properties == {"string:Team": "Red", "number:NPS": 7}
    assert comment.thread_id == "t"


@pytest.mark.parametrize(
    ("cells", "reason"),
    [
        (["1", "2020-01-09"], "2 cells"),
        (["1", "2020-01-09", "a", "1", "x"], "5 cells"),
        (["1", "soon", "a", "1"], "no time"),
        (["1", "2020-01-09", " ", "1"], "is empty"),
        (["1", "2020-01-09", "a", "many"], "no number"),
        (["1", "2020-01-09", "a\0", "1"], "NUL"),
        (["1", "2020-01-09", "a" * 65_537, "1"], "65536"),
    ],
)
def test_a_bad_row_says_why(cells: list[str], reason: str) -> None:
    reader = RowReader(
        ["id", "date", "text", "n"],
        Columns("id", "date", "text", number_properties=("n",)),
        "iso",
    )
    with pytest.raises(InvalidInput, match=reason):
        reader.comment(Row(2, cells))


_CELLS = st.text(st.characters(codec="utf-8", exclude_characters="\0\r\n\ufeff"), min_size=1)


@given(st.lists(st.lists(_CELLS, min_size=2, max_size=2), min_size=1), st.sampled_from(",;\t|"))
def test_what_was_written_is_read(rows: list[list[str]], delimiter: str) -> None:
    text = io.StringIO(newline="")
    csv.writer(text, delimiter=delimiter).writerows(rows)
    for codec, name in (("utf-8", "utf-8"), ("utf-16", "utf-16")):
        found = read_rows(text.getvalue().encode(codec), name, delimiter)
        assert [row.cells for row in found] == rows


@given(st.binary(max_size=300))
def test_any_bytes_are_sniffed_or_refused(content: bytes) -> None:
    try:
        found = sniff(content)
        list(read_rows(content, found.encoding, found.delimiter))
    except LodestreamError:
        pass
    else:
        assert found.guess.columns is not None
