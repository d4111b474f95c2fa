"""The annotations of comments: states ↔ rows, and an event for every change."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
import sqlalchemy as sa
from msgspec import Struct

from lodestream.domain.annotations import (
    NOTHING,
    FieldMark,
    LabelCaptures,
    LabelMark,
    State,
    Uninformative,
    encode,
    origin_of,
)
from lodestream.domain.labelling import Metadata
from lodestream.store import bulk
from lodestream.store.annotations import chunks, take_revision
from lodestream.store.db import Reader, Writer
from lodestream.store.tables import (
    annotated_comment,
    annotation_event,
    field_mark,
    label_def,
    label_mark,
)


@dataclass(frozen=True, slots=True)
class Stored:
    """A comment's annotations as they are stored, with what is kept beside them."""

    source: int
    revision: int
    state: State
    origin: str | None
    labelled_us: int | None


@dataclass(frozen=True, slots=True)
class Change:
    """A comment's annotations before (None: it never had any) and after a change.

    `labelled` says that a person set its labels, all of them, at this moment.
    """

    pos: int
    source: int
    before: Stored | None
    after: State
    labelled: bool = False

    @property
    def state_before(self) -> State:
        """The annotations before the change."""
        return NOTHING if self.before is None else self.before.state


class _LabelBody(Struct, omit_defaults=True):
    instructions: str = ""
    metadata: Metadata | None = None


_decode_label = msgspec.json.Decoder(_LabelBody).decode
_decode_field = msgspec.json.Decoder(FieldMark).decode
_decode_uninformative = msgspec.json.Decoder(Uninformative).decode
_decode_captures = msgspec.json.Decoder(tuple[LabelCaptures, ...]).decode


def read_states(tx: Reader, dataset_id: str, positions: Iterable[int]) -> dict[int, Stored]:
    """Return what is stored of those of the comments that were ever annotated in a dataset."""
    found: dict[int, Stored] = {}
    # Of many comments few are annotated; to ask which costs little.
    own = annotated_comment.c.pos
    annotated = {row[0] for row in bulk.rows_in(tx, (own,), own, set(positions))}
    for chunk in chunks(sorted(annotated)):
        found.update(_read_chunk(tx, dataset_id, chunk))
    return found


def _read_chunk(tx: Reader, dataset_id: str, chunk: Sequence[int]) -> dict[int, Stored]:
    def here(table: sa.Table) -> sa.ColumnElement[bool]:
        return (table.c.dataset_id == dataset_id) & table.c.pos.in_(chunk)

    rows = tx.execute(sa.select(annotated_comment).where(here(annotated_comment))).all()
    if not rows:
        return {}
    labels: dict[tuple[int, bool], list[LabelMark]] = {}
    names: dict[int, str] = {}
    query = (
        sa.select(label_mark, label_def.c.name)
        .join(label_def, label_def.c.key == label_mark.c.label)
        .where(here(label_mark))
        .order_by(label_def.c.name)
    )
    for row in tx.execute(query):
        body = _decode_label(row.body)
        mark = LabelMark(row.label, row.name, row.negative, body.instructions, body.metadata)
        labels.setdefault((row.pos, row.dismissed), []).append(mark)
        names[row.label] = row.name
    fields: dict[tuple[int, bool], list[FieldMark]] = {}
    query = sa.select(field_mark).where(here(field_mark)).order_by(field_mark.c.rank)
    for row in tx.execute(query):
        fields.setdefault((row.pos, row.dismissed), []).append(_decode_field(row.body))
    captures = {row.pos: _decode_captures(row.moon_forms) for row in rows if row.moon_forms}
    strange = {one.key for found in captures.values() for one in found} - names.keys()
    names |= _names(tx, strange)
    return {
        row.pos: Stored(
            row.source,
            row.revision,
            State(
                assigned=_sorted(labels.get((row.pos, False), ())),
                dismissed=_sorted(labels.get((row.pos, True), ())),
                uninformative=(
                    None if row.uninformative is None else _decode_uninformative(row.uninformative)
                ),
                fields_assigned=tuple(fields.get((row.pos, False), ())),
                fields_dismissed=tuple(fields.get((row.pos, True), ())),
                captures=tuple(
                    msgspec.structs.replace(one, name=names[one.key])
                    for one in captures.get(row.pos, ())
                    if one.key in names
                ),
            ),
            row.origin,
            row.labelled_us,
        )
        for row in rows
    }


def _sorted(marks: Iterable[LabelMark]) -> tuple[LabelMark, ...]:
    # A database may order texts by other rules than Python.
    return tuple(sorted(marks, key=lambda mark: mark.name))


def _names(tx: Reader, keys: Iterable[int]) -> dict[int, str]:
    wanted = list(keys)
    if not wanted:
        return {}
    query = sa.select(label_def.c.key, label_def.c.name).where(label_def.c.key.in_(wanted))
    return {row.key: row.name for row in tx.execute(query)}


