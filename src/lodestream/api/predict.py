"""Predictions over HTTP: for new texts, for raw e-mails and for stored comments."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha256
from typing import Annotated, Any, Literal

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType, field

from lodestream.actions import raw_emails
from lodestream.actions.sources import DEFAULT_TRANSFORM_TAG, require_transform_tag
from lodestream.api.calls import Call
from lodestream.api.http import Reply
from lodestream.api.models import get_pinned
from lodestream.api.selections import readable_sources
from lodestream.api.streams import dataset_of
from lodestream.domain.comments import (
    Attachment,
    CommentNew,
    Message,
    PropertyValue,
    prepare,
)
from lodestream.domain.errors import InvalidInput, NotFound
from lodestream.domain.ids import split_uid
from lodestream.domain.labels import SEPARATOR
from lodestream.domain.models import Model, Thresholds
from lodestream.domain.predictions import least_probabilities
from lodestream.domain.raw_emails import RawEmailDocument
from lodestream.domain.times import format_us, now_us
from lodestream.store import comments, models, uids
from lodestream.store.db import Reader

MOST_DOCUMENTS = 4096

Probability = Annotated[float, Meta(ge=0, le=1)]


class WantedLabel(Struct, forbid_unknown_fields=True):
    """A label that is to be shown, by its levels, and the least probability at which it is."""

    name: Annotated[
        list[Annotated[str, Meta(min_length=1, max_length=64)]], Meta(min_length=1, max_length=64)
    ]
    threshold: Probability | UnsetType = UNSET


class Wanted(Struct, forbid_unknown_fields=True, kw_only=True):
    """Which labels are shown; without `labels` all of them are meant."""

    threshold: Probability | Literal["auto"] | UnsetType = UNSET
    labels: Annotated[list[WantedLabel], Meta(max_length=4096)] = []


class Document(Struct, forbid_unknown_fields=True):
    """A text as if it were a comment's."""

    messages: Annotated[list[Message], Meta(max_length=2048)]
    timestamp: Annotated[str, Meta(max_length=64)] | UnsetType = UNSET
    user_properties: dict[str, PropertyValue] | UnsetType | None = UNSET
    text_format: Literal["markdown", "plain"] = "plain"


class PredictRequest(Wanted, kw_only=True):
    """Texts, and which of their labels are shown."""

    documents: Annotated[list[Document], Meta(max_length=MOST_DOCUMENTS)]
    include_comments: bool = field(name="_include_comments", default=False)


class PredictEmailsRequest(Wanted, kw_only=True):
    """E-mails, and which of their labels are shown."""

    documents: Annotated[list[RawEmailDocument], Meta(max_length=MOST_DOCUMENTS)]
    transform_tag: Annotated[str, Meta(max_length=1024)] | UnsetType = UNSET
    include_comments: bool = False


class PredictCommentsRequest(Wanted, kw_only=True):
    """Comments by uid, and which of their labels are shown."""

    uids: Annotated[list[Annotated[str, Meta(max_length=2048)]], Meta(max_length=MOST_DOCUMENTS)]


class PredictedLabel(Struct, omit_defaults=True):
    """A label that may apply. The sentiment lies between -1 and 1."""

    name: list[str]
    probability: Probability
    sentiment: Annotated[float, Meta(ge=-1, le=1)] | UnsetType = UNSET
    auto_thresholds: list[Literal["high_recall", "balanced", "high_precision"]] | UnsetType = UNSET


class TotalSentiment(Struct):
    """How positive a whole comment is, from -1 to 1."""

    total: Annotated[float, Meta(ge=-1, le=1)]


class PredictingModel(Struct):
    """The version that predicted, and when it was trained."""

    version: int
    time: str


class ReadComment(Struct):
    """What a document was read as."""

    id: str
    timestamp: str
    user_properties: dict[str, PropertyValue]
    messages: list[Message]
    text_format: Literal["markdown", "plain"]
    attachments: list[Attachment]
    thread_id: str | None


class PredictReply(Struct, omit_defaults=True):
    """Predictions in the order of the documents; no fields are predicted yet."""

    status: str
    predictions: list[list[PredictedLabel]]
    entities: list[tuple[()]]
    model: PredictingModel
    sentiment: list[TotalSentiment] | UnsetType = UNSET
    comments: list[ReadComment] | UnsetType = UNSET


class CommentPrediction(Struct, omit_defaults=True):
    """The predictions of one comment; none if there is no such comment."""

    uid: str
    labels: list[PredictedLabel]
    entities: tuple[()]
    sentiment: TotalSentiment | UnsetType = UNSET


class PredictCommentsReply(Struct):
    """Predictions in the order of the uids, one for each."""

    predictions: list[CommentPrediction]
    model: PredictingModel
    status: str = "ok"


def predict(call: Call[PredictRequest]) -> Reply:
    """Predict the labels of texts with a pinned version; nothing is stored."""
    dataset_id = dataset_of(call).id
    with call.service.db.read() as tx:
        shown = _Shown(tx, get_pinned(call, tx, dataset_id), call.body)
    found = [_comment_from(one) for one in call.body.documents]
    return _answer(call, shown, found, echo=call.body.include_comments)


def predict_latest(call: Call[PredictRequest]) -> Reply:
    """Predict the labels of texts with the newest version, pinned or not; nothing is stored."""
    dataset_id = dataset_of(call).id
    with call.service.db.read() as tx:
        newest = models.find_newest(tx, dataset_id)
        if newest is None:
            raise NotFound("This dataset has no model yet")
        shown = _Shown(tx, newest, call.body)
    found = [_comment_from(one) for one in call.body.documents]
    return _answer(call, shown, found, echo=call.body.include_comments)


