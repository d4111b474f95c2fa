"""The history of annotations: what a change made of a comment, and of definitions."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from lodestream.domain.annotations import State, decode_state
from lodestream.store.annotations import chunks
from lodestream.store.db import Reader
from lodestream.store.tables import account, annotation_event, label_def


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


def _event(row: Any) -> Event:
    return Event(
        row.revision,
        row.at_us,
        row.user_id,
        row.username,
        decode_state(row.before),
        decode_state(row.after),
    )
