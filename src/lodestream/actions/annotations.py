"""Annotations of comments by single labels, many at once, and the way back.

All of a call happens or nothing, but for what the caller said on an older state of a comment.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from lodestream.actions.annotating import Session, annotating
from lodestream.domain.access import Actor
from lodestream.domain.annotations import (
    NOTHING,
    Action,
    State,
    check_labels,
    has_new_spans,
    relabelled,
    undone,
    with_delta,
    without_fields,
)
from lodestream.domain.comments import modified_us_of
from lodestream.domain.errors import Conflict, NotFound
from lodestream.domain.labelling import (
    LabelNew,
)
from lodestream.store import datasets
from lodestream.store.annotations import (
    find_keys,
    lock_text,
)
from lodestream.store.db import Database
from lodestream.store.events import find_event, find_names
from lodestream.store.marks import Change, Stored, read_states


@dataclass(frozen=True)
class Delta:
    """One label of one comment, as it is to be; `revision` is the one that the caller saw."""

    uid: str
    label: LabelNew
    action: Action
    revision: int | None = None


Outcome = Literal["changed", "unchanged", "conflict"]


def annotate(
    db: Database,
    *,
    actor: Actor,
    project_id: str,
    dataset_id: str,
    salt: int,
    deltas: Sequence[Delta],
) -> list[tuple[Outcome, int]]:
    """Assign, dismiss or clear single labels of comments; return what came of each, in order.

    With each goes the comment's revision afterwards. A delta whose caller saw an older revision is
    left out and told as a conflict; the others happen.

    Raises NotFound for an unknown dataset or comment, InvalidInput for a sentiment that there is
    not, QuotaExceeded.
    """

    def work(session: Session) -> list[tuple[Outcome, int]]:
        uids = dict.fromkeys(delta.uid for delta in deltas)
        places = session.lock_places(uids, salt=salt, project_id=project_id)
        session.hold()
        stored = read_states(session.tx, dataset_id, [place.pos for place in places.values()])
        timely = [_is_timely(delta, stored.get(places[delta.uid].pos)) for delta in deltas]
        keys = _keys_of(session, [d for d, good in zip(deltas, timely, strict=True) if good])
        states = {pos: one.state for pos, one in stored.items()}
        outcomes: list[Outcome] = []
        for delta, good in zip(deltas, timely, strict=True):
            pos = places[delta.uid].pos
            before = states.get(pos, NOTHING)
            after = before
            key = keys.get(delta.label.name)
            if good and key is not None:
                after = with_delta(
                    before, delta.label, key, action=delta.action, author=session.author
                )
            states[pos] = after
            outcomes.append(
                "conflict" if not good else "unchanged" if after == before else "changed"
            )
        changes = [
            Change(place.pos, place.source, stored.get(place.pos), states[place.pos], True)
            for place in places.values()
        ]
        revisions = {pos: one.revision for pos, one in stored.items()} | session.save(changes)
        return [
            (outcome, revisions.get(places[delta.uid].pos, 0))
            for delta, outcome in zip(deltas, outcomes, strict=True)
        ]

    return annotating(db, actor, dataset_id, work, project_id=project_id)


def _is_timely(delta: Delta, stored: Stored | None) -> bool:
    return delta.revision is None or stored is None or delta.revision >= stored.revision


def _keys_of(session: Session, deltas: Sequence[Delta]) -> dict[str, int]:
    """Return the keys of labels; one that is only cleared is not created for that."""
    for delta in deltas:
        check_labels([delta.label], (), has_sentiment=session.has_sentiment)
    cleared = {delta.label.name for delta in deltas if delta.action == "clear"}
    found = find_keys(session.tx, session.dataset_id, cleared)
    return found | session.keys_of(d.label.name for d in deltas if d.action != "clear")


def undo(
    db: Database,
    *,
    actor: Actor,
    project_id: str,
    dataset_id: str,
    salt: int,
    uid: str,
    revision: int | None,
) -> int:
    """Take back one change of a comment's annotations, the last one unless told; as a new change.

    Return the comment's revision afterwards. Labels that are gone are created again.

    Raises NotFound for an unknown dataset, comment or change; Conflict if a later change touched
    the same, or the text that a field was found in.
    """

    def work(session: Session) -> int:
        place = session.lock_places([uid], salt=salt, project_id=project_id)[uid]
        front = lock_text(session.tx, place.pos) or b""
        session.hold()
        event = find_event(session.tx, dataset_id, place.pos, revision=revision)
        stored = read_states(session.tx, dataset_id, [place.pos]).get(place.pos)
        if event is None or stored is None:
            what = "no annotations" if revision is None else f"no change with revision {revision}"
            raise NotFound(f"The comment has {what}: {uid[:200]}")
        before, after = _of_today(session, event.before, event.after)
        state = undone(stored.state, before, after)
        if state is None:
            raise Conflict("a later change touched the same annotations")
        if has_new_spans(stored.state, state) and modified_us_of(front) >= event.at_us:
            raise Conflict("the comment has changed since, so its fields cannot be put back")
        change = Change(place.pos, place.source, stored, state, True)
        return session.save([change]).get(place.pos, stored.revision)

    return annotating(db, actor, dataset_id, work, project_id=project_id)


def _of_today(session: Session, before: State, after: State) -> tuple[State, State]:
    """Return what was remembered of a change by today's labels, without types that are gone.

    Of labels that are gone, those are created again which the change took away.
    """
    was, became = before.labels(), after.labels()
    captures = {one.key for one in (*before.captures, *after.captures)}
    names = find_names(session.tx, {*was, *became, *captures})
    lost = {
        key: mark.name for key, (_, mark) in was.items() if key not in names and key not in became
    }
    keys = session.keys_of(lost.values()) if lost else {}
    moves: dict[int, tuple[int, str] | None] = dict.fromkeys({*was, *became, *captures})
    moves |= {key: (key, name) for key, name in names.items()}
    moves |= {key: (keys[name], name) for key, name in lost.items()}
    types = {one.id for one in datasets.entity_defs(session.tx, session.dataset_id)}

    def of_today(state: State) -> State:
        used = {mark.entity_def_id for mark in (*state.fields_assigned, *state.fields_dismissed)}
        return relabelled(without_fields(state, frozenset(used - types)), moves)

    return of_today(before), of_today(after)
