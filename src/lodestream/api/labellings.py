"""What people say of comments, over HTTP: labellings read and replaced, and our own deltas."""

from __future__ import annotations

import re
from typing import Annotated, Any, Final, Literal

from msgspec import UNSET, Meta, Struct, UnsetType

from lodestream.actions import annotations as actions
from lodestream.actions import labelling as labelling_actions
from lodestream.actions.annotations import Delta
from lodestream.actions.labelling import SyncedLabels
from lodestream.actions.reset import request_reset
from lodestream.api.annotated import (
    AnnotatedComment,
    EntitiesWire,
    LabellingWire,
    MoonFormWire,
    StateForms,
    annotated_comments,
    labelling_wire,
)
from lodestream.api.calls import Call
from lodestream.api.datasets import field_types_wire, may_read, named_dataset, named_dataset_id
from lodestream.api.predicted import newest_predictions
from lodestream.api.selections import readable_sources
from lodestream.domain.annotations import Action, State
from lodestream.domain.datasets import Dataset
from lodestream.domain.errors import InvalidInput, NotFound
from lodestream.domain.fields import EntityDef
from lodestream.domain.ids import is_id, split_uid
from lodestream.domain.labelling import LabellingUpdate, LabelNew, Sentiment
from lodestream.domain.labels import LabelName
from lodestream.domain.sources import Source
from lodestream.domain.times import format_us
from lodestream.store import sources as source_store
from lodestream.store.annotations import page_reviewed
from lodestream.store.db import Reader
from lodestream.store.events import list_events
from lodestream.store.marks import read_states
from lodestream.store.uids import CommentPlace, find_places

MOST_IDS: Final = 128
DEFAULT_PAGE: Final = 256
LARGEST_PAGE: Final = 999
MOST_CHANGES: Final = 4096
MOST_EVENTS: Final = 256

Uid = Annotated[str, Meta(min_length=1, max_length=1041)]
Revision = Annotated[int, Meta(ge=0, le=2**63 - 1)]


class LabellingsReply(Struct, omit_defaults=True):
    """Annotated comments; without `after` the last ones have been sent."""

    status: str
    results: list[AnnotatedComment]
    entity_defs: list[EntityDef]
    after: str | UnsetType = UNSET


class LabellingReply(AnnotatedComment, kw_only=True):
    """A comment's annotations after a change."""

    status: str


class SyncedLabel(Struct, forbid_unknown_fields=True):
    """A label by its name, by its external id, or by both."""

    name: LabelName | UnsetType | None = UNSET
    external_id: Annotated[str, Meta(min_length=1, max_length=128)] | UnsetType | None = UNSET

    def __post_init__(self) -> None:
        """Check that it is named, and by a name. Raises ValueError."""
        if not self.name and not self.external_id:
            raise ValueError("a label needs a `name` or an `external_id`")
        if self.name:
            LabelNew(self.name)


SyncedList = Annotated[list[SyncedLabel], Meta(max_length=128)]


class AssignedLabels(Struct, forbid_unknown_fields=True):
    """The labels that are assigned to a comment."""

    assigned: SyncedList


class SyncedAnnotation(Struct, forbid_unknown_fields=True):
    """A comment, or several, and the labels; without labels nothing changes."""

    comment_uid: Uid | Annotated[list[Uid], Meta(max_length=MOST_CHANGES)]
    labels: AssignedLabels | SyncedList | UnsetType = UNSET


class SyncRequest(Struct, forbid_unknown_fields=True):
    """The labels of many comments."""

    annotations: Annotated[list[SyncedAnnotation], Meta(max_length=16_384)]


class ChangeRequest(Struct, forbid_unknown_fields=True):
    """What to do with one label of one comment; `revision` is the one that the caller saw."""

    comment_uid: Uid
    label: LabelName
    action: Action
    sentiment: Sentiment = "positive"
    revision: Revision | UnsetType = UNSET

    def __post_init__(self) -> None:
        """Check the name to its very end. Raises ValueError."""
        LabelNew(self.label)


class AnnotateRequest(Struct, forbid_unknown_fields=True):
    """Single labels to assign, to dismiss or to clear."""

    changes: Annotated[list[ChangeRequest], Meta(max_length=MOST_CHANGES)]


class ChangeResult(Struct):
    """What came of one change, and the comment's revision after all of them."""

    comment_uid: str
    label: str
    outcome: Literal["changed", "unchanged", "conflict"]
    revision: int


class AnnotateReply(Struct):
    """What came of each change, in the order of the request."""

    results: list[ChangeResult]
    status: str = "ok"


class UndoRequest(Struct, forbid_unknown_fields=True):
    """Which change of a comment to take back; the last one unless a revision is given."""

    comment_uid: Uid
    revision: Revision | UnsetType = UNSET


class UndoReply(Struct):
    """The comment's revision afterwards."""

    comment_uid: str
    revision: int
    status: str = "ok"


