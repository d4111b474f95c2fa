"""Predictions beside the comments of a batch.

What is kept ready is joined as it is. What is missing, because a comment has just come, is computed
on the spot, up to a bound; a batch ends before a comment that would go beyond it. So no comment of
a stream with a model is ever delivered without its predictions.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import msgspec
from msgspec import UNSET, Struct, UnsetType

from lodestream.api.service import Service
from lodestream.domain.labels import DEFAULT_GROUP, decode_label
from lodestream.domain.models import Definitions
from lodestream.domain.predictions import labels_in, thresholds_of
from lodestream.store import models
from lodestream.store.attached import Attached
from lodestream.store.catalogue import StreamPlan
from lodestream.store.feed import Batch

MOST_ON_THE_SPOT: Final = 128
"""Most comments of one call whose predictions are computed in it: about half a second's work."""


class Labelled(Struct):
    """A batch with what follows the front of each comment (`domain.predictions`), in order."""

    batch: Batch
    suffixes: list[bytes]


def ready_suffixes(plan: StreamPlan, attached: Attached, batch: Batch) -> list[bytes] | None:
    """Return what follows each front of a batch, or None if some have yet to be computed."""
    found = _kept(plan, attached, batch)
    try:
        return [found[pos] for pos, _ in batch.rows]
    except KeyError:
        return None


def labelled(
    service: Service,
    plan: StreamPlan,
    attached: Attached,
    batch: Batch,
    *,
    position: int,
    max_filtered: int | None,
) -> Labelled:
    """Return a batch with its labels; shorter than it was if too many had to be computed.

    Takes as long as the model needs, so it is no work for the event loop.
    """
    found = _kept(plan, attached, batch)
    missing = [pos for pos, _ in batch.rows if pos not in found]
    if len(missing) > MOST_ON_THE_SPOT:
        size = [pos for pos, _ in batch.rows].index(missing[MOST_ON_THE_SPOT])
        batch = plan.feed.read(position, size, max_filtered=max_filtered)
        missing = [pos for pos, _ in batch.rows if pos not in found]
    if missing:
        fronts = dict(batch.rows)
        found.update(_computed(service, attached, {pos: fronts[pos] for pos in missing}))
    return Labelled(batch, [found[pos] for pos, _ in batch.rows])


def _kept(plan: StreamPlan, attached: Attached, batch: Batch) -> dict[int, bytes]:
    dense = plan.feed.condition is None
    return attached.read([pos for pos, _ in batch.rows], dense=dense)


def _computed(
    service: Service, attached: Attached, fronts: Mapping[int, bytes]
) -> dict[int, bytes]:
    with service.db.read() as tx:
        scores = service.predictor.scores_at(tx, attached.model, fronts)
    suffixes = service.predictor.render(attached.model, attached.shown, list(scores.values()))
    return dict(zip(scores, suffixes, strict=True))


class Confidence(Struct):
    """How likely something is, and the names of the thresholds that it reaches."""

    value: float
    thresholds: list[str]


class LabelOccurrence(Struct):
    """A label that a comment may have."""

    name: str
    occurrence_confidence: Confidence
    extraction_confidence: Confidence
    fields: list[Any] = []


class Taxonomy(Struct):
    """The predictions of one group of labels."""

    name: str
    labels: list[LabelOccurrence]
    general_fields: list[Any] = []


class Prediction(Struct):
    """What a model says of a comment, in the newer form."""

    taxonomies: list[Taxonomy]
    scores: list[Any] = []


class _Shown(Struct):
    name: list[str]
    probability: float


_decode_labels = msgspec.json.Decoder(list[_Shown]).decode


def prediction(attached: Attached, suffix: bytes) -> Prediction:
    """Return the newer form of what follows a front."""
    has_own = thresholds_of(attached.shown) is not None
    found = []
    for one in _decode_labels(labels_in(suffix)):
        name = " > ".join(one.name)
        automatic = attached.automatic.get(name)
        reached = [] if automatic is None else automatic.reached(one.probability)
        # Labels below the stream's own threshold are not in the array.
        occurs = [*reached, "stream"] if has_own else reached
        value = one.probability
        found.append(LabelOccurrence(name, Confidence(value, occurs), Confidence(value, reached)))
    return Prediction([Taxonomy(DEFAULT_GROUP, found)])


class LabelInModel(Struct, omit_defaults=True):
    """A label as a model knows it."""

    name: str
    fields: list[FieldInModel]
    instructions: str | UnsetType = UNSET


class FieldInModel(Struct, omit_defaults=True):
    """A field of a label as a model knows it."""

    field_id: str
    field_type_id: str
    name: str
    instructions: str | UnsetType = UNSET


class FieldTypeInModel(Struct, omit_defaults=True):
    """A field type as a model knows it."""

    field_type_id: str
    name: str
    data_type: dict[str, Any]
    instructions: str | UnsetType = UNSET


class TaxonomyInModel(Struct):
    """A group of labels as a model knows it."""

    name: str
    instructions: str
    labels: list[LabelInModel]
    general_fields: list[FieldInModel]
    field_types: list[FieldTypeInModel]


class ModelDefinition(Struct):
    """What a model knows."""

    taxonomies: list[TaxonomyInModel]


def definition(service: Service, attached: Attached) -> bytes:
    """Return the JSON of what is answered of a stream's model beside its results."""
    with service.db.read() as tx:
        known = models.definitions(tx, attached.model.key)
    return msgspec.json.encode({"definition": ModelDefinition([_taxonomy(known)])})


def _taxonomy(known: Definitions) -> TaxonomyInModel:
    group = next(one for one in known.label_groups if one.name == DEFAULT_GROUP)
    labels = []
    for body in group.label_defs:
        label = decode_label(body)
        fields = [
            FieldInModel(one.field_id, one.field_type_id, one.name, one.instructions or UNSET)
            for one in label.moon_form or ()
        ]
        labels.append(LabelInModel(label.name, fields, label.instructions or UNSET))
    types = [
        FieldTypeInModel(one.id, one.name, {}, one.instructions or UNSET)
        for one in known.entity_defs
    ]
    return TaxonomyInModel(group.name, group.settings.instructions, labels, [], types)
