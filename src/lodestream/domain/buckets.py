"""Buckets: e-mails as mailboxes hold them, kept to be read again. (Contract: e-mails, 4 to 6.)"""

from __future__ import annotations

from hashlib import sha256
from typing import Annotated, Final, Literal

import msgspec
from msgspec import UNSET, Meta, Raw, Struct, UnsetType

from lodestream.domain.comments import Attachment
from lodestream.domain.errors import InvalidInput
from lodestream.domain.times import format_us, parse_us

MOST_EMAILS: Final = 1024
"""How many e-mails one request may bring."""

Name = Annotated[str, Meta(min_length=1, max_length=1024)]
Time = Annotated[str, Meta(max_length=64)]
Whole = Annotated[int, Meta(ge=0, le=2**63 - 1)]


class UpdatedBy(Struct, forbid_unknown_fields=True, frozen=True):
    """Which part of a connector wrote to a bucket last."""

    config_owner: Annotated[str, Meta(max_length=1024)]
    config_key: Annotated[str, Meta(max_length=1024)]
    shard_index: Whole
    num_shards: Whole


class Bucket(Struct, frozen=True):
    """A bucket. `key` is its number inside the database, `id` the one outside."""

    key: int
    id: str
    project_id: str
    owner: str
    name: str
    title: str
    last_updated_by: UpdatedBy | None
    created_us: int
    updated_us: int
    emails: int


class EmailMetadata(Struct, forbid_unknown_fields=True):
    """What a mailbox knows of an e-mail, apart from the e-mail itself."""

    sensitivity: Annotated[str, Meta(max_length=1024)] | None = None
    size: Whole | None = None
    categories: (
        Annotated[list[Annotated[str, Meta(max_length=1024)]], Meta(max_length=1024)] | None
    ) = None
    importance: Annotated[str, Meta(max_length=1024)] | None = None
    has_attachments: bool | None = None
    conversation_id: Annotated[str, Meta(max_length=4096)] | None = None
    conversation_topic: Annotated[str, Meta(max_length=4096)] | None = None
    is_read: bool | None = None
    folder: Annotated[list[Annotated[str, Meta(max_length=1024)]], Meta(max_length=1024)] | None = (
        None
    )
    received_at: Time | None = None


class EmailNew(Struct, forbid_unknown_fields=True):
    """An e-mail as a client writes it.

    The last two fields are those that a downloaded e-mail has: they may be sent back and are
    ignored.
    """

    id: Name
    mailbox: Name
    timestamp: Time
    mime_content: Annotated[str, Meta(max_length=32 << 20)]
    metadata: EmailMetadata | None = None
    attachments: Annotated[list[Attachment], Meta(max_length=128)] = []
    created_at: Raw | UnsetType = UNSET
    updated_at: Raw | UnsetType = UNSET


class SyncState(Struct, forbid_unknown_fields=True, omit_defaults=True):
    """Where a connector is with a whole bucket."""

    sync_state: Annotated[str, Meta(max_length=1 << 20)]
    progress_timestamp: Time | None = None
    last_synced_at: Time | None = None


class KeyedSyncState(Struct, forbid_unknown_fields=True, omit_defaults=True):
    """Where a connector is with a folder of a mailbox, or without a folder with all of it."""

    mailbox_name: Name
    status: Literal["IN_PROGRESS", "UP_TO_DATE"]
    folder_id: Annotated[str, Meta(max_length=4096)] | UnsetType = UNSET
    folder_path: (
        Annotated[list[Annotated[str, Meta(max_length=1024)]], Meta(max_length=1024)] | UnsetType
    ) = UNSET
    synced_until: Time | None = None
    last_synced_at: Time | UnsetType = UNSET
    fingerprint: Annotated[str, Meta(max_length=1 << 16)] | None = None


def name_hash(name: str) -> str:
    """Return the short form of a name by which it is found, however long it is."""
    return sha256(name.encode()).hexdigest()[:32]


def checked_email(new: EmailNew) -> EmailNew:
    """Check what the schema cannot, and bring times to one form.

    Raises InvalidInput.
    """
    new.timestamp = checked_time(new.timestamp, "timestamp")
    metadata = new.metadata
    if metadata is not None:
        # Clients insist on these two being arrays.
        metadata.categories = metadata.categories or []
        metadata.folder = metadata.folder or []
        metadata.received_at = _checked(metadata.received_at, "metadata.received_at")
    new.created_at = new.updated_at = UNSET
    return new


def checked_time(text: str, where: str) -> str:
    """Return an instant in the form in which it is sent. Raises InvalidInput."""
    try:
        return format_us(parse_us(text))
    except (ValueError, OverflowError) as error:
        raise InvalidInput(f"{where}: {error}") from None


def checked_state(state: SyncState) -> SyncState:
    """Check the times of a state. Raises InvalidInput."""
    return msgspec.structs.replace(
        state,
        progress_timestamp=_checked(state.progress_timestamp, "progress_timestamp"),
        last_synced_at=_checked(state.last_synced_at, "last_synced_at"),
    )


def checked_keyed_state(state: KeyedSyncState, *, now_us: int) -> KeyedSyncState:
    """Check a state, and date it `now_us` if it has no time. Raises InvalidInput."""
    if (state.folder_id is UNSET) is not (state.folder_path is UNSET):
        raise InvalidInput("'folder_id' and 'folder_path' are given both or not at all")
    synced_at = format_us(now_us) if state.last_synced_at is UNSET else state.last_synced_at
    return msgspec.structs.replace(
        state,
        synced_until=_checked(state.synced_until, "synced_until"),
        last_synced_at=checked_time(synced_at, "last_synced_at"),
    )


def _checked(text: str | None, where: str) -> str | None:
    return None if text is None else checked_time(text, where)


def email_json(new: EmailNew) -> bytes:
    """Return a checked e-mail as it is stored: the beginning of what is sent."""
    return msgspec.json.encode(new)


def email_from(body: bytes) -> EmailNew:
    """Read a stored e-mail."""
    return msgspec.json.decode(body, type=EmailNew)


def shown_email(body: bytes, *, created_us: int, updated_us: int | None) -> bytes:
    """Return a stored e-mail as clients see it, with the times of its storing."""
    updated = b"null" if updated_us is None else b'"%s"' % format_us(updated_us).encode()
    created = format_us(created_us).encode()
    return b'%s,"created_at":"%s","updated_at":%s}' % (body[:-1], created, updated)
