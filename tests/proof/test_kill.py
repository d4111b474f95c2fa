"""Servers killed in the middle of their work: what was acknowledged is there, nothing was passed.

In each round servers start over the same database, writers upload, consumers fetch and advance, and
after a moment the servers are killed with SIGKILL. What clients were told, and what they asked for
without an answer, is all that the checks go by:

- a comment that was acknowledged is there, with the content that was acknowledged, or a newer one
  that had been sent;
- a batch without an answer is there whole or not at all;
- a stream stands at or behind the last place that was acknowledged, at or before the last one that
  was asked for, and everything up to there had been delivered;
- what was acknowledged by an advance does not come again;
- at the end every stream is consumed, has delivered everything, and `verify` finds nothing.
"""

from __future__ import annotations

import contextlib
import http.client
import os
import random
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg
import pytest

from lodestream.actions.verify import verify
from lodestream.domain.places import parse_sequence_id
from lodestream.store.db import Database
from lodestream.store.dialect import database_url
from tests.proof.serving import Caller, Server

# For each database: most rounds, and the seconds after which no new one is begun.
ROUNDS = int(os.environ.get("LODESTREAM_TEST_KILL_ROUNDS", "100"))
SECONDS = float(os.environ.get("LODESTREAM_TEST_KILL_SECONDS", "120"))

SOURCES = ("DefaultProject/inbox", "DefaultProject/survey")
STREAMS = ("all", "team")
WRITERS = 3
BASE = "/api/v1/datasets/DefaultProject/support"
LONG_AGO = "A" * 32  # a sequence id of 1970
TEAM_A = {"user_properties": {"string:Team": {"one_of": ["A"]}}}
DEATHS = (OSError, http.client.HTTPException)


@dataclass
class Upload:
    """A batch as it was sent; `new` are the ids that were not there before."""

    text: str
    ids: list[str]
    new: list[str]
    answered: bool = False


@dataclass
class Writer:
    """A client that uploads to one source; no other one touches its ids."""

    number: int
    source: str
    source_id: str
    answers: int = 0
    count: int = 0
    uploads: list[Upload] = field(default_factory=list)  # of this round
    # What the text of each comment may be: the last one acknowledged, and those sent since.
    possible: dict[str, list[str]] = field(default_factory=dict)

    def work(self, port: int, chance: random.Random) -> None:
        """Upload batches of new comments, with updates of earlier ones among them."""
        with Caller(port) as caller:
            while True:
                self.upload(caller, chance)
                self.answers += 1

    def upload(self, caller: Caller, chance: random.Random) -> None:
        """Upload one batch."""
        self.count += 1
        new = [f"w{self.number}-{self.count}-{i}" for i in range(chance.randint(1, 30))]
        again = chance.sample(sorted(self.possible), min(len(self.possible), 5))
        text = f"upload {self.count} " + "x" * chance.randint(0, 2000)
        upload = Upload(text, [*new, *again], new)
        self.uploads.append(upload)
        for one in upload.ids:
            self.possible.setdefault(one, []).append(text)
        body = {"comments": [comment_json(one, text) for one in upload.ids]}
        reply = caller.ok("POST", f"/api/v1/sources/{self.source}/sync", body)
        assert (reply["new"], reply["updated"]) == (len(new), len(again))
        upload.answered = True
        for one in upload.ids:
            self.possible[one] = [text]


@dataclass
class Consumer:
    """A client that reads one stream."""

    stream: str
    answers: int = 0
    delivered: set[str] = field(default_factory=set)  # uids
    acknowledged: int = 0  # the last place whose advance was answered
    asked: int = 0  # the furthest place that an advance named
    checked: int = 0  # so many comments are known to be passed rightly

    @property
    def path(self) -> str:
        """The path of the stream."""
        return f"{BASE}/streams/{self.stream}"

    def work(self, port: int, chance: random.Random) -> None:
        """Fetch and advance, to the end of a batch or to somewhere inside."""
        with Caller(port) as caller:
            while True:
                self.turn(caller, chance.randint(1, 12), chance.random())
                self.answers += 1

    def turn(self, caller: Caller, size: int, how_far: float) -> bool:
        """Fetch a batch and advance into it; tell whether it reached to the end."""
        batch = caller.ok("POST", f"{self.path}/fetch", {"size": size})
        places = [parse_sequence_id(one["sequence_id"]) for one in batch["results"]]
        assert places == sorted(set(places))
        assert all(place > self.acknowledged for place in places), "passed, and came again"
        self.delivered.update(one["comment"]["uid"] for one in batch["results"])
        to = batch["sequence_id"]
        if places and how_far < 0.5:
            to = batch["results"][int(how_far * 2 * len(places))]["sequence_id"]
        self.asked = max(self.asked, parse_sequence_id(to))
        reply = caller.ok("POST", f"{self.path}/advance", {"sequence_id": to})
        assert parse_sequence_id(reply["sequence_id"]) == parse_sequence_id(to)
        self.acknowledged = parse_sequence_id(to)
        at_end: bool = batch["is_end_sequence"] and to == batch["sequence_id"]
        return at_end


