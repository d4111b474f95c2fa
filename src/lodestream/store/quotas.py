"""Quotas: the limits that hold, what is in use, and the check before something grows."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import sqlalchemy as sa

from lodestream.domain.errors import QuotaExceeded
from lodestream.domain.quotas import DEFAULT_LIMITS, Quota
from lodestream.store import (
    accounts,
    buckets,
    comments,
    datasets,
    integrations,
    projects,
    sources,
    streams,
)
from lodestream.store.db import Reader, Writer
from lodestream.store.dialect import upsert
from lodestream.store.tables import (
    annotated_comment,
    dataset_source,
    entity_def,
    label_def,
    mailbox,
    model,
    quota,
    source_content,
    stream,
)

_GET = sa.select(quota.c.hard_limit, quota.c.auto_increase_up_to).where(
    quota.c.kind == sa.bindparam("kind")
)


def get(tx: Reader, kind: str) -> Quota:
    """Return the quota of a kind, which is one of `DEFAULT_LIMITS`."""
    rows = tx.rows(_GET, kind=kind)
    return Quota(kind, *rows[0]) if rows else Quota(kind, DEFAULT_LIMITS[kind])


def list_quotas(tx: Reader) -> list[Quota]:
    """Return the quota of every kind."""
    stored = {row.kind: _quota(row) for row in tx.execute(sa.select(quota))}
    return [stored.get(kind) or Quota(kind, limit) for kind, limit in DEFAULT_LIMITS.items()]


def require_room(tx: Reader, kind: str, usage_after: int) -> None:
    """Raise QuotaExceeded if `usage_after` would pass the limit of `kind`."""
    limit = get(tx, kind).hard_limit
    if usage_after > limit:
        raise QuotaExceeded(kind, limit=limit, usage=usage_after)


def store(tx: Writer, values: Quota) -> None:
    """Set the quota of a kind."""
    row = {
        "kind": values.kind,
        "hard_limit": values.hard_limit,
        "auto_increase_up_to": values.auto_increase_up_to,
    }
    update = ("hard_limit", "auto_increase_up_to")
    tx.execute(upsert(quota, tx.dialect_name, values=row, update=update))


def reset(tx: Writer, kind: str) -> None:
    """Go back to the default of a kind."""
    tx.execute(sa.delete(quota).where(quota.c.kind == kind))


def usage(tx: Reader, kind: str) -> int:
    """Return how much of a kind there is now: in all, or for `x_per_y` in the fullest y."""
    counted = _USAGE.get(kind)
    return 0 if counted is None else counted(tx)


def _fullest(column: sa.Column[Any]) -> Callable[[Reader], int]:
    """Return what counts the rows that share a value of the column, at the commonest value."""
    size = sa.func.count().label("size")
    groups = sa.select(size).select_from(column.table).group_by(column).subquery()
    query = sa.select(sa.func.max(groups.c.size))
    return lambda tx: tx.execute(query).scalar_one() or 0


def _most_reviewed(tx: Reader) -> int:
    size = sa.func.count().label("size")
    groups = (
        sa.select(size)
        .select_from(annotated_comment)
        .where(annotated_comment.c.reviewed)
        .group_by(annotated_comment.c.dataset_id)
        .subquery()
    )
    return tx.execute(sa.select(sa.func.max(groups.c.size))).scalar_one() or 0


def _fullest_source(tx: Reader) -> int:
    return tx.execute(sa.select(sa.func.max(source_content.c.comments))).scalar_one() or 0


def _most_pinned(tx: Reader) -> int:
    size = sa.func.count().label("size")
    groups = sa.select(size).where(model.c.pinned).group_by(model.c.dataset_id).subquery()
    return tx.execute(sa.select(sa.func.max(groups.c.size))).scalar_one() or 0


# Kinds that are not here count things which this version does not have, as alerts.
_USAGE: Final[dict[str, Callable[[Reader], int]]] = {
    "sources": sources.count,
    "sources_per_dataset": _fullest(dataset_source.c.dataset_id),
    "datasets": datasets.count,
    "datasets_per_source": _fullest(dataset_source.c.source),
    "labels_per_dataset": _fullest(label_def.c.dataset_id),
    "entities_per_dataset": _fullest(entity_def.c.dataset_id),
    "reviewed_comments_per_dataset": _most_reviewed,
    "comments": comments.total_comments,
    "comments_per_source": _fullest_source,
    "pinned_models": _most_pinned,
    "triggers": streams.count,
    "triggers_per_dataset": _fullest(stream.c.dataset_id),
    "users": accounts.count,
    "projects": projects.count,
    "buckets": buckets.count,
    "integrations": integrations.count,
    "mailboxes_per_integration": _fullest(mailbox.c.integration_id),
}


def _quota(row: Any) -> Quota:
    return Quota(row.kind, row.hard_limit, row.auto_increase_up_to)
