"""Quotas: the hard limits of each kind, their defaults, and the check before something grows."""

from __future__ import annotations

from typing import Final

import sqlalchemy as sa

from lodestream.domain.errors import QuotaExceeded
from lodestream.store.db import Reader
from lodestream.store.tables import quota

DEFAULT_LIMITS: Final[dict[str, int]] = {
    "sources": 10_000,
    "sources_per_dataset": 1024,
    "datasets": 10_000,
    "datasets_per_source": 1024,
    "labels_per_dataset": 1024,
    "entities_per_dataset": 1024,
    "comments": 1_000_000_000,
    "comments_per_source": 1_000_000_000,
    "comments_in_ixp_designtime": 0,
    "comments_in_ixp_runtime": 0,
    "reviewed_comments_per_dataset": 1_000_000,
    "integrations": 1000,
    "mailboxes_per_integration": 1000,
    "triggers": 100_000,
    "triggers_per_dataset": 1000,
    "users": 10_000,
    "alerts": 1000,
    "buckets": 10_000,
    "projects": 10_000,
    "pinned_models": 100,
    "extraction_predictions": 0,
}
"""Every kind there is, with the limit that holds until somebody sets another."""


def hard_limit(tx: Reader, kind: str) -> int:
    """Return the limit that holds for a kind."""
    row = tx.execute(sa.select(quota.c.hard_limit).where(quota.c.kind == kind)).first()
    return DEFAULT_LIMITS[kind] if row is None else row.hard_limit


def require_room(tx: Reader, kind: str, usage_after: int) -> None:
    """Raise QuotaExceeded if `usage_after` would pass the limit of `kind`."""
    limit = hard_limit(tx, kind)
    if usage_after > limit:
        raise QuotaExceeded(kind, limit=limit, usage=usage_after)
