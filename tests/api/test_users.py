"""Users and permissions over HTTP."""

from __future__ import annotations

import time
from typing import Any

import pytest
import sqlalchemy as sa

from lodestream.domain import access
from lodestream.store.activity import ActivityLog
from lodestream.store.tables import account
from tests.build import fetch, make_pipeline, make_source
from tests.client import Client
from tests.conftest import ROOT_TOKEN, grant_in, make_user

USERS = "/api/_private/users"
Json = dict[str, Any]


def _create(client: Client, name: str = "ada", **more: Any) -> Json:
    body = {"username": name, "email": f"{name}@example.com", **more}
    user: Json = client.ok("PUT", USERS, {"user": body})["user"]
    return user


def _actor(client: Client, secret: str, globally: str = "[]") -> tuple[Client, str]:
    """Make another caller; return a client of theirs, and their id."""
    user_id = make_user(client.app.service.db, secret, globally=globally)
    return client.as_user(secret), user_id


def _member(client: Client, secret: str, *permissions: str) -> tuple[Client, str]:
    """Make a caller with permissions in `acme`."""
    caller, user_id = _actor(client, secret)
    grant_in(client.app.service.db, user_id, "acme", permissions)
    return caller, user_id


def _me(client: Client) -> Json:
    user: Json = client.ok("GET", "/auth/user")["user"]
    return user


# The caller


def test_the_current_user_has_every_field_that_clients_need(client: Client) -> None:
    caller, user_id = _member(client, "t", "voc", "triggers-read")
    user = _me(caller)
    del user["last_login_at"]  # noted in the background, at a time of its own
    assert user.pop("created").endswith("Z")
    assert user.pop("username").startswith("user-")
    assert user.pop("email") == f"{user_id}@example.com"
    assert user == {
        "id": user_id,
        "verified": True,
        "organisation_permissions": {"acme": ["voc", "triggers-read"]},
        "derived_organisation_permissions": {
            "acme": sorted(["voc", "voc-readonly", "datasets-review", "triggers-read"])
        },
        "global_permissions": [],
        "sso_global_permissions": [],
        "derived_user_global_permissions": [],
        "derived_global_permissions": [],
        "is_support_user": False,
        "license": "V2",
        "license_check": "Succeeded",
    }


def test_the_current_user_is_found_under_a_path_prefix(client: Client) -> None:
    assert client.get("/acme/tenant/reinfer_/auth/user").status == 200
    assert client.get("/acme/tenant/reinfer_//auth/user").status == 200


def test_a_user_without_any_permission_can_read_himself_and_refresh(client: Client) -> None:
    caller, user_id = _actor(client, "nobody")
    assert _me(caller)["id"] == user_id
    assert caller.ok("GET", f"{USERS}/{user_id}")["user"]["id"] == user_id
    answer = caller.ok("POST", "/auth/refresh-user-permissions", {})
    assert answer == {"status": "ok", "permissions_refreshed": True}
    assert caller.post("/auth/refresh-user-permissions").status == 200


def test_root_holds_everything_in_every_project(client: Client) -> None:
    derived = _me(client)["derived_organisation_permissions"]
    assert set(derived) == {"DefaultProject", "acme", "other"}
    assert derived["other"] == sorted(access.PROJECT_PERMISSIONS)
    assert _me(client)["organisation_permissions"] == {}
    assert set(_me(client)["derived_global_permissions"]) == access.GLOBAL_PERMISSIONS


def test_the_first_request_of_a_day_is_the_login(client: Client) -> None:
    caller, user_id = _actor(client, "t")
    before = time.time()
    _me(caller)
    epoch = client.app.service.catalogue.epoch
    deadline = time.monotonic() + 20
    while (first := client.ok("GET", f"{USERS}/{user_id}")["user"]["last_login_at"]) is None:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert time.strftime("%Y-%m-%dT", time.gmtime(before)) <= first
    db = client.app.service.db
    _me(caller)
    client.app.service.activity.write(db)
    assert client.ok("GET", f"{USERS}/{user_id}")["user"]["last_login_at"] == first
    assert client.app.service.catalogue.epoch == epoch


def test_whoever_only_fetches_is_noted_on_the_next_day_too(client: Client) -> None:
    make_pipeline(client)
    caller, user_id = _member(client, "t", "streams-consume", "voc-readonly", "sources-read")
    fetch(caller, size=16)
    # A process that knows the caller, but has noted nobody today.
    service = client.app.service
    service.activity = ActivityLog()
    with service.db.write(catalogue=False) as tx:
        tx.execute(sa.update(account).where(account.c.id == user_id).values(last_login_us=1))
    fetch(caller, size=16)
    service.activity.write(service.db)
    login = client.ok("GET", f"{USERS}/{user_id}")["user"]["last_login_at"]
    assert not login.startswith("1970")