def write_changes(
    tx: Writer, dataset_id: str, changes: Sequence[Change], *, user_id: str, now_us: int
) -> dict[int, int]:
    """Store the annotations of comments, and an event for each; return their revisions.

    The caller holds the dataset's annotations.
    """
    if not changes:
        return {}
    ordered = sorted(changes, key=lambda one: one.pos)
    last = take_revision(tx, dataset_id, now_us, count=len(ordered))
    revisions = {one.pos: revision for revision, one in enumerate(ordered, last - len(ordered) + 1)}
    _replace(
        tx,
        annotated_comment,
        dataset_id,
        [one.pos for one in ordered],
        [_comment_row(dataset_id, one, revisions[one.pos], now_us) for one in ordered],
    )
    write_marks(tx, dataset_id, ordered)
    bulk.insert_rows(
        tx,
        annotation_event,
        [
            (
                dataset_id,
                revisions[one.pos],
                one.pos,
                now_us,
                user_id,
                encode(one.state_before).decode(),
                encode(one.after).decode(),
            )
            for one in ordered
        ],
    )
    return revisions


def write_marks(tx: Writer, dataset_id: str, changes: Sequence[Change]) -> None:
    """Store the marks of labels and fields where they changed, and nothing else."""
    relabelled = [
        one
        for one in changes
        if (one.after.assigned, one.after.dismissed)
        != (one.state_before.assigned, one.state_before.dismissed)
    ]
    label_rows = [
        (dataset_id, one.pos, mark.key, dismissed, mark.negative, _label_body(mark))
        for one in relabelled
        for key, (dismissed, mark) in sorted(one.after.labels().items())
    ]
    _replace(tx, label_mark, dataset_id, [one.pos for one in relabelled], label_rows)
    refilled = [
        one
        for one in changes
        if (one.after.fields_assigned, one.after.fields_dismissed)
        != (one.state_before.fields_assigned, one.state_before.fields_dismissed)
    ]
    field_rows = [
        (dataset_id, one.pos, rank, mark.entity_def_id, dismissed, encode(mark).decode())
        for one in refilled
        for rank, (dismissed, mark) in enumerate(
            [(False, mark) for mark in one.after.fields_assigned]
            + [(True, mark) for mark in one.after.fields_dismissed]
        )
    ]
    _replace(tx, field_mark, dataset_id, [one.pos for one in refilled], field_rows)


def _label_body(mark: LabelMark) -> str:
    return encode(_LabelBody(mark.instructions, mark.metadata)).decode()


def _comment_row(dataset_id: str, one: Change, revision: int, now_us: int) -> tuple[Any, ...]:
    before, after = one.before, one.after
    was_reviewed = one.state_before.is_reviewed
    origin = before.origin if before is not None and was_reviewed else origin_of(after)
    labelled_us = now_us if one.labelled else None if before is None else before.labelled_us
    return (
        dataset_id,
        one.pos,
        one.source,
        revision,
        after.is_reviewed,
        None if after.uninformative is None else encode(after.uninformative).decode(),
        encode(after.captures).decode() if after.captures else None,
        origin,
        labelled_us,
        now_us,
    )


def _replace(
    tx: Writer,
    table: sa.Table,
    dataset_id: str,
    positions: Sequence[int],
    rows: Sequence[tuple[Any, ...]],
) -> None:
    for chunk in chunks(positions):
        here = (table.c.dataset_id == dataset_id) & table.c.pos.in_(chunk)
        tx.execute(sa.delete(table).where(here))
    bulk.insert_rows(tx, table, rows)


def change_states(
    tx: Writer,
    dataset_id: str,
    positions: Iterable[int],
    change: Callable[[State], State],
    *,
    user_id: str,
    now_us: int,
) -> int:
    """Change the annotations of comments by a rule; return of how many that changed anything.

    The caller holds the dataset's annotations.
    """
    changed = 0
    for chunk in chunks(sorted(set(positions))):
        changes = [
            Change(pos, stored.source, stored, after)
            for pos, stored in read_states(tx, dataset_id, chunk).items()
            if (after := change(stored.state)) != stored.state
        ]
        write_changes(tx, dataset_id, changes, user_id=user_id, now_us=now_us)
        changed += len(changes)
    return changed


def positions_with_labels(tx: Reader, dataset_id: str, keys: Iterable[int]) -> list[int]:
    """Return the comments that have a mark, or an occurrence, of one of the labels."""
    wanted = list(keys)
    found: set[int] = set()
    for chunk in chunks(wanted):
        query = sa.select(label_mark.c.pos).where(
            label_mark.c.label.in_(chunk), label_mark.c.dataset_id == dataset_id
        )
        found.update(tx.execute(query).scalars())
    if wanted:
        found.update(_positions_with_captures(tx, dataset_id, frozenset(wanted)))
    return sorted(found)


def _positions_with_captures(tx: Reader, dataset_id: str, keys: frozenset[int]) -> list[int]:
    # Dismissed and drafted occurrences need no mark of their label; such comments are few.
    query = sa.select(annotated_comment.c.pos, annotated_comment.c.moon_forms).where(
        annotated_comment.c.dataset_id == dataset_id, annotated_comment.c.moon_forms.is_not(None)
    )
    return [
        row.pos
        for row in tx.execute(query)
        if any(one.key in keys for one in _decode_captures(row.moon_forms))
    ]


def positions_with_fields(tx: Reader, dataset_id: str, entity_def_ids: Sequence[str]) -> list[int]:
    """Return the comments that have a mark of a field of one of the types."""
    query = sa.select(field_mark.c.pos).where(
        field_mark.c.dataset_id == dataset_id, field_mark.c.entity_def_id.in_(entity_def_ids)
    )
    return sorted(set(tx.execute(query).scalars()))
