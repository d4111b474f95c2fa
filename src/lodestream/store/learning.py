"""What is to be learned for each dataset, and who is at it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import sqlalchemy as sa

from lodestream.domain.times import now_us
from lodestream.store.db import Reader, Writer
from lodestream.store.dialect import upsert
from lodestream.store.tables import comment, dataset, dataset_source, label_def, learning, source


@dataclass(frozen=True, slots=True)
class Learning:
    """Where the learning of a dataset stands; see `tables.learning`."""

    dataset_id: str
    revision: int
    changed_us: int
    stale_us: int
    trained_revision: int
    version: int
    claimed_until_us: int | None
    stage: str | None
    progress: float | None
    stage_started_us: int | None
    failures: int
    retry_us: int
    error: str | None

    @property
    def is_stale(self) -> bool:
        """Whether anything changed since the newest training read it."""
        return self.revision > self.trained_revision


_COLUMNS = [learning.c[name] for name in Learning.__slots__]


def find(tx: Reader, dataset_id: str) -> Learning | None:
    """Return where the learning of a dataset stands; None if there was never anything to learn."""
    row = tx.execute(sa.select(*_COLUMNS).where(learning.c.dataset_id == dataset_id)).first()
    return None if row is None else Learning(*tuple(row))


def list_all(tx: Reader) -> list[Learning]:
    """Return where learning stands for every dataset that has anything to learn."""
    query = sa.select(*_COLUMNS).order_by(learning.c.stale_us)
    return [Learning(*tuple(row)) for row in tx.execute(query)]


def any_missing(tx: Reader) -> bool:
    """Tell whether a dataset has labels but was never looked at."""
    known = sa.select(learning.c.dataset_id)
    query = sa.select(label_def.c.dataset_id).where(label_def.c.dataset_id.not_in(known)).limit(1)
    return tx.execute(query).first() is not None


def start_missing(tx: Writer) -> None:
    """Give datasets whose labels were never learned a row, as if they had just changed."""
    now = now_us()
    known = sa.select(learning.c.dataset_id)
    query = sa.select(label_def.c.dataset_id).where(label_def.c.dataset_id.not_in(known)).distinct()
    for row in tx.execute(query).all():
        values = {
            "dataset_id": row.dataset_id,
            "revision": 1,
            "changed_us": now,
            "stale_us": now,
            "trained_revision": 0,
            "version": 0,
            "failures": 0,
            "retry_us": 0,
        }
        tx.execute(upsert(learning, tx.dialect_name, values=values, update=("stale_us",)))


def claim(tx: Writer, dataset_id: str, *, by: str, lease_s: float) -> bool:
    """Take a dataset for `lease_s` seconds; False if somebody else has it."""
    now = now_us()
    free = sa.or_(
        learning.c.claimed_until_us.is_(None),
        learning.c.claimed_until_us < now,
        learning.c.claimed_by == by,
    )
    taken = sa.update(learning).where(learning.c.dataset_id == dataset_id, free)
    values = {"claimed_by": by, "claimed_until_us": now + int(lease_s * 1e6)}
    return tx.execute(taken.values(**values)).rowcount == 1


def release(tx: Writer, dataset_id: str, *, by: str) -> None:
    """Give a dataset back."""
    values = {
        "claimed_by": None,
        "claimed_until_us": None,
        "stage": None,
        "progress": None,
        "stage_started_us": None,
    }
    tx.execute(_mine(dataset_id, by).values(**values))


def note_stage(
    tx: Writer, dataset_id: str, *, by: str, stage: str, progress: float, started_us: int
) -> bool:
    """Say how far a claimant is; False if the dataset was lost to another."""
    values = {"stage": stage, "progress": progress, "stage_started_us": started_us}
    return tx.execute(_mine(dataset_id, by).values(**values)).rowcount == 1


def note_failure(tx: Writer, dataset_id: str, *, by: str, error: str, retry_us: int) -> None:
    """Note that learning failed, and when to try again."""
    failed = _mine(dataset_id, by).values(
        failures=learning.c.failures + 1, retry_us=retry_us, error=error[:2000]
    )
    tx.execute(failed)


def publish(tx: Writer, dataset_id: str, *, by: str, revision: int) -> int | None:
    """Take the next version for what was learned up to a revision; None if the claim was lost."""
    taken = (
        _mine(dataset_id, by)
        .values(
            version=learning.c.version + 1,
            trained_revision=revision,
            stale_us=learning.c.changed_us,
            failures=0,
            retry_us=0,
            error=None,
        )
        .returning(learning.c.version)
    )
    version: int | None = tx.execute(taken).scalar_one_or_none()
    return version


def sources_of(tx: Reader, dataset_id: str) -> list[tuple[int, str]]:
    """Return (key, id) of the sources of a dataset, in their order."""
    query = (
        sa.select(source.c.key, source.c.id)
        .join(dataset_source, dataset_source.c.source == source.c.key)
        .where(dataset_source.c.dataset_id == dataset_id)
        .order_by(dataset_source.c.rank)
    )
    return [(row.key, row.id) for row in tx.execute(query)]


def model_family(tx: Reader, dataset_id: str) -> str | None:
    """Return the model family of a dataset, or None if it is gone."""
    query = sa.select(dataset.c.model_family).where(dataset.c.id == dataset_id)
    family: str | None = tx.execute(query).scalar_one_or_none()
    return family


def ids_at(tx: Reader, sources: Sequence[int], positions: Sequence[int]) -> dict[int, str]:
    """Return the comment ids at those of `positions` that belong to these sources."""
    found: dict[int, str] = {}
    for start in range(0, len(positions), 1024):
        chunk = list(positions[start : start + 1024])
        query = sa.select(comment.c.pos, comment.c.id).where(
            comment.c.source.in_(sources), comment.c.pos.in_(chunk)
        )
        found.update({row.pos: row.id for row in tx.execute(query)})
    return found


def _mine(dataset_id: str, by: str) -> sa.Update:
    here = (learning.c.dataset_id == dataset_id) & (learning.c.claimed_by == by)
    return sa.update(learning).where(here)
