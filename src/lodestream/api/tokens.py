"""Tokens over HTTP, in our own namespace: the vendor has no call for them."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta, Struct

from lodestream.actions import tokens as actions
from lodestream.api.calls import Call
from lodestream.domain.times import format_us
from lodestream.domain.users import Token
from lodestream.store import accounts
from lodestream.store import tokens as store


class TokenRequest(Struct, forbid_unknown_fields=True):
    """What a new token is for."""

    label: Annotated[str, Meta(max_length=256)] = ""


class TokenWire(Struct):
    """A token without its secret."""

    id: str
    user_id: str
    label: str
    created_at: str


class NewTokenReply(Struct):
    """A new token, and its secret for the only time."""

    token: TokenWire
    secret: str
    status: str = "ok"


class TokensReply(Struct):
    """A user's tokens, in the order they were made."""

    tokens: list[TokenWire]
    status: str = "ok"


def create_token(call: Call[TokenRequest]) -> NewTokenReply:
    """Make a token."""
    made, secret = actions.create_token(
        call.service.db, actor=call.actor, user_id=call.value("user_id"), label=call.body.label
    )
    return NewTokenReply(_wire(made), secret)


def list_tokens(call: Call[None]) -> TokensReply:
    """List a user's tokens."""
    user_id = call.value("user_id")
    actions.require_manager(call.actor, user_id)
    with call.service.db.read() as tx:
        accounts.get(tx, user_id)
        return TokensReply([_wire(one) for one in store.list_tokens(tx, user_id)])


def delete_token(call: Call[None]) -> None:
    """Revoke a token."""
    actions.revoke_token(call.service.db, actor=call.actor, token_id=call.value("token_id"))


def _wire(token: Token) -> TokenWire:
    return TokenWire(token.id, token.user_id, token.label, format_us(token.created_us))
