"""Model versions over HTTP: list, describe, pin, tag; and how far learning is."""

from __future__ import annotations

import re
from typing import Annotated, Any, Final, Literal

from msgspec import UNSET, Meta, Struct, UnsetType

from lodestream.actions import models as actions
from lodestream.actions.reset import is_resetting
from lodestream.api.calls import Call
from lodestream.api.selections import readable_sources
from lodestream.api.streams import dataset_of
from lodestream.domain.errors import InvalidInput, NotFound, Unprocessable
from lodestream.domain.models import MAX_PINNED, TAGS, Model, Tag
from lodestream.domain.times import format_us, now_us
from lodestream.store import datasets, learning, progress
from lodestream.store import models as store
from lodestream.store.db import Reader
from lodestream.store.learning import Learning

MODEL_ID: Final = "default"
STUCK_FAILURES: Final = 4
"""Learning that failed this often in a row, over more than a minute, does not help itself."""

_LONGEST_WAIT_US: Final = 24 * 3600 * 1_000_000

LATEST: Final = "latest"
_NUMBER: Final = re.compile(r"[0-9]{1,10}")

TagName = Literal["live", "staging"]
Version = Annotated[int, Meta(ge=0, le=2**31 - 1)]


class ModelsRequest(Struct, forbid_unknown_fields=True):
    """Which versions to list."""

    older_than_version: Annotated[int, Meta(ge=1, le=2**63 - 1)] | UnsetType = UNSET
    limit: Annotated[int, Meta(ge=1, le=100)] | UnsetType | None = UNSET
    include_deleted: bool = False
    starred: bool | UnsetType | None = UNSET
    validated: bool | UnsetType | None = UNSET


class ModelChange(Struct, forbid_unknown_fields=True):
    """What to set on a version."""

    starred: bool | UnsetType = UNSET
    description: Annotated[str, Meta(max_length=16_384)] | UnsetType = UNSET


class ModelTagChange(Struct, forbid_unknown_fields=True):
    """Where to point a tag; its name, if given, is that of the path, its time is ignored."""

    version: Version
    name: Annotated[str, Meta(max_length=64)] | UnsetType = UNSET
    updated_at: Annotated[str, Meta(max_length=64)] | UnsetType = UNSET


class ModelTagRequest(Struct, forbid_unknown_fields=True):
    """The body of a change of a tag."""

    model_tag: ModelTagChange


class VersionSettings(Struct):
    """What people said about a version."""

    starred: bool
    description: str


class VersionWire(Struct):
    """A version as clients see it. `unsupported` are those whose files are gone."""

    version: int
    model_id: str
    model_name: Literal["cm"]
    fingerprint: str
    trained_time: str
    training_duration: float
    input_updated_at: str
    validated: bool
    pinned: bool
    used_by_triggers: bool
    reviewed_counts: dict[str, int]
    settings: VersionSettings
    freshness: Literal["fresh", "unsupported"]
    flags: tuple[()] = ()


class ModelTagWire(Struct):
    """A tag as clients see it."""

    name: TagName
    version: int
    updated_at: str


class InferenceStats(Struct):
    """How many comments a version has predicted."""

    timestamp: str
    comments: int
    inference_complete: float


class DatasetStatus(Struct):
    """How far training, validation and prediction are; None where nothing was ever trained."""

    training_complete: float | None
    validation_complete: float | None
    training_completion_time: str
    inference_complete: float
    total_comments_with_text: int
    inference_stats_by_version: dict[str, InferenceStats]
    inference_stuck: bool
    operation: Literal["reset_annotations_to_model_version"] | None = None


class DatasetStatusReply(Struct):
    """The state of a dataset's model."""

    dataset_status: DatasetStatus
    status: str = "ok"


class ModelsReply(Struct):
    """Versions of a dataset, the newest first, and its tags."""

    labellers: list[VersionWire]
    model_tags: list[ModelTagWire]
    dataset_status: DatasetStatus
    max_number_pinned_models: Literal[100] = MAX_PINNED
    status: str = "ok"


class ModelReply(Struct):
    """One version."""

    labeller: VersionWire
    status: str = "ok"


