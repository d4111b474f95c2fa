"""Buckets over the API, as places for the e-mails of a connector."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import msgspec

from lodestream.client import Client, bucket_operations
from lodestream.client.calls import call, inside, nothing, part
from lodestream.client.errors import BadRequest, NotFound, TooLarge, Unusable
from lodestream.connectors.mailboxes import EmailsRefused
from lodestream.domain.buckets import EmailNew, KeyedSyncState

_BUCKETS: Final = "/api/_private/buckets"
_state: Final = inside("keyed_sync_state", KeyedSyncState)


class ApiBucket:
    """A bucket of a server. Raises the client's errors where nothing else is said."""

    def __init__(self, client: Client, name: str) -> None:
        """Find the bucket `project/name`."""
        self._client = client
        self._bucket = client.run(bucket_operations.bucket(name))

    def find_state(self, key: str) -> KeyedSyncState | None:
        """Return the state stored under a key."""
        try:
            return self._client.run(call("GET", self._path(key), decode=_state))
        except NotFound:
            return None

    def put_emails(self, emails: Sequence[EmailNew]) -> None:
        """Store e-mails, all or none. Raises EmailsRefused if the server does not take them."""
        bucket = self._bucket
        path = f"{_BUCKETS}/{part(bucket.owner)}/{part(bucket.name)}/emails"
        try:
            self._client.run(call("PUT", path, {"emails": emails}, decode=nothing))
        except (BadRequest, Unusable, TooLarge) as error:
            raise EmailsRefused(error.message) from error

    def put_state(self, key: str, state: KeyedSyncState) -> None:
        """Store a state."""
        body = {"keyed_sync_state": state}
        self._client.run(call("PUT", self._path(key), body, decode=nothing))

    def _path(self, key: str) -> str:
        return f"{_BUCKETS}/id:{part(self._bucket.id)}/keyed-sync-state/{part(key)}"


class DryBucket:
    """Reads the states of a bucket and stores nothing."""

    def __init__(self, bucket: ApiBucket) -> None:
        self._bucket = bucket

    def find_state(self, key: str) -> KeyedSyncState | None:
        """Return the state stored under a key."""
        return self._bucket.find_state(key)

    def put_emails(self, emails: Sequence[EmailNew]) -> None:
        """Check that e-mails could be sent."""
        msgspec.json.encode(emails)

    def put_state(self, key: str, state: KeyedSyncState) -> None:
        """Store nothing."""


def stored_configuration(client: Client, owner: str, key: str) -> bytes:
    """Return a connector's configuration that is kept on the server."""
    path = f"/api/_private/appliance-configs/{part(owner)}/{part(key)}"
    return client.run(call("GET", path, decode=bytes))
