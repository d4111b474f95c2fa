"""Datasets over HTTP."""

from __future__ import annotations

from typing import Any, Final

from msgspec import UNSET, Raw, Struct, UnsetType, field

from lodestream.actions import datasets as actions
from lodestream.api.calls import Call
from lodestream.domain import access
from lodestream.domain.access import Actor
from lodestream.domain.datasets import (
    Dataset,
    DatasetChange,
    DatasetNew,
    Locales,
    ModelConfig,
)
from lodestream.domain.errors import InvalidInput, NotFound
from lodestream.domain.fields import EntityDef, GeneralField
from lodestream.domain.ids import is_id, is_resource_name
from lodestream.domain.labels import DEFAULT_GROUP, LabelGroup
from lodestream.domain.times import format_us
from lodestream.store import datasets as store

KNOWN_FLAGS: Final = frozenset({"gpt4", "external_moon_llm", "qos", "zero_shot_labels", "ixp"})
"""The flags that the vendor's command line reads; any other would make it give up."""
KNOWN_FIELD_FLAGS: Final = frozenset({"appears_verbatim"})


class DatasetRequest(Struct, forbid_unknown_fields=True):
    """The body of create."""

    dataset: DatasetNew


class DatasetUpdateRequest(Struct, forbid_unknown_fields=True):
    """The body of update."""

    dataset: DatasetChange


class LabelGroupWire(Struct):
    """A label group as clients see it."""

    name: str
    label_defs: tuple[Raw, ...]
    label_collection_name: str | None
    trainable: bool
    hidden: bool
    instructions: str


class DatasetWire(Struct, omit_defaults=True):
    """A dataset as clients see it; `label_defs` are those of the default group."""

    id: str
    owner: str
    name: str
    title: str
    description: str
    created: str
    last_modified: str
    model_family: str
    source_ids: list[str]
    has_sentiment: bool
    limited_access: bool
    entity_defs: list[EntityDef]
    general_fields: tuple[GeneralField, ...]
    label_defs: tuple[Raw, ...]
    label_groups: list[LabelGroupWire]
    label_properties: tuple[str, ...] = field(name="_label_properties")
    timezone: str = field(name="_timezone")
    preferred_locales: Locales = field(name="_preferred_locales")
    dataset_flags: list[str] = field(name="_dataset_flags")
    model_config: ModelConfig = field(name="_model_config")
    debug_config_json: str | UnsetType = UNSET


class DatasetReply(Struct):
    """One dataset."""

    dataset: DatasetWire
    status: str = "ok"


class DatasetCreatedReply(Struct, omit_defaults=True):
    """A new dataset; with `copy_annotations_from`, how many annotated comments were copied."""

    status: str
    dataset: DatasetWire
    num_copied: int | UnsetType = UNSET


class DatasetsReply(Struct):
    """Several datasets, by owner and name."""

    datasets: list[DatasetWire]
    status: str = "ok"


def group_wire(group: LabelGroup) -> LabelGroupWire:
    """Return a label group as clients see it."""
    return LabelGroupWire(
        group.name,
        group.label_defs,
        group.settings.label_collection_name,
        group.settings.trainable,
        group.settings.hidden,
        group.settings.instructions,
    )


def wire(dataset: Dataset, actor: Actor) -> DatasetWire:
    """Return a dataset as a caller sees it."""
    default = next(group for group in dataset.label_groups if group.name == DEFAULT_GROUP)
    settings = dataset.settings
    shown = DatasetWire(
        id=dataset.id,
        owner=dataset.owner,
        name=dataset.name,
        title=dataset.title,
        description=dataset.description,
        created=format_us(dataset.created_us),
        last_modified=format_us(dataset.updated_us),
        model_family=dataset.model_family,
        source_ids=[member.id for member in dataset.sources],
        has_sentiment=dataset.has_sentiment,
        limited_access=any(
            not may_read(actor, project_id)
            for project_id in {member.project_id for member in dataset.sources}
        ),
        entity_defs=field_types_wire(dataset),
        general_fields=dataset.general_fields,
        label_defs=default.label_defs,
        label_groups=[group_wire(group) for group in dataset.label_groups],
        label_properties=settings.label_properties,
        timezone=settings.timezone,
        preferred_locales=settings.preferred_locales,
        dataset_flags=[flag for flag in settings.flags if flag in KNOWN_FLAGS],
        model_config=settings.model_config,
    )
    if settings.debug_config_json is not None and access.has_global(actor, (access.DEBUG,)):
        shown.debug_config_json = settings.debug_config_json
    return shown