# Listings


def test_the_public_list_has_three_fields_and_is_sorted(client: Client) -> None:
    _create(client, "zoe")
    _create(client, "Bob")
    _create(client, "ada")
    listed = client.ok("GET", "/api/v1/users")["users"]
    assert [one["username"] for one in listed if "@" in one["email"]][:2] == ["Bob", "ada"]
    assert all(set(one) == {"email", "last_login_at", "username"} for one in listed)
    assert {"email": "ada@example.com", "last_login_at": None, "username": "ada"} in listed


def test_the_system_account_is_no_user(client: Client) -> None:
    names = [one["username"] for one in client.ok("GET", USERS)["users"]]
    assert "system" not in names
    assert client.get(f"{USERS}/0000000000000000").status == 404
    assert client.post(f"{USERS}/0000000000000000", {"user": {}}).status == 404
    assert client.delete(f"{USERS}/0000000000000000").status == 404
    for body in ({"username": "system", "email": "s@example.com"},):
        assert client.put(USERS, {"user": body}).status == 409


@pytest.mark.parametrize("path", ["/api/v1/users", USERS])
def test_who_may_list_users(client: Client, path: str) -> None:
    for number, held in enumerate(("tenant-users-read", "tenant-admin", "role-cm-tenant-admin")):
        caller, _ = _actor(client, f"g{number}", f'["{held}"]')
        assert caller.get(path).status == 200
    assert _member(client, "reader", "users-read")[0].get(path).status == 200
    assert _member(client, "other", "voc", "sources-admin")[0].get(path).status == 403
    assert _actor(client, "nobody")[0].get(path).status == 403


def test_others_are_shown_only_with_the_projects_that_the_caller_sees(client: Client) -> None:
    both = {"acme": ["sources-read"], "other": ["voc"]}
    ada = _create(client, organisation_permissions=both)
    caller, _ = _member(client, "reader", "users-read")
    for shown in (
        caller.ok("GET", f"{USERS}/{ada['id']}")["user"],
        next(u for u in caller.ok("GET", USERS)["users"] if u["id"] == ada["id"]),
    ):
        assert shown["organisation_permissions"] == {"acme": ["sources-read"]}
        assert set(shown["derived_organisation_permissions"]) == {"acme"}
    admin, _ = _actor(client, "admin", '["tenant-admin"]')
    assert admin.ok("GET", f"{USERS}/{ada['id']}")["user"]["organisation_permissions"] == both
    for user in caller.ok("GET", USERS)["users"]:  # root's derived permissions, too
        assert set(user["derived_organisation_permissions"]) <= {"acme"}


def test_reading_another_user_needs_the_permission_and_that_he_exists(client: Client) -> None:
    ada = _create(client)
    assert _actor(client, "nobody")[0].get(f"{USERS}/{ada['id']}").status == 403
    assert client.get(f"{USERS}/0123456789abcdef").status == 404
    assert client.get(f"{USERS}/no-id").status == 404


# Create


def test_a_created_user_reads_back(client: Client) -> None:
    ada = _create(
        client,
        organisation_permissions={"acme": ["voc", "streams-admin", "voc"], "other": []},
        global_permissions=["audit-read"],
    )
    assert ada["organisation_permissions"] == {"acme": ["voc", "streams-admin"]}
    assert ada["global_permissions"] == ["audit-read"]
    assert ada["last_login_at"] is None
    assert ada["verified"] is True
    assert "license" not in ada
    assert client.ok("GET", f"{USERS}/{ada['id']}")["user"] == ada


def test_nothing_is_granted_that_is_not_listed(client: Client) -> None:
    ada = _create(client, global_permissions=None)
    assert ada["organisation_permissions"] == {}
    assert ada["global_permissions"] == []


def test_both_spellings_of_stream_permissions_are_one(client: Client) -> None:
    ada = _create(client, organisation_permissions={"acme": ["triggers-read", "streams-read"]})
    assert ada["organisation_permissions"] == {"acme": ["streams-read"]}


def test_new_users_join_the_projects_that_all_users_join(client: Client) -> None:
    client.ok("POST", "/api/_private/projects/acme", {"project": {"user_auto_join": True}})
    ada = _create(client)
    assert ada["organisation_permissions"] == {"acme": ["sources-read", "voc-readonly"]}
    bob = _create(client, "bob", organisation_permissions={"acme": ["voc"]})
    assert bob["organisation_permissions"] == {"acme": ["voc", "sources-read", "voc-readonly"]}


