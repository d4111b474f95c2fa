"""The export of a dataset's comments, in pages, over HTTP."""

from __future__ import annotations

from base64 import b64decode, b64encode
from binascii import Error as Base64Error
from typing import Annotated, Literal

import msgspec
from msgspec import UNSET, Meta, Raw, Struct, UnsetType

from lodestream.actions import datasets as actions
from lodestream.api.annotated import LabelWire, Predicted, labelling_wire
from lodestream.api.calls import Call
from lodestream.api.comments import shown, with_annotation_mark
from lodestream.api.datasets import named_dataset
from lodestream.api.predicted import newest_predictions, newest_sentiments
from lodestream.api.selections import readable_sources
from lodestream.domain.annotations import NOTHING, State
from lodestream.domain.comments import key_hash, source_tag
from lodestream.domain.datasets import Dataset
from lodestream.domain.errors import InvalidInput
from lodestream.domain.ids import HEX16, split_uid
from lodestream.domain.places import position_before
from lodestream.domain.sources import Source
from lodestream.domain.times import parse_us
from lodestream.store import comments as comment_store
from lodestream.store.db import Reader
from lodestream.store.exports import Place, list_places
from lodestream.store.marks import read_states
from lodestream.store.threads import ThreadProperties, thread_properties

MOST_COMMENTS = 1024
USUAL_COMMENTS = 256

Order = Literal["timestamp", "created_at"]


class ExportRequest(Struct, forbid_unknown_fields=True, rename={"from_": "from"}):
    """Which comments to export, and where to go on; `to` is not part of the range."""

    comment_uids: (
        Annotated[list[Annotated[str, Meta(max_length=1041)]], Meta(max_length=256)] | UnsetType
    ) = UNSET
    source_ids: (
        Annotated[list[Annotated[str, Meta(pattern=HEX16)]], Meta(max_length=1024)] | UnsetType
    ) = UNSET
    from_: Annotated[str, Meta(max_length=64)] | UnsetType = UNSET
    to: Annotated[str, Meta(max_length=64)] | UnsetType = UNSET
    order_by: Order = "timestamp"
    limit: Annotated[int, Meta(ge=1, le=MOST_COMMENTS)] = USUAL_COMMENTS
    continuation: Annotated[str, Meta(max_length=256)] | UnsetType | None = UNSET


class Sentiment(Struct):
    """The sentiment of a comment."""

    total: float = 0.0


class ExportedLabels(Struct):
    """The labels that people assigned to a comment."""

    assigned: list[LabelWire]


class Annotations(Struct, omit_defaults=True):
    """What people assigned; `sentiment` only where the dataset has it."""

    labels: ExportedLabels
    sentiment: Sentiment | UnsetType = UNSET


class Predictions(Struct, omit_defaults=True):
    """What a model predicted; `sentiment` only where the dataset has it."""

    labels: list[Raw]
    sentiment: Sentiment | UnsetType = UNSET


class ExportedComment(Struct, omit_defaults=True):
    """A comment with its annotations and predictions."""

    comment: Raw
    annotations: Annotations
    predictions: Predictions
    thread_properties: ThreadProperties | UnsetType = UNSET


class ExportReply(Struct, omit_defaults=True):
    """A page of comments; without `continuation` it is the last."""

    status: str
    comments: list[ExportedComment]
    continuation: str | UnsetType = UNSET


def export_dataset(call: Call[ExportRequest]) -> ExportReply:
    """Return a page of a dataset's comments, of those sources that the caller may read."""
    body = call.body
    dataset = named_dataset(call)
    by_creation = body.order_by == "created_at"
    after = _read_token(body.continuation, body.order_by) if body.continuation else None
    lower, below = _bound(body.from_, "from", by_creation), _bound(body.to, "to", by_creation)
    with call.service.db.read() as tx:
        sources = {
            source.key: source
            for source in readable_sources(call, tx, dataset.id)
            if body.source_ids is UNSET or source.id in body.source_ids
        }
        only = None
        if body.comment_uids is not UNSET:
            only = _positions(tx, sources, body.comment_uids, call.service.catalogue.salt())
        places = list_places(
            tx,
            sources,
            by_creation=by_creation,
            lower=lower,
            below=below,
            after=after,
            limit=body.limit + 1,
            only=only,
        )
        page = [(place.pos, sources[key]) for place, key in places[: body.limit]]
        reply = ExportReply("ok", _exported(call, tx, page, dataset))
    if len(places) > body.limit:
        reply.continuation = _token(places[body.limit - 1][0], body.order_by)
    if after is None:
        actions.record_export(call.service.db, actor=call.actor, dataset=dataset)
    return reply


