"""MIME messages as e-mails: samples of every kind, and any bytes at all."""

from __future__ import annotations

import time
from base64 import b64encode
from collections.abc import Sequence
from typing import NamedTuple

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from lodestream.mail.email import Email
from lodestream.mail.headers import decoded, mailboxes
from lodestream.mail.mime import parse_mime
from tests.mail.samples import mime, sample, samples

EVERY = [*samples("mail_gem/**/*.eml"), *samples("talon/**/*.eml")]


class Expected(NamedTuple):
    subject: str
    sender: str
    files: Sequence[str] = ()
    text: str = ""
    codec: str = "utf-8"


GEM = {
    "attachment_emails/attachment_content_disposition": Expected(
        "testing", "foo@example.com", ["api.rb"], "This is the first part.", "cp1252"
    ),
    "attachment_emails/attachment_content_location": Expected(
        "testing", "foo@example.com", ["Photo25.jpg"], "This is the first part.", "cp1252"
    ),
    "attachment_emails/attachment_message_rfc822": Expected(
        "testing", "foo@example.com", ["ForwardedMessage.eml"], "This is the first part.", "cp1252"
    ),
    "attachment_emails/attachment_message_rfc822_inline_image": Expected(
        "test", "test@example.com", ["img.png", "Testmail.eml"]
    ),
    "attachment_emails/attachment_nonascii_filename": Expected(
        "testing", "foo@example.com", ["ciële.txt"], "This is the first part.", "cp1252"
    ),
    "attachment_emails/attachment_only_email": Expected(
        "this message JUST contains an attachment",
        "Ryan Finnie <rfinnie@domain.dom>",
        ["blah.gz"],
        codec="",
    ),
    "attachment_emails/attachment_pdf": Expected(
        "Another PDF with 🎉 Unicode chars in it 🍿",
        "Test Tester <xxxx@xxxx.com>",
        ["broken.pdf"],
        "Just attaching another PDF",
        "cp1252",
    ),
    "attachment_emails/attachment_pdf_non_ascii": Expected(
        "Another PDF with 🎉 Unicode chars in it 🍿",
        "Test Tester <xxxx@xxxx.com>",
        ["broken.pdf"],
        "Just attaching another PDF",
    ),
    "attachment_emails/attachment_with_base64_encoded_name": Expected(
        "Fwd: Signed email causes file attachments",
        "xxxxxxxxx xxxxxxx <xxxxxxxxx.xxxxxxx@gmail.com>",
        ["This is a test.pdf"],
        "We should not include these files",
        "cp1252",
    ),
    "attachment_emails/attachment_with_quoted_filename": Expected(
        "Eelanalüüsi päring",
        "Jeffrey Hardy <jeff@37signals.com>",
        ["Eelanalüüsi päring.jpg"],
        codec="",
    ),
    "mime_emails/email_with_similar_boundaries": Expected(
        "Xxxxxx", "Xxxxx <xxxxxx@xxxxxxxx.xxx>", ["LOGO.png"], "Test"
    ),
    "mime_emails/raw_email_with_illegal_boundary": Expected(
        "Testing outlook",
        "Mikel Lindsaar <email_test@me.nowhere>",
        [],
        "Hello\nThis is an outlook test",
        "cp1252",
    ),
    "mime_emails/raw_email_with_nested_attachment": Expected(
        "Testing attachments",
        "Jamis Buck <jamis@37signals.com>",
        ["truncated.png", "smime.p7s"],
        "Here is a test of an attachment via email.",
    ),
    "mime_emails/raw_email7": Expected(
        "testing",
        "foo@example.com",
        ["test.rb", "test.pdf", "smime.p7s"],
        "This is the first part.",
        "cp1252",
    ),
    "mime_emails/raw_email_with_binary_encoded": Expected(
        "Testing outlook",
        "Mikel Lindsaar <email_test@me.nowhere>",
        ["2013-08-13_19-08-28-1.jpg"],
        codec="",
    ),
    "multi_charset/japanese": Expected(
        "まみむめも", "Mikel Lindsaar <raasdnil@gmail.com>", [], "かきくえこ"
    ),
    "multi_charset/japanese_attachment": Expected(
        "testing", "Mikel Lindsaar <raasdnil@gmail.com>", ["てすと.txt"], "testing"
    ),
    "multi_charset/japanese_attachment_long_name": Expected(
        "まみむめも" * 10,
        "Mikel Lindsaar <mikel@test.lindsaar.net>",
        ["かきくけこ" * 5 + ".txt"],
        codec="",
    ),
    "multi_charset/japanese_iso_2022": Expected(
        "まみむめも",
        "Mikel Lindsaar <raasdnil@gmail.com>",
        [],
        "すみません。",
        "iso2022_jp_ext",
    ),
    "multi_charset/japanese_shift_jis": Expected(
        "test", "xxxxxxx@docomo.ne.jp", [], "あいうえお", "cp932"
    ),
    "multi_charset/ks_c_5601-1987": Expected("test", "from@example.com", [], "스티해", "cp949"),
    "multipart_report_emails/multi_address_bounce1": Expected(
        "Undelivered Mail Returned to Sender",
        "MAILER-DAEMON@lvmail01.LL.com (Mail Delivery System)",
        ["delivery-status.txt", "Test of bounce email.eml"],
        "This is the mail system at host lvmail01.LL.com.",
    ),
    "multipart_report_emails/report_422": Expected(
        "Warning: could not send message for past 8 hours",
        "Mail Delivery Subsystem <MAILER-DAEMON@tppppp.com.au>",
        ["delivery-status.txt", "headers.txt"],
        "**      THIS IS",
    ),
    "plain_emails/raw_email": Expected(
        "NOTE: 한국말로 하는 것",
        "Jamis Buck <jamis@37signals.com>",
        [],
        "대부분의 마찬가지로, 우리는 하나님을 믿습니다.",
        "cp949",
    ),
    "plain_emails/raw_email10": Expected("", "xxx@xxxx.xxx", [], "Test test. Hi. Waving. m"),
    "plain_emails/raw_email_bad_time": Expected(
        "[0]: XXXXXXX XXXXX XXXXX !",
        "Атиковa <yusuf75thu@auracom.net>",
        [],
        "Filter2: This message",
        "cp1251",
    ),
    "plain_emails/raw_email_with_partially_quoted_subject": Expected(
        'Re: Test: "漢字" mid "漢字" tail',
        "Jamis Buck <jamis@37signals.com>",
        [],
        "대부분의",
        "cp949",
    ),
    "plain_emails/mix_caps_content_type": Expected(
        "undef method parameter bug", "Big Bug bb@bug.com", [], "foo bar", "cp1252"
    ),
}


