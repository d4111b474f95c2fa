"""How streams do, over HTTP."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest
import sqlalchemy as sa

from lodestream.domain import access
from lodestream.domain.places import parse_sequence_id
from lodestream.store import lag
from lodestream.store.db import Database
from lodestream.store.tables import comment
from tests.client import Client
from tests.conftest import grant_in, make_user

SOURCES = "/api/v1/sources/acme"
STREAM = "/api/v1/datasets/acme/mail/streams/all"
STATUSES = "/api/lodestream/v1/datasets/acme/mail/streams"
STATUS = STATUSES + "/all/status"


@pytest.fixture
def client(client: Client) -> Client:
    """A dataset of two sources with a stream over everything."""
    names = ("one", "two")
    ids = [client.ok("PUT", f"{SOURCES}/{n}", {"source": {}})["source"]["id"] for n in names]
    client.ok("PUT", "/api/v1/datasets/acme/mail", {"dataset": {"source_ids": ids}})
    client.ok("PUT", STREAM.rpartition("/")[0], {"stream": {"name": "all"}})
    return client


def send(client: Client, source: str, first: int, count: int, *, team: str = "a") -> None:
    batch = [
        {
            "id": f"c{number}",
            "timestamp": "2024-01-01T00:00:00Z",
            "messages": [{"body": {"text": f"text {number}"}}],
            "user_properties": {"string:Team": team},
        }
        for number in range(first, first + count)
    ]
    assert client.ok("POST", f"{SOURCES}/{source}/sync", {"comments": batch})["new"] == count


def status(client: Client, path: str = STATUS) -> Any:
    return client.ok("GET", path)["stream"]


def eventually(find: Callable[[], Any]) -> Any:
    """Fetches are noted about once a second."""
    until = time.monotonic() + 10
    while time.monotonic() < until:
        found = find()
        if found is not None:
            return found
        time.sleep(0.1)
    pytest.fail("it did not happen")


def test_a_stream_without_comments_is_idle(client: Client) -> None:
    found = status(client)
    assert found["state"] == "idle"
    assert found["unread"] == 0
    assert found["unread_is_exact"] is True
    assert found["oldest_unread_at"] is found["oldest_unread_age_s"] is None
    assert found["last_fetch"] is found["last_advance"] is found["poison"] is None


def test_unread_are_the_comments_of_every_source_after_the_position(client: Client) -> None:
    send(client, "one", 0, 5)
    send(client, "two", 0, 3)
    batch = client.ok("POST", STREAM + "/fetch", {"size": 2})
    first = batch["results"][0]["comment"]
    found = status(client)
    assert found["unread"] == 8
    assert found["oldest_unread_at"] == first["created_at"]
    assert 0 <= found["oldest_unread_age_s"] < 60

    client.ok("POST", STREAM + "/advance", {"sequence_id": batch["sequence_id"]})
    after = status(client)
    assert after["unread"] == 6
    place = parse_sequence_id(after["sequence_id"])
    assert place == parse_sequence_id(batch["sequence_id"])
    assert after["state"] == "consuming"
    assert after["last_advance"]["client"].startswith("user-")
    assert after["oldest_unread_at"] >= found["oldest_unread_at"]


def test_unread_are_only_the_comments_that_pass_the_filter(client: Client) -> None:
    wanted = {"user_properties": {"string:Team": {"one_of": ["b"]}}}
    client.ok("POST", STREAM, {"stream": {"comment_filter": wanted}})
    send(client, "one", 0, 5)
    send(client, "two", 0, 4, team="b")
    send(client, "one", 5, 2, team="b")
    found = status(client)
    assert (found["unread"], found["unread_is_exact"]) == (6, True)
    head = client.ok("POST", STREAM + "/fetch", {"size": 16})["results"][0]["comment"]
    assert found["oldest_unread_at"] == head["created_at"]


def test_the_list_has_every_stream_of_the_dataset(client: Client) -> None:
    client.ok("PUT", STREAM.rpartition("/")[0], {"stream": {"name": "again"}})
    send(client, "one", 0, 2)
    listed = client.ok("GET", STATUSES)["streams"]
    assert [(one["name"], one["unread"]) for one in listed] == [("again", 2), ("all", 2)]


def test_the_last_fetch_tells_when_and_by_whom(client: Client) -> None:
    client.call("POST", STREAM + "/fetch", {"size": 1}, headers={"user-agent": "my-robot/7"})
    fetch = eventually(lambda: status(client)["last_fetch"])
    assert "my-robot/7" in fetch["client"]
    assert fetch["at"].endswith("Z")


def test_a_comment_that_begins_every_fetch_is_poison_until_it_is_advanced_past(
    client: Client,
) -> None:
    send(client, "one", 0, 2)
    for _ in range(6):
        batch = client.ok("POST", STREAM + "/fetch", {"size": 1})
    poison = eventually(lambda: status(client)["poison"])
    assert poison == {"uid": batch["results"][0]["comment"]["uid"], "fetches": 6}
    client.ok("POST", STREAM + "/advance", {"sequence_id": batch["sequence_id"]})
    assert status(client)["poison"] is None

    # Delivered again after a reset, the same comment starts anew.
    start = {"to_comment_created_at": "2020-01-01T00:00:00Z"}
    client.ok("POST", STREAM + "/reset", start)
    before = status(client)["last_fetch"]["at"]
    assert client.ok("POST", STREAM + "/fetch", {"size": 1})["results"] == batch["results"]
    eventually(lambda: status(client)["last_fetch"]["at"] != before or None)
    assert status(client)["poison"] is None


def test_five_fetches_of_one_comment_are_no_poison_yet(client: Client) -> None:
    send(client, "one", 0, 1)
    for _ in range(5):
        client.ok("POST", STREAM + "/fetch", {"size": 1})
    eventually(lambda: status(client)["last_fetch"])
    assert status(client)["poison"] is None


@pytest.mark.parametrize("path", [STATUS, STATUSES])
def test_reading_a_status_needs_both_permissions(client: Client, db: Database, path: str) -> None:
    user_id = make_user(db, "reader")
    reader = client.as_user("reader")
    assert reader.get(path).status == 404
    grant_in(db, user_id, "acme", (access.STREAMS_READ,))
    assert reader.get(path).status == 403
    grant_in(db, user_id, "acme", (access.STREAMS_READ, access.VOC_READONLY))
    assert reader.get(path).status == 200


def test_an_unknown_stream_is_not_found(client: Client) -> None:
    assert client.get(STATUSES + "/none/status").status == 404
    assert client.get("/api/lodestream/v1/datasets/acme/none/streams").status == 404


def test_a_bound_on_what_is_examined_makes_the_count_a_lower_one(
    client: Client, db: Database
) -> None:
    send(client, "one", 0, 40)
    send(client, "two", 0, 10)
    with db.read() as tx:
        rows = tx.execute(sa.select(comment.c.source, comment.c.pos).order_by(comment.c.pos)).all()
    sources = sorted({row.source for row in rows})
    first = rows[0].pos
    late = comment.c.id.in_(["c8", "c9"])

    # Nothing of `two` was delivered, so all ten count without being looked at.
    bounded = lag.measure(db, sources, None, position=first, examine=20)
    assert (bounded.unread, bounded.is_exact) == (10 + 20, False)
    whole = lag.measure(db, sources, None, position=first, examine=39)
    assert (whole.unread, whole.is_exact) == (10 + 39, True)
    # What one source leaves of its share, the other may use.
    assert lag.measure(db, sources, late, position=0, examine=50) == lag.Lag(
        4, True, lag.measure(db, sources, late, position=0).oldest_us
    )
    unseen = lag.measure(db, sources, late, position=0, examine=4)
    assert (unseen.unread, unseen.is_exact, unseen.oldest_us) == (0, False, None)
