"""Label groups and label definitions: rows ↔ structs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, Final

import msgspec
import sqlalchemy as sa
from msgspec import Raw

from lodestream.domain.definitions import Definitions, LabelRow
from lodestream.domain.errors import NotFound
from lodestream.domain.labels import (
    LabelDef,
    LabelGroup,
    LabelGroupDefs,
    LabelGroupSettings,
    encode_label,
)
from lodestream.store import bulk
from lodestream.store.db import Reader, Writer
from lodestream.store.tables import label_def, label_group

NO_RENAMES: Final[Mapping[str, str]] = MappingProxyType({})


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
) -> tuple[LabelRow, ...]:
    """Store the label groups of a new dataset with their labels, in this order; return these."""
    made: list[LabelRow] = []
    for rank, group in enumerate(groups):
        insert_group(tx, dataset_id, group.name, group.settings, rank=rank)
        found = group.label_defs
        made += save_labels(tx, dataset_id, group.name, found, now_us=now_us)[1].labels
    return tuple(made)


def set_created(tx: Writer, created_us: Mapping[int, int]) -> None:
    """Set since when labels exist, by key."""
    rows = sorted(created_us.items())
    bulk.update_rows(tx, label_def, key=("key",), values=("created_us",), rows=rows)


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
    tx: Writer,
    dataset_id: str,
    group_name: str,
    labels: Sequence[LabelDef],
    *,
    now_us: int,
    renames: Mapping[str, str] = NO_RENAMES,
) -> tuple[Definitions, Definitions]:
    """Make the labels of a group these, in this order; return what differs, before and after.

    A label that is stored under its name, or under the one that `renames` maps to it, keeps its
    key and its time of creation. Marks of labels that go away are the caller's part.
    """
    here = (label_def.c.dataset_id == dataset_id) & (label_def.c.group_name == group_name)
    stored = {renames.get(row.name, row.name): row for row in label_rows(tx, here)}
    gone = [row for name, row in stored.items() if name not in {label.name for label in labels}]
    changed: list[tuple[LabelRow, LabelRow]] = []
    fresh: list[dict[str, object]] = []
    for rank, label in enumerate(labels):
        before, body = stored.get(label.name), Raw(encode_label(label))
        if before is None:
            fresh.append({"name": label.name, "rank": rank, "body": bytes(body).decode()})
        else:
            after = LabelRow(before.key, group_name, label.name, rank, before.created_us, body)
            if after != before:
                changed.append((before, after))
    _delete_labels(tx, [row.key for row in gone])
    _update_labels(tx, changed)
    if fresh:
        more = {"dataset_id": dataset_id, "group_name": group_name, "created_us": now_us}
        tx.execute(sa.insert(label_def), [{**row, **more} for row in fresh])
    names = {row["name"] for row in fresh}
    made = [row for row in label_rows(tx, here) if row.name in names] if fresh else []
    return (
        Definitions(labels=(*gone, *(before for before, _ in changed))),
        Definitions(labels=(*(after for _, after in changed), *made)),
    )


def label_rows(tx: Reader, *conditions: sa.ColumnElement[bool]) -> list[LabelRow]:
    """Return labels with all that is stored of them, in their order."""
    query = sa.select(label_def).where(*conditions).order_by(label_def.c.rank, label_def.c.name)
    return [
        LabelRow(
            row.key, row.group_name, row.name, row.rank, row.created_us, Raw(row.body.encode())
        )
        for row in tx.execute(query)
    ]


def dataset_rows(tx: Reader, dataset_id: str) -> list[LabelRow]:
    """Return the labels of all groups of a dataset."""
    return label_rows(tx, label_def.c.dataset_id == dataset_id)


def _delete_labels(tx: Writer, keys: Sequence[int]) -> None:
    for start in range(0, len(keys), 1024):
        chunk = keys[start : start + 1024]
        tx.execute(sa.delete(label_def).where(label_def.c.key.in_(chunk)))


def _update_labels(tx: Writer, changed: Sequence[tuple[LabelRow, LabelRow]]) -> None:
    def set_to(rows: Iterable[tuple[object, ...]], *columns: str) -> None:
        bulk.update_rows(tx, label_def, key=("key",), values=columns, rows=list(rows))

    # Two labels may swap names, which are unique; no label has a name like this one meanwhile.
    renamed = [after for before, after in changed if before.name != after.name]
    set_to(((row.key, f"#{row.key}") for row in renamed), "name")
    columns = ("name", "rank", "body")
    set_to(((a.key, a.name, a.rank, bytes(a.body).decode()) for _, a in changed), *columns)


def restore_labels(
    tx: Writer, dataset_id: str, *, gone: Sequence[LabelRow], back: Sequence[LabelRow]
) -> None:
    """Take some labels away and put others back as they were, keys included."""
    _delete_labels(tx, [row.key for row in (*gone, *back)])
    if back:
        columns = [
            {
                "key": row.key,
                "dataset_id": dataset_id,
                "group_name": row.group,
                "name": row.name,
                "rank": row.rank,
                "body": bytes(row.body).decode(),
                "created_us": row.created_us,
            }
            for row in back
        ]
        tx.execute(sa.insert(label_def), columns)


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
