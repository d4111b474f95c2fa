"""Orders in which the comments of a dataset can be read (contract: datasets-labelling, 11.3)."""

from __future__ import annotations

from typing import Annotated, Final, Literal

from msgspec import UNSET, Meta, Struct, UnsetType

from lodestream.domain.datasets import LabelPropertyId
from lodestream.domain.ids import HEX16
from lodestream.domain.labels import LabelName

EntityDefId = Annotated[str, Meta(pattern=HEX16)]
SearchText = Annotated[str, Meta(min_length=1, max_length=2048)]
Sentiment = Literal["positive", "negative"]
DiagnosticKind = Literal[
    "bias",
    "informative",
    "label_only_neglect",
    "neglect",
    "teach_entity",
    "missed_entity",
    "check_entity",
    "extraction_error_rate",
]

OF_FIELDS: Final = frozenset(
    {"teach_entity", "missed_entity", "check_entity", "extraction_error_rate"}
)
"""Diagnostics that rest on predicted fields."""


class _Order(Struct, frozen=True, forbid_unknown_fields=True, tag_field="kind"):
    pass


class Recent(_Order, frozen=True, tag="recent"):
    """The newest timestamp first."""


class Sample(_Order, frozen=True, tag="sample"):
    """Pseudo-random: one permutation for each seed."""

    seed: Annotated[int, Meta(ge=0, le=2_147_483_647)]


class ByLabel(_Order, frozen=True, tag="by_label"):
    """The most probable first; without a label, by the most probable of all labels."""

    label: LabelName | UnsetType = UNSET
    sentiment: Sentiment | UnsetType = UNSET


class AnyLabelAsc(_Order, frozen=True, tag="any_label_asc"):
    """Those first in which no label is probable."""


class Learning(_Order, frozen=True, tag="learning"):
    """Unreviewed comments of which the model is least certain first."""

    label: LabelName | UnsetType = UNSET


class LabelProperty(_Order, frozen=True, tag="label_property"):
    """By tone or quality of service."""

    label_property_id: LabelPropertyId
    direction: Literal["ascending", "descending"] | UnsetType = UNSET


class TextSearch(_Order, frozen=True, tag="text_search"):
    """Comments that say something like this; the most relevant first."""

    query: SearchText


class AttachmentTextSearch(_Order, frozen=True, tag="attachment_text_search"):
    """Comments with attachments that are named like this; the most relevant first."""

    query: SearchText


class Diagnostic(_Order, frozen=True, tag="diagnostic"):
    """What would tell most about the weaknesses of the model."""

    diagnostic_kind: DiagnosticKind
    entity_def_id: EntityDefId | UnsetType = UNSET


class Check(_Order, frozen=True, tag="check"):
    """Reviewed comments whose assigned labels the model doubts most."""

    entity_def_id: EntityDefId | UnsetType = UNSET


class Missed(_Order, frozen=True, tag="missed"):
    """Reviewed comments that most probably lack a label."""

    entity_def_id: EntityDefId | UnsetType = UNSET


Order = (
    Recent
    | Sample
    | ByLabel
    | AnyLabelAsc
    | Learning
    | LabelProperty
    | TextSearch
    | AttachmentTextSearch
    | Diagnostic
    | Check
    | Missed
)
