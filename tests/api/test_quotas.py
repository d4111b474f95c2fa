"""Quotas and the tenant over HTTP."""

from __future__ import annotations

from typing import Any

import pytest

from lodestream.domain.quotas import DEFAULT_LIMITS
from tests.build import make_dataset, make_source, make_stream, sync_ids
from tests.client import Client
from tests.conftest import make_user

QUOTAS = "/api/_private/quotas"
KINDS = {
    "sources",
    "sources_per_dataset",
    "datasets",
    "datasets_per_source",
    "labels_per_dataset",
    "entities_per_dataset",
    "comments",
    "comments_per_source",
    "comments_in_ixp_designtime",
    "comments_in_ixp_runtime",
    "reviewed_comments_per_dataset",
    "integrations",
    "mailboxes_per_integration",
    "triggers",
    "triggers_per_dataset",
    "users",
    "alerts",
    "buckets",
    "projects",
    "pinned_models",
    "extraction_predictions",
}
Json = dict[str, Any]


def _quotas(client: Client, path: str = QUOTAS) -> dict[str, Json]:
    return {one["quota_kind"]: one for one in client.ok("GET", path)["quotas"]}


def _user(client: Client, secret: str, globally: str) -> Client:
    make_user(client.app.service.db, secret, globally=globally)
    return client.as_user(secret)


def _set(client: Client, kind: str, **body: Any) -> None:
    assert client.ok("POST", f"{QUOTAS}/main/{kind}", body) == {"status": "ok"}


def test_every_kind_is_listed_with_its_default(client: Client) -> None:
    found = _quotas(client)
    assert set(found) == KINDS
    for kind, quota in found.items():
        assert set(quota) == {"quota_kind", "hard_limit", "current_max_usage"}
        assert quota["hard_limit"] == DEFAULT_LIMITS[kind]


def test_usage_is_the_count_or_the_fullest_of_its_kind(client: Client) -> None:
    for name in ("acme/a", "acme/b", "other/c"):
        make_source(client, name)
    sync_ids(client, "1", "2", "3", source="acme/a")
    sync_ids(client, "1", source="acme/b")
    make_dataset(client, "acme/one", sources=["acme/a"])
    make_dataset(client, "acme/two", sources=["acme/a", "acme/b"])
    labels = [{"name": name} for name in ("x", "y", "z", "z > z")]
    client.ok("PUT", "/api/v1/datasets/acme/three", {"dataset": {"label_defs": labels}})
    for name in ("acme/one/s", "acme/two/s", "acme/two/t"):
        make_stream(client, name)
    used = {kind: one["current_max_usage"] for kind, one in _quotas(client).items()}
    assert {kind: number for kind, number in used.items() if number} == {
        "sources": 3,
        "sources_per_dataset": 2,
        "datasets": 3,
        "datasets_per_source": 2,
        "labels_per_dataset": 4,
        "comments": 4,
        "comments_per_source": 3,
        "triggers": 3,
        "triggers_per_dataset": 2,
        "users": 1,
        "projects": 3,
    }
    client.ok("DELETE", "/api/v1/sources/acme/a/comments?id=1")
    assert _quotas(client)["comments"]["current_max_usage"] == 3


def test_a_limit_is_set_and_enforced(client: Client) -> None:
    make_source(client, "acme/a")
    _set(client, "sources", hard_limit=2)
    make_source(client, "acme/b")
    answer = client.put("/api/v1/sources/acme/c", {"source": {}})
    assert answer.status == 400
    for part in ("sources", "2", "3"):
        assert part in answer.json["message"]
    _set(client, "sources", hard_limit=0)  # below what is in use: only creation is blocked
    assert _quotas(client)["sources"]["current_max_usage"] == 2
    client.ok("POST", "/api/v1/sources/acme/a", {"source": {"title": "T"}})


