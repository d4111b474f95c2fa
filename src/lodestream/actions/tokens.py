"""Tokens: make them, revoke them."""

from __future__ import annotations

from lodestream.domain import access
from lodestream.domain.access import Actor
from lodestream.domain.audit import Refs
from lodestream.domain.errors import NotFound, PermissionMissing, Unprocessable
from lodestream.domain.ids import new_id
from lodestream.domain.times import now_us
from lodestream.domain.users import MOST_TOKENS, Token, User, new_secret, secret_digest
from lodestream.store import accounts, audit, tokens
from lodestream.store.db import Database, Writer


def create_token(db: Database, *, actor: Actor, user_id: str, label: str = "") -> tuple[Token, str]:
    """Make a token for a user, besides those there are; return it and its secret.

    The secret is nowhere else: it cannot be shown again. Raises NotFound for an unknown user,
    PermissionMissing as `require_manager` and for a user who holds more than the actor may grant,
    Unprocessable if the user has too many.
    """
    require_manager(actor, user_id)
    secret = new_secret()
    with db.write() as tx:
        user = accounts.get(tx, user_id)
        if user_id != actor.user_id:
            # A token is as good as all that its holder may do, so it is a grant of all that.
            access.require_grantable(
                actor, in_projects=user.granted_in_projects, globally=user.global_permissions
            )
        if tokens.count(tx, user_id) >= MOST_TOKENS:
            raise Unprocessable(f"{user.username} has {MOST_TOKENS} tokens: revoke one first")
        made = add_token(tx, actor_id=actor.user_id, user=user, label=label, secret=secret)
    return made, secret


def revoke_token(db: Database, *, actor: Actor, token_id: str) -> None:
    """Delete a token: it is refused from the next request on.

    Raises NotFound for a token that there is not or that is not the actor's to revoke.
    """
    with db.write() as tx:
        token = tokens.find(tx, token_id)
        if token is None or not is_manager(actor, token.user_id):
            raise NotFound(f"No such token: {token_id}")
        tokens.delete(tx, token_id)
        _record(tx, actor.user_id, "delete_token", accounts.get(tx, token.user_id), token)


def add_token(tx: Writer, *, actor_id: str, user: User, label: str, secret: str) -> Token:
    """Store a token with this secret, with its audit entry."""
    token = Token(new_id(), user.id, label, now_us())
    tokens.insert(tx, token, digest=secret_digest(secret))
    _record(tx, actor_id, "create_token", user, token)
    return token


def is_manager(actor: Actor, user_id: str) -> bool:
    """Tell whether the actor may see and revoke the user's tokens: one's own, or an admin."""
    return user_id == actor.user_id or access.has_global(actor, (access.TENANT_ADMIN,))


def require_manager(actor: Actor, user_id: str) -> None:
    """Raise PermissionMissing unless `is_manager`."""
    if not is_manager(actor, user_id):
        raise PermissionMissing(access.TENANT_ADMIN)


def _record(tx: Writer, actor_id: str, event_type: str, user: User, token: Token) -> None:
    refs = Refs(users=(user.ref,), details={"token_id": token.id, "label": token.label})
    audit.record(tx, actor_id=actor_id, event_type=event_type, refs=refs)
