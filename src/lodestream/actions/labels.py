"""The taxonomy of a dataset: labels and label groups."""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import UNSET

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
    changed_label,
    merged_labels,
    relabelled,
    require_unique_external_ids,
)
from lodestream.domain.times import now_us
from lodestream.store import audit, datasets, labels, quotas
from lodestream.store.db import Database, Writer


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
        if _save(tx, dataset, group_name, before, after):
            _record(tx, actor_id, "create_label_defs_bulk", dataset)


def update_label(
    db: Database,
    *,
    actor_id: str,
    dataset_id: str,
    group_name: str,
    name: str,
    change: LabelDefChange,
) -> LabelDef:
    """Set what is given on a label; a new name moves its children too, or merges it.

    Raises NotFound for an unknown dataset, group or label; InvalidInput, Unprocessable,
    QuotaExceeded.
    """
    with db.write() as tx:
        dataset = datasets.get(tx, dataset_id)
        before = _labels(dataset, group_name)
        _require_label(before, name)
        after = tuple(before)
        if change.name is not UNSET and change.name != name:
            after = relabelled(before, name, change.name)
            name = change.name
        types = FieldTypes(dataset.entity_defs)
        after = tuple(
            changed_label(label, change, types) if label.name == name else label for label in after
        )
        if _save(tx, dataset, group_name, before, after):
            _record(tx, actor_id, "update_label_def", dataset)
        return next(label for label in after if label.name == name)


def delete_label(
    db: Database, *, actor_id: str, dataset_id: str, group_name: str, name: str
) -> None:
    """Delete a label and all below it. Raises NotFound for an unknown dataset, group or label."""
    with db.write() as tx:
        dataset = datasets.get(tx, dataset_id)
        before = _labels(dataset, group_name)
        _require_label(before, name)
        after = [label for label in before if label.name != name and not is_below(label.name, name)]
        _save(tx, dataset, group_name, before, after)
        _record(tx, actor_id, "delete_label_def", dataset)


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
        labels.delete_group(tx, dataset_id, name)
        datasets.touch(tx, dataset_id, now_us=now_us())
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


def _save(
    tx: Writer,
    dataset: Dataset,
    group_name: str,
    before: Sequence[LabelDef],
    after: Sequence[LabelDef],
) -> bool:
    """Store the labels of a group; tell whether anything changed."""
    if list(before) == list(after):
        return False
    others = [
        label
        for group in dataset.label_groups
        if group.name != group_name
        for label in _labels(dataset, group.name)
    ]
    require_unique_external_ids([*others, *after])
    if len(after) > len(before):
        quotas.require_room(tx, "labels_per_dataset", len(others) + len(after))
    now = now_us()
    labels.save_labels(tx, dataset.id, group_name, after, now_us=now)
    datasets.touch(tx, dataset.id, now_us=now)
    return True


def _record(tx: Writer, actor_id: str, event_type: str, dataset: Dataset) -> None:
    refs = Refs(projects=(ProjectRef(dataset.project_id, dataset.owner),), datasets=(dataset.ref,))
    audit.record(tx, actor_id=actor_id, event_type=event_type, refs=refs)
