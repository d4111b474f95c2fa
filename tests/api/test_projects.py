"""Projects over HTTP."""

from __future__ import annotations

import threading
from typing import Any

import pytest
import sqlalchemy as sa

from lodestream.domain.access import ALL_FINE_GRAINED_PROJECT_PERMISSIONS
from lodestream.store.tables import (
    dataset,
    dataset_source,
    grant,
    job,
    label_def,
    label_group,
    source,
    stream,
)
from tests.build import make_dataset, make_source, make_stream, sync_ids
from tests.client import Answer, Client
from tests.conftest import grant_in, make_user

PROJECTS = "/api/_private/projects"
NEW = f"{PROJECTS}/desk"
Json = dict[str, Any]


def _user(client: Client, secret: str, globally: str = "[]") -> tuple[Client, str]:
    user_id = make_user(client.app.service.db, secret, globally=globally)
    return client.as_user(secret), user_id


def _grants(client: Client, user_id: str) -> Json:
    user = client.ok("GET", f"/api/_private/users/{user_id}")["user"]
    granted: Json = user["organisation_permissions"]
    return granted


# Create


def test_a_created_project_reads_back(client: Client) -> None:
    definition = {"title": "Desk", "description": "Help", "user_auto_join": True}
    project = client.ok("PUT", NEW, {"project": definition})["project"]
    assert len(project["id"]) == 16
    assert project["created_at"] == project["updated_at"]
    assert {**project, **definition, "name": "desk"} == project
    assert client.ok("GET", NEW)["project"] == project
    assert project in client.ok("GET", PROJECTS)["projects"]


def test_what_is_not_given_is_empty(client: Client) -> None:
    project = client.ok("PUT", NEW, {"project": {}})["project"]
    assert project["title"] == project["description"] == ""
    assert project["user_auto_join"] is False


def test_the_creator_holds_everything_one_by_one(client: Client) -> None:
    caller, user_id = _user(client, "t", '["projects-admin"]')
    caller.ok("PUT", NEW, {"project": {}})
    assert _grants(client, user_id) == {"desk": list(ALL_FINE_GRAINED_PROJECT_PERMISSIONS)}
    caller.ok("PUT", "/api/v1/sources/desk/inbox", {"source": {}})


def test_listed_users_hold_everything_instead_of_the_creator(client: Client) -> None:
    (_, ada), (_, bob) = _user(client, "ada"), _user(client, "bob")
    client.ok("PUT", NEW, {"project": {}, "user_ids": [ada, bob, ada]})
    for user_id in (ada, bob):
        assert _grants(client, user_id) == {"desk": list(ALL_FINE_GRAINED_PROJECT_PERMISSIONS)}
    root = client.ok("GET", "/auth/user")["user"]
    assert root["organisation_permissions"] == {}


def test_who_makes_a_project_for_others_sees_it(client: Client) -> None:
    caller, caller_id = _user(client, "t", '["projects-admin"]')
    _, ada = _user(client, "ada")
    caller.ok("PUT", NEW, {"project": {}, "user_ids": [ada]})
    assert [one["name"] for one in caller.ok("GET", PROJECTS)["projects"]] == ["desk"]
    assert _grants(client, caller_id) == {"desk": ["sources-read", "voc-readonly"]}


def test_a_taken_name_conflicts_and_changes_nothing(client: Client) -> None:
    client.ok("PUT", NEW, {"project": {"title": "Desk"}})
    before = client.ok("GET", NEW)
    assert client.put(NEW, {"project": {"title": "Desk"}}).status == 409
    assert client.put(NEW, {"project": {"title": "Other"}}).status == 409
    assert client.ok("GET", NEW) == before


@pytest.mark.parametrize("name", ["0123456789abcdef", "a.b", "A-b_9", "x" * 1024])
def test_names_that_are_good(client: Client, name: str) -> None:
    assert client.ok("PUT", f"{PROJECTS}/{name}", {"project": {}})["project"]["name"] == name
    assert client.ok("GET", f"{PROJECTS}/{name}")["project"]["name"] == name