def field_types_wire(dataset: Dataset) -> list[EntityDef]:
    """Return the field types of a dataset as clients see them."""
    return [field_type_wire(one) for one in dataset.entity_defs]


def may_read(actor: Actor, project_id: str) -> bool:
    """Tell whether a caller may read the sources of a project."""
    return access.SOURCES_READ in access.permissions_in(actor, project_id)


def create_dataset(call: Call[DatasetRequest]) -> DatasetCreatedReply:
    """Create a dataset."""
    owner, name = call.values[:2]
    if not is_resource_name(name):
        raise InvalidInput(f"dataset name {name!r}: letters, digits, '-' and '_' only, at most 256")
    new = call.body.dataset
    dataset, copied = actions.create_dataset(
        call.service.db,
        actor=call.actor,
        project_id=call.project_id,
        owner=owner,
        name=name,
        new=new,
    )
    reply = DatasetCreatedReply("ok", wire(dataset, call.actor))
    if new.copy_annotations_from is not UNSET:
        reply.num_copied = copied
    return reply


def update_dataset(call: Call[DatasetUpdateRequest]) -> DatasetReply:
    """Change the given settings of a dataset."""
    dataset = actions.update_dataset(
        call.service.db,
        actor=call.actor,
        dataset_id=named_dataset_id(call),
        change=call.body.dataset,
    )
    return DatasetReply(wire(dataset, call.actor))


def get_dataset(call: Call[None]) -> DatasetReply:
    """Return a dataset by its full name."""
    return DatasetReply(wire(named_dataset(call), call.actor))


def get_dataset_by_id(call: Call[None]) -> DatasetReply:
    """Return a dataset by its id."""
    return DatasetReply(wire(dataset_by_id(call), call.actor))


def list_datasets(call: Call[None]) -> DatasetsReply:
    """Return every dataset of every project in which the caller may see datasets."""
    projects = access.projects_with(call.actor, call.route.needs.permissions)
    with call.service.db.read() as tx:
        found = store.list_datasets(tx, projects=projects)
    return DatasetsReply([wire(one, call.actor) for one in found])


def list_project_datasets(call: Call[None]) -> DatasetsReply:
    """Return the datasets of one project."""
    with call.service.db.read() as tx:
        found = store.list_datasets(tx, projects=frozenset({call.project_id}))
    return DatasetsReply([wire(one, call.actor) for one in found])


def delete_dataset(call: Call[None]) -> None:
    """Delete a dataset by its full name."""
    actions.delete_dataset(call.service.db, actor=call.actor, dataset_id=named_dataset_id(call))


def delete_dataset_by_id(call: Call[None]) -> None:
    """Delete a dataset by its id."""
    dataset = dataset_by_id(call)
    actions.delete_dataset(call.service.db, actor=call.actor, dataset_id=dataset.id)


def named_dataset_id(call: Call[Any]) -> str:
    """Return the id of the dataset whose full name begins the path. Raises NotFound."""
    owner, name = call.values[:2]
    found = call.service.catalogue.find_dataset(owner, name)
    if found is None:
        raise NotFound(f"No such dataset: {owner}/{name}")
    return found.id


def named_dataset(call: Call[Any]) -> Dataset:
    """Return the dataset whose full name begins the path. Raises NotFound."""
    dataset_id = named_dataset_id(call)
    with call.service.db.read() as tx:
        return store.get(tx, dataset_id)


def dataset_by_id(call: Call[Any]) -> Dataset:
    """Return the dataset whose id begins the path, if the caller has the row's permissions there.

    Raises InvalidInput if it is no id, NotFound and PermissionMissing.
    """
    dataset_id = call.values[0]
    if not is_id(dataset_id):
        raise InvalidInput(f"dataset id {dataset_id!r}: 16 lower-case hex digits expected")
    missing = f"No such dataset: id:{dataset_id}"
    with call.service.db.read() as tx:
        dataset = store.find_by_id(tx, dataset_id)
    if dataset is None:
        raise NotFound(missing)
    call.require(dataset.project_id, not_found=missing)
    return dataset


def field_type_wire(one: EntityDef) -> EntityDef:
    """Return a field type as clients see it."""
    if all(flag in KNOWN_FIELD_FLAGS for flag in one.flags):
        return one
    kept = tuple(flag for flag in one.flags if flag in KNOWN_FIELD_FLAGS)
    return EntityDef(
        id=one.id,
        color=one.color,
        name=one.name,
        title=one.title,
        inherits_from=one.inherits_from,
        trainable=one.trainable,
        flags=kept,
        rules=one.rules,
        instructions=one.instructions,
    )
