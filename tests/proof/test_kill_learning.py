"""Learners killed in the middle of their work: no half version is seen, and work is taken up.

In each round two learners start over the same database; meanwhile people label, comments come and
change, versions are pinned and attached to a stream; after a moment the learners are killed with
SIGKILL. After each round everything that can be seen is whole. At the end a learner comes to rest,
and what is kept equals what the models say of the texts as they are.
"""

from __future__ import annotations

import multiprocessing
import os
import random
import threading
import time
from pathlib import Path

import pytest

from lodestream.actions.predict import Predictor
from lodestream.domain.comments import comment_of
from lodestream.ml.artifact import load
from lodestream.ml.head import Head
from lodestream.ml.text import model_input
from lodestream.store import comments, derived, learning, models
from lodestream.store.db import Database
from lodestream.store.derived import PREDICTIONS, RENDERED, VECTORS
from lodestream.store.dialect import database_url
from lodestream.store.tables import learning as learning_table
from lodestream.worker.learner import LearnerLoop
from tests.build import make_comment, make_stream, stream_path, sync
from tests.client import Client
from tests.learning import EAGER, WORDS, install_tiny, label_hotel, learn, make_hotel

ROUNDS = int(os.environ.get("LODESTREAM_TEST_KILL_LEARNING_ROUNDS", "30"))

_CONTEXT = multiprocessing.get_context("forkserver")
# Loaded once, so that a learner begins at once.
_CONTEXT.set_forkserver_preload(["pytest", "lodestream.worker.learner", "lodestream.ml.head"])


def learn_for_ever(url: str, encoders: Path, log: str) -> None:
    """Be a learner process; what it logs goes into a file."""
    out = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(out, 2)
    LearnerLoop(Database(database_url(url)), encoders, threading.Event(), pace=EAGER).run()


def check_what_is_seen(db: Database, dataset_id: str) -> int:
    """Check that every version is whole; return the newest one's number."""
    with db.read() as tx:
        found = models.list_models(tx, dataset_id)
        for one in found:
            body = models.find_file(tx, one.key, "head")
            assert body is not None
            assert Head.from_arrays(*load(body)).labels == one.labels
            assert models.find_file(tx, one.key, "left_out") is not None
            assert one.validated == (models.statistics(tx, one.key) is not None)
        state = learning.find(tx, dataset_id)
    versions = [one.version for one in found]
    assert versions == sorted(set(versions), reverse=True)
    assert state is not None
    assert state.version == max(versions, default=0)
    return state.version


def do_something(client: Client, db: Database, dataset_id: str, chance: random.Random) -> None:
    """Label, upload, change, pin or attach."""
    what = chance.randrange(4)
    if what == 0:
        label_hotel(db, dataset_id, first=chance.randrange(8), each=2)
    elif what == 1:
        number = chance.randrange(10_000)
        sync(client, [make_comment(f"new-{number}", f"breakfast was {WORDS[number % 10]}")])
    elif what == 2:
        number = chance.randrange(10)
        sync(client, [make_comment(f"Food-{number}", f"so loud, {chance.random()}, no coffee")])
    else:
        with db.write() as tx:
            newest = models.find_newest(tx, dataset_id)
            if newest is not None:
                models.update(tx, newest.key, pinned=True)
        if newest is not None:
            shown = [{"name": ["Food"], "threshold": round(chance.random(), 2)}]
            model = {"version": newest.version, "label_thresholds": shown}
            client.ok("POST", stream_path(), {"stream": {"model": model}})