@dataclass
class World:
    """What the clients know, from round to round."""

    writers: list[Writer]
    consumers: list[Consumer]
    texts: dict[str, str] = field(default_factory=dict)  # by uid, what was read last
    order: list[tuple[int, str]] = field(default_factory=list)  # place and uid
    rounds: int = 0
    uploads_in_doubt: int = 0
    advances_in_doubt: int = 0


def team_of(comment_id: str) -> str:
    return "AB"[int(comment_id.rpartition("-")[2]) % 2]


def comment_json(comment_id: str, text: str) -> dict[str, Any]:
    return {
        "id": comment_id,
        "timestamp": "2024-01-01T00:00:00Z",
        "messages": [{"body": {"text": text}}],
        "user_properties": {"string:Team": team_of(comment_id)},
    }


def text_of(comment: Any) -> str:
    text: str = comment["messages"][0]["body"]["text"]
    return text


def prepare(caller: Caller) -> World:
    """Make sources, a dataset and streams, and the clients that use them."""
    ids = {
        name: caller.ok("PUT", f"/api/v1/sources/{name}", {"source": {}})["source"]["id"]
        for name in SOURCES
    }
    caller.ok("PUT", BASE, {"dataset": {"source_ids": list(ids.values())}})
    for name in (*STREAMS, "audit"):
        definition = {"name": name, "comment_filter": TEAM_A if name == "team" else {}}
        caller.ok("PUT", f"{BASE}/streams", {"stream": definition})
    placed = [SOURCES[number % len(SOURCES)] for number in range(WRITERS)]
    writers = [Writer(number, source, ids[source]) for number, source in enumerate(placed)]
    consumers = [Consumer(name) for name in STREAMS]
    for one in consumers:
        one.acknowledged = one.asked = position_of(caller, one)
    return World(writers, consumers)


def position_of(caller: Caller, consumer: Consumer) -> int:
    """Return where a stream stands: an advance to long ago changes nothing, and tells."""
    reply = caller.ok("POST", f"{consumer.path}/advance", {"sequence_id": LONG_AGO})
    return parse_sequence_id(reply["sequence_id"])


def work_until_killed(world: World, servers: list[Server], chance: random.Random) -> None:
    """Let everybody work, kill the servers one after the other, and wait for the clients' end."""
    failures: list[BaseException] = []

    def until_death(
        work: Callable[[int, random.Random], None], port: int, chance: random.Random
    ) -> None:
        try:
            work(port, chance)
        except DEATHS:
            return
        except BaseException as error:  # told below
            failures.append(error)

    clients: list[Writer | Consumer] = [*world.writers, *world.consumers]
    threads = [
        threading.Thread(
            target=until_death,
            args=(client.work, servers[n % len(servers)].port, random.Random(chance.random())),
            daemon=True,
        )
        for n, client in enumerate(clients)
    ]
    answers = [client.answers for client in clients]
    for thread in threads:
        thread.start()
    # Mostly in full flight; now and then while the first requests are under way.
    until = time.monotonic() + (10 if chance.random() < 0.8 else 0)
    while time.monotonic() < until and not failures:
        if all(client.answers > n for client, n in zip(clients, answers, strict=True)):
            break
        time.sleep(0.005)
    for server in chance.sample(servers, len(servers)):
        time.sleep(chance.uniform(0.0, 0.25))
        server.check_alive()
        server.kill()
    for thread in threads:
        thread.join(60)
        assert not thread.is_alive(), "a client hangs"
    if failures:
        raise failures[0]


def check(world: World, caller: Caller) -> None:
    """Compare what is there with what the clients were told, and go on from there."""
    read_new(world, caller)
    for writer in world.writers:
        check_uploads(world, writer, caller)
    for consumer in world.consumers:
        check_position(world, consumer, position_of(caller, consumer))


def read_new(world: World, caller: Caller) -> None:
    """Read what was stored since the last round, by a stream that nobody else moves."""
    path, at_end = f"{BASE}/streams/audit", False
    while not at_end:
        batch = caller.ok("POST", f"{path}/fetch", {"size": 1024})
        for result in batch["results"]:
            uid = result["comment"]["uid"]
            assert uid not in world.texts, "stored twice"
            world.texts[uid] = text_of(result["comment"])
            world.order.append((parse_sequence_id(result["sequence_id"]), uid))
        caller.ok("POST", f"{path}/advance", {"sequence_id": batch["sequence_id"]})
        at_end = batch["is_end_sequence"]
    assert world.order == sorted(world.order)


