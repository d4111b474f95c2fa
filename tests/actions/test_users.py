"""Changes of users, as the command line makes them."""

from __future__ import annotations

import threading

import pytest

from lodestream.actions.users import create_user, delete_user, update_user
from lodestream.domain.errors import InvalidInput
from lodestream.domain.users import OPERATOR, User
from lodestream.store import accounts
from lodestream.store.db import Database


def _make(db: Database, name: str, *globally: str) -> User:
    return create_user(
        db,
        actor=OPERATOR,
        username=name,
        email=f"{name}@example.com",
        global_permissions=globally,
    )


def _holders(db: Database, permission: str) -> list[str]:
    with db.read() as tx:
        users = accounts.list_users(tx)
    return [user.username for user in users if permission in user.actor.global_permissions]


@pytest.mark.parametrize("permission", ["root", "tenant-admin", "role-cm-tenant-admin"])
def test_the_last_holder_neither_loses_it_nor_goes(db: Database, permission: str) -> None:
    ada = _make(db, "ada", permission, "debug")
    _make(db, "bob", "audit-read", "projects-admin")
    with pytest.raises(InvalidInput, match="ada is the last"):
        update_user(db, actor=OPERATOR, user_id=ada.id, global_permissions=("debug",))
    with pytest.raises(InvalidInput, match="ada is the last"):
        delete_user(db, actor=OPERATOR, user_id=ada.id)
    assert _holders(db, permission) == ["ada"]
    update_user(db, actor=OPERATOR, user_id=ada.id, global_permissions=(permission,))


def test_an_administrator_may_go_when_another_is_there(db: Database) -> None:
    ada = _make(db, "ada", "tenant-admin")
    _make(db, "bob", "role-cm-tenant-admin")
    delete_user(db, actor=OPERATOR, user_id=ada.id)
    assert _holders(db, "tenant-admin") == ["bob"]


def test_two_administrators_cannot_unmake_each_other(db: Database) -> None:
    pair = [_make(db, name, "tenant-admin") for name in ("ada", "bob")]
    start = threading.Barrier(2)
    refused: list[str] = []

    def unmake(user: User) -> None:
        start.wait(30)
        try:
            update_user(db, actor=OPERATOR, user_id=user.id, global_permissions=())
        except InvalidInput:
            refused.append(user.username)

    threads = [threading.Thread(target=unmake, args=(user,)) for user in pair]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert len(refused) == 1
    assert _holders(db, "tenant-admin") == refused