def _exported(
    call: Call[ExportRequest],
    tx: Reader,
    page: list[tuple[int, Source]],
    dataset: Dataset,
) -> list[ExportedComment]:
    positions = [pos for pos, _ in page]
    fronts = comment_store.read_fronts(tx, positions)
    annotated = comment_store.annotated(tx, positions)
    states = read_states(tx, dataset.id, positions)
    predicted = newest_predictions(call, tx, dataset.id, positions, fronts=fronts)
    totals = newest_sentiments(tx, dataset.id, positions) if dataset.has_sentiment else {}
    threads: dict[int, ThreadProperties | None] = {}
    by_source: dict[int, list[int]] = {}
    for pos, source in page:
        by_source.setdefault(source.key, []).append(pos)
    for key, found in by_source.items():
        threads.update(zip(found, thread_properties(tx, key, found, known=fronts), strict=True))
    return [
        ExportedComment(
            Raw(
                with_annotation_mark(
                    shown(call, source, fronts[pos], markup=False), pos in annotated
                )
            ),
            _annotations(states[pos].state if pos in states else NOTHING, dataset),
            _predictions(predicted.get(pos), totals.get(pos), dataset),
            threads[pos] or UNSET,
        )
        for pos, source in page
        if pos in fronts
    ]


def _annotations(state: State, dataset: Dataset) -> Annotations:
    """Return what people assigned; the sentiment is that of the labels taken together."""
    labels = labelling_wire(state).assigned
    if not dataset.has_sentiment:
        return Annotations(ExportedLabels(labels))
    total = sum(-1 if mark.negative else 1 for mark in state.assigned)
    return Annotations(ExportedLabels(labels), Sentiment(total / len(labels) if labels else 0.0))


def _predictions(predicted: Predicted | None, total: float | None, dataset: Dataset) -> Predictions:
    """Return what the newest model predicts; the sentiment is that of all labels together."""
    labels = [] if predicted is None else predicted.labels
    return Predictions(labels, Sentiment(total or 0.0) if dataset.has_sentiment else UNSET)


def _positions(
    tx: Reader, sources: dict[int, Source], uids: list[str], salt: int
) -> dict[int, list[int]]:
    """Return the positions of those of the comments that the sources hold, by source."""
    keys = {source.id: source.key for source in sources.values()}
    wanted: dict[int, dict[str, int]] = {}
    for uid in uids:
        parts = split_uid(uid)
        if parts is None:
            raise InvalidInput(f"comment_uids: {uid[:200]!r}: '<source id>.<comment id>' expected")
        if parts[0] in keys:
            key = keys[parts[0]]
            number = key_hash(parts[1], salt=salt, source_tag=source_tag(key))
            wanted.setdefault(key, {})[parts[1]] = number
    return {
        key: [pos for pos, _ in comment_store.find_positions(tx, key, hashes).values()]
        for key, hashes in wanted.items()
    }


def _bound(text: str | UnsetType, name: str, by_creation: bool) -> int | None:
    """Return an instant as the value that the listing is in order of."""
    if text is UNSET:
        return None
    try:
        instant_us = parse_us(text)
    except (ValueError, OverflowError):
        raise InvalidInput(f"{name}: an ISO 8601 timestamp expected") from None
    # The first position of an instant follows the last one before it.
    return position_before(max(instant_us, 0)) + 1 if by_creation else instant_us


def _token(place: Place, order: Order) -> str:
    return b64encode(msgspec.json.encode([order, place.value, place.pos])).decode("ascii")


def _read_token(text: str, order: Order) -> Place:
    try:
        raw = b64decode(text, validate=True)
        stored, value, pos = msgspec.json.decode(raw, type=tuple[Order, int, int])
    except (ValueError, Base64Error, msgspec.DecodeError):
        raise InvalidInput("continuation: not one that an export gave") from None
    if stored != order or not -(2**63) <= value < 2**63 or not 0 <= pos < 2**63:
        raise InvalidInput("continuation: not one of an export in this order")
    return Place(value, pos)
