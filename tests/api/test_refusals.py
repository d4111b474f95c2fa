"""Every route of the table refuses who may not use it. A new row is covered by being there.

Each test gets a copy of one prepared world: the projects `acme` and `other` with the same things
in both. At its end, a caller who may do everything uses the route on the same things; so a refusal
that came only because the path led nowhere would be noticed.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any
from urllib.parse import quote

import msgspec
import pytest
import sqlalchemy as sa

from lodestream.api.routes import ROUTES
from lodestream.api.routing import Guard, Route
from lodestream.domain import access
from lodestream.domain.access import ALL_FINE_GRAINED_PROJECT_PERMISSIONS, GLOBAL_PERMISSIONS
from lodestream.domain.secrets import new_key
from lodestream.server import make_app
from lodestream.settings import Settings
from lodestream.store.db import Database
from lodestream.store.dialect import sqlite_url
from lodestream.store.tables import audit_event, token
from tests.build import dataset_path, make_comment, make_source, make_stream, source_path, sync
from tests.client import Answer, Client, Loop
from tests.conftest import ROOT_TOKEN, grant_in, make_project, make_user, stop_app
from tests.models import add_model, save_validation
from tests.samples import minimal

REVOKED, STRANGER, MEMBER = "revoked", "stranger", "member"
SECRET_KEY = new_key()
WAV = b"RIFF\x24\x00\x00\x00WAVEfmt "
EVERYTHING = ALL_FINE_GRAINED_PROJECT_PERMISSIONS
PROTECTED = tuple(route for route in ROUTES if route.needs.guard is not Guard.PUBLIC)
SCOPED = (
    Guard.PROJECT,
    Guard.PROJECT_ANY,
    Guard.OBJECT,
    Guard.OBJECT_ANY,
    Guard.HIDDEN_OBJECT,
)
UNSCOPED = (Guard.LISTED, Guard.HANDLER, Guard.NOBODY)
ANY_OF = (Guard.PROJECT_ANY, Guard.OBJECT_ANY)


def named(routes: Any) -> list[Any]:
    """Return test parameters that carry the operations' names."""
    return [pytest.param(route, id=f"{route.operation}") for route in routes]


@dataclass(frozen=True)
class World:
    """A server, and for both projects the values of every path parameter."""

    client: Client
    db: Database
    values: dict[str, dict[str, str]]

    def path(self, route: Route, place: str = "acme") -> str:
        """Fill a route's path, and the query that it needs, with the things of a project."""

        def value(name: str) -> str:
            if name not in self.values[place]:
                pytest.fail(
                    f"{route.operation}: the world of this test has no {{{name}}}; add one to "
                    "`_things`, so that the route's refusals can be proved"
                )
            return quote(self.values[place][name], safe="")

        path = re.sub(r"\{(\w+)\}", lambda match: value(match[1]), route.path)
        query = "&".join(f"{one.name}={value(one.name)}" for one in route.query if one.required)
        return f"{path}?{query}" if query else path

    def ask(self, route: Route, token: str | None, place: str = "acme", **headers: str) -> Answer:
        """Use a route as somebody, with a body that passes its checks."""
        body: object = WAV if route.raw_body else None
        if route.body is not None:
            body = minimal(route.body)
        client = self.client.as_user(token)
        return client.call(route.method, self.path(route, place), body, headers=headers)

    def refused(self, answer: Answer, *statuses: int) -> None:
        """Insist on a refusal in the envelope."""
        assert answer.status in statuses, (answer.status, answer.content[:300])
        assert answer.headers["content-type"] == "application/json"
        assert answer.json["status"] == "error"
        assert answer.json["message"]
        assert answer.headers["server-timing"].startswith("total;dur=")

    def may_use(self, route: Route, token: str) -> None:
        """Insist that a caller gets past every check of who he is and what he may."""
        answer = self.ask(route, token)
        if route.needs.guard is Guard.NOBODY:
            self.refused(answer, 403)
            return
        assert answer.status not in (401, 403, 404), (answer.status, answer.content[:300])
        assert answer.status < 500, answer.content[:300]

    def user(self, secret: str, *, here: tuple[str, ...] = (), globally: str = "[]") -> str:
        """Make a user with permissions in `acme`; return the token."""
        user_id = make_user(self.db, secret, globally=globally)
        if here:
            grant_in(self.db, user_id, "acme", here)
        return secret

    def events(self) -> int:
        """Count what was changed: every change leaves an entry."""
        with self.db.read() as tx:
            return tx.execute(sa.select(sa.func.count()).select_from(audit_event)).scalar_one()


