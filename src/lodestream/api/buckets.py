"""Buckets over HTTP: themselves, the e-mails in them, and where connectors are with them."""

from __future__ import annotations

from base64 import urlsafe_b64decode, urlsafe_b64encode
from typing import Annotated, Any, Final, Literal

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType

from lodestream.actions import buckets as actions
from lodestream.actions.buckets import BucketChanges
from lodestream.api.attachments import MOST_ATTACHMENTS, UploadReply
from lodestream.api.calls import Call
from lodestream.api.http import OK_REPLY, Reply
from lodestream.api.multipart import uploaded_file
from lodestream.domain import access
from lodestream.domain.buckets import (
    MOST_EMAILS,
    Bucket,
    EmailNew,
    KeyedSyncState,
    SyncState,
    UpdatedBy,
    checked_email,
    checked_keyed_state,
    checked_state,
    shown_email,
)
from lodestream.domain.errors import InvalidInput, NotFound
from lodestream.domain.ids import is_id, is_resource_name
from lodestream.domain.times import format_us, now_us
from lodestream.store import buckets as store
from lodestream.store import sync_states as states
from lodestream.store.buckets import StoredEmail

_MOST_COUNTED: Final = 2**31 - 1  # clients read the count into 32 bits
_LONGEST_KEY: Final = 512

Title = Annotated[str, Meta(max_length=128)]


class BucketNew(Struct, forbid_unknown_fields=True):
    """A bucket that is to be made."""

    title: Title = ""
    bucket_type: Literal["emails"] = "emails"


class BucketUpdate(Struct, forbid_unknown_fields=True):
    """What is to be changed of a bucket."""

    title: Title | UnsetType = UNSET
    last_updated_by: UpdatedBy | UnsetType = UNSET


class CreateBucketRequest(Struct, forbid_unknown_fields=True):
    """The body of create."""

    bucket: BucketNew


class UpdateBucketRequest(Struct, forbid_unknown_fields=True):
    """The body of update."""

    bucket: BucketUpdate


class BucketWire(Struct, omit_defaults=True):
    """A bucket as clients see it."""

    id: str
    owner: str
    name: str
    title: str
    created_at: str
    updated_at: str
    last_updated_by: UpdatedBy | UnsetType = UNSET


class BucketReply(Struct):
    """One bucket."""

    bucket: BucketWire
    status: str = "ok"


class BucketsReply(Struct):
    """Several buckets, by owner and name."""

    buckets: list[BucketWire]
    status: str = "ok"


class BucketCount(Struct):
    """How many e-mails there are; beyond what clients can read it is a lower bound."""

    kind: Literal["exact", "lower_bound"]
    value: int


class BucketStatistics(Struct):
    """Figures of a bucket."""

    count: BucketCount


class BucketStatisticsReply(Struct):
    """Figures of one bucket."""

    statistics: BucketStatistics
    status: str = "ok"


class AddEmailsRequest(Struct, forbid_unknown_fields=True):
    """E-mails that are to be stored."""

    emails: Annotated[list[EmailNew], Meta(max_length=MOST_EMAILS)]


class ListEmailsRequest(Struct, forbid_unknown_fields=True):
    """Which page is wanted."""

    limit: Annotated[int, Meta(ge=1, le=256)] = 64
    continuation: Annotated[str, Meta(max_length=256)] | None = None


class EmailPage(Struct, omit_defaults=True):
    """E-mails in the order they were first stored; without `continuation` it is the last page."""

    status: str
    emails: list[msgspec.Raw]
    continuation: str | UnsetType = UNSET


class SyncStateRequest(Struct, forbid_unknown_fields=True):
    """Where a connector is with a bucket."""

    bucket_sync_state: SyncState


class SyncStateReply(Struct):
    """Where a connector is with a bucket."""

    bucket_sync_state: SyncState
    status: str = "ok"


class KeyedSyncStateRequest(Struct, forbid_unknown_fields=True):
    """Where a connector is with a folder."""

    keyed_sync_state: KeyedSyncState


class KeyedSyncStateReply(Struct):
    """Where a connector is with a folder."""

    keyed_sync_state: KeyedSyncState
    status: str = "ok"


class KeyedSyncStatesReply(Struct):
    """Where connectors are with every folder of a bucket."""

    keyed_sync_states: list[KeyedSyncState]
    status: str = "ok"


class MailboxRequest(Struct, forbid_unknown_fields=True):
    """A mailbox."""

    mailbox_name: Annotated[str, Meta(min_length=1, max_length=1024)]


class KeyedSyncStateIdsReply(Struct):
    """Keys of the states of a mailbox."""

    keyed_sync_state_ids: list[str]
    status: str = "ok"