@pytest.mark.parametrize(
    "taken",
    [
        {"username": "ada", "email": "other@example.com"},
        {"username": "other", "email": "ada@example.com"},
        {"username": "other", "email": "ADA@Example.COM"},
    ],
)
def test_a_taken_name_or_address_conflicts(client: Client, taken: Json) -> None:
    _create(client)
    before = client.ok("GET", USERS)
    assert client.put(USERS, {"user": taken}).status == 409
    assert client.ok("GET", USERS) == before


@pytest.mark.parametrize(
    ("status", "change"),
    [
        (400, {"username": ""}),
        (400, {"username": "   "}),
        (400, {"username": "a\nb"}),
        (400, {"username": "a" * 257}),
        (400, {"username": 7}),
        (400, {"email": "ada"}),
        (400, {"email": "ada@example"}),
        (400, {"email": ".ada@example.com"}),
        (400, {"email": "ada@example.com\n"}),
        (400, {"email": "a" * 257 + "@example.com"}),
        (400, {"email": "two words@example.com"}),
        (400, {"global_permissions": ["king"]}),
        (400, {"global_permissions": ["voc"]}),
        (400, {"global_permissions": [None]}),
        (400, {"organisation_permissions": {"acme": ["root"]}}),
        (400, {"organisation_permissions": {"acme": None}}),
        (400, {"organisation_permissions": None}),
        (400, {"nickname": "a"}),
        (404, {"organisation_permissions": {"nowhere": ["voc"]}}),
        (404, {"organisation_permissions": {"nowhere": []}}),
    ],
)
def test_a_bad_user_is_refused_and_not_stored(client: Client, status: int, change: Json) -> None:
    before = client.ok("GET", USERS)
    body = {"username": "ada", "email": "ada@example.com", **change}
    answer = client.put(USERS, {"user": body})
    assert answer.status == status, answer.content
    assert client.ok("GET", USERS) == before


def test_an_unknown_permission_or_project_is_named(client: Client) -> None:
    body: Json = {"username": "ada", "email": "ada@example.com", "global_permissions": ["king"]}
    assert "'king'" in client.put(USERS, {"user": body}).json["message"]
    body = {"username": "ada", "email": "a@b.example", "organisation_permissions": {"no": []}}
    assert client.put(USERS, {"user": body}).json["message"].startswith("No such project")


def test_addresses_of_the_allowed_form_are_accepted(client: Client) -> None:
    for number, email in enumerate(("a.b+c@x-y.example.org", "o'neil_{1}@a.b.c", "`~;@1.example")):
        body = {"username": f"u{number}", "email": email}
        assert client.ok("PUT", USERS, {"user": body})["user"]["email"] == email


def test_the_quota_of_users_holds(client: Client) -> None:
    users = len(client.ok("GET", USERS)["users"])
    client.ok("POST", "/api/_private/quotas/main/users", {"hard_limit": users + 1})
    _create(client)
    body = {"username": "bob", "email": "bob@example.com"}
    answer = client.put(USERS, {"user": body})
    assert answer.status == 400
    assert "users" in answer.json["message"]
    assert len(client.ok("GET", USERS)["users"]) == users + 1


# Who may create and change


def test_a_manager_of_a_project_creates_users_in_it_only(client: Client) -> None:
    manager, _ = _member(client, "m", "users-write", "voc")
    ada = _create(manager, organisation_permissions={"acme": ["voc", "voc-readonly"]})
    assert ada["organisation_permissions"] == {"acme": ["voc", "voc-readonly"]}

    def refused(status: int, **more: Any) -> None:
        body = {"username": "bob", "email": "bob@example.com", **more}
        assert manager.put(USERS, {"user": body}).status == status

    refused(403)  # in no project at all
    refused(403, organisation_permissions={"acme": ["sources-admin"]})  # does not hold it
    refused(403, organisation_permissions={"acme": ["voc"]}, global_permissions=["audit-read"])
    refused(404, organisation_permissions={"acme": ["voc"], "other": ["voc"]})  # cannot see it


def test_who_may_not_write_users_creates_none(client: Client) -> None:
    caller, _ = _member(client, "c", "users-read", "voc")
    body = {
        "username": "bob",
        "email": "bob@example.com",
        "organisation_permissions": {"acme": ["voc"]},
    }
    assert caller.put(USERS, {"user": body}).status == 403
    assert _actor(client, "n")[0].put(USERS, {"user": body}).status == 404
    assert _actor(client, "n2", '["projects-admin"]')[0].put(USERS, {"user": body}).status == 404


