"""Messages as text: whatever bytes they are, they are read as the bytes would be."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lodestream.mail.as_text import headers_of_mime, text_of_mime
from lodestream.mail.email import Email
from lodestream.mail.mime import parse_mime
from tests.mail.samples import mime, sample, samples

SAMPLES = [*samples("mail_gem/**/*.eml"), *samples("talon/**/*.eml")]


def read(email: Email) -> tuple[object, ...]:
    files = [(one.name, one.content_type, one.read and one.read()) for one in email.files]
    headers = [one for one in email.headers.items() if one[0] != "content-transfer-encoding"]
    return email.plain, email.html, headers, files


@pytest.mark.parametrize("name", SAMPLES)
def test_a_sample_is_read_the_same_as_text(name: str) -> None:
    raw = sample(name)

    assert read(parse_mime(text_of_mime(raw).encode())) == read(parse_mime(raw))


@pytest.mark.parametrize("name", SAMPLES)
def test_without_contents_the_texts_of_a_sample_stay(name: str) -> None:
    raw = sample(name)
    whole, bare = parse_mime(raw), parse_mime(text_of_mime(raw, contents=False).encode())

    assert (bare.plain or "").strip() == (whole.plain or "").strip()
    assert (bare.html or "").strip() == (whole.html or "").strip()
    kept = {"text/calendar", "message/delivery-status"}
    assert {one.content_type for one in bare.files} <= kept


@pytest.mark.parametrize(
    ("charset", "text"),
    [
        ("iso-8859-1", "Grüße für Frau Müßig"),
        ("koi8-r", "Здравствуйте, Иван"),
        ("shift_jis", "お問い合わせの件"),
        ("utf-8", "Grüße – 問い合わせ"),
    ],
)
@pytest.mark.parametrize("encoding", ["8bit", "quoted-printable", "base64"])
def test_8_bit_bodies_keep_their_letters(charset: str, text: str, encoding: str) -> None:
    # The transfer encoding is wrong in two of the cases, as it is in the world.
    raw = (
        f"Message-ID: <1@x>\r\nContent-Type: multipart/mixed; boundary=----b--c\r\n\r\n"
        f"------b--c\r\nContent-Type: text/plain; charset={charset}\r\n"
        f"Content-Transfer-Encoding: {encoding}\r\n\r\n"
    ).encode()
    raw += text.encode(charset) + b"\r\n------b--c\r\nContent-Type: image/png; name=a.png\r\n"
    raw += b"\r\n\xff\xd8\x00\x80\r\n------b--c--\r\n"

    stored = text_of_mime(raw)

    assert parse_mime(stored.encode()).plain == parse_mime(raw).plain
    assert encoding != "8bit" or parse_mime(stored.encode()).plain == text
    assert parse_mime(stored.encode()).files[0].read() == b"\xff\xd8\x00\x80"  # type: ignore[misc]


def test_what_is_utf8_stays_as_it_is() -> None:
    raw = mime("Subject: Ü", "", "Ä", "\x00")

    assert text_of_mime(raw).encode() == raw


def test_without_contents_a_message_that_is_a_file_keeps_its_headers_alone() -> None:
    raw = mime(
        "Message-ID: <1@x>", "Content-Type: application/pdf;", ' name="a.pdf"', "", "%PDF-1.4"
    )

    email = parse_mime(text_of_mime(raw, contents=False).encode())

    assert email.files == ()
    assert (email.plain or "").strip() == ""
    assert email.headers.first("message-id") == "<1@x>"


def test_without_contents_a_message_of_files_alone_has_no_text() -> None:
    raw = mime(
        "Content-Type: multipart/mixed; boundary=b",
        "",
        "--b",
        "Content-Type: multipart/related; boundary=c",
        "",
        "--c",
        "Content-Type: image/png; name=a.png",
        "",
        "PNG",
        "--c--",
        "--b",
        "Content-Type: application/pdf; name=a.pdf",
        "",
        "PDF",
        "--b--",
    )

    email = parse_mime(text_of_mime(raw, contents=False).encode())

    assert email.files == ()
    assert (email.plain or "").strip() == ""


def test_headers_are_found_without_reading_the_rest() -> None:
    headers = headers_of_mime("Message-ID: <1@x>\r\nTo: a@x,\r\n b@x\r\n\r\nTo: c@x")

    assert headers.all("to") == ["a@x, b@x"]


@given(st.binary(max_size=300))
def test_any_bytes_are_read_the_same_as_text(raw: bytes) -> None:
    raw = b"Content-Type: text/plain; charset=latin-1\r\n\r\n" + raw

    assert parse_mime(text_of_mime(raw).encode()).plain == parse_mime(raw).plain