@pytest.mark.parametrize("name", EVERY)
def test_every_sample_has_a_sender_and_no_broken_text(name: str) -> None:
    email = parse_mime(sample(name))
    assert mailboxes(email.headers.all("from"))
    assert email.plain is not None or email.html is not None or email.files
    assert "\ufffd" not in (email.plain or "") + (email.html or "")
    for file in email.files:
        assert file.read is not None
        assert len(file.read()) == file.size_bytes


@pytest.mark.parametrize("name", GEM)
def test_subject_sender_files_and_charset_are_read(name: str) -> None:
    email = parse_mime(sample(f"mail_gem/{name}.eml"))
    wanted = GEM[name]
    assert decoded(email.headers.first("subject")) == wanted.subject
    assert mailboxes(email.headers.all("from"))[0] == wanted.sender
    assert [file.name for file in email.files] == list(wanted.files)
    assert wanted.text in (email.plain or "")
    assert email.charset == wanted.codec


def test_the_content_of_a_file_is_decoded() -> None:
    (file,) = parse_mime(sample("mail_gem/multi_charset/japanese_attachment.eml")).files
    assert file.read is not None
    assert file.read().decode() == "this is a test\nこれわてすと"


def test_a_forwarded_message_is_a_file_that_can_be_read_as_a_message() -> None:
    email = parse_mime(sample("mail_gem/attachment_emails/attachment_message_rfc822.eml"))
    (file,) = email.files
    assert (file.content_type, file.read is None) == ("message/rfc822", False)
    inner = parse_mime(file.read() if file.read else b"")
    assert decoded(inner.headers.first("subject")) == "Another PDF"
    assert [one.name for one in inner.files] == ["broken.pdf"]


