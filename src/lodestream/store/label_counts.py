"""How many comments people gave each label, in all or by source, time or value of a property.

Who assigns a label says those above it, too, so a comment counts once for each of these.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import msgspec
import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import ARRAY

from lodestream.domain import facets
from lodestream.domain.labels import parents_of
from lodestream.store.annotations import label_keys
from lodestream.store.db import Reader
from lodestream.store.statistics import Selection, floor_quarter, property_pairs
from lodestream.store.tables import comment, field_mark, label_mark


@dataclass(frozen=True, slots=True)
class LabelCount:
    """How many comments have a label with either sentiment; without sentiment it is positive."""

    positive: int = 0
    negative: int = 0


NO_COUNT = LabelCount()
Counts = Mapping[str, LabelCount]


def count_labels(tx: Reader, dataset_id: str, selection: Selection) -> dict[str, LabelCount]:
    """Return how many comments of a selection have each label of a dataset, in their order."""
    nowhere = sa.literal(0, sa.Integer)
    counts = _count(tx, dataset_id, selection, nowhere, label_mark.join(comment, _IS_SAME))
    found = counts.get(0, {})
    return {name: found.get(name, NO_COUNT) for _, name, _, _ in label_keys(tx, dataset_id)}


def count_labels_by_source(tx: Reader, dataset_id: str, selection: Selection) -> dict[int, Counts]:
    """Return the counts by source key; a source without any is left out."""
    joined = label_mark.join(comment, _IS_SAME)
    return _count(tx, dataset_id, selection, comment.c.source, joined)


def count_labels_by_quarter(tx: Reader, dataset_id: str, selection: Selection) -> dict[int, Counts]:
    """Return the counts by quarters of an hour since 1970; one without any is left out."""
    joined = label_mark.join(comment, _IS_SAME)
    return _count(tx, dataset_id, selection, floor_quarter(), joined)


def count_labels_by_value(
    tx: Reader, dataset_id: str, selection: Selection, full_name: str
) -> dict[str, Counts]:
    """Return the counts by the folded values of a user property."""
    pairs = property_pairs(tx, selection, [full_name])
    joined = label_mark.join(comment, _IS_SAME).join(pairs, pairs.c.pos == comment.c.pos)
    return _count(tx, dataset_id, selection, pairs.c.value, joined)


def folded(value: str) -> str:
    """Return a value as `count_labels_by_value` names it."""
    return facets.fold(value)


_IS_SAME = comment.c.pos == label_mark.c.pos


def _count(
    tx: Reader,
    dataset_id: str,
    selection: Selection,
    group: sa.ColumnElement[Any],
    joined: sa.FromClause,
) -> dict[Any, Counts]:
    names = {key: name for key, name, _, _ in label_keys(tx, dataset_id)}
    if not names or not selection.sources:
        return {}
    counted = _targets(tx, names)
    query = (
        sa.select(
            group.label("place"),
            counted.c.target,
            label_mark.c.negative,
            sa.func.count(sa.distinct(label_mark.c.pos)).label("comments"),
        )
        .select_from(joined.join(counted, counted.c.label == label_mark.c.label))
        .where(
            label_mark.c.dataset_id == dataset_id,
            sa.not_(label_mark.c.dismissed),
            *selection.where(),
        )
        .group_by(sa.text("place"), counted.c.target, label_mark.c.negative)
    )
    found: dict[Any, dict[str, LabelCount]] = {}
    for row in tx.execute(query):
        counts = found.setdefault(row.place, {})
        name = names[row.target]
        before = counts.get(name, NO_COUNT)
        counts[name] = (
            LabelCount(before.positive, row.comments)
            if row.negative
            else LabelCount(row.comments, before.negative)
        )
    return dict(found)


def _targets(tx: Reader, names: Mapping[int, str]) -> sa.FromClause:
    """Return a table of labels, and of every label that each of them stands for, by their keys."""
    keys = {name: key for key, name in names.items()}
    pairs = [
        (key, keys[one])
        for key, name in names.items()
        for one in (name, *parents_of(name))
        if one in keys
    ]
    # One or two bound values, however many labels there are.
    if tx.dialect_name == "postgresql":
        columns = [
            sa.literal([pair[place] for pair in pairs], ARRAY(sa.BigInteger)) for place in (0, 1)
        ]
        found = sa.func.unnest(*columns).table_valued("label", "target", name="counted")
        return found.render_derived()
    text = sa.literal(msgspec.json.encode(pairs).decode())
    each = sa.func.json_each(text).table_valued("value", name="pair")
    return sa.select(
        sa.func.json_extract(each.c.value, "$[0]", type_=sa.Integer).label("label"),
        sa.func.json_extract(each.c.value, "$[1]", type_=sa.Integer).label("target"),
    ).subquery("counted")


def count_fields(tx: Reader, dataset_id: str, sources: Iterable[int]) -> dict[str, int]:
    """Return in how many comments of the sources each field type is assigned, by its id."""
    query = (
        sa.select(
            field_mark.c.entity_def_id,
            sa.func.count(sa.distinct(field_mark.c.pos)).label("comments"),
        )
        .select_from(field_mark.join(comment, comment.c.pos == field_mark.c.pos))
        .where(
            field_mark.c.dataset_id == dataset_id,
            sa.not_(field_mark.c.dismissed),
            comment.c.source.in_(list(sources)),
        )
        .group_by(field_mark.c.entity_def_id)
    )
    return {row.entity_def_id: row.comments for row in tx.execute(query)}
