"""Whether the server lives, whether it is ready, what it counts."""

from __future__ import annotations

from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from lodestream.store.db import Database
from tests.client import Answer, Client
from tests.conftest import make_user

LOCAL = {"host": "127.0.0.1:8000"}


def figures(client: Client, **headers: str) -> dict[str, dict[tuple[str, ...], float]]:
    """Every sample by its name and the values of its labels."""
    answer = client.call("GET", "/metrics", headers={**LOCAL, **headers})
    assert answer.status == 200, answer.content
    assert answer.headers["content-type"].startswith("text/plain")
    found: dict[str, dict[tuple[str, ...], float]] = {}
    for family in text_string_to_metric_families(answer.content.decode()):
        for sample in family.samples:
            found.setdefault(sample.name, {})[
                tuple(value for _, value in sorted(sample.labels.items()))
            ] = sample.value
    return found


def test_health_needs_no_token(client: Client) -> None:
    assert client.as_user(None).ok("GET", "/healthz") == {"status": "ok"}


def test_a_migrated_database_is_ready(client: Client) -> None:
    assert client.as_user(None).ok("GET", "/readyz") == {"status": "ok"}


def test_another_schema_is_not_ready(client: Client, db: Database) -> None:
    with db.write() as tx:
        tx.connection.exec_driver_sql("UPDATE alembic_version SET version_num = 'ffff'")
    answer = client.as_user(None).get("/readyz")
    assert answer.status == 503
    assert answer.json["status"] == "error"
    assert "ffff" in answer.json["message"]


def test_a_database_without_a_schema_is_not_ready_but_the_server_lives(
    client: Client, db: Database
) -> None:
    with db.write() as tx:
        tx.connection.exec_driver_sql("ALTER TABLE alembic_version RENAME TO elsewhere")
    assert client.as_user(None).get("/readyz").status == 503
    assert client.as_user(None).get("/healthz").status == 200


def _metrics(client: Client, token: str | None, headers: dict[str, str]) -> Answer:
    return client.as_user(token).call("GET", "/metrics", headers=headers)


def test_metrics_are_shown_on_the_servers_own_machine_without_a_token(client: Client) -> None:
    assert _metrics(client, None, LOCAL).status == 200
    assert _metrics(client, None, {"host": "localhost"}).status == 200
    assert _metrics(client, None, {"host": "[::1]:8000"}).status == 200


@pytest.mark.parametrize(
    "headers",
    [
        {"host": "stream.example.com"},
        {**LOCAL, "x-forwarded-for": "127.0.0.1"},
        {**LOCAL, "forwarded": "for=127.0.0.1"},
        {**LOCAL, "via": "1.1 proxy"},
    ],
)
def test_metrics_need_a_token_from_elsewhere(
    client: Client, db: Database, headers: dict[str, str]
) -> None:
    make_user(db, "auditor", globally='["audit-read"]')
    make_user(db, "nobody")
    assert _metrics(client, None, headers).status == 401
    assert _metrics(client, "nobody", headers).status == 403
    assert _metrics(client, "auditor", headers).status == 200


def test_metrics_count_requests_and_what_became_of_comments(client: Client) -> None:
    source = "/api/v1/sources/acme/inbox"
    client.ok("PUT", source, {"source": {}})

    def batch(*texts: str) -> dict[str, Any]:
        return {
            "comments": [
                {
                    "id": f"c{number}",
                    "timestamp": "2024-01-01T00:00:00Z",
                    "messages": [{"body": {"text": text}}],
                }
                for number, text in enumerate(texts)
            ]
        }

    client.ok("POST", source + "/sync", batch("a", "b", "c"))
    client.ok("POST", source + "/sync", batch("a", "B", "c"))
    assert client.put("/api/_private/sources/acme/inbox/comments", batch("a")).status == 200
    assert client.put("/api/_private/sources/acme/inbox/comments", batch("other")).status == 409
    found = figures(client)
    assert found["lodestream_comments_total"] == {
        ("new",): 3,
        ("updated",): 1,
        ("unchanged",): 3,
    }
    assert found["lodestream_comments_stored"] == {(): 3}
    assert found["lodestream_requests_total"]["syncComments", "200"] == 2
    assert found["lodestream_requests_total"]["addComments", "409"] == 1
    assert found["lodestream_request_seconds_count"]["syncComments",] == 2


def test_metrics_tell_the_lag_of_each_stream_and_the_jobs(client: Client) -> None:
    source = client.ok("PUT", "/api/v1/sources/acme/inbox", {"source": {}})["source"]
    gone = client.ok("PUT", "/api/v1/sources/acme/old", {"source": {}})["source"]
    dataset = "/api/v1/datasets/acme/mail"
    client.ok("PUT", dataset, {"dataset": {"source_ids": [source["id"]]}})
    client.ok("PUT", dataset + "/streams", {"stream": {"name": "all"}})
    comments = [{"id": "c", "timestamp": "2024-01-01T00:00:00Z", "messages": []}]
    comments[0]["messages"] = [{"body": {"text": "secret words"}}]
    client.ok("POST", "/api/v1/sources/acme/inbox/sync", {"comments": comments})
    client.ok("DELETE", f"/api/v1/sources/id:{gone['id']}")
    found = figures(client)
    stream = ("mail", "acme", "all")  # dataset, project, stream
    assert found["lodestream_stream_unread"] == {stream: 1}
    assert found["lodestream_stream_unread_is_exact"] == {stream: 1}
    assert 0 <= found["lodestream_stream_oldest_unread_seconds"][stream] < 60
    assert found["lodestream_jobs"]["purge_source", "waiting"] == 1
    assert found["lodestream_jobs"]["purge_source", "running"] == 0


def test_the_figures_of_the_database_are_kept_for_some_seconds(client: Client) -> None:
    assert figures(client)["lodestream_comments_stored"] == {(): 0}
    client.ok("PUT", "/api/v1/sources/acme/inbox", {"source": {}})
    comment = {
        "id": "c",
        "timestamp": "2024-01-01T00:00:00Z",
        "messages": [{"body": {"text": "x"}}],
    }
    client.ok("POST", "/api/v1/sources/acme/inbox/sync", {"comments": [comment]})
    assert figures(client)["lodestream_comments_stored"] == {(): 0}
    client.app.service.figures.forget()
    assert figures(client)["lodestream_comments_stored"] == {(): 1}
