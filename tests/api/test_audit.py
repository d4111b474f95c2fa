"""The audit log over HTTP."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import sqlalchemy as sa

from lodestream.domain.audit import Refs
from lodestream.store import audit
from lodestream.store.tables import audit_event
from tests.build import make_dataset, make_source, make_stream, sync_ids
from tests.client import Client
from tests.conftest import grant_in, make_user

QUERY = "/api/v1/audit_events/query"
USERS = "/api/_private/users"
PROJECTS = "/api/_private/projects"
LISTS = ("tenants", "users", "projects", "datasets", "sources", "triggers")
Json = dict[str, Any]


def _query(client: Client, **body: Any) -> Json:
    page: Json = client.ok("POST", QUERY, body)
    _check_references(page)
    return page


def _check_references(page: Json) -> None:
    """Insist on what clients crash without: every id is resolvable in the page itself."""
    known = {name: {one["id"] for one in page[name]} for name in LISTS}
    for name in LISTS:
        assert len(known[name]) == len(page[name]), f"{name}: listed more than once"
    for event in page["audit_events"]:
        assert {event["actor_user_id"], *event["user_ids"]} <= known["users"]
        assert {event["actor_tenant_id"], *event["tenant_ids"]} <= known["tenants"]
        assert set(event["project_ids"]) <= known["projects"]
        assert set(event["dataset_ids"]) <= known["datasets"]
        assert set(event["source_ids"]) <= known["sources"]
        assert set(event["trigger_ids"]) <= known["triggers"]


def _types(page: Json) -> list[str]:
    return [one["event_type"] for one in page["audit_events"]]


def _project(client: Client, number: int) -> None:
    client.ok("PUT", f"{PROJECTS}/p{number}", {"project": {}})


def test_an_empty_log_has_all_six_lists(client: Client) -> None:
    assert client.ok("POST", QUERY, {}) == {
        "status": "ok",
        "audit_events": [],
        **{name: [] for name in LISTS},
    }


def test_an_event_has_the_documented_form(client: Client) -> None:
    root = client.ok("GET", "/auth/user")["user"]
    tenant = client.ok("GET", "/api/_private/tenants")["tenants"][0]
    source = make_source(client, title="Inbox")
    dataset_id = make_dataset(client)
    stream = make_stream(client, title="All")
    project = client.ok("GET", f"{PROJECTS}/acme")["project"]
    page = _query(client)
    assert _types(page) == ["create_source", "create_dataset", "create_stream"]
    event = page["audit_events"][-1]
    assert len(event.pop("event_id")) == 16
    moment = datetime.strptime(event.pop("timestamp"), "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC)
    assert abs(moment - datetime.now(UTC)) < timedelta(minutes=1)
    assert event == {
        "event_type": "create_stream",
        "actor_user_id": root["id"],
        "actor_tenant_id": tenant["tenant_id"],
        "tenant_ids": [tenant["tenant_id"]],
        "user_ids": [],
        "source_ids": [],
        "dataset_ids": [dataset_id],
        "trigger_ids": [stream["id"]],
        "project_ids": [project["id"]],
    }
    place = {"project_id": project["id"]}
    assert page["tenants"] == [{"id": tenant["tenant_id"], "name": "main"}]
    assert page["users"] == [
        {
            "id": root["id"],
            "tenant_id": tenant["tenant_id"],
            "username": root["username"],
            "email": root["email"],
            "display_name": root["username"],
        }
    ]
    assert page["projects"] == [
        {"id": project["id"], "tenant_id": tenant["tenant_id"], "name": "acme"}
    ]
    assert page["sources"] == [{"id": source["id"], "name": "inbox", "title": "Inbox", **place}]
    assert page["datasets"] == [{"id": dataset_id, "name": "support", "title": "", **place}]
    assert page["triggers"] == [
        {"id": stream["id"], "dataset_id": dataset_id, "name": "all", "title": "All"}
    ]


def test_events_are_named_after_operations(client: Client) -> None:
    make_source(client)
    sync_ids(client, "a")
    client.ok("DELETE", "/api/v1/sources/acme/inbox/comments?id=a")
    body = {"username": "ada", "email": "ada@example.com"}
    ada = client.ok("PUT", USERS, {"user": body})["user"]["id"]
    client.ok("POST", f"{USERS}/{ada}", {"user": {"organisation_permissions": {"acme": ["voc"]}}})
    client.ok("DELETE", f"{USERS}/{ada}")
    _project(client, 1)
    client.ok("POST", f"{PROJECTS}/p1", {"project": {"title": "T"}})
    client.ok("DELETE", f"{PROJECTS}/p1")
    page = _query(client)
    assert _types(page) == [
        "create_source",
        "sync_comments",
        "delete_comment",
        "create_user",
        "update_user",
        "delete_user",
        "create_project",
        "update_project",
        "delete_project",
    ]
    update = page["audit_events"][4]
    assert update["user_ids"] == [ada]
    assert [p["name"] for p in page["projects"] if p["id"] in update["project_ids"]] == ["acme"]


def test_requests_that_change_nothing_leave_no_event(client: Client) -> None:
    make_source(client)
    before = _query(client)
    user = client.ok("GET", "/auth/user")["user"]
    client.ok("POST", f"{USERS}/{user['id']}", {"user": {}})
    client.ok("POST", f"{USERS}/{user['id']}", {"user": {"global_permissions": ["root"]}})
    client.ok("POST", f"{PROJECTS}/acme", {"project": {"title": ""}})
    assert client.put(f"{PROJECTS}/acme", {"project": {}}).status == 409
    assert client.delete(f"{PROJECTS}/acme").status == 409
    assert client.delete(f"{USERS}/{user['id']}").status == 400
    assert client.put(USERS, {"user": {"username": "a", "email": "a"}}).status == 400
    assert _query(client) == before


def test_deleted_things_keep_their_names(client: Client) -> None:
    db = client.app.service.db
    ada_id = make_user(db, "ada", globally='["projects-admin"]')
    ada = client.as_user("ada")
    grant_in(db, ada_id, "acme")
    ada.ok("PUT", f"{PROJECTS}/desk", {"project": {}})
    make_source(ada, "desk/inbox", title="Inbox")
    make_dataset(ada, "desk/support", sources=["desk/inbox"])
    make_stream(ada, "desk/support/all")
    ada.ok("DELETE", f"{PROJECTS}/desk?force=true")
    client.ok("DELETE", f"{USERS}/{ada_id}")
    page = _query(client)
    named = {name: {one["id"]: one for one in page[name]} for name in LISTS}
    assert named["users"][ada_id]["username"] == f"user-{ada_id}"
    assert named["users"][ada_id]["email"] == f"{ada_id}@example.com"
    assert "desk" in {one["name"] for one in page["projects"]}
    assert [one["title"] for one in page["sources"]] == ["Inbox"]
    assert [one["name"] for one in page["datasets"]] == ["support"]
    assert [one["name"] for one in page["triggers"]] == ["all"]
    gone = page["audit_events"][-2]
    assert gone["event_type"] == "delete_project"
    assert gone["actor_user_id"] == ada_id
    assert len(gone["source_ids"]) == len(gone["dataset_ids"]) == 1


def test_of_a_things_names_the_newest_on_the_page_is_shown(client: Client) -> None:
    make_source(client, title="Old")
    client.ok("POST", "/api/v1/sources/acme/inbox", {"source": {"title": "New"}})
    assert [one["title"] for one in _query(client)["sources"]] == ["New"]


def test_an_actor_who_was_deleted_meanwhile_is_still_resolvable(client: Client) -> None:
    with client.app.service.db.write(catalogue=False) as tx:
        audit.record(tx, actor_id="0123456789abcdef", event_type="sync_comments", refs=Refs())
    page = _query(client)
    assert [one["username"] for one in page["users"]] == ["0123456789abcdef"]


def test_pages_cover_every_event_once_and_end(client: Client) -> None:
    for number in range(7):
        _project(client, number)
    whole = [one["event_id"] for one in _query(client)["audit_events"]]
    assert whole == sorted(whole)
    for limit in (1, 3, 7, 8):
        seen: list[str] = []
        more: Json = {}
        while True:
            page = _query(client, limit=limit, filter={"timestamp": {}}, **more)
            assert len(page["audit_events"]) <= limit
            seen += [one["event_id"] for one in page["audit_events"]]
            assert len(seen) <= len(whole)
            if "continuation" not in page:
                break
            more = {"continuation": page["continuation"]}
        assert seen == whole


def test_a_page_has_128_events_unless_told_otherwise(client: Client) -> None:
    with client.app.service.db.write(catalogue=False) as tx:
        for _ in range(129):
            audit.record(tx, actor_id="0" * 16, event_type="sync_comments", refs=Refs())
    page = _query(client)
    assert len(page["audit_events"]) == 128
    rest = _query(client, continuation=page["continuation"])
    assert len(rest["audit_events"]) == 1
    assert "continuation" not in rest
    assert len(_query(client, limit=1024)["audit_events"]) == 129
    assert [one["username"] for one in rest["users"]] == ["system"]


def test_the_minimum_is_inclusive_and_the_maximum_exclusive(client: Client) -> None:
    for number in range(3):
        _project(client, number)
    second = 1_700_000_000_000_000
    with client.app.service.db.write(catalogue=False) as tx:
        rows = tx.execute(sa.select(audit_event.c.id).order_by(audit_event.c.id)).scalars().all()
        for number, row in enumerate(rows):
            tx.execute(
                sa.update(audit_event)
                .where(audit_event.c.id == row)
                .values(at_us=second + number * 1_000_000)
            )
    at = "2023-11-14T22:13:2{}{}"

    def found(**timestamp: str) -> list[str]:
        page = _query(client, filter={"timestamp": timestamp})
        return [one["timestamp"][-3:-1] for one in page["audit_events"]]

    assert found() == ["20", "21", "22"]
    assert found(minimum=at.format(1, "Z")) == ["21", "22"]
    assert found(maximum=at.format(1, "Z")) == ["20"]
    assert found(minimum=at.format(1, ""), maximum=at.format(2, ".000001+00:00")) == ["21", "22"]
    assert found(minimum="2023-11-14T23:13:21+01:00", maximum=at.format(2, "Z")) == ["21"]
    assert found(minimum=at.format(2, "Z"), maximum=at.format(1, "Z")) == []


def test_times_are_rounded_to_the_nearest_second(client: Client) -> None:
    _project(client, 0)
    for at_us, text in ((1_499_999, "01Z"), (1_500_000, "02Z")):
        with client.app.service.db.write(catalogue=False) as tx:
            tx.execute(sa.update(audit_event).values(at_us=at_us))
        assert _query(client)["audit_events"][0]["timestamp"] == "1970-01-01T00:00:" + text


def test_null_is_as_good_as_absent(client: Client) -> None:
    _project(client, 0)
    span = {"minimum": None, "maximum": None}
    page = _query(client, filter={"timestamp": span}, continuation=None)
    assert page == _query(client, filter=None) == _query(client, filter={"timestamp": None})


@pytest.mark.parametrize(
    "body",
    [
        {"filter": {"timestamp": {"minimum": "yesterday"}}},
        {"filter": {"timestamp": {"maximum": "2024-13-01T00:00:00Z"}}},
        {"filter": {"timestamp": {"minimum": 7}}},
        {"filter": {"timestamp": {"from": "2024-01-01T00:00:00Z"}}},
        {"filter": {"user": "ada"}},
        {"limit": 0},
        {"limit": 1025},
        {"limit": "1"},
        {"continuation": ""},
        {"continuation": "x"},
        {"continuation": "8" + "0" * 31},
        {"continuation": "0" * 16 + "f" * 16},
        {"continuation": "0" * 33},
        {"continuation": 7},
        {"order": "newest"},
        [],
    ],
)
def test_a_bad_query_is_refused(client: Client, body: object) -> None:
    answer = client.post(QUERY, body)
    assert answer.status == 400, answer.content
    assert answer.json["status"] == "error"


@pytest.mark.parametrize(
    ("held", "status"),
    [
        ("[]", 403),
        ('["projects-admin", "tenant-users-read"]', 403),
        ('["audit-read"]', 200),
        ('["tenant-admin"]', 200),
        ('["role-cm-tenant-admin"]', 200),
    ],
)
def test_who_may_read_the_log(client: Client, held: str, status: int) -> None:
    user_id = make_user(client.app.service.db, "t", globally=held)
    grant_in(client.app.service.db, user_id, "acme")
    assert client.as_user("t").post(QUERY, {}).status == status