class ResetAnnotationsRequest(Struct, forbid_unknown_fields=True):
    """To which pinned model's annotations to go back."""

    model_version: Annotated[int, Meta(ge=0, le=2**31 - 1)]


class StateWire(Struct, omit_defaults=True):
    """All annotations of a comment; labels have the names that they had at the time."""

    labelling: LabellingWire
    entities: EntitiesWire
    moon_forms: list[MoonFormWire] | UnsetType = UNSET


class EventWire(Struct):
    """One change of a comment's annotations; `username` is null if the user is gone."""

    revision: int
    timestamp: str
    user_id: str
    username: str | None
    before: StateWire
    after: StateWire


class HistoryReply(Struct):
    """The changes of a comment's annotations, the newest first, and its present revision.

    `revision` is 0 if it never had any.
    """

    comment_uid: str
    revision: int
    events: list[EventWire]
    status: str = "ok"


def get_labellings(call: Call[None]) -> LabellingsReply:
    """Return annotated comments: those with some uids, or a page of the reviewed ones of a source.

    A page that holds anything carries `after`; the end is an empty page.
    """
    request = call.request
    uids = [uid for uid in request.query_all("id") if uid]
    for text in request.query_all("ids"):
        # An id may contain commas; a uid begins with the id of a source.
        uids += [uid for uid in re.split(r",(?=[0-9a-f]{16}\.)", text) if uid]
    allow_missing = request.query_bool("allow_missing", default=False)
    predictions = request.query_bool("return_predictions", default=False)
    request.query_bool("compute_moon_predictions", default=False)  # no fields are predicted
    limit = request.query_int("limit", default=DEFAULT_PAGE, low=1, high=LARGEST_PAGE)
    assert limit is not None
    if len(uids) > MOST_IDS:
        raise InvalidInput(f"query parameter 'id': at most {MOST_IDS} comment uids at once")
    source_id = request.query("source_id")
    if not uids and source_id is None:
        raise InvalidInput("query parameter 'id' or 'source_id': one of them expected")
    dataset = named_dataset(call)
    with call.service.db.read() as tx:
        if uids:
            page = _places_of(call, tx, dataset, uids, allow_missing=allow_missing)
        else:
            assert source_id is not None
            source = _source(call, tx, dataset, source_id)
            after = _after(request.query("after"))
            positions = page_reviewed(tx, dataset.id, source.key, after=after, limit=limit)
            page = [(pos, source) for pos in positions]
        wanted = [pos for pos, _ in page] if predictions else []
        predicted = newest_predictions(call, tx, dataset.id, wanted)
        results = annotated_comments(call, tx, dataset, page, predicted=predicted)
    reply = LabellingsReply("ok", results, field_types_wire(dataset))
    if not uids and page:
        reply.after = str(page[-1][0])
    return reply


def update_labelling(call: Call[LabellingUpdate]) -> LabellingReply:
    """Replace the given lists of a comment's annotations; the last writer wins."""
    uid = call.values[2]
    labelling_actions.update_labelling(
        call.service.db,
        actor=call.actor,
        project_id=call.project_id,
        dataset_id=named_dataset_id(call),
        uid=uid,
        salt=call.service.catalogue.salt(),
        update=call.body,
    )
    dataset = named_dataset(call)
    with call.service.db.read() as tx:
        place, source = _place_of(call, tx, dataset, uid)
        found = annotated_comments(call, tx, dataset, [(place.pos, source)])[0]
    return LabellingReply(
        **{name: getattr(found, name) for name in AnnotatedComment.__struct_fields__}, status="ok"
    )


def sync_annotations(call: Call[SyncRequest]) -> None:
    """Replace the assigned labels of comments, all of them or none."""
    batch = []
    for one in call.body.annotations:
        labels = one.labels.assigned if isinstance(one.labels, AssignedLabels) else one.labels
        names = (
            None if labels is UNSET else [(o.name or None, o.external_id or None) for o in labels]
        )
        uids = [one.comment_uid] if isinstance(one.comment_uid, str) else one.comment_uid
        batch += [SyncedLabels(uid, names) for uid in uids]
    for synced in batch:
        _require_uid(synced.uid, "comment_uid")
    labelling_actions.sync_annotations(
        call.service.db,
        actor=call.actor,
        project_id=call.project_id,
        dataset_id=named_dataset_id(call),
        salt=call.service.catalogue.salt(),
        batch=batch,
    )


def annotate(call: Call[AnnotateRequest]) -> AnnotateReply:
    """Assign, dismiss or clear single labels of comments, in one transaction."""
    changes = call.body.changes
    for one in changes:
        _require_uid(one.comment_uid, "comment_uid")
    outcomes = actions.annotate(
        call.service.db,
        actor=call.actor,
        project_id=call.project_id,
        dataset_id=named_dataset_id(call),
        salt=call.service.catalogue.salt(),
        deltas=[
            Delta(
                one.comment_uid,
                LabelNew(one.label, one.sentiment),
                one.action,
                None if one.revision is UNSET else one.revision,
            )
            for one in changes
        ],
    )
    return AnnotateReply(
        [
            ChangeResult(one.comment_uid, one.label, outcome, revision)
            for one, (outcome, revision) in zip(changes, outcomes, strict=True)
        ]
    )


