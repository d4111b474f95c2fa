"""Streams against a model of them: whatever is done in whatever order, both agree.

The model is a list of comments in order and a place for each stream. It knows nothing of how the
server works; after every step what the server says is compared with what the model says, to the
last detail: which comments, in which order, with which content, how many were passed over, whether
anything follows, and that the id of a comment is the same every time it is seen.
"""

from __future__ import annotations

import base64
import itertools
from collections.abc import Sequence
from dataclasses import dataclass, field

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    precondition,
    rule,
    run_state_machine_as_test,
)

from lodestream.domain.times import format_us, now_us, parse_us
from tests import build
from tests.build import Json
from tests.client import Client

Place = tuple[int, int]  # instant in microseconds, number of the comment (-1: before all of it)

SOURCES = ("inbox", "survey", "chat")
DATASETS = {"support": SOURCES, "sales": ("survey",)}
STREAMS = ("support/one", "support/two", "sales/one")
TEAMS = ("A", "B")
FAR_FUTURE = "2099-12-31T23:59:59Z"

_worlds = itertools.count(1)


@dataclass
class Stored:
    """A comment, once it was stored; the number tells the order."""

    number: int
    source: str
    id: str
    team: str
    text: str
    created_us: int = 0
    deleted: bool = False
    sequence_id: str | None = None

    @property
    def place(self) -> Place:
        return self.created_us, self.number


@dataclass
class Cursor:
    """A stream: where it stands and which team it passes (None: everybody)."""

    place: Place
    team: str | None


@dataclass
class Model:
    """What a server that does everything right would hold."""

    log: list[Stored] = field(default_factory=list)
    members: dict[str, tuple[str, ...]] = field(default_factory=dict)
    streams: dict[str, Cursor] = field(default_factory=dict)

    def current(self, source: str) -> dict[str, Stored]:
        return {one.id: one for one in self.log if one.source == source and not one.deleted}

    def after(self, dataset: str, place: Place) -> list[Stored]:
        members = self.members[dataset]
        return [
            one
            for one in self.log
            if one.source in members and not one.deleted and one.place > place
        ]

    def batch(
        self, name: str, size: int, most: int | None
    ) -> tuple[list[Stored], int, Place, bool]:
        """Results, how many were passed over, the place of the end, whether nothing follows."""
        cursor = self.streams[name]
        standing = self.after(name.partition("/")[0], cursor.place)
        taken: list[Stored] = []
        skipped, end = 0, cursor.place
        for one in standing:
            if len(taken) == size or skipped == most:
                break
            end = one.place
            if cursor.team in (None, one.team):
                taken.append(one)
            else:
                skipped += 1
        return taken, skipped, end, len(taken) + skipped == len(standing)


sizes = st.integers(1, 12) | st.just(1024)
bounds = st.none() | st.integers(1, 6)
uploads = st.lists(
    st.tuples(st.integers(0, 7), st.sampled_from(TEAMS), st.sampled_from(["x", "y"])),
    min_size=1,
    max_size=6,
)
names = st.sampled_from(STREAMS)
sources = st.sampled_from(SOURCES)


