"""What becomes of a taxonomy when labels are created, changed, renamed, merged or copied."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import msgspec
from msgspec import UNSET, Raw

from lodestream.domain.errors import InvalidInput, Unprocessable
from lodestream.domain.fields import FieldTypes, require_unique
from lodestream.domain.ids import new_id
from lodestream.domain.labels import (
    BUILTIN_NAMES,
    DEFAULT_GROUP,
    Builtin,
    BuiltinRequest,
    LabelDef,
    LabelDefChange,
    LabelDefNew,
    LabelDefUpsert,
    LabelGroup,
    LabelGroupDefs,
    LabelGroupNew,
    LabelGroupSettings,
    MoonFormField,
    MoonFormFieldNew,
    decode_label,
    renamed,
    with_parents,
)


def new_groups(
    groups: Sequence[LabelGroupNew],
    label_defs: Sequence[LabelDefNew],
    types: FieldTypes,
    *,
    copied: Sequence[LabelGroupDefs] = (),
) -> tuple[LabelGroupDefs, ...]:
    """Return the groups of a new dataset: those copied, changed and joined by those given.

    `label_defs` are the labels of the default group, unless that group is given itself. There is
    always a default group.

    Raises InvalidInput for a name that comes twice, Unprocessable for what cannot be resolved.
    """
    require_unique([group.name for group in groups], "label_groups: two have the name")
    found = {group.name: group for group in copied}
    if DEFAULT_GROUP not in found:
        found = {DEFAULT_GROUP: LabelGroupDefs(DEFAULT_GROUP, LabelGroupSettings(), ()), **found}
    for group in groups:
        collection = group.label_collection_name
        settings = LabelGroupSettings(
            label_collection_name=None if collection is UNSET else collection,
            trainable=group.trainable,
            hidden=group.hidden,
            instructions=group.instructions,
        )
        stored = found[group.name].label_defs if group.name in found else ()
        merged = merged_labels(stored, group.label_defs, types)
        found[group.name] = LabelGroupDefs(group.name, settings, merged)
    if DEFAULT_GROUP not in {group.name for group in groups}:
        default = found[DEFAULT_GROUP]
        merged = merged_labels(default.label_defs, label_defs, types)
        found[DEFAULT_GROUP] = msgspec.structs.replace(default, label_defs=merged)
    require_unique_external_ids([label for group in found.values() for label in group.label_defs])
    return tuple(found.values())


def merged_labels(
    stored: Sequence[LabelDef],
    wanted: Sequence[LabelDefNew | LabelDefUpsert],
    types: FieldTypes,
) -> tuple[LabelDef, ...]:
    """Return the labels of a group after some were created or, by their name, changed.

    New ones come last, in the order given, each after its parents.

    Raises InvalidInput for a name that comes twice, Unprocessable for what cannot be resolved.
    """
    require_unique([one.name for one in wanted], "label_defs: two have the name")
    changes = {one.name: one for one in wanted}
    found = {label.name: label for label in stored}
    for name in with_parents([*found, *changes]):
        label = found.get(name) or LabelDef(name)
        change = changes.get(name)
        found[name] = label if change is None else changed_label(label, change, types)
    return tuple(found.values())


class Renaming(NamedTuple):
    """What becomes of names when a label is renamed: a new name, or another label's."""

    renamed: dict[str, str]
    merged: dict[str, str]


def renaming(names: Iterable[str], old: str, new: str) -> Renaming:
    """Return what a new name of the label `old` does to it and to what stands below it.

    Raises Unprocessable if the name of a child would be too long.
    """
    moved = {name: renamed(name, old, new) for name in names}
    taken = {name for name, target in moved.items() if name == target}
    changed = {name: target for name, target in moved.items() if name != target}
    return Renaming(
        {name: target for name, target in changed.items() if target not in taken},
        {name: target for name, target in changed.items() if target in taken},
    )


def relabelled(labels: Sequence[LabelDef], old: str, new: str) -> tuple[LabelDef, ...]:
    """Return the labels of a group after the label `old` was renamed, with what stands below it.

    A label that comes to the name of another one is merged into it: the other's definition holds.

    Raises Unprocessable if the name of a child would be too long.
    """
    names, merged = renaming([label.name for label in labels], old, new)
    found = {
        names.get(label.name, label.name): msgspec.structs.replace(
            label, name=names.get(label.name, label.name)
        )
        for label in labels
        if label.name not in merged
    }
    return tuple(found.get(name) or LabelDef(name) for name in with_parents(found))


def require_unique_external_ids(labels: Iterable[LabelDef]) -> None:
    """Raise Unprocessable if two labels of a dataset have the same external id."""
    seen: set[str] = set()
    for label in labels:
        if label.external_id is UNSET or not label.external_id:
            continue
        if label.external_id in seen:
            raise Unprocessable(f"two labels have the external id {label.external_id!r}")
        seen.add(label.external_id)


