"""Raw e-mails in: the comments they become, and storing them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from msgspec import UNSET

from lodestream.actions import ingest
from lodestream.actions.ingest import Counts
from lodestream.actions.sources import DEFAULT_TRANSFORM_TAG, require_transform_tag
from lodestream.domain.buckets import EmailNew, comment_id_of, properties_of, thread_id_of
from lodestream.domain.comments import (
    MAX_PROPERTY_CHARS,
    CommentNew,
    Incoming,
    Message,
    PropertyValue,
    prepare,
    source_tag,
)
from lodestream.domain.errors import InvalidInput, Unprocessable
from lodestream.domain.mime import split_mime
from lodestream.domain.raw_emails import RawEmailDocument, comment_from, message_id_of
from lodestream.domain.sources import Source
from lodestream.domain.times import now_us
from lodestream.store.db import Database


@dataclass(frozen=True, slots=True)
class Reading:
    """How e-mails are read: by which tag, and which properties a caller's own values win.

    `timestamp` stands in for a date that the e-mail does not have.
    """

    transform_tag: str = DEFAULT_TRANSFORM_TAG
    own_properties: frozenset[str] = field(default_factory=frozenset)
    timestamp: str | None = None
    more_properties: Mapping[str, PropertyValue] = field(default_factory=dict)


def transform_tag_of(asked: str | None, source: Source) -> str:
    """Return the tag that holds: the one asked for, else the source's, else the default.

    Raises Unprocessable if the one asked for does not exist.
    """
    if asked is not None:
        require_transform_tag(asked)
        return asked
    return source.email_transform_tag or DEFAULT_TRANSFORM_TAG


def read_email(document: RawEmailDocument, reading: Reading) -> CommentNew:
    """Return the comment that a raw e-mail becomes: the one way there is, for every caller.

    Raises Unprocessable if it has neither an id nor a Message-ID, or no date.
    """
    message_id = message_id_of(document.raw_email.headers)
    if document.comment_id is UNSET and not message_id:
        raise Unprocessable("neither 'comment_id' nor a Message-ID header is there")
    comment = comment_from(document, now_us=now_us())
    message = comment.messages[0]
    if message.sent_at is UNSET:
        if reading.timestamp is None:
            raise Unprocessable("no date can be read: neither in 'Date' nor in 'Received'")
        comment.timestamp = reading.timestamp
    made = {**_made_properties(comment, message_id), **reading.more_properties}
    own = comment.user_properties or {}
    winning = {name: own[name] for name in own if name in reading.own_properties}
    comment.user_properties = {**own, **made, **winning}
    return comment


def read_bucket_email(email: EmailNew, reading: Reading) -> CommentNew:
    """Return the comment that an e-mail of a bucket becomes.

    Raises InvalidInput and Unprocessable if it cannot be made one.
    """
    raw = split_mime(email.mime_content)
    raw.attachments = email.attachments
    comment = read_email(
        RawEmailDocument(raw, comment_id=comment_id_of(email.id)),
        replace(reading, timestamp=email.timestamp, more_properties=properties_of(email)),
    )
    comment.thread_id = thread_id_of(email.metadata) or comment.thread_id
    return comment


def prepare_emails(
    documents: Sequence[RawEmailDocument],
    *,
    source: Source,
    salt: int,
    transform_tag: str | None,
    own_properties: frozenset[str],
) -> list[Incoming]:
    """Read and check a batch, in its order.

    Raises InvalidInput and Unprocessable naming the index of the first bad e-mail, Unprocessable
    for an unknown transform tag.
    """
    reading = Reading(transform_tag_of(transform_tag, source), own_properties)
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


def _made_properties(comment: CommentNew, message_id: str) -> dict[str, PropertyValue]:
    message = comment.messages[0]
    made: dict[str, PropertyValue] = {
        "string:Message ID": message_id[:MAX_PROPERTY_CHARS],
        "number:Recipient Count": len(_recipients(message)),
        "string:Has Attachments": "Yes" if comment.attachments else "No",
    }
    if message.from_ is not UNSET:
        sender = _address(message.from_)
        made["string:Sender"] = sender
        made["string:Sender Domain"] = sender.rpartition("@")[2] if "@" in sender else ""
    if message.to is not UNSET and message.to:
        recipient = _address(message.to[0])
        made["string:Recipient Domain"] = recipient.rpartition("@")[2] if "@" in recipient else ""
    # Blank ones are none, as everywhere.
    return {name: value for name, value in made.items() if value != ""}


def _recipients(message: Message) -> list[str]:
    return [
        one
        for several in (message.to, message.cc, message.bcc)
        if several is not UNSET
        for one in several
    ]


def _address(participant: str) -> str:
    """Return the address in `Name <address>`, in lower case."""
    _, angle, rest = participant.rpartition("<")
    return (rest.partition(">")[0] if angle else participant).strip().lower()