def test_a_tenant_admin_grants_all_but_what_is_above_him(client: Client) -> None:
    admin, _ = _actor(client, "a", '["tenant-admin"]')
    ada = _create(
        admin,
        organisation_permissions={"acme": ["role-cm-project-admin"], "other": ["sources-admin"]},
        global_permissions=["tenant-admin", "audit-read"],
    )
    for above in ("root", "support-tenant-admin", "deployment-quota-write"):
        change = {"user": {"global_permissions": ["tenant-admin", "audit-read", above]}}
        assert admin.post(f"{USERS}/{ada['id']}", change).status == 403
    assert client.ok("GET", f"{USERS}/{ada['id']}")["user"] == ada


# Update


def test_only_the_projects_named_are_changed(client: Client) -> None:
    ada = _create(client, organisation_permissions={"acme": ["voc"], "other": ["voc"]})
    path = f"{USERS}/{ada['id']}"

    def change(**user: Any) -> Json:
        found: Json = client.ok("POST", path, {"user": user})["user"]
        assert client.ok("GET", path)["user"] == found
        return found

    assert change() == ada
    assert change(organisation_permissions=None, global_permissions=None) == ada
    after = change(organisation_permissions={"acme": ["sources-read"]})
    assert after["organisation_permissions"] == {"acme": ["sources-read"], "other": ["voc"]}
    after = change(organisation_permissions={"other": []})
    assert after["organisation_permissions"] == {"acme": ["sources-read"]}
    after = change(global_permissions=["debug", "audit-read"])
    assert after["global_permissions"] == ["debug", "audit-read"]
    after = change(global_permissions=[])
    assert after["global_permissions"] == []
    assert after["organisation_permissions"] == {"acme": ["sources-read"]}


def test_a_change_holds_for_the_very_next_request(client: Client) -> None:
    make_source(client)
    caller, user_id = _actor(client, "t")
    for permissions, status in ((["sources-read"], 200), ([], 404), (["voc"], 403)):
        change = {"user": {"organisation_permissions": {"acme": permissions}}}
        client.ok("POST", f"{USERS}/{user_id}", change)
        assert caller.get("/api/v1/sources/acme/inbox").status == status


def test_an_export_is_replayed_after_a_project_is_gone(client: Client) -> None:
    ada = _create(client)
    path = f"{USERS}/{ada['id']}"
    gone: Json = {"user": {"organisation_permissions": {"gone": []}}}
    assert client.ok("POST", path, gone)["user"] == ada
    gone["user"]["organisation_permissions"]["gone"] = ["voc"]
    assert client.post(path, gone).status == 404


def test_a_manager_changes_only_what_he_may(client: Client) -> None:
    manager, _ = _member(client, "m", "users-write", "voc")
    ada = _create(
        client,
        organisation_permissions={"acme": ["sources-admin"], "other": ["voc"]},
        global_permissions=["audit-read"],
    )
    path = f"{USERS}/{ada['id']}"

    def change(**user: Any) -> int:
        return manager.post(path, {"user": user}).status

    assert change() == 403
    assert change(organisation_permissions={"other": []}) == 404
    assert change(organisation_permissions={"acme": ["sources-admin", "streams-read"]}) == 403
    assert change(organisation_permissions={"acme": []}, global_permissions=[]) == 403
    assert client.ok("GET", path)["user"] == ada
    # What ada has already need not be the manager's to give.
    assert change(organisation_permissions={"acme": ["sources-admin", "voc"]}) == 200
    after = client.ok("GET", path)["user"]["organisation_permissions"]
    assert after == {"acme": ["sources-admin", "voc"], "other": ["voc"]}


def test_nobody_takes_away_globally_what_he_cannot_give(client: Client) -> None:
    admin, _ = _actor(client, "a", '["tenant-admin"]')
    root = _me(client)["id"]
    change = {"user": {"global_permissions": []}}
    assert admin.post(f"{USERS}/{root}", change).status == 403
    assert admin.delete(f"{USERS}/{root}").status == 403
    assert _me(client)["global_permissions"] == ["root"]


def test_the_last_root_cannot_lose_it(client: Client) -> None:
    path = f"{USERS}/{_me(client)['id']}"
    ada = _create(client, global_permissions=["tenant-admin"])
    fewer = {"user": {"global_permissions": ["tenant-admin"]}}
    answer = client.post(path, fewer)
    assert answer.status == 400
    assert "last" in answer.json["message"]
    assert _me(client)["global_permissions"] == ["root"]
    more = {"user": {"global_permissions": ["tenant-admin", "root"]}}
    client.ok("POST", f"{USERS}/{ada['id']}", more)
    client.ok("POST", path, fewer)


