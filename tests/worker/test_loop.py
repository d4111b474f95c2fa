"""The loop of background work."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
import sqlalchemy as sa

from lodestream.domain.errors import Conflict
from lodestream.store import jobs
from lodestream.store.blobs import BlobStore
from lodestream.store.db import Database
from lodestream.store.tables import job
from lodestream.worker.jobs import HANDLERS, Handler, Work
from lodestream.worker.loop import Pace, Worker

PACE = Pace(poll_s=0.01, lease_s=60, first_pause_s=100)


def make_worker(
    db: Database, tmp_path: Path, handlers: Mapping[str, Handler], *, pace: Pace = PACE
) -> Worker:
    return Worker(db, BlobStore(tmp_path), threading.Event(), handlers=handlers, pace=pace)


def enqueue(db: Database, kind: str, payload: object = None, *, due_us: int | None = None) -> None:
    with db.write(catalogue=False) as tx:
        jobs.enqueue(tx, kind, payload, due_us=due_us)


def rows(db: Database) -> list[sa.Row[tuple[object, ...]]]:
    with db.read() as tx:
        return list(tx.execute(sa.select(job).order_by(job.c.id)))


def make_due(db: Database) -> None:
    with db.write(catalogue=False) as tx:
        tx.execute(sa.update(job).values(due_us=0))


def eventually(holds: Callable[[], bool]) -> None:
    until = time.monotonic() + 10
    while not holds():
        assert time.monotonic() < until, "it did not happen"
        time.sleep(0.01)


def test_jobs_run_in_the_order_in_which_they_came_due_and_are_gone(
    db: Database, tmp_path: Path
) -> None:
    ran: list[bytes] = []
    worker = make_worker(db, tmp_path, {"note": lambda work: ran.append(work.payload)})
    enqueue(db, "note", 1)
    enqueue(db, "note", 2, due_us=5)
    enqueue(db, "note", 3, due_us=1 << 60)
    while worker.run_one():
        pass
    assert ran == [b"2", b"1"]
    assert [row.payload for row in rows(db)] == ["3"]


def test_a_job_that_fails_comes_back_later_and_later(db: Database, tmp_path: Path) -> None:
    def refuse(_work: Work) -> None:
        raise Conflict("not now")

    worker = make_worker(db, tmp_path, {"bad": refuse})
    enqueue(db, "bad")
    pauses = []
    for attempt in (1, 2, 3):
        before = time.time()
        assert worker.run_one()
        (row,) = rows(db)
        assert (row.attempts, row.error, row.claimed_by) == (attempt, "not now", None)
        pauses.append(row.due_us / 1e6 - before)
        assert not worker.run_one()
        make_due(db)
    assert 75 <= pauses[0] <= 101
    assert 150 <= pauses[1] <= 201
    assert 300 <= pauses[2] <= 401


def test_what_an_unexpected_failure_says_is_not_kept(db: Database, tmp_path: Path) -> None:
    def stumble(_work: Work) -> None:
        raise ValueError("the text of a comment")

    enqueue(db, "bad")
    assert make_worker(db, tmp_path, {"bad": stumble}).run_one()
    assert rows(db)[0].error == "ValueError"


def test_an_unknown_kind_is_kept_for_a_program_that_knows_it(db: Database, tmp_path: Path) -> None:
    enqueue(db, "from-the-future")
    assert make_worker(db, tmp_path, {}).run_one()
    (row,) = rows(db)
    assert row.error == "no such kind of job: from-the-future"


def test_a_job_may_ask_to_run_again(db: Database, tmp_path: Path) -> None:
    enqueue(db, "tidy")
    assert make_worker(db, tmp_path, {"tidy": lambda _work: 3600.0}).run_one()
    (row,) = rows(db)
    assert row.attempts == 0
    assert 3500 < row.due_us / 1e6 - time.time() <= 3600


def test_a_job_is_run_by_one_worker_at_a_time(db: Database, tmp_path: Path) -> None:
    inside, go_on = threading.Event(), threading.Event()

    def wait(_work: Work) -> None:
        inside.set()
        assert go_on.wait(10)

    enqueue(db, "long")
    first, second = (make_worker(db, tmp_path, {"long": wait}) for _ in range(2))
    thread = threading.Thread(target=first.run_one)
    thread.start()
    assert inside.wait(10)
    assert not second.run_one()
    go_on.set()
    thread.join()
    assert rows(db) == []


def test_a_job_whose_worker_died_is_taken_up_by_another(db: Database, tmp_path: Path) -> None:
    enqueue(db, "note", 1)
    with db.write(catalogue=False) as tx:
        assert jobs.claim(tx, worker="dead", lease_s=60) is not None
    ran: list[bytes] = []
    worker = make_worker(db, tmp_path, {"note": lambda work: ran.append(work.payload)})
    assert not worker.run_one()
    with db.write(catalogue=False) as tx:
        tx.execute(sa.update(job).values(claimed_until_us=1))
    assert worker.run_one()
    assert ran == [b"1"]


def test_the_lease_of_a_running_job_is_extended(db: Database, tmp_path: Path) -> None:
    ends: list[int] = []

    def long(_work: Work) -> None:
        first = rows(db)[0].claimed_until_us
        eventually(lambda: rows(db)[0].claimed_until_us > first)
        ends.append(first)

    enqueue(db, "long")
    assert make_worker(db, tmp_path, {"long": long}, pace=Pace(lease_s=0.3)).run_one()
    assert len(ends) == 1
    assert rows(db) == []


def test_a_worker_that_lost_its_job_stops_and_leaves_it_alone(db: Database, tmp_path: Path) -> None:
    def rob(work: Work) -> None:
        with db.write(catalogue=False) as tx:
            tx.execute(sa.update(job).values(claimed_by="thief"))
        assert work.lost.wait(10)
        work.go_on()

    enqueue(db, "long")
    assert make_worker(db, tmp_path, {"long": rob}, pace=Pace(lease_s=0.3)).run_one()
    (row,) = rows(db)
    assert (row.claimed_by, row.attempts) == ("thief", 1)


def test_a_stopped_worker_gives_its_job_back(db: Database, tmp_path: Path) -> None:
    stop, inside = threading.Event(), threading.Event()

    def long(work: Work) -> None:
        inside.set()
        assert work.stop.wait(10)
        work.go_on()

    worker = Worker(db, BlobStore(tmp_path), stop, handlers={"long": long}, pace=PACE)
    thread = threading.Thread(target=worker.run)
    enqueue(db, "long")
    thread.start()
    assert inside.wait(10)
    stop.set()
    thread.join(10)
    assert not thread.is_alive()
    (row,) = [row for row in rows(db) if row.kind == "long"]
    assert (row.claimed_by, row.claimed_until_us, row.attempts) == (None, None, 0)


def test_periodic_jobs_are_planned_once_however_many_workers_start(
    db: Database, tmp_path: Path
) -> None:
    stop = threading.Event()
    ran: list[int] = []

    def tidy(_work: Work) -> float:
        ran.append(1)
        return 3600.0

    workers = [
        Worker(db, BlobStore(tmp_path), stop, handlers={"collect_files": tidy}, pace=PACE)
        for _ in range(2)
    ]
    for worker in workers:
        thread = threading.Thread(target=worker.run)
        thread.start()
        eventually(lambda: bool(ran))
        stop.set()
        thread.join(10)
        stop.clear()
    assert [row.kind for row in rows(db)] == ["collect_files"]
    assert ran == [1]


@pytest.mark.parametrize("kind", ["purge_source", "collect_files"])
def test_every_kind_that_is_enqueued_has_a_handler(kind: str) -> None:
    assert kind in HANDLERS


def test_jobs_are_counted_by_kind_and_state(db: Database) -> None:
    enqueue(db, "a")
    enqueue(db, "a")
    enqueue(db, "b", due_us=1 << 60)
    with db.write(catalogue=False) as tx:
        claimed = jobs.claim(tx, worker="w", lease_s=60)
        assert claimed is not None
    with db.read() as tx:
        a, b = jobs.count_by_kind(tx)
    assert (a.kind, a.waiting, a.running, a.failing) == ("a", 1, 1, 0)
    assert a.oldest_due_us is not None
    assert (b.kind, b.waiting, b.running, b.failing, b.oldest_due_us) == ("b", 1, 0, 0, None)
    with db.write(catalogue=False) as tx:
        jobs.postpone(tx, claimed.id, worker="w", delay_s=9, error="x")
    with db.read() as tx:
        a = jobs.count_by_kind(tx)[0]
    assert (a.waiting, a.running, a.failing) == (2, 0, 1)
