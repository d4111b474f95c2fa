"""Threads: comments of one source that share a `thread_id`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa
from msgspec import UNSET, Struct, UnsetType

from lodestream.domain.comments import messages_of, participants_of
from lodestream.domain.facets import address_of, fold
from lodestream.store.comments import read_fronts
from lodestream.store.db import Reader
from lodestream.store.tables import comment


class ThreadProperties(Struct, omit_defaults=True):
    """What is known of a comment's thread. Durations are in seconds.

    `thread_position` counts from 1, in order of timestamp.
    """

    duration: float | None
    response_time: float | None
    num_messages: int
    num_participants: int
    first_sender: str | None
    thread_position: int | UnsetType = UNSET


def list_threads(tx: Reader, source: int, *, source_id: str) -> list[tuple[str, list[str]]]:
    """Return (thread id, comment uids in order of timestamp) of a source, by thread id."""
    query = (
        sa.select(comment.c.thread_id, comment.c.id)
        .where(comment.c.source == source, comment.c.thread_id.is_not(None))
        .order_by(comment.c.thread_id, comment.c.timestamp_us, comment.c.pos)
    )
    threads: dict[str, list[str]] = {}
    for row in tx.execute(query):
        threads.setdefault(row.thread_id, []).append(f"{source_id}.{row.id}")
    return list(threads.items())


def thread_properties(
    tx: Reader, source: int, positions: Sequence[int]
) -> list[ThreadProperties | None]:
    """Return what is known of the thread of each comment; None for one that has none."""
    rows = tx.execute(
        sa.select(comment.c.pos, comment.c.thread_id).where(
            comment.c.source == source, comment.c.pos.in_(positions)
        )
    )
    thread_of = {row.pos: row.thread_id for row in rows}
    wanted = {thread for thread in thread_of.values() if thread is not None}
    members: dict[str, list[Any]] = {}
    # Sorted here: asked for an order, SQLite would walk the whole source in it.
    query = sa.select(comment.c.thread_id, comment.c.pos, comment.c.timestamp_us).where(
        comment.c.source == source, comment.c.thread_id.in_(wanted)
    )
    rows_of_threads = tx.execute(query).all() if wanted else []
    for row in sorted(rows_of_threads, key=lambda row: (row.timestamp_us, row.pos)):
        members.setdefault(row.thread_id, []).append(row)
    fronts = read_fronts(tx, [row.pos for rows in members.values() for row in rows])
    return [
        None if thread_of.get(pos) is None else _describe(members[thread_of[pos]], fronts, pos)
        for pos in positions
    ]


def _describe(thread: Sequence[Any], fronts: dict[int, bytes], pos: int) -> ThreadProperties:
    place = next(index for index, row in enumerate(thread) if row.pos == pos)
    messages = [message for row in thread for message in messages_of(fronts[row.pos])]
    people = {address_of(fold(one)) for message in messages for one in participants_of(message)}
    senders = [m.from_ for m in messages_of(fronts[thread[0].pos]) if m.from_ is not UNSET]
    before = thread[place - 1].timestamp_us if place else None
    return ThreadProperties(
        duration=(thread[-1].timestamp_us - thread[0].timestamp_us) / 1e6,
        response_time=None if before is None else (thread[place].timestamp_us - before) / 1e6,
        num_messages=len(thread),
        num_participants=len(people),
        first_sender=senders[0] if senders else None,
        thread_position=place + 1,
    )