def test_a_batch_without_room_is_refused_whole(client: Client) -> None:
    make_source(client, "acme/a")
    sync_ids(client, "1", "2", source="acme/a")
    _set(client, "comments_per_source", hard_limit=3)
    comments = [
        {"id": one, "timestamp": "2024-01-01T00:00:00Z", "messages": [{"body": {"text": "x"}}]}
        for one in ("2", "3", "4")
    ]
    path = "/api/v1/sources/acme/a/sync"
    assert client.post(path, {"comments": comments}).status == 400
    assert client.get("/api/v1/sources/acme/a/comments/3").status == 404
    assert client.post(path, {"comments": comments[:2]}).status == 200


def test_what_users_may_raise_to_is_kept_set_and_taken_back(client: Client) -> None:
    _set(client, "sources", hard_limit=10, auto_increase_up_to=20)
    assert _quotas(client)["sources"]["auto_increase_up_to"] == 20
    _set(client, "sources", hard_limit=11)
    assert _quotas(client)["sources"]["auto_increase_up_to"] == 20
    _set(client, "sources", hard_limit=11, auto_increase_up_to=None)
    assert "auto_increase_up_to" not in _quotas(client)["sources"]
    assert _quotas(client)["sources"]["hard_limit"] == 11


def test_a_quota_goes_back_to_its_default(client: Client) -> None:
    before = _quotas(client)
    _set(client, "sources", hard_limit=10, auto_increase_up_to=20)
    for _ in range(2):
        assert client.ok("DELETE", f"{QUOTAS}/main/sources") == {"status": "ok"}
        assert _quotas(client) == before


def test_the_tenant_is_named_by_id_or_name(client: Client) -> None:
    tenant = client.ok("GET", "/api/_private/tenants")["tenants"][0]
    _set(client, "sources", hard_limit=10)
    for name in (tenant["tenant_id"], tenant["name"]):
        assert _quotas(client, f"{QUOTAS}/{name}") == _quotas(client)
        client.ok("POST", f"{QUOTAS}/{name}/sources", {"hard_limit": 10})
    assert client.get(f"{QUOTAS}/nowhere").status == 404
    assert client.post(f"{QUOTAS}/nowhere/sources", {"hard_limit": 1}).status == 404
    assert client.delete(f"{QUOTAS}/nowhere/sources").status == 404
    # One segment is a tenant to read and a kind to write.
    assert client.get(f"{QUOTAS}/sources").status == 404
    assert client.post(f"{QUOTAS}/main", {"requested_limit": 1}).status == 400
    assert _quotas(client)["sources"]["hard_limit"] == 10


def test_users_raise_a_limit_as_far_as_they_may(client: Client) -> None:
    admin = _user(client, "a", '["tenant-admin"]')
    _set(client, "sources", hard_limit=10, auto_increase_up_to=20)
    path = f"{QUOTAS}/sources"
    answer = admin.ok("POST", path, {"requested_limit": 15})
    assert answer == {"status": "ok", "hard_limit": 15, "requested_limit": 15}
    answer = admin.post(path, {"requested_limit": 30})
    assert answer.status == 400
    assert "30" in answer.json["message"]
    assert "20" in answer.json["message"]
    # The limit is set as high as it may be, though the request fails.
    assert _quotas(client)["sources"]["hard_limit"] == 20
    assert admin.ok("POST", path, {"requested_limit": 20})["hard_limit"] == 20


def test_without_leave_users_cannot_raise_a_limit(client: Client) -> None:
    before = _quotas(client)
    limit = before["sources"]["hard_limit"]
    answer = client.post(f"{QUOTAS}/sources", {"requested_limit": limit + 1})
    assert answer.status == 400
    assert str(limit) in answer.json["message"]
    assert _quotas(client) == before