@pytest.mark.parametrize("name", ["a%20b", "caf%C3%A9", "x" * 1025, "a%0A", "a%00", "a:b"])
def test_names_that_are_bad(client: Client, name: str) -> None:
    before = client.ok("GET", PROJECTS)
    assert client.put(f"{PROJECTS}/{name}", {"project": {}}).status in (400, 404)
    assert client.get(f"{PROJECTS}/{name}").status in (400, 404)
    assert client.ok("GET", PROJECTS) == before


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (400, {}),
        (400, {"project": None}),
        (400, {"project": {"name": "other"}}),
        (400, {"project": {"title": "x" * 1025}}),
        (400, {"project": {"title": None}}),
        (400, {"project": {"description": "x" * 4097}}),
        (400, {"project": {"user_auto_join": "yes"}}),
        (400, {"project": {}, "user_ids": []}),
        (400, {"project": {}, "user_ids": ["nobody"]}),
        (400, {"project": {}, "user_ids": ["0" * 16] * 1025}),
        (400, {"project": {}, "uipath_user_ids": ["x"]}),
        (400, {"project": {}, "uipath_user_ids": ["{01234567-89ab-cdef-0123-456789abcdef}"]}),
        (422, {"project": {}, "user_ids": ["0123456789abcdef"]}),
        (422, {"project": {}, "user_ids": ["0000000000000000"]}),
    ],
)
def test_a_bad_project_is_refused_and_not_stored(client: Client, status: int, body: Json) -> None:
    answer = client.put(NEW, body)
    assert answer.status == status, answer.content
    assert client.get(NEW).status == 404


def test_long_texts_are_kept(client: Client) -> None:
    texts = {"title": "t" * 1024, "description": "d" * 4096}
    project = client.ok("PUT", NEW, {"project": texts})["project"]
    assert {name: project[name] for name in texts} == texts


@pytest.mark.parametrize(
    ("held", "status"),
    [
        ("[]", 403),
        ('["audit-read"]', 403),
        ('["projects-admin"]', 200),
        ('["tenant-admin"]', 200),
        ('["role-cm-tenant-admin"]', 200),
    ],
)
def test_who_may_create_and_delete(client: Client, held: str, status: int) -> None:
    caller, user_id = _user(client, "t", held)
    grant_in(client.app.service.db, user_id, "acme")
    assert caller.put(NEW, {"project": {}}).status == status
    assert caller.delete(f"{PROJECTS}/other").status == status


def test_the_quota_of_projects_holds(client: Client) -> None:
    client.ok("POST", "/api/_private/quotas/main/projects", {"hard_limit": 4})
    client.ok("PUT", NEW, {"project": {}})
    answer = client.put(f"{PROJECTS}/more", {"project": {}})
    assert answer.status == 400
    assert "projects" in answer.json["message"]
    assert client.get(f"{PROJECTS}/more").status == 404


