"""Attachments and recordings: which stored file belongs to which comment.

The bytes lie outside the database, under their SHA-256 (see `store.blobs`). A comment claims an
uploaded file by naming its hash; the claim makes it readable by a reference.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

import sqlalchemy as sa
from msgspec import UNSET

from lodestream.domain.comments import (
    Attachment,
    Incoming,
    attachments_of,
    file_reference,
    with_attachments,
)
from lodestream.domain.sources import Source
from lodestream.store import bulk
from lodestream.store.db import Reader, Writer
from lodestream.store.dialect import upsert
from lodestream.store.tables import bucket_file, comment_text, file_claim, stored_file

AUDIO_SLOT: Final = -1


@dataclass(frozen=True, slots=True)
class StoredFile:
    """A file that belongs to a comment; `name` is that of the attachment, empty for audio."""

    content_hash: str
    size_bytes: int
    content_type: str
    name: str = ""


def add(
    tx: Writer,
    source: int,
    *,
    content_hash: str,
    size_bytes: int,
    content_type: str,
    created_us: int,
) -> None:
    """Note that content was uploaded for a source; repeated, it is as if uploaded just now."""
    values = {
        "source": source,
        "hash": content_hash,
        "size_bytes": size_bytes,
        "content_type": content_type,
        "created_us": created_us,
    }
    tx.execute(
        upsert(stored_file, tx.dialect_name, values=values, update=("content_type", "created_us"))
    )


def find_attachment(tx: Reader, source: int, content_hash: str) -> StoredFile | None:
    """Return an uploaded file of a source that some comment there claims as an attachment."""
    query = (
        sa.select(stored_file, file_claim.c.slot, comment_text.c.body)
        .join_from(
            file_claim,
            stored_file,
            sa.and_(
                stored_file.c.source == file_claim.c.source,
                stored_file.c.hash == file_claim.c.hash,
            ),
        )
        .join(comment_text, comment_text.c.pos == file_claim.c.pos)
        .where(
            file_claim.c.source == source,
            file_claim.c.hash == content_hash,
            file_claim.c.slot >= 0,
        )
        .order_by(file_claim.c.pos, file_claim.c.slot)
        .limit(1)
    )
    row = tx.execute(query).first()
    if row is None:
        return None
    name = attachments_of(row.body)[row.slot].name
    return StoredFile(row.hash, row.size_bytes, row.content_type, name)


def set_audio(tx: Writer, source: int, pos: int, content_hash: str) -> None:
    """Make an uploaded file the recording of a comment, in place of the one before."""
    values = {"source": source, "pos": pos, "slot": AUDIO_SLOT, "hash": content_hash}
    tx.execute(upsert(file_claim, tx.dialect_name, values=values, update=("hash",)))


def find_audio(tx: Reader, source: int, pos: int) -> StoredFile | None:
    """Return the recording of a comment, or None."""
    query = sa.select(stored_file).join_from(
        file_claim,
        stored_file,
        sa.and_(
            stored_file.c.source == file_claim.c.source, stored_file.c.hash == file_claim.c.hash
        ),
    )
    here = (
        file_claim.c.source == source,
        file_claim.c.pos == pos,
        file_claim.c.slot == AUDIO_SLOT,
    )
    row = tx.execute(query.where(*here)).first()
    return None if row is None else StoredFile(row.hash, row.size_bytes, row.content_type)


def forget_unclaimed(tx: Writer, *, before_us: int, limit: int) -> tuple[int, list[str]]:
    """Forget up to `limit` files, uploaded before an instant, that no comment claims.

    Return how many there were, and the hashes of those whose content nobody has any longer.
    """
    claimed = sa.exists().where(
        file_claim.c.source == stored_file.c.source, file_claim.c.hash == stored_file.c.hash
    )
    query = (
        sa.select(stored_file.c.source, stored_file.c.hash)
        .where(stored_file.c.created_us < before_us, ~claimed)
        .limit(limit)
    )
    rows = tx.execute(query).all()
    for row in rows:
        tx.execute(
            sa.delete(stored_file).where(
                stored_file.c.source == row.source, stored_file.c.hash == row.hash
            )
        )
    return len(rows), without_owner(tx, {row.hash for row in rows})


def without_owner(tx: Reader, hashes: Iterable[str]) -> list[str]:
    """Return those of the contents that no source and no bucket has."""
    return [
        one
        for one in sorted(hashes)
        if all(
            tx.execute(sa.select(owner.c.hash).where(owner.c.hash == one).limit(1)).first() is None
            for owner in (stored_file, bucket_file)
        )
    ]


def bind(tx: Writer, source: Source, batch: Sequence[tuple[int, Incoming, bytes | None]]) -> None:
    """Bind attachments to uploaded files: claim them, and write references into the comments.

    Each item is a position, the new version and the front of the old one, if there is one. An
    attachment that repeats the old one's name and size in the same slot without naming content
    keeps the old content.
    """
    concerned = [item for item in batch if item[1].attachments or _had_content(item[2])]
    if not concerned:
        return
    for pos, incoming, old in concerned:
        if old is not None and _had_content(old):
            tx.execute(
                sa.delete(file_claim).where(
                    file_claim.c.source == source.key,
                    file_claim.c.pos == pos,
                    file_claim.c.slot >= 0,
                )
            )
            _keep_content(incoming, attachments_of(old))
    hashes = {
        a.content_hash
        for _, incoming, _ in concerned
        for a in incoming.attachments
        if a.content_hash is not UNSET
    }
    columns = (stored_file.c.hash, stored_file.c.source)
    rows = bulk.rows_in(tx, columns, stored_file.c.hash, hashes)
    stored = {content for content, owner in rows if owner == source.key}
    claims: list[tuple[int, int, int, str]] = []
    for pos, incoming, _ in concerned:
        for slot, attachment in enumerate(incoming.attachments):
            content = attachment.content_hash
            if content is not UNSET and content in stored:
                attachment.attachment_reference = file_reference(source.id, content)
                claims.append((source.key, pos, slot, content))
        if incoming.attachments:
            incoming.core = with_attachments(incoming.core, incoming.attachments)
    bulk.insert_rows(tx, file_claim, claims)


def _had_content(front: bytes | None) -> bool:
    return front is not None and b'"attachment_reference":' in front


def _keep_content(incoming: Incoming, old: Sequence[Attachment]) -> None:
    for attachment, before in zip(incoming.attachments, old, strict=False):
        if attachment.content_hash is UNSET and (attachment.name, attachment.size) == (
            before.name,
            before.size,
        ):
            attachment.content_hash = before.content_hash
