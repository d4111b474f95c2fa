"""Raw e-mails in: the comments they become, and storing them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from msgspec import UNSET

from lodestream.actions import ingest
from lodestream.actions.ingest import Counts
from lodestream.actions.sources import (
    DEFAULT_TRANSFORM_TAG,
    MARKUP_TRANSFORM_TAG,
    SIMPLE_MARKUP_TRANSFORM_TAG,
    SIMPLE_TRANSFORM_TAG,
    require_transform_tag,
)
from lodestream.domain.buckets import EmailMetadata, EmailNew
from lodestream.domain.comments import CommentNew, Incoming, prepare, source_tag
from lodestream.domain.errors import InvalidInput, Unprocessable
from lodestream.domain.raw_emails import Body, Headers, RawEmail, RawEmailDocument
from lodestream.domain.sources import Source
from lodestream.domain.times import parse_us
from lodestream.mail.comment import Origin, Transform, comment_of, hex_id, lenient_comment_of
from lodestream.mail.mime import parse_mime
from lodestream.mail.raw import email_of
from lodestream.store.db import Database

_TRANSFORMS: Final = {
    DEFAULT_TRANSFORM_TAG: Transform(),
    SIMPLE_TRANSFORM_TAG: Transform(signatures=False),
    MARKUP_TRANSFORM_TAG: Transform(markup=True),
    SIMPLE_MARKUP_TRANSFORM_TAG: Transform(signatures=False, markup=True),
}


@dataclass(frozen=True, slots=True)
class Reading:
    """How e-mails are read: by which tag, and which properties a caller's own values win."""

    transform_tag: str = DEFAULT_TRANSFORM_TAG
    own_properties: frozenset[str] = field(default_factory=frozenset)

    @property
    def transform(self) -> Transform:
        """What the tag asks for; one that is not known here asks for what the default does."""
        return _TRANSFORMS.get(self.transform_tag, _TRANSFORMS[DEFAULT_TRANSFORM_TAG])


def transform_tag_of(asked: str | None, source: Source, *, any_tag: bool = False) -> str:
    """Return the tag that holds: the one asked for, else the source's, else the default.

    Raises Unprocessable if the one asked for does not exist.
    """
    if asked is not None:
        require_transform_tag(asked, any_tag=any_tag)
        return asked
    return source.email_transform_tag or DEFAULT_TRANSFORM_TAG


def read_email(document: RawEmailDocument, reading: Reading) -> CommentNew:
    """Return the comment that a raw e-mail becomes.

    Raises Unprocessable if it has neither an id nor a Message-ID, or no date.
    """
    return comment_of(
        email_of(document.raw_email),
        comment_id=None if document.comment_id is UNSET else document.comment_id,
        properties=document.user_properties or {},
        own_properties=reading.own_properties,
        transform=reading.transform,
    )


def read_unsaved_email(document: RawEmailDocument, reading: Reading, *, now_us: int) -> CommentNew:
    """Return the comment that syncing a raw e-mail would make, for one that is not to be stored.

    Without a Message-ID its id is made of its headers; without a date it is dated `now_us`.
    """
    return lenient_comment_of(
        email_of(document.raw_email),
        now_us=now_us,
        comment_id=None if document.comment_id is UNSET else document.comment_id,
        properties=document.user_properties or {},
        transform=reading.transform,
    )


def read_bucket_email(
    email: EmailNew, reading: Reading, keep: Callable[[bytes, str], str]
) -> CommentNew:
    """Return the comment that an e-mail of a bucket becomes.

    Its files are those that the mailbox tells of, else those that lie in the e-mail. Where no
    content was uploaded for one, that of the file of this name in the e-mail is given to `keep`,
    with its type; `keep` returns its hash.
    """
    mail = parse_mime(email.mime_content.encode())
    inside = list(mail.files)
    if email.attachments:
        raw = RawEmail(Headers(raw=""), Body(), email.attachments)
        mail = replace(mail, files=email_of(raw).files)
    metadata = email.metadata or EmailMetadata()
    origin = Origin(
        mailbox=email.mailbox,
        folder=metadata.folder or [],
        conversation_id=metadata.conversation_id or "",
        received_us=parse_us(email.timestamp),
    )
    comment = comment_of(
        mail, comment_id=hex_id(email.id), origin=origin, transform=reading.transform
    )
    for attachment in comment.attachments or []:
        found = next((one for one in inside if one.name == attachment.name and one.read), None)
        if found is None or found.read is None:
            continue
        inside.remove(found)
        if attachment.content_hash is UNSET:
            attachment.content_hash = keep(found.read(), found.content_type)
    return comment


def prepare_emails(
    documents: Sequence[RawEmailDocument],
    *,
    source: Source,
    salt: int,
    transform_tag: str | None,
    own_properties: frozenset[str],
    any_tag: bool = False,
) -> list[Incoming]:
    """Read and check a batch, in its order.

    Raises InvalidInput and Unprocessable naming the index of the first bad e-mail, Unprocessable
    for an unknown transform tag.
    """
    tag_that_holds = transform_tag_of(transform_tag, source, any_tag=any_tag)
    reading = Reading(tag_that_holds, own_properties)
    tag = source_tag(source.key)
    batch = []
    for number, document in enumerate(documents):
        try:
            batch.append(prepare(read_email(document, reading), salt=salt, tag=tag))
        except InvalidInput as error:
            raise InvalidInput(f"documents[{number}]: {error.message}") from None
        except Unprocessable as error:
            raise Unprocessable(f"documents[{number}]: {error.message}") from None
    return batch


def sync_emails(
    db: Database, *, actor_id: str, source: Source, batch: Sequence[Incoming]
) -> Counts:
    """Create or overwrite the comments of e-mails, whole or not at all; of one id the last counts.

    Raises NotFound if the source went away, QuotaExceeded if the batch has no room.
    """
    last = {incoming.id: incoming for incoming in batch}
    return ingest.sync_comments(db, actor_id=actor_id, source=source, batch=list(last.values()))
