"""Where users and tokens are worked on: the database itself, or a server, through one interface."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from lodestream.cli.options import Failed
from lodestream.cli.remote import answer
from lodestream.client import Client, admin_operations, operations

Row = dict[str, Any]
Permissions = Sequence[str]


class Accounts(Protocol):
    """Users and tokens as rows with the API's names."""

    def users(self) -> list[Row]:
        """Return all users."""
        ...

    def find_user(self, name: str) -> Row:
        """Return the user with this name, or with this id. Raises NotFound or Failed."""
        ...

    def create_user(
        self,
        username: str,
        email: str,
        *,
        globally: Permissions,
        in_projects: Mapping[str, Permissions],
    ) -> Row:
        """Create a user and return it."""
        ...

    def change_user(
        self, user_id: str, *, globally: Permissions, in_projects: Mapping[str, Permissions]
    ) -> Row:
        """Replace global permissions, and those in the projects named; return the user."""
        ...

    def delete_user(self, user_id: str) -> None:
        """Delete a user."""
        ...

    def tokens(self, user: Row | None) -> list[Row]:
        """Return the tokens of a user or of everybody, with the users' names as `user`."""
        ...

    def create_token(self, user: Row, label: str) -> tuple[Row, str]:
        """Make a token; return it and its secret."""
        ...

    def revoke_token(self, token_id: str) -> None:
        """Revoke a token."""
        ...


class RemoteAccounts:
    """The users and tokens of a server."""

    def __init__(self, client: Client) -> None:
        self._client = client

    def users(self) -> list[Row]:
        """Return all users that the caller sees."""
        found: list[Row] = answer(self._client, operations.users())["users"]
        return found

    def find_user(self, name: str) -> Row:
        """Return the user with this name, or with this id. Raises Failed if there is none."""
        for one in self.users():
            if name in (one["username"], one["id"]):
                return one
        raise Failed(f"No such user: {name}")

    def create_user(
        self,
        username: str,
        email: str,
        *,
        globally: Permissions,
        in_projects: Mapping[str, Permissions],
    ) -> Row:
        """Create a user and return it."""
        call = operations.create_user(
            username, email, project_permissions=in_projects, global_permissions=globally
        )
        made: Row = answer(self._client, call)["user"]
        return made

    def change_user(
        self, user_id: str, *, globally: Permissions, in_projects: Mapping[str, Permissions]
    ) -> Row:
        """Replace global permissions, and those in the projects named; return the user."""
        call = operations.update_user(
            user_id, project_permissions=in_projects, global_permissions=globally
        )
        changed: Row = answer(self._client, call)["user"]
        return changed

    def delete_user(self, user_id: str) -> None:
        """Delete a user."""
        self._client.delete_user(user_id)

    def tokens(self, user: Row | None) -> list[Row]:
        """Return the tokens of a user or of everybody, with the users' names as `user`."""
        found: list[Row] = []
        for one in self.users() if user is None else [user]:
            mine = answer(self._client, admin_operations.tokens(one["id"]))["tokens"]
            found += [{**token, "user": one["username"]} for token in mine]
        return found

    def create_token(self, user: Row, label: str) -> tuple[Row, str]:
        """Make a token; return it and its secret."""
        made = answer(self._client, admin_operations.create_token(user["id"], label))
        return {**made["token"], "user": user["username"]}, made["secret"]

    def revoke_token(self, token_id: str) -> None:
        """Revoke a token."""
        self._client.delete_token(token_id)
