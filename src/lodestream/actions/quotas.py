"""Quotas: ask for another limit, set it, go back to the default."""

from __future__ import annotations

import msgspec
from msgspec import UNSET, UnsetType

from lodestream.domain.audit import Refs
from lodestream.domain.errors import InvalidInput
from lodestream.domain.quotas import Quota, require_kind
from lodestream.store import audit, quotas
from lodestream.store.db import Database, Writer


def request_limit(db: Database, *, actor_id: str, kind: str, limit: int) -> Quota:
    """Set a limit as far as users may themselves; return the quota that holds then.

    Raises InvalidInput for an unknown kind, and if the wish is too high: the limit is then set as
    high as it may be, and stays so.
    """
    require_kind(kind)
    with db.write() as tx:
        before = quotas.get(tx, kind)
        settled = before.requested(limit, usage=quotas.usage(tx, kind))
        after = msgspec.structs.replace(before, hard_limit=settled)
        _save(tx, actor_id, "set_tenant_quota", before, after)
    if settled < limit:
        # Outside of the transaction, which would else be undone.
        raise InvalidInput(
            f"quota {kind}: {limit} was requested, but the limit can be raised to {settled} at most"
        )
    return after


def set_quota(
    db: Database,
    *,
    actor_id: str,
    kind: str,
    hard_limit: int,
    auto_increase_up_to: int | UnsetType | None,
) -> None:
    """Set a limit, be it below what is in use: then nothing more can be made.

    `auto_increase_up_to`: None goes back to the default, UNSET changes nothing. Raises
    InvalidInput for an unknown kind.
    """
    require_kind(kind)
    with db.write() as tx:
        before = quotas.get(tx, kind)
        most = before.auto_increase_up_to if auto_increase_up_to is UNSET else auto_increase_up_to
        _save(tx, actor_id, "set_quota_for_tenant", before, Quota(kind, hard_limit, most))


def reset_quota(db: Database, *, actor_id: str, kind: str) -> None:
    """Go back to the default. Raises InvalidInput for an unknown kind."""
    require_kind(kind)
    with db.write() as tx:
        before = quotas.get(tx, kind)
        quotas.reset(tx, kind)
        after = quotas.get(tx, kind)
        if after != before:
            _record(tx, actor_id, "reset_tenant_quota", after)


def _save(tx: Writer, actor_id: str, event_type: str, before: Quota, after: Quota) -> None:
    if after != before:
        quotas.store(tx, after)
        _record(tx, actor_id, event_type, after)


def _record(tx: Writer, actor_id: str, event_type: str, quota: Quota) -> None:
    details: dict[str, str | int] = {"quota_kind": quota.kind, "hard_limit": quota.hard_limit}
    if quota.auto_increase_up_to is not None:
        details["auto_increase_up_to"] = quota.auto_increase_up_to
    audit.record(tx, actor_id=actor_id, event_type=event_type, refs=Refs(details=details))
