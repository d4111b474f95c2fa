"""The audit log: one entry for each change, written in the transaction that makes the change."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import sqlalchemy as sa

from lodestream.domain.audit import AuditEvent, Refs, UserRef
from lodestream.domain.times import now_us
from lodestream.store.db import Reader, Writer
from lodestream.store.tables import account, audit_event

_ACTOR = sa.select(account.c.username).where(account.c.id == sa.bindparam("who"))
# The actor's names are copied by the statement itself: a sync writes one entry and should not pay
# for a second question.
_RECORD = (
    sa.insert(audit_event)
    .inline()
    .values(
        **{name: sa.bindparam(name) for name in ("type", "at_us", "actor_id", "refs")},
        actor_username=_ACTOR.scalar_subquery(),
        actor_email=_ACTOR.with_only_columns(account.c.email).scalar_subquery(),
    )
)


def record(tx: Writer, *, actor_id: str, event_type: str, refs: Refs) -> None:
    """Write one entry: who did what to which things; all names are copied, so they last."""
    tx.run(
        _RECORD,
        type=event_type,
        at_us=now_us(),
        actor_id=actor_id,
        refs=msgspec.json.encode(refs).decode(),
        who=actor_id,
    )


def list_events(
    tx: Reader,
    *,
    minimum_us: int | None,
    maximum_us: int | None,
    after: tuple[int, int] | None,
    limit: int,
) -> Sequence[AuditEvent]:
    """Return up to `limit` entries in order of time, from `minimum_us`, before `maximum_us`.

    `after` is the (time, id) of the last entry of the page before.
    """
    query = sa.select(audit_event).order_by(audit_event.c.at_us, audit_event.c.id).limit(limit)
    if minimum_us is not None:
        query = query.where(audit_event.c.at_us >= minimum_us)
    if maximum_us is not None:
        query = query.where(audit_event.c.at_us < maximum_us)
    if after is not None:
        place = sa.tuple_(audit_event.c.at_us, audit_event.c.id)
        query = query.where(place > sa.tuple_(sa.literal(after[0]), sa.literal(after[1])))
    return [
        AuditEvent(
            id=row.id,
            type=row.type,
            at_us=row.at_us,
            actor=UserRef(row.actor_id, row.actor_username or row.actor_id, row.actor_email or ""),
            refs=msgspec.json.decode(row.refs, type=Refs),
        )
        for row in tx.execute(query)
    ]
