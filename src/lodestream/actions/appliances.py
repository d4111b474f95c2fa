"""Configurations of connectors that run elsewhere and fetch them from here.

They hold secrets, so they are stored as those of integrations are.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec
from msgspec import Struct

from lodestream.domain.audit import ProjectRef, Refs
from lodestream.domain.errors import InvalidInput
from lodestream.domain.secrets import Keyring
from lodestream.domain.times import now_us
from lodestream.store import appliances as store
from lodestream.store import audit, projects
from lodestream.store.db import Database

LONGEST_KEY: Final = 256
MOST_BYTES: Final = 4 << 20


class Changes(Struct):
    """Which keys at the top of a configuration came, went, and have another value."""

    added: list[str]
    removed: list[str]
    modified: list[str]


def store_config(
    db: Database,
    keyring: Keyring,
    *,
    actor_id: str,
    project_id: str,
    owner: str,
    key: str,
    content: bytes,
) -> Changes:
    """Store a configuration; return what has changed in it.

    Raises InvalidInput if it is no JSON object or too large, Unprocessable if there is no key to
    keep it with.
    """
    if len(key) > LONGEST_KEY:
        raise InvalidInput(f"a key has at most {LONGEST_KEY} characters")
    after = _parsed(content)
    text = content.decode()
    sealing = _owner(project_id, key)
    with db.write(catalogue=False) as tx:
        projects.require_exists(tx, project_id)
        stored = store.find(tx, project_id, key)
        before: dict[str, Any] = {}
        # One that no key opens any more is replaced like one that was not there.
        if stored is not None and keyring.opens(sealing, stored):
            before = _parsed(keyring.unseal(sealing, stored)["content"].encode())
        sealed = keyring.seal(sealing, {"content": text})
        store.store(tx, project_id, key, sealed=sealed, now_us=now_us())
        changes = Changes(
            added=sorted(after.keys() - before.keys()),
            removed=sorted(before.keys() - after.keys()),
            modified=sorted(k for k in after.keys() & before.keys() if after[k] != before[k]),
        )
        details: dict[str, str | int] = {"config_key": key}
        refs = Refs(projects=(ProjectRef(project_id, owner),), details=details)
        audit.record(tx, actor_id=actor_id, event_type="update_appliance_config", refs=refs)
    return changes


def find_config(db: Database, keyring: Keyring, *, project_id: str, key: str) -> bytes | None:
    """Return a configuration as it was stored, or None. Raises Unprocessable if no key opens it."""
    with db.read() as tx:
        sealed = store.find(tx, project_id, key)
    if sealed is None:
        return None
    return keyring.unseal(_owner(project_id, key), sealed)["content"].encode()


def _owner(project_id: str, key: str) -> str:
    return f"{project_id}/{key}"


def _parsed(content: bytes) -> dict[str, Any]:
    if len(content) > MOST_BYTES:
        raise InvalidInput(f"a configuration has at most {MOST_BYTES} bytes")
    try:
        found = msgspec.json.decode(content.decode())
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise InvalidInput("a configuration is a JSON object")
    return found
