"""The history of annotations: what a change made of a comment, and of definitions."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from lodestream.domain.annotations import State, decode_state
from lodestream.domain.definitions import Definitions, decode_definitions
from lodestream.store import bulk
from lodestream.store.annotations import chunks
from lodestream.store.db import Reader, Writer
from lodestream.store.tables import account, annotated_comment, annotation_event, label_def


@dataclass(frozen=True, slots=True)
class Event:
    """One change of a comment's annotations; `username` is None if the user is gone.

    Labels have the names that they had at that time.
    """

    revision: int
    at_us: int
    user_id: str
    username: str | None
    before: State
    after: State


_EVENTS = (
    sa.select(
        annotation_event.c.revision,
        annotation_event.c.at_us,
        annotation_event.c.user_id,
        annotation_event.c.before,
        annotation_event.c.after,
        account.c.username,
    )
    .join(account, account.c.id == annotation_event.c.user_id, isouter=True)
    .order_by(annotation_event.c.revision.desc())
)


def list_events(
    tx: Reader, dataset_id: str, pos: int, *, older_than: int | None, limit: int
) -> list[Event]:
    """Return up to `limit` changes of a comment's annotations, the newest first."""
    query = _EVENTS.where(
        annotation_event.c.dataset_id == dataset_id, annotation_event.c.pos == pos
    )
    if older_than is not None:
        query = query.where(annotation_event.c.revision < older_than)
    return [_event(row) for row in tx.execute(query.limit(limit))]


def find_event(tx: Reader, dataset_id: str, pos: int, *, revision: int | None) -> Event | None:
    """Return the change with a revision, or the newest; None if the comment has none like it."""
    query = _EVENTS.where(
        annotation_event.c.dataset_id == dataset_id, annotation_event.c.pos == pos
    )
    if revision is not None:
        query = query.where(annotation_event.c.revision == revision)
    row = tx.execute(query.limit(1)).first()
    return None if row is None else _event(row)


def find_names(tx: Reader, keys: Iterable[int]) -> dict[int, str]:
    """Return the present names of those of the labels that there still are."""
    found: dict[int, str] = {}
    for chunk in chunks(sorted(keys)):
        query = sa.select(label_def.c.key, label_def.c.name).where(label_def.c.key.in_(chunk))
        found |= {row.key: row.name for row in tx.execute(query)}
    return found


@dataclass(frozen=True, slots=True)
class Remembered:
    """A comment's annotations as they were until an instant."""

    before: State
    at_us: int


def states_before(tx: Reader, dataset_id: str, *, after_revision: int) -> dict[int, Remembered]:
    """Return the state at a revision of every comment that changed after it, by position."""
    here = (annotation_event.c.dataset_id == dataset_id) & (
        annotation_event.c.revision > after_revision
    )
    first = (
        sa.select(sa.func.min(annotation_event.c.revision))
        .where(here, annotation_event.c.pos.is_not(None))
        .group_by(annotation_event.c.pos)
    )
    query = sa.select(
        annotation_event.c.pos, annotation_event.c.before, annotation_event.c.at_us
    ).where(annotation_event.c.dataset_id == dataset_id, annotation_event.c.revision.in_(first))
    return {row.pos: Remembered(decode_state(row.before), row.at_us) for row in tx.execute(query)}


def definitions_since(
    tx: Reader, dataset_id: str, *, revision: int
) -> list[tuple[Definitions, Definitions]]:
    """Return what every change of definitions after a revision made of what; the newest first."""
    query = (
        sa.select(annotation_event.c.before, annotation_event.c.after)
        .where(
            annotation_event.c.dataset_id == dataset_id,
            annotation_event.c.revision > revision,
            annotation_event.c.pos.is_(None),
        )
        .order_by(annotation_event.c.revision.desc())
    )
    return [
        (decode_definitions(row.before), decode_definitions(row.after)) for row in tx.execute(query)
    ]


def labelled_until(
    tx: Reader, dataset_id: str, positions: Sequence[int], *, revision: int
) -> dict[int, int]:
    """Return when each of the comments was last annotated up to a revision."""
    found: dict[int, int] = {}
    for chunk in chunks(positions):
        query = (
            sa.select(annotation_event.c.pos, sa.func.max(annotation_event.c.at_us).label("at_us"))
            .where(
                annotation_event.c.dataset_id == dataset_id,
                annotation_event.c.pos.in_(chunk),
                annotation_event.c.revision <= revision,
            )
            .group_by(annotation_event.c.pos)
        )
        found |= {row.pos: row.at_us for row in tx.execute(query)}
    return found


def set_labelled(tx: Writer, dataset_id: str, times_us: Mapping[int, int]) -> None:
    """Set when comments got their labels, by position."""
    bulk.update_rows(
        tx,
        annotated_comment,
        key=("dataset_id", "pos"),
        values=("labelled_us",),
        rows=[(dataset_id, pos, at_us) for pos, at_us in times_us.items()],
    )


def _event(row: Any) -> Event:
    return Event(
        row.revision,
        row.at_us,
        row.user_id,
        row.username,
        decode_state(row.before),
        decode_state(row.after),
    )