def create_bucket(call: Call[CreateBucketRequest]) -> BucketReply:
    """Create a bucket."""
    owner, name = call.values[:2]
    if not is_resource_name(name):
        raise InvalidInput(f"bucket name {name!r}: letters, digits, '-' and '_' only, at most 256")
    bucket = actions.create_bucket(
        call.service.db,
        actor_id=call.actor.user_id,
        project_id=call.project_id,
        owner=owner,
        name=name,
        title=call.body.bucket.title,
    )
    return BucketReply(_wire(bucket))


def update_bucket(call: Call[UpdateBucketRequest]) -> BucketReply:
    """Change the given settings of a bucket."""
    given = call.body.bucket
    bucket = actions.update_bucket(
        call.service.db,
        actor_id=call.actor.user_id,
        key=named_bucket(call).key,
        changes=BucketChanges(
            title=None if given.title is UNSET else given.title,
            last_updated_by=None if given.last_updated_by is UNSET else given.last_updated_by,
        ),
    )
    return BucketReply(_wire(bucket))


def delete_bucket(call: Call[None]) -> None:
    """Delete a bucket with its e-mails; sources keep the comments made of them."""
    bucket = bucket_by_id(call)
    actions.delete_bucket(call.service.db, actor_id=call.actor.user_id, key=bucket.key)


def get_bucket(call: Call[None]) -> BucketReply:
    """Return a bucket by its full name."""
    return BucketReply(_wire(named_bucket(call)))


def get_bucket_by_id(call: Call[None]) -> BucketReply:
    """Return a bucket by its id."""
    return BucketReply(_wire(bucket_by_id(call)))


def list_buckets(call: Call[None]) -> BucketsReply:
    """Return every bucket of every project in which the caller may see buckets."""
    projects = access.projects_with(call.actor, call.route.needs.permissions)
    with call.service.db.read() as tx:
        return BucketsReply([_wire(one) for one in store.list_buckets(tx, projects=projects)])


def list_project_buckets(call: Call[None]) -> BucketsReply:
    """Return the buckets of one project."""
    with call.service.db.read() as tx:
        found = store.list_buckets(tx, projects=frozenset({call.project_id}))
    return BucketsReply([_wire(one) for one in found])


def get_statistics(call: Call[None]) -> BucketStatisticsReply:
    """Count the e-mails of a bucket."""
    emails = named_bucket(call).emails
    kind: Literal["exact", "lower_bound"] = "exact" if emails <= _MOST_COUNTED else "lower_bound"
    return BucketStatisticsReply(BucketStatistics(BucketCount(kind, min(emails, _MOST_COUNTED))))


def add_emails(call: Call[AddEmailsRequest]) -> Reply:
    """Store e-mails, or replace those of the same id and mailbox, whole or not at all.

    The sources of the bucket get their comments in the background.
    """
    bucket = named_bucket(call)
    for number, email in enumerate(call.body.emails):
        try:
            checked_email(email)
        except InvalidInput as error:
            raise InvalidInput(f"emails[{number}]: {error.message}") from None
    actions.add_emails(
        call.service.db, actor_id=call.actor.user_id, bucket=bucket, emails=call.body.emails
    )
    return Reply(OK_REPLY)


def list_emails(call: Call[ListEmailsRequest]) -> EmailPage:
    """Return a page of a bucket's e-mails, in the order they were first stored.

    A page of large e-mails holds fewer than were asked for.
    """
    bucket = named_bucket(call)
    token = call.body.continuation
    after = 0 if token is None else _parse_token(token)
    with call.service.db.read() as tx:
        found = store.page(tx, bucket.key, after=after, limit=call.body.limit)
        more = bool(found) and store.any_after(tx, bucket.key, found[-1].seq)
    page = EmailPage("ok", _shown(found))
    if more:
        page.continuation = urlsafe_b64encode(b"e%d" % found[-1].seq).decode()
    return page


def get_email(call: Call[None]) -> EmailPage:
    """Return the e-mails with an id: one for each mailbox that holds it."""
    bucket = named_bucket(call)
    email_id = call.request.query("id")
    if not email_id:
        raise InvalidInput("query parameter 'id': the id of an e-mail expected")
    with call.service.db.read() as tx:
        found = store.find_emails(tx, bucket.key, email_id)
    if not found:
        raise NotFound(f"No such e-mail: {email_id}")
    return EmailPage("ok", _shown(found))


def upload_attachment(call: Call[None]) -> UploadReply:
    """Store the content of an e-mail's attachment, before the e-mail is sent.

    The e-mail names it by `content_hash` in its `attachments`.
    """
    bucket = bucket_by_id(call)
    index = call.value("attachment_index")
    if not (index.isascii() and index.isdigit() and int(index[:9]) < MOST_ATTACHMENTS):
        raise InvalidInput(f"attachment index: an integer below {MOST_ATTACHMENTS} expected")
    with uploaded_file(call.request, call.service.spool) as upload:
        content_hash = actions.upload_file(
            call.service.db,
            call.service.blobs,
            actor_id=call.actor.user_id,
            bucket=bucket,
            content=upload.chunks,
            content_type=upload.content_type,
        )
    return UploadReply(content_hash)


