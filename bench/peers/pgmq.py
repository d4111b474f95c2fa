"""A queue in a PostgreSQL table, with the statements that PGMQ's functions consist of.

A message is read by moving the moment from which it is visible, past rows that others have locked,
and acknowledged by deleting it: two committed transactions a batch.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any

import psycopg
from psycopg.types.json import set_json_loads

from bench.client import loads
from bench.peers.peer import Peer
from bench.servers import Postgres, postgres

_TABLE = """
    CREATE TABLE queue (
        msg_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
        read_ct integer NOT NULL DEFAULT 0,
        enqueued_at timestamptz NOT NULL DEFAULT now(),
        vt timestamptz NOT NULL DEFAULT now(),
        message jsonb
    )
"""
_READ = """
    WITH next AS (
        SELECT msg_id FROM queue WHERE vt <= clock_timestamp()
        ORDER BY msg_id LIMIT %s FOR UPDATE SKIP LOCKED
    )
    UPDATE queue SET vt = clock_timestamp() + interval '60 s', read_ct = read_ct + 1
    FROM next WHERE queue.msg_id = next.msg_id RETURNING queue.msg_id, queue.message
"""


class _Pgmq:
    def __init__(self, database: Postgres, connection: psycopg.Connection[Any]) -> None:
        self._database = database
        self._connection = connection

    def pids(self) -> list[int]:
        return self._database.pids(pinned=True)

    def clear(self) -> None:
        self._connection.execute("DROP TABLE IF EXISTS queue")
        self._connection.execute(_TABLE)
        self._connection.execute("CREATE INDEX ON queue (vt)")

    def publish(self, messages: Sequence[bytes]) -> None:
        with (
            self._connection.cursor() as cursor,
            cursor.copy("COPY queue (message) FROM STDIN") as copy,
        ):
            for message in messages:
                copy.write_row((message.decode(),))

    def consume(self, count: int, size: int) -> list[str]:
        seen: list[str] = []
        with self._connection.cursor(binary=True) as cursor:
            while len(seen) < count:
                rows = cursor.execute(_READ, (size,)).fetchall()
                seen += [message["comment"]["id"] for _, message in rows]
                done = [msg_id for msg_id, _ in rows]
                cursor.execute("DELETE FROM queue WHERE msg_id = ANY(%s)", (done,))
        return seen


@contextlib.contextmanager
def running() -> Iterator[Peer]:
    """Make the queue in a scratch database. Raises Skipped without PostgreSQL."""
    with postgres() as database, psycopg.connect(database.url, autocommit=True) as connection:
        set_json_loads(loads, connection)
        yield _Pgmq(database, connection)