def test_users_lower_a_limit_not_below_what_is_in_use(client: Client) -> None:
    for name in ("acme/a", "acme/b", "acme/c"):
        make_source(client, name)
    path = f"{QUOTAS}/sources"
    assert client.ok("POST", path, {"requested_limit": 5})["hard_limit"] == 5
    answer = client.ok("POST", path, {"requested_limit": 1})
    assert answer == {"status": "ok", "hard_limit": 3, "requested_limit": 1}
    assert _quotas(client)["sources"]["hard_limit"] == 3
    # A limit that is exceeded already does not rise by asking for less.
    _set(client, "sources", hard_limit=2)
    assert client.ok("POST", path, {"requested_limit": 1})["hard_limit"] == 2


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/king", {"requested_limit": 1}),
        ("/main/king", {"hard_limit": 1}),
        ("/sources", {}),
        ("/sources", {"requested_limit": -1}),
        ("/sources", {"requested_limit": 1.5}),
        ("/sources", {"requested_limit": "1"}),
        ("/sources", {"requested_limit": 2**63}),
        ("/sources", {"hard_limit": 1}),
        ("/main/sources", {}),
        ("/main/sources", {"hard_limit": -1}),
        ("/main/sources", {"hard_limit": None}),
        ("/main/sources", {"hard_limit": 2**64}),
        ("/main/sources", {"hard_limit": 1, "auto_increase_up_to": -1}),
        ("/main/sources", {"hard_limit": 1, "auto_increase_up_to": "2"}),
        ("/main/sources", {"hard_limit": 1, "requested_limit": 1}),
    ],
)
def test_a_bad_limit_is_refused(client: Client, path: str, body: Json) -> None:
    before = _quotas(client)
    assert client.post(QUOTAS + path, body).status == 400
    assert _quotas(client) == before


def test_an_unknown_kind_has_no_default(client: Client) -> None:
    assert client.delete(f"{QUOTAS}/main/king").status == 400


def test_the_largest_limit_is_kept(client: Client) -> None:
    _set(client, "comments", hard_limit=2**63 - 1, auto_increase_up_to=2**63 - 1)
    assert _quotas(client)["comments"]["hard_limit"] == 2**63 - 1


def test_who_may_read_and_set(client: Client) -> None:
    calls = {
        "tenant-quota-read": [("GET", QUOTAS, None)],
        "tenant-quota-write": [("POST", f"{QUOTAS}/sources", {"requested_limit": 5})],
        "deployment-quota-read": [("GET", f"{QUOTAS}/main", None)],
        "deployment-quota-write": [
            ("POST", f"{QUOTAS}/main/sources", {"hard_limit": 7}),
            ("DELETE", f"{QUOTAS}/main/sources", None),
        ],
    }
    implied = {
        "tenant-quota-write": {"tenant-quota-read"},
        "deployment-quota-write": {"deployment-quota-read"},
        "tenant-admin": {"tenant-quota-read", "tenant-quota-write"},
        "audit-read": set(),
    }
    for held in (*calls, "tenant-admin", "audit-read"):
        caller = _user(client, held, f'["{held}"]')
        may = {held, *implied.get(held, set())}
        for needed, requests in calls.items():
            for method, path, body in requests:
                status = caller.call(method, path, body).status
                assert status == (200 if needed in may else 403), (held, method, path)


def test_changes_are_in_the_audit_log_and_no_change_is_not(client: Client) -> None:
    client.ok("POST", f"{QUOTAS}/sources", {"requested_limit": 5})
    client.ok("POST", f"{QUOTAS}/sources", {"requested_limit": 5})
    _set(client, "sources", hard_limit=6)
    _set(client, "sources", hard_limit=6)
    client.ok("DELETE", f"{QUOTAS}/main/sources")
    client.ok("DELETE", f"{QUOTAS}/main/sources")
    events = client.ok("POST", "/api/v1/audit_events/query", {})["audit_events"]
    assert [one["event_type"] for one in events] == [
        "set_tenant_quota",
        "set_quota_for_tenant",
        "reset_tenant_quota",
    ]


def test_there_is_one_tenant(client: Client) -> None:
    caller = _user(client, "t", "[]")
    found = caller.ok("GET", "/api/_private/tenants")["tenants"]
    assert len(found) == 1
    tenant = found[0]
    assert len(tenant.pop("tenant_id")) == 16
    assert tenant.pop("created_at") == tenant.pop("updated_at")
    assert tenant == {
        "name": "main",
        "title": "",
        "description": "",
        "flags": [],
        "uipath_context": None,
        "uipath_support_id": None,
    }
    named = caller.ok("GET", "/api/_private/tenants/main")["tenant"]
    assert [named] == caller.ok("GET", "/api/_private/tenants")["tenants"]
    assert caller.get("/api/_private/tenants/other").status == 404
