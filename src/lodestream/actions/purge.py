"""What is left of a deleted source or dataset.

Of a source: its comments, their keys, texts, tags, annotations and claims on files. Of a dataset:
annotations with their history, and models with everything that was made with them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from lodestream.domain.comments import key_hash, source_tag
from lodestream.domain.errors import Conflict
from lodestream.store import comments, order, sources
from lodestream.store.catalogue import Catalogue
from lodestream.store.datasets import exists_by_id
from lodestream.store.db import Database
from lodestream.store.leftovers import remove_some
from lodestream.store.upkeep import forget

PURGED_AT_ONCE: Final = 1000
ROWS_AT_ONCE: Final = 10_000


def purge_source(
    db: Database, source_key: int, *, between: Callable[[], None] = lambda: None
) -> int:
    """Delete every comment of a source that was deleted; return how many there were.

    Done in short transactions, so that writers of other sources never wait long; `between` is
    called between two of them and may raise to stop. Repeated, it goes on with what is left.

    Raises Conflict if the source still exists.
    """
    salt, tag = Catalogue(db).salt(), source_tag(source_key)
    deleted, after = 0, 0
    while True:
        with db.write(catalogue=False) as tx:
            order.take_order(tx)
            if sources.exists(tx, source_key):
                raise Conflict("the source has not been deleted")
            rows = comments.read_after(tx, source_key, after=after, limit=PURGED_AT_ONCE)
            places = [(key_hash(one, salt=salt, source_tag=tag), pos) for pos, one in rows]
            forget(tx, source_key, [pos for pos, _ in rows])
            deleted += comments.delete(tx, source_key, places)
        if len(rows) < PURGED_AT_ONCE:
            return deleted
        after = rows[-1][0]
        between()


def purge_dataset(
    db: Database, dataset_id: str, *, between: Callable[[], None] = lambda: None
) -> None:
    """Delete annotations and models of a dataset that was deleted.

    Done in short transactions like `purge_source`, and repeated in the same way.

    Raises Conflict if the dataset still exists.
    """
    more = True
    while more:
        with db.write(catalogue=False) as tx:
            if exists_by_id(tx, dataset_id):
                raise Conflict("the dataset has not been deleted")
            more = remove_some(tx, dataset_id, limit=ROWS_AT_ONCE)
        if more:
            between()