def get_sync_state(call: Call[None]) -> SyncStateReply:
    """Return where a connector is with a bucket."""
    bucket = named_bucket(call)
    with call.service.db.read() as tx:
        state = states.find(tx, bucket.key)
    if state is None:
        raise NotFound(f"No sync state of bucket {bucket.owner}/{bucket.name}")
    return SyncStateReply(state)


def store_sync_state(call: Call[SyncStateRequest]) -> Reply:
    """Keep where a connector is with a bucket."""
    bucket = named_bucket(call)
    state = checked_state(call.body.bucket_sync_state)
    actions.store_sync_state(call.service.db, bucket=bucket, state=state)
    return Reply(OK_REPLY)


def list_keyed_states(call: Call[None]) -> KeyedSyncStatesReply:
    """Return where connectors are with every folder, by mailbox."""
    bucket = bucket_by_id(call)
    with call.service.db.read() as tx:
        return KeyedSyncStatesReply(states.list_keyed(tx, bucket.key))


def get_keyed_state(call: Call[None]) -> KeyedSyncStateReply:
    """Return where a connector is with a folder."""
    bucket = bucket_by_id(call)
    key = call.value("sync_state_key")
    with call.service.db.read() as tx:
        state = states.find_keyed(tx, bucket.key, key)
    if state is None:
        raise NotFound(f"No such sync state: {key}")
    return KeyedSyncStateReply(state)


def store_keyed_state(call: Call[KeyedSyncStateRequest]) -> Reply:
    """Keep where a connector is with a folder, or with a whole mailbox."""
    bucket = bucket_by_id(call)
    key = call.value("sync_state_key")
    if len(key) > _LONGEST_KEY:
        raise InvalidInput(f"a key has at most {_LONGEST_KEY} characters")
    state = checked_keyed_state(call.body.keyed_sync_state, now_us=now_us())
    actions.store_keyed_state(call.service.db, bucket=bucket, key=key, state=state)
    return Reply(OK_REPLY)


def delete_keyed_state(call: Call[None]) -> None:
    """Forget where a connector is with a folder, so that it reads the folder anew."""
    bucket = bucket_by_id(call)
    actions.delete_keyed_state(
        call.service.db,
        actor_id=call.actor.user_id,
        bucket=bucket,
        key=call.value("sync_state_key"),
    )


def list_keyed_state_ids(call: Call[MailboxRequest]) -> KeyedSyncStateIdsReply:
    """Return the keys of the states of a mailbox; letter case does not count."""
    bucket = bucket_by_id(call)
    with call.service.db.read() as tx:
        keys = states.keys_of_mailbox(tx, bucket.key, call.body.mailbox_name)
    return KeyedSyncStateIdsReply(keys)


def named_bucket(call: Call[Any]) -> Bucket:
    """Return the bucket whose full name begins the path. Raises NotFound."""
    owner, name = call.values[:2]
    with call.service.db.read() as tx:
        bucket = store.find_by_name(tx, owner, name)
    if bucket is None:
        raise NotFound(f"No such bucket: {owner}/{name}")
    return bucket


def bucket_by_id(call: Call[Any]) -> Bucket:
    """Return the bucket whose id begins the path, if the caller has the row's permissions there.

    Raises InvalidInput if it is no id, NotFound and PermissionMissing.
    """
    bucket_id = call.values[0]
    if not is_id(bucket_id):
        raise InvalidInput(f"bucket id {bucket_id!r}: 16 lower-case hex digits expected")
    missing = f"No such bucket: id:{bucket_id}"
    with call.service.db.read() as tx:
        bucket = store.find_by_id(tx, bucket_id)
    if bucket is None:
        raise NotFound(missing)
    call.require(bucket.project_id, not_found=missing)
    return bucket


def _wire(bucket: Bucket) -> BucketWire:
    return BucketWire(
        id=bucket.id,
        owner=bucket.owner,
        name=bucket.name,
        title=bucket.title,
        created_at=format_us(bucket.created_us),
        updated_at=format_us(bucket.updated_us),
        last_updated_by=bucket.last_updated_by or UNSET,
    )


def _shown(emails: list[StoredEmail]) -> list[msgspec.Raw]:
    return [
        msgspec.Raw(shown_email(one.body, created_us=one.created_us, updated_us=one.updated_us))
        for one in emails
    ]


def _parse_token(token: str) -> int:
    try:
        text = urlsafe_b64decode(token.encode("ascii")).decode("ascii")
        if text[:1] == "e" and text[1:].isdigit() and len(text) < 20:
            return int(text[1:])
    except ValueError:  # binascii.Error and UnicodeError are such
        pass
    raise InvalidInput("'continuation' is not one of this listing")
