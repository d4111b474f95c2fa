"""The taxonomy of a dataset: labels and label groups."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from msgspec import UNSET

from lodestream.domain.annotations import relabelled as moved_labels
from lodestream.domain.audit import ProjectRef, Refs
from lodestream.domain.datasets import Dataset
from lodestream.domain.errors import Conflict, InvalidInput, NotFound
from lodestream.domain.fields import FieldTypes
from lodestream.domain.labels import (
    DEFAULT_GROUP,
    LabelDef,
    LabelDefChange,
    LabelDefUpsert,
    LabelGroup,
    LabelGroupSettings,
    decode_label,
    is_below,
)
from lodestream.domain.taxonomy import (
    Renaming,
    changed_label,
    merged_labels,
    relabelled,
    renaming,
)
from lodestream.domain.times import now_us
from lodestream.store import audit, datasets, labels
from lodestream.store.annotations import find_keys, hold
from lodestream.store.db import Database, Writer
from lodestream.store.definitions import save_group
from lodestream.store.marks import change_states, positions_with_labels


def upsert_labels(
    db: Database,
    *,
    actor_id: str,
    dataset_id: str,
    group_name: str,
    label_defs: Sequence[LabelDefUpsert],
) -> None:
    """Create labels, or change those that exist by name: all of them or none.

    Raises NotFound for an unknown dataset or group; InvalidInput, Unprocessable, QuotaExceeded.
    """
    with db.write() as tx:
        dataset = datasets.get(tx, dataset_id)
        before = _labels(dataset, group_name)
        after = merged_labels(before, label_defs, FieldTypes(dataset.entity_defs))
        if save_group(tx, dataset, group_name, after, user_id=actor_id, now_us=now_us()):
            _record(tx, actor_id, "create_label_defs_bulk", dataset)


def update_label(
    db: Database,
    *,
    actor_id: str,
    dataset_id: str,
    group_name: str,
    name: str,
    change: LabelDefChange,
) -> tuple[LabelDef, int]:
    """Set what is given on a label; a new name moves its children too, or merges it.

    Annotations go along. Return the label, and of how many comments they changed.

    Raises NotFound for an unknown dataset, group or label; InvalidInput, Unprocessable,
    QuotaExceeded.
    """
    with db.write() as tx:
        now = now_us()
        dataset = datasets.get(tx, dataset_id)
        before = _labels(dataset, group_name)
        _require_label(before, name)
        after, names, modified = tuple(before), Renaming({}, {}), 0
        if change.name is not UNSET and change.name != name:
            after = relabelled(before, name, change.name)
            names = renaming([label.name for label in before], name, change.name)
            modified = _move_marks(tx, dataset, group_name, names, user_id=actor_id, now=now)
            name = change.name
        types = FieldTypes(dataset.entity_defs)
        after = tuple(
            changed_label(label, change, types) if label.name == name else label for label in after
        )
        if save_group(
            tx, dataset, group_name, after, user_id=actor_id, now_us=now, renames=names.renamed
        ):
            _record(tx, actor_id, "update_label_def", dataset)
        return next(label for label in after if label.name == name), modified


def delete_label(
    db: Database, *, actor_id: str, dataset_id: str, group_name: str, name: str
) -> int:
    """Delete a label and all below it; return of how many comments the annotations changed.

    Raises NotFound for an unknown dataset, group or label.
    """
    with db.write() as tx:
        now = now_us()
        dataset = datasets.get(tx, dataset_id)
        before = _labels(dataset, group_name)
        _require_label(before, name)
        after = [label for label in before if label.name != name and not is_below(label.name, name)]
        kept = {label.name for label in after}
        modified = _drop_marks(
            tx,
            dataset,
            group_name,
            [label.name for label in before if label.name not in kept],
            user_id=actor_id,
            now=now,
        )
        save_group(tx, dataset, group_name, after, user_id=actor_id, now_us=now)
        _record(tx, actor_id, "delete_label_def", dataset)
    return modified


def create_group(
    db: Database, *, actor_id: str, dataset_id: str, name: str, settings: LabelGroupSettings
) -> LabelGroup:
    """Create an empty label group.

    Raises NotFound for an unknown dataset, Conflict if there is a group of this name.
    """
    with db.write() as tx:
        dataset = datasets.get(tx, dataset_id)
        if any(group.name == name for group in dataset.label_groups):
            raise Conflict(f"a label group named {name!r} exists")
        labels.insert_group(tx, dataset_id, name, settings, rank=labels.next_rank(tx, dataset_id))
        datasets.touch(tx, dataset_id, now_us=now_us())
        _record(tx, actor_id, "create_label_group", dataset)
    return LabelGroup(name, settings, ())


def delete_group(db: Database, *, actor_id: str, dataset_id: str, name: str) -> None:
    """Delete a label group with its labels.

    Raises InvalidInput for the default group, NotFound for an unknown dataset or group.
    """
    if name == DEFAULT_GROUP:
        raise InvalidInput(f"the label group {DEFAULT_GROUP!r} cannot be deleted")
    with db.write() as tx:
        dataset = datasets.get(tx, dataset_id)
        _labels(dataset, name)
        now = now_us()
        save_group(tx, dataset, name, [], user_id=actor_id, now_us=now)
        labels.delete_group(tx, dataset_id, name)
        datasets.touch(tx, dataset_id, now_us=now)
        _record(tx, actor_id, "delete_label_group", dataset)


def _labels(dataset: Dataset, group_name: str) -> list[LabelDef]:
    """Return the labels of a group. Raises NotFound if there is no such group."""
    for group in dataset.label_groups:
        if group.name == group_name:
            return [decode_label(body) for body in group.label_defs]
    raise NotFound(f"No such label group: {group_name}")


def _require_label(found: Sequence[LabelDef], name: str) -> None:
    if all(label.name != name for label in found):
        raise NotFound(f"No such label: {name}")


def _move_marks(
    tx: Writer, dataset: Dataset, group_name: str, names: Renaming, *, user_id: str, now: int
) -> int:
    """Bring the marks of merged labels to the others; return how many comments are concerned.

    Marks of a label that only gets another name stay: they know its key.
    """
    if group_name != DEFAULT_GROUP:
        return 0
    hold(tx, dataset.id, now_us=now)
    keys = find_keys(tx, dataset.id, [*names.renamed, *names.merged, *names.merged.values()])
    moves = {keys[old]: (keys[new], new) for old, new in names.merged.items()}
    fields = _matching_fields(_labels(dataset, group_name), names.merged)
    concerned = positions_with_labels(
        tx, dataset.id, [keys[name] for name in (*names.renamed, *names.merged)]
    )
    merged = positions_with_labels(tx, dataset.id, moves)
    change_states(
        tx,
        dataset.id,
        merged,
        lambda state: moved_labels(state, moves, fields),
        user_id=user_id,
        now_us=now,
    )
    return len(concerned)


def _drop_marks(
    tx: Writer,
    dataset: Dataset,
    group_name: str,
    names: Sequence[str],
    *,
    user_id: str,
    now: int,
) -> int:
    """Take away the marks of labels; return of how many comments."""
    if group_name != DEFAULT_GROUP:
        return 0
    hold(tx, dataset.id, now_us=now)
    gone = dict.fromkeys(find_keys(tx, dataset.id, names).values())
    return change_states(
        tx,
        dataset.id,
        positions_with_labels(tx, dataset.id, gone),
        lambda state: moved_labels(state, gone),
        user_id=user_id,
        now_us=now,
    )


def _matching_fields(labels: Sequence[LabelDef], merged: Mapping[str, str]) -> dict[str, str]:
    """Return which extraction field of the other label has the name of each field, by their ids."""
    fields = {
        label.name: {}
        if label.moon_form is UNSET
        else {f.name: f.field_id for f in label.moon_form}
        for label in labels
    }
    return {
        field_id: fields[new][field_name]
        for old, new in merged.items()
        for field_name, field_id in fields[old].items()
        if field_name in fields[new]
    }


def _record(tx: Writer, actor_id: str, event_type: str, dataset: Dataset) -> None:
    refs = Refs(projects=(ProjectRef(dataset.project_id, dataset.owner),), datasets=(dataset.ref,))
    audit.record(tx, actor_id=actor_id, event_type=event_type, refs=refs)