def _things(client: Client, name: str) -> dict[str, str]:
    """Make one of everything in a project; return the values of path parameters that name it."""
    source = make_source(client, f"{name}/inbox")
    put = f"/api/_private/sources/id:{source['id']}/comments/c1"
    content_hash = client.put(put + "/attachments/0", WAV).json["content_hash"]
    attachment = {"name": "a", "size": 1, "content_type": "x", "content_hash": content_hash}
    sync(client, [make_comment("c1", attachments=[attachment])], f"{name}/inbox")
    assert client.put(put + "/audio", WAV).status == 200
    comment = client.ok("GET", source_path(f"{name}/inbox") + "/comments/c1")["comment"]
    settings = {"dataset": {"source_ids": [source["id"]], "label_defs": [{"name": "Complaint"}]}}
    dataset = client.ok("PUT", dataset_path(f"{name}/support"), settings)["dataset"]
    make_stream(client, f"{name}/support/all")
    sinks_path = f"/api/lodestream/v1/datasets/{name}/support/streams/all/sinks"
    nowhere = {"kind": "elasticsearch", "url": "http://127.0.0.1:1", "index": "comments"}
    client.ok("PUT", sinks_path, {"sink": {"name": "out", "configuration": nowhere}})
    private = f"/api/_private/datasets/{name}/support"
    for _ in range(2):
        # `0` is the text that `minimal` gives as a label.
        texts = [("a complaint", ["0"]), ("nothing", []), ("complaint", ["0"])]
        version = add_model(client, f"{name}/support", pinned=True, labels=["0"], examples=texts)
        uids = [comment["uid"]]
        save_validation(client, version, full_name=f"{name}/support", action_uids=uids)
    # The newest carries no tag, so it may be unpinned.
    client.ok("PUT", f"{private}/model-tags/staging", {"model_tag": {"version": version - 1}})
    actions = client.ok("GET", f"{private}/{version}/training-actions/labels")
    first = actions["training_actions_labels"][0]
    project = client.ok("GET", f"/api/_private/projects/{name}")["project"]
    bucket_path = f"/api/_private/buckets/{name}/mail"
    bucket = client.ok("PUT", bucket_path, {"bucket": {}})["bucket"]
    email = {"id": "m1", "mailbox": "b", "timestamp": "2020-01-01", "mime_content": "Subject: a"}
    client.ok("PUT", bucket_path + "/emails", {"emails": [email]})
    state = {"sync_state": "s"}
    client.ok("PUT", f"/api/_private/bucket-sync-state/{name}/mail", {"bucket_sync_state": state})
    keyed = {"mailbox_name": "b", "status": "UP_TO_DATE"}
    keyed_path = f"/api/_private/buckets/id:{bucket['id']}/keyed-sync-state/00ff"
    client.ok("PUT", keyed_path, {"keyed_sync_state": keyed})
    integration_path = f"/api/_private/integrations/{name}/post"
    integration = client.ok("PUT", integration_path, {"integration": {}})["integration"]
    client.ok("PUT", f"/api/_private/appliance-configs/{name}/box", b"{}")
    tenant = client.ok("GET", "/api/_private/tenants")["tenants"][0]
    user_id = make_user(client.app.service.db, f"somebody of {name}")
    token = client.ok("POST", f"/api/lodestream/v1/users/{user_id}/tokens")["token"]
    return {
        "owner": name,
        "name": name,
        "project_name": name,
        "project_id": project["id"],
        "source_name": "inbox",
        "source_id": source["id"],
        "comment_id": "c1",
        "attachment_index": "0",
        "attachment_reference": comment["attachments"][0]["attachment_reference"],
        "dataset_name": "support",
        "dataset_id": dataset["id"],
        "stream_name": "all",
        "trigger_name": "all",
        "sink_name": "out",
        "label_group_name": "default",
        "label_name": "Complaint",
        "full_name": "string:Team",
        "uid": comment["uid"],
        "comment_uid": comment["uid"],
        "model_version": str(version),
        "tag_name": "staging",
        "training_action_id": (first[0] if isinstance(first, list) else first)["id"],
        "labelling_id": comment["uid"],
        "user_id": user_id,
        "token_id": token["id"],
        "tenant_name": tenant["name"],
        "target_tenant_id": tenant["tenant_id"],
        "quota_kind": "comments",
        "bucket_name": "mail",
        "bucket_id": bucket["id"],
        "raw_bucket_id": bucket["id"],
        "email_id": "m1",
        "id": "m1",
        "sync_state_key": "00ff",
        "integration_name": "post",
        "integration_id": integration["id"],
        "config_key": "box",
        "transform_tag": "generic.0.CONVKER5",
    }


