"""What becomes of annotations when comments change or go, and when a dataset is copied."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import msgspec
import sqlalchemy as sa

from lodestream.domain.annotations import NOTHING, FieldMark, LabelMark, State, without_spans
from lodestream.domain.errors import NotFound
from lodestream.domain.times import now_us
from lodestream.store import bulk
from lodestream.store.annotations import (
    chunks,
    hold,
    lock_dataset,
    next_revision,
    take_revision,
)
from lodestream.store.db import Reader, Writer
from lodestream.store.marks import Change, change_states, read_states, write_marks
from lodestream.store.tables import (
    annotated_comment,
    annotation_event,
    comment,
    dataset_source,
    field_mark,
    label_mark,
)

_OF_COMMENTS: Final = (label_mark, field_mark, annotated_comment)


def forget(tx: Writer, source: int, positions: Iterable[int]) -> None:
    """Remove everything that was ever said of comments that are about to be deleted.

    The caller holds the order and then deletes the comments.
    """
    now = now_us()
    for chunk in chunks(sorted(positions)):
        # Who is annotating one of them is waited for, in the order in which he locked them.
        lock = sa.select(comment.c.pos).where(comment.c.source == source, comment.c.pos.in_(chunk))
        tx.execute(lock.order_by(comment.c.pos).with_for_update()).all()
        query = sa.select(
            annotated_comment.c.dataset_id, annotated_comment.c.pos, annotated_comment.c.reviewed
        ).where(annotated_comment.c.pos.in_(chunk))
        found: dict[str, list[tuple[int, bool]]] = {}
        for row in tx.execute(query):
            found.setdefault(row.dataset_id, []).append((row.pos, row.reviewed))
        for dataset_id in sorted(found):
            if any(reviewed for _, reviewed in found[dataset_id]):
                next_revision(tx, dataset_id, now)
            gone = [pos for pos, _ in found[dataset_id]]
            for table in (*_OF_COMMENTS, annotation_event):
                here = (table.c.dataset_id == dataset_id) & table.c.pos.in_(gone)
                tx.execute(sa.delete(table).where(here))


def drop_spans(tx: Writer, positions: Sequence[int], *, user_id: str, now_us: int) -> None:
    """Take away the fields of comments whose texts changed: they point to places in the old ones.

    One statement, as long as no comment among them has fields.
    """
    for dataset_id, found in _with_fields(tx, positions).items():
        try:
            lock_dataset(tx, dataset_id)
        except NotFound:
            continue  # its annotations go by themselves
        hold(tx, dataset_id, now_us=now_us)
        change_states(tx, dataset_id, found, without_spans, user_id=user_id, now_us=now_us)


def _with_fields(tx: Reader, positions: Sequence[int]) -> dict[str, list[int]]:
    """Return those of the comments that have fields or occurrences, by dataset in order of id."""
    found: dict[str, list[int]] = {}
    has_field = sa.exists().where(
        field_mark.c.dataset_id == annotated_comment.c.dataset_id,
        field_mark.c.pos == annotated_comment.c.pos,
    )
    for chunk in chunks(sorted(positions)):
        query = sa.select(annotated_comment.c.dataset_id, annotated_comment.c.pos).where(
            annotated_comment.c.pos.in_(chunk),
            sa.or_(annotated_comment.c.moon_forms.is_not(None), has_field),
        )
        for row in tx.execute(query):
            found.setdefault(row.dataset_id, []).append(row.pos)
    return dict(sorted(found.items()))


@dataclass(frozen=True)
class Renumbering:
    """What the definitions of a dataset are called in its copy."""

    labels: Mapping[int, int]  # keys
    types: Mapping[str, str]  # ids of field types
    fields: Mapping[str, str]  # ids of general fields and of extraction fields


def copy_annotations(tx: Writer, origin: str, copy: str, ids: Renumbering, *, now_us: int) -> int:
    """Give a new dataset the annotations of another one; return of how many reviewed comments.

    Those of sources that are not in the other dataset now are left out, as they are hidden there.
    """
    query = (
        sa.select(annotated_comment)
        .join(
            dataset_source,
            (dataset_source.c.dataset_id == annotated_comment.c.dataset_id)
            & (dataset_source.c.source == annotated_comment.c.source),
        )
        .where(annotated_comment.c.dataset_id == origin, annotated_comment.c.reviewed)
        .order_by(annotated_comment.c.pos)
    )
    rows = tx.execute(query).all()
    if not rows:
        return 0
    # As many revisions as comments: no dataset has more reviewed comments than revisions.
    revision = take_revision(tx, copy, now_us, count=len(rows))
    for start in range(0, len(rows), 1024):
        part = rows[start : start + 1024]
        states = read_states(tx, origin, [row.pos for row in part])
        changes = [
            Change(row.pos, row.source, None, _renumbered(states[row.pos].state, ids))
            for row in part
        ]
        fresh = [
            _copied(row, one.after, copy, revision) for row, one in zip(part, changes, strict=True)
        ]
        bulk.insert_rows(tx, annotated_comment, fresh)
        write_marks(tx, copy, changes)
    return len(rows)


def _copied(row: Any, state: State, copy: str, revision: int) -> tuple[Any, ...]:
    values = {
        **row._mapping,
        "dataset_id": copy,
        "revision": revision,
        "reviewed": state != NOTHING,
        "moon_forms": msgspec.json.encode(state.captures).decode() if state.captures else None,
    }
    return tuple(values[column.name] for column in annotated_comment.columns)


def _renumbered(state: State, ids: Renumbering) -> State:
    replace = msgspec.structs.replace

    def labels(marks: Sequence[LabelMark]) -> tuple[LabelMark, ...]:
        return tuple(replace(m, key=ids.labels[m.key]) for m in marks if m.key in ids.labels)

    def fields(marks: Sequence[FieldMark]) -> tuple[FieldMark, ...]:
        return tuple(
            replace(
                mark,
                entity_def_id=ids.types[mark.entity_def_id],
                field_id=ids.fields.get(mark.field_id, ""),
            )
            for mark in marks
            if mark.entity_def_id in ids.types
        )

    captures = tuple(
        replace(
            one,
            key=ids.labels[one.key],
            captures=tuple(
                tuple(replace(f, field_id=ids.fields.get(f.field_id, f.field_id)) for f in found)
                for found in one.captures
            ),
        )
        for one in state.captures
        if one.key in ids.labels
    )
    return replace(
        state,
        assigned=labels(state.assigned),
        dismissed=labels(state.dismissed),
        fields_assigned=fields(state.fields_assigned),
        fields_dismissed=fields(state.fields_dismissed),
        captures=captures,
    )