class ModelTagReply(Struct):
    """One tag."""

    model_tag: ModelTagWire
    status: str = "ok"


class ModelTagsReply(Struct):
    """The tags of a dataset, by name."""

    model_tags: list[ModelTagWire]
    status: str = "ok"


def list_models(call: Call[ModelsRequest]) -> ModelsReply:
    """Return versions of a dataset, the newest first."""
    body = call.body
    dataset_id = dataset_of(call).id
    with call.service.db.read() as tx:
        found = store.list_models(
            tx,
            dataset_id,
            older_than=None if body.older_than_version is UNSET else body.older_than_version,
            limit=None if body.limit is UNSET else body.limit,
            include_deleted=body.include_deleted,
            starred=None if body.starred is UNSET else body.starred,
            validated=None if body.validated is UNSET else body.validated,
        )
        tags = store.list_tags(tx, dataset_id)
        status = _status(call, tx, dataset_id)
    return ModelsReply([_wire(one) for one in found], [_tag_wire(one) for one in tags], status)


def dataset_status(call: Call[None]) -> DatasetStatusReply:
    """Return how far the training, validation and predictions of a dataset are."""
    dataset_id = dataset_of(call).id
    with call.service.db.read() as tx:
        return DatasetStatusReply(_status(call, tx, dataset_id))


def update_model(call: Call[ModelChange]) -> ModelReply:
    """Star or describe a version."""
    model = actions.update_model(
        call.service.db,
        actor_id=call.actor.user_id,
        dataset=dataset_of(call),
        version=version_number(call),
        starred=None if call.body.starred is UNSET else call.body.starred,
        description=None if call.body.description is UNSET else call.body.description,
    )
    return ModelReply(_wire(model))


def pin_model(call: Call[None]) -> None:
    """Keep a version for good, so that streams and predictions may use it."""
    actions.pin_model(
        call.service.db,
        actor_id=call.actor.user_id,
        dataset=dataset_of(call),
        version=version_number(call),
    )


def unpin_model(call: Call[None]) -> None:
    """No longer keep a version for good; refused while a stream or a tag needs it."""
    actions.unpin_model(
        call.service.db,
        actor_id=call.actor.user_id,
        dataset=dataset_of(call),
        version=version_number(call),
    )


def list_tags(call: Call[None]) -> ModelTagsReply:
    """Return the tags of a dataset."""
    dataset_id = dataset_of(call).id
    with call.service.db.read() as tx:
        return ModelTagsReply([_tag_wire(one) for one in store.list_tags(tx, dataset_id)])


def set_tag(call: Call[ModelTagRequest]) -> ModelTagReply:
    """Point a tag to a pinned version."""
    name, change = _tag_name(call), call.body.model_tag
    if change.name is not UNSET and change.name != name:
        raise InvalidInput(f"model_tag.name: {change.name!r} is not the tag of the path")
    tag = actions.set_tag(
        call.service.db,
        actor_id=call.actor.user_id,
        dataset=dataset_of(call),
        name=name,
        version=change.version,
    )
    return ModelTagReply(_tag_wire(tag))


def delete_tag(call: Call[None]) -> None:
    """Take a tag away from its version."""
    actions.delete_tag(
        call.service.db,
        actor_id=call.actor.user_id,
        dataset=dataset_of(call),
        name=_tag_name(call),
    )


def version_number(call: Call[Any]) -> int:
    """Return the version number of the path. Raises InvalidInput if it is none."""
    word = call.value("model_version")
    if _NUMBER.fullmatch(word) is None:
        raise InvalidInput(f"model version {word!r}: a number expected")
    return int(word)


def get_pinned(call: Call[Any], tx: Reader, dataset_id: str) -> Model:
    """Return the pinned version that the path names by number or tag.

    Raises InvalidInput if it is neither, NotFound, Unprocessable if it is not pinned.
    """
    word = call.value("model_version")
    if word in TAGS:
        tag = store.find_tag(tx, dataset_id, word)
        if tag is None:
            raise NotFound(f"The tag {word!r} is not set")
        return store.get(tx, dataset_id, tag.version)
    model = store.get(tx, dataset_id, version_number(call))
    if not model.pinned:
        raise Unprocessable(f"model version {model.version} is not a pinned version")
    return model


