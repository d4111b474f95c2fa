"""The loop that delivers to sinks, against targets that are real servers."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from lodestream.actions.predict import Predictor
from lodestream.actions.sinks import Reach
from lodestream.domain import deliveries
from lodestream.domain.secrets import Keyring, new_key
from lodestream.store.db import Database
from lodestream.store.tables import sink as sink_table
from lodestream.worker.sinks import SinkPace, SinkRunner
from tests.api.test_stream_predictions import pin_newest
from tests.build import (
    advance,
    delete_ids,
    fetch,
    make_comment,
    make_pipeline,
    make_stream,
    only_team,
    reset,
    stream_path,
    sync,
    sync_ids,
    team,
)
from tests.client import Client
from tests.learning import label_hotel, learn, make_hotel
from tests.sinks.targets import Index, Reply, Request, Target, eventually, serving

SINKS = "/api/lodestream/v1/datasets/acme/support/streams/all/sinks"
KEY = new_key()
PACE = SinkPace(poll_s=0.02, lease_s=30)


@pytest.fixture
def sinks(client: Client, tmp_path: Path) -> Client:
    """A server that may keep secrets and write files, with a stream."""
    client.app.service.reach = Reach(Keyring(KEY), (), tmp_path / "out")
    make_pipeline(client)
    return client


@pytest.fixture
def target() -> Iterator[Target]:
    with serving() as found:
        yield found


@pytest.fixture(autouse=True)
def _short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(deliveries, "FIRST_WAIT_S", 0.01)
    monkeypatch.setattr(deliveries, "LONGEST_WAIT_S", 0.05)


class Running:
    """A runner in a thread."""

    def __init__(self, client: Client, pace: SinkPace = PACE) -> None:
        service = client.app.service
        self._stop = threading.Event()
        predictor = Predictor(service.db, service.encoders)
        self.runner = SinkRunner(service.db, predictor, service.reach, self._stop, pace=pace)
        self._thread = threading.Thread(target=self.runner.run)

    def __enter__(self) -> SinkRunner:
        self._thread.start()
        return self.runner

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()


def make_sink(client: Client, name: str = "out", *, start: str = "beginning", **more: Any) -> Any:
    configuration = {"kind": "webhook", **more.pop("configuration")}
    body = {"sink": {"name": name, "start": start, "configuration": configuration, **more}}
    return client.ok("PUT", SINKS, body)


def state(client: Client, name: str = "out") -> Any:
    return client.ok("GET", f"{SINKS}/{name}")["sink"]


def attempts(client: Client, name: str = "out") -> Any:
    return client.ok("GET", f"{SINKS}/{name}/attempts?limit=200")["attempts"]


def exceptions(client: Client, db: Database) -> dict[str, str]:
    rows = sa.text(
        "SELECT c.id, e.type FROM stream_exception e JOIN comment c ON c.pos = e.pos ORDER BY c.pos"
    )
    with db.read() as tx:
        return {row.id: row.type for row in tx.execute(rows)}


def refusing(*ids: str, status: int) -> Any:
    """Answer with a status where one of these comments is in the call."""

    def answer(request: Request) -> Reply:
        return (status if set(ids) & set(request.ids) else 200), {}, b"because"

    return answer


def test_a_sink_gets_what_a_fetch_returns_in_order_and_the_stream_stays(
    sinks: Client, target: Target
) -> None:
    before = fetch(sinks)["sequence_id"]
    sync_ids(sinks, *(f"c{n}" for n in range(25)))
    make_sink(sinks, configuration={"url": target.url, "comments_per_call": 10})
    with Running(sinks):
        eventually(lambda: len(target.arrived) == 25)
        eventually(lambda: state(sinks)["unread"] == 0)
    expected = fetch(sinks)
    got = [one for request in target.requests for one in request.json["results"]]
    assert got == expected["results"]
    assert [len(request.ids) for request in target.requests] == [10, 10, 5]
    assert advance(sinks, before) == before, "the stream's own position did not move"
    found = state(sinks)
    assert (found["state"], found["delivered"], found["failed_attempts"]) == ("idle", 25, 0)
    # The same place; only an id of a comment names its source.
    assert found["sequence_id"][:20] == expected["sequence_id"][:20]
    assert [one["result"] for one in attempts(sinks)] == ["delivered"] * 3


def test_a_sink_of_a_stream_with_a_model_sends_its_predictions(
    client: Client, db: Database, target: Target, tmp_path: Path
) -> None:
    client.app.service.reach = Reach(Keyring(KEY), (), tmp_path / "out")
    dataset_id = make_hotel(client)
    label_hotel(db, dataset_id)
    learn(db, tmp_path)
    version = pin_newest(db, dataset_id)
    make_stream(client, model={"version": version, "label_thresholds": [{"name": ["Food"]}]})
    reset(client, "2000-01-01T00:00:00Z")
    make_sink(client, configuration={"url": target.url, "comments_per_call": 20})
    table = {"kind": "sql", "url": "sqlite:rows.db"}
    make_sink(client, "table", configuration=table)
    with Running(client):
        # Nothing is kept ready for this stream, so predictions are computed on the spot.
        eventually(lambda: len(target.arrived) == 30)
        eventually(lambda: state(client, "table")["unread"] == 0)
    got = [one for request in target.requests for one in request.json["results"]]
    assert got == fetch(client)["results"]
    assert all("labels" in one for one in got)
    rows = sa.create_engine(f"sqlite:///{tmp_path}/out/rows.db", poolclass=sa.NullPool)
    with rows.connect() as connection:
        query = 'SELECT id, "label:Food", "label:Room > Noise" FROM comments'
        found = {row[0]: row[1:] for row in connection.exec_driver_sql(query)}
    food = {one["comment"]["id"]: one["labels"] for one in got}["Food-8"][0]["probability"]
    assert found["Food-8"] == (food, 0), "a column for each label of the model"


def test_comments_that_the_filter_leaves_out_are_passed(sinks: Client, target: Target) -> None:
    sinks.ok("POST", stream_path(), {"stream": {"comment_filter": only_team("a")}})
    sync(sinks, [make_comment(f"a{n}", **team("a")) for n in range(3)])
    sync(sinks, [make_comment(f"b{n}", **team("b")) for n in range(3)])
    make_sink(sinks, configuration={"url": target.url})
    with Running(sinks):
        eventually(lambda: state(sinks)["unread"] == 0 and len(target.arrived) == 3)
        sync(sinks, [make_comment("a9", **team("a"))])
        eventually(lambda: len(target.arrived) == 4)
    assert target.arrived == ["a0", "a1", "a2", "a9"]


@pytest.mark.parametrize("status", [400, 500])
def test_a_comment_that_fails_again_and_again_becomes_a_dead_letter(
    sinks: Client, db: Database, target: Target, status: int
) -> None:
    target.answer = refusing("c3", status=status)
    sync_ids(sinks, *(f"c{n}" for n in range(8)))
    make_sink(sinks, configuration={"url": target.url}, max_failures=3)
    with Running(sinks):
        eventually(lambda: state(sinks)["unread"] == 0)
    accepted = [name for one in target.requests if "c3" not in one.ids for name in one.ids]
    assert list(dict.fromkeys(accepted)) == ["c0", "c1", "c2", "c4", "c5", "c6", "c7"]
    alone = [one for one in target.requests if one.ids == ["c3"]]
    assert len(alone) == 3, "it is given up after its third failure alone"
    assert exceptions(sinks, db) == {"c3": f"sink out: HTTP {status}"}
    dead = [one for one in attempts(sinks) if one["result"] == "dead_letter"]
    assert [one["uid"].partition(".")[2] for one in dead] == ["c3"]
    assert (dead[0]["reason"], dead[0]["detail"]) == (f"HTTP {status}", "because")
    found = state(sinks)
    assert (found["delivered"], found["dead_letters"], found["state"]) == (7, 1, "idle")


@pytest.mark.parametrize("status", [500, 503, 401])
def test_an_outage_gives_up_nothing_however_it_shows(
    sinks: Client, db: Database, target: Target, status: int
) -> None:
    target.answer = lambda _request: (status, {}, b"")
    sync_ids(sinks, *(f"c{n}" for n in range(6)))
    make_sink(sinks, configuration={"url": target.url}, max_failures=1)
    with Running(sinks):
        eventually(lambda: state(sinks)["failed_attempts"] > 15)
        found = state(sinks)
        assert (found["state"], found["last_error"]) == ("failing", f"HTTP {status}")
        assert (found["unread"], found["dead_letters"]) == (6, 0)
        target.requests.clear()
        target.answer = lambda _request: (200, {}, b"")
        eventually(lambda: state(sinks)["unread"] == 0)
    assert list(dict.fromkeys(target.arrived))[-6:] == [f"c{n}" for n in range(6)]
    assert exceptions(sinks, db) == {}


def test_a_target_that_is_not_there_gives_up_nothing(sinks: Client, db: Database) -> None:
    sync_ids(sinks, "c1")
    make_sink(sinks, configuration={"url": "http://127.0.0.1:1"}, max_failures=1)
    with Running(sinks):
        eventually(lambda: state(sinks)["failed_attempts"] > 5)
    assert state(sinks)["last_error"].startswith("not reached")
    assert exceptions(sinks, db) == {}


def test_a_failing_and_a_hanging_sink_do_not_delay_the_others(
    sinks: Client, target: Target
) -> None:
    hang = threading.Event()

    def hanging(_request: Request) -> Reply:
        hang.wait(20)
        return 200, {}, b""

    with serving(lambda _request: (500, {}, b"")) as failing, serving(hanging) as slow:
        for number in range(3):
            make_sink(sinks, f"failing{number}", configuration={"url": failing.url})
        make_sink(sinks, "slow", configuration={"url": slow.url})
        make_sink(sinks, "healthy", configuration={"url": target.url})
        with Running(sinks, SinkPace(threads=4, poll_s=0.02)):
            for number in range(20):
                sync_ids(sinks, f"c{number}")
                eventually(lambda n=number: f"c{n}" in target.arrived, within_s=5)  # type: ignore[misc]
            assert len(slow.requests) == 1, "one delivery of a sink at a time"
            hang.set()
        assert len(failing.requests) > 10


def test_two_runners_share_a_sink_and_deliver_nothing_twice(sinks: Client, target: Target) -> None:
    make_sink(sinks, configuration={"url": target.url, "comments_per_call": 3})
    pace = SinkPace(poll_s=0.01, turn_s=0.05)
    with Running(sinks, pace), Running(sinks, pace):
        for number in range(30):
            sync_ids(sinks, f"c{number}", f"d{number}")
        eventually(lambda: len(target.arrived) >= 60)
        eventually(lambda: state(sinks)["unread"] == 0)
    assert target.arrived == [f"{kind}{n}" for n in range(30) for kind in "cd"]


def test_what_is_not_acknowledged_is_never_passed(sinks: Client, target: Target) -> None:
    """The cursor moves after the answer, never before: seen from within the answer."""
    seen: list[tuple[str, int]] = []

    def answer(request: Request) -> Reply:
        found = state(sinks)
        seen.append((request.ids[0], found["unread"]))
        return 200, {}, b""

    target.answer = answer
    sync_ids(sinks, "c0", "c1", "c2")
    make_sink(sinks, configuration={"url": target.url, "comments_per_call": 1})
    with Running(sinks):
        eventually(lambda: state(sinks)["unread"] == 0)
    assert seen == [("c0", 3), ("c1", 2), ("c2", 1)]


def test_a_reset_while_a_delivery_is_under_way_holds(sinks: Client, target: Target) -> None:
    sync_ids(sinks, "c0", "c1")
    make_sink(sinks, configuration={"url": target.url, "comments_per_call": 1})

    def answer(_request: Request) -> Reply:
        if len(target.requests) == 2:
            sinks.ok("POST", f"{SINKS}/out/reset", {"to": "beginning"})
        return 200, {}, b""

    target.answer = answer
    with Running(sinks):
        eventually(lambda: len(target.requests) == 4 and state(sinks)["unread"] == 0)
    assert target.arrived == ["c0", "c1", "c0", "c1"]


def test_a_target_that_wants_no_more_disables_its_sink(sinks: Client, target: Target) -> None:
    target.answer = lambda _request: (410, {}, b"")
    sync_ids(sinks, "c0")
    make_sink(sinks, configuration={"url": target.url})
    with Running(sinks):
        eventually(lambda: not state(sinks)["enabled"])
        found = state(sinks)
        assert (found["state"], found["unread"]) == ("disabled", 1)
        assert "410" in found["disabled_reason"]
        target.answer = lambda _request: (200, {}, b"")
        assert len(target.requests) == 1
        sinks.ok("POST", f"{SINKS}/out", {"sink": {"enabled": True}})
        eventually(lambda: state(sinks)["unread"] == 0)
    assert state(sinks)["disabled_reason"] is None


def test_retry_after_is_waited_for(sinks: Client, db: Database, target: Target) -> None:
    target.answer = lambda _request: (429, {"retry-after": "3000"}, b"")
    sync_ids(sinks, "c0")
    make_sink(sinks, configuration={"url": target.url})
    with Running(sinks):
        eventually(lambda: state(sinks)["next_attempt_at"] is not None)
    with db.read() as tx:
        row = tx.execute(sa.select(sink_table.c.due_us, sink_table.c.failed_us)).one()
    assert 3000e6 <= row.due_us - row.failed_us < 3800e6
    assert len(target.requests) == 1


def test_the_head_that_is_deleted_hands_its_failures_to_nobody(
    sinks: Client, db: Database, target: Target
) -> None:
    target.answer = refusing("c0", "c1", status=400)
    sync_ids(sinks, "c0", "c1")
    make_sink(sinks, configuration={"url": target.url, "comments_per_call": 1}, max_failures=4)

    def tried() -> list[str]:
        return [one.ids[0] for one in target.requests]

    def answer(request: Request) -> Reply:
        if tried() == ["c0", "c0"]:
            delete_ids(sinks, "c0")
        return 400, {}, b""

    target.answer = answer
    with Running(sinks):
        eventually(lambda: state(sinks)["unread"] == 0)
    assert tried() == ["c0", "c0", "c1", "c1", "c1", "c1"]
    assert list(exceptions(sinks, db)) == ["c1"]


def test_sensitive_properties_are_left_out_unless_wanted(sinks: Client, target: Target) -> None:
    path = "/api/v1/sources/acme/inbox"
    sinks.ok("POST", path, {"source": {"sensitive_properties": ["string:Team"]}})
    sync(sinks, [make_comment("c0", user_properties={"string:Team": "a", "string:B": "b"})])
    make_sink(sinks, "plain", configuration={"url": target.url})
    with serving() as full:
        make_sink(sinks, "full", configuration={"url": full.url}, include_sensitive=True)
        with Running(sinks):
            eventually(lambda: bool(target.requests and full.requests))
        shown = full.requests[0].json["results"][0]["comment"]["user_properties"]
        assert shown == {"string:B": "b", "string:Team": "a"}
    hidden = target.requests[0].json["results"][0]["comment"]["user_properties"]
    assert hidden == {"string:B": "b"}


def test_a_sink_whose_secrets_cannot_be_opened_waits(sinks: Client, target: Target) -> None:
    sync_ids(sinks, "c0")
    make_sink(sinks, configuration={"url": target.url})
    sinks.app.service.reach = Reach(Keyring(new_key()))
    with Running(sinks):
        eventually(lambda: state(sinks)["last_error"] is not None)
    assert "cannot be opened" in state(sinks)["last_error"]
    assert not target.requests


def test_a_document_that_the_index_refuses_is_given_up_at_once_and_the_rest_goes_on(
    sinks: Client, db: Database
) -> None:
    index = Index(lambda name, _document: 400 if name.endswith((".c1", ".c3")) else 201)
    sync_ids(sinks, *(f"c{n}" for n in range(5)))
    with serving(index) as cluster:
        settings = {"kind": "elasticsearch", "url": cluster.url, "index": "all"}
        make_sink(sinks, configuration=settings)
        with Running(sinks):
            eventually(lambda: state(sinks)["unread"] == 0)
        assert sum(one.path.startswith("/all/_bulk") for one in cluster.requests) == 1
    assert [name.partition(".")[2] for name in index.order] == ["c0", "c2", "c4"]
    reason = "sink out: mapper_parsing_exception, status 400"
    assert exceptions(sinks, db) == {"c1": reason, "c3": reason}
    found = [(one["result"], one["delivered"]) for one in reversed(attempts(sinks))]
    assert found == [("delivered", 3), ("dead_letter", 0), ("dead_letter", 0)]
    assert state(sinks)["dead_letters"] == 2


def test_files_are_written_when_their_time_has_come(sinks: Client, tmp_path: Path) -> None:
    sync_ids(sinks, *(f"c{n}" for n in range(5)))
    file = {"kind": "file", "folder": "daily/x", "comments_per_file": 3}
    make_sink(sinks, "later", configuration={**file, "seconds_per_file": 3600})
    make_sink(sinks, "now", configuration={**file, "folder": "y", "seconds_per_file": 0})
    with Running(sinks):
        eventually(lambda: state(sinks, "now")["unread"] == 0)
    found = sorted((tmp_path / "out" / "y").iterdir())
    assert [one.read_bytes().count(b"\n") for one in found] == [3, 2]
    assert state(sinks, "later")["unread"] == 5, "its comments are not an hour old"
    assert not (tmp_path / "out" / "daily").exists()


def test_a_deleted_stream_takes_its_sinks_along(
    sinks: Client, db: Database, target: Target
) -> None:
    sync_ids(sinks, "c0")
    make_sink(sinks, configuration={"url": target.url})
    with Running(sinks):
        eventually(lambda: bool(attempts(sinks)))
        sinks.ok("DELETE", stream_path())
    with db.read() as tx:
        assert not tx.execute(sa.select(sink_table)).all()
