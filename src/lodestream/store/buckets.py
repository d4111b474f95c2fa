"""Buckets: rows ↔ structs; the e-mails in them, and how far sources have read them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import msgspec
import sqlalchemy as sa

from lodestream.domain.buckets import Bucket, EmailNew, UpdatedBy, email_json, name_hash
from lodestream.domain.errors import NotFound
from lodestream.store import bulk, jobs
from lodestream.store.db import Reader, Writer
from lodestream.store.dialect import upsert
from lodestream.store.tables import (
    bucket,
    bucket_email,
    bucket_file,
    bucket_reading,
    bucket_sync_state,
    job,
    keyed_sync_state,
    project,
    source,
    source_content,
)

READ_BUCKET: Final = "read_bucket"
"""Kind of the job that makes comments of the e-mails of a source's bucket."""
_PAGE_BYTES: Final = 32 << 20

_QUERY = sa.select(bucket, project.c.name.label("owner")).join(
    project, project.c.id == bucket.c.project_id
)


@dataclass(frozen=True, slots=True)
class StoredEmail:
    """An e-mail of a bucket; `body` is its JSON as it was sent."""

    seq: int
    stamp: int
    body: bytes
    created_us: int
    updated_us: int | None


@dataclass(frozen=True, slots=True)
class Reading:
    """How far a source has read its bucket, as of a generation."""

    bucket: int
    generation: int
    upto: int


def find_by_id(tx: Reader, bucket_id: str) -> Bucket | None:
    """Return the bucket with this id, or None."""
    row = tx.execute(_QUERY.where(bucket.c.id == bucket_id)).first()
    return None if row is None else _bucket(row)


def find_by_name(tx: Reader, project_name: str, name: str) -> Bucket | None:
    """Return the bucket of this full name, or None."""
    row = tx.execute(_QUERY.where(project.c.name == project_name, bucket.c.name == name)).first()
    return None if row is None else _bucket(row)


def get_by_key(tx: Reader, key: int) -> Bucket:
    """Return the bucket with this key. Raises NotFound."""
    row = tx.execute(_QUERY.where(bucket.c.key == key)).first()
    if row is None:
        raise NotFound("No such bucket")
    return _bucket(row)


def list_buckets(tx: Reader, *, projects: frozenset[str] | None) -> list[Bucket]:
    """Return the buckets of the projects with these ids (None: of all), by owner and name."""
    query = _QUERY
    if projects is not None:
        query = query.where(bucket.c.project_id.in_(projects))
    found = [_bucket(row) for row in tx.execute(query)]
    return sorted(found, key=lambda one: (one.owner, one.name))


def count(tx: Reader) -> int:
    """Return how many buckets there are."""
    number: int = tx.execute(sa.select(sa.func.count()).select_from(bucket)).scalar_one()
    return number


def insert(tx: Writer, values: Bucket) -> Bucket:
    """Store a new, empty bucket; its `key` is chosen here and returned with it."""
    row = sa.insert(bucket).values(
        id=values.id,
        project_id=values.project_id,
        name=values.name,
        title=values.title,
        last_updated_by=_updated_by_json(values.last_updated_by),
        created_us=values.created_us,
        updated_us=values.updated_us,
        emails=0,
        stamp=0,
    )
    key = tx.execute(row.returning(bucket.c.key)).scalar_one()
    return msgspec.structs.replace(values, key=key)


def update(tx: Writer, values: Bucket) -> None:
    """Set what can be changed of a bucket."""
    tx.execute(
        sa.update(bucket)
        .where(bucket.c.key == values.key)
        .values(
            title=values.title,
            last_updated_by=_updated_by_json(values.last_updated_by),
            updated_us=values.updated_us,
        )
    )


def delete(tx: Writer, values: Bucket, *, now_us: int) -> None:
    """Take a bucket away and detach it from its sources; its e-mails go later, by a job."""
    tx.execute(
        sa.update(source)
        .where(source.c.bucket_id == values.id)
        .values(bucket_id=None, updated_us=now_us)
    )
    for table in (bucket_reading, bucket_sync_state, keyed_sync_state):
        tx.execute(sa.delete(table).where(table.c.bucket == values.key))
    tx.execute(sa.delete(bucket).where(bucket.c.key == values.key))


def purge(tx: Writer, key: int, *, limit: int) -> int:
    """Delete up to `limit` e-mails of a bucket that is gone; return how many there were."""
    here = (
        sa.select(bucket_email.c.seq)
        .where(bucket_email.c.bucket == key)
        .order_by(bucket_email.c.seq)
        .limit(limit)
    )
    found = list(tx.execute(here).scalars())
    if found:
        tx.execute(
            sa.delete(bucket_email).where(
                bucket_email.c.bucket == key, bucket_email.c.seq <= found[-1]
            )
        )
    return len(found)


# E-mails