@pytest.fixture(scope="module")
def prepared(
    sqlite_template: Path, loop: Loop, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, dict[str, dict[str, str]]]:
    """The world as files, to be copied, and its path values."""
    folder = tmp_path_factory.mktemp("world")
    shutil.copy(sqlite_template, folder / "lodestream.sqlite3")
    db = Database(sqlite_url(folder / "lodestream.sqlite3"))
    for secret in (ROOT_TOKEN, REVOKED):
        make_user(db, secret, globally='["root"]')
    for name in ("acme", "other"):
        make_project(db, name)
    make_user(db, STRANGER)
    grant_in(db, make_user(db, MEMBER), "acme", EVERYTHING)
    app = make_app(Settings(data=folder, secret_key=SECRET_KEY), db)
    client = Client(app, loop, ROOT_TOKEN)
    values = {name: _things(client, name) for name in ("acme", "other")}
    loop.run(stop_app(app))
    return folder, values


@pytest.fixture
def world(
    prepared: tuple[Path, dict[str, dict[str, str]]], loop: Loop, tmp_path: Path
) -> Iterator[World]:
    """A copy of the world of one's own."""
    folder, values = prepared
    data = tmp_path / "data"
    shutil.copytree(folder, data)
    db = Database(sqlite_url(data / "lodestream.sqlite3"))
    app = make_app(Settings(data=data, secret_key=SECRET_KEY), db)
    yield World(Client(app, loop, ROOT_TOKEN), db, values)
    loop.run(stop_app(app))


@pytest.mark.parametrize("route", named(PROTECTED))
def test_without_a_good_token_a_route_answers_401(world: World, route: Route) -> None:
    assert world.client.as_user(REVOKED).get("/api/v1/sources").status == 200
    with world.db.write() as tx:
        tx.execute(sa.delete(token).where(token.c.digest == sha256(REVOKED.encode()).digest()))
    before = world.events()
    world.refused(world.ask(route, None), 401)
    world.refused(world.ask(route, "unknown"), 401)
    world.refused(world.ask(route, REVOKED), 401)
    world.refused(world.ask(route, ""), 401)
    world.refused(world.ask(route, None, authorization="Bearer"), 401)
    world.refused(world.ask(route, None, authorization=f"Basic {ROOT_TOKEN}"), 401)
    world.refused(world.ask(route, None, **{"x-auth-token": "unknown"}), 401)
    both = {"authorization": "Bearer unknown", "x-auth-token": ROOT_TOKEN}
    world.refused(world.ask(route, None, **both), 401)
    assert world.events() == before
    world.may_use(route, ROOT_TOKEN)


@pytest.mark.parametrize("route", named(r for r in PROTECTED if r.needs.guard in SCOPED))
def test_in_a_project_that_one_cannot_see_a_route_answers_404(world: World, route: Route) -> None:
    before = world.events()
    world.refused(world.ask(route, STRANGER), 404)
    # Who may do everything in one project is a stranger to the things of another.
    world.refused(world.ask(route, MEMBER, "other"), 404)
    assert world.events() == before
    world.may_use(route, MEMBER)


@pytest.mark.parametrize(
    "route", named(r for r in PROTECTED if r.needs.guard in SCOPED and r.needs.permissions)
)
def test_without_its_permissions_a_route_answers_403(world: World, route: Route) -> None:
    needs = route.needs
    status = 404 if needs.guard is Guard.HIDDEN_OBJECT else 403
    before = world.events()
    for number, held in enumerate(_not_enough(route)):
        world.refused(world.ask(route, world.user(f"poor {number}", here=held)), status)
    admin = world.user("tenant admin", globally='["tenant-admin"]')
    world.refused(world.ask(route, admin), status)
    assert world.events() == before
    enough = needs.permissions[:1] if needs.guard in ANY_OF else needs.permissions
    world.may_use(route, world.user("enough", here=enough))


