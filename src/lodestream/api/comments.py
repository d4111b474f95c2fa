"""Comments over HTTP."""

from __future__ import annotations

from base64 import b64decode
from binascii import Error as Base64Error
from typing import Any

import msgspec
from msgspec import Struct

from lodestream.actions import ingest
from lodestream.api.calls import Call
from lodestream.api.http import OK_REPLY, Reply
from lodestream.api.sources import named_source
from lodestream.domain import access
from lodestream.domain.comments import (
    CommentBatch,
    comment_of,
    key_hash,
    page_token,
    source_tag,
    without_markup,
    without_properties,
)
from lodestream.domain.errors import InvalidInput, NotFound
from lodestream.domain.ids import is_comment_id
from lodestream.domain.sources import Source, hidden_properties
from lodestream.domain.times import parse_us
from lodestream.store import comments as store
from lodestream.store.threads import ThreadProperties, thread_properties

MOST_DELETED = 128


class SyncReply(Struct):
    """What a batch did."""

    new: int
    updated: int
    unchanged: int
    updated_properties_only: int
    updated_text_changed: int
    status: str = "ok"


class CommentReply(Struct):
    """One comment."""

    comment: msgspec.Raw
    status: str = "ok"


class CommentPage(Struct, omit_defaults=True):
    """A page of comments, in order of timestamp; without `continuation` it is the last."""

    status: str
    comments: list[msgspec.Raw]
    continuation: str | msgspec.UnsetType = msgspec.UNSET
    thread_properties: list[ThreadProperties | None] | msgspec.UnsetType = msgspec.UNSET


def sync_comments(call: Call[CommentBatch]) -> SyncReply:
    """Create or overwrite a batch of comments, whole or not at all."""
    source = named_source(call)
    salt = call.service.catalogue.salt()
    batch = ingest.prepare_batch(call.body.comments, source=source, salt=salt)
    counts = ingest.sync_comments(
        call.service.db, actor_id=call.actor.user_id, source=source, batch=batch
    )
    count_ingested(call, counts)
    return _counted(counts)


def _counted(counts: ingest.Counts) -> SyncReply:
    return SyncReply(
        counts.new,
        counts.updated,
        counts.unchanged,
        counts.updated_properties_only,
        counts.updated_text_changed,
    )


def foresee_comments(call: Call[CommentBatch]) -> SyncReply:
    """Tell what `sync` would do with a batch of comments now: nothing is stored.

    What it would refuse for the comments' sake is refused here, too; quotas are not looked at.
    """
    source = named_source(call)
    salt = call.service.catalogue.salt()
    batch = ingest.prepare_batch(call.body.comments, source=source, salt=salt)
    counts = ingest.foresee_comments(call.service.db, source=source, batch=batch)
    return _counted(counts)


def add_comments(call: Call[CommentBatch]) -> Reply:
    """Create a batch of comments; different content under a stored id is a conflict.

    The answer is exactly `{"status":"ok"}`: the vendor's client refuses any further key.
    """
    source = named_source(call)
    salt = call.service.catalogue.salt()
    batch = ingest.prepare_batch(call.body.comments, source=source, salt=salt)
    counts = ingest.add_comments(
        call.service.db, actor_id=call.actor.user_id, source=source, batch=batch
    )
    count_ingested(call, counts)
    return Reply(OK_REPLY)


def count_ingested(call: Call[Any], counts: ingest.Counts) -> None:
    """Count for the metrics what a committed batch did."""
    call.service.metrics.ingested(
        new=counts.new, updated=counts.updated, unchanged=counts.unchanged
    )


def get_comment(call: Call[None]) -> CommentReply:
    """Return one comment by its id."""
    source = named_source(call)
    comment_id = call.values[2]
    include_markup = call.request.query_bool("include_markup", default=False)
    missing = NotFound(f"No such comment: {comment_id}")
    if not is_comment_id(comment_id):
        raise missing
    number = key_hash(
        comment_id, salt=call.service.catalogue.salt(), source_tag=source_tag(source.key)
    )
    with call.service.db.read() as tx:
        found = store.find_positions(tx, source.key, {comment_id: number})
        if comment_id not in found:
            raise missing
        pos = found[comment_id][0]
        front = store.read_fronts(tx, [pos])[pos]
        annotated = store.annotated(tx, [pos])
    comment = shown(call, source, front, markup=include_markup)
    return CommentReply(msgspec.Raw(with_annotation_mark(comment, pos in annotated)))