def append(tx: Writer, key: int, emails: Sequence[EmailNew], *, now_us: int) -> int:
    """Store e-mails, or replace those of the same id and mailbox; return how many are new.

    Raises NotFound if the bucket went away.
    """
    # The bucket's row is locked until commit, so stamps become visible in order.
    taken = (
        sa.update(bucket)
        .where(bucket.c.key == key)
        .values(stamp=bucket.c.stamp + len(emails))
        .returning(bucket.c.stamp)
    )
    last = tx.execute(taken).scalar_one_or_none()
    if last is None:
        raise NotFound("No such bucket")
    by_name = {(name_hash(one.id), name_hash(one.mailbox)): one for one in emails}
    known = _find_seqs(tx, key, {id_hash for id_hash, _ in by_name})
    fresh, changed = [], []
    for stamp, (names, one) in enumerate(by_name.items(), last - len(emails) + 1):
        body = email_json(one)
        if names in known:
            changed.append((key, known[names], stamp, now_us, body))
        else:
            fresh.append((key, stamp, stamp, *names, now_us, None, body))
    bulk.insert_rows(tx, bucket_email, fresh)
    bulk.update_rows(
        tx,
        bucket_email,
        key=("bucket", "seq"),
        values=("stamp", "updated_us", "body"),
        rows=changed,
    )
    more = sa.update(bucket).where(bucket.c.key == key)
    tx.execute(more.values(emails=bucket.c.emails + len(fresh)))
    return len(fresh)


def _find_seqs(tx: Reader, key: int, id_hashes: set[str]) -> dict[tuple[str, str], int]:
    columns = (bucket_email.c.id_hash, bucket_email.c.mailbox_hash, bucket_email.c.seq)
    rows = bulk.rows_in(
        tx, columns, bucket_email.c.id_hash, id_hashes, within=(bucket_email.c.bucket, key)
    )
    return {(id_hash, mailbox_hash): seq for id_hash, mailbox_hash, seq in rows}


def page(tx: Reader, key: int, *, after: int, limit: int) -> list[StoredEmail]:
    """Return up to `limit` e-mails after a place, in the order they were first stored.

    Fewer if they are large: about 32 MiB, but at least one.
    """
    order = bucket_email.c.seq
    return _bounded(tx, key, order > after, order, limit)


def any_after(tx: Reader, key: int, seq: int) -> bool:
    """Tell whether there are e-mails after a place."""
    here = (bucket_email.c.bucket == key, bucket_email.c.seq > seq)
    return tx.execute(sa.select(bucket_email.c.seq).where(*here).limit(1)).first() is not None


def read_after(tx: Reader, key: int, *, stamp: int, limit: int) -> list[StoredEmail]:
    """Return e-mails stored or replaced after a stamp, in that order, bounded as a `page`."""
    order = bucket_email.c.stamp
    return _bounded(tx, key, order > stamp, order, limit)


def _bounded(
    tx: Reader, key: int, where: sa.ColumnElement[bool], order: sa.Column[Any], limit: int
) -> list[StoredEmail]:
    size = sa.func.length(bucket_email.c.body, type_=sa.BigInteger)
    sizes = sa.select(order.label("place"), size.label("size_bytes")).where(
        bucket_email.c.bucket == key, where
    )
    total, last = 0, None
    for row in tx.execute(sizes.order_by(order).limit(limit)):
        total += row.size_bytes
        if last is not None and total > _PAGE_BYTES:
            break
        last = row.place
    if last is None:
        return []
    query = sa.select(bucket_email).where(bucket_email.c.bucket == key, where, order <= last)
    return [_email(row) for row in tx.execute(query.order_by(order))]


def find_emails(tx: Reader, key: int, email_id: str) -> list[StoredEmail]:
    """Return the e-mails with an id, one for each mailbox that holds it, the oldest first."""
    here = (bucket_email.c.bucket == key, bucket_email.c.id_hash == name_hash(email_id))
    query = sa.select(bucket_email).where(*here).order_by(bucket_email.c.seq)
    return [_email(row) for row in tx.execute(query)]


# Sources that read a bucket


def follow(tx: Writer, source_key: int, bucket_id: str | None) -> None:
    """Make a source read a bucket from its first e-mail on; None: make it read none."""
    here = bucket_reading.c.source == source_key
    if bucket_id is None:
        tx.execute(sa.delete(bucket_reading).where(here))
        return
    found = find_by_id(tx, bucket_id)
    if found is None:
        raise NotFound("No such bucket")
    before = tx.execute(sa.select(bucket_reading.c.generation).where(here)).scalar_one_or_none()
    values = {
        "source": source_key,
        "bucket": found.key,
        "generation": (before or 0) + 1,
        "upto": 0,
    }
    update_these = ("bucket", "generation", "upto")
    tx.execute(upsert(bucket_reading, tx.dialect_name, values=values, update=update_these))
    _plan_reading(tx, source_key)


