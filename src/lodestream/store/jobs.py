"""Jobs: work that a change causes, enqueued in the change's own transaction."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import msgspec
import sqlalchemy as sa

from lodestream.domain.times import now_us
from lodestream.store.db import Reader, Writer
from lodestream.store.tables import job


@dataclass(frozen=True, slots=True)
class Job:
    """A claimed job; `payload` is its JSON, `attempts` counts this one too."""

    id: int
    kind: str
    payload: bytes
    attempts: int


@dataclass(frozen=True, slots=True)
class JobCount:
    """The jobs of one kind: how many there are, are running and have failed at least once.

    `oldest_due_us` is when the one that has been due longest came due; None if none is due.
    """

    kind: str
    waiting: int
    running: int
    failing: int
    oldest_due_us: int | None


def enqueue(tx: Writer, kind: str, payload: object, *, due_us: int | None = None) -> None:
    """Add a job, due at once unless told otherwise."""
    tx.execute(
        sa.insert(job).values(
            kind=kind,
            payload=msgspec.json.encode(payload).decode(),
            due_us=now_us() if due_us is None else due_us,
            attempts=0,
        )
    )


def exists(tx: Reader, kind: str) -> bool:
    """Tell whether there is a job of this kind, due or not."""
    return tx.execute(sa.select(job.c.id).where(job.c.kind == kind).limit(1)).first() is not None


def payloads(tx: Reader, kind: str) -> list[bytes]:
    """Return the payloads of all jobs of a kind that are not done, the oldest first."""
    query = sa.select(job.c.payload).where(job.c.kind == kind).order_by(job.c.id)
    return [payload.encode() for payload in tx.execute(query).scalars()]


def any_due(tx: Reader) -> bool:
    """Tell whether a job could be claimed now."""
    return tx.execute(_claimable(now_us())).first() is not None


def _claimable(now: int) -> sa.Select[tuple[int]]:
    free = sa.or_(job.c.claimed_until_us.is_(None), job.c.claimed_until_us < now)
    query = sa.select(job.c.id).where(job.c.due_us <= now, free)
    return query.order_by(job.c.due_us, job.c.id).limit(1)


def claim(tx: Writer, *, worker: str, lease_s: float) -> Job | None:
    """Claim the job that has been due longest, for `lease_s` seconds; None if there is none.

    A job whose lease has run out, because its worker died, may be claimed again.
    """
    now = now_us()
    query = _claimable(now).with_for_update(skip_locked=True)
    job_id = tx.execute(query).scalar_one_or_none()
    if job_id is None:
        return None
    row = tx.execute(
        sa.update(job)
        .where(job.c.id == job_id)
        .values(
            claimed_by=worker,
            claimed_until_us=now + int(lease_s * 1e6),
            attempts=job.c.attempts + 1,
        )
        .returning(job.c.id, job.c.kind, job.c.payload, job.c.attempts)
    ).one()
    return Job(row.id, row.kind, row.payload.encode(), row.attempts)


def extend(tx: Writer, job_id: int, *, worker: str, lease_s: float) -> bool:
    """Keep a claimed job for `lease_s` seconds from now; return False if it was lost."""
    return _change(tx, job_id, worker, claimed_until_us=now_us() + int(lease_s * 1e6))


def finish(tx: Writer, job_id: int, *, worker: str) -> bool:
    """Remove a job that is done; return False if it was lost to another worker."""
    mine = (job.c.id == job_id) & (job.c.claimed_by == worker)
    return tx.execute(sa.delete(job).where(mine)).rowcount == 1


def repeat(tx: Writer, job_id: int, *, worker: str, delay_s: float) -> bool:
    """Give a job back that is done for now, to be run anew after `delay_s` seconds."""
    due_us = now_us() + int(delay_s * 1e6)
    return _change(tx, job_id, worker, **_FREE, due_us=due_us, attempts=0, error=None)


def postpone(tx: Writer, job_id: int, *, worker: str, delay_s: float, error: str) -> bool:
    """Give a job back that failed, to be tried again after `delay_s` seconds."""
    due_us = now_us() + int(delay_s * 1e6)
    return _change(tx, job_id, worker, **_FREE, due_us=due_us, error=error[:2000])


def release(tx: Writer, job_id: int, *, worker: str) -> bool:
    """Give a job back that was interrupted, to be taken up at once; no attempt is counted."""
    return _change(tx, job_id, worker, **_FREE, attempts=job.c.attempts - 1)


_FREE: Final[dict[str, object]] = {"claimed_by": None, "claimed_until_us": None}


def _change(tx: Writer, job_id: int, worker: str, **values: object) -> bool:
    # A job that was lost to another worker, because the lease ran out, is that worker's affair.
    mine = (job.c.id == job_id) & (job.c.claimed_by == worker)
    return tx.execute(sa.update(job).where(mine).values(**values)).rowcount == 1


def count_by_kind(tx: Reader) -> list[JobCount]:
    """Return how many jobs of each kind there are."""
    now = now_us()
    running = sa.func.coalesce(job.c.claimed_until_us >= now, sa.false())
    due = sa.and_(job.c.due_us <= now, ~running)
    # A running job's count includes the attempt under way.
    failed = job.c.attempts - sa.case((running, 1), else_=0) > 0
    query = (
        sa.select(
            job.c.kind,
            sa.func.sum(sa.case((running, 0), else_=1)).label("waiting"),
            sa.func.sum(sa.case((running, 1), else_=0)).label("running"),
            sa.func.sum(sa.case((failed, 1), else_=0)).label("failing"),
            sa.func.min(sa.case((due, job.c.due_us))).label("oldest_due_us"),
        )
        .group_by(job.c.kind)
        .order_by(job.c.kind)
    )
    return [
        JobCount(row.kind, int(row.waiting), int(row.running), int(row.failing), row.oldest_due_us)
        for row in tx.execute(query)
    ]
