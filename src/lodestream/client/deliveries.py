"""What a stream delivers, in both forms: as `fetch` has it, and with extracted fields."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
from msgspec import Raw, Struct

from lodestream.client.shapes import Comment, LabelProperty, PredictedEntity, PredictedLabel, Span


class _Identity(Struct):
    id: str
    uid: str


_read_comment = msgspec.json.Decoder(Comment).decode
_identity = msgspec.json.Decoder(_Identity)


class _Delivered(Struct, kw_only=True, gc=False):
    """What every form of delivery has. The comment is read when it is asked for, once."""

    raw: Raw = msgspec.field(name="comment")
    # A field of the struct is faster than a cached property; no answer has a key of this name.
    _read: Comment | None = msgspec.field(default=None, name="(read)")

    @property
    def comment(self) -> Comment:
        """The comment. Raises msgspec.ValidationError if it is none."""
        if self._read is None:
            self._read = _read_comment(self.raw)
        return self._read

    @property
    def id(self) -> str:
        """The comment's id, without reading the rest of it."""
        return _identity.decode(self.raw).id

    @property
    def uid(self) -> str:
        """The comment's uid, without reading the rest of it."""
        return _identity.decode(self.raw).uid

    @property
    def json(self) -> bytes:
        """The comment as it came, in JSON."""
        return bytes(self.raw)


class Result(_Delivered, kw_only=True, gc=False):
    """A comment that a stream delivers, with what its model predicts, if it has one.

    `sequence_id` is the place to advance to when the work on this and all before it is done.
    """

    sequence_id: str
    labels: tuple[PredictedLabel, ...] = ()
    entities: tuple[PredictedEntity, ...] = ()
    label_properties: tuple[LabelProperty, ...] = ()


class Batch(Struct, kw_only=True):
    """What one fetch brings: comments oldest first, and the place behind all that was examined."""

    results: list[Result]
    sequence_id: str
    filtered: int = 0
    is_end_sequence: bool = False


class Value(Struct, kw_only=True):
    """The value of a field, in its normal form."""

    formatted: str


class Confidence(Struct, kw_only=True):
    """How sure a model is, in [0, 1], and the names of the thresholds that this clears."""

    value: float
    thresholds: tuple[str, ...] = ()


class FieldValue(Struct, kw_only=True):
    """A field of a label or of a comment; None where it was not found."""

    name: str
    value: Value | None = None
    confidence: float | None = None
    text_spans: list[Span] = []


class Occurrence(Struct, kw_only=True):
    """A label that occurs in a comment, with its fields; `name` is the full name."""

    name: str
    occurrence_confidence: Confidence
    extraction_confidence: Confidence
    fields: list[FieldValue] = []


class Taxonomy(Struct, kw_only=True):
    """The predictions of one group of labels."""

    name: str
    labels: list[Occurrence] = []
    general_fields: list[FieldValue] = []


class Score(Struct, kw_only=True):
    """A score of a comment, such as its tone."""

    name: str
    value: float


class Prediction(Struct, kw_only=True):
    """What a model predicts for a comment, fields of labels included."""

    taxonomies: list[Taxonomy] = []
    scores: list[Score] = []


class FieldsResult(_Delivered, kw_only=True, gc=False):
    """A comment that a stream delivers, with extracted fields.

    `sequence_id` is the place to advance to when the work on this and all before it is done.
    """

    sequence_id: str = msgspec.field(name="continuation")
    prediction: Prediction | None = None

    @property
    def labels(self) -> Sequence[Occurrence]:
        """The labels of the group `default`."""
        found = self.prediction.taxonomies if self.prediction else ()
        return next((one.labels for one in found if one.name == "default"), ())


class FieldsBatch(Struct, kw_only=True):
    """What one call of `results` brings, named as in `Batch`."""

    results: list[FieldsResult]
    sequence_id: str = msgspec.field(name="continuation")
    filtered: int = msgspec.field(name="num_filtered", default=0)
    more_results: bool = True
    model: Any = None

    @property
    def is_end_sequence(self) -> bool:
        """Whether nothing lay behind this batch."""
        return not self.more_results
