"""Configurations of connectors that run elsewhere, over HTTP."""

from __future__ import annotations

from msgspec import Struct

from lodestream.actions import appliances as actions
from lodestream.actions.appliances import Changes
from lodestream.api.calls import Call
from lodestream.api.http import Reply
from lodestream.domain.errors import NotFound


class ConfigReply(Struct):
    """What has changed in a configuration."""

    changes: Changes
    status: str = "ok"


def get_config(call: Call[None]) -> Reply:
    """Return a connector's configuration, byte for byte as it was stored."""
    key = call.value("config_key")
    content = actions.find_config(
        call.service.db, call.service.outside.keyring, project_id=call.project_id, key=key
    )
    if content is None:
        raise NotFound(f"No such configuration: {key}")
    return Reply(content, content_type=b"application/octet-stream")


def update_config(call: Call[None]) -> ConfigReply:
    """Store a connector's configuration, a JSON object; it is kept encrypted."""
    spool = call.request.spool
    changes = actions.store_config(
        call.service.db,
        call.service.outside.keyring,
        actor_id=call.actor.user_id,
        project_id=call.project_id,
        owner=call.values[0],
        key=call.value("config_key"),
        content=b"" if spool is None else spool.read(actions.MOST_BYTES + 1),
    )
    return ConfigReply(changes)
