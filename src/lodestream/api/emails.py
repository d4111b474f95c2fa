"""Raw e-mails into a source, over HTTP."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType

from lodestream.actions import raw_emails as actions
from lodestream.actions.sources import (
    DEFAULT_TRANSFORM_TAG,
    RICH_TEXT_TAGS,
    require_transform_tag,
)
from lodestream.api.calls import Call
from lodestream.api.comments import count_ingested, shown, with_annotation_mark
from lodestream.api.sources import named_source
from lodestream.domain.comments import Incoming
from lodestream.domain.raw_emails import RawEmailDocument
from lodestream.domain.sources import Source
from lodestream.store import comments

MOST_DOCUMENTS = 16_384

TransformTag = Annotated[str, Meta(max_length=1024)]


class SyncEmailsRequest(Struct, forbid_unknown_fields=True):
    """E-mails, and how they are read."""

    documents: Annotated[list[RawEmailDocument], Meta(max_length=MOST_DOCUMENTS)]
    include_comments: bool = False
    transform_tag: TransformTag | UnsetType | None = UNSET
    override_user_properties: Annotated[
        list[Annotated[str, Meta(max_length=512)]], Meta(max_length=128)
    ] = []


class SyncEmailsReply(Struct, omit_defaults=True):
    """What a batch did; the comments in the order of the e-mails, if they were asked for."""

    status: str
    new: int
    updated: int
    unchanged: int
    updated_properties_only: int
    updated_text_changed: int
    comments: list[msgspec.Raw] | UnsetType = UNSET


class TransformTagInfo(Struct):
    """What a transform tag makes of an e-mail."""

    text_format: Literal["markdown", "plain"]
    rich_text_upgrade_tag: str | UnsetType = UNSET


class TransformTagReply(Struct):
    """One transform tag."""

    email_transform_tag_info: TransformTagInfo
    status: str = "ok"


def sync_emails(call: Call[SyncEmailsRequest]) -> SyncEmailsReply:
    """Create or overwrite the comments of a batch of raw e-mails, whole or not at all."""
    body = call.body
    source = named_source(call)
    batch = actions.prepare_emails(
        body.documents,
        source=source,
        salt=call.service.catalogue.salt(),
        transform_tag=body.transform_tag or None,
        own_properties=frozenset(body.override_user_properties),
        any_tag=call.service.any_transform_tag,
    )
    counts = actions.sync_emails(
        call.service.db, actor_id=call.actor.user_id, source=source, batch=batch
    )
    count_ingested(call, counts)
    return SyncEmailsReply(
        "ok",
        counts.new,
        counts.updated,
        counts.unchanged,
        counts.updated_properties_only,
        counts.updated_text_changed,
        _stored(call, source, batch) if body.include_comments else UNSET,
    )


def get_transform_tag(call: Call[None]) -> TransformTagReply:
    """Tell what an e-mail transform tag makes of e-mails."""
    tag = call.values[0]
    require_transform_tag(tag, any_tag=call.service.any_transform_tag)
    if tag in RICH_TEXT_TAGS.values():
        return TransformTagReply(TransformTagInfo("markdown"))
    upgrade = RICH_TEXT_TAGS.get(tag, RICH_TEXT_TAGS[DEFAULT_TRANSFORM_TAG])
    return TransformTagReply(TransformTagInfo("plain", upgrade))


def _stored(call: Call[Any], source: Source, batch: Sequence[Incoming]) -> list[msgspec.Raw]:
    """Return the comments of a batch as they are stored now, in its order."""
    with call.service.db.read() as tx:
        hashes = {incoming.id: incoming.key_hash for incoming in batch}
        places = {
            comment_id: pos
            for comment_id, (pos, _) in comments.find_positions(tx, source.key, hashes).items()
        }
        fronts = comments.read_fronts(tx, list(places.values()))
        annotated = comments.annotated(tx, list(places.values()))
    found = []
    for incoming in batch:
        pos = places.get(incoming.id)
        if pos is None or pos not in fronts:
            continue  # deleted since it was stored
        comment = shown(call, source, fronts[pos], markup=True)
        found.append(msgspec.Raw(with_annotation_mark(comment, pos in annotated)))
    return found
