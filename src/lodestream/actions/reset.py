"""Going back: labels and annotations as they were when a pinned model learned from them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec
from msgspec import Struct

from lodestream.domain.access import Actor
from lodestream.domain.annotations import State, has_new_spans, relabelled, without_fields
from lodestream.domain.audit import ProjectRef, Refs
from lodestream.domain.comments import modified_us_of
from lodestream.domain.datasets import Dataset
from lodestream.domain.definitions import Definitions, LabelRow
from lodestream.domain.errors import NotFound, Unprocessable
from lodestream.domain.fields import EntityDef
from lodestream.domain.times import now_us
from lodestream.store import audit, comments, datasets, jobs, labels, models
from lodestream.store.annotations import hold, lock_dataset
from lodestream.store.db import Database, Reader, Writer
from lodestream.store.definitions import record
from lodestream.store.events import (
    Remembered,
    definitions_since,
    labelled_until,
    set_labelled,
    states_before,
)
from lodestream.store.marks import Change, Stored, read_states, write_changes

JOB = "reset_annotations"


class ResetJob(Struct):
    """What the job is to do, and for whom."""

    dataset_id: str
    revision: int
    user_id: str


def request_reset(db: Database, *, actor: Actor, dataset_id: str, version: int) -> None:
    """Have labels and annotations restored to those that a pinned model learned from.

    Raises NotFound for an unknown dataset, Unprocessable for a version that there is not, or that
    is not pinned.
    """
    with db.write(catalogue=False) as tx:
        dataset = datasets.get(tx, dataset_id)
        model = models.find(tx, dataset_id, version)
        if model is None:
            raise Unprocessable(f"model_version: the dataset has no version {version}")
        if not model.pinned:
            raise Unprocessable(f"model_version: version {version} is not pinned")
        jobs.enqueue(tx, JOB, ResetJob(dataset_id, model.input_revision, actor.user_id))
        refs = Refs(
            projects=(ProjectRef(dataset.project_id, dataset.owner),),
            datasets=(dataset.ref,),
            details={"model_version": version},
        )
        audit.record(tx, actor_id=actor.user_id, event_type=JOB, refs=refs)


def is_resetting(tx: Reader, dataset_id: str) -> bool:
    """Tell whether a dataset's annotations are still to be restored."""
    decode = msgspec.json.Decoder(ResetJob).decode
    return any(decode(one).dataset_id == dataset_id for one in jobs.payloads(tx, JOB))


def reset_annotations(db: Database, job: ResetJob) -> None:
    """Restore labels and annotations to a revision, as new changes; history stays.

    Done in one transaction, so nobody sees half of it. A deleted dataset has nothing to restore.
    """
    with db.write() as tx:
        try:
            lock_dataset(tx, job.dataset_id)
        except NotFound:
            return
        now = now_us()
        hold(tx, job.dataset_id, now_us=now)
        dataset = datasets.get(tx, job.dataset_id)
        remembered = states_before(tx, dataset.id, after_revision=job.revision)
        stored = read_states(tx, dataset.id, remembered)
        rows = _restore_definitions(tx, dataset, job, now=now)
        types = {one.id for one in datasets.entity_defs(tx, dataset.id)}
        changes = []
        for pos, one in stored.items():
            before = _of_labels(remembered[pos].before, rows, types)
            after = _with_present_texts(tx, pos, one, remembered[pos], before)
            if after != one.state:
                changes.append(Change(pos, one.source, one, after))
        write_changes(tx, dataset.id, changes, user_id=job.user_id, now_us=now)
        positions = [one.pos for one in changes]
        times = labelled_until(tx, dataset.id, positions, revision=job.revision)
        set_labelled(tx, dataset.id, times)


def _restore_definitions(
    tx: Writer, dataset: Dataset, job: ResetJob, *, now: int
) -> dict[int, LabelRow]:
    """Restore the labels, and the field types that are gone; return the labels by key."""
    current = {row.key: row for row in labels.dataset_rows(tx, dataset.id)}
    types = {one.id: one for one in dataset.entity_defs}
    wanted, former = dict(current), dict(types)
    for before, after in definitions_since(tx, dataset.id, revision=job.revision):
        for row in after.labels:
            wanted.pop(row.key, None)
        wanted |= {row.key: row for row in before.labels}
        for one in after.entity_defs:
            former.pop(one.id, None)
        former |= {one.id: one for one in before.entity_defs}
    groups = {group.name for group in dataset.label_groups}
    wanted = {key: row for key, row in wanted.items() if row.group in groups}
    gone = [row for key, row in current.items() if wanted.get(key) != row]
    back = [row for key, row in wanted.items() if current.get(key) != row]
    # Types made since stay: general fields may be of them.
    lost = _free_of_names([one for key, one in former.items() if key not in types], types)
    if not (gone or back or lost):
        return wanted
    labels.restore_labels(tx, dataset.id, gone=gone, back=back)
    if lost:
        datasets.set_entity_defs(tx, dataset.id, [*dataset.entity_defs, *lost])
    record(
        tx,
        dataset.id,
        Definitions(labels=tuple(gone)),
        Definitions(labels=tuple(back), entity_defs=tuple(lost)),
        user_id=job.user_id,
        now_us=now,
    )
    datasets.touch(tx, dataset.id, now_us=now)
    return wanted


def _free_of_names(lost: Sequence[EntityDef], types: Mapping[str, EntityDef]) -> list[EntityDef]:
    """Return those field types whose name no other one has taken."""
    taken = {one.name for one in types.values()}
    return [one for one in lost if one.name not in taken]


def _of_labels(state: State, rows: Mapping[int, LabelRow], types: set[str]) -> State:
    """Return a remembered state by the names that labels have now, without what is gone."""
    keys = {mark.key for mark in (*state.assigned, *state.dismissed)}
    keys |= {one.key for one in state.captures}
    moves = {key: (key, rows[key].name) if key in rows else None for key in keys}
    used = {mark.entity_def_id for mark in (*state.fields_assigned, *state.fields_dismissed)}
    return relabelled(without_fields(state, frozenset(used - types)), moves)


def _with_present_texts(
    tx: Writer, pos: int, stored: Stored, remembered: Remembered, wanted: State
) -> State:
    """Return a state without places in a text that is another one now: those of today stay."""
    if not has_new_spans(stored.state, wanted):
        return wanted
    front = comments.read_fronts(tx, [pos]).get(pos)
    if front is not None and modified_us_of(front) < remembered.at_us:
        return wanted
    return msgspec.structs.replace(
        wanted,
        fields_assigned=stored.state.fields_assigned,
        fields_dismissed=stored.state.fields_dismissed,
        captures=stored.state.captures,
    )
