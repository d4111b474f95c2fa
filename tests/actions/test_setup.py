"""The first administrator."""

from __future__ import annotations

import pytest

from lodestream.actions.setup import ensure_first_admin
from lodestream.actions.users import create_user, delete_user
from lodestream.domain.access import ALL_FINE_GRAINED_PROJECT_PERMISSIONS
from lodestream.domain.errors import InvalidInput
from lodestream.domain.users import OPERATOR, User, secret_digest
from lodestream.store import accounts, audit, tokens
from lodestream.store.db import Database


def _admin(db: Database) -> User:
    with db.read() as tx:
        found = accounts.find_by_name(tx, "admin")
    assert found is not None
    return found


def _holder(db: Database, secret: str) -> str | None:
    with db.read() as tx:
        actor = accounts.find_actor(tx, secret_digest(secret))
    return None if actor is None else actor.username


def test_a_fresh_database_gets_an_administrator_with_a_made_up_token(db: Database) -> None:
    secret = ensure_first_admin(db, None)
    assert secret is not None
    assert secret.startswith("ls_")
    assert _holder(db, secret) == "admin"
    admin = _admin(db)
    assert set(admin.global_permissions) == {"root", "tenant-admin"}
    assert [(one.project, one.permissions) for one in admin.grants] == [
        ("DefaultProject", ALL_FINE_GRAINED_PROJECT_PERMISSIONS)
    ]


def test_a_second_start_changes_nothing(db: Database) -> None:
    ensure_first_admin(db, None)
    admin = _admin(db)
    assert ensure_first_admin(db, None) is None
    assert ensure_first_admin(db, "") is None
    with db.read() as tx:
        assert accounts.list_users(tx) == [admin]
        assert len(tokens.list_tokens(tx)) == 1


def test_a_given_token_is_the_administrators(db: Database) -> None:
    assert ensure_first_admin(db, "chosen-token") == "chosen-token"
    assert _holder(db, "chosen-token") == "admin"
    assert ensure_first_admin(db, "chosen-token") is None
    with db.read() as tx:
        assert len(tokens.list_tokens(tx)) == 1


def test_a_given_token_that_differs_later_is_added(db: Database) -> None:
    first = ensure_first_admin(db, None)
    assert first is not None
    assert ensure_first_admin(db, "chosen-token") is None
    assert _holder(db, "chosen-token") == _holder(db, first) == "admin"


def test_a_deleted_administrator_does_not_come_back(db: Database) -> None:
    ensure_first_admin(db, None)
    create_user(
        db,
        actor=OPERATOR,
        username="ada",
        email="ada@example.com",
        global_permissions=("root", "tenant-admin"),
    )
    delete_user(db, actor=OPERATOR, user_id=_admin(db).id)
    assert ensure_first_admin(db, "chosen-token") is None
    assert _holder(db, "chosen-token") is None
    with db.read() as tx:
        assert [user.username for user in accounts.list_users(tx)] == ["ada"]


@pytest.mark.parametrize("token", ["two words", "tab\t", "naïve", " "])
def test_a_token_that_cannot_be_sent_is_refused(db: Database, token: str) -> None:
    with pytest.raises(InvalidInput):
        ensure_first_admin(db, token)
    with db.read() as tx:
        assert accounts.count(tx) == 0


def test_the_creation_is_in_the_audit_log_without_the_secret(db: Database) -> None:
    secret = ensure_first_admin(db, None)
    assert secret is not None
    with db.read() as tx:
        events = audit.list_events(tx, minimum_us=None, maximum_us=None, after=None, limit=10)
    assert [event.type for event in events] == ["create_user", "create_token"]
    assert {event.actor.username for event in events} == {"system"}
    assert secret not in repr(events)