def test_of_two_who_create_the_same_one_succeeds(client: Client) -> None:
    answers: list[Answer] = []
    start = threading.Barrier(2)

    def create(title: str) -> None:
        start.wait(30)
        answers.append(client.put(NEW, {"project": {"title": title}}))

    threads = [threading.Thread(target=create, args=(title,)) for title in ("a", "b")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert sorted(answer.status for answer in answers) == [200, 409]


# Update


def test_only_what_is_given_changes(client: Client) -> None:
    before = client.ok("PUT", NEW, {"project": {"title": "Desk", "description": "Help"}})["project"]
    after = client.ok("POST", NEW, {"project": {"title": "Front desk"}})["project"]
    assert after["title"] == "Front desk"
    assert after["description"] == "Help"
    assert after["created_at"] == before["created_at"]
    assert after["updated_at"] > before["updated_at"]
    assert client.ok("GET", NEW)["project"] == after


def test_no_change_is_none(client: Client) -> None:
    before = client.ok("PUT", NEW, {"project": {"title": "Desk"}})
    assert client.ok("POST", NEW, {"project": {}}) == before
    assert client.ok("POST", NEW, {"project": {"title": "Desk"}}) == before


@pytest.mark.parametrize(
    ("held", "status"),
    [
        ((), 404),
        (("sources-read",), 403),
        (("role-cm-developer",), 403),
        (("role-cm-project-admin",), 200),
        (ALL_FINE_GRAINED_PROJECT_PERMISSIONS, 200),
    ],
)
def test_who_may_update(client: Client, held: tuple[str, ...], status: int) -> None:
    caller, user_id = _user(client, "t")
    grant_in(client.app.service.db, user_id, "acme", held)
    assert caller.post(f"{PROJECTS}/acme", {"project": {"title": "T"}}).status == status
    assert caller.post(f"{PROJECTS}/other", {"project": {"title": "T"}}).status == 404
    assert (client.ok("GET", f"{PROJECTS}/acme")["project"]["title"] == "T") is (status == 200)


def test_a_tenant_admin_updates_every_project(client: Client) -> None:
    admin, _ = _user(client, "t", '["tenant-admin"]')
    admin.ok("POST", f"{PROJECTS}/other", {"project": {"title": "T"}})
    assert client.post(f"{PROJECTS}/nowhere", {"project": {}}).status == 404


def test_a_bad_change_is_refused(client: Client) -> None:
    before = client.ok("GET", f"{PROJECTS}/acme")
    for body in ({}, {"project": {"name": "b"}}, {"project": {"title": 7}}, {"user_ids": []}):
        assert client.post(f"{PROJECTS}/acme", body).status == 400
    assert client.ok("GET", f"{PROJECTS}/acme") == before


# Read


def test_one_sees_the_projects_one_has_a_permission_in(client: Client) -> None:
    caller, user_id = _user(client, "t")
    assert caller.ok("GET", PROJECTS)["projects"] == []
    assert caller.ok("GET", "/api/v1/projects")["projects"] == []
    grant_in(client.app.service.db, user_id, "acme", ("files-write",))
    assert [one["name"] for one in caller.ok("GET", PROJECTS)["projects"]] == ["acme"]
    assert caller.ok("GET", f"{PROJECTS}/acme")["project"]["name"] == "acme"
    answer = caller.get(f"{PROJECTS}/other")
    assert answer.status == 404
    assert answer.json["message"] == "No such project: other"
    assert caller.get(f"{PROJECTS}/nowhere").json["message"] == "No such project: nowhere"


@pytest.mark.parametrize("held", ['["root"]', '["tenant-admin"]'])
def test_administrators_see_every_project_by_name(client: Client, held: str) -> None:
    client.ok("PUT", f"{PROJECTS}/Zoo", {"project": {}})
    admin, _ = _user(client, "t", held)
    names = ["DefaultProject", "Zoo", "acme", "other"]
    for query in ("", "?cm_only=true", "?cm_only=false"):
        assert [one["name"] for one in admin.ok("GET", PROJECTS + query)["projects"]] == names
    assert admin.ok("GET", f"{PROJECTS}/Zoo")["project"]["name"] == "Zoo"
    assert client.get(PROJECTS + "?cm_only=7").status == 400


def test_the_public_list_has_three_fields(client: Client) -> None:
    client.ok("PUT", NEW, {"project": {"title": "Desk", "description": "Help"}})
    listed = client.ok("GET", "/api/v1/projects")["projects"]
    assert {"name": "desk", "title": "Desk", "description": "Help"} in listed


def test_resources_are_counted(client: Client) -> None:
    make_source(client)
    make_source(client, "acme/second")
    make_source(client, "other/inbox")
    make_dataset(client)
    _, user_id = _user(client, "t")
    grant_in(client.app.service.db, user_id, "acme", ("voc",))
    assert client.ok("GET", f"{PROJECTS}/acme/resource_counts") == {
        "status": "ok",
        "buckets": 0,
        "dashboards": 0,
        "datasets": 1,
        "integrations": 0,
        "sources": 2,
        "users_with_permissions": 1,
    }
    assert client.get(f"{PROJECTS}/nowhere/resource_counts").status == 404


# Delete


def test_an_empty_project_is_deleted_and_its_name_is_free(client: Client) -> None:
    caller, user_id = _user(client, "t")
    before = client.ok("PUT", NEW, {"project": {}, "user_ids": [user_id]})["project"]
    assert caller.get(NEW).status == 200
    assert client.ok("DELETE", NEW) == {"status": "ok"}
    assert caller.get(NEW).status == client.get(NEW).status == 404
    assert client.delete(NEW).status == 404
    assert _grants(client, user_id) == {}
    assert client.ok("PUT", NEW, {"project": {}})["project"]["id"] != before["id"]
    assert caller.get(NEW).status == 404


def test_a_project_with_children_needs_force(client: Client) -> None:
    make_source(client)
    path = f"{PROJECTS}/acme"
    text = "Project contains child resources but force deletion was not requested: "
    for query in ("", "?force=false"):
        answer = client.delete(path + query)
        assert answer.status == 409
        assert answer.json["message"] == text + '{"sources": 1}'
    make_source(client, "acme/second")
    make_dataset(client)
    assert client.delete(path).json["message"] == text + '{"datasets": 1, "sources": 2}'
    assert client.ok("GET", path)["project"]["name"] == "acme"
    assert client.delete(path + "?force=maybe").status == 400


def test_force_takes_everything_in_the_project_and_nothing_else(client: Client) -> None:
    for owner in ("acme", "other"):
        make_source(client, f"{owner}/inbox")
        sync_ids(client, "a", "b", source=f"{owner}/inbox")
        inbox = client.ok("GET", f"/api/v1/sources/{owner}/inbox")["source"]
        definition = {"source_ids": [inbox["id"]], "label_defs": [{"name": "Complaint"}]}
        client.ok("PUT", f"/api/v1/datasets/{owner}/support", {"dataset": definition})
        make_stream(client, f"{owner}/support/all")
    make_dataset(client, "other/both", sources=["other/inbox", "acme/inbox"])
    caller, user_id = _user(client, "t")
    grant_in(client.app.service.db, user_id, "acme")

    def rows() -> dict[str, int]:
        tables = (source, dataset, stream, label_group, label_def, dataset_source, grant)
        with client.app.service.db.read() as tx:
            return {
                table.name: tx.execute(sa.select(sa.func.count()).select_from(table)).scalar_one()
                for table in tables
            }

    before = rows()
    inbox = client.ok("GET", "/api/v1/sources/acme/inbox")["source"]
    assert client.ok("DELETE", f"{PROJECTS}/acme?force=true") == {"status": "ok"}
    after = rows()
    assert {name: before[name] - after[name] for name in before} == {
        "source": 1,
        "dataset": 1,
        "stream": 1,
        "label_group": 1,
        "label_def": 1,
        "dataset_source": 2,
        "project_grant": 1,
    }
    for path in (
        f"{PROJECTS}/acme",
        f"/api/v1/sources/id:{inbox['id']}",
        "/api/v1/sources/acme/inbox",
        "/api/v1/datasets/acme/support",
        "/api/v1/datasets/acme/support/streams/all",
    ):
        assert client.get(path).status == 404, path
        assert caller.get(path).status == 404, path
    both = client.ok("GET", "/api/v1/datasets/other/both")["dataset"]
    assert len(both["source_ids"]) == 1
    assert client.ok("GET", "/api/v1/datasets/other/support/streams/all")
    with client.app.service.db.read() as tx:
        kinds = tx.execute(sa.select(job.c.kind)).scalars().all()
    assert sorted(kinds) == ["purge_dataset", "purge_source"]
