"""The operations on labels and annotations, each as a call that is ready to be made."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from msgspec import Struct

from lodestream.client.calls import Call, call, full_name, inside, nothing, part, query, whole
from lodestream.client.operations import private_dataset_path
from lodestream.client.shapes import History, LabelGroup

DEFAULT_GROUP: Final = "default"

_OURS: Final = "/api/lodestream/v1/datasets"


class Changed(Struct, kw_only=True):
    """Of how many comments a change of a label changed the annotations."""

    num_modified: int


class Undone(Struct, kw_only=True):
    """The revision of a comment's annotations after a change was taken back."""

    comment_uid: str
    revision: int


_changed: Final = whole(Changed)
_undone: Final = whole(Undone)
_history: Final = whole(History)
_label: Final = inside("label", dict[str, Any])
_group: Final = inside("label_group", LabelGroup)
_groups: Final = inside("label_groups", list[LabelGroup])


def label(dataset: str, name: str, *, group: str = DEFAULT_GROUP) -> Call[dict[str, Any]]:
    """One label."""
    return call("GET", _labels(dataset, group) + query(label_name=name), decode=_label)


def put_labels(
    dataset: str, labels: Sequence[Mapping[str, Any]], *, group: str = DEFAULT_GROUP
) -> Call[None]:
    """Labels of any group to create, or to change by their names."""
    return call("PUT", _labels(dataset, group), {"label_defs": labels}, decode=nothing)


def update_label(
    dataset: str, name: str, /, *, group: str = DEFAULT_GROUP, **fields: object
) -> Call[Changed]:
    """Some settings of a label; a new name that is taken merges both."""
    # The name changes with the call: a second one would not find the label.
    path = _labels(dataset, group) + query(label_name=name)
    return call("POST", path, {"label": fields}, decode=_changed, idempotent="name" not in fields)


def delete_label(dataset: str, name: str, *, group: str = DEFAULT_GROUP) -> Call[Changed]:
    """A label to be deleted, with all below it."""
    return call("DELETE", _labels(dataset, group) + query(label_name=name), decode=_changed)


def label_groups(dataset: str) -> Call[list[LabelGroup]]:
    """The label groups of a dataset, with their labels."""
    path = f"{private_dataset_path(dataset)}/label-groups"
    return call("GET", path, decode=_groups)


def label_group(dataset: str, name: str) -> Call[LabelGroup]:
    """One label group, with its labels."""
    return call("GET", _group_path(dataset, name), decode=_group)


def create_label_group(dataset: str, name: str, **fields: object) -> Call[LabelGroup]:
    """A new, empty label group."""
    return call("POST", _group_path(dataset, name), fields, decode=_group)


def delete_label_group(dataset: str, name: str) -> Call[None]:
    """A label group to be deleted, with its labels."""
    return call("DELETE", _group_path(dataset, name), decode=nothing, gone_is_done=True)


def annotation_history(
    dataset: str, uid: str, *, limit: int, older_than_revision: int | None
) -> Call[History]:
    """The changes of a comment's annotations, the newest first; only Lodestream itself tells."""
    asked = query(comment_uid=uid, limit=limit, older_than_revision=older_than_revision)
    return call("GET", f"{_OURS}/{full_name(dataset)}/history{asked}", decode=_history)


def undo_annotation(dataset: str, uid: str, *, revision: int | None) -> Call[Undone]:
    """A change of a comment's annotations to be taken back; only Lodestream itself can."""
    body: dict[str, object] = {"comment_uid": uid}
    if revision is not None:
        body["revision"] = revision
    # Without a revision the second call would take back one more.
    again = revision is not None
    path = f"{_OURS}/{full_name(dataset)}/undo"
    return call("POST", path, body, decode=_undone, idempotent=again)


def _labels(dataset: str, group: str) -> str:
    return f"{private_dataset_path(dataset)}/labels/{part(group)}"


def _group_path(dataset: str, name: str) -> str:
    return f"{private_dataset_path(dataset)}/label-groups/{part(name)}"
