"""Users and what they were granted."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
import sqlalchemy as sa

from lodestream.domain.access import Actor, derive_global, make_actor
from lodestream.domain.errors import NotFound
from lodestream.domain.users import SYSTEM_USER, ProjectGrant, User
from lodestream.store.db import Reader, Writer
from lodestream.store.dialect import upsert
from lodestream.store.tables import account, grant, project, token

_USERS = sa.select(
    account.c.id,
    account.c.username,
    account.c.email,
    account.c.global_permissions,
    account.c.created_us,
    account.c.last_login_us,
).where(account.c.id != SYSTEM_USER)
_GRANTS = sa.select(
    grant.c.user_id,
    grant.c.project_id,
    grant.c.permissions,
    project.c.name.label("project"),
).join(project, project.c.id == grant.c.project_id)


def find_actor(tx: Reader, token_digest: bytes) -> Actor | None:
    """Return who holds the token with this SHA-256, with all that they may do; None if nobody."""
    query = (
        sa.select(account.c.id, account.c.username, account.c.global_permissions)
        .join(token, token.c.user_id == account.c.id)
        .where(token.c.digest == token_digest)
    )
    row = tx.execute(query).first()
    return None if row is None else _actor(tx, row)


def find(tx: Reader, user_id: str) -> User | None:
    """Return the user with this id, or None. The system's own account is no user."""
    return _first(tx, account.c.id == user_id)


def get(tx: Reader, user_id: str) -> User:
    """Return the user with this id. Raises NotFound."""
    found = find(tx, user_id)
    if found is None:
        raise NotFound(f"No such user: {user_id}")
    return found


def find_by_name(tx: Reader, username: str) -> User | None:
    """Return the user with this username, or None."""
    return _first(tx, account.c.username == username)


def list_users(tx: Reader) -> list[User]:
    """Return every user, by username."""
    grants: dict[str, list[ProjectGrant]] = {}
    for row in tx.execute(_GRANTS):
        grants.setdefault(row.user_id, []).append(_grant(row))
    users = [_user(row, grants.get(row.id, ())) for row in tx.execute(_USERS)]
    return sorted(users, key=lambda user: user.username)


def count(tx: Reader) -> int:
    """Return how many users there are."""
    query = sa.select(sa.func.count()).select_from(account).where(account.c.id != SYSTEM_USER)
    number: int = tx.execute(query).scalar_one()
    return number


def is_name_taken(tx: Reader, username: str) -> bool:
    """Tell whether an account has this username, be it the system's."""
    return _exists(tx, account.c.username == username)


def is_email_taken(tx: Reader, email: str) -> bool:
    """Tell whether an account has this address, compared without case."""
    return _exists(tx, account.c.email_folded == email.casefold())


def is_held_by_others(tx: Reader, user_id: str, permission: str) -> bool:
    """Tell whether a user other than this one holds a global permission, granted or implied."""
    others = (SYSTEM_USER, user_id)
    query = sa.select(account.c.global_permissions).where(
        account.c.id.not_in(others), account.c.global_permissions != "[]"
    )
    return any(
        permission in derive_global(decode_permissions(text))
        for text in tx.execute(query).scalars()
    )


def insert(tx: Writer, user: User) -> None:
    """Store a new user with the grants."""
    tx.execute(
        sa.insert(account).values(
            id=user.id,
            username=user.username,
            email=user.email,
            email_folded=user.email.casefold(),
            global_permissions=_encode(user.global_permissions),
            created_us=user.created_us,
            last_login_us=user.last_login_us,
        )
    )
    for one in user.grants:
        set_grant(tx, user.id, one.project_id, one.permissions)


def set_global_permissions(tx: Writer, user_id: str, permissions: Sequence[str]) -> None:
    """Replace what was granted globally."""
    changed = sa.update(account).where(account.c.id == user_id)
    tx.execute(changed.values(global_permissions=_encode(permissions)))


def set_grant(tx: Writer, user_id: str, project_id: str, permissions: Sequence[str]) -> None:
    """Replace what was granted in a project; nothing takes the user out of the project."""
    if permissions:
        values = {
            "user_id": user_id,
            "project_id": project_id,
            "permissions": _encode(permissions),
        }
        tx.execute(upsert(grant, tx.dialect_name, values=values, update=("permissions",)))
    else:
        here = (grant.c.user_id == user_id) & (grant.c.project_id == project_id)
        tx.execute(sa.delete(grant).where(here))


def delete(tx: Writer, user_id: str) -> None:
    """Delete a user with all grants and tokens."""
    tx.execute(sa.delete(token).where(token.c.user_id == user_id))
    tx.execute(sa.delete(grant).where(grant.c.user_id == user_id))
    tx.execute(sa.delete(account).where(account.c.id == user_id))


def note_call(tx: Writer, user_id: str, *, at_us: int, day_start_us: int) -> None:
    """Note that a user called, unless a call of the same day is noted."""
    last = account.c.last_login_us
    earlier = sa.or_(last.is_(None), last < day_start_us)
    noted = sa.update(account).where(account.c.id == user_id, earlier)
    tx.execute(noted.values(last_login_us=at_us))


def decode_permissions(text: str) -> tuple[str, ...]:
    """Read a stored JSON array of permissions."""
    return msgspec.json.decode(text, type=tuple[str, ...])


def _encode(permissions: Sequence[str]) -> str:
    return msgspec.json.encode(permissions).decode()


def _exists(tx: Reader, condition: sa.ColumnElement[bool]) -> bool:
    return tx.execute(sa.select(account.c.id).where(condition)).first() is not None


def _first(tx: Reader, condition: sa.ColumnElement[bool]) -> User | None:
    row = tx.execute(_USERS.where(condition)).first()
    if row is None:
        return None
    return _user(row, [_grant(one) for one in tx.execute(_GRANTS.where(grant.c.user_id == row.id))])


def _grant(row: Any) -> ProjectGrant:
    return ProjectGrant(row.project_id, row.project, decode_permissions(row.permissions))


def _user(row: Any, grants: Sequence[ProjectGrant]) -> User:
    return User(
        id=row.id,
        username=row.username,
        email=row.email,
        global_permissions=decode_permissions(row.global_permissions),
        grants=tuple(sorted(grants, key=lambda one: one.project)),
        created_us=row.created_us,
        last_login_us=row.last_login_us,
    )


def _actor(tx: Reader, row: Any) -> Actor:
    grants = tx.execute(
        sa.select(grant.c.project_id, grant.c.permissions).where(grant.c.user_id == row.id)
    )
    return make_actor(
        user_id=row.id,
        username=row.username,
        granted_globally=decode_permissions(row.global_permissions),
        granted_in_projects={one.project_id: decode_permissions(one.permissions) for one in grants},
    )
