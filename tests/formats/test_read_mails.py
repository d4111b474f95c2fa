"""E-mails in MSG, MBOX and EML files, and in folders of them."""

from __future__ import annotations

import io
import random
import re
from datetime import UTC, datetime
from pathlib import Path

import compressed_rtf
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lodestream.cli.import_mails import read_rtf
from lodestream.domain.errors import Unprocessable
from lodestream.formats.found import Bad, FoundMail
from lodestream.formats.outlook import mime_of
from lodestream.formats.read_mails import read_mails
from lodestream.formats.read_mbox import read_mbox, write_quoted
from lodestream.formats.read_msg import read_msg
from lodestream.mail.email import Email
from lodestream.mail.headers import decoded, mailboxes
from lodestream.mail.mime import parse_mime
from tests.formats.msg_writer import compound, msg
from tests.formats.pst_writer import PstWriter
from tests.formats.test_read_pst import HEADERS, tree

WHEN = datetime(2020, 1, 9, 16, 34, 45, tzinfo=UTC)
RTF = rb"{\rtf1\ansi\fromhtml1 {\*\htmltag64 <p>}From \'fcber RTF{\*\htmltag72 </p>}}"
EML = b"From: a@example.com\r\nDate: Thu, 9 Jan 2020 16:34:45 +0000\r\nSubject: S\r\n\r\nText\r\n"


def email_in(content: bytes) -> Email:
    return parse_mime(mime_of(read_msg(content), read_rtf))


def test_an_msg_with_its_headers_files_and_an_attached_mail() -> None:
    inner = msg({0x37: "Inside", 0x1000: "Deep", 0x1035: "<in@x>", 0x39: WHEN}, top=False)
    files = [
        ({0x3707: "big.bin", 0x370E: "application/pdf"}, bytes(range(256)) * 40),
        ({0x3707: "sm.txt"}, b"small"),
        ({0x3001: "Inside"}, inner),
    ]
    content = compound(msg({0x7D: HEADERS, 0x1000: "Plain über"}, None, files))
    email = email_in(content)
    assert email.headers.first("message-id") == "<one@example.com>"
    assert (email.plain or "").strip() == "Plain über"
    assert [(one.name, one.size_bytes) for one in email.files[:2]] == [
        ("big.bin", 10_240),
        ("sm.txt", 5),
    ]
    assert email.files[0].read is not None
    assert email.files[0].read() == bytes(range(256)) * 40
    assert email.files[2].read is not None
    attached = parse_mime(email.files[2].read())
    assert (attached.headers.first("message-id"), (attached.plain or "").strip()) == (
        "<in@x>",
        "Deep",
    )


def test_an_msg_without_headers_gets_them_from_its_properties() -> None:
    people = [{0x3001: "Müller, Bo", 0x39FE: "bo@example.org", 0x0C15: 1}]
    given = {0x37: "Sübject", 0x1013: b"<p>Hi</p>", 0x39: WHEN, 0x0C1A: "A", 0x5D01: "a@x.org"}
    email = email_in(compound(msg({**given, 0x1035: "<two@x>"}, people)))
    headers = email.headers
    assert headers.first("date") == "Thu, 09 Jan 2020 16:34:45 +0000"
    assert (headers.first("from"), headers.first("message-id")) == ("A <a@x.org>", "<two@x>")
    assert (email.html or "").strip() == "<p>Hi</p>"
    assert mailboxes(headers.all("to")) == ["Müller, Bo <bo@example.org>"]
    assert decoded(headers.first("subject")) == "Sübject"


def test_an_rtf_body_is_read_as_the_html_it_was_made_of() -> None:
    packed = compressed_rtf.compress(RTF, compressed=True)
    email = email_in(compound(msg({0x37: "S", 0x1009: packed, 0x39: WHEN})))
    assert (email.html or "").strip() == "<p>From über RTF</p>"


