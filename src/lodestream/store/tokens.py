"""Tokens: rows ↔ structs. Only digests are stored."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from lodestream.domain.users import Token
from lodestream.store.db import Reader, Writer
from lodestream.store.tables import token

_TOKENS = sa.select(token.c.id, token.c.user_id, token.c.label, token.c.created_us)


def find(tx: Reader, token_id: str) -> Token | None:
    """Return the token with this id, or None."""
    row = tx.execute(_TOKENS.where(token.c.id == token_id)).first()
    return None if row is None else _token(row)


def list_tokens(tx: Reader, user_id: str | None = None) -> list[Token]:
    """Return the tokens of a user, or of every user, in the order they were made."""
    query = _TOKENS.order_by(token.c.created_us, token.c.id)
    if user_id is not None:
        query = query.where(token.c.user_id == user_id)
    return [_token(row) for row in tx.execute(query)]


def count(tx: Reader, user_id: str) -> int:
    """Return how many tokens a user has."""
    query = sa.select(sa.func.count()).select_from(token).where(token.c.user_id == user_id)
    number: int = tx.execute(query).scalar_one()
    return number


def is_known(tx: Reader, digest: bytes) -> bool:
    """Tell whether somebody holds the token with this SHA-256."""
    return tx.execute(sa.select(token.c.id).where(token.c.digest == digest)).first() is not None


def insert(tx: Writer, values: Token, *, digest: bytes) -> None:
    """Store a new token."""
    tx.execute(
        sa.insert(token).values(
            id=values.id,
            user_id=values.user_id,
            digest=digest,
            label=values.label,
            created_us=values.created_us,
        )
    )


def delete(tx: Writer, token_id: str) -> None:
    """Delete a token: it is refused from the commit on."""
    tx.execute(sa.delete(token).where(token.c.id == token_id))


def _token(row: Any) -> Token:
    return Token(row.id, row.user_id, row.label, row.created_us)
