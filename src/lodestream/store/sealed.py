"""Secrets wherever they are stored, as they are sealed: to look over all, and to renew them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final

import sqlalchemy as sa

from lodestream.store.db import Reader, Writer
from lodestream.store.tables import appliance_config, integration, sink

OWNERS: Final[tuple[tuple[sa.Table, tuple[str, ...]], ...]] = (
    (integration, ("id",)),
    (appliance_config, ("project_id", "key")),
    (sink, ("id",)),
)
"""Every table with a column `sealed`, and the columns that make the owner, joined by a slash."""


def list_sealed(tx: Reader) -> Iterator[tuple[str, str, str]]:
    """Yield the table, the owner and the sealed text of every secret."""
    for table, names in OWNERS:
        query = sa.select(*(table.c[name] for name in names), table.c.sealed)
        for row in tx.execute(query.where(table.c.sealed.is_not(None))):
            yield table.name, "/".join(row[:-1]), row[-1]


def renew(tx: Writer, renewed: Callable[[str, str], str]) -> int:
    """Put `renewed(owner, sealed)` in the place of every sealed text; return how many there are."""
    count = 0
    for table, names in OWNERS:
        columns = [table.c[name] for name in names]
        query = sa.select(*columns, table.c.sealed).where(table.c.sealed.is_not(None))
        for row in list(tx.execute(query.with_for_update())):
            here = [column == row[at] for at, column in enumerate(columns)]
            text = renewed("/".join(row[:-1]), row[-1])
            tx.execute(sa.update(table).where(*here).values(sealed=text))
            count += 1
    return count