def test_a_bounce_is_known_as_a_report() -> None:
    assert parse_mime(sample("mail_gem/multipart_report_emails/report_530.eml")).is_report


def multipart(kind: str, *parts: tuple[str, str], boundary: str = "b1") -> bytes:
    lines = [f"Content-Type: multipart/{kind}; boundary={boundary}", ""]
    for head, body in parts:
        lines += [f"--{boundary}", head, "", body]
    return mime(*lines, f"--{boundary}--", "")


def test_both_forms_of_alternatives_are_kept() -> None:
    email = parse_mime(
        multipart(
            "alternative", ("Content-Type: text/plain", "a"), ("Content-Type: text/html", "<p>b")
        )
    )
    assert (email.plain, email.html, email.files) == ("a", "<p>b", ())


def test_a_footer_behind_an_html_body_does_not_hide_it() -> None:
    email = parse_mime(
        multipart(
            "mixed",
            ("Content-Type: text/html", "<p>body</p>"),
            ("Content-Type: text/plain", "foot"),
        )
    )
    assert email.plain == "body\nfoot"


def test_an_invitation_without_text_says_what_and_when() -> None:
    email = parse_mime(
        mime(
            "Content-Type: text/calendar; method=REQUEST",
            "",
            "BEGIN:VCALENDAR",
            "BEGIN:VEVENT",
            "SUMMARY;LANGUAGE=en:Review\\, part 2",
            "DTSTART;TZID=Europe/Berlin:20240501T100000",
            "LOCATION:Room 7",
            "DESCRIPTION:Bring\\nnum",
            " bers",
            "END:VEVENT",
        )
    )
    assert email.plain == "Review, part 2\nStart: 2024-05-01 10:00\nWhere: Room 7\n\nBring\nnumbers"
    assert [file.name for file in email.files] == ["invite.ics"]


def test_the_envelope_of_outlook_is_known() -> None:
    email = parse_mime(multipart("mixed", ("Content-Type: application/ms-tnef", "x")))
    assert email.has_tnef
    assert not parse_mime(multipart("mixed", ("Content-Type: image/png", "x"))).has_tnef


def test_a_boundary_that_is_not_declared_is_found() -> None:
    raw = multipart("mixed", ("Content-Type: text/plain", "a"), ("Content-Type: image/png", "x"))
    for declared in (b"boundary=other", b"boundary=", b"charset=x"):
        email = parse_mime(raw.replace(b"boundary=b1", declared))
        assert email.plain == "a"
        assert [file.content_type for file in email.files] == ["image/png"]


def test_a_multipart_without_parts_is_text() -> None:
    assert parse_mime(mime("Content-Type: multipart/mixed; boundary=b", "", "text")).plain == "text"


@pytest.mark.parametrize(
    ("body", "encoding", "text"),
    [
        (b"SGVsbG8=", "base64", "Hello"),
        (b"SGVsbG8=\r\n____\r\nfooter of a list", "base64", "Hello"),
        (b"Plain text, not encoded at all", "base64", "Plain text, not encoded at all"),
        (b"a=C3=A4=\r\nb", "quoted-printable", "aäb"),
        (b"<a class=edit href=big>x</a>", "quoted-printable", "<a class=edit href=big>x</a>"),
        (b"x", "nonsense", "x"),
        (b"begin 644 a\r\n%2&5L;&\\\r\n`\r\nend", "x-uuencode", "Hello"),
    ],
)
def test_transfer_encodings_are_read_leniently(body: bytes, encoding: str, text: str) -> None:
    head = (
        f"Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: {encoding}\r\n\r\n"
    )
    assert parse_mime(head.encode() + body).plain == text


