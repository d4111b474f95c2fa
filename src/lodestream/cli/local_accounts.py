"""The users and tokens in the database itself: no token is needed, and no running server."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from lodestream.actions import tokens as token_actions
from lodestream.actions import users as user_actions
from lodestream.cli.accounts import Permissions, Row
from lodestream.cli.database import migrated_database, settings_from
from lodestream.domain.errors import NotFound
from lodestream.domain.ids import is_id
from lodestream.domain.times import format_us
from lodestream.domain.users import OPERATOR, Token, User
from lodestream.store import accounts, tokens
from lodestream.store.db import Database


@contextmanager
def opened(*, data: Path | None, database_url: str | None) -> Iterator[Database]:
    """Open the database that the options lead to."""
    with migrated_database(settings_from(data=data, database_url=database_url)) as db:
        yield db


class LocalAccounts:
    """The users and tokens of a database; what changes holds for the server's next request."""

    def __init__(self, db: Database) -> None:
        self._db = db

    def users(self) -> list[Row]:
        """Return all users."""
        with self._db.read() as tx:
            return [_user_row(one) for one in accounts.list_users(tx)]

    def find_user(self, name: str) -> Row:
        """Return the user with this name, or with this id. Raises NotFound."""
        with self._db.read() as tx:
            found = accounts.find_by_name(tx, name)
            if found is None and is_id(name):
                found = accounts.find(tx, name)
        if found is None:
            raise NotFound(f"No such user: {name}")
        return _user_row(found)

    def create_user(
        self,
        username: str,
        email: str,
        *,
        globally: Permissions,
        in_projects: Mapping[str, Permissions],
    ) -> Row:
        """Create a user and return it."""
        made = user_actions.create_user(
            self._db,
            actor=OPERATOR,
            username=username,
            email=email,
            global_permissions=tuple(globally),
            in_projects={name: tuple(names) for name, names in in_projects.items()},
        )
        return _user_row(made)

    def change_user(
        self, user_id: str, *, globally: Permissions, in_projects: Mapping[str, Permissions]
    ) -> Row:
        """Replace global permissions, and those in the projects named; return the user."""
        changed = user_actions.update_user(
            self._db,
            actor=OPERATOR,
            user_id=user_id,
            global_permissions=tuple(globally),
            in_projects={name: tuple(names) for name, names in in_projects.items()},
        )
        return _user_row(changed)

    def delete_user(self, user_id: str) -> None:
        """Delete a user."""
        user_actions.delete_user(self._db, actor=OPERATOR, user_id=user_id)

    def tokens(self, user: Row | None) -> list[Row]:
        """Return the tokens of a user or of everybody, with the users' names as `user`."""
        with self._db.read() as tx:
            names = {one.id: one.username for one in accounts.list_users(tx)}
            found = tokens.list_tokens(tx, None if user is None else user["id"])
        return [_token_row(one, names[one.user_id]) for one in found]

    def create_token(self, user: Row, label: str) -> tuple[Row, str]:
        """Make a token; return it and its secret."""
        made, secret = token_actions.create_token(
            self._db, actor=OPERATOR, user_id=user["id"], label=label
        )
        return _token_row(made, user["username"]), secret

    def revoke_token(self, token_id: str) -> None:
        """Revoke a token."""
        token_actions.revoke_token(self._db, actor=OPERATOR, token_id=token_id)


def _user_row(user: User) -> Row:
    return {
        "id": user.id,
        "username": user.username,
        "email": user.email,
        "created": format_us(user.created_us),
        "last_login_at": None if user.last_login_us is None else format_us(user.last_login_us),
        "global_permissions": list(user.global_permissions),
        "organisation_permissions": {one.project: list(one.permissions) for one in user.grants},
    }


def _token_row(token: Token, username: str) -> Row:
    return {
        "id": token.id,
        "user": username,
        "user_id": token.user_id,
        "label": token.label,
        "created_at": format_us(token.created_us),
    }
