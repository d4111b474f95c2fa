"""Buckets: create, change, delete; e-mails into them, and from them into sources."""

from __future__ import annotations

import contextlib
import logging
import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import msgspec

from lodestream.actions import ingest, raw_emails
from lodestream.actions.files import Content
from lodestream.domain.audit import ProjectRef, Refs
from lodestream.domain.buckets import (
    Bucket,
    EmailNew,
    KeyedSyncState,
    SyncState,
    UpdatedBy,
    email_from,
)
from lodestream.domain.comments import Incoming, prepare, source_tag
from lodestream.domain.errors import Conflict, InvalidInput, NotFound, Unprocessable
from lodestream.domain.ids import new_id
from lodestream.domain.sources import Source
from lodestream.domain.times import now_us
from lodestream.domain.users import SYSTEM_USER
from lodestream.store import audit, buckets, files, jobs, order, projects, quotas, sources
from lodestream.store import sync_states as states
from lodestream.store.blobs import BlobStore
from lodestream.store.buckets import StoredEmail
from lodestream.store.catalogue import Catalogue
from lodestream.store.db import Database, Writer

log = logging.getLogger("lodestream.buckets")

PURGED_AT_ONCE: Final = 200
READ_AT_ONCE: Final = 256
_READER_S: Final = 60  # it is taken again for every part
_WAIT_S: Final = 5.0


@dataclass(frozen=True, slots=True)
class BucketChanges:
    """What a caller sets; None leaves it as it is."""

    title: str | None = None
    last_updated_by: UpdatedBy | None = None


def create_bucket(
    db: Database, *, actor_id: str, project_id: str, owner: str, name: str, title: str
) -> Bucket:
    """Create a bucket. Repeating the very create that made it returns it as it is.

    Raises Conflict if the name is taken by one with another title, QuotaExceeded, and NotFound if
    the project went away.
    """
    with db.write() as tx:
        projects.require_exists(tx, project_id)
        stored = buckets.find_by_name(tx, owner, name)
        if stored is not None:
            if stored.title == title:
                return stored
            raise Conflict(f"a bucket named {owner}/{name} exists")
        return insert_bucket(
            tx, actor_id=actor_id, project_id=project_id, owner=owner, name=name, title=title
        )


def insert_bucket(
    tx: Writer, *, actor_id: str, project_id: str, owner: str, name: str, title: str
) -> Bucket:
    """Create a bucket whose name is free. Raises QuotaExceeded."""
    now = now_us()
    quotas.require_room(tx, "buckets", buckets.count(tx) + 1)
    wanted = Bucket(0, new_id(), project_id, owner, name, title, None, now, now, 0)
    bucket = buckets.insert(tx, wanted)
    _record(tx, actor_id, "create_bucket", bucket)
    return bucket


def update_bucket(db: Database, *, actor_id: str, key: int, changes: BucketChanges) -> Bucket:
    """Set what is given; an empty change is none. Raises NotFound."""
    with db.write() as tx:
        before = buckets.get_by_key(tx, key)
        wanted = msgspec.structs.replace(
            before,
            title=before.title if changes.title is None else changes.title,
            last_updated_by=changes.last_updated_by or before.last_updated_by,
        )
        if wanted == before:
            return before
        updated_us = max(now_us(), before.updated_us + 1)
        wanted = msgspec.structs.replace(wanted, updated_us=updated_us)
        buckets.update(tx, wanted)
        _record(tx, actor_id, "update_bucket", wanted)
    return wanted


def delete_bucket(db: Database, *, actor_id: str, key: int) -> None:
    """Delete a bucket: it is gone at once, its e-mails and files follow in the background.

    Its sources keep their comments. Raises NotFound.
    """
    with db.write() as tx:
        bucket = buckets.get_by_key(tx, key)
        remove_bucket(tx, bucket)
        _record(tx, actor_id, "delete_bucket", bucket)


def remove_bucket(tx: Writer, bucket: Bucket) -> None:
    """Take a bucket away and leave its e-mails to the worker."""
    buckets.delete(tx, bucket, now_us=now_us())
    jobs.enqueue(tx, "purge_bucket", {"bucket": bucket.key})


