"""What a validation is made from: arrays that a worker has gathered, and checks of their shapes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from lodestream.domain.validation import FieldsStats, NamedField
from lodestream.ml.split import Split

Probabilities = NDArray[np.float32]
Vectors = NDArray[np.float32]


@dataclass(frozen=True, kw_only=True)
class Reviewed:
    """The n reviewed comments of a dataset, in any order, and its L labels.

    `targets` (int8, n × L) are 1 for assigned, -1 for assigned with negative sentiment, 0 for not,
    parents included; where `known` (bool, n × L) is False they say nothing. `complete` (bool, n)
    tells which comments had all their labels considered; only these are measured and counted.
    `origin` is the retrieval method that first brought each comment to a reviewer, None if unknown.
    `left_out` (float32, n × L) are the probabilities that the production model gives each comment
    when it is trained without that comment. `vectors` (float32, n × d) have unit length, or are
    None where there is no encoder.
    """

    uids: Sequence[str]
    texts: Sequence[str]
    targets: NDArray[np.int8]
    known: NDArray[np.bool_]
    complete: NDArray[np.bool_]
    origin: Sequence[str | None]
    left_out: Probabilities
    vectors: Vectors | None = None


@dataclass(frozen=True, kw_only=True)
class Unreviewed:
    """A random sample of the comments that nobody has reviewed, from which plans are made.

    `probability` (float32, m × L) is the production model's; `size` is how many unreviewed comments
    there are in all, at least m.
    """

    uids: Sequence[str]
    texts: Sequence[str]
    probability: Probabilities
    size: int
    vectors: Vectors | None = None


@dataclass(frozen=True)
class Themes:
    """The themes found in unreviewed comments, each with its comments, the most typical first.

    `seen` tells how many themes somebody has looked at, from the first on; `share` is the share of
    the unreviewed comments that belong to any theme.
    """

    uids: Sequence[Sequence[str]] = ()
    seen: int = 0
    share: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Facts:
    """What is told about a model and its dataset. Times are RFC 3339, durations in seconds."""

    dataset_id: str
    version: int
    fingerprint: str
    model_kind: str
    training_time_s: float
    input_updated_at: str
    trained_time: str
    has_sentiment: bool = False
    fields: FieldsStats = field(default_factory=FieldsStats)
    field_names: Sequence[NamedField] = ()


@dataclass(frozen=True, kw_only=True)
class ValidationData:
    """Everything that `validate` looks at.

    `split` is that of the reviewed comments; `test_probability` (float32, one row for each of
    `split.test`, in that order) comes from a model that was trained on `split.train` alone.
    `everything` (float32, N × L) are production probabilities of a random sample of all comments,
    reviewed or not, of which there are `size`; `uninformative` (float, N) the probability that they
    are uninformative, where a model tells. `search_terms` may name, for a label, words to search
    for; without them the label's most typical words are found.
    """

    labels: tuple[str, ...]
    reviewed: Reviewed
    split: Split
    test_probability: Probabilities
    everything: Probabilities
    unreviewed: Unreviewed
    size: int
    facts: Facts
    uninformative: NDArray[np.float64] | None = None
    themes: Themes = Themes()
    search_terms: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Raise ValueError if arrays do not fit each other or hold what is no probability."""
        rows, columns = len(self.reviewed.uids), len(self.labels)
        shapes = {
            "reviewed.targets": (self.reviewed.targets.shape, (rows, columns)),
            "reviewed.known": (self.reviewed.known.shape, (rows, columns)),
            "reviewed.complete": (self.reviewed.complete.shape, (rows,)),
            "reviewed.left_out": (self.reviewed.left_out.shape, (rows, columns)),
            "reviewed.texts": ((len(self.reviewed.texts),), (rows,)),
            "reviewed.origin": ((len(self.reviewed.origin),), (rows,)),
            "split": ((self.split.size,), (rows,)),
            "test_probability": (self.test_probability.shape, (len(self.split.test), columns)),
            "everything": (self.everything.shape, (len(self.everything), columns)),
            "unreviewed.texts": ((len(self.unreviewed.texts),), (len(self.unreviewed.uids),)),
            "unreviewed.probability": (
                self.unreviewed.probability.shape,
                (len(self.unreviewed.uids), columns),
            ),
        }
        for name, (found, wanted) in shapes.items():
            if found != wanted:
                raise ValueError(f"{name}: the shape is {found}, not {wanted}")
        for name, array in {
            "reviewed.left_out": self.reviewed.left_out,
            "test_probability": self.test_probability,
            "everything": self.everything,
            "unreviewed.probability": self.unreviewed.probability,
        }.items():
            # NaN compares as False, so it is refused too.
            if not np.all((array >= 0) & (array <= 1)):
                raise ValueError(f"{name}: not all values are probabilities")

    @cached_property
    def assigned(self) -> NDArray[np.bool_]:
        """Which labels the complete reviewed comments have; False for others, shape (n, L)."""
        usable = self.reviewed.known & self.reviewed.complete[:, None]
        return np.asarray((self.reviewed.targets != 0) & usable, np.bool_)

    @cached_property
    def refused(self) -> NDArray[np.bool_]:
        """Which labels the complete reviewed comments lack for certain, shape (n, L)."""
        usable = self.reviewed.known & self.reviewed.complete[:, None]
        return np.asarray((self.reviewed.targets == 0) & usable, np.bool_)

    @cached_property
    def is_train(self) -> NDArray[np.bool_]:
        """Which reviewed comments are for training, shape (n,); all others are for test."""
        found = np.zeros(len(self.reviewed.uids), np.bool_)
        found[self.split.train] = True
        return found
