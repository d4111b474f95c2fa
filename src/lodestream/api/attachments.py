"""Attachments and recordings over HTTP."""

from __future__ import annotations

import re
from typing import Final
from urllib.parse import quote

from msgspec import Struct

from lodestream.actions import files as actions
from lodestream.api.calls import Call
from lodestream.api.errors import error_reply
from lodestream.api.http import Reply, Request
from lodestream.api.multipart import uploaded_file
from lodestream.api.sources import source_by_id
from lodestream.domain.comments import key_hash, parse_file_reference, source_tag
from lodestream.domain.errors import InvalidInput, NotFound
from lodestream.domain.ids import is_comment_id
from lodestream.domain.sources import Source
from lodestream.store import comments, files, sources
from lodestream.store.files import StoredFile

MOST_ATTACHMENTS: Final = 128

_NO_SNIFFING: Final = (b"x-content-type-options", b"nosniff")


class UploadReply(Struct):
    """The name under which a comment claims the content."""

    content_hash: str
    status: str = "ok"


def upload_attachment(call: Call[None]) -> UploadReply:
    """Store the content of an attachment, before or after its comment is sent.

    The comment claims it by naming `content_hash` in its `attachments`.
    """
    source = source_by_id(call)
    _require_comment_id(call.values[1])
    index = call.values[2]
    if not (index.isascii() and index.isdigit() and int(index[:9]) < MOST_ATTACHMENTS):
        raise InvalidInput(f"attachment index: an integer below {MOST_ATTACHMENTS} expected")
    with uploaded_file(call.request, call.service.spool) as upload:
        content_hash = actions.upload_attachment(
            call.service.db,
            call.service.blobs,
            actor_id=call.actor.user_id,
            source=source,
            content=upload.chunks,
            content_type=upload.content_type,
        )
    return UploadReply(content_hash)


def get_attachment(call: Call[None]) -> Reply:
    """Return the content of an attachment by the reference in its comment.

    To who may not see the source there is no such attachment.
    """
    reference = call.values[0]
    missing = NotFound(f"No such attachment: {reference[:200]}")
    parsed = parse_file_reference(reference)
    if parsed is None:
        raise missing
    source_id, content_hash = parsed
    with call.service.db.read() as tx:
        source = sources.find_by_id(tx, source_id)
        if source is None:
            raise missing
        call.require(source.project_id, not_found=missing.message)
        file = files.find_attachment(tx, source.key, content_hash)
    if file is None:
        raise missing
    # Never the type that the uploader gave: a browser would show such a file as a page of ours.
    reply = _content(call, file, b"application/octet-stream", missing)
    reply.headers.append((b"content-disposition", content_disposition(file.name)))
    return reply


def set_audio(call: Call[None]) -> None:
    """Attach a recording to a comment, in place of the one before."""
    source = source_by_id(call)
    comment_id = call.values[1]
    _require_comment_id(comment_id)
    with uploaded_file(call.request, call.service.spool) as upload:
        actions.set_audio(
            call.service.db,
            call.service.blobs,
            actor_id=call.actor.user_id,
            source=source,
            comment_id=comment_id,
            content=upload.chunks,
            salt=call.service.catalogue.salt(),
        )


def get_audio(call: Call[None]) -> Reply:
    """Return the recording of a comment as it was uploaded, whole or the range asked for."""
    source = source_by_id(call)
    comment_id = call.values[1]
    missing = NotFound(f"No recording of comment {comment_id[:200]!r}")
    file = _find_audio(call, source, comment_id)
    if file is None:
        raise missing
    return _content(call, file, file.content_type.encode("latin-1"), missing)


def _find_audio(call: Call[None], source: Source, comment_id: str) -> StoredFile | None:
    if not is_comment_id(comment_id):
        return None
    number = key_hash(
        comment_id, salt=call.service.catalogue.salt(), source_tag=source_tag(source.key)
    )
    with call.service.db.read() as tx:
        found = comments.find_positions(tx, source.key, {comment_id: number})
        if comment_id not in found:
            return None
        return files.find_audio(tx, source.key, found[comment_id][0])


def _require_comment_id(comment_id: str) -> None:
    if not is_comment_id(comment_id):
        raise InvalidInput(f"comment id {comment_id[:200]!r} is not allowed")


def _content(call: Call[None], file: StoredFile, kind: bytes, missing: NotFound) -> Reply:
    """Return a stored file, whole or the range asked for."""
    size = file.size_bytes
    headers = [_NO_SNIFFING, (b"accept-ranges", b"bytes")]
    asked = byte_range(call.request, size)
    start, end = (0, size) if asked is None else asked
    if asked is not None and start >= end:
        refused = error_reply(416, f"416 Range Not Satisfiable: the file has {size} bytes")
        refused.headers.append((b"content-range", b"bytes */%d" % size))
        return refused
    pieces = call.service.blobs.read_part(file.content_hash, start, end - start)
    if pieces is None:
        raise missing
    if asked is not None:
        headers.append((b"content-range", b"bytes %d-%d/%d" % (start, end - 1, size)))
    status = 200 if asked is None else 206
    return Reply(b"", status, kind, headers, parts=pieces, size_bytes=end - start)


_RANGE: Final = re.compile(rb"bytes=(\d{0,15})-(\d{0,15})", re.ASCII)


def byte_range(request: Request, size: int) -> tuple[int, int] | None:
    """Return the range of bytes that a request asks for, as start and end (exclusive).

    None if it asks for the whole, or in a form that a server may pass over (RFC 9110, 14.2:
    another unit, several ranges, nonsense). The range is empty if it cannot be satisfied.
    """
    match = _RANGE.fullmatch(request.headers.get(b"range", b"").strip())
    if match is None or request.headers.get(b"if-range"):
        return None
    first, last = match.groups()
    if not first:
        return (max(size - int(last), 0), size) if last else None
    if last and int(last) < int(first):
        return None
    return int(first), min(int(last) + 1, size) if last else size


def content_disposition(name: str) -> bytes:
    """Return the header that makes a browser save a file, under a name that cannot harm it.

    RFC 6266: a plain form for old clients and a percent-encoded one for all others.
    """
    base = re.split(r"[/\\]", name)[-1]
    base = "".join(c for c in base if c.isprintable()).strip(" .") or "attachment"
    plain = re.sub(r'[^ -~]|["\\%;]', "_", base)
    return f"attachment; filename=\"{plain}\"; filename*=UTF-8''{quote(base, safe='')}".encode()
