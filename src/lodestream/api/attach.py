"""The newer form of predictions beside comments, and what a model knows."""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import UNSET, Struct, UnsetType

from lodestream.api.service import Service
from lodestream.domain.labels import DEFAULT_GROUP, decode_label
from lodestream.domain.models import Definitions
from lodestream.domain.predictions import labels_in, thresholds_of
from lodestream.store import models
from lodestream.store.attached import Attached


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
