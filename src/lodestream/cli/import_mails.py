"""E-mails of any file into a source or a bucket."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from email import message_from_bytes
from email.errors import MessageError
from email.policy import compat32
from hashlib import sha256
from typing import Any, Final

import msgspec

from lodestream.actions.raw_emails import Reading, read_email
from lodestream.actions.sources import DEFAULT_TRANSFORM_TAG
from lodestream.cli.import_comments import CommentSender, Target
from lodestream.cli.import_report import Report
from lodestream.client import Client, Refused
from lodestream.client.calls import full_name
from lodestream.domain.errors import InvalidInput, Unprocessable
from lodestream.domain.raw_emails import RawEmailDocument
from lodestream.domain.times import format_us
from lodestream.formats.found import Bad, FoundComment, FoundMail
from lodestream.formats.outlook import RtfBody
from lodestream.mail.comment import hex_id
from lodestream.mail.email import Email
from lodestream.mail.headers import sent_us
from lodestream.mail.mime import parse_mime
from lodestream.mail.rtf import decapsulate, decompress

MOST_AT_ONCE: Final = 64
MOST_BYTES: Final = 8 << 20
_LONGEST_PLAIN: Final = 65_536
_LONGEST_HTML: Final = 32 << 20
_LONGEST_MIME: Final = 32 << 20
_LONGEST_NAME: Final = 256
_MOST_FILES: Final = 128
_NO_DATE: Final = "no date can be read: neither in 'Date' nor in 'Received'"
_OF_THE_CONTENT: Final = (400, 413, 422)


def read_rtf(content: bytes) -> RtfBody:
    """Return what a compressed RTF body holds."""
    found = decapsulate(decompress(content))
    return RtfBody(found.html, found.plain)


@dataclass(frozen=True, slots=True)
class SourceOptions:
    """How e-mails become comments of a source."""

    source: str
    source_id: str
    mailbox: str = ""
    transform_tag: str | None = None
    with_files: bool = True


@dataclass(frozen=True, slots=True)
class _Document:
    mail: FoundMail
    email: Email
    value: dict[str, Any]
    size_bytes: int


def send_to_source(
    client: Client, mails: Iterable[FoundMail | Bad], options: SourceOptions, report: Report
) -> None:
    """Store e-mails as comments of a source, with their files.

    In a dry run they are read as the server would do it, and nothing is sent but questions.
    """
    if report.is_dry:
        target = Target(options.source, options.source_id)
        CommentSender(client, target, report).send(_foreseen(mails, options))
        return
    path = f"/api/v1/sources/{full_name(options.source)}/sync-raw-emails"
    for batch in _batches(_documents(mails, options, report)):
        for one in batch:
            if options.with_files:
                _upload_files(client, one, options, report)
        _send(client, path, batch, options, report)


def _documents(
    mails: Iterable[FoundMail | Bad], options: SourceOptions, report: Report
) -> Iterator[_Document]:
    for mail in mails:
        report.read += 1
        found = mail if isinstance(mail, Bad) else document_of(mail, options)
        # Told here, so that the server does not refuse a whole batch for its sake.
        if isinstance(found, _Document) and sent_us(found.email.headers) is None:
            found = Bad(mail.where, _NO_DATE, size_bytes=mail.size_bytes)
        if isinstance(found, Bad):
            report.refuse(found)
            report.progress.advance(0, step=mail.size_bytes)
        else:
            yield found


def _foreseen(
    mails: Iterable[FoundMail | Bad], options: SourceOptions
) -> Iterator[FoundComment | Bad]:
    reading = Reading(options.transform_tag or DEFAULT_TRANSFORM_TAG)
    for mail in mails:
        if isinstance(mail, Bad):
            yield mail
            continue
        found = document_of(mail, options)
        if options.with_files:
            # The name that the server would give the contents, so that what is there is unchanged.
            for description, content in _contents(found):
                description["content_hash"] = sha256(content).hexdigest()
        try:
            document = msgspec.convert(found.value, RawEmailDocument)
            comment = read_email(document, reading)
        except (Unprocessable, InvalidInput) as error:
            yield Bad(mail.where, error.message, size_bytes=mail.size_bytes)
        except (msgspec.ValidationError, KeyError) as error:
            yield Bad(mail.where, str(error), size_bytes=mail.size_bytes)
        else:
            yield FoundComment(mail.where, comment, size_bytes=mail.size_bytes)


def document_of(mail: FoundMail, options: SourceOptions) -> _Document:
    """Return an e-mail as `sync-raw-emails` takes it. Its id is the same whenever it is read."""
    email = parse_mime(mail.mime)
    message_id = email.headers.first("message-id")
    comment_id = hex_id(message_id) if message_id else sha256(mail.mime).hexdigest()
    body: dict[str, str] = {}
    if email.plain is not None:
        body["plain"] = _sound(email.plain)[:_LONGEST_PLAIN]
    if email.html is not None:
        body["html"] = _sound(email.html)[:_LONGEST_HTML]
    files = [
        {
            "name": _sound(file.name)[:_LONGEST_NAME],
            "size": file.size_bytes,
            "content_type": _sound(file.content_type)[:_LONGEST_NAME],
            "inline": file.inline,
        }
        for file in email.files[:_MOST_FILES]
    ]
    headers = {
        _sound(name): [_sound(one) for one in values] for name, values in email.headers.items()
    }
    properties = {"Folder": " / ".join(mail.folder), "Mailbox": options.mailbox or mail.mailbox}
    value = {
        "raw_email": {"headers": {"parsed": headers}, "body": body, "attachments": files},
        "comment_id": comment_id,
        "user_properties": {
            f"string:{name}": _sound(text) for name, text in properties.items() if text
        },
    }
    size = sum(map(len, body.values())) + 2000
    return _Document(mail, email, value, size)


def _sound(text: str) -> str:
    return text.encode("utf-8", "replace").decode().replace("\0", "\ufffd")


def _batches(documents: Iterable[_Document]) -> Iterator[list[_Document]]:
    batch: list[_Document] = []
    size = 0
    for one in documents:
        if batch and (len(batch) == MOST_AT_ONCE or size + one.size_bytes > MOST_BYTES):
            yield batch
            batch, size = [], 0
        batch.append(one)
        size += one.size_bytes
    if batch:
        yield batch


def _contents(one: _Document) -> Iterator[tuple[dict[str, Any], bytes]]:
    """Yield what is said of each file of an e-mail, with its content."""
    for file, description in zip(
        one.email.files, one.value["raw_email"]["attachments"], strict=False
    ):
        content = b"" if file.read is None else file.read()
        if content:
            yield description, content


def _upload_files(client: Client, one: _Document, options: SourceOptions, report: Report) -> None:
    """Store the files of an e-mail, and let it name them."""
    where = f"/api/_private/sources/id:{options.source_id}/comments/{one.value['comment_id']}"
    for number, (description, content) in enumerate(_contents(one)):
        try:
            reply = client.call("PUT", f"{where}/attachments/{number}", content)
        except Refused as error:
            if error.status not in _OF_THE_CONTENT:
                raise
            name = description["name"]
            report.note(f"{one.mail.where}: the file {name!r} is left out: {error.message}")
            continue
        description["content_hash"] = reply["content_hash"]
        report.counts["attachments"] += 1


def _send(
    client: Client,
    path: str,
    batch: list[_Document],
    options: SourceOptions,
    report: Report,
) -> None:
    """Store a batch. One that is refused is halved until the e-mails at fault stand alone."""
    waiting = [batch]
    while waiting:
        part = waiting.pop()
        body = {"documents": [one.value for one in part], "include_comments": False}
        if options.transform_tag is not None:
            body["transform_tag"] = options.transform_tag
        try:
            reply = client.call("POST", path, body, idempotent=True)
        except Refused as error:
            if error.status not in _OF_THE_CONTENT:
                raise
            if len(part) > 1:
                middle = len(part) // 2
                waiting += [part[middle:], part[:middle]]
                continue
            report.refuse(Bad(part[0].mail.where, error.message))
        else:
            report.count(reply)
        report.progress.advance(len(part), step=sum(one.mail.size_bytes for one in part))


# Buckets


def send_to_bucket(
    client: Client, mails: Iterable[FoundMail | Bad], bucket: str, mailbox: str, report: Report
) -> None:
    """Store e-mails in a bucket as they are."""
    path = f"/api/_private/buckets/{full_name(bucket)}/emails"
    waiting: list[dict[str, Any]] = []
    size = 0
    for mail in mails:
        report.read += 1
        email = mail if isinstance(mail, Bad) else bucket_email_of(mail, mailbox)
        report.progress.advance(isinstance(email, dict), step=mail.size_bytes)
        if isinstance(email, Bad):
            report.refuse(email)
            continue
        length = len(email["mime_content"])
        if waiting and (len(waiting) == MOST_AT_ONCE or size + length > MOST_BYTES):
            _put(client, path, waiting, report)
            waiting, size = [], 0
        waiting.append(email)
        size += length
    _put(client, path, waiting, report)


def _put(client: Client, path: str, emails: list[dict[str, Any]], report: Report) -> None:
    if emails and not report.is_dry:
        client.call("PUT", path, {"emails": emails})
    report.counts["e-mails stored"] += len(emails)


def bucket_email_of(mail: FoundMail, mailbox: str) -> dict[str, Any] | Bad:
    """Return an e-mail as a bucket holds it. Its id is the same whenever it is read."""
    email = parse_mime(mail.mime)
    when = sent_us(email.headers)
    if when is None:
        return Bad(mail.where, _NO_DATE)
    content = _as_text(mail.mime)
    if len(content) > _LONGEST_MIME:
        return Bad(mail.where, f"larger than {_LONGEST_MIME} characters: a source would take it")
    message_id = _sound(email.headers.first("message-id"))
    is_usable = 0 < len(message_id) <= 1024
    return {
        "id": message_id if is_usable else f"<{sha256(mail.mime).hexdigest()}@import>",
        "mailbox": (mailbox or mail.mailbox or "import")[:1024],
        "timestamp": format_us(when),
        "mime_content": content,
        "metadata": {
            "folder": [_sound(one)[:1024] for one in mail.folder],
            "has_attachments": bool(email.files),
        },
    }


def _as_text(mime: bytes) -> str:
    """Return MIME as text: what is in another charset than UTF-8 is encoded as MIME has it."""
    try:
        return mime.decode().replace("\0", "\ufffd")
    except UnicodeDecodeError:
        pass
    try:
        return (
            message_from_bytes(mime, policy=compat32)
            .as_bytes(policy=compat32.clone(cte_type="7bit"))
            .decode("ascii", "replace")
            .replace("\0", "\ufffd")
        )
    except (MessageError, LookupError, ValueError, TypeError, AttributeError):
        # The library gives up on some broken mails; single letters are lost then.
        return mime.decode("utf-8", "replace").replace("\0", "\ufffd")
