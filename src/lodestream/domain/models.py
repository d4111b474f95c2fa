"""Model versions: what a training made, and what people said about it."""

from __future__ import annotations

from typing import Final

from msgspec import Struct

from lodestream.domain.fields import EntityDef
from lodestream.domain.labels import LabelGroup

MAX_PINNED: Final = 100
"""Most pinned versions of a dataset."""

TAGS: Final = ("live", "staging")
VERSION: Final = r"^(?:[0-9]{1,10}|live|staging|latest)$"
"""What stands for a version in paths: its number, a tag, or the newest."""


class Model(Struct, frozen=True):
    """A version. `labels` are full names in the order of scores; `space` names its vectors.

    `definitions`, `thresholds`, `validation` and `statistics` are JSON, or None before the version
    was validated. `deleted` says that files and predictions are gone. `used` says that some stream
    attaches its predictions.
    """

    key: int
    dataset_id: str
    version: int
    trained_us: int
    duration_s: float
    input_us: int
    input_revision: int
    fingerprint: str
    space: str | None
    has_sentiment: bool
    labels: tuple[str, ...]
    reviewed_counts: dict[str, int]
    validated: bool
    pinned: bool
    deleted: bool
    starred: bool
    description: str
    used: bool


class NewModel(Struct, frozen=True):
    """What a training publishes."""

    dataset_id: str
    trained_us: int
    duration_s: float
    input_us: int
    input_revision: int
    fingerprint: str
    space: str | None
    has_sentiment: bool
    labels: tuple[str, ...]
    definitions: Definitions
    reviewed_counts: dict[str, int]


class Definitions(Struct, frozen=True):
    """The taxonomy as it was when a version was trained."""

    label_groups: tuple[LabelGroup, ...]
    entity_defs: tuple[EntityDef, ...]


class Thresholds(Struct, frozen=True):
    """The automatic thresholds of a label: high_recall <= balanced <= high_precision."""

    high_precision: float
    balanced: float
    high_recall: float

    def reached(self, probability: float) -> list[str]:
        """Return the names of the thresholds that a probability reaches."""
        levels = (
            ("high_recall", self.high_recall),
            ("balanced", self.balanced),
            ("high_precision", self.high_precision),
        )
        return [name for name, least in levels if probability >= least]


class Tag(Struct, frozen=True):
    """A name for a pinned version that moves from one to the next."""

    name: str
    version: int
    updated_us: int


class Validated(Struct, frozen=True):
    """What a validation found, each part as the API answers it; `details` is for people only."""

    validation: bytes
    statistics: bytes
    details: bytes
    thresholds: dict[str, Thresholds]
    labels: dict[str, bytes]
    actions: tuple[TrainingAction, ...] = ()


class TrainingAction(Struct, frozen=True):
    """Something to do for a better model: JSON as answered, and the comments to look at.

    Of actions with the same `rank` one will do; `choice` orders them.
    """

    id: str
    rank: int
    choice: int
    body: bytes
    uids: tuple[str, ...]