def _not_enough(route: Route) -> Iterator[tuple[str, ...]]:
    """Sets of permissions with which one sees the project but may not use the route."""
    needed = frozenset(route.needs.permissions)
    yield next((one,) for one in EVERYTHING if access.derive_project([one]).isdisjoint(needed))
    if route.needs.guard in ANY_OF:
        yield tuple(o for o in EVERYTHING if access.derive_project([o]).isdisjoint(needed))
        return
    for missing in sorted(needed):
        yield tuple(one for one in EVERYTHING if missing not in access.derive_project([one]))


@pytest.mark.parametrize("route", named(r for r in PROTECTED if r.needs.guard is Guard.GLOBAL))
def test_without_its_global_permission_a_route_answers_403(world: World, route: Route) -> None:
    needed = frozenset(route.needs.permissions)
    others = [o for o in sorted(GLOBAL_PERMISSIONS) if access.derive_global([o]).isdisjoint(needed)]
    before = world.events()
    held = msgspec.json.encode(others).decode()
    world.refused(world.ask(route, world.user("poor", here=EVERYTHING, globally=held)), 403)
    assert world.events() == before
    for one in sorted(needed):
        world.may_use(route, world.user(f"holder of {one}", globally=f'["{one}"]'))


@pytest.mark.parametrize("route", named(r for r in PROTECTED if r.needs.guard in UNSCOPED))
def test_a_stranger_neither_changes_nor_learns_anything(world: World, route: Route) -> None:
    before = world.events()
    answer = world.ask(route, STRANGER)
    if answer.status == 200:
        content = answer.content.decode()
        for name in ("source_id", "dataset_id", "project_id", "user_id"):
            assert world.values["acme"][name] not in content
        assert '"acme' not in content
    else:
        world.refused(answer, 403, 404)
    assert world.events() == before
    world.may_use(route, ROOT_TOKEN)


def test_only_what_tells_nothing_about_data_is_public() -> None:
    public = {route.path for route in ROUTES if route.needs.guard is Guard.PUBLIC}
    assert public <= {"/healthz", "/readyz", "/metrics", "/docs", "/api/openapi.json"}


def test_every_row_names_permissions_that_exist() -> None:
    for route in ROUTES:
        known = (
            GLOBAL_PERMISSIONS
            if route.needs.guard is Guard.GLOBAL
            else (access.PROJECT_PERMISSIONS | GLOBAL_PERMISSIONS)
        )
        assert set(route.needs.permissions) <= known, route.operation
        if route.needs.guard in (*SCOPED, Guard.GLOBAL):
            assert route.needs.permissions or route.needs.guard is Guard.PROJECT, route.operation


def test_operations_have_names_of_their_own() -> None:
    names = [route.operation for route in ROUTES]
    assert sorted(set(names)) == sorted(names)


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "/api",
        "/api/v1",
        "/api/v1/nothing",
        "/api/v1/sources/acme/inbox/nothing",
        "/api/v2/sources",
        "/auth",
        "/acme/tenant/reinfer_",
        "/index.html",
    ],
)
def test_an_unknown_path_answers_404(world: World, path: str) -> None:
    world.refused(world.client.get(path), 404)
    world.refused(world.client.as_user(None).get(path), 404)


def test_a_method_that_a_path_does_not_have_answers_405(world: World) -> None:
    by_path: dict[str, set[str]] = {}
    for route in ROUTES:
        by_path.setdefault(re.sub(r"\{\w+\}", "{}", route.path), set()).add(route.method)
    for route in ROUTES:
        methods = by_path[re.sub(r"\{\w+\}", "{}", route.path)]
        for method in {"GET", "PUT", "POST", "DELETE", "PATCH", "OPTIONS", "TRACE"} - methods:
            answer = world.client.call(method, world.path(route))
            world.refused(answer, 405)
            assert set(answer.headers["allow"].split(", ")) == methods