def plan_readings(tx: Writer, key: int) -> None:
    """See to it that every source of a bucket reads what is new in it."""
    query = sa.select(bucket_reading.c.source).where(bucket_reading.c.bucket == key)
    for source_key in tx.execute(query.order_by(bucket_reading.c.source)).scalars():
        _plan_reading(tx, source_key)


def _plan_reading(tx: Writer, source_key: int) -> None:
    payload = msgspec.json.encode({"source": source_key}).decode()
    # A job that nobody has claimed yet will see what this transaction writes: the lock keeps it
    # from being claimed before the commit.
    waiting = sa.select(job.c.id).where(
        job.c.kind == READ_BUCKET, job.c.payload == payload, job.c.claimed_by.is_(None)
    )
    if tx.execute(waiting.limit(1).with_for_update()).first() is None:
        jobs.enqueue(tx, READ_BUCKET, {"source": source_key})


def take_reading(tx: Writer, source_key: int, *, reader: str, until_us: int, now_us: int) -> bool:
    """Become the one reader of a source's bucket, or stay it; return False if another is."""
    free = sa.or_(
        bucket_reading.c.read_by == reader,
        bucket_reading.c.read_until_us.is_(None),
        bucket_reading.c.read_until_us < now_us,
    )
    take = sa.update(bucket_reading).where(bucket_reading.c.source == source_key, free)
    return tx.execute(take.values(read_by=reader, read_until_us=until_us)).rowcount == 1


def leave_reading(tx: Writer, source_key: int, *, reader: str) -> None:
    """Stop being the reader of a source's bucket."""
    mine = (bucket_reading.c.source == source_key, bucket_reading.c.read_by == reader)
    tx.execute(sa.update(bucket_reading).where(*mine).values(read_by=None, read_until_us=None))


def find_reading(tx: Reader, source_key: int) -> Reading | None:
    """Return how far a source has read its bucket; None if it has none."""
    query = sa.select(
        bucket_reading.c.bucket, bucket_reading.c.generation, bucket_reading.c.upto
    ).where(bucket_reading.c.source == source_key)
    row = tx.execute(query).first()
    return None if row is None else Reading(row.bucket, row.generation, row.upto)


def advance_reading(
    tx: Writer, source_key: int, *, reader: str, generation: int, upto: int
) -> bool:
    """Note how far was read; return False if the reading was lost or began anew."""
    mine = (
        bucket_reading.c.source == source_key,
        bucket_reading.c.read_by == reader,
        bucket_reading.c.generation == generation,
    )
    return tx.execute(sa.update(bucket_reading).where(*mine).values(upto=upto)).rowcount == 1


def fullest_source(tx: Reader, key: int) -> int:
    """Return how many comments the fullest of the sources that read a bucket has; 0 if none."""
    query = (
        sa.select(sa.func.max(source_content.c.comments))
        .join(bucket_reading, bucket_reading.c.source == source_content.c.source)
        .where(bucket_reading.c.bucket == key)
    )
    return tx.execute(query).scalar_one() or 0


# Files


def add_file(
    tx: Writer, key: int, *, content_hash: str, size_bytes: int, content_type: str
) -> None:
    """Note that content was uploaded for a bucket. Raises NotFound if the bucket went away."""
    get_by_key(tx, key)
    values = {
        "bucket": key,
        "hash": content_hash,
        "size_bytes": size_bytes,
        "content_type": content_type,
    }
    tx.execute(upsert(bucket_file, tx.dialect_name, values=values, update=("content_type",)))


def find_files(tx: Reader, key: int, hashes: set[str]) -> list[tuple[str, int, str]]:
    """Return hash, size and type of those contents that were uploaded for a bucket."""
    columns = (bucket_file.c.hash, bucket_file.c.size_bytes, bucket_file.c.content_type)
    rows = bulk.rows_in(
        tx, columns, bucket_file.c.hash, sorted(hashes), within=(bucket_file.c.bucket, key)
    )
    return [(str(content_hash), int(size), str(kind)) for content_hash, size, kind in rows]


def forget_files(tx: Writer, key: int) -> set[str]:
    """Forget every content that was uploaded for a bucket; return their hashes."""
    here = bucket_file.c.bucket == key
    found = set(tx.execute(sa.select(bucket_file.c.hash).where(here)).scalars())
    tx.execute(sa.delete(bucket_file).where(here))
    return found


def _updated_by_json(value: UpdatedBy | None) -> str | None:
    return None if value is None else msgspec.json.encode(value).decode()


def _bucket(row: Any) -> Bucket:
    by = row.last_updated_by
    return Bucket(
        key=row.key,
        id=row.id,
        project_id=row.project_id,
        owner=row.owner,
        name=row.name,
        title=row.title,
        last_updated_by=None if by is None else msgspec.json.decode(by, type=UpdatedBy),
        created_us=row.created_us,
        updated_us=row.updated_us,
        emails=row.emails,
    )


def _email(row: Any) -> StoredEmail:
    return StoredEmail(row.seq, row.stamp, row.body, row.created_us, row.updated_us)
