"""Labels and label groups over HTTP."""

from __future__ import annotations

from typing import Annotated, Any

from msgspec import UNSET, Meta, Raw, Struct, UnsetType

from lodestream.actions import labels as actions
from lodestream.api.calls import Call
from lodestream.api.datasets import LabelGroupWire, group_wire, named_dataset_id
from lodestream.domain.errors import InvalidInput, NotFound
from lodestream.domain.labels import (
    MAX_DEFS,
    LabelDefChange,
    LabelDefUpsert,
    LabelGroupSettings,
    encode_label,
)
from lodestream.store import labels as store


class LabelsRequest(Struct, forbid_unknown_fields=True):
    """Labels to create or change."""

    label_defs: Annotated[list[LabelDefUpsert], Meta(max_length=MAX_DEFS)]


class LabelRequest(Struct, forbid_unknown_fields=True):
    """What to change of a label."""

    label: LabelDefChange


class LabelGroupRequest(Struct, forbid_unknown_fields=True):
    """The settings of a new label group."""

    label_collection_name: Annotated[str, Meta(min_length=1, max_length=64)] | UnsetType | None = (
        UNSET
    )
    trainable: bool | UnsetType | None = UNSET
    hidden: bool | UnsetType | None = UNSET
    instructions: Annotated[str, Meta(max_length=2048)] = ""


class LabelReply(Struct):
    """One label."""

    label: Raw
    status: str = "ok"


class LabelChangedReply(Struct):
    """A label after a change, and of how many comments that changed the annotations."""

    label: Raw
    num_modified: int
    status: str = "ok"


class LabelDeletedReply(Struct):
    """Of how many comments a deletion changed the annotations."""

    num_modified: int
    status: str = "ok"


class LabelGroupReply(Struct):
    """One label group."""

    label_group: LabelGroupWire
    status: str = "ok"


class LabelGroupsReply(Struct):
    """The label groups of a dataset, the oldest first."""

    label_groups: list[LabelGroupWire]
    status: str = "ok"


def upsert_labels(call: Call[LabelsRequest]) -> None:
    """Create labels, or change those that exist; others stay as they are."""
    actions.upsert_labels(
        call.service.db,
        actor_id=call.actor.user_id,
        dataset_id=named_dataset_id(call),
        group_name=call.values[2],
        label_defs=call.body.label_defs,
    )


def get_label(call: Call[None]) -> LabelReply:
    """Return a label by its name."""
    dataset_id, name = named_dataset_id(call), _label_name(call)
    with call.service.db.read() as tx:
        store.get_group(tx, dataset_id, call.values[2])
        body = store.find_body(tx, dataset_id, call.values[2], name)
    if body is None:
        raise NotFound(f"No such label: {name}")
    return LabelReply(body)


def update_label(call: Call[LabelRequest]) -> LabelChangedReply:
    """Change a label; a new name moves its children too, or merges it with another label."""
    label, modified = actions.update_label(
        call.service.db,
        actor_id=call.actor.user_id,
        dataset_id=named_dataset_id(call),
        group_name=call.values[2],
        name=_label_name(call),
        change=call.body.label,
    )
    return LabelChangedReply(Raw(encode_label(label)), modified)


def delete_label(call: Call[None]) -> LabelDeletedReply:
    """Delete a label and all below it."""
    modified = actions.delete_label(
        call.service.db,
        actor_id=call.actor.user_id,
        dataset_id=named_dataset_id(call),
        group_name=call.values[2],
        name=_label_name(call),
    )
    return LabelDeletedReply(modified)


def list_groups(call: Call[None]) -> LabelGroupsReply:
    """Return the label groups of a dataset."""
    dataset_id = named_dataset_id(call)
    with call.service.db.read() as tx:
        return LabelGroupsReply([group_wire(one) for one in store.groups_of(tx, dataset_id)])


def get_group(call: Call[None]) -> LabelGroupReply:
    """Return a label group by its name."""
    dataset_id = named_dataset_id(call)
    with call.service.db.read() as tx:
        return LabelGroupReply(group_wire(store.get_group(tx, dataset_id, call.values[2])))


def create_group(call: Call[LabelGroupRequest]) -> LabelGroupReply:
    """Create an empty label group."""
    name, body = call.values[2], call.body
    if not 1 <= len(name) <= 64:
        raise InvalidInput(f"label group name {name[:80]!r}: 1 to 64 characters expected")
    group = actions.create_group(
        call.service.db,
        actor_id=call.actor.user_id,
        dataset_id=named_dataset_id(call),
        name=name,
        settings=LabelGroupSettings(
            label_collection_name=body.label_collection_name or None,
            trainable=body.trainable is not False,
            hidden=body.hidden is True,
            instructions=body.instructions,
        ),
    )
    return LabelGroupReply(group_wire(group))


def delete_group(call: Call[None]) -> None:
    """Delete a label group with its labels; the default group stays."""
    actions.delete_group(
        call.service.db,
        actor_id=call.actor.user_id,
        dataset_id=named_dataset_id(call),
        name=call.values[2],
    )


def _label_name(call: Call[Any]) -> str:
    name = call.request.query("label_name")
    if name is None:
        raise InvalidInput("query parameter 'label_name': the name of a label expected")
    return name
