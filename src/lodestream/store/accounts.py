"""Users, what they were granted, and their tokens."""

from __future__ import annotations

from typing import Any

import msgspec
import sqlalchemy as sa

from lodestream.domain.access import Actor, make_actor
from lodestream.store.db import Reader
from lodestream.store.tables import account, grant, token


def find_actor(tx: Reader, token_digest: bytes) -> Actor | None:
    """Return who holds the token with this SHA-256, with all that they may do; None if nobody."""
    query = (
        sa.select(account.c.id, account.c.username, account.c.global_permissions)
        .join(token, token.c.user_id == account.c.id)
        .where(token.c.digest == token_digest)
    )
    row = tx.execute(query).first()
    return None if row is None else _actor(tx, row)


def _actor(tx: Reader, row: Any) -> Actor:
    grants = tx.execute(
        sa.select(grant.c.project_id, grant.c.permissions).where(grant.c.user_id == row.id)
    )
    return make_actor(
        user_id=row.id,
        username=row.username,
        granted_globally=_names(row.global_permissions),
        granted_in_projects={one.project_id: _names(one.permissions) for one in grants},
    )


def _names(text: str) -> tuple[str, ...]:
    return msgspec.json.decode(text, type=tuple[str, ...])
