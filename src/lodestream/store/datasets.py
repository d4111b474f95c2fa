"""Datasets: rows ↔ structs."""

from __future__ import annotations

import sqlalchemy as sa

from lodestream.domain.errors import NotFound
from lodestream.store.db import Reader
from lodestream.store.tables import dataset, dataset_source, source


def require_exists(tx: Reader, dataset_id: str) -> None:
    """Raise NotFound if the dataset went away since it was looked up."""
    if tx.execute(sa.select(dataset.c.id).where(dataset.c.id == dataset_id)).first() is None:
        raise NotFound("No such dataset")


def source_ids(tx: Reader, dataset_id: str) -> list[str]:
    """Return the ids of a dataset's sources, in the order they were set."""
    query = (
        sa.select(source.c.id)
        .join(dataset_source, dataset_source.c.source == source.c.key)
        .where(dataset_source.c.dataset_id == dataset_id)
        .order_by(dataset_source.c.rank)
    )
    return list(tx.execute(query).scalars())
