"""Sync states: where connectors are with a bucket, kept for them without being understood."""

from __future__ import annotations

import msgspec
import sqlalchemy as sa

from lodestream.domain.buckets import KeyedSyncState, SyncState, name_hash
from lodestream.store.db import Reader, Writer
from lodestream.store.dialect import upsert
from lodestream.store.tables import bucket_sync_state, keyed_sync_state


def find(tx: Reader, bucket_key: int) -> SyncState | None:
    """Return the state of a whole bucket, or None."""
    query = sa.select(bucket_sync_state.c.body).where(bucket_sync_state.c.bucket == bucket_key)
    body = tx.execute(query).scalar_one_or_none()
    return None if body is None else msgspec.json.decode(body, type=SyncState)


def store(tx: Writer, bucket_key: int, state: SyncState) -> None:
    """Set the state of a whole bucket."""
    values = {"bucket": bucket_key, "body": msgspec.json.encode(state).decode()}
    tx.execute(upsert(bucket_sync_state, tx.dialect_name, values=values, update=("body",)))


def find_keyed(tx: Reader, bucket_key: int, key: str) -> KeyedSyncState | None:
    """Return the state that a connector stored under a key, or None."""
    query = sa.select(keyed_sync_state.c.body).where(*_here(bucket_key, key))
    body = tx.execute(query).scalar_one_or_none()
    return None if body is None else msgspec.json.decode(body, type=KeyedSyncState)


def list_keyed(tx: Reader, bucket_key: int) -> list[KeyedSyncState]:
    """Return every keyed state of a bucket, by mailbox and folder."""
    query = sa.select(keyed_sync_state.c.body).where(keyed_sync_state.c.bucket == bucket_key)
    found = [msgspec.json.decode(body, type=KeyedSyncState) for body in tx.execute(query).scalars()]
    return sorted(found, key=lambda one: (one.mailbox_name, one.folder_path or []))


def keys_of_mailbox(tx: Reader, bucket_key: int, mailbox_name: str) -> list[str]:
    """Return the keys under which states of a mailbox are stored; letter case does not count."""
    query = sa.select(keyed_sync_state.c.key).where(
        keyed_sync_state.c.bucket == bucket_key,
        keyed_sync_state.c.mailbox_hash == name_hash(mailbox_name.lower()),
    )
    return sorted(tx.execute(query).scalars())


def store_keyed(tx: Writer, bucket_key: int, key: str, state: KeyedSyncState) -> None:
    """Set the state under a key."""
    values = {
        "bucket": bucket_key,
        "key": key,
        "mailbox_hash": name_hash(state.mailbox_name.lower()),
        "body": msgspec.json.encode(state).decode(),
    }
    update = ("mailbox_hash", "body")
    tx.execute(upsert(keyed_sync_state, tx.dialect_name, values=values, update=update))


def delete_keyed(tx: Writer, bucket_key: int, key: str) -> bool:
    """Remove the state under a key; return False if there is none."""
    return tx.execute(sa.delete(keyed_sync_state).where(*_here(bucket_key, key))).rowcount == 1


def _here(bucket_key: int, key: str) -> tuple[sa.ColumnElement[bool], ...]:
    return keyed_sync_state.c.bucket == bucket_key, keyed_sync_state.c.key == key