def list_comments(call: Call[None]) -> CommentPage:
    """Return a page of a source's comments, in order of timestamp."""
    source = named_source(call)
    request = call.request
    limit = request.query_int("limit", default=64, low=1, high=256)
    assert limit is not None
    direction = request.query("direction") or "ascending"
    if direction not in ("ascending", "descending"):
        raise InvalidInput("query parameter 'direction': 'ascending' or 'descending' expected")
    include_markup = request.query_bool("include_markup", default=False)
    lower_us = _instant(request.query("from_timestamp"), "from_timestamp")
    upper_us = _instant(request.query("to_timestamp"), "to_timestamp")
    after: tuple[int, int] | None = None
    token = request.query("after")
    if token is not None:
        timestamp_us, pos, bound = _parse_page_token(token)
        after = (timestamp_us, pos)
        lower_us = bound if lower_us is None else lower_us
    with call.service.db.read() as tx:
        rows = store.page_by_timestamp(
            tx,
            source.key,
            lower_us=lower_us,
            upper_us=upper_us,
            after=after,
            descending=direction == "descending",
            limit=limit,
        )
        positions = [pos for _, pos, _ in rows]
        annotated = store.annotated(tx, positions)
        page = CommentPage(
            "ok",
            [
                msgspec.Raw(
                    with_annotation_mark(
                        shown(call, source, front, markup=include_markup), pos in annotated
                    )
                )
                for _, pos, front in rows
            ],
        )
        if request.query_bool("include_thread_properties", default=False):
            page.thread_properties = thread_properties(tx, source.key, positions)
    if len(rows) == limit:
        page.continuation = page_token(rows[-1][0], rows[-1][1], lower_us)
    return page


def delete_comments(call: Call[None]) -> None:
    """Delete comments by id; unknown ids are no error."""
    source = named_source(call)
    request = call.request
    literal = [text for text in request.query_all("id") if text]
    wanted = [one for text in request.query_all("ids") for one in text.split(",") if one]
    # A generated client may send `id=a,b`; but an id may contain commas itself.
    stored = _stored(call, source, [text for text in literal if "," in text])
    for text in literal:
        wanted += [text] if text in stored else [one for one in text.split(",") if one]
    if not wanted:
        raise InvalidInput("query parameter 'id': at least one comment id expected")
    if len(wanted) > MOST_DELETED:
        raise InvalidInput(f"at most {MOST_DELETED} comments can be deleted at once")
    ingest.delete_comments(
        call.service.db,
        actor_id=call.actor.user_id,
        source=source,
        ids=[one for one in dict.fromkeys(wanted) if is_comment_id(one)],
        salt=call.service.catalogue.salt(),
    )


def shown(call: Call[Any], source: Source, front: bytes, *, markup: bool) -> bytes:
    """Return a comment as the caller may see it."""
    comment = comment_of(front)
    if not markup:
        comment = without_markup(comment)
    if source.sensitive_properties and not may_see_sensitive(call, source.project_id):
        comment = without_properties(comment, hidden_properties(source.sensitive_properties))
    return comment


def may_see_sensitive(call: Call[Any], project_id: str) -> bool:
    """Tell whether the caller may see the user properties that a source marks as sensitive."""
    return access.SOURCES_READ_SENSITIVE in access.permissions_in(call.actor, project_id)


def with_annotation_mark(comment: bytes, annotated: bool) -> bytes:
    """Return a comment's JSON with `has_annotations`."""
    return b'%s,"has_annotations":%s}' % (comment[:-1], b"true" if annotated else b"false")


def _stored(call: Call[None], source: Source, ids: list[str]) -> set[str]:
    """Return those of the ids that the source holds."""
    possible = [one for one in ids if is_comment_id(one)]
    if not possible:
        return set()
    tag, salt = source_tag(source.key), call.service.catalogue.salt()
    hashes = {one: key_hash(one, salt=salt, source_tag=tag) for one in possible}
    with call.service.db.read() as tx:
        return set(store.find_positions(tx, source.key, hashes))


def _instant(text: str | None, name: str) -> int | None:
    if text is None:
        return None
    try:
        return parse_us(text)
    except (ValueError, OverflowError):
        raise InvalidInput(f"query parameter {name!r}: an ISO 8601 timestamp expected") from None


def _parse_page_token(token: str) -> tuple[int, int, int | None]:
    try:
        timestamp, pos, lower = b64decode(token, validate=True).decode("ascii").split(" ")
        values = int(timestamp), int(pos), int(lower) if lower else None
    except (ValueError, Base64Error):
        raise InvalidInput("query parameter 'after': not a continuation of this listing") from None
    if any(value is not None and abs(value) >= 2**63 for value in values):
        raise InvalidInput("query parameter 'after': not a continuation of this listing")
    return values
