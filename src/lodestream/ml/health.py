"""How well each label is learnt, what is wrong with it, and what would help."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from lodestream.domain.labels import is_below, parents_of
from lodestream.domain.validation import (
    Colour,
    LabelAction,
    LabelActionKind,
    LabelHealth,
    LabelHealthAction,
    LabelWarning,
    OptimalThresholds,
    Quality,
    SmartHealth,
)
from lodestream.domain.validation_settings import ValidationSettings
from lodestream.ml.metrics import Curve

Bools = NDArray[np.bool_]
Floats = NDArray[np.float64]
Counts = NDArray[np.int64]


def ancestry(labels: Sequence[str]) -> csr_array:
    """Tell which label stands above which: [i, j] is 1 where j is above i; sparse, shape (L, L)."""
    places = {name: place for place, name in enumerate(labels)}
    pairs = [
        (place, places[parent])
        for place, name in enumerate(labels)
        for parent in parents_of(name)
        if parent in places
    ]
    rows, columns = np.asarray(pairs, np.intp).reshape(-1, 2).T
    ones = np.ones(len(pairs), np.float32)
    return csr_array((ones, (rows, columns)), shape=(len(labels), len(labels)))


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """What is known of the L labels of a dataset.

    Sizes count the reviewed comments that have a label: in training, in test, in all. `curves` are
    those of test (None without a test example), `thresholds` those of safe labels (None for
    others). Left-out scores are those that a comment gets from a model that has not seen it.
    """

    labels: tuple[str, ...]
    train: Counts
    test: Counts
    reviewed: Counts
    curves: Sequence[Curve | None]
    thresholds: Sequence[OptimalThresholds | None]
    precision: Floats
    """Average precision on test, NaN without a test example; shape (L,)."""
    left_out_precision: Floats
    """Average precision of left-out scores, NaN without an example; shape (L,)."""
    recall: Floats
    """Recall at the balanced threshold, 0 where there is none; shape (L,)."""
    searched: Floats
    """Share of a label's examples that were found by searching; shape (L,)."""
    doubted: Counts
    """How many of a label's comments get a left-out score that speaks against it; shape (L,)."""
    expected: Counts
    """How many other reviewed comments get a left-out score that speaks for it; shape (L,)."""
    likely: Floats
    """About how many unreviewed comments have at least a chance of having the label."""
    confident: Floats
    """About how many unreviewed comments probably have the label; shape (L,)."""
    volume: Floats
    """Sum of probabilities over comments, shape (L,): for ordering only."""
    confusion: csr_array
    """Share of the row's false positives on test that have the column's label; shape (L, L)."""
    confused: csr_array
    """The counts that `confusion` is made of; shape (L, L)."""
    cooccurrence: csr_array
    """Share of the row's comments that have the column's label; shape (L, L)."""

    @property
    def safe(self) -> Bools:
        """Which labels have examples enough to be measured, shape (L,)."""
        found = [thresholds is not None for thresholds in self.thresholds]
        return np.asarray(found, np.bool_)

    @property
    def best_precision(self) -> Floats:
        """Average precision on test, else of left-out scores, else NaN; shape (L,)."""
        return np.where(np.isnan(self.precision), self.left_out_precision, self.precision)


@dataclass(frozen=True)
class Assessment:
    """The health of one label. `gain` is how much of a rating may be won by it, in [0, 1]."""

    label: str
    score: float
    colour: Colour
    quality: Quality
    need_pinned: int
    warnings: tuple[LabelWarning, ...]
    actions: tuple[LabelHealthAction, ...]
    reasons: tuple[LabelWarning | None, ...]
    """For each action the warning that led to it."""

    @property
    def gain(self) -> float:
        """How far the label is from perfect."""
        return 1 - self.score

    def on_wire(self, settings: ValidationSettings) -> LabelHealth:
        """Return the health as clients read it."""
        return LabelHealth(
            smart=SmartHealth(self.score, self.warnings, self.actions),
            need_pinned=float(self.need_pinned),
            need_pinned_increment=float(min(settings.examples_step, self.need_pinned)),
        )

    def label_actions(self) -> list[LabelAction]:
        """Return the actions with their reasons, the most urgent first."""
        return [
            LabelAction(self.label, action)
            if reason is None
            else LabelAction(self.label, action, reason)
            for action, reason in zip(self.actions, self.reasons, strict=True)
        ]


def assess(evidence: Evidence, settings: ValidationSettings) -> list[Assessment]:
    """Return the health of every label, in the order of `evidence.labels`."""
    confusable = _confusable(evidence, settings)
    return [
        _assess(evidence, place, confusable.get(place, []), settings)
        for place in range(len(evidence.labels))
    ]


def health_score(
    precision: float, examples: int, searched: float, settings: ValidationSettings
) -> float:
    """Return the health of a label, in [0, 1], from average precision and training examples.

    `searched` is the share of examples found by searching: they resemble each other more than the
    comments they stand for, so beyond half of them the figure is taken for too good.
    """
    tolerated = settings.search_tolerated
    excess = max(0.0, searched - tolerated) / (1 - tolerated)
    enough = min(1.0, examples / settings.min_comments_threshold)
    return precision * enough * (1 - settings.search_penalty * excess)


def colour_of(
    precision: float, examples: int, settings: ValidationSettings
) -> tuple[Colour, Quality]:
    """Return the colour and the quality word of a label."""
    if examples < settings.min_comments_threshold or precision < settings.amber_from:
        return "red", "poor"
    if precision < settings.blue_from:
        return "amber", "average"
    return "blue", "excellent" if precision >= settings.excellent_from else "good"