@pytest.mark.parametrize(
    ("raw", "declared", "text"),
    [
        ("Größe".encode("cp1252"), "iso-8859-1", "Größe"),
        ("Größe".encode(), "us-ascii", "Größe"),
        ("Größe".encode(), "iso-8859-1", "Größe"),
        ("Größe €".encode("cp1252"), "nonsense", "Größe €"),
        ("Größe".encode("utf-16"), "utf-8", "Größe"),
        ("日本語①".encode("cp932"), "shift_jis", "日本語①"),
        ("日本語".encode("iso2022_jp"), "us-ascii", "日本語"),
        ("您好，谢谢。镕".encode("gbk"), "gb2312", "您好，谢谢。镕"),
        ("똠방각하".encode("cp949"), "ks_c_5601-1987", "똠방각하"),
        ("Привет, как дела? Когда вы приедете?".encode("koi8-r"), "", "Привет, как дела?"),
        ("Guten Tag, Größe fehlt".encode("cp1252"), "utf-8", "Guten Tag, Größe"),
    ],
)
def test_wrong_and_missing_charsets_are_seen_through(raw: bytes, declared: str, text: str) -> None:
    charset = f"; charset={declared}" if declared else ""
    email = parse_mime(f"Content-Type: text/plain{charset}\r\n\r\n".encode() + raw)
    assert (email.plain or "").startswith(text)


def test_flowed_lines_are_joined() -> None:
    email = parse_mime(
        mime(
            "Content-Type: text/plain; format=flowed",
            "",
            "one ",
            "paragraph",
            ">> quoted ",
            ">> lines",
            "-- ",
            "Ann",
        )
    )
    assert email.plain == "one paragraph\n>> quoted lines\n-- \nAnn"


def test_a_message_without_headers_is_text() -> None:
    assert parse_mime(b"Hello\n\nthere").plain == "Hello\n\nthere"
    assert parse_mime(b"").plain == ""


def deeply_nested(levels: int) -> bytes:
    return b"".join(
        b"Content-Type: multipart/mixed; boundary=b%d\r\n\r\n--b%d\r\n" % (at, at)
        for at in range(levels)
    )


@pytest.mark.parametrize(
    "raw",
    [
        deeply_nested(20_000),
        b"Content-Type: multipart/mixed; boundary=b\n\n" + b"--b\n\n" * 200_000,
        b"Content-Type: multipart/mixed; boundary=b\n\n" + b"--b" * 300_000,
        b"\n" * 1_000_000,
        b"a:" * 500_000,
        b"a: b\n" * 200_000,
        b"Content-Type: text/plain; " + b'a="' * 300_000,
        b"Content-Type: text/plain; " + b"a=b;" * 250_000,
        b"Content-Transfer-Encoding: quoted-printable\n\n" + b"=" * 1_000_000,
        b"Content-Transfer-Encoding: base64\n\n" + b"A" * 1_000_000,
        b"Content-Type: text/calendar\n\n" + b"SUMMARY;" * 100_000,
        b"Content-Type: text/plain; format=flowed\n\n" + b"> \n" * 300_000,
        b"Subject: " + b"=?utf-8?q?" * 100_000,
    ],
    ids=lambda raw: repr(raw[:40]),
)
def test_time_grows_with_the_length_only(raw: bytes) -> None:
    started = time.process_time()
    parse_mime(raw)
    assert time.process_time() - started < 3  # it is a matter of minutes where it grows faster


PIECES = st.sampled_from(
    [
        b"Content-Type: multipart/mixed; boundary=b\n",
        b'Content-Type: multipart/alternative; boundary="b"\n',
        b"Content-Type: text/html; charset=utf-7\n",
        b"Content-Type: text/plain; charset=hz; format=flowed\n",
        b"Content-Type: message/rfc822\n",
        b"Content-Type: text/calendar; name*0*=utf-16''%ff%fe\n",
        b"Content-Transfer-Encoding: base64\n",
        b"Content-Transfer-Encoding: quoted-printable\n",
        b"Content-Transfer-Encoding: x-uuencode\n",
        b"Content-Disposition: attachment; filename*=iso-2022-jp'ja'%1b$B\n",
        b"Subject: =?utf-16?b?AA==?= =?utf-8?q?=ff?=\n",
        b"--b\n",
        b"--b--\n",
        b"\n",
        b"\r",
        b"begin 644 x\n",
        b"\xff\xfe\x00",
        b"=3D=\n",
        b"From x\n",
    ]
)


@given(st.lists(PIECES | st.binary(max_size=30), max_size=20).map(b"".join))
@example(b64encode(b"x" * 100))
def test_any_bytes_are_an_email(raw: bytes) -> None:
    email = parse_mime(raw)
    assert isinstance(email, Email)
    for file in email.files:
        assert file.read is not None
        assert len(file.read()) == file.size_bytes