def test_updating_a_user_that_is_not_there_is_404(client: Client) -> None:
    assert client.post(f"{USERS}/0123456789abcdef", {"user": {}}).status == 404
    ada = _create(client)
    for bad in ({}, {"user": {"email": "b@example.com"}}, {"user": {"global_permissions": "x"}}):
        assert client.post(f"{USERS}/{ada['id']}", bad).status == 400


# Delete


def test_a_deleted_user_is_locked_out_at_once(client: Client) -> None:
    caller, user_id = _member(client, "t", "sources-read")
    assert caller.get("/auth/user").status == 200
    assert client.ok("DELETE", f"{USERS}/{user_id}") == {"status": "ok"}
    assert caller.get("/auth/user").status == 401
    assert client.get(f"{USERS}/{user_id}").status == 404
    assert client.delete(f"{USERS}/{user_id}").status == 404
    assert user_id not in str(client.ok("GET", USERS))


def test_names_of_deleted_users_are_free_again(client: Client) -> None:
    ada = _create(client)
    client.ok("DELETE", f"{USERS}/{ada['id']}")
    assert _create(client)["id"] != ada["id"]


def test_nobody_deletes_himself(client: Client) -> None:
    _create(client, global_permissions=["root"])
    assert client.delete(f"{USERS}/{_me(client)['id']}").status == 400
    assert client.as_user(ROOT_TOKEN).get("/auth/user").status == 200


def test_an_administrator_deletes_others(client: Client) -> None:
    caller, caller_id = _actor(client, "a", '["tenant-admin"]')
    manager, _ = _member(client, "m", "users-write")
    assert manager.delete(f"{USERS}/{caller_id}").status == 403
    other, _ = _actor(client, "b", '["tenant-admin", "root"]')
    assert other.delete(f"{USERS}/{caller_id}").status == 200
    assert other.delete(f"{USERS}/{_me(client)['id']}").status == 200
    assert caller.get("/auth/user").status == client.get("/auth/user").status == 401


# The rest


def test_a_welcome_is_accepted(client: Client) -> None:
    ada = _create(client)
    path = f"{USERS}/{ada['id']}/welcome-email"
    assert client.ok("POST", path, {}) == {"status": "ok"}
    assert client.post(path).status == 200
    assert client.post(f"{USERS}/0123456789abcdef/welcome-email", {}).status == 404
    assert _member(client, "m", "users-write")[0].post(path, {}).status == 200
    assert _member(client, "n", "users-read")[0].post(path, {}).status == 403


@pytest.mark.parametrize("word", ["add", "remove"])
def test_support_tenants_are_refused_to_everybody(client: Client, word: str) -> None:
    body = {"email": "a@example.com", "user_tenant": "main"}
    assert client.post(f"{USERS}/support-tenants/{word}", body).status == 403
    assert client.post(f"{USERS}/support-tenants/{word}", {}).status == 400


def test_derived_permissions(client: Client) -> None:
    caller, _ = _actor(client, "t")
    body = {"global_permissions": ["tenant-quota-write"], "organisation_permissions": ["voc"]}
    answer = caller.ok("POST", "/api/_private/permissions/derived", body)
    assert answer == {
        "status": "ok",
        "global_permissions": ["tenant-quota-read", "tenant-quota-write"],
        "organisation_permissions": ["datasets-review", "voc", "voc-readonly"],
        "permissions": [
            "tenant-quota-read",
            "tenant-quota-write",
            "datasets-review",
            "voc",
            "voc-readonly",
        ],
    }


def test_reduced_permissions(client: Client) -> None:
    body = {"organisation_permissions": ["sources-admin", "sources-read", "triggers-read"]}
    answer = client.ok("POST", "/api/_private/permissions/reduced", body)
    assert answer["organisation_permissions"] == ["sources-admin", "streams-read"]
    assert answer["global_permissions"] == []
    assert answer["permissions"] == ["sources-admin", "streams-read"]


@pytest.mark.parametrize("word", ["derived", "reduced"])
def test_unknown_permissions_cannot_be_calculated_with(client: Client, word: str) -> None:
    path = f"/api/_private/permissions/{word}"
    assert client.ok("POST", path, {})["permissions"] == []
    assert client.post(path, {"organisation_permissions": ["king"]}).status == 400
    assert client.post(path, {"global_permissions": ["voc"]}).status == 400
    assert client.post(path, {"organisation_permissions": {"acme": []}}).status == 400