def add_emails(db: Database, *, actor_id: str, bucket: Bucket, emails: Sequence[EmailNew]) -> None:
    """Store e-mails, or replace those of the same id and mailbox, whole or not at all.

    Sources of the bucket get their comments in the background. Raises NotFound if the bucket went
    away.
    """
    if not emails:
        return
    with db.write(catalogue=False) as tx:
        append_emails(tx, actor_id=actor_id, bucket=bucket, emails=emails)


def append_emails(tx: Writer, *, actor_id: str, bucket: Bucket, emails: Sequence[EmailNew]) -> None:
    """Do what `add_emails` does, in the caller's transaction. Raises NotFound."""
    new = buckets.append(tx, bucket.key, emails, now_us=now_us())
    buckets.plan_readings(tx, bucket.key)
    details: dict[str, str | int] = {"new": new, "emails": len(emails)}
    _record(tx, actor_id, "add_emails_to_bucket", bucket, details)


def upload_file(
    db: Database,
    blobs: BlobStore,
    *,
    actor_id: str,
    bucket: Bucket,
    content: Content,
    content_type: str,
) -> str:
    """Store the content of an e-mail's attachment; return its SHA-256.

    Raises NotFound if the bucket went away.
    """
    content_hash, size = blobs.put(content())
    with db.write(catalogue=False) as tx:
        order.take_order(tx)
        if not blobs.path(content_hash).exists():
            # The same bytes were collected between our writing them and this transaction.
            blobs.put(content())
        buckets.add_file(
            tx, bucket.key, content_hash=content_hash, size_bytes=size, content_type=content_type
        )
        details: dict[str, str | int] = {"content_hash": content_hash}
        _record(tx, actor_id, "upload_email_attachment", bucket, details)
    return content_hash


def store_sync_state(db: Database, *, bucket: Bucket, state: SyncState) -> None:
    """Keep where a connector is with a bucket. Raises NotFound if the bucket went away.

    As with streams that advance, there is no audit entry: a connector does it after every batch.
    """
    with db.write(catalogue=False) as tx:
        buckets.get_by_key(tx, bucket.key)
        states.store(tx, bucket.key, state)


def store_keyed_state(db: Database, *, bucket: Bucket, key: str, state: KeyedSyncState) -> None:
    """Keep where a connector is with a folder; as `store_sync_state`."""
    with db.write(catalogue=False) as tx:
        buckets.get_by_key(tx, bucket.key)
        states.store_keyed(tx, bucket.key, key, state)


def delete_keyed_state(db: Database, *, actor_id: str, bucket: Bucket, key: str) -> None:
    """Forget where a connector is with a folder, so that it begins anew. Raises NotFound."""
    with db.write(catalogue=False) as tx:
        if not states.delete_keyed(tx, bucket.key, key):
            raise NotFound(f"No such sync state: {key[:200]}")
        _record(tx, actor_id, "delete_keyed_sync_state", bucket)


# In the background


def purge_bucket(
    db: Database, blobs: BlobStore, key: int, *, between: Callable[[], None] = lambda: None
) -> None:
    """Delete the e-mails and files of a bucket that was deleted.

    Done in short transactions; `between` is called between two of them and may raise to stop.
    Repeated, it goes on with what is left.
    """
    while True:
        with db.write(catalogue=False) as tx:
            done = buckets.purge(tx, key, limit=PURGED_AT_ONCE) < PURGED_AT_ONCE
        if done:
            break
        between()
    with db.write(catalogue=False) as tx:
        # Under the order no upload or claim can come between the question and the removal.
        order.take_order(tx)
        for content_hash in files.without_owner(tx, buckets.forget_files(tx, key)):
            blobs.delete(content_hash)


def read_bucket(
    db: Database, blobs: BlobStore, source_key: int, *, between: Callable[[], None] = lambda: None
) -> float | None:
    """Make comments of what is new in a source's bucket, or of all if it is to be read anew.

    Of one id in several mailboxes the e-mail that was stored last counts. One that cannot be read
    is passed over and logged. `between` may raise to stop; repeated, it goes on where it was.

    Return in how many seconds to come back, if another worker is at it; None when all is read.
    """
    reader = secrets.token_hex(8)
    try:
        while True:
            now = now_us()
            with db.write(catalogue=False) as tx:
                until = now + _READER_S * 1_000_000
                if not buckets.take_reading(
                    tx, source_key, reader=reader, until_us=until, now_us=now
                ):
                    return None if buckets.find_reading(tx, source_key) is None else _WAIT_S
            if not _read_some(db, blobs, source_key, reader):
                return None
            between()
    finally:
        with db.write(catalogue=False) as tx:
            buckets.leave_reading(tx, source_key, reader=reader)


