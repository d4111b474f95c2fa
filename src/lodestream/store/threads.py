"""Threads: comments of one source that share a `thread_id`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from types import MappingProxyType
from typing import Final

import msgspec
import sqlalchemy as sa
from msgspec import UNSET, Struct, UnsetType

from lodestream.domain.comments import comment_of, participants_of
from lodestream.domain.facets import address_of, fold
from lodestream.store import bulk
from lodestream.store.comments import read_fronts
from lodestream.store.db import Reader
from lodestream.store.tables import comment

NOTHING_KNOWN: Final[Mapping[int, bytes]] = MappingProxyType({})


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
    tx: Reader,
    source: int,
    positions: Sequence[int],
    *,
    known: Mapping[int, bytes] = NOTHING_KNOWN,
) -> list[ThreadProperties | None]:
    """Return what is known of the thread of each comment; None for one that has none.

    `known` are fronts that were read already.
    """
    within = (comment.c.source, source)
    columns = (comment.c.pos, comment.c.thread_id)
    thread_of = dict(bulk.rows_in(tx, columns, comment.c.pos, positions, within=within))
    wanted = {thread for thread in thread_of.values() if thread is not None}
    members: dict[str, list[tuple[int, int]]] = {}
    # Sorted here: asked for an order, SQLite would walk the whole source in it.
    place = (comment.c.timestamp_us, comment.c.pos, comment.c.thread_id)
    for timestamp_us, pos, thread in sorted(
        bulk.rows_in(tx, place, comment.c.thread_id, wanted, within=within)
    ):
        members.setdefault(thread, []).append((timestamp_us, pos))
    described = _describe(tx, members, known)
    return [None if thread_of.get(pos) is None else described[pos] for pos in positions]


class _People(Struct, rename={"from_": "from"}, gc=False):
    from_: str | UnsetType = UNSET
    to: list[str] | UnsetType = UNSET
    cc: list[str] | UnsetType = UNSET
    bcc: list[str] | UnsetType = UNSET


class _Messages(Struct, gc=False):
    messages: list[_People]


_decode_people = msgspec.json.Decoder(_Messages).decode
_READ_AT_ONCE: Final = 1024


def _describe(
    tx: Reader, threads: Mapping[str, Sequence[tuple[int, int]]], known: Mapping[int, bytes]
) -> dict[int, ThreadProperties]:
    """Return what is known of the comments of threads, each given as (timestamp, position)."""
    people: dict[str, set[str]] = {name: set() for name in threads}
    first_senders: dict[str, str] = {}
    places = [(pos, name) for name, rows in threads.items() for _, pos in rows]
    for start in range(0, len(places), _READ_AT_ONCE):
        chunk = places[start : start + _READ_AT_ONCE]
        fronts = read_fronts(tx, [pos for pos, _ in chunk if pos not in known])
        for pos, name in chunk:
            for message in _decode_people(
                comment_of(known[pos] if pos in known else fronts[pos])
            ).messages:
                people[name].update(_address(one) for one in participants_of(message))
                if pos == threads[name][0][1] and message.from_ is not UNSET:
                    first_senders.setdefault(name, message.from_)
    found = {}
    for name, rows in threads.items():
        before_us: int | None = None
        for place, (timestamp_us, pos) in enumerate(rows, 1):
            found[pos] = ThreadProperties(
                duration=(rows[-1][0] - rows[0][0]) / 1e6,
                response_time=None if before_us is None else (timestamp_us - before_us) / 1e6,
                num_messages=len(rows),
                num_participants=len(people[name]),
                first_sender=first_senders.get(name),
                thread_position=place,
            )
            before_us = timestamp_us
    return found


@lru_cache(maxsize=8192)
def _address(participant: str) -> str:
    return address_of(fold(participant))