def check_uploads(world: World, writer: Writer, caller: Caller) -> None:
    """Check the uploads of a round and settle what each comment is."""
    path = f"/api/v1/sources/{writer.source}/comments/"
    touched = {one for upload in writer.uploads for one in upload.ids}
    kept: dict[str, str | None] = {}
    for one in touched:
        uid = f"{writer.source_id}.{one}"
        if uid in world.texts:
            # Read again: the audit stream does not show what was updated.
            world.texts[uid] = text_of(caller.ok("GET", path + one)["comment"])
        kept[one] = world.texts.get(uid)
    for upload in writer.uploads:
        if upload.answered:
            assert None not in {kept[one] for one in upload.new}, "acknowledged, and lost"
        else:
            world.uploads_in_doubt += 1
            applied = {kept[one] == upload.text for one in upload.ids}
            assert len(applied) == 1, "an upload is there in part"
    for one in touched:
        text = kept[one]
        if text is None:
            del writer.possible[one]
        else:
            assert text in writer.possible[one], "content that nobody acknowledged"
            writer.possible[one] = [text]
    writer.uploads.clear()


def check_position(world: World, consumer: Consumer, now: int) -> None:
    """Check that a stream moved as it was told to, and passed nothing that it did not deliver."""
    assert now >= consumer.acknowledged, "an acknowledged advance is lost"
    assert now <= max(consumer.asked, consumer.acknowledged), "moved where nobody told it to"
    world.advances_in_doubt += consumer.asked > consumer.acknowledged
    while consumer.checked < len(world.order) and world.order[consumer.checked][0] <= now:
        _, uid = world.order[consumer.checked]
        if consumer.stream == "all" or team_of(uid) == "A":
            assert uid in consumer.delivered, "passed without being delivered"
        consumer.checked += 1
    consumer.acknowledged = consumer.asked = now


def connections(url: str) -> set[int]:
    """Return the process ids of a PostgreSQL database's other clients; SQLite has none."""
    if not url.startswith("postgresql"):
        return set()
    plain = database_url(url).set(drivername="postgresql").render_as_string(hide_password=False)
    query = """
        SELECT pid FROM pg_stat_activity WHERE datname = current_database()
        AND backend_type = 'client backend' AND pid <> pg_backend_pid()
    """
    with psycopg.connect(plain, autocommit=True) as connection:
        return {pid for (pid,) in connection.execute(query)}


def await_silence(url: str, before: set[int]) -> None:
    """Wait until the database is through with what the killed servers had asked for."""
    for _ in range(500):
        if connections(url) <= before:
            return
        time.sleep(0.01)
    raise AssertionError("the killed servers' connections do not end")


def run(folder: Path, url: str, *, rounds: int, seconds: float, seed: int) -> World:
    """Kill servers for some rounds; PostgreSQL is shared by two at a time."""
    chance = random.Random(seed)
    until = time.monotonic() + seconds
    before = connections(url)
    with Server.over(folder, url) as first, Caller(first.port) as caller:
        world = prepare(caller)
    while world.rounds < rounds and time.monotonic() < until:
        with contextlib.ExitStack() as stack:
            count = 1 if url.startswith("sqlite") else 2
            servers = [Server(folder, url) for _ in range(count)]
            for server in servers:
                stack.callback(server.kill)
            for server in servers:
                server.await_ready()
            with Caller(servers[0].port) as caller:
                check(world, caller)
            work_until_killed(world, servers, chance)
        await_silence(url, before)
        world.rounds += 1
    with Server.over(folder, url) as last, Caller(last.port) as caller:
        check(world, caller)
        for consumer in world.consumers:
            while not consumer.turn(caller, 1024, 1.0):
                pass
        check(world, caller)
    return world


def conclude(world: World, url: str, *, rounds: int) -> None:
    """Check what holds when everything was consumed."""
    for consumer in world.consumers:
        assert consumer.checked == len(world.order)
        assert consumer.delivered <= set(world.texts), "delivered what was never stored"
    db = Database(database_url(url))
    try:
        report = verify(db)
    finally:
        db.close()
    assert report.is_clean, report.findings
    assert report.comments == len(world.order)
    print(
        f"{world.rounds} rounds, {len(world.order)} comments; without an answer: "
        f"{world.uploads_in_doubt} uploads, {world.advances_in_doubt} advances"
    )
    assert world.rounds >= rounds, f"only {world.rounds} rounds in time"


def test_a_few_killed_servers_lose_nothing(db_url: str, tmp_path: Path) -> None:
    world = run(tmp_path, db_url, rounds=4, seconds=60, seed=1)
    conclude(world, db_url, rounds=2)


@pytest.mark.slow
def test_many_killed_servers_lose_nothing(db_url: str, tmp_path: Path) -> None:
    world = run(tmp_path, db_url, rounds=ROUNDS, seconds=SECONDS, seed=random.randrange(1000))
    conclude(world, db_url, rounds=min(ROUNDS, 10))
    assert world.uploads_in_doubt, "no upload was ever interrupted: nothing was proved"
