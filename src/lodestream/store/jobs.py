"""Jobs: work that a change causes, enqueued in the change's own transaction."""

from __future__ import annotations

from dataclasses import dataclass

import msgspec
import sqlalchemy as sa

from lodestream.domain.times import now_us
from lodestream.store.db import Writer
from lodestream.store.tables import job


@dataclass(frozen=True, slots=True)
class Job:
    """A claimed job; `payload` is its JSON."""

    id: int
    kind: str
    payload: bytes
    attempts: int


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


def claim(tx: Writer, *, worker: str, lease_s: float) -> Job | None:
    """Claim the job that has been due longest, for `lease_s` seconds; None if there is none.

    A job whose lease has run out, because its worker died, may be claimed again.
    """
    now = now_us()
    free = sa.or_(job.c.claimed_until_us.is_(None), job.c.claimed_until_us < now)
    query = (
        sa.select(job.c.id, job.c.kind, job.c.payload, job.c.attempts)
        .where(job.c.due_us <= now, free)
        .order_by(job.c.due_us, job.c.id)
        .limit(1)
        .with_for_update(skip_locked=True)
    )
    row = tx.execute(query).first()
    if row is None:
        return None
    tx.execute(
        sa.update(job)
        .where(job.c.id == row.id)
        .values(
            claimed_by=worker,
            claimed_until_us=now + int(lease_s * 1e6),
            attempts=job.c.attempts + 1,
        )
    )
    return Job(row.id, row.kind, row.payload.encode(), row.attempts + 1)


def finish(tx: Writer, job_id: int) -> None:
    """Remove a job that is done."""
    tx.execute(sa.delete(job).where(job.c.id == job_id))


def postpone(tx: Writer, job_id: int, *, delay_s: float, error: str) -> None:
    """Give a job back that failed, to be tried again after `delay_s` seconds."""
    tx.execute(
        sa.update(job)
        .where(job.c.id == job_id)
        .values(
            claimed_by=None,
            claimed_until_us=None,
            due_us=now_us() + int(delay_s * 1e6),
            error=error[:2000],
        )
    )