class _Overtaken(Exception):
    """Another worker reads on, or the reading began anew."""


def _read_some(db: Database, blobs: BlobStore, source_key: int, reader: str) -> bool:
    """Read the next e-mails; return False if there are none."""
    with db.read() as tx:
        reading = buckets.find_reading(tx, source_key)
        if reading is None or not sources.exists(tx, source_key):
            return False
        source = sources.get_by_key(tx, source_key)
        emails = buckets.read_after(tx, reading.bucket, stamp=reading.upto, limit=READ_AT_ONCE)
    if not emails:
        return False
    kept = _Kept(blobs)
    batch = _prepared(source, emails, kept, salt=Catalogue(db).salt())
    _bring_files(db, kept, source, reading.bucket, batch)

    def advance(tx: Writer) -> None:
        # With the comments, or not at all: a reader that was so slow that another has taken over
        # must not write what it read over what is newer.
        upto, generation = emails[-1].stamp, reading.generation
        if not buckets.advance_reading(
            tx, source_key, reader=reader, generation=generation, upto=upto
        ):
            raise _Overtaken

    with contextlib.suppress(_Overtaken):
        ingest.sync_comments(db, actor_id=SYSTEM_USER, source=source, batch=batch, within=advance)
    return True


class _Kept:
    """Contents of attachments that were found inside e-mails."""

    def __init__(self, blobs: BlobStore) -> None:
        self._blobs = blobs
        self.found: dict[str, tuple[str, int, str]] = {}  # hash → hash, size, type

    def keep(self, content: bytes, content_type: str) -> str:
        """Store a content; return its SHA-256."""
        content_hash, size = self._blobs.put(iter((content,)))
        self.found[content_hash] = (content_hash, size, content_type)
        return content_hash

    def require(self, content_hash: str) -> None:
        """Raise Conflict if a content was collected before anybody owned it."""
        if not self._blobs.path(content_hash).exists():
            raise Conflict(f"the content {content_hash} was removed; it is stored again next time")


def _prepared(
    source: Source, emails: Sequence[StoredEmail], kept: _Kept, *, salt: int
) -> list[Incoming]:
    reading = raw_emails.Reading(raw_emails.transform_tag_of(None, source))
    tag = source_tag(source.key)
    last: dict[str, Incoming] = {}
    for stored in emails:
        try:
            comment = raw_emails.read_bucket_email(email_from(stored.body), reading, kept.keep)
            incoming = prepare(comment, salt=salt, tag=tag)
        except (InvalidInput, Unprocessable) as error:
            told = {"source": source.id, "seq": stored.seq, "reason": error.message}
            log.warning("an e-mail of a bucket cannot be read", extra=told)
            continue
        last[incoming.id] = incoming
    return list(last.values())


def _bring_files(
    db: Database, kept: _Kept, source: Source, bucket_key: int, batch: Sequence[Incoming]
) -> None:
    """Let the source have the contents that its new comments name and the bucket has.

    Raises Conflict if a content went away meanwhile.
    """
    named = {
        one.content_hash
        for incoming in batch
        for one in incoming.attachments
        if isinstance(one.content_hash, str)
    }
    if not named:
        return
    with db.write(catalogue=False) as tx:
        order.take_order(tx)
        sources.require_exists(tx, source.key)
        uploaded = buckets.find_files(tx, bucket_key, named)
        for content_hash, size_bytes, kind in (*uploaded, *kept.found.values()):
            kept.require(content_hash)
            files.add(
                tx,
                source.key,
                content_hash=content_hash,
                size_bytes=size_bytes,
                content_type=kind,
                created_us=now_us(),
            )


def _record(
    tx: Writer,
    actor_id: str,
    event_type: str,
    bucket: Bucket,
    more: dict[str, str | int] | None = None,
) -> None:
    refs = Refs(
        projects=(ProjectRef(bucket.project_id, bucket.owner),),
        details={"bucket_id": bucket.id, "bucket": bucket.name, **(more or {})},
    )
    audit.record(tx, actor_id=actor_id, event_type=event_type, refs=refs)
