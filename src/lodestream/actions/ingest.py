"""Comments in: create, overwrite and delete, whole batches at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from msgspec import Struct

from lodestream.domain.audit import ProjectRef, Refs
from lodestream.domain.comments import (
    CommentNew,
    FrontMaker,
    Incoming,
    context_of,
    core_of,
    key_hash,
    message_changed,
    modified_us_of,
    prepare,
    source_tag,
)
from lodestream.domain.errors import Conflict
from lodestream.domain.sources import Source
from lodestream.domain.times import now_us
from lodestream.store import audit, comments, files, keys, order, quotas, sources
from lodestream.store.comments import StoredRow
from lodestream.store.db import Database, Reader, Writer
from lodestream.store.keys import StoredKey
from lodestream.store.upkeep import drop_spans, forget


class Counts(Struct):
    """What a batch did. `updated` is the sum of the two that begin with it."""

    new: int = 0
    updated: int = 0
    unchanged: int = 0
    updated_properties_only: int = 0
    updated_text_changed: int = 0


class _Plan:
    """What to do with each comment of a batch, once the stored ones are known."""

    __slots__ = ("changed", "fresh", "rows", "unchanged")

    def __init__(self) -> None:
        self.fresh: list[Incoming] = []
        self.changed: list[tuple[int, Incoming, bytes]] = []  # position, new version, old front
        self.rows: dict[int, StoredRow] = {}  # of the changed, by position
        self.unchanged = 0


def prepare_batch(batch: Iterable[CommentNew], *, source: Source, salt: int) -> list[Incoming]:
    """Check every comment of a batch; of those with one id the last counts.

    Raises InvalidInput naming the first bad comment.
    """
    tag = source_tag(source.key)
    last: dict[str, Incoming] = {}
    for new in batch:
        incoming = prepare(new, salt=salt, tag=tag)
        last[incoming.id] = incoming
    return list(last.values())


def _nothing(_tx: Writer) -> None:
    return None


def sync_comments(
    db: Database,
    *,
    actor_id: str,
    source: Source,
    batch: Sequence[Incoming],
    within: Callable[[Writer], None] = _nothing,
) -> Counts:
    """Create or overwrite a batch, whole or not at all; keyed by comment id.

    `within` is called in the same transaction, and may raise to have nothing stored. Raises
    NotFound if the source went away, QuotaExceeded if the batch has no room.
    """

    def overwrite(_incoming: Incoming, _front: bytes) -> None:
        return None

    return _store(db, actor_id, source, batch, overwrite, "sync_comments", within)


def foresee_comments(db: Database, *, source: Source, batch: Sequence[Incoming]) -> Counts:
    """Return what `sync_comments` would do with a batch now; nothing is stored."""
    with db.read() as tx:
        plan = _plan(tx, source.key, batch)
    counts = Counts(new=len(plan.fresh), updated=len(plan.changed), unchanged=plan.unchanged)
    for _, incoming, front in plan.changed:
        if message_changed(core_of(front), incoming.core):
            counts.updated_text_changed += 1
        else:
            counts.updated_properties_only += 1
    return counts


def add_comments(
    db: Database, *, actor_id: str, source: Source, batch: Sequence[Incoming]
) -> Counts:
    """Create a batch, whole or not at all. A stored id with other content is a conflict,
    unless the comment names the stored version's `context`.

    Raises Conflict naming the first such ids, NotFound and QuotaExceeded as `sync_comments`.
    """

    def only_with_context(incoming: Incoming, front: bytes) -> None:
        current = context_of(modified_us_of(front))
        if incoming.context is None:
            raise Conflict(f"comment {incoming.id!r} exists with different content")
        if incoming.context != current:
            raise Conflict(f"comment {incoming.id!r} has changed since that context was read")

    return _store(db, actor_id, source, batch, only_with_context, "add_comments")


def delete_comments(
    db: Database, *, actor_id: str, source: Source, ids: Sequence[str], salt: int
) -> int:
    """Delete comments by id; unknown ids are no error. Return how many there were."""
    tag = source_tag(source.key)
    hashes = {one: key_hash(one, salt=salt, source_tag=tag) for one in ids}
    with db.write(catalogue=False) as tx:
        order.take_order(tx)
        found = comments.find_positions(tx, source.key, hashes)
        places = [(hashes[one], pos) for one, (pos, _) in found.items()]
        forget(tx, source.key, [pos for _, pos in places])
        deleted = comments.delete(tx, source.key, places)
        if deleted:
            comments.count_content(tx, source.key, added=-deleted, modified_us=now_us())
            _record(tx, actor_id, "delete_comment", source, {"deleted": deleted})
    return deleted


def _store(
    db: Database,
    actor_id: str,
    source: Source,
    batch: Sequence[Incoming],
    allow_overwrite: Callable[[Incoming, bytes], None],
    event_type: str,
    within: Callable[[Writer], None] = _nothing,
) -> Counts:
    if not batch and within is _nothing:
        return Counts()
    with db.write(catalogue=False) as tx:
        last = order.take_order(tx)
        within(tx)
        sources.require_exists(tx, source.key)
        plan = _plan(tx, source.key, batch)
        for _, incoming, front in plan.changed:
            allow_overwrite(incoming, front)
        counts = Counts(unchanged=plan.unchanged)
        now = now_us()
        if plan.fresh:
            _require_room(tx, source, len(plan.fresh))
            _insert(tx, source, plan.fresh, last, now)
            counts.new = len(plan.fresh)
        if plan.changed:
            reworded = _update(tx, source, plan, now, counts)
            if reworded:
                drop_spans(tx, reworded, user_id=actor_id, now_us=now)
        if counts.new or counts.updated:
            comments.count_content(tx, source.key, added=counts.new, modified_us=now)
            details: dict[str, str | int] = {"new": counts.new, "updated": counts.updated}
            _record(tx, actor_id, event_type, source, details)
    return counts


def _plan(tx: Reader, source_key: int, batch: Sequence[Incoming]) -> _Plan:
    plan = _Plan()
    stored = keys.find(tx, [c.key_hash for c in batch])
    if not stored:
        plan.fresh = list(batch)
        return plan
    suspects: list[tuple[Incoming, list[StoredKey]]] = []
    for incoming in batch:
        same = stored.get(incoming.key_hash)
        if same is None:
            plan.fresh.append(incoming)
        elif any(key.digest == incoming.digest for key in same):
            plan.unchanged += 1
        else:
            suspects.append((incoming, same))
    if suspects:
        _plan_suspects(tx, source_key, plan, suspects)
    return plan


def _plan_suspects(
    tx: Reader,
    source_key: int,
    plan: _Plan,
    suspects: Sequence[tuple[Incoming, list[StoredKey]]],
) -> None:
    """Sort out comments whose hash is stored with other content: changed, or another id."""
    positions = [key.pos for _, same in suspects for key in same]
    rows = plan.rows = comments.read_rows(tx, source_key, positions)
    fronts = comments.read_fronts(tx, positions)
    for incoming, same in suspects:
        mine = (key.pos for key in same if key.pos in rows and rows[key.pos].id == incoming.id)
        pos = next(mine, None)
        if pos is None:
            plan.fresh.append(incoming)
        else:
            plan.changed.append((pos, incoming, fronts[pos]))


def _require_room(tx: Writer, source: Source, count: int) -> None:
    held = sources.comment_count(tx, source.key)
    quotas.require_room(tx, "comments_per_source", held + count)
    quotas.require_room(tx, "comments", comments.total_comments(tx) + count)


def _insert(tx: Writer, source: Source, fresh: Sequence[Incoming], last: int, now: int) -> None:
    first = order.hand_out(tx, last=last, count=len(fresh), now_us=now)
    files.bind(tx, source, [(first + i, incoming, None) for i, incoming in enumerate(fresh)])
    make = FrontMaker(source.id).make
    placed = list(enumerate(fresh, first))
    comments.insert(tx, source.key, placed, [make(c, pos) for pos, c in placed])


def _update(tx: Writer, source: Source, plan: _Plan, now: int, counts: Counts) -> list[int]:
    """Store the changed comments; return the positions of those whose messages changed."""
    files.bind(tx, source, plan.changed)
    make = FrontMaker(source.id).make
    fronts: list[bytes] = []
    reworded: list[int] = []
    for pos, incoming, old in plan.changed:
        # Strictly after the last change, so that `context` names one version only.
        modified = max(now, modified_us_of(old) + 1)
        fronts.append(make(incoming, pos, modified))
        if message_changed(core_of(old), incoming.core):
            counts.updated_text_changed += 1
            reworded.append(pos)
        else:
            counts.updated_properties_only += 1
    counts.updated = len(plan.changed)
    changed = [(pos, plan.rows[pos], incoming) for pos, incoming, _ in plan.changed]
    comments.update(tx, source.key, changed, fronts)
    return reworded


def _record(
    tx: Writer, actor_id: str, event_type: str, source: Source, details: dict[str, str | int]
) -> None:
    refs = Refs(
        projects=(ProjectRef(source.project_id, source.owner),),
        sources=(source.ref,),
        details=details,
    )
    audit.record(tx, actor_id=actor_id, event_type=event_type, refs=refs)
