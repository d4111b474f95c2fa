"""Annotated comments, as labellings, queries and our own history show them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from types import MappingProxyType
from typing import Any, Final

from msgspec import UNSET, Raw, Struct, UnsetType

from lodestream.api.calls import Call
from lodestream.api.comments import shown, with_annotation_mark
from lodestream.domain.annotations import (
    NOTHING,
    CaptureField,
    FieldMark,
    LabelCaptures,
    LabelMark,
    Part,
    State,
    Uninformative,
)
from lodestream.domain.datasets import Dataset
from lodestream.domain.labelling import DocumentSpan, Metadata, Sentiment, UninformativeMode
from lodestream.domain.labels import DEFAULT_GROUP, MoonFormField, decode_label
from lodestream.domain.sources import Source
from lodestream.domain.spans import Span
from lodestream.store import comments as comment_store
from lodestream.store import streams
from lodestream.store.db import Reader
from lodestream.store.marks import read_states
from lodestream.store.threads import ThreadProperties, thread_properties


class LabelWire(Struct, omit_defaults=True):
    """A label that was assigned or dismissed."""

    name: str
    sentiment: Sentiment
    instructions: str | UnsetType = UNSET
    metadata: Metadata | UnsetType = UNSET


class UninformativeWire(Struct, omit_defaults=True):
    """The mark that a comment tells nothing."""

    mode: UninformativeMode
    metadata: Metadata | UnsetType = UNSET


class LabellingWire(Struct, omit_defaults=True):
    """The labels of a comment in the default group; `predicted` only with a model."""

    group: str
    assigned: list[LabelWire]
    dismissed: list[LabelWire]
    uninformative: UninformativeWire | UnsetType = UNSET
    predicted: list[Raw] | UnsetType = UNSET


class EntityWire(Struct, omit_defaults=True):
    """A field with its value; `span` only if there is exactly one."""

    id: str
    kind: str
    name: str
    formatted_value: str
    field_id: str
    spans: tuple[Span, ...]
    span: Span | UnsetType = UNSET


class EntitiesWire(Struct):
    """The fields of a comment."""

    assigned: list[EntityWire]
    dismissed: list[EntityWire]
    predicted: list[Raw]


class CaptureFieldWire(Struct, omit_defaults=True):
    """An extraction field with its value."""

    field_id: str
    field_type_id: str
    id: str
    name: str
    kind: str
    formatted_value: str
    spans: tuple[Span, ...]
    document_spans: tuple[DocumentSpan, ...]
    confirmed: bool | UnsetType = UNSET
    span: Span | UnsetType = UNSET


class CaptureWire(Struct):
    """One occurrence of a label."""

    fields: list[CaptureFieldWire]


class LabelCapturesWire(Struct):
    """A label with its occurrences."""

    label: LabelWire
    captures: list[CaptureWire]


class MoonFormWire(Struct, omit_defaults=True):
    """The labels of a comment with their occurrences; without predictions."""

    group: str
    assigned: list[LabelCapturesWire]
    dismissed: list[LabelCapturesWire]
    drafted: list[LabelCapturesWire] | UnsetType = UNSET


class TriggerExceptionWire(Struct):
    """Why a comment is an exception of a stream."""

    type: str


class AnnotatedComment(Struct, omit_defaults=True):
    """A comment with everything that was said of it in a dataset; `labelling` has one item."""

    comment: Raw
    labelling: list[LabellingWire]
    entities: EntitiesWire
    thread_properties: ThreadProperties | UnsetType = UNSET
    moon_forms: list[MoonFormWire] | UnsetType = UNSET
    trigger_exceptions: dict[str, TriggerExceptionWire] | UnsetType = UNSET
    model_version: int | UnsetType | None = UNSET


class Predicted(Struct):
    """What a model says of a comment, each label and field as the JSON that is sent."""

    model_version: int
    labels: list[Raw]
    entities: list[Raw] = []


NOTHING_PREDICTED: Final[Mapping[int, Predicted]] = MappingProxyType({})


def annotated_comments(
    call: Call[Any],
    tx: Reader,
    dataset: Dataset,
    page: Sequence[tuple[int, Source]],
    *,
    predicted: Mapping[int, Predicted] = NOTHING_PREDICTED,
) -> list[AnnotatedComment]:
    """Return the comments at some positions with their annotations, in the order given.

    `predicted` holds, by position, what a model says of them: predictions enter answers here.
    """
    positions = [pos for pos, _ in page]
    fronts = comment_store.read_fronts(tx, positions)
    states = read_states(tx, dataset.id, positions)
    annotated = comment_store.annotated(tx, positions)
    exceptions = streams.exceptions_at(tx, dataset.id, positions)
    threads = _threads(tx, page)
    forms = StateForms(dataset)
    found = []
    for pos, source in page:
        state = states[pos].state if pos in states else NOTHING
        prediction = predicted.get(pos)
        comment = with_annotation_mark(
            shown(call, source, fronts[pos], markup=True), pos in annotated
        )
        one = AnnotatedComment(
            Raw(comment),
            [labelling_wire(state)],
            forms.entities(state),
            threads.get(pos) or UNSET,
            forms.moon_forms(state),
            {name: TriggerExceptionWire(kind) for name, kind in exceptions.get(pos, ())} or UNSET,
        )
        if prediction is not None:
            one.labelling[0].predicted = prediction.labels
            one.entities.predicted = prediction.entities
            one.model_version = prediction.model_version
        found.append(one)
    return found


def _threads(tx: Reader, page: Sequence[tuple[int, Source]]) -> dict[int, ThreadProperties | None]:
    by_source: dict[int, list[int]] = {}
    for pos, source in page:
        by_source.setdefault(source.key, []).append(pos)
    found: dict[int, ThreadProperties | None] = {}
    for key, positions in by_source.items():
        found.update(zip(positions, thread_properties(tx, key, positions), strict=True))
    return found


def labelling_wire(state: State) -> LabellingWire:
    """Return the labels of a comment as clients see them."""
    return LabellingWire(
        DEFAULT_GROUP,
        [_label(mark) for mark in state.assigned],
        [_label(mark) for mark in state.dismissed],
        _uninformative(state.uninformative),
    )


def _label(mark: LabelMark) -> LabelWire:
    return LabelWire(mark.name, mark.sentiment, mark.instructions or UNSET, mark.metadata or UNSET)


def _uninformative(mark: Uninformative | None) -> UninformativeWire | UnsetType:
    return UNSET if mark is None else UninformativeWire(mark.mode, mark.metadata or UNSET)


class StateForms:
    """Shows fields and occurrences by a dataset's definitions; what has none is left out."""

    def __init__(self, dataset: Dataset) -> None:
        self._dataset = dataset
        self._types = {one.id: one for one in dataset.entity_defs}

    @cached_property
    def _fields(self) -> dict[str, MoonFormField]:
        # Few comments have occurrences; the others need not wait for all labels to be decoded.
        return {
            one.field_id: one
            for group in self._dataset.label_groups
            if group.name == DEFAULT_GROUP
            for label in map(decode_label, group.label_defs)
            for one in label.moon_form or ()
        }

    def entities(self, state: State) -> EntitiesWire:
        """Return the fields of a comment as clients see them."""
        return EntitiesWire(
            self._entities(state.fields_assigned), self._entities(state.fields_dismissed), []
        )

    def _entities(self, marks: Sequence[FieldMark]) -> list[EntityWire]:
        return [
            EntityWire(
                mark.entity_def_id,
                self._types[mark.entity_def_id].name,
                self._types[mark.entity_def_id].name,
                mark.formatted_value,
                # Clients insist on an id here, also of a type that no general field is of.
                mark.field_id or mark.entity_def_id,
                mark.spans,
                mark.spans[0] if len(mark.spans) == 1 else UNSET,
            )
            for mark in marks
            if mark.entity_def_id in self._types
        ]

    def moon_forms(self, state: State) -> list[MoonFormWire] | UnsetType:
        """Return labels with their occurrences, if any has one.

        Then every assigned label is among them: a client that sends this back sends no other list.
        """
        if not state.captures:
            return UNSET
        by_part: dict[Part, dict[int, LabelCaptures]] = {}
        for one in state.captures:
            by_part.setdefault(one.part, {})[one.key] = one
        assigned = by_part.get("assigned", {})
        dismissed = by_part.get("dismissed", {})
        drafted = [self._captured(one) for one in by_part.get("drafted", {}).values()]
        return [
            MoonFormWire(
                DEFAULT_GROUP,
                [self._marked(mark, assigned.get(mark.key)) for mark in state.assigned],
                [self._marked(mark, dismissed.pop(mark.key, None)) for mark in state.dismissed]
                + [self._captured(one) for one in dismissed.values()],
                drafted or UNSET,
            )
        ]

    def _marked(self, mark: LabelMark, found: LabelCaptures | None) -> LabelCapturesWire:
        return LabelCapturesWire(_label(mark), [] if found is None else self._captures(found))

    def _captured(self, one: LabelCaptures) -> LabelCapturesWire:
        sentiment: Sentiment = "negative" if one.negative else "positive"
        return LabelCapturesWire(LabelWire(one.name, sentiment), self._captures(one))

    def _captures(self, one: LabelCaptures) -> list[CaptureWire]:
        return [
            CaptureWire([self._field(f) for f in fields if f.field_id in self._fields])
            for fields in one.captures
        ]

    def _field(self, one: CaptureField) -> CaptureFieldWire:
        defined = self._fields[one.field_id]
        return CaptureFieldWire(
            field_id=one.field_id,
            field_type_id=defined.field_type_id,
            id=defined.field_type_id,
            name=defined.name,
            kind=defined.kind,
            formatted_value=one.formatted_value,
            spans=one.spans,
            document_spans=one.document_spans,
            confirmed=UNSET if one.confirmed else False,
            span=one.spans[0] if len(one.spans) == 1 else UNSET,
        )
