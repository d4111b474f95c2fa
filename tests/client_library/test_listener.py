"""A listener never lets the stream pass what was not handled, and loses nothing."""

from __future__ import annotations

import itertools
import json
import threading
from collections.abc import Iterator
from contextlib import suppress
from typing import Any, Literal

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lodestream.client import Client, NotFound, Refused
from lodestream.client import listener as listening
from tests.client import Client as AppClient
from tests.client_library.carriers import AppTransport
from tests.conftest import ROOT_TOKEN

NAME = "acme/support/claims"
PATH = "/api/v1/datasets/acme/support/streams/claims"
COUNT = 36


class Broken(Exception):
    """A handler failed."""


def fill(app: AppClient) -> list[str]:
    """Store comments of which two in three match a stream; return the ids of those."""
    source = app.ok("PUT", "/api/v1/sources/acme/inbox", {"source": {}})["source"]["id"]
    dataset = {"dataset": {"source_ids": [source]}}
    app.ok("PUT", "/api/v1/datasets/acme/support", dataset)
    wanted = {"user_properties": {"string:Team": {"one_of": ["Claims"]}}}
    stream = {"stream": {"name": "claims", "comment_filter": wanted}}
    app.ok("PUT", "/api/v1/datasets/acme/support/streams", stream)
    comments = [
        {
            "id": f"m{number:02}",
            "timestamp": "2024-01-01T00:00:00Z",
            "messages": [{"body": {"text": f"text {number}"}}],
            "user_properties": {"string:Team": "Sales" if number % 3 == 2 else "Claims"},
        }
        for number in range(COUNT)
    ]
    app.ok("POST", "/api/v1/sources/acme/inbox/sync", {"comments": comments})
    return [f"m{number:02}" for number in range(COUNT) if number % 3 != 2]


class Watched:
    """A client that checks at every advance that nothing unhandled is passed."""

    def __init__(self, app: AppClient) -> None:
        self.wanted = fill(app)
        self.handled: list[str] = []
        self.advances = 0
        self.ahead = 0
        self.tags: list[Any] = []
        self.passed: set[str] = set()
        self._lock = threading.Lock()
        self._app = app
        self.client = Client("http://test", ROOT_TOKEN, transport=AppTransport(app, self._see))

    def restart(self) -> None:
        """Forget everything and begin again."""
        self.handled.clear()
        self.advances = 0
        body = {"to_comment_created_at": "2000-01-01T00:00:00Z"}
        self._app.ok("POST", f"{PATH}/reset", body)

    def left(self) -> list[str]:
        """Return the ids of what stands behind the stream's position."""
        body = {"size": 1024, "max_filtered": 1024}
        found = self._app.ok("POST", f"{PATH}/fetch", body)["results"]
        return [result["comment"]["id"] for result in found]

    def _see(self, method: str, path: str, body: bytes) -> None:
        if path.endswith("/exceptions"):
            self.tags.append(json.loads(body))
        if not path.endswith("/advance"):
            return
        # One at a time: between the look at what is handled and the look at what is passed, no
        # other thread must advance.
        with self._lock:
            self.advances += 1
            self.ahead += threading.current_thread().name == "lodestream-prefetch"
            handled = set(self.handled)
            self._app.ok("POST", path, json.loads(body))
            self.passed |= set(self.wanted) - set(self.left()) - handled


@pytest.fixture
def watched(client: AppClient) -> Watched:
    return Watched(client)


class SlowHandlers:
    """A clock by which everything takes longer than what was before it."""

    def __init__(self) -> None:
        self._steps = itertools.accumulate(itertools.count(1))

    def perf_counter(self) -> float:
        return float(next(self._steps))


