"""Fields and extraction fields as clients name them, resolved by a dataset's definitions."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from msgspec import UNSET

from lodestream.domain.annotations import Author, CaptureField, FieldMark, LabelCaptures, Part
from lodestream.domain.errors import InvalidInput
from lodestream.domain.fields import EntityDef, GeneralField
from lodestream.domain.labelling import CaptureFieldNew, EntityNew, LabelCapturesNew
from lodestream.domain.labels import LabelDef, MoonFormField
from lodestream.domain.spans import Span, Texts


class FieldResolver:
    """Makes marks of what clients write; every method raises InvalidInput, naming the place."""

    def __init__(
        self,
        entity_defs: Iterable[EntityDef],
        general_fields: Iterable[GeneralField],
        texts: Texts,
        author: Author,
    ) -> None:
        self._types = {one.id: one for one in entity_defs}
        self._by_name = {one.name: one for one in self._types.values()}
        self._fields = {one.field_id: one for one in general_fields}
        self._by_api_name = {one.api_name: one for one in self._fields.values()}
        self._texts = texts
        self._author = author

    def marks(
        self, wanted: Sequence[EntityNew], before: Sequence[FieldMark], *, where: str
    ) -> tuple[FieldMark, ...]:
        """Return the marks of a list of fields. One that was there keeps who made it."""
        stored = {_bare(mark): mark for mark in before}
        metadata = self._author.metadata()
        found = []
        for index, one in enumerate(wanted):
            place = f"{where}[{index}]"
            type_id, field_id = self._resolve(one, place)
            mark = FieldMark(
                type_id, one.formatted_value, field_id, self._spans(one, place), metadata
            )
            found.append(stored.get(_bare(mark), mark))
        return tuple(found)

    def captures(
        self,
        part: Part,
        wanted: Sequence[LabelCapturesNew],
        *,
        keys: Mapping[str, int],
        labels: Mapping[str, LabelDef],
    ) -> tuple[LabelCaptures, ...]:
        """Return the occurrences of labels; a label without any is left out."""
        found = []
        for one in wanted:
            name = one.label.name
            place = f"moon_forms: {part} {name!r}"
            defined = labels[name].moon_form
            fields = () if defined is UNSET else defined
            captures = tuple(
                tuple(self._capture_field(field, fields, place) for field in capture.fields)
                for capture in one.captures
            )
            if captures:
                negative = one.label.sentiment == "negative"
                found.append(LabelCaptures(part, keys[name], name, captures, negative))
        return tuple(found)

    def _resolve(self, one: EntityNew, place: str) -> tuple[str, str]:
        """Return the ids of the field type and of the general field ("": none)."""
        general = self._fields.get(one.field_id or "")
        found = self._types.get(one.id or "")
        for name in (one.kind, one.name):
            if found is None and name:
                found = self._by_name.get(name)
                if found is None and general is None:
                    general = self._by_api_name.get(name)
        if found is None and general is not None:
            found = self._types.get(general.field_type_id)
        if found is None:
            named = one.name or one.kind or one.id or one.field_id
            if not named:
                raise InvalidInput(f"{place}: needs an id, a kind, a name or a field_id")
            raise InvalidInput(f"{place}: the dataset has no field {named!r}")
        if general is None:
            of_type = [o for o in self._fields.values() if o.field_type_id == found.id]
            general = of_type[0] if len(of_type) == 1 else None
        elif general.field_type_id != found.id:
            raise InvalidInput(f"{place}: the field is not of the type {found.name!r}")
        return found.id, "" if general is None else general.field_id

    def _capture_field(
        self, one: CaptureFieldNew, fields: Sequence[MoonFormField], place: str
    ) -> CaptureField:
        field = next((f for f in fields if f.field_id == one.field_id), None)
        if field is None:
            field = next((f for f in fields if f.name == one.name), None)
        if field is None:
            raise InvalidInput(
                f"{place}: the label has no extraction field {one.name or one.field_id or ''!r}"
            )
        document_spans = () if one.document_spans is UNSET else tuple(one.document_spans)
        spans = self._spans(one, f"{place}: {field.name!r}")
        return CaptureField(
            field.field_id, one.formatted_value, spans, document_spans, one.confirmed
        )

    def _spans(self, one: EntityNew | CaptureFieldNew, place: str) -> tuple[Span, ...]:
        given = one.spans if one.spans is not UNSET else [one.span] if one.span else []
        return tuple(self._texts.resolve(span, where=place) for span in given)


def _bare(mark: FieldMark) -> tuple[object, ...]:
    return (mark.entity_def_id, mark.formatted_value, mark.field_id, mark.spans)