def copied_group(group: LabelGroup, type_ids: Mapping[str, str]) -> LabelGroupDefs:
    """Return a copy for another dataset; `type_ids` maps the ids of its field types there."""

    def copied(label: LabelDef) -> LabelDef:
        if label.moon_form is UNSET:
            return label
        fields = []
        for one in label.moon_form:
            type_id = type_ids.get(one.field_type_id, one.field_type_id)
            fields.append(
                msgspec.structs.replace(one, field_id=new_id(), field_type_id=type_id, id=type_id)
            )
        return msgspec.structs.replace(label, moon_form=tuple(fields))

    labels = tuple(copied(decode_label(body)) for body in group.label_defs)
    return LabelGroupDefs(group.name, group.settings, labels)


def retyped_labels(group: LabelGroup, types: FieldTypes) -> list[LabelDef] | None:
    """Return a group's labels with the present names of their field types; None if they have them.

    Raises Unprocessable if a type is gone.
    """
    found = []
    changed = False
    for body in group.label_defs:
        label = decode_label(body)
        if label.moon_form is not UNSET:
            fields = []
            for one in label.moon_form:
                where = f"label {label.name!r}"
                _, kind = types.resolve(one.field_type_id, None, where=where)
                fields.append(msgspec.structs.replace(one, kind=kind))
                changed = changed or kind != one.kind
            label = msgspec.structs.replace(label, moon_form=tuple(fields))
        found.append(label)
    return found if changed else None


def changed_label(
    before: LabelDef,
    change: LabelDefNew | LabelDefUpsert | LabelDefChange,
    types: FieldTypes,
) -> LabelDef:
    """Return a label's definition with the given settings; its name stays.

    Raises InvalidInput and Unprocessable for an extraction field or a pretrained label that
    cannot be resolved.
    """
    values: dict[str, object] = {}
    for name in ("title", "external_id"):
        if getattr(change, name) is not UNSET:
            values[name] = getattr(change, name)
    instructions = change.description if change.instructions is UNSET else change.instructions
    if instructions is not UNSET:
        values["instructions"] = instructions
    if change.trainable is not UNSET:
        values["trainable"] = UNSET if change.trainable is None else change.trainable
    if change.pretrained is not UNSET:
        values["pretrained"] = UNSET if change.pretrained is None else _builtin(change.pretrained)
    if not isinstance(change, LabelDefNew) and change.properties is not UNSET:
        values["properties"] = tuple(change.properties) or UNSET
    if change.moon_form is not UNSET:
        stored = () if before.moon_form is UNSET else before.moon_form
        values["moon_form"] = _moon_form(before.name, stored, change.moon_form, types) or UNSET
    return msgspec.structs.replace(before, **values)


def _builtin(request: BuiltinRequest) -> Builtin:
    name = BUILTIN_NAMES.get(request.id) if request.name is UNSET else request.name
    if name is None:
        raise Unprocessable(f"No such pretrained label: {request.id}")
    return Builtin(request.id, name)


def _moon_form(
    label: str,
    stored: Sequence[MoonFormField],
    wanted: Sequence[MoonFormFieldNew],
    types: FieldTypes,
) -> tuple[MoonFormField, ...]:
    names = [one.name for one in wanted]
    if len(set(names)) != len(names):
        raise InvalidInput(f"label {label!r}: two extraction fields have the same name")
    by_id = {one.field_id: one for one in stored}
    by_name = {one.name: one for one in stored}
    found = []
    for one in wanted:
        field_id = getattr(one, "field_id", UNSET)
        if field_id is not UNSET and field_id not in by_id:
            raise Unprocessable(f"label {label!r}: no extraction field has the id {field_id}")
        before = by_name.get(one.name) if field_id is UNSET else by_id[field_id]
        found.append(_moon_form_field(label, before, one, types))
    return tuple(found)


def _moon_form_field(
    label: str, before: MoonFormField | None, wanted: MoonFormFieldNew, types: FieldTypes
) -> MoonFormField:
    type_id = wanted.field_type_id or wanted.id or None
    kind = None if wanted.kind is UNSET else wanted.kind
    if type_id is None and kind is None:
        if before is None:
            raise InvalidInput(
                f"label {label!r}: extraction field {wanted.name!r} needs a kind or a field_type_id"
            )
        type_id, kind = before.field_type_id, before.kind
    else:
        type_id, kind = types.resolve(type_id, kind, where=f"label {label!r}")
    return MoonFormField(
        field_id=new_id() if before is None else before.field_id,
        field_type_id=type_id,
        id=type_id,
        kind=kind,
        name=wanted.name,
        instructions=(
            ("" if before is None else before.instructions)
            if wanted.instructions is UNSET
            else wanted.instructions
        ),
        rule_set=(
            (Raw(b"null") if before is None else before.rule_set)
            if wanted.rule_set is UNSET
            else wanted.rule_set
        ),
    )