@pytest.fixture
def slow(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make fetching ahead worth while, always."""
    monkeypatch.setattr(listening, "time", SlowHandlers())


Outcome = Literal["handled", "fails", "tagged", "break", "done and break", "stop"]
OUTCOMES = st.sampled_from(["handled"] * 8 + ["fails", "tagged", "break", "done and break", "stop"])


@settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(
    outcomes=st.lists(OUTCOMES, max_size=60),
    size=st.integers(1, 40),
    advance=st.sampled_from(["batch", "comment"]),
    predictions=st.sampled_from(["labels", "fields"]),
    prefetch=st.booleans(),
    managed=st.booleans(),
)
def test_whatever_handlers_do_nothing_unhandled_is_passed_and_nothing_is_lost(
    watched: Watched,
    slow: None,
    outcomes: list[Outcome],
    size: int,
    advance: Any,
    predictions: Any,
    prefetch: bool,
    managed: bool,
) -> None:
    watched.restart()
    coming = iter(outcomes)
    for _ in range(len(outcomes) + 1):
        # One life of a consumer after the other, each as long as its handlers let it live.
        listener = watched.client.stream(NAME).listen(
            size=size,
            advance=advance,
            predictions=predictions,
            prefetch=prefetch,
            until_end=True,
            poll_s=0,
        )
        with suppress(Broken):
            if managed:
                with listener:
                    consume(listener, coming, watched.handled)
            else:
                consume(listener, coming, watched.handled)
        if not watched.left():
            break

    assert not watched.passed
    assert watched.left() == []
    assert sorted(set(watched.handled)) == watched.wanted
    first = list(dict.fromkeys(watched.handled))
    assert first == watched.wanted, "not in order"


def consume(listener: Any, coming: Iterator[Outcome], handled: list[str]) -> None:
    for result in listener:
        outcome = next(coming, "handled")
        if outcome == "fails":
            raise Broken
        if outcome == "break":
            return
        if outcome == "tagged":
            with listener.guard("Unreadable"):
                raise Broken
        # What counts as handled does so from here on, and not before.
        handled.append(result.id)
        if outcome == "done and break":
            listener.done()
            return
        if outcome == "stop":
            listener.stop()


def test_a_batch_is_fetched_ahead_and_nothing_comes_twice(watched: Watched, slow: None) -> None:
    watched.restart()

    for result in watched.client.stream(NAME).listen(size=12, until_end=True):
        watched.handled.append(result.id)

    assert watched.ahead >= 2
    assert watched.handled == watched.wanted
    assert not watched.passed


def test_quick_handlers_are_not_fetched_ahead_for(watched: Watched) -> None:
    watched.restart()

    for result in watched.client.stream(NAME).listen(size=12, until_end=True):
        watched.handled.append(result.id)

    assert watched.ahead == 0
    assert watched.handled == watched.wanted


def test_advancing_by_comment_leaves_at_most_one_to_come_again(watched: Watched) -> None:
    watched.restart()
    for result in watched.client.stream(NAME).listen(advance="comment", until_end=True):
        watched.handled.append(result.id)
        if len(watched.handled) == 5:
            # As seen by somebody else while the fifth is being handled.
            assert watched.left()[0] == watched.wanted[4]

    assert watched.advances >= len(watched.wanted)


def test_whole_batches_are_advanced_when_the_next_is_asked_for(watched: Watched) -> None:
    watched.restart()
    sizes = []
    for batch in watched.client.stream(NAME).listen(size=10, until_end=True).batches():
        sizes.append(len(batch))
        assert watched.left()[0] == batch[0].id
        watched.handled += [result.id for result in batch]

    assert watched.handled == watched.wanted
    assert not watched.passed
    assert max(sizes) <= 10
    assert watched.left() == []


def test_a_failure_is_tagged_if_asked_and_comes_again(watched: Watched) -> None:
    watched.restart()
    stream = watched.client.stream(NAME)

    def work() -> None:
        with stream.listen(tag_failures=True) as results:
            for result in results:
                if result.id == "m03":
                    raise Broken

    with pytest.raises(Broken):
        work()

    assert watched.left()[0] == "m03"
    uid = stream.fetch(1).results[0].uid
    assert watched.tags == [{"exceptions": [{"uid": uid, "metadata": {"type": "Broken"}}]}]


def test_a_guarded_failure_that_cannot_be_tagged_goes_on(
    watched: Watched, client: AppClient
) -> None:
    watched.restart()

    def work() -> None:
        with watched.client.stream(NAME).listen() as results:
            for result in results:
                path = f"/api/v1/sources/acme/inbox/comments?id={result.id}"
                client.ok("DELETE", path)
                with results.guard():
                    raise Broken

    with pytest.raises(NotFound):
        work()

    assert watched.advances == 0


def test_a_refused_fetch_ends_the_loop_with_the_refusal(watched: Watched) -> None:
    with pytest.raises(Refused) as refused:
        list(watched.client.stream("acme/support/nothing").listen())

    assert refused.value.status == 404


def test_stop_from_another_thread_ends_the_wait(watched: Watched) -> None:
    listener = watched.client.stream(NAME).listen(poll_s=60)
    threading.Timer(0.2, listener.stop).start()

    got = [result.id for result in listener if not listener.stopped]

    assert got == watched.wanted
    assert listener.stopped
