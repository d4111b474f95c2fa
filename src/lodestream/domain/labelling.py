"""Annotations as clients write them: labels, fields and extractions of a comment."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import UNSET, Meta, Struct, UnsetType

from lodestream.domain.ids import HEX16
from lodestream.domain.labels import DEFAULT_GROUP, LabelName, is_label_name
from lodestream.domain.spans import SpanNew
from lodestream.domain.times import format_us, parse_us

Sentiment = Literal["positive", "negative"]
UninformativeMode = Literal["implicit", "explicit"]
Id = Annotated[str, Meta(pattern=HEX16)]
Value = Annotated[str, Meta(max_length=65_536)]
FieldName = Annotated[str, Meta(min_length=1, max_length=64)]
Spans = Annotated[list[SpanNew], Meta(max_length=1024)]


class Ui(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """How a reviewer came to a comment, and to a label for it."""

    assignment_method: Literal["bulk", "suggested", "predicted", "manual", "assigned"]
    view: Literal["discover", "explore", "train_single", "train_multiple"]
    retrieval_method: Literal[
        "recent",
        "shuffle",
        "teach_label",
        "teach",
        "text_search",
        "attachment_text_search",
        "by_label_self",
        "by_label_other",
        "by_sentiment",
        "clusters",
        "uid",
        "low_confidence",
        "rebalance",
        "label_property",
        "teach_entity",
        "check_entity",
        "missed_entity",
    ]
    has_label_filter: bool
    reviewed_filter_rule: Literal["only_reviewed", "only_unreviewed"] | UnsetType = UNSET


NoUi = Literal["not_set", "invalid_state"]


class Metadata(Struct, frozen=True, omit_defaults=True):
    """Who said something of a comment, when, and how he came to it."""

    user_id: str
    timestamp: str
    ui: NoUi | Ui | UnsetType = UNSET


class MetadataNew(Struct, frozen=True, forbid_unknown_fields=True):
    """What a client tells of who said something; whether it is believed, the server decides."""

    user_id: Id | UnsetType = UNSET
    timestamp: Annotated[str, Meta(max_length=64)] | UnsetType = UNSET
    ui: NoUi | Ui | UnsetType = UNSET

    def __post_init__(self) -> None:
        """Check the instant. Raises ValueError."""
        if self.timestamp is not UNSET:
            try:
                parse_us(self.timestamp)
            except (ValueError, OverflowError) as error:
                raise ValueError(f"timestamp: {error}") from None

    def timestamp_or(self, other: str) -> str:
        """Return the instant in the form in which it is sent, or another if there is none."""
        return other if self.timestamp is UNSET else format_us(parse_us(self.timestamp))


class LabelNew(Struct, frozen=True, forbid_unknown_fields=True):
    """A label that is to be assigned or dismissed."""

    name: LabelName
    sentiment: Sentiment = "positive"
    instructions: Annotated[str, Meta(max_length=8192)] | UnsetType | None = UNSET
    metadata: MetadataNew | UnsetType | None = UNSET

    def __post_init__(self) -> None:
        """Check the name to its very end. Raises ValueError."""
        if not is_label_name(self.name):
            raise ValueError(f"{self.name!r} is not a label name")


Labels = Annotated[list[LabelNew], Meta(max_length=128)]


class UninformativeNew(Struct, frozen=True, forbid_unknown_fields=True):
    """Whether a comment tells nothing."""

    mode: UninformativeMode
    metadata: MetadataNew | UnsetType | None = UNSET


class GroupLabelling(Struct, forbid_unknown_fields=True):
    """The labels of a comment; a list that is absent stays as it is, null clears the mark."""

    group: Literal["default"] = DEFAULT_GROUP
    assigned: Labels | UnsetType = UNSET
    dismissed: Labels | UnsetType = UNSET
    uninformative: UninformativeNew | UnsetType | None = UNSET


class EntityNew(Struct, forbid_unknown_fields=True):
    """A field with its value; `id`, `kind`, `name` or `field_id` tells its type."""

    formatted_value: Value
    id: Id | UnsetType | None = UNSET
    kind: Annotated[str, Meta(max_length=64)] | UnsetType | None = UNSET
    name: Annotated[str, Meta(max_length=64)] | UnsetType | None = UNSET
    field_id: Id | UnsetType | None = UNSET
    span: SpanNew | UnsetType | None = UNSET
    spans: Spans | UnsetType = UNSET


Entities = Annotated[list[EntityNew], Meta(max_length=4096)]


class EntitiesNew(Struct, forbid_unknown_fields=True):
    """The fields of a comment; a list that is absent stays as it is."""

    assigned: Entities | UnsetType = UNSET
    dismissed: Entities | UnsetType = UNSET


class Vertex(Struct, frozen=True, forbid_unknown_fields=True):
    """A corner of an area."""

    x: float
    y: float


class Polygon(Struct, frozen=True, forbid_unknown_fields=True):
    """An area of a page."""

    vertices: Annotated[tuple[Vertex, ...], Meta(min_length=3, max_length=512)]


class DocumentSpan(Struct, frozen=True, forbid_unknown_fields=True):
    """A piece of an attached document."""

    page_index: Annotated[int, Meta(ge=0, le=65_535)]
    attachment_index: Annotated[int, Meta(ge=0, le=511)]
    polygon: Polygon


class CaptureFieldNew(Struct, forbid_unknown_fields=True):
    """An extraction field with its value, by its id or by its name."""

    formatted_value: Value
    id: Id | UnsetType | None = UNSET
    field_id: Id | UnsetType | None = UNSET
    name: FieldName | UnsetType | None = UNSET
    span: SpanNew | UnsetType | None = UNSET
    spans: Spans | UnsetType = UNSET
    document_spans: Annotated[list[DocumentSpan], Meta(max_length=1024)] | UnsetType = UNSET
    confirmed: bool = True


class CaptureNew(Struct, forbid_unknown_fields=True):
    """One occurrence of a label: its fields."""

    fields: Annotated[list[CaptureFieldNew], Meta(max_length=32)] = []


class LabelCapturesNew(Struct, forbid_unknown_fields=True):
    """A label with its occurrences."""

    label: LabelNew
    captures: Annotated[list[CaptureNew], Meta(max_length=256)] = []


FormLabels = Annotated[list[LabelCapturesNew], Meta(max_length=128)]


class DismissedForms(Struct, forbid_unknown_fields=True):
    """What a reviewer dismissed: occurrences, fields and labels."""

    entities: Annotated[list[CaptureFieldNew], Meta(max_length=4096)] = []
    labels: Labels = []
    captures: FormLabels | UnsetType = UNSET


class MoonFormGroup(Struct, forbid_unknown_fields=True):
    """The labels of a comment with their extraction fields."""

    assigned: FormLabels
    group: Literal["default"] = DEFAULT_GROUP
    drafted: FormLabels | UnsetType = UNSET
    dismissed: DismissedForms | UnsetType = UNSET


class LabellingUpdate(Struct, forbid_unknown_fields=True):
    """What to change of a comment's annotations; what is absent stays as it is."""

    labelling: Annotated[list[GroupLabelling], Meta(max_length=1)] | GroupLabelling | UnsetType = (
        UNSET
    )
    entities: EntitiesNew | UnsetType = UNSET
    moon_forms: Annotated[list[MoonFormGroup], Meta(min_length=1, max_length=1)] | UnsetType = UNSET
    context: Annotated[str, Meta(max_length=65_536)] | UnsetType = UNSET

    @property
    def labels(self) -> GroupLabelling:
        """What is said of labels."""
        if isinstance(self.labelling, GroupLabelling):
            return self.labelling
        return self.labelling[0] if self.labelling else GroupLabelling()