def get_validated(call: Call[Any], tx: Reader, dataset_id: str) -> Model:
    """Return the validated version that the path names by number or as `latest`.

    Raises InvalidInput if it is neither, NotFound also if the version is not validated yet.
    """
    if call.value("model_version") == LATEST:
        newest = store.find_newest(tx, dataset_id, validated=True)
        if newest is None:
            raise NotFound("No model version of this dataset is validated yet")
        return newest
    model = store.get(tx, dataset_id, version_number(call))
    if not model.validated:
        raise NotFound(f"Model version {model.version} is not validated yet")
    return model


def _tag_name(call: Call[Any]) -> str:
    name = call.value("tag_name")
    if name not in TAGS:
        raise InvalidInput(f"model tag {name!r}: one of {', '.join(TAGS)} expected")
    return name


def _wire(model: Model) -> VersionWire:
    return VersionWire(
        version=model.version,
        model_id=MODEL_ID,
        model_name="cm",
        fingerprint=model.fingerprint,
        trained_time=format_us(model.trained_us),
        training_duration=model.duration_s,
        input_updated_at=format_us(model.input_us),
        validated=model.validated,
        pinned=model.pinned,
        used_by_triggers=model.used,
        reviewed_counts=model.reviewed_counts,
        settings=VersionSettings(model.starred, model.description),
        freshness="unsupported" if model.deleted else "fresh",
    )


def _tag_wire(tag: Tag) -> ModelTagWire:
    return ModelTagWire(tag.name, tag.version, format_us(tag.updated_us))  # type: ignore[arg-type]


def _status(call: Call[Any], tx: Reader, dataset_id: str) -> DatasetStatus:
    state = learning.find(tx, dataset_id)
    newest = store.find_newest(tx, dataset_id)
    sizes = progress.count_comments(tx, [one.key for one in readable_sources(call, tx, dataset_id)])
    total = sum(sizes.values())
    stats = {}
    for model in store.active(tx, dataset_id):
        done = progress.count_predicted(tx, model.key, sizes)
        share = done / total if total else 1.0
        stats[str(model.version)] = InferenceStats(format_us(model.trained_us), done, share)
    return DatasetStatus(
        training_complete=_training_complete(state, newest),
        validation_complete=_validation_complete(state, newest),
        training_completion_time=format_us(
            _completion_us(state, newest) or datasets.get(tx, dataset_id).created_us
        ),
        inference_complete=1.0 if newest is None else stats[str(newest.version)].inference_complete,
        total_comments_with_text=total,
        inference_stats_by_version=stats,
        inference_stuck=state is not None and state.failures >= STUCK_FAILURES,
        operation=("reset_annotations_to_model_version" if is_resetting(tx, dataset_id) else None),
    )


def _training_complete(state: Learning | None, newest: Model | None) -> float | None:
    if state is not None and _is_at(state, "training"):
        return state.progress or 0.0
    if state is not None and state.is_stale:
        return 0.0
    return None if newest is None else 1.0


def _validation_complete(state: Learning | None, newest: Model | None) -> float | None:
    if newest is None:
        return None
    if newest.validated:
        return 1.0
    return (state.progress or 0.0) if state is not None and _is_at(state, "validating") else 0.0


def _completion_us(state: Learning | None, newest: Model | None) -> int | None:
    """Return when training was done, or is expected to be; None if nothing is trained."""
    if state is None or not (state.is_stale or _is_at(state, "training")):
        return None if newest is None else newest.trained_us
    now = now_us()
    last_us = 0 if newest is None else int(newest.duration_s * 1e6)
    if not _is_at(state, "training") or state.stage_started_us is None:
        return now + last_us
    left_us = state.stage_started_us + last_us - now
    if state.progress:  # what is left takes as long as what was done
        left_us = int((now - state.stage_started_us) * (1 / state.progress - 1))
    return now + min(max(left_us, 0), _LONGEST_WAIT_US)


def _is_at(state: Learning, stage: str) -> bool:
    # Who died at it has left the stage behind, and a claim that runs out.
    claimed = state.claimed_until_us is not None and state.claimed_until_us > now_us()
    return claimed and state.stage == stage
