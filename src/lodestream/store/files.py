"""Attachments and recordings: which stored file belongs to which comment.

The bytes lie outside the database, under their SHA-256 (see `store.blobs`). A comment claims an
uploaded file by naming its hash; the claim makes it readable by a reference.
"""

from __future__ import annotations

from collections.abc import Sequence

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
from lodestream.store.db import Writer
from lodestream.store.tables import file_claim, stored_file


def bind(tx: Writer, source: Source, batch: Sequence[tuple[int, Incoming, bytes | None]]) -> None:
    """Bind attachments to uploaded files: claim them, and write references into the comments.

    Each item is a position, the new version and the front of the old one, if there is one. An
    attachment that repeats the old one's name and size in the same slot without naming content
    keeps the old content.
    """
    concerned = [item for item in batch if item[1].attachments or item[2] is not None]
    if not concerned:
        return
    for pos, incoming, old in concerned:
        if old is not None:
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


def _keep_content(incoming: Incoming, old: Sequence[Attachment]) -> None:
    for attachment, before in zip(incoming.attachments, old, strict=False):
        if attachment.content_hash is UNSET and (attachment.name, attachment.size) == (
            before.name,
            before.size,
        ):
            attachment.content_hash = before.content_hash
