"""How far the predictions of a version are."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import sqlalchemy as sa

from lodestream.store.db import Reader
from lodestream.store.derived import PREDICTIONS
from lodestream.store.tables import comment, source_content


def count_comments(tx: Reader, sources: Iterable[int]) -> dict[int, int]:
    """Return how many comments each of the sources holds."""
    query = sa.select(source_content.c.source, source_content.c.comments).where(
        source_content.c.source.in_(list(sources))
    )
    return {row.source: row.comments for row in tx.execute(query)}


def count_predicted(tx: Reader, model: int, comments: Mapping[int, int]) -> int:
    """Return how many comments of some sources have a prediction of a model (its key).

    `comments` says how many there are in each source. Only those that lack one are counted, so it
    is quick when little is to be done.
    """
    reached = PREDICTIONS.reached(tx, model)
    done = 0
    for source, size in comments.items():
        if source in reached:
            query = (
                sa.select(sa.func.count())
                .select_from(comment)
                .where(comment.c.source == source, comment.c.pos > reached[source])
            )
            done += max(size - tx.execute(query).scalar_one(), 0)
    return done
