"""Rows of a dataset that was deleted: annotations, events, models and what models made."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import sqlalchemy as sa

from lodestream.store.db import Writer
from lodestream.store.tables import (
    annotated_comment,
    annotation_event,
    field_mark,
    label_mark,
    label_validation,
    learning,
    model,
    model_file,
    model_tag,
    prediction,
    prediction_progress,
    rendered,
    rendering,
    rendering_progress,
    seen_comment,
    training_action,
)

_ANNOTATIONS: Final = (
    (label_mark, "pos"),
    (field_mark, "pos"),
    (annotated_comment, "pos"),
    (annotation_event, "revision"),
)


def remove_some(tx: Writer, dataset_id: str, *, limit: int) -> bool:
    """Remove about `limit` rows of a deleted dataset; tell whether there may be more."""
    for table, order in _ANNOTATIONS:
        if _remove(tx, table.c.dataset_id, dataset_id, table.c[order], limit):
            return True
    tx.execute(sa.delete(learning).where(learning.c.dataset_id == dataset_id))
    tx.execute(sa.delete(model_tag).where(model_tag.c.dataset_id == dataset_id))
    query = sa.select(model.c.key).where(model.c.dataset_id == dataset_id).order_by(model.c.key)
    key = tx.execute(query.limit(1)).scalar_one_or_none()
    if key is None:
        return False
    if not any(_remove_made(tx, key, limit)):
        tx.execute(sa.delete(model).where(model.c.key == key))
    return True


def _remove_made(tx: Writer, key: int, limit: int) -> Iterator[bool]:
    """Remove what belongs to a model; yield True and stop wherever there may be more of it."""
    for one in tx.execute(sa.select(rendering.c.key).where(rendering.c.model == key)).scalars():
        if _remove(tx, rendered.c.rendering, one, rendered.c.pos, limit):
            yield True
            return
        progress = rendering_progress.c.rendering == one
        tx.execute(sa.delete(rendering_progress).where(progress))
        tx.execute(sa.delete(rendering).where(rendering.c.key == one))
    if _remove(tx, prediction.c.model, key, prediction.c.pos, limit):
        yield True
        return
    actions = sa.select(training_action.c.id).where(training_action.c.model == key)
    tx.execute(sa.delete(seen_comment).where(seen_comment.c.action_id.in_(actions)))
    for table in (prediction_progress, training_action, label_validation, model_file):
        tx.execute(sa.delete(table).where(table.c.model == key))


def _remove(
    tx: Writer,
    owner: sa.ColumnElement[str] | sa.ColumnElement[int],
    value: str | int,
    order: sa.ColumnElement[int],
    limit: int,
) -> bool:
    """Remove the first rows of an owner, about `limit` of them; tell whether others are left."""
    table = order.table
    first = sa.select(order).where(owner == value).order_by(order).offset(limit).limit(1)
    bound = tx.execute(first).scalar_one_or_none()
    here = owner == value if bound is None else (owner == value) & (order <= bound)
    tx.execute(sa.delete(table).where(here))
    return bound is not None
