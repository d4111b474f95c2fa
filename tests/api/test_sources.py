"""Sources over HTTP."""

from __future__ import annotations

from lodestream.store.db import Database
from tests.client import Client
from tests.conftest import grant_in, make_user

SOURCE = "/api/v1/sources/acme/inbox"


def test_a_created_source_reads_back_with_its_defaults(client: Client) -> None:
    source = client.ok("PUT", SOURCE, {"source": {}})["source"]
    assert source["_kind"] == "unknown"
    assert source["title"] == source["description"] == ""
    assert source["owner"] == "acme"
    assert "bucket_id" not in source
    assert client.ok("GET", SOURCE)["source"] == source
    assert client.ok("GET", f"/api/v1/sources/id:{source['id']}")["source"] == source
    assert client.ok("GET", "/api/v1/sources/acme")["sources"] == [source]


def test_creating_a_taken_name_conflicts_unless_it_is_the_same_request(client: Client) -> None:
    source = client.ok("PUT", SOURCE, {"source": {"title": "Inbox"}})["source"]
    assert client.ok("PUT", SOURCE, {"source": {"title": "Inbox"}})["source"] == source
    assert client.put(SOURCE, {"source": {"title": "Other"}}).status == 409
    assert client.ok("GET", SOURCE)["source"] == source


def test_an_unknown_transform_tag_is_refused_in_the_words_clients_know(client: Client) -> None:
    answer = client.put(SOURCE, {"source": {"email_transform_tag": "nope"}})
    assert answer.status == 422
    assert answer.json["message"] == "The value 'nope' is not a valid transform tag."
    assert client.get(SOURCE).status == 404


def test_an_unknown_project_is_named(client: Client) -> None:
    answer = client.put("/api/v1/sources/nobody/inbox", {"source": {}})
    assert answer.status == 404
    assert answer.json["message"].startswith("No such project")


def test_all_sources_are_those_of_the_projects_in_which_one_may_see_sources(
    client: Client, db: Database
) -> None:
    made = [
        client.ok("PUT", f"/api/v1/sources/{name}", {"source": {}})["source"]
        for name in ("other/b", "acme/z", "acme/a")
    ]
    everything = client.ok("GET", "/api/v1/sources")["sources"]
    assert everything == [made[2], made[1], made[0]]
    user_id = make_user(db, "guest")
    guest = client.as_user("guest")
    assert guest.ok("GET", "/api/v1/sources")["sources"] == []
    grant_in(db, user_id, "other", ("sources-read",))
    grant_in(db, user_id, "acme", ("voc-readonly",))
    assert guest.ok("GET", "/api/v1/sources")["sources"] == [made[0]]
