"""Datasets: create, change, delete."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeVar

import msgspec
from msgspec import UNSET

from lodestream.domain import access
from lodestream.domain.access import Actor
from lodestream.domain.annotations import without_fields
from lodestream.domain.audit import ProjectRef, Refs
from lodestream.domain.datasets import (
    Dataset,
    DatasetChange,
    DatasetNew,
    Settings,
    SourceMember,
    changed_settings,
    check_given,
)
from lodestream.domain.definitions import Definitions, changed_types
from lodestream.domain.errors import Conflict, NotFound
from lodestream.domain.fields import (
    EntityDef,
    FieldTypes,
    GeneralField,
    copied_fields,
    merged_entity_defs,
    merged_general_fields,
    with_kinds,
)
from lodestream.domain.ids import new_id
from lodestream.domain.labels import (
    DEFAULT_GROUP,
    LabelGroupDefs,
    decode_label,
)
from lodestream.domain.taxonomy import (
    copied_group,
    new_groups,
    retyped_labels,
)
from lodestream.domain.times import now_us
from lodestream.store import audit, datasets, labels, projects, quotas
from lodestream.store.annotations import hold, label_keys
from lodestream.store.db import Database, Writer
from lodestream.store.definitions import record
from lodestream.store.marks import change_states, positions_with_fields
from lodestream.store.upkeep import Renumbering, copy_annotations

_Name = TypeVar("_Name")


def create_dataset(
    db: Database, *, actor: Actor, project_id: str, owner: str, name: str, new: DatasetNew
) -> tuple[Dataset, int]:
    """Create a dataset; return it, and how many annotated comments were copied into it.

    Raises Conflict if the name is taken; NotFound if the project, a source or the dataset to be
    copied does not exist for the actor; InvalidInput, Unprocessable and QuotaExceeded.
    """
    check_given(new)
    now = now_us()
    with db.write() as tx:
        projects.require_exists(tx, project_id)
        if datasets.exists(tx, project_id, name):
            raise Conflict(f"a dataset named {owner}/{name} exists")
        quotas.require_room(tx, "datasets", datasets.count(tx) + 1)
        types, fields, groups = _taxonomy(tx, actor, new)
        dataset = Dataset(
            id=new_id(),
            project_id=project_id,
            owner=owner,
            name=name,
            title="" if new.title is UNSET else new.title,
            description="" if new.description is UNSET else new.description,
            model_family="english" if new.model_family is UNSET else new.model_family,
            has_sentiment=new.has_sentiment,
            settings=changed_settings(Settings(), new),
            created_us=now,
            updated_us=now,
            sources=_members(tx, actor, [] if new.source_ids is UNSET else new.source_ids, ()),
            entity_defs=types,
            general_fields=fields,
        )
        label_count = sum(len(group.label_defs) for group in groups)
        quotas.require_room(tx, "labels_per_dataset", label_count)
        quotas.require_room(tx, "entities_per_dataset", len(types))
        defined = datasets.insert(tx, dataset, groups)
        record(tx, dataset.id, Definitions(), defined, user_id=actor.user_id, now_us=now)
        copied = 0
        if new.copy_annotations_from is not UNSET:
            copied = _copy_annotations(tx, new.copy_annotations_from, dataset, now)
        _record(tx, actor, "create_dataset", dataset)
        return datasets.get(tx, dataset.id), copied


def update_dataset(
    db: Database, *, actor: Actor, dataset_id: str, change: DatasetChange
) -> Dataset:
    """Set what is given; an empty change is none.

    A field type that a general field or a label uses cannot be taken away.

    Raises NotFound if the dataset or a new source does not exist for the actor; InvalidInput,
    Unprocessable and QuotaExceeded.
    """
    check_given(change)
    with db.write() as tx:
        before = datasets.get(tx, dataset_id)
        after = _changed(tx, actor, before, change)
        relabelled = _save_labels(tx, actor, before, after, change)
        if after == before and not relabelled:
            return before
        after = msgspec.structs.replace(after, updated_us=max(now_us(), before.updated_us + 1))
        if len(after.entity_defs) > len(before.entity_defs):
            quotas.require_room(tx, "entities_per_dataset", len(after.entity_defs))
        datasets.update(tx, before, after)
        _drop_fields(tx, actor, before, after)
        _record(tx, actor, "update_dataset", after)
        return datasets.get(tx, dataset_id)


def delete_dataset(db: Database, *, actor: Actor, dataset_id: str) -> None:
    """Delete a dataset with its labels, fields and streams; its sources stay. Raises NotFound."""
    with db.write() as tx:
        dataset = datasets.get(tx, dataset_id)
        datasets.remove_dataset(tx, dataset_id)
        _record(tx, actor, "delete_dataset", dataset)


def record_export(db: Database, *, actor: Actor, dataset: Dataset) -> None:
    """Note in the audit log that an export of a dataset began."""
    with db.write(catalogue=False) as tx:
        _record(tx, actor, "export_dataset", dataset)


def _taxonomy(
    tx: Writer, actor: Actor, new: DatasetNew
) -> tuple[tuple[EntityDef, ...], tuple[GeneralField, ...], tuple[LabelGroupDefs, ...]]:
    """Return field types, general fields and labels of a new dataset."""
    types: tuple[EntityDef, ...] = ()
    fields: tuple[GeneralField, ...] = ()
    groups: tuple[LabelGroupDefs, ...] = ()
    if new.copy_annotations_from is not UNSET:
        original = _readable_dataset(tx, actor, new.copy_annotations_from)
        types, fields, ids = copied_fields(original.entity_defs, original.general_fields)
        groups = tuple(copied_group(group, ids) for group in original.label_groups)
    given = {one.name for one in new.entity_defs}
    types = merged_entity_defs(
        types, new.entity_defs, keep=[t for t in types if t.name not in given]
    )
    types = with_kinds(types, [] if new.entity_kinds is UNSET else new.entity_kinds)
    known = FieldTypes(types)
    named = {one.api_name for one in new.general_fields}
    fields = (
        *(one for one in fields if one.api_name not in named),
        *merged_general_fields(fields, new.general_fields, known),
    )
    return types, fields, new_groups(new.label_groups, new.label_defs, known, copied=groups)


def _readable_dataset(tx: Writer, actor: Actor, dataset_id: str) -> Dataset:
    found = datasets.find_by_id(tx, dataset_id)
    if found is None or access.VOC_READONLY not in access.permissions_in(actor, found.project_id):
        raise NotFound(f"No such dataset: id:{dataset_id}")
    return found


def _members(
    tx: Writer, actor: Actor, ids: Sequence[str], before: Sequence[SourceMember]
) -> tuple[SourceMember, ...]:
    """Return the sources of a new list. What is in the dataset already needs no permission."""
    wanted = list(dict.fromkeys(ids))
    found = datasets.find_sources(tx, wanted)
    known = {member.id for member in before}
    for source_id in wanted:
        member = found.get(source_id)
        if member is None or (
            source_id not in known
            and access.SOURCES_READ not in access.permissions_in(actor, member.project_id)
        ):
            raise NotFound(f"No such source: id:{source_id}")
    added = [found[source_id] for source_id in wanted if source_id not in known]
    if added:
        quotas.require_room(tx, "sources_per_dataset", len(wanted))
        uses = datasets.counts_by_source(tx, [member.key for member in added])
        for member in added:
            quotas.require_room(tx, "datasets_per_source", uses.get(member.key, 0) + 1)
    return tuple(found[source_id] for source_id in wanted)


def _changed(tx: Writer, actor: Actor, before: Dataset, change: DatasetChange) -> Dataset:
    """Return the dataset as a change makes it, but for labels and time."""
    values: dict[str, object] = {
        name: getattr(change, name)
        for name in ("title", "description", "model_family")
        if getattr(change, name) is not UNSET
    }
    types, fields = before.entity_defs, before.general_fields
    if change.entity_defs is not UNSET:
        types = merged_entity_defs(types, change.entity_defs)
    if change.entity_kinds is not UNSET:
        types = with_kinds(types, change.entity_kinds)
    known = FieldTypes(types)
    if change.general_fields is not UNSET:
        fields = merged_general_fields(fields, change.general_fields, known)
    elif types != before.entity_defs:
        fields = known.retyped(fields)
    if change.source_ids is not UNSET:
        values["sources"] = _members(tx, actor, change.source_ids, before.sources)
    return msgspec.structs.replace(
        before,
        **values,
        settings=changed_settings(before.settings, change),
        entity_defs=types,
        general_fields=fields,
    )


def _drop_fields(tx: Writer, actor: Actor, before: Dataset, after: Dataset) -> None:
    """Remember a change of field types, and take away the annotations of those that are gone."""
    changed = changed_types(before.entity_defs, after.entity_defs)
    now = after.updated_us
    gone = frozenset(one.id for one in before.entity_defs) - {one.id for one in after.entity_defs}
    if gone:
        hold(tx, before.id, now_us=now)
        change_states(
            tx,
            before.id,
            positions_with_fields(tx, before.id, sorted(gone)),
            lambda state: without_fields(state, gone),
            user_id=actor.user_id,
            now_us=now,
        )
    record(tx, before.id, *changed, user_id=actor.user_id, now_us=now)


def _copy_annotations(tx: Writer, origin_id: str, copy: Dataset, now: int) -> int:
    """Give a new dataset the annotations of another; return of how many comments."""
    origin, copied = datasets.get(tx, origin_id), datasets.get(tx, copy.id)
    old = {name: (key, created) for key, name, created, _ in label_keys(tx, origin_id)}
    new = {name: key for key, name, _, _ in label_keys(tx, copy.id)}
    # A label that is as old as it was still says nothing of comments reviewed before it.
    labels.set_created(tx, {new[name]: old[name][1] for name in old.keys() & new.keys()})
    ids = Renumbering(
        labels={old[name][0]: new[name] for name in old.keys() & new.keys()},
        types=_matched(
            {one.name: one.id for one in origin.entity_defs},
            {one.name: one.id for one in copied.entity_defs},
        ),
        fields=_matched(_field_ids(origin), _field_ids(copied)),
    )
    return copy_annotations(tx, origin_id, copy.id, ids, now_us=now)


def _field_ids(dataset: Dataset) -> dict[tuple[str, str], str]:
    """Return the ids of general fields and of the default group's extraction fields, by names."""
    found = {("", one.api_name): one.field_id for one in dataset.general_fields}
    group = next(group for group in dataset.label_groups if group.name == DEFAULT_GROUP)
    for label in map(decode_label, group.label_defs):
        found |= {(label.name, one.name): one.field_id for one in label.moon_form or ()}
    return found


