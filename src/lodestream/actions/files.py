"""Files of comments: store what is uploaded, attach recordings, drop what nobody claims."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final

from lodestream.domain.audio import audio_type
from lodestream.domain.audit import ProjectRef, Refs
from lodestream.domain.comments import key_hash, source_tag
from lodestream.domain.errors import NotFound, Unprocessable
from lodestream.domain.sources import Source
from lodestream.domain.times import now_us
from lodestream.store import audit, comments, files, order, sources
from lodestream.store.blobs import BlobStore
from lodestream.store.db import Database, Writer

Content = Callable[[], Iterator[bytes]]
"""Gives a content in pieces, from its beginning on, each time it is called."""

UNCLAIMED_FOR_US: Final = 48 * 3600 * 1_000_000
"""How long an upload waits for the comment that claims it."""
_COLLECTED_AT_ONCE: Final = 500


def upload_attachment(
    db: Database,
    blobs: BlobStore,
    *,
    actor_id: str,
    source: Source,
    content: Content,
    content_type: str,
) -> str:
    """Store the content of an attachment, to be claimed by a comment; return its SHA-256.

    Raises NotFound if the source went away.
    """
    content_hash, size = blobs.put(content())
    with db.write(catalogue=False) as tx:
        _add(tx, blobs, source, content_hash, size, content, content_type)
        _record(tx, actor_id, "upload_comment_attachment", source, content_hash)
    return content_hash


def set_audio(
    db: Database,
    blobs: BlobStore,
    *,
    actor_id: str,
    source: Source,
    comment_id: str,
    content: Content,
    salt: int,
) -> None:
    """Make content the recording of a comment, in place of the one before.

    Raises NotFound if the comment is not there, Unprocessable if it is no known audio format.
    """
    kind = audio_type(next(content(), b""))
    if kind is None:
        raise Unprocessable("the file is in no known audio format")
    number = key_hash(comment_id, salt=salt, source_tag=source_tag(source.key))
    content_hash, size = blobs.put(content())
    with db.write(catalogue=False) as tx:
        _add(tx, blobs, source, content_hash, size, content, kind)
        found = comments.find_positions(tx, source.key, {comment_id: number})
        if comment_id not in found:
            raise NotFound(f"No such comment: {comment_id}")
        files.set_audio(tx, source.key, found[comment_id][0], content_hash)
        _record(tx, actor_id, "set_comment_audio", source, content_hash)


def collect_files(
    db: Database,
    blobs: BlobStore,
    *,
    between: Callable[[], None] = lambda: None,
    before_us: int | None = None,
) -> int:
    """Drop files that no comment claims, uploaded before an instant (default: two days ago).

    `between` is called between two steps and may raise to stop. Return how many contents were
    removed.
    """
    limit_us = now_us() - UNCLAIMED_FOR_US if before_us is None else before_us
    removed = 0
    while True:
        with db.write(catalogue=False) as tx:
            # Under the order no upload or claim can come between the question and the removal.
            order.take_order(tx)
            forgotten, gone = files.forget_unclaimed(
                tx, before_us=limit_us, limit=_COLLECTED_AT_ONCE
            )
            for content_hash in gone:
                blobs.delete(content_hash)
        removed += len(gone)
        if not forgotten:
            return removed
        between()


def _add(
    tx: Writer,
    blobs: BlobStore,
    source: Source,
    content_hash: str,
    size: int,
    content: Content,
    content_type: str,
) -> None:
    order.take_order(tx)
    sources.require_exists(tx, source.key)
    if not blobs.path(content_hash).exists():
        # The same bytes were collected between our writing them and this transaction.
        blobs.put(content())
    files.add(
        tx,
        source.key,
        content_hash=content_hash,
        size_bytes=size,
        content_type=content_type,
        created_us=now_us(),
    )


def _record(tx: Writer, actor_id: str, event_type: str, source: Source, content_hash: str) -> None:
    refs = Refs(
        projects=(ProjectRef(source.project_id, source.owner),),
        sources=(source.ref,),
        details={"content_hash": content_hash},
    )
    audit.record(tx, actor_id=actor_id, event_type=event_type, refs=refs)
