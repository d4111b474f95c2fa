"""Definitions of labels and field types: a change is stored, counted and remembered at once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec
import sqlalchemy as sa

from lodestream.domain.datasets import Dataset
from lodestream.domain.definitions import Definitions
from lodestream.domain.fields import FieldTypes
from lodestream.domain.labels import DEFAULT_GROUP, LabelDef, LabelDefUpsert, decode_label
from lodestream.domain.taxonomy import merged_labels, require_unique_external_ids
from lodestream.store import datasets, labels, quotas
from lodestream.store.annotations import take_revision
from lodestream.store.db import Writer
from lodestream.store.labels import NO_RENAMES
from lodestream.store.tables import annotation_event


def record(
    tx: Writer,
    dataset_id: str,
    before: Definitions,
    after: Definitions,
    *,
    user_id: str,
    now_us: int,
) -> bool:
    """Remember a change of definitions as a revision of its own; tell whether there was any."""
    if before == after:
        return False
    revision = take_revision(tx, dataset_id, now_us)
    tx.execute(
        sa.insert(annotation_event).values(
            dataset_id=dataset_id,
            revision=revision,
            pos=None,
            at_us=now_us,
            user_id=user_id,
            before=msgspec.json.encode(before).decode(),
            after=msgspec.json.encode(after).decode(),
        )
    )
    return True


def save_group(
    tx: Writer,
    dataset: Dataset,
    group_name: str,
    after: Sequence[LabelDef],
    *,
    user_id: str,
    now_us: int,
    renames: Mapping[str, str] = NO_RENAMES,
) -> bool:
    """Make the labels of a group these; tell whether anything changed.

    Raises Unprocessable for an external id that comes twice, QuotaExceeded.
    """
    stored = {
        group.name: [decode_label(body) for body in group.label_defs]
        for group in dataset.label_groups
    }
    before = stored.pop(group_name)
    if before == list(after):
        return False
    others = [label for found in stored.values() for label in found]
    require_unique_external_ids([*others, *after])
    if len(after) > len(before):
        quotas.require_room(tx, "labels_per_dataset", len(others) + len(after))
    changes = labels.save_labels(tx, dataset.id, group_name, after, now_us=now_us, renames=renames)
    record(tx, dataset.id, *changes, user_id=user_id, now_us=now_us)
    datasets.touch(tx, dataset.id, now_us=now_us)
    return True


def add_labels(
    tx: Writer, dataset: Dataset, names: Sequence[str], *, user_id: str, now_us: int
) -> None:
    """Create those of the labels, and of the labels above them, that there are not.

    Raises QuotaExceeded.
    """
    group = next(group for group in dataset.label_groups if group.name == DEFAULT_GROUP)
    before = [decode_label(body) for body in group.label_defs]
    there = {label.name for label in before}
    wanted = [LabelDefUpsert(name=name) for name in dict.fromkeys(names) if name not in there]
    after = merged_labels(before, wanted, FieldTypes(dataset.entity_defs))
    save_group(tx, dataset, DEFAULT_GROUP, after, user_id=user_id, now_us=now_us)
