"""Tokens over HTTP, in our own namespace."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from lodestream.domain.users import MOST_TOKENS
from lodestream.store.tables import token as token_table
from tests.client import Client
from tests.conftest import ROOT_TOKEN, grant_in, make_user

Json = dict[str, Any]


def _tokens(user_id: str) -> str:
    return f"/api/lodestream/v1/users/{user_id}/tokens"


def _token(token_id: str) -> str:
    return f"/api/lodestream/v1/tokens/{token_id}"


def _user(client: Client, secret: str, globally: str = "[]") -> tuple[Client, str]:
    user_id = make_user(client.app.service.db, secret, globally=globally)
    return client.as_user(secret), user_id


def test_a_new_token_works_besides_the_old_one(client: Client) -> None:
    caller, user_id = _user(client, "old")
    made = caller.ok("POST", _tokens(user_id), {"label": "laptop"})
    assert made["secret"].startswith("ls_")
    assert len(made["secret"]) == 46
    assert made["token"]["label"] == "laptop"
    assert made["token"]["user_id"] == user_id
    fresh = client.as_user(made["secret"])
    assert fresh.ok("GET", "/auth/user")["user"]["id"] == user_id
    assert caller.get("/auth/user").status == 200


def test_secrets_are_shown_once_and_stored_nowhere(client: Client) -> None:
    caller, user_id = _user(client, "old")
    made = caller.ok("POST", _tokens(user_id))
    again = caller.ok("POST", _tokens(user_id), {})
    assert made["secret"] != again["secret"]
    listed = caller.ok("GET", _tokens(user_id))["tokens"]
    assert [one["id"] for one in listed[1:]] == [made["token"]["id"], again["token"]["id"]]
    assert all(set(one) == {"id", "user_id", "label", "created_at"} for one in listed)
    with client.app.service.db.read() as tx:
        stored = str(tx.execute(sa.select(token_table)).all())
    assert made["secret"] not in stored
    assert made["secret"][3:] not in stored


def test_a_revoked_token_is_refused_at_once(client: Client) -> None:
    caller, user_id = _user(client, "old")
    made = caller.ok("POST", _tokens(user_id))
    fresh = client.as_user(made["secret"])
    assert fresh.get("/auth/user").status == 200
    path = _token(made["token"]["id"])
    assert caller.ok("DELETE", path) == {"status": "ok"}
    assert fresh.get("/auth/user").status == 401
    assert caller.delete(path).status == 404
    assert caller.get("/auth/user").status == 200


def test_others_tokens_are_nobodys_business(client: Client) -> None:
    ada, ada_id = _user(client, "ada")
    made = ada.ok("POST", _tokens(ada_id))["token"]
    bob, _ = _user(client, "bob", '["tenant-users-read"]')
    assert bob.get(_tokens(ada_id)).status == 403
    assert bob.post(_tokens(ada_id)).status == 403
    # To him there is no such token; 403 would tell that there is one.
    answer, unknown = bob.delete(_token(made["id"])), bob.delete(_token("0" * 16))
    assert answer.status == unknown.status == 404
    assert ada.ok("GET", _tokens(ada_id))["tokens"][-1] == made


def test_a_tenant_admin_manages_everybodys_tokens(client: Client) -> None:
    ada, ada_id = _user(client, "ada")
    grant_in(client.app.service.db, ada_id, "acme")
    admin, _ = _user(client, "admin", '["tenant-admin"]')
    made = admin.ok("POST", _tokens(ada_id), {"label": "given"})
    assert client.as_user(made["secret"]).ok("GET", "/auth/user")["user"]["id"] == ada_id
    assert [one["label"] for one in admin.ok("GET", _tokens(ada_id))["tokens"]] == ["test", "given"]
    admin.ok("DELETE", _token(made["token"]["id"]))
    assert ada.get("/auth/user").status == 200


def test_nobody_makes_a_token_of_somebody_who_holds_more(client: Client) -> None:
    admin, admin_id = _user(client, "admin", '["tenant-admin"]')
    root = client.ok("GET", "/auth/user")["user"]["id"]
    assert admin.post(_tokens(root)).status == 403
    assert len(client.ok("GET", _tokens(root))["tokens"]) == 1
    other, other_id = _user(client, "other", '["tenant-admin", "deployment-quota-write"]')
    assert admin.post(_tokens(other_id)).status == 403
    assert other.post(_tokens(admin_id)).status == 200
    assert client.post(_tokens(other_id)).status == 200


def test_there_are_no_tokens_of_nobody(client: Client) -> None:
    for user_id in ("0123456789abcdef", "0000000000000000", "x"):
        assert client.get(_tokens(user_id)).status == 404
        assert client.post(_tokens(user_id)).status == 404


def test_a_bad_request_makes_no_token(client: Client) -> None:
    caller, user_id = _user(client, "t")
    for body in ({"label": 7}, {"label": "x" * 257}, {"name": "x"}, []):
        assert caller.post(_tokens(user_id), body).status == 400
    assert len(caller.ok("GET", _tokens(user_id))["tokens"]) == 1


def test_a_user_may_not_have_endlessly_many(client: Client) -> None:
    caller, user_id = _user(client, "t")
    row = {"user_id": user_id, "label": "", "created_us": 1}
    with client.app.service.db.write() as tx:
        rows = [
            {**row, "id": f"{number:016x}", "digest": number.to_bytes(32, "big")}
            for number in range(1, MOST_TOKENS)
        ]
        tx.execute(sa.insert(token_table), rows)
    assert caller.post(_tokens(user_id)).status == 422
    caller.ok("DELETE", _token(f"{1:016x}"))
    assert caller.post(_tokens(user_id)).status == 200


def test_making_and_revoking_is_in_the_audit_log_without_the_secret(client: Client) -> None:
    caller, user_id = _user(client, "t")
    made = caller.ok("POST", _tokens(user_id), {"label": "laptop"})
    caller.ok("DELETE", _token(made["token"]["id"]))
    page = client.as_user(ROOT_TOKEN).ok("POST", "/api/v1/audit_events/query", {})
    events = [(one["event_type"], one["user_ids"]) for one in page["audit_events"]]
    assert events == [("create_token", [user_id]), ("delete_token", [user_id])]
    assert made["secret"] not in str(page)
