"""The one total order: who may append to it, and which positions an append gets.

Every transaction that stores, changes or deletes comments takes the order first and holds it until
it commits: on SQLite by the file's write lock, on PostgreSQL by a lock on one row. So a position
becomes visible only after every smaller one, and a reader that saw position p never finds a new
comment at or before p.
"""

from __future__ import annotations

import sqlalchemy as sa

from lodestream.domain.places import first_position
from lodestream.store.db import Reader, Writer
from lodestream.store.tables import counter

LAST_POSITION = sa.select(counter.c.value).where(counter.c.name == "position")
_TAKE = LAST_POSITION.with_for_update()
_HAND_OUT = (
    sa.update(counter)
    .where(counter.c.name == "position")
    .values(value=sa.bindparam("last", type_=sa.BigInteger))
)


def take_order(tx: Writer) -> int:
    """Take the order until the transaction ends; return the last position handed out."""
    last: int = tx.rows(_TAKE)[0][0]
    return last


def hand_out(tx: Writer, *, last: int, count: int, now_us: int) -> int:
    """Hand out `count` positions after `last`; return the first. The caller holds the order."""
    first = first_position(last, now_us)
    tx.run(_HAND_OUT, last=first + count - 1)
    return first


def last_position(tx: Reader) -> int:
    """Return the last position handed out by a committed transaction."""
    last: int = tx.execute(LAST_POSITION).scalar_one()
    return last


def server_clock_us(tx: Reader) -> int | None:
    """Return the time of the database server's clock; None where it is this machine's."""
    if tx.dialect_name == "sqlite":
        return None
    seconds = sa.text("SELECT extract(epoch FROM clock_timestamp())")
    return int(tx.execute(seconds).scalar_one() * 1_000_000)
