"""Validations and training actions over HTTP."""

from __future__ import annotations

from itertools import groupby
from typing import Annotated, Any
from uuid import UUID

import msgspec
from msgspec import UNSET, Meta, Raw, Struct, UnsetType

from lodestream.actions import models as actions
from lodestream.api.calls import Call
from lodestream.api.datasets import LabelGroupWire, field_type_wire, group_wire
from lodestream.api.http import Reply
from lodestream.api.models import get_validated, version_number
from lodestream.api.selections import readable_sources
from lodestream.api.streams import dataset_of
from lodestream.domain import validation as shapes
from lodestream.domain.errors import InvalidInput, NotFound
from lodestream.domain.fields import EntityDef
from lodestream.domain.ids import split_uid
from lodestream.domain.models import TrainingAction
from lodestream.store import models as store
from lodestream.store.db import Reader


class LabelValidationRequest(Struct, forbid_unknown_fields=True):
    """The label to be told of, by its full name; what is asked of its fields is not answered."""

    label: Annotated[str, Meta(min_length=1, max_length=1024)]
    moon: Raw | UnsetType = UNSET


class SeenRequest(Struct, forbid_unknown_fields=True):
    """Whether the comment was annotated or only looked at; both count alike."""

    is_with_annotation: bool


class ValidationReply(Struct):
    """The page of a version, with the taxonomy as it was when it was trained."""

    entity_defs: list[EntityDef]
    label_groups: list[LabelGroupWire]
    validation: shapes.ValidationSummary
    status: str = "ok"


class LabelValidationReply(Struct):
    """The page of one label of a version."""

    label_validation: shapes.LabelMetrics
    status: str = "ok"


class StatisticsOfModelReply(Struct):
    """How good a version is, in short."""

    validation: shapes.ModelStatistics
    status: str = "ok"


class TrainingActionsReply(Struct):
    """What to do next, the most useful first; of several in a list one will do."""

    training_actions_labels: list[shapes.TrainingAction | list[shapes.TrainingAction]]
    status: str = "ok"


class ActionCommentsReply(Struct):
    """The comments of a training action, in the order in which to look at them."""

    comment_uids: list[str]
    status: str = "ok"


class SeenReply(Struct):
    """How far a training action is."""

    training_action_completeness: shapes.Completeness
    status: str = "ok"


def get_validation(call: Call[None]) -> Reply:
    """Return how good a version is, with its labels and fields as they were then."""
    dataset_id = dataset_of(call).id
    with call.service.db.read() as tx:
        model = get_validated(call, tx, dataset_id)
        known = store.definitions(tx, model.key)
        body = _there(store.validation(tx, model.key))
    encode = msgspec.json.encode
    return Reply(
        b'{"status":"ok","entity_defs":%s,"label_groups":%s,"validation":%s}'
        % (
            encode([field_type_wire(one) for one in known.entity_defs]),
            encode([group_wire(one) for one in known.label_groups]),
            body,
        )
    )


def get_label_validation(call: Call[LabelValidationRequest]) -> Reply:
    """Return the curve of precision and recall of one label of a version."""
    dataset_id, label = dataset_of(call).id, call.body.label
    with call.service.db.read() as tx:
        model = get_validated(call, tx, dataset_id)
        body = store.find_label_validation(tx, model.key, label)
    if body is None:
        raise NotFound(f"No such label in model version {model.version}: {label}")
    return Reply(b'{"status":"ok","label_validation":%s}' % body)


def get_statistics(call: Call[None]) -> Reply:
    """Return how good a version is, in short."""
    dataset_id = dataset_of(call).id
    with call.service.db.read() as tx:
        model = store.get(tx, dataset_id, version_number(call))
        body = _there(store.statistics(tx, model.key))
    return Reply(b'{"status":"ok","validation":%s}' % body)


def list_training_actions(call: Call[None]) -> Reply:
    """Return what would make a version better, the most useful first."""
    dataset_id = dataset_of(call).id
    with call.service.db.read() as tx:
        found = store.list_actions(tx, get_validated(call, tx, dataset_id).key)
    entries = []
    for _, group in groupby(found, key=lambda one: one.rank):
        choices = [one.body for one in group]
        entries.append(choices[0] if len(choices) == 1 else b"[%s]" % b",".join(choices))
    return Reply(b'{"status":"ok","training_actions_labels":[%s]}' % b",".join(entries))


def list_action_comments(call: Call[None]) -> ActionCommentsReply:
    """Return the comments of a training action that the caller may read."""
    with call.service.db.read() as tx:
        action = _action(call, tx)
        readable = {one.id for one in readable_sources(call, tx, dataset_of(call).id)}
    return ActionCommentsReply(
        [uid for uid in action.uids if (parts := split_uid(uid)) and parts[0] in readable]
    )


def mark_seen(call: Call[SeenRequest]) -> SeenReply:
    """Note that a comment of a training action was looked at."""
    with call.service.db.read() as tx:
        action = _action(call, tx)
    uid = call.value("comment_uid")
    if uid not in action.uids:
        raise NotFound(f"No such comment in the training action: {uid}")
    before = actions.mark_seen(call.service.db, action_id=action.id, uid=uid)
    return SeenReply(shapes.completeness(action.uids, before, just_seen={uid}))


def _there(body: bytes | None) -> bytes:
    """Return what a validation found. Raises NotFound if there was none."""
    if body is None:
        raise NotFound("This model version is not validated yet")
    return body


def _action(call: Call[Any], tx: Reader) -> TrainingAction:
    """Return the training action of the path, in any of the ways to write its id."""
    text = call.value("training_action_id")
    try:
        action_id = str(UUID(text))
    except ValueError:
        raise InvalidInput(f"training action {text!r}: a UUID expected") from None
    found = store.find_action(tx, dataset_of(call).id, action_id)
    if found is None:
        raise NotFound(f"No such training action: {action_id}")
    return found
