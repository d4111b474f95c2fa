"""Sinks over HTTP: what they may be, who may make them, and what is never shown."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from lodestream.actions.sinks import Reach
from lodestream.domain import access
from lodestream.domain.secrets import Keyring, new_key
from lodestream.store.db import Database
from lodestream.store.tables import audit_event, sink
from tests.build import STREAM, fetch, make_pipeline, make_stream, stream_path, sync_ids
from tests.client import Client
from tests.conftest import grant_in, make_user
from tests.sinks.targets import serving

SINKS = "/api/lodestream/v1/datasets/acme/support/streams/all/sinks"
HOOK = {"kind": "webhook", "url": "https://hooks.example/in"}
INDEX = {
    "kind": "elasticsearch",
    "url": "https://search.example",
    "index": "comments",
    "username": "u",
    "password": "hush-hush",
}


@pytest.fixture
def sinks(client: Client, tmp_path: Path) -> Client:
    reach = Reach(Keyring(new_key()), ("*.example", "127.0.0.1"), tmp_path / "out")
    client.app.service.reach = reach
    make_pipeline(client)
    return client


def body(configuration: Any = HOOK, name: str = "out", **more: Any) -> Any:
    return {"sink": {"name": name, "configuration": configuration, **more}}


def test_a_sink_is_made_read_listed_changed_and_deleted(sinks: Client) -> None:
    made = sinks.ok("PUT", SINKS, body(max_failures=7))
    assert made["secret"].startswith("whsec_")
    assert made["sink"]["configuration"] == HOOK
    assert (made["sink"]["state"], made["sink"]["max_failures"]) == ("idle", 7)
    got = sinks.ok("GET", f"{SINKS}/out")
    assert "secret" not in got
    assert got["sink"] == made["sink"]
    assert sinks.ok("GET", SINKS)["sinks"] == [made["sink"]]
    changed = sinks.ok("POST", f"{SINKS}/out", {"sink": {"enabled": False}})["sink"]
    assert (changed["state"], changed["disabled_reason"]) == ("disabled", "user")
    sinks.ok("DELETE", f"{SINKS}/out")
    assert sinks.get(f"{SINKS}/out").status == 404
    assert sinks.ok("GET", SINKS)["sinks"] == []


def test_every_change_is_audited(sinks: Client, db: Database) -> None:
    sinks.ok("PUT", SINKS, body(HOOK | {"url": "http://127.0.0.1:1"}))
    sinks.ok("POST", f"{SINKS}/out", {"sink": {"enabled": False}})
    sinks.ok("POST", f"{SINKS}/out/reset", {"to": "now"})
    sinks.ok("POST", f"{SINKS}/out/test")
    sinks.ok("DELETE", f"{SINKS}/out")
    with db.read() as tx:
        rows = tx.execute(sa.select(audit_event.c.type, audit_event.c.refs).order_by("id"))
        found = [(row.type, row.refs) for row in rows if '"sink"' in row.refs]
    names = ["create_sink", "update_sink", "reset_sink", "test_sink_failed", "delete_sink"]
    assert [one[0] for one in found] == names
    assert all('"kind":"webhook"' in one[1] for one in found)


def test_no_secret_is_shown_or_stored_as_it_is(sinks: Client, db: Database) -> None:
    made = sinks.put(SINKS, body(INDEX))
    shown = {name: value for name, value in INDEX.items() if name != "password"}
    assert made.json["sink"]["configuration"] == shown
    for answer in (made, sinks.get(SINKS), sinks.get(f"{SINKS}/out")):
        assert b"hush-hush" not in answer.content
    with db.read() as tx:
        rows = [*tx.execute(sa.select(sink)), *tx.execute(sa.select(audit_event.c.refs))]
    assert "hush-hush" not in repr(rows)


def test_secrets_stay_unless_the_sink_is_turned_to_another_target(sinks: Client) -> None:
    seen: list[str] = []
    with serving() as first, serving() as second:
        here = INDEX | {"url": first.url, "make_template": False}
        sinks.ok("PUT", SINKS, body(here))
        changed = {name: value for name, value in here.items() if name != "password"}
        sinks.ok("POST", f"{SINKS}/out", {"sink": {"configuration": changed | {"index": "new"}}})
        assert sinks.ok("POST", f"{SINKS}/out/test")["reached"]
        there = changed | {"url": second.url}
        refused = sinks.post(f"{SINKS}/out", {"sink": {"configuration": there}})
        assert (refused.status, "anew" in refused.json["message"]) == (422, True)
        there["password"] = "other"
        sinks.ok("POST", f"{SINKS}/out", {"sink": {"configuration": there}})
        sinks.ok("POST", f"{SINKS}/out/test")
        seen = [one.headers["authorization"] for one in (*first.requests, *second.requests)]
    assert len(set(seen)) == 2
    assert sinks.ok("GET", f"{SINKS}/out")["sink"]["configuration"]["url"] == second.url


BAD = {
    "no such kind": ({"kind": "fax"}, 400),
    "no scheme": ({"kind": "webhook", "url": "hooks.example"}, 400),
    "password in the URL": ({"kind": "webhook", "url": "https://u:p@hooks.example"}, 422),
    "a host that is not allowed": ({"kind": "webhook", "url": "https://elsewhere.com"}, 422),
    "a secret that is none": (HOOK | {"secret": "short"}, 400),
    "unknown field": (HOOK | {"header": "x"}, 400),
    "two ways to sign in": (INDEX | {"api_key": "k"}, 422),
    "an index that cannot be": (INDEX | {"index": "Upper"}, 400),
    "leads out of the folder": ({"kind": "file", "folder": "../x"}, 422),
    "brokers without port": ({"kind": "kafka", "brokers": "h", "topic": "t"}, 400),
    "a broker not allowed": ({"kind": "kafka", "brokers": "a.example:1,b:2", "topic": "t"}, 422),
    "an unknown database": ({"kind": "sql", "url": "mysql://u@a.example/d"}, 422),
    "a table to inject": ({"kind": "sql", "url": "sqlite:a.db", "table": 'a"; DROP'}, 400),
}


@pytest.mark.parametrize("case", BAD)
def test_what_cannot_be_a_sink_is_refused(sinks: Client, case: str) -> None:
    configuration, status = BAD[case]
    answer = sinks.put(SINKS, body(configuration))
    assert (answer.status, answer.json["status"]) == (status, "error"), answer.content
    assert sinks.ok("GET", SINKS)["sinks"] == []


def test_names_are_unique_on_a_stream_and_sinks_have_a_bound(
    sinks: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    sinks.ok("PUT", SINKS, body())
    assert sinks.put(SINKS, body()).status == 409
    make_stream(sinks, "acme/support/other")
    sinks.ok("PUT", SINKS.replace("/all/", "/other/"), body())
    monkeypatch.setattr("lodestream.actions.sinks.MOST_SINKS", 1)
    assert sinks.put(SINKS, body(name="two")).status == 409
    assert sinks.put(SINKS.replace("/all/", "/none/"), body()).status == 404
    answer = sinks.post(f"{SINKS}/out", {"sink": {"configuration": INDEX}})
    assert answer.status == 400, "a sink keeps its kind"


def test_where_a_sink_starts_and_where_a_reset_puts_it(sinks: Client) -> None:
    sync_ids(sinks, "a", "b")
    end = fetch(sinks)["results"][0]["sequence_id"]
    sinks.ok("POST", f"{stream_path(STREAM)}/advance", {"sequence_id": end})
    unread = {}
    for start in ("beginning", "stream", "now"):
        made = sinks.ok("PUT", SINKS, body(name=start, start=start))["sink"]
        unread[start] = made["unread"]
    assert unread == {"beginning": 2, "stream": 1, "now": 0}
    sync_ids(sinks, "c")
    found = {one["name"]: one for one in sinks.ok("GET", SINKS)["sinks"]}
    assert {name: one["unread"] for name, one in found.items()} == {
        "beginning": 3,
        "stream": 2,
        "now": 1,
    }
    assert found["now"]["oldest_unread_age_s"] < 60
    assert found["now"]["state"] == "delivering"

    def reset(to: Any) -> int:
        unread: int = sinks.ok("POST", f"{SINKS}/now/reset", to)["sink"]["unread"]
        return unread

    assert reset({"to": "beginning"}) == 3
    assert reset({"to": "stream"}) == 2
    assert reset({"to_comment_created_at": "2000-01-01T00:00:00Z"}) == 3
    assert reset({"to": "now"}) == 0
    for bad in ({}, {"to": "now", "to_comment_created_at": "2000-01-01"}, {"to": "then"}):
        assert sinks.post(f"{SINKS}/now/reset", bad).status == 400
    assert sinks.post(f"{SINKS}/now/reset", {"to_comment_created_at": "soon"}).status == 400


def test_a_reset_of_the_stream_does_not_move_its_sinks(sinks: Client) -> None:
    sync_ids(sinks, "a")
    sinks.ok("PUT", SINKS, body(start="now"))
    instant = {"to_comment_created_at": "2000-01-01T00:00:00Z"}
    sinks.ok("POST", f"{stream_path(STREAM)}/reset", instant)
    assert sinks.ok("GET", f"{SINKS}/out")["sink"]["unread"] == 0


def test_a_test_tells_whether_the_target_can_be_reached(sinks: Client) -> None:
    with serving() as target:
        sinks.ok("PUT", SINKS, body(HOOK | {"url": target.url}))
        assert sinks.ok("POST", f"{SINKS}/out/test")["reached"] is True
        assert target.requests[0].json["type"] == "test"
        target.answer = lambda _request: (401, {}, b"who?")
        told = sinks.ok("POST", f"{SINKS}/out/test")
    assert (told["reached"], told["reason"], told["detail"]) == (False, "HTTP 401", "who?")
    assert sinks.ok("GET", f"{SINKS}/out/attempts")["attempts"] == []


def test_sensitive_properties_need_their_permission(sinks: Client, db: Database) -> None:
    permissions = (
        access.STREAMS_ADMIN,
        access.STREAMS_CONSUME,
        access.VOC_READONLY,
        access.SOURCES_READ,
    )
    user_id = make_user(db, "someone")
    grant_in(db, user_id, "acme", permissions)
    someone = sinks.as_user("someone")
    assert someone.put(SINKS, body(include_sensitive=True)).status == 403
    someone.ok("PUT", SINKS, body())
    assert someone.post(f"{SINKS}/out", {"sink": {"include_sensitive": True}}).status == 403
    sinks.ok("POST", f"{SINKS}/out", {"sink": {"include_sensitive": True}})
    # Who may not see them must not turn to another place what is sent with them.
    elsewhere = {"sink": {"configuration": HOOK | {"url": "https://mine.example"}}}
    assert someone.post(f"{SINKS}/out", elsewhere).status == 403


def test_without_a_key_no_secret_is_taken_and_without_a_folder_no_file_written(
    client: Client,
) -> None:
    make_pipeline(client)
    answer = client.put(SINKS, body())
    assert (answer.status, "LODESTREAM_SECRET_KEY" in answer.json["message"]) == (422, True)
    answer = client.put(SINKS, body({"kind": "file", "folder": "x"}))
    assert (answer.status, "LODESTREAM_SINK_FOLDER" in answer.json["message"]) == (422, True)


def test_metrics_tell_the_lag_and_the_counts_of_each_sink(sinks: Client) -> None:
    sync_ids(sinks, "a", "b")
    sinks.ok("PUT", SINKS, body(start="beginning"))
    sinks.app.service.figures.forget()
    text = sinks.get("/metrics").content.decode()
    labels = 'dataset="support",project="acme",sink="out",stream="all"'
    lines = {
        name: float(value)
        for name, value in (line.rsplit(" ", 1) for line in text.splitlines() if labels in line)
    }
    assert lines[f"lodestream_sink_unread{{{labels}}}"] == 2
    assert 0 <= lines[f"lodestream_sink_oldest_unread_seconds{{{labels}}}"] < time.time()
    for name in ("delivered", "failed_attempts", "dead_letters"):
        assert lines[f"lodestream_sink_{name}_total{{{labels}}}"] == 0
    assert lines[f"lodestream_sink_enabled{{{labels}}}"] == 1
