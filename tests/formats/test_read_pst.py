"""PST files: e-mails in folders, with everything that they hold; broken files."""

from __future__ import annotations

import io
import lzma
import random
from datetime import UTC, datetime
from pathlib import Path

import pytest

from lodestream.domain.errors import Unprocessable
from lodestream.formats.outlook import OutlookItem, RtfBody, mime_of
from lodestream.formats.read_pst import PstMail, read_pst
from lodestream.mail.mime import parse_mime
from tests.formats.pst_writer import Folder, Item, PstWriter

SAMPLES = Path(__file__).parent.parent / "data" / "outlook"
WHEN = datetime(2020, 1, 9, 16, 34, 45, tzinfo=UTC)
HEADERS = (
    "Received: from a.example (a.example [192.0.2.1])\r\n\tby b.example; Thu, 9 Jan 2020 16:34:46 "
    "+0000\r\nFrom: Zoë <zoe@example.com>\r\nTo: help@example.com\r\nSubject: Wo ist es?\r\n"
    "Message-ID: <one@example.com>\r\nDate: Thu, 9 Jan 2020 16:34:45 +0000\r\n"
    'Content-Type: multipart/mixed;\r\n\tboundary="x"\r\nContent-Transfer-Encoding: 8bit\r\n'
)


def no_rtf(content: bytes) -> RtfBody:
    return RtfBody(plain=content.decode())


def mail(number: int, **more: object) -> Item:
    return Item(
        {
            0x1A: "IPM.Note",
            0x37: f"\x01\x04RE: Number {number}",
            0x1000: f"Text {number} über",
            0x1035: f"<m{number}@example.com>",
            0x39: WHEN,
            0x0C1A: "Alice",
            0x5D01: "alice@example.com",
        },
        [
            {0x3001: "Bob", 0x39FE: "bob@example.org", 0x0C15: 1},
            {0x3001: "Eve", 0x39FE: "eve@example.org", 0x0C15: 2},
        ],
    )


def tree() -> Folder:
    first = mail(1)
    first.files = [
        ({0x3707: "großes bild.png", 0x370E: "image/png"}, bytes(range(256)) * 120),
        ({0x3707: "note.txt"}, b"short"),
        ({0x3001: "inside"}, mail(7)),
    ]
    full = Item({0x1A: "IPM.Note", 0x7D: HEADERS, 0x1000: "Plain", 0x1013: b"<p>H\xc3\xbc</p>",
                 0x3FDE: 65001})  # fmt: skip
    contact = Item({0x1A: "IPM.Contact", 0x37: "A person"})
    long = mail(3)
    long.properties[0x1000] = "lång " * 5000
    inbox = Folder("Inbox", [first, full, contact, long], [Folder("Archive", [mail(4)])])
    return Folder("", [], [Folder("Top of Personal Folders", [], [inbox, Folder("Sent")])])


def read(content: bytes) -> list[PstMail]:
    return list(read_pst(io.BytesIO(content)))


def item_of(found: PstMail) -> OutlookItem:
    assert found.item is not None, found
    return found.item


def test_mails_are_found_in_their_folders() -> None:
    found = read(PstWriter().write(tree()))
    inbox = ("Top of Personal Folders", "Inbox")
    assert [one.folder for one in found] == [inbox] * 4 + [(*inbox, "Archive")]
    assert [item_of(one).is_mail for one in found] == [True, True, False, True, True]
    email = parse_mime(mime_of(item_of(found[0]), no_rtf))
    headers = email.headers
    assert headers.first("subject") == "RE: Number 1"
    assert headers.first("message-id") == "<m1@example.com>"
    assert headers.first("from") == "Alice <alice@example.com>"
    assert headers.first("to") == "Bob <bob@example.org>"
    assert headers.first("cc") == "Eve <eve@example.org>"
    assert headers.first("date") == "Thu, 09 Jan 2020 16:34:45 +0000"
    assert (email.plain or "").strip() == "Text 1 über"
    assert (parse_mime(mime_of(item_of(found[3]), no_rtf)).plain or "").count("lång") == 5000


def test_files_and_attached_mails_come_along() -> None:
    found = read(PstWriter().write(tree()))
    email = parse_mime(mime_of(item_of(found[0]), no_rtf))
    image, note, inside = email.files
    assert (image.name, image.content_type) == ("großes bild.png", "image/png")
    assert image.read is not None
    assert image.read() == bytes(range(256)) * 120
    assert (note.name, note.content_type, note.size_bytes) == ("note.txt", "text/plain", 5)
    assert inside.content_type == "message/rfc822"
    assert inside.read is not None
    assert parse_mime(inside.read()).headers.first("message-id") == "<m7@example.com>"


def test_the_mails_own_headers_win_and_its_html_is_kept() -> None:
    found = read(PstWriter().write(tree()))
    email = parse_mime(mime_of(item_of(found[1]), no_rtf))
    assert email.headers.first("message-id") == "<one@example.com>"
    assert "192.0.2.1" in email.headers.first("received")
    assert (email.plain, email.html) == ("Plain", "<p>Hü</p>")
    # The same mail gives the same bytes: importing it twice changes nothing.
    again = read(PstWriter().write(tree()))
    assert mime_of(item_of(again[1]), no_rtf) == mime_of(item_of(found[1]), no_rtf)


def test_an_index_of_several_pages_is_followed() -> None:
    items = [mail(number) for number in range(300)]
    found = read(PstWriter().write(Folder("", [], [Folder("Many", items)])))
    ids = [item_of(one).properties[0x1035] for one in found]
    assert ids == [f"<m{number}@example.com>" for number in range(300)]


def test_a_file_of_outlook_itself_is_read() -> None:
    content = lzma.decompress((SAMPLES / "Empty.pst.xz").read_bytes())
    assert read(content) == []


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "no PST"),
        (b"!BDN" + bytes(20), "no PST"),
        (b"!BDN" + bytes(6) + b"\x0f\x00" + bytes(600), "ANSI"),
        (b"!BDN" + bytes(6) + b"\x24\x00" + bytes(600), "OST"),
    ],
)
def test_what_is_no_pst_is_refused(content: bytes, said: str) -> None:
    with pytest.raises(Unprocessable, match=said):
        read(content)


def test_a_broken_file_is_told_and_never_an_accident() -> None:
    whole = PstWriter().write(tree())
    chance = random.Random(7)
    problems = 0
    for _ in range(120):
        content = bytearray(whole)
        for _ in range(chance.randrange(1, 40)):
            content[chance.randrange(0x4600, len(content))] = chance.randrange(256)
        if chance.random() < 0.3:
            content = content[: chance.randrange(564, len(content))]
        try:
            found = read(bytes(content))
        except Unprocessable:
            continue
        problems += any(one.item is None for one in found)
        for one in found:
            if one.item is not None:
                parse_mime(mime_of(one.item, lambda raw: RtfBody()))
    assert problems > 8
