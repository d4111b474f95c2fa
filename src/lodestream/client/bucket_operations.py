"""The operations on buckets, each as a call that is ready to be made."""

from __future__ import annotations

from typing import Final

from msgspec import Struct

from lodestream.client.calls import Call, call, full_name, inside, nothing, part, query, whole
from lodestream.client.shapes import Bucket, Email, KeyedSyncState

_BUCKETS: Final = "/api/_private/buckets"


class EmailsPage(Struct, kw_only=True):
    """A page of a bucket's e-mails; `continuation` leads to the next."""

    emails: list[Email]
    continuation: str | None = None


class _Count(Struct):
    value: int


class _Statistics(Struct):
    count: _Count


_bucket: Final = inside("bucket", Bucket)
_buckets: Final = inside("buckets", list[Bucket])
_statistics: Final = inside("statistics", _Statistics)
_page: Final = whole(EmailsPage)
_emails: Final = inside("emails", list[Email])
_states: Final = inside("keyed_sync_states", list[KeyedSyncState])


def buckets(project: str | None) -> Call[list[Bucket]]:
    """All buckets, or those of a project."""
    inside_of = "" if project is None else f"/{part(project)}"
    return call("GET", f"{_BUCKETS}{inside_of}", decode=_buckets)


def bucket(name: str) -> Call[Bucket]:
    """One bucket."""
    return call("GET", _path(name), decode=_bucket)


def bucket_by_id(bucket_id: str) -> Call[Bucket]:
    """One bucket, by its id."""
    return call("GET", _id_path(bucket_id), decode=_bucket)


def create_bucket(name: str, **fields: object) -> Call[Bucket]:
    """A new bucket."""
    body = {"bucket": {"bucket_type": "emails"} | fields}
    return call("PUT", _path(name), body, decode=_bucket)


def update_bucket(name: str, **fields: object) -> Call[Bucket]:
    """Some settings of a bucket."""
    return call("POST", _path(name), {"bucket": fields}, decode=_bucket, idempotent=True)


def delete_bucket(bucket_id: str) -> Call[None]:
    """A bucket and its e-mails, to be deleted."""
    return call("DELETE", _id_path(bucket_id), decode=nothing, gone_is_done=True)


def bucket_statistics(name: str) -> Call[int]:
    """How many e-mails a bucket has."""

    def read(content: bytes | bytearray) -> int:
        return _statistics(content).count.value

    return call("GET", f"{_path(name)}/statistics", decode=read)


def emails_page(name: str, *, continuation: str | None, limit: int) -> Call[EmailsPage]:
    """One page of a bucket's e-mails, in the order they were first stored."""
    body: dict[str, object] = {"limit": limit}
    if continuation is not None:
        body["continuation"] = continuation
    return call("POST", f"{_path(name)}/emails", body, decode=_page, idempotent=True)


def emails_by_id(name: str, email_id: str) -> Call[list[Email]]:
    """The e-mails of a bucket with an id, one for each mailbox."""
    return call("GET", f"{_path(name)}/emails{query(id=email_id)}", decode=_emails)


def sync_states(bucket_id: str) -> Call[list[KeyedSyncState]]:
    """Where connectors are with every folder."""
    return call("GET", f"{_id_path(bucket_id)}/keyed-sync-states/", decode=_states)


def _path(name: str) -> str:
    return f"{_BUCKETS}/{full_name(name)}"


def _id_path(bucket_id: str) -> str:
    return f"{_BUCKETS}/id:{part(bucket_id)}"