def check_what_is_kept(db: Database, dataset_id: str, encoders: Path) -> None:
    """Check that everything derived is there, and is what the models say of the present texts."""
    predictor = Predictor(db, encoders)
    with db.read() as tx:
        positions = derived.positions_of(tx, [k for k, _ in learning.sources_of(tx, dataset_id)])
        fronts = comments.read_fronts(tx, positions)
        texts = [model_input(comment_of(front)) for front in fronts.values()]
        active = models.active(tx, dataset_id)
        assert derived.changed(tx, limit=1) == []
        assert sorted(PREDICTIONS.owners(tx)) == sorted(one.key for one in active)
        for one in active:
            assert one.space is not None
            fresh = predictor.predict(one, texts)
            said = dict(zip(fronts, fresh, strict=True))
            assert PREDICTIONS.read(tx, one.key, positions) == said
            space = derived.find_space(tx, one.space)
            assert space is not None
            vectors = predictor.encode(one.space, texts)
            assert VECTORS.read(tx, space, positions) == dict(zip(fronts, vectors, strict=True))
        for key, model_key, thresholds in models.list_renderings(tx):
            model = next(one for one in active if one.key == model_key)
            scores = PREDICTIONS.read(tx, model_key, positions)
            suffixes = predictor.render(model, thresholds, list(scores.values()))
            shown = dict(zip(scores, suffixes, strict=True))
            assert RENDERED.read(tx, key, positions) == shown


def start(given: tuple[str, Path, str]) -> multiprocessing.process.BaseProcess:
    """Start a learner process."""
    learner = _CONTEXT.Process(target=learn_for_ever, args=given, daemon=True)
    learner.start()
    return learner


def time_of_a_version(
    db: Database, dataset_id: str, learner: multiprocessing.process.BaseProcess
) -> float:
    """Wait until a learner has made a version, then kill it; return the seconds it took.

    Kills have to meet a learner at its work, on a quick machine and on a busy one.
    """
    began = time.monotonic()
    while check_what_is_seen(db, dataset_id) == 0:
        assert time.monotonic() - began < 120, "no version was made"
        time.sleep(0.02)
    took_s = time.monotonic() - began
    learner.kill()
    learner.join(30)
    release_claims(db)
    return min(took_s, 8.0)


def run(client: Client, db: Database, db_url: str, folder: Path, *, rounds: int, seed: int) -> int:
    """Kill learners for some rounds; return the newest version."""
    chance = random.Random(seed)
    encoders = install_tiny(folder / "encoders")
    log = str(folder / "learner.log")
    dataset_id = make_hotel(client)
    make_stream(client)
    label_hotel(db, dataset_id)
    given = (db_url, encoders, log)
    took_s = time_of_a_version(db, dataset_id, start(given))
    for _ in range(rounds):
        learners = [start(given) for _ in range(2)]
        for _ in range(chance.randrange(1, 5)):
            time.sleep(chance.uniform(0.05, 0.6) * took_s)
            do_something(client, db, dataset_id, chance)
        for one in learners:
            assert one.is_alive(), Path(log).read_text()[-4000:]
            one.kill()
            one.join(30)
        check_what_is_seen(db, dataset_id)
        # A claim outlives its holder for half a minute; who comes next has to wait for it.
        release_claims(db)
    learn(db, encoders)
    version = check_what_is_seen(db, dataset_id)
    check_what_is_kept(db, dataset_id, encoders)
    return version


def release_claims(db: Database) -> None:
    """Let the claims of the dead run out."""
    with db.write() as tx:
        tx.execute(learning_table.update().values(claimed_until_us=0))


def test_a_few_killed_learners_leave_nothing_half_done(
    client: Client, db: Database, db_url: str, tmp_path: Path
) -> None:
    assert run(client, db, db_url, tmp_path, rounds=3, seed=1) >= 1


@pytest.mark.slow
def test_many_killed_learners_leave_nothing_half_done(
    client: Client, db: Database, db_url: str, tmp_path: Path
) -> None:
    seed = random.randrange(1000)
    print(f"seed {seed}")
    version = run(client, db, db_url, tmp_path, rounds=ROUNDS, seed=seed)
    print(f"{ROUNDS} rounds, {version} versions")
    assert version >= ROUNDS // 6