def test_what_is_no_msg_is_refused_and_broken_ones_are_no_accident() -> None:
    whole = compound(msg({0x7D: HEADERS, 0x1000: "Plain"}, [{0x3001: "A"}], [({}, b"x" * 5000)]))
    for content in (b"", b"nothing", compound({"Workbook": b"no mail"})):
        with pytest.raises(Unprocessable, match="no MSG"):
            read_msg(content)
    chance = random.Random(3)
    refused = 0
    for _ in range(200):
        content = bytearray(whole)
        for _ in range(chance.randrange(1, 60)):
            content[chance.randrange(len(content))] = chance.randrange(256)
        try:
            parse_mime(mime_of(read_msg(bytes(content)), read_rtf))
        except Unprocessable:
            refused += 1
    assert refused < 200


_LINES = (
    *(b"From me to you", b">From a@x Thu Jan  9 16:34:45 2020", b"", b"words", b">>From x"),
    b"From ",
)
_BODY = st.lists(st.sampled_from(_LINES), max_size=8)


@given(st.lists(_BODY, min_size=1, max_size=5), st.sampled_from([b"\n", b"\r\n"]))
def test_what_was_written_to_an_mbox_is_read(bodies: list[list[bytes]], end: bytes) -> None:
    mails = [b"Subject: a" + end + end + end.join(body) + end for body in bodies]
    file = b"".join(
        b"From a@x Thu Jan  9 16:34:45 2020" + end + write_quoted(mail) + end for mail in mails
    )
    assert [one.content for one in read_mbox(io.BytesIO(file))] == mails


def test_a_sentence_and_an_envelope_are_told_apart() -> None:
    file = (
        b"From - Thu Jan  9 16:34:45 2020\nSubject: a\n\nFrom now on, all is well.\n\n"
        b"From here it goes on.\n\nFrom b@x Thu Jan  9 16:34:45 2020\nSubject: b\n\nB\n"
    )
    found = list(read_mbox(io.BytesIO(file)))
    assert [one.line for one in found] == [1, 8]
    assert found[0].content is not None
    assert b"goes on" in found[0].content
    large = list(read_mbox(io.BytesIO(file), largest=40))
    assert [one.content is None for one in large] == [True, True]


@given(st.binary(max_size=400))
def test_any_bytes_are_an_mbox_of_some_mails(content: bytes) -> None:
    for one in read_mbox(io.BytesIO(b"From a@x 10:10\n" + content)):
        assert one.content is not None


def test_a_folder_is_read_with_all_that_is_in_it(tmp_path: Path) -> None:
    envelope = b"From a@x Thu Jan  9 16:34:45 2020\n"
    files = {
        "a.eml": EML,
        "b.emlx": b"%d\n" % len(EML) + EML + b"<?xml version='1.0'?><plist/>",
        "c.msg": compound(msg({0x7D: HEADERS, 0x1000: "Plain"})),
        "d.pst": PstWriter().write(tree()),
        "Mail.sbd/Old": envelope + EML + b"\n" + envelope + EML,
        "Mail.sbd/Old.msf": b"an index",
        "Box/cur/1234.host:2,S": EML,
        "broken.msg": b"nothing",
        "empty.eml": b"\n",
        "notes.txt": b"no mail\n",
        ".hidden": b"nothing",
    }
    for name, content in files.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    found = list(read_mails(tmp_path, read_rtf))
    mails = [one for one in found if isinstance(one, FoundMail)]
    folders = [one.folder for one in mails if not one.where.startswith("d.pst")]
    assert folders == [("Box",), ("Mail", "Old"), ("Mail", "Old"), (), (), ()]
    assert sum(one.where.startswith("d.pst") for one in mails) == 4
    assert all(parse_mime(one.mime).headers.first("date") for one in mails)
    bad = {one.where.split(",")[0]: one.reason for one in found if isinstance(one, Bad)}
    assert sorted(bad) == ["broken.msg", "d.pst", "empty.eml", "notes.txt"]
    assert re.search("no e-mail but IPM.Contact", bad["d.pst"])