def predict_emails(call: Call[PredictEmailsRequest]) -> Reply:
    """Predict the labels of e-mails with a pinned version; nothing is stored."""
    body = call.body
    dataset_id = dataset_of(call).id
    tag = DEFAULT_TRANSFORM_TAG if body.transform_tag is UNSET else body.transform_tag
    require_transform_tag(tag, any_tag=call.service.any_transform_tag)
    with call.service.db.read() as tx:
        shown = _Shown(tx, get_pinned(call, tx, dataset_id), body)
    now = now_us()
    reading = raw_emails.Reading(tag)
    found = [raw_emails.read_unsaved_email(one, reading, now_us=now) for one in body.documents]
    return _answer(call, shown, found, echo=body.include_comments)


def predict_comments(call: Call[PredictCommentsRequest]) -> Reply:
    """Predict the labels of stored comments with a pinned version, in the order of their uids."""
    body = call.body
    dataset_id = dataset_of(call).id
    for at, uid in enumerate(body.uids):
        if split_uid(uid) is None:
            raise InvalidInput(f"uids[{at}]: '<source id>.<comment id>' expected")
    service = call.service
    with service.db.read() as tx:
        shown = _Shown(tx, get_pinned(call, tx, dataset_id), body)
        keys = {one.id: one.key for one in readable_sources(call, tx, dataset_id)}
        places = uids.find_places(tx, body.uids, source_keys=keys, salt=service.catalogue.salt())
        fronts = comments.read_fronts(tx, {place.pos for place in places.values()})
        scores = service.predictor.scores_at(tx, shown.model, fronts)
    positions = list(scores)
    labels, totals = shown.render([scores[pos] for pos in positions])
    rank = {pos: number for number, pos in enumerate(positions)}
    parts = []
    for uid in body.uids:
        place = places.get(uid)
        number = None if place is None else rank.get(place.pos)
        mood = b""
        if totals is not None:
            mood = b',"sentiment":' + (_NO_TOTAL if number is None else totals[number])
        listed = b"[]" if number is None else labels[number]
        shape = b'{"uid":%s,"labels":%s,"entities":[]%s}'
        parts.append(shape % (msgspec.json.encode(uid), listed, mood))
    shape = b'{"status":"ok","model":%s,"predictions":[%s]}'
    return Reply(shape % (_model_json(shown.model), b",".join(parts)))


class _Shown:
    """A version, and which of its labels a caller is shown."""

    def __init__(self, tx: Reader, model: Model, wanted: Wanted) -> None:
        self.model = model
        self._automatic: dict[str, Thresholds] | None = None
        if wanted.threshold == "auto":
            self._automatic = models.thresholds(tx, model.key)
        self._least = least_probabilities(
            model.labels,
            None if wanted.threshold is UNSET else wanted.threshold,
            [
                (SEPARATOR.join(one.name), None if one.threshold is UNSET else one.threshold)
                for one in wanted.labels
            ],
            self._automatic or {},
        )

    def render(self, rows: Sequence[bytes]) -> tuple[list[bytes], list[bytes] | None]:
        """Return the JSON of predicted labels and, if there are any, of sentiments."""
        # Imported here: it loads numeric libraries, which a server that predicts nothing needs not.
        from lodestream.ml.scores import Renderer, total_sentiments

        model = self.model
        renderer = Renderer(
            model.labels, self._least, has_sentiment=model.has_sentiment, auto=self._automatic
        )
        if not model.has_sentiment:
            return renderer.render(rows), None
        totals = total_sentiments(rows, len(model.labels))
        return renderer.render(rows), [b'{"total":%s}' % msgspec.json.encode(one) for one in totals]


_NO_TOTAL = b'{"total":0.0}'


def _answer(call: Call[Any], shown: _Shown, found: Sequence[CommentNew], *, echo: bool) -> Reply:
    from lodestream.ml.text import model_input_of  # here, as in `_Shown.render`

    checked = [_checked(number, one) for number, one in enumerate(found)]
    texts = [model_input_of(one.messages) for one in checked]
    labels, totals = shown.render(call.service.predictor.predict(shown.model, texts))
    parts = [
        b'"predictions":[%s]' % b",".join(labels),
        b'"entities":[%s]' % b",".join([b"[]"] * len(labels)),
        b'"model":%s' % _model_json(shown.model),
    ]
    if totals is not None:
        parts.append(b'"sentiment":[%s]' % b",".join(totals))
    if echo:
        parts.append(b'"comments":%s' % msgspec.json.encode([_read_as(one) for one in checked]))
    return Reply(b'{"status":"ok",%s}' % b",".join(parts))


def _comment_from(document: Document) -> CommentNew:
    """Return a document as a comment; the same document gives the same id."""
    content = sha256(msgspec.json.encode(document)).hexdigest()
    return CommentNew(
        id=content[:32],
        timestamp=format_us(now_us()) if document.timestamp is UNSET else document.timestamp,
        messages=document.messages,
        user_properties=document.user_properties or {},
        text_format=document.text_format,
    )


def _checked(number: int, new: CommentNew) -> CommentNew:
    """Check a document by the rules of comments, and bring it to their form.

    Raises InvalidInput saying which one it is.
    """
    own, new.id = new.id, f"documents[{number}]"
    prepare(new, salt=0, tag=0)
    new.id = own
    return new


def _read_as(comment: CommentNew) -> ReadComment:
    return ReadComment(
        id=comment.id,
        timestamp=comment.timestamp,
        user_properties=comment.user_properties or {},
        messages=comment.messages,
        text_format="plain" if comment.text_format is UNSET else comment.text_format,
        attachments=comment.attachments or [],
        thread_id=None if comment.thread_id is UNSET else comment.thread_id,
    )


def _model_json(model: Model) -> bytes:
    return msgspec.json.encode(PredictingModel(model.version, format_us(model.trained_us)))
