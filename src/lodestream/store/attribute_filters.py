"""Attribute filters on labels and fields as SQL over the table `comment`.

Of a reviewed comment the labels that people assigned count, of any other one those that the newest
model predicts with at least their threshold. (Contract: comment-filter, section 5.)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import sqlalchemy as sa

from lodestream.domain.attributes import FieldsPresent, LabelsTest, StringAnyOf
from lodestream.domain.models import Model, Thresholds
from lodestream.store.tables import annotated_comment, comment, field_mark, label_mark, prediction

Condition = sa.ColumnElement[bool]

USUAL_THRESHOLD: Final = 0.5
"""The threshold of labels for which validation found none."""

_STEPS: Final = 65_535  # of a packed probability


def labels_condition(
    test: LabelsTest,
    *,
    dialect_name: str,
    dataset_id: str,
    keys: Mapping[str, int],
    model: Model | None,
    thresholds: Mapping[str, Thresholds],
) -> Condition:
    """Return the condition under which a comment has one, or none, of some labels.

    `keys` are those of the dataset's labels by name; names are compared exactly. A comment that is
    neither reviewed nor scored has no label.
    """
    names = test.any_of if isinstance(test, StringAnyOf) else test.none_of
    own = (annotated_comment.c.dataset_id == dataset_id) & annotated_comment.c.reviewed
    reviewed = sa.exists().where(own, annotated_comment.c.pos == comment.c.pos)
    reviewed = reviewed.correlate(comment)
    wanted = sorted({keys[name] for name in names if name in keys})
    marked = (
        sa.exists()
        .where(
            label_mark.c.dataset_id == dataset_id,
            label_mark.c.pos == comment.c.pos,
            label_mark.c.label.in_(wanted),
            sa.not_(label_mark.c.dismissed),
        )
        .correlate(comment)
    )
    predicted = _is_predicted(dialect_name, model, names, thresholds)
    has = sa.case((reviewed, marked if wanted else sa.false()), else_=predicted)
    return has if isinstance(test, StringAnyOf) else sa.not_(has)


def _is_predicted(
    dialect_name: str,
    model: Model | None,
    names: Sequence[str],
    thresholds: Mapping[str, Thresholds],
) -> Condition:
    if model is None:
        return sa.false()
    place_of = {name: place for place, name in enumerate(model.labels)}
    reached = [
        _at_least(dialect_name, place_of[name], threshold_of(thresholds.get(name)))
        for name in dict.fromkeys(names)
        if name in place_of
    ]
    if not reached:
        return sa.false()
    here = (prediction.c.model == model.key) & (prediction.c.pos == comment.c.pos)
    return sa.exists().where(here, sa.or_(*reached)).correlate(comment)


def threshold_of(found: Thresholds | None) -> float:
    """Return the probability from which a label counts as predicted."""
    return USUAL_THRESHOLD if found is None else found.balanced


def _at_least(dialect_name: str, place: int, threshold: float) -> Condition:
    """Compare one of the packed probabilities: two bytes, the lower one first."""
    least = least_steps(threshold)
    low, high = 2 * place, 2 * place + 1
    scores = prediction.c.scores
    if dialect_name == "postgresql":
        value = sa.func.get_byte(scores, high) * 256 + sa.func.get_byte(scores, low)
        above: Condition = value >= least
        return above

    def digits(at: int) -> sa.ColumnElement[str]:
        return sa.func.hex(sa.func.substr(scores, at + 1, 1), type_=sa.Text)

    return digits(high).concat(digits(low)) >= f"{least:04X}"


def least_steps(threshold: float) -> int:
    """Return the smallest packed probability that reaches a threshold as it is shown."""
    wanted = round(min(max(threshold, 0.0), 1.0), 6)
    steps = max(int(wanted * _STEPS) - 1, 0)
    while round(steps / _STEPS, 6) < wanted:
        steps += 1
    return steps


def fields_condition(dataset_id: str, test: FieldsPresent) -> Condition:
    """Return the condition under which fields of some types are there, and of others are not.

    One of the types in `any_assigned` or `any_predicted` has to be there; no model predicts fields.
    """

    def assigned(ids: Sequence[str]) -> Condition:
        own = (field_mark.c.dataset_id == dataset_id) & sa.not_(field_mark.c.dismissed)
        return (
            sa.exists()
            .where(own, field_mark.c.pos == comment.c.pos, field_mark.c.entity_def_id.in_(ids))
            .correlate(comment)
        )

    conditions: list[Condition] = []
    if test.any_assigned:
        conditions.append(assigned(test.any_assigned))
    elif test.any_predicted:
        conditions.append(sa.false())
    if test.none_present:
        conditions.append(sa.not_(assigned(test.none_present)))
    return sa.and_(sa.true(), *conditions)
