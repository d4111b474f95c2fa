"""Label groups and label definitions: rows ↔ structs."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import msgspec
import sqlalchemy as sa
from msgspec import Raw

from lodestream.domain.errors import NotFound
from lodestream.domain.labels import (
    LabelDef,
    LabelGroup,
    LabelGroupDefs,
    LabelGroupSettings,
    encode_label,
)
from lodestream.store.db import Reader, Writer
from lodestream.store.tables import label_def, label_group


def list_groups(tx: Reader, dataset_ids: sa.Select[Any]) -> dict[str, list[LabelGroup]]:
    """Return the label groups of the selected datasets, by dataset id; the oldest first."""
    labels: dict[tuple[str, str], list[Raw]] = {}
    rows = tx.execute(
        sa.select(label_def.c.dataset_id, label_def.c.group_name, label_def.c.body)
        .where(label_def.c.dataset_id.in_(dataset_ids))
        .order_by(label_def.c.rank, label_def.c.name)
    )
    for row in rows:
        labels.setdefault((row.dataset_id, row.group_name), []).append(Raw(row.body.encode()))
    groups: dict[str, list[LabelGroup]] = {}
    rows = tx.execute(
        sa.select(label_group)
        .where(label_group.c.dataset_id.in_(dataset_ids))
        .order_by(label_group.c.rank, label_group.c.name)
    )
    for row in rows:
        settings = msgspec.json.decode(row.body, type=LabelGroupSettings)
        found = tuple(labels.get((row.dataset_id, row.name), ()))
        groups.setdefault(row.dataset_id, []).append(LabelGroup(row.name, settings, found))
    return groups


def groups_of(tx: Reader, dataset_id: str) -> list[LabelGroup]:
    """Return the label groups of a dataset, the oldest first."""
    return list_groups(tx, sa.select(sa.literal(dataset_id))).get(dataset_id, [])


def get_group(tx: Reader, dataset_id: str, name: str) -> LabelGroup:
    """Return a label group of a dataset. Raises NotFound."""
    for group in groups_of(tx, dataset_id):
        if group.name == name:
            return group
    raise NotFound(f"No such label group: {name}")


def find_body(tx: Reader, dataset_id: str, group_name: str, name: str) -> Raw | None:
    """Return the JSON of a label's definition, or None."""
    query = sa.select(label_def.c.body).where(*_is(dataset_id, group_name, name))
    body: str | None = tx.execute(query).scalar_one_or_none()
    return None if body is None else Raw(body.encode())


def insert_groups(
    tx: Writer, dataset_id: str, groups: Sequence[LabelGroupDefs], *, now_us: int
) -> None:
    """Store the label groups of a new dataset with their labels, in this order."""
    for rank, group in enumerate(groups):
        insert_group(tx, dataset_id, group.name, group.settings, rank=rank)
        save_labels(tx, dataset_id, group.name, group.label_defs, now_us=now_us)


def insert_group(
    tx: Writer, dataset_id: str, name: str, settings: LabelGroupSettings, *, rank: int
) -> None:
    """Store a new label group."""
    body = msgspec.json.encode(settings).decode()
    row = {"dataset_id": dataset_id, "name": name, "rank": rank, "body": body}
    tx.execute(sa.insert(label_group).values(**row))


def update_group(tx: Writer, dataset_id: str, name: str, settings: LabelGroupSettings) -> None:
    """Replace the settings of a label group."""
    tx.execute(
        sa.update(label_group)
        .where(label_group.c.dataset_id == dataset_id, label_group.c.name == name)
        .values(body=msgspec.json.encode(settings).decode())
    )


def delete_group(tx: Writer, dataset_id: str, name: str) -> None:
    """Delete a label group with its labels."""
    tx.execute(
        sa.delete(label_def).where(
            label_def.c.dataset_id == dataset_id, label_def.c.group_name == name
        )
    )
    tx.execute(
        sa.delete(label_group).where(
            label_group.c.dataset_id == dataset_id, label_group.c.name == name
        )
    )


def save_labels(
    tx: Writer, dataset_id: str, group_name: str, labels: Sequence[LabelDef], *, now_us: int
) -> None:
    """Make the labels of a group these, in this order; write only what differs.

    A label that is stored under its name keeps its time of creation.
    """
    here = (label_def.c.dataset_id == dataset_id) & (label_def.c.group_name == group_name)
    columns = (label_def.c.name, label_def.c.rank, label_def.c.body)
    stored = {row.name: (row.rank, row.body) for row in tx.execute(sa.select(*columns).where(here))}
    wanted = {label.name: (rank, encode_label(label).decode()) for rank, label in enumerate(labels)}
    for name in stored.keys() - wanted.keys():
        tx.execute(sa.delete(label_def).where(here, label_def.c.name == name))
    fresh = []
    for name, (rank, body) in wanted.items():
        if name not in stored:
            fresh.append({"name": name, "rank": rank, "body": body})
        elif stored[name] != (rank, body):
            changed = sa.update(label_def).where(here, label_def.c.name == name)
            tx.execute(changed.values(rank=rank, body=body))
    if fresh:
        more = {"dataset_id": dataset_id, "group_name": group_name, "created_us": now_us}
        tx.execute(sa.insert(label_def), [{**row, **more} for row in fresh])


def next_rank(tx: Reader, dataset_id: str) -> int:
    """Return the rank of the next label group of a dataset."""
    query = sa.select(sa.func.max(label_group.c.rank)).where(label_group.c.dataset_id == dataset_id)
    last: int | None = tx.execute(query).scalar_one()
    return 0 if last is None else last + 1


def _is(dataset_id: str, group_name: str, name: str) -> Iterable[sa.ColumnElement[bool]]:
    return (
        label_def.c.dataset_id == dataset_id,
        label_def.c.group_name == group_name,
        label_def.c.name == name,
    )