def undo(call: Call[UndoRequest]) -> UndoReply:
    """Take back a change of a comment's annotations."""
    body = call.body
    _require_uid(body.comment_uid, "comment_uid")
    revision = actions.undo(
        call.service.db,
        actor=call.actor,
        project_id=call.project_id,
        dataset_id=named_dataset_id(call),
        salt=call.service.catalogue.salt(),
        uid=body.comment_uid,
        revision=None if body.revision is UNSET else body.revision,
    )
    return UndoReply(body.comment_uid, revision)


def get_history(call: Call[None]) -> HistoryReply:
    """Return the changes of a comment's annotations, the newest first."""
    request = call.request
    uid = request.query("comment_uid")
    if uid is None:
        raise InvalidInput("query parameter 'comment_uid': the uid of a comment expected")
    _require_uid(uid, "comment_uid")
    limit = request.query_int("limit", default=64, low=1, high=MOST_EVENTS)
    older_than = request.query_int("older_than_revision", default=None, low=0, high=2**63 - 1)
    assert limit is not None
    dataset = named_dataset(call)
    with call.service.db.read() as tx:
        place, _ = _place_of(call, tx, dataset, uid)
        events = list_events(tx, dataset.id, place.pos, older_than=older_than, limit=limit)
        stored = read_states(tx, dataset.id, [place.pos]).get(place.pos)
    forms = StateForms(dataset)

    def shown(state: State) -> StateWire:
        return StateWire(labelling_wire(state), forms.entities(state), forms.moon_forms(state))

    return HistoryReply(
        uid,
        0 if stored is None else stored.revision,
        [
            EventWire(
                one.revision,
                format_us(one.at_us),
                one.user_id,
                one.username,
                shown(one.before),
                shown(one.after),
            )
            for one in events
        ],
    )


def reset_annotations(call: Call[ResetAnnotationsRequest]) -> None:
    """Restore labels and annotations to those of a pinned model, in the background."""
    request_reset(
        call.service.db,
        actor=call.actor,
        dataset_id=named_dataset_id(call),
        version=call.body.model_version,
    )


def _require_uid(uid: str, where: str) -> None:
    if split_uid(uid) is None:
        raise InvalidInput(f"{where} {uid[:200]!r}: '<source id>.<comment id>' expected")


def _places_of(
    call: Call[Any], tx: Reader, dataset: Dataset, uids: list[str], *, allow_missing: bool
) -> list[tuple[int, Source]]:
    """Return the places of comments in the order of their uids.

    Raises InvalidInput for what is no uid, NotFound for a missing one unless that is allowed.
    """
    for uid in uids:
        _require_uid(uid, "query parameter 'id'")
    sources = {source.key: source for source in readable_sources(call, tx, dataset.id)}
    found = find_places(
        tx,
        uids,
        source_keys={source.id: source.key for source in sources.values()},
        salt=call.service.catalogue.salt(),
    )
    missing = next((uid for uid in uids if uid not in found), None)
    if missing is not None and not allow_missing:
        raise NotFound(f"No such comment in the dataset: {missing[:200]}")
    return [(found[uid].pos, sources[found[uid].source]) for uid in uids if uid in found]


def _place_of(
    call: Call[Any], tx: Reader, dataset: Dataset, uid: str
) -> tuple[CommentPlace, Source]:
    """Return where a comment is that the caller may read. Raises NotFound."""
    if split_uid(uid) is not None:
        for pos, source in _places_of(call, tx, dataset, [uid], allow_missing=True):
            return CommentPlace(source.key, pos), source
    raise NotFound(f"No such comment in the dataset: {uid[:200]}")


def _source(call: Call[Any], tx: Reader, dataset: Dataset, source_id: str) -> Source:
    """Return a source of the dataset that the caller may read. Raises InvalidInput, NotFound."""
    if not is_id(source_id):
        raise InvalidInput("query parameter 'source_id': 16 lower-case hex digits expected")
    for source in readable_sources(call, tx, dataset.id):
        if source.id == source_id:
            return source
    found = source_store.find_by_id(tx, source_id)
    if found is None or not may_read(call.actor, found.project_id):
        raise NotFound(f"No such source: id:{source_id}")
    raise InvalidInput(f"the source id:{source_id} is not in the dataset")


def _after(text: str | None) -> int:
    if text is None:
        return -1
    if not (text.isascii() and text.isdigit() and len(text) <= 19 and int(text) < 2**63):
        raise InvalidInput("query parameter 'after': not a continuation of this listing")
    return int(text)