class StreamMachine(RuleBasedStateMachine):
    """Drives one server and the model side by side. Every run has sources of its own."""

    def __init__(self, client: Client) -> None:
        super().__init__()
        self.client = client
        self.model = Model()
        self.prefix = f"w{next(_worlds)}"
        # Every id that the server ever gave away, and where it points.
        self.known: list[tuple[str, Place]] = []
        self.owner: dict[str, str] = {}  # by the ids of sources

    # --- names

    def source(self, name: str) -> str:
        return f"acme/{self.prefix}-{name}"

    def dataset(self, name: str) -> str:
        return f"acme/{self.prefix}-{name}"

    def stream(self, name: str) -> str:
        dataset, _, last = name.partition("/")
        return f"{self.dataset(dataset)}/{last}"

    # --- the world changes

    @initialize()
    def begin(self) -> None:
        for name in SOURCES:
            self.make_source(name)
        for name, members in DATASETS.items():
            full_names = [self.source(one) for one in members]
            build.make_dataset(self.client, self.dataset(name), sources=full_names)
            self.model.members[name] = members
        for name in STREAMS[:2]:
            self.create(name, None)

    def make_source(self, name: str) -> None:
        self.owner[build.make_source(self.client, self.source(name))["id"]] = self.source(name)

    @rule(name=sources, batch=uploads)
    def sync(self, name: str, batch: list[tuple[int, str, str]]) -> None:
        current = self.model.current(name)
        last = {f"c{number}": (team, text) for number, team, text in batch}
        fresh = [one for one in last if one not in current]
        changed = [
            one
            for one, content in last.items()
            if one in current and (current[one].team, current[one].text) != content
        ]
        comments = [
            build.make_comment(f"c{number}", text, **build.team(team))
            for number, team, text in batch
        ]
        reply = build.sync(self.client, comments, self.source(name))
        assert (reply["new"], reply["updated"]) == (len(fresh), len(changed))
        assert reply["unchanged"] == len(last) - len(fresh) - len(changed)
        for one in changed:
            current[one].team, current[one].text = last[one]
        for one in fresh:
            team, text = last[one]
            stored = Stored(len(self.model.log), name, one, team, text)
            path = f"{build.source_path(self.source(name))}/comments/{one}"
            comment = self.client.ok("GET", path)["comment"]
            stored.created_us = parse_us(comment["created_at"])
            if self.model.log:
                assert stored.created_us >= self.model.log[-1].created_us
            self.model.log.append(stored)

    @rule(name=sources, numbers=st.lists(st.integers(0, 7), min_size=1, max_size=4))
    def delete(self, name: str, numbers: list[int]) -> None:
        ids = [f"c{number}" for number in numbers]
        build.delete_ids(self.client, *ids, source=self.source(name))
        current = self.model.current(name)
        for one in ids:
            if one in current:
                current[one].deleted = True

    @rule(name=sources)
    def delete_source_and_make_it_again(self, name: str) -> None:
        path = build.source_path(self.source(name))
        source_id = self.client.ok("GET", path)["source"]["id"]
        self.client.ok("DELETE", f"/api/v1/sources/id:{source_id}")
        self.make_source(name)
        for stored in self.model.current(name).values():
            stored.deleted = True
        for dataset, members in self.model.members.items():
            self.model.members[dataset] = tuple(one for one in members if one != name)

    @rule(name=st.sampled_from(sorted(DATASETS)), members=st.lists(sources, unique=True))
    def change_sources(self, name: str, members: list[str]) -> None:
        full_names = [self.source(one) for one in members]
        build.set_sources(self.client, self.dataset(name), full_names)
        self.model.members[name] = tuple(members)

    # --- streams come, change and go

    @rule(name=names, team=st.none() | st.sampled_from(TEAMS))
    def create(self, name: str, team: str | None) -> None:
        if name in self.model.streams:
            body = {"stream": {"name": name.partition("/")[2]}}
            path = build.dataset_path(self.dataset(name.partition("/")[0])) + "/streams"
            assert self.client.put(path, body).status == 409
            return
        stream = build.make_stream(self.client, self.stream(name), comment_filter=self.filter(team))
        place = (parse_us(stream["created_at"]), -1)
        newest = max(one.place for one in self.model.log) if self.model.log else place
        self.model.streams[name] = Cursor(max(place, newest), team)

    @rule(name=names)
    def delete_stream(self, name: str) -> None:
        there = self.model.streams.pop(name, None) is not None
        answer = self.client.delete(build.stream_path(self.stream(name)))
        assert answer.status == (200 if there else 404)

    @rule(name=names, team=st.none() | st.sampled_from(TEAMS))
    def change_filter(self, name: str, team: str | None) -> None:
        body = {"stream": {"comment_filter": self.filter(team)}}
        answer = self.client.post(build.stream_path(self.stream(name)), body)
        if name in self.model.streams:
            assert answer.status == 200
            self.model.streams[name].team = team
        else:
            assert answer.status == 404

    @staticmethod
    def filter(team: str | None) -> Json:
        return {} if team is None else build.only_team(team)

    # --- consumers

    @rule(name=names, size=sizes, most=bounds)
    def fetch(self, name: str, size: int, most: int | None) -> None:
        body: Json = {"size": size} if most is None else {"size": size, "max_filtered": most}
        answer = self.client.post(build.stream_path(self.stream(name)) + "/fetch", body)
        if name not in self.model.streams:
            assert answer.status == 404
            return
        batch = answer.json
        self.compare(name, size, most, batch["results"], "sequence_id", batch)
        _, skipped, _, at_end = self.model.batch(name, size, most)
        assert (batch["filtered"], batch["is_end_sequence"]) == (skipped, at_end)

    @rule(name=names, size=sizes, most=bounds)
    def results(self, name: str, size: int, most: int | None) -> None:
        query = f"max_results={size}" if most is None else f"max_results={size}&max_filtered={most}"
        answer = self.client.get(f"{build.stream_path(self.stream(name))}/results?{query}")
        if name not in self.model.streams:
            assert answer.status == 404
            return
        batch = answer.json
        self.compare(name, size, most, batch["results"], "continuation", batch)
        _, skipped, _, at_end = self.model.batch(name, size, most)
        assert (batch["num_filtered"], batch["more_results"]) == (skipped, not at_end)

    def compare(
        self, name: str, size: int, most: int | None, shown: list[Json], key: str, batch: Json
    ) -> None:
        expected, _, end, _ = self.model.batch(name, size, most)
        assert [self.told(one["comment"]) for one in shown] == [
            (self.source(one.source), one.id, one.team, one.text, format_us(one.created_us))
            for one in expected
        ]
        for stored, result in zip(expected, shown, strict=True):
            if stored.sequence_id is None:
                stored.sequence_id = result[key]
                self.known.append((result[key], stored.place))
            assert stored.sequence_id == result[key], "the id of a comment has changed"
        orders = [order_of(one[key]) for one in shown]
        assert all(one < other for one, other in itertools.pairwise(orders))
        self.known.append((batch[key], end))

    def told(self, comment: Json) -> tuple[str, ...]:
        return (
            self.owner[comment["source_id"]],
            comment["id"],
            comment["user_properties"]["string:Team"],
            comment["messages"][0]["body"]["text"],
            comment["created_at"],
        )

    @precondition(lambda self: self.known)
    @rule(name=names, data=st.data())
    def advance_to_a_known_place(self, name: str, data: st.DataObject) -> None:
        """Of this stream or another, of an item or a batch, new or stale, deleted or not."""
        places = self.known[-12:] + self.known[:4]
        text, place = places[data.draw(st.integers(0, len(places) - 1))]
        self.advance(name, text, place)

    @rule(name=names, size=sizes, individually=st.booleans())
    def consume(self, name: str, size: int, individually: bool) -> None:
        """What a consumer does with one batch."""
        if name not in self.model.streams:
            return
        batch = build.fetch(self.client, self.stream(name), size)
        expected, _, end, _ = self.model.batch(name, size, None)
        if individually:
            pairs = list(zip(expected, batch["results"], strict=True))
            for stored, result in pairs:
                self.advance(name, result["sequence_id"], stored.place)
            for stored, result in pairs[:1]:
                self.advance(name, result["sequence_id"], stored.place)  # stale, unless alone
        self.advance(name, batch["sequence_id"], end)

    @rule(name=names, data=st.data())
    def advance_to_a_place_in_time(self, name: str, data: st.DataObject) -> None:
        """An id of another server: the place before everything of that millisecond."""
        instants = [0, now_us() - 10**6] + [one.created_us for one in self.model.log[-4:]]
        millis = instants[data.draw(st.integers(0, len(instants) - 1))] // 1000
        key = data.draw(st.sampled_from([bytes(16), b"\xff" * 16]))
        text = base64.b64encode(millis.to_bytes(8, "little") + key).decode()
        self.advance(name, text, (millis * 1000, -1))

    @rule(name=names, ahead_s=st.sampled_from([60, 10**9]))
    def advance_into_the_future(self, name: str, ahead_s: int) -> None:
        millis = now_us() // 1000 + ahead_s * 1000
        text = base64.b64encode(millis.to_bytes(8, "little") + bytes(16)).decode()
        answer = build.try_advance(self.client, text, self.stream(name))
        cursor = self.model.streams.get(name)
        if cursor is None:
            assert answer.status == 404
        elif cursor.place < (millis * 1000, -1):
            assert answer.status == 400
        else:
            assert answer.status == 200

    def advance(self, name: str, text: str, place: Place) -> None:
        answer = build.try_advance(self.client, text, self.stream(name))
        cursor = self.model.streams.get(name)
        if cursor is None:
            assert answer.status == 404
        elif place[0] > now_us() and place > cursor.place:
            # Only the id of a stream that was reset into the future leads there.
            assert answer.status == 400
        else:
            assert answer.status == 200, answer.content
            now = answer.json["sequence_id"]
            if place > cursor.place:
                assert now == text
            else:
                assert order_of(now)[0] >= order_of(text)[0]
                assert now != text or place == cursor.place
            cursor.place = max(cursor.place, place)

    @rule(name=names, data=st.data())
    def reset(self, name: str, data: st.DataObject) -> None:
        instants = ["2020-01-01T00:00:00", FAR_FUTURE]
        instants += [format_us(one.created_us) for one in self.model.log[-8:]]
        instant = instants[data.draw(st.integers(0, len(instants) - 1))]
        body = {"to_comment_created_at": instant}
        answer = self.client.post(build.stream_path(self.stream(name)) + "/reset", body)
        if name not in self.model.streams:
            assert answer.status == 404
            return
        assert answer.status == 200
        place = (parse_us(instant), -1)
        self.model.streams[name].place = place
        self.known.append((answer.json["sequence_id"], place))

    def teardown(self) -> None:
        """Every stream, consumed to its end, delivers just what the model says is left."""
        for name, cursor in self.model.streams.items():
            left = self.model.after(name.partition("/")[0], cursor.place)
            wanted = [one.id for one in left if cursor.team in (None, one.team)]
            seen: list[str] = []
            for _ in range(len(left) + 2):
                batch = build.fetch(self.client, self.stream(name), 3)
                seen += build.ids_of(batch)
                build.advance(self.client, batch["sequence_id"], self.stream(name))
                if batch["is_end_sequence"]:
                    break
            assert seen == wanted
            rest = build.fetch(self.client, self.stream(name))
            assert (rest["results"], rest["filtered"]) == ([], 0)


def order_of(text: str) -> tuple[int, bytes]:
    """What the contract compares of an id: milliseconds, then bytes."""
    raw = base64.b64decode(text, validate=True)
    return int.from_bytes(raw[:8], "little"), raw[8:]


def run(client: Client, *, runs: int, steps: int, phases: Sequence[Phase]) -> None:
    run_state_machine_as_test(
        lambda: StreamMachine(client),
        settings=settings(
            max_examples=runs,
            stateful_step_count=steps,
            phases=phases,
            deadline=None,
            print_blob=True,
            suppress_health_check=list(HealthCheck),
        ),
    )


def test_streams_do_what_their_model_does(client: Client) -> None:
    # A failure is told as it was found; to make it small takes minutes.
    run(client, runs=15, steps=25, phases=[Phase.reuse, Phase.generate])


@pytest.mark.slow
def test_streams_do_what_their_model_does_for_long(client: Client) -> None:
    run(client, runs=60, steps=50, phases=[Phase.reuse, Phase.generate, Phase.shrink])