def _matched(old: Mapping[_Name, str], new: Mapping[_Name, str]) -> dict[str, str]:
    return {old[name]: new[name] for name in old.keys() & new.keys()}


def _save_labels(
    tx: Writer, actor: Actor, before: Dataset, after: Dataset, change: DatasetChange
) -> bool:
    """Store what a change of a dataset does to its label groups; tell whether that is anything."""
    changed = False
    instructions = change.default_label_group_instructions
    if instructions is not UNSET:
        group = next(group for group in before.label_groups if group.name == DEFAULT_GROUP)
        if group.settings.instructions != instructions:
            settings = msgspec.structs.replace(group.settings, instructions=instructions)
            labels.update_group(tx, before.id, group.name, settings)
            changed = True
    if after.entity_defs == before.entity_defs:
        return changed
    known = FieldTypes(after.entity_defs)
    for group in before.label_groups:
        retyped = retyped_labels(group, known)
        if retyped is not None:
            now = now_us()
            saved = labels.save_labels(tx, before.id, group.name, retyped, now_us=now)
            record(tx, before.id, *saved, user_id=actor.user_id, now_us=now)
            changed = True
    return changed


def _record(tx: Writer, actor: Actor, event_type: str, dataset: Dataset) -> None:
    refs = Refs(projects=(ProjectRef(dataset.project_id, dataset.owner),), datasets=(dataset.ref,))
    audit.record(tx, actor_id=actor.user_id, event_type=event_type, refs=refs)
