"""Outlook's envelope: `winmail.dat`."""

from __future__ import annotations

import struct
from base64 import encodebytes

import compressed_rtf
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lodestream.mail.as_text import text_of_mime
from lodestream.mail.mime import parse_mime
from lodestream.mail.tnef import SIGNATURE, read_tnef

RTF = (
    rb"{\rtf1\ansi\ansicpg1252\fromhtml1 {\*\htmltag64 <p>}Gr\'fc\'dfe{\*\htmltag72 </p>}"
    rb"\htmlrtf\par\htmlrtf0}"
)


def attribute(number: int, value: bytes, *, level: int = 1) -> bytes:
    head = struct.pack("<BII", level, number, len(value))
    return head + value + struct.pack("<H", sum(value) & 0xFFFF)


def padded(value: bytes) -> bytes:
    return struct.pack("<I", len(value)) + value + bytes(-len(value) % 4)


def prop(kind: int, number: int, value: bytes) -> bytes:
    return struct.pack("<HH", kind, number) + value


def text(number: int, value: str) -> bytes:
    return prop(0x1F, number, struct.pack("<I", 1) + padded((value + "\0").encode("utf-16-le")))


def binary(number: int, value: bytes) -> bytes:
    return prop(0x102, number, struct.pack("<I", 1) + padded(value))


def named(value: str) -> bytes:
    name = bytes(16) + struct.pack("<I", 1) + padded("x-own".encode("utf-16-le"))
    return prop(0x1F, 0x8001, name + struct.pack("<I", 1) + padded(value.encode("utf-16-le")))


def properties(*given: bytes) -> bytes:
    return struct.pack("<I", len(given)) + b"".join(given)


def file(name: str, content: bytes, *more: bytes) -> bytes:
    return (
        attribute(0x00069002, bytes(14), level=2)
        + attribute(0x00018010, name[:8].encode("cp1252", "replace") + b"\0", level=2)
        + attribute(0x0006800F, content, level=2)
        + attribute(0x00069005, properties(text(0x3707, name), *more), level=2)
    )


def envelope(*attributes: bytes) -> bytes:
    page = attribute(0x00069007, struct.pack("<II", 1252, 0))
    return SIGNATURE + b"\x01\x00" + page + b"".join(attributes)


def message(*given: bytes) -> bytes:
    return attribute(0x00069003, properties(*given))


NUMBER = prop(3, 0x3FDE, struct.pack("<i", 28605))
FLAGS = prop(0x1003, 0x0001, struct.pack("<III", 2, 7, 8))
TIME = prop(0x40, 0x0039, bytes(8))


def mail(winmail: bytes, body: str = "") -> bytes:
    packed = encodebytes(winmail).decode()
    return (
        "Subject: s\nMIME-Version: 1.0\nContent-Type: multipart/mixed; boundary=b\n\n"
        f"--b\nContent-Type: text/plain\n\n{body}\n"
        '--b\nContent-Type: application/ms-tnef; name="winmail.dat"\n'
        f"Content-Transfer-Encoding: base64\n\n{packed}\n--b--\n"
    ).encode()


def test_files_come_out_with_their_names() -> None:
    second = file("größe 📎.pdf", b"%PDF", text(0x370E, "application/pdf"), text(0x3712, "c1@x"))
    found = parse_mime(mail(envelope(file("q3.xlsx", b"PK"), second), "See the files."))
    assert (found.plain or "").strip() == "See the files."
    assert [(one.name, one.content_type, one.size_bytes, one.inline) for one in found.files] == [
        ("q3.xlsx", "application/octet-stream", 2, False),
        ("größe 📎.pdf", "application/pdf", 4, True),
    ]
    assert [one.read() for one in found.files if one.read] == [b"PK", b"%PDF"]
    assert found.files[1].content_id == "c1@x"


@pytest.mark.parametrize(
    ("given", "plain", "html"),
    [
        (message(named("odd"), FLAGS, TIME, text(0x1000, "Hello\r\nBob")), "Hello\nBob", None),
        (attribute(0x0002800C, b"gr\xfcn\0"), "grün", None),
        (message(NUMBER, binary(0x1013, "<p>größer</p>".encode("cp1252"))), None, "<p>größer</p>"),
        (message(binary(0x1009, compressed_rtf.compress(RTF))), None, "<p>Grüße</p>"),
        (message(binary(0x1009, compressed_rtf.compress(rb"{\rtf1 Hi\par}"))), "Hi\n", None),
    ],
)
def test_a_mail_without_a_text_has_that_of_the_envelope(
    given: bytes, plain: str | None, html: str | None
) -> None:
    found = parse_mime(mail(envelope(given)))
    assert (found.plain, found.html) == (plain, html)
    assert found.files == ()
    assert (parse_mime(mail(envelope(given), "own")).plain or "").strip() == "own"


def test_a_message_in_an_envelope_stays_a_file() -> None:
    inner = binary(0x3701, bytes(16) + envelope(message(text(0x1000, "inner"))))
    outer = attribute(0x00069002, bytes(14)) + attribute(
        0x00069005, properties(text(0x3001, "Fw"), inner)
    )
    found = read_tnef(envelope(outer))
    assert found is not None
    (one,) = found.files
    assert (one.name, one.content_type) == ("Fw", "application/ms-tnef")
    assert one.read is not None
    assert read_tnef(one.read()) == read_tnef(envelope(message(text(0x1000, "inner"))))


@pytest.mark.parametrize("own", ["", "own text"])
def test_without_files_the_text_of_an_envelope_stays(own: str) -> None:
    inner = message(binary(0x1009, compressed_rtf.compress(RTF)))
    raw = mail(envelope(file("q3.xlsx", b"PK"), inner), own)
    text = text_of_mime(raw, contents=False)
    found = parse_mime(text.encode())
    assert found.files == ()
    assert found.headers.first("subject") == "s"
    assert ((found.plain or "").strip(), found.html) == (own, None if own else "<p>Grüße</p>")


def test_what_is_no_envelope_stays_a_file() -> None:
    (one,) = parse_mime(mail(b"no envelope")).files
    assert (one.name, one.read and one.read()) == ("winmail.dat", b"no envelope")


WHOLE = envelope(file("q3.xlsx", b"PK"), message(named("odd"), text(0x1000, "Hello")))


@given(st.integers(0, len(WHOLE)), st.binary(max_size=8))
def test_any_bytes_are_read(cut: int, noise: bytes) -> None:
    read_tnef(WHOLE[:cut])
    found = read_tnef(WHOLE[:cut] + noise + WHOLE[cut + len(noise) :])
    assert found is None or len(found.files) < 3
    read_tnef(SIGNATURE + noise * 100)