def _assess(
    evidence: Evidence, place: int, confused_with: Sequence[int], settings: ValidationSettings
) -> Assessment:
    measured = float(evidence.best_precision[place])
    precision = 0.5 if np.isnan(measured) else measured
    examples = int(evidence.train[place])
    colour, quality = colour_of(precision, examples, settings)
    needed = max(0, settings.wanted_examples - int(evidence.reviewed[place]))
    if examples >= settings.min_comments_threshold and precision < settings.blue_from:
        needed = settings.examples_step
    found = _few_examples(evidence, place, settings)
    found += _low_precision(measured, settings)
    found += _confused(evidence, place, confused_with, settings)
    found += _skewed(evidence, place, settings)
    actions: dict[LabelHealthAction, LabelWarning | None] = {}
    for kind in _inconsistent(evidence, place, settings):
        actions[LabelHealthAction(kind)] = None
    for warning, remedies in found:
        for remedy in remedies:
            # An action that stands in front keeps its place, and gets the reason it has here.
            actions[remedy] = actions.get(remedy) or warning
    return Assessment(
        label=evidence.labels[place],
        score=health_score(precision, examples, float(evidence.searched[place]), settings),
        colour=colour,
        quality=quality,
        need_pinned=needed,
        warnings=tuple(warning for warning, _ in found),
        actions=tuple(actions),
        reasons=tuple(actions.values()),
    )


_Found = list[tuple[LabelWarning, tuple[LabelHealthAction, ...]]]


def _remedies(*kinds: LabelActionKind) -> tuple[LabelHealthAction, ...]:
    return tuple(LabelHealthAction(kind) for kind in kinds)


def _few_examples(evidence: Evidence, place: int, settings: ValidationSettings) -> _Found:
    reviewed = int(evidence.reviewed[place])
    if reviewed < settings.few_examples:
        some = evidence.likely[place] >= settings.wanted_candidates
        remedy = _remedies("teach_unreviewed" if some else "search_for_examples")
        return [(LabelWarning("very_low_reviewed_comments"), remedy)]
    if reviewed < settings.wanted_examples:
        some = evidence.confident[place] >= settings.wanted_candidates
        remedy = _remedies("confirm_top_predicted" if some else "teach_unreviewed")
        return [(LabelWarning("low_reviewed_comments"), remedy)]
    return []


def _low_precision(measured: float, settings: ValidationSettings) -> _Found:
    # A label that was never measured is NaN, which is below nothing.
    remedies = _remedies("correct_label", "missing_label", "teach_unreviewed")
    if measured < settings.amber_from:
        return [(LabelWarning("very_low_average_precision"), remedies)]
    if measured < settings.blue_from:
        return [(LabelWarning("low_average_precision"), remedies)]
    return []


def _confused(
    evidence: Evidence, place: int, others: Sequence[int], settings: ValidationSettings
) -> _Found:
    found: _Found = []
    for other in others[: settings.max_confused]:
        there, back = (place, other), (other, place)
        alike = any(
            min(rates[there], rates[back]) >= settings.merge_from
            for rates in (evidence.cooccurrence, evidence.confusion)
        )
        name = evidence.labels[other]
        remedy = LabelHealthAction("merge" if alike else "deconfuse", name)
        found.append((LabelWarning("confused", name), (remedy,)))
    return found


def _skewed(evidence: Evidence, place: int, settings: ValidationSettings) -> _Found:
    found: _Found = []
    enough = evidence.reviewed[place] >= settings.biased_from_examples
    if enough and evidence.searched[place] > settings.search_tolerated:
        found.append((LabelWarning("biased"), _remedies("teach_unreviewed")))
    if evidence.thresholds[place] is not None and evidence.recall[place] < settings.poor_recall:
        remedies = _remedies("missing_label", "teach_unreviewed")
        found.append((LabelWarning("poor_coverage"), remedies))
    return found


def _inconsistent(
    evidence: Evidence, place: int, settings: ValidationSettings
) -> list[LabelActionKind]:
    reviewed, share = int(evidence.reviewed[place]), settings.inconsistent_share
    # A model that has seen few examples doubts all others, which says nothing about any of them.
    if reviewed < settings.wanted_examples:
        return []
    found: list[LabelActionKind] = []
    if evidence.doubted[place] >= share * reviewed:
        found.append("correct_label")
    if evidence.expected[place] >= max(1.0, share * evidence.train[place]):
        found.append("missing_label")
    return found


def _confusable(evidence: Evidence, settings: ValidationSettings) -> dict[int, list[int]]:
    """Return for each label those that it is often taken for, the most frequent first."""
    rates, counts = evidence.confusion, evidence.confused
    often = (rates.data >= settings.confused_share) & (counts.data >= settings.confused_comments)
    rows = np.repeat(np.arange(len(evidence.labels)), np.diff(rates.indptr))[often]
    columns, rate = rates.indices[often], rates.data[often]
    found: dict[int, list[int]] = {}
    for at in np.argsort(-rate, kind="stable").tolist():
        place, other = int(rows[at]), int(columns[at])
        one, two = evidence.labels[place], evidence.labels[other]
        safe = evidence.thresholds[place] is not None and evidence.thresholds[other] is not None
        if safe and one != two and not is_below(one, two) and not is_below(two, one):
            found.setdefault(place, []).append(other)
    return found
