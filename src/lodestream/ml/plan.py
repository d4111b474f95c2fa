"""The training plan: what to review next, with the comments to look at, so that a rating rises."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from hashlib import sha256
from typing import Final
from uuid import UUID, uuid5

import numpy as np
from msgspec import UNSET, UnsetType
from numpy.typing import NDArray

from lodestream.domain.labels import SEPARATOR
from lodestream.domain.validation import (
    CustomActionKind,
    CustomTrainingAction,
    DatasetActionKind,
    DatasetTrainingAction,
    FactorKind,
    LabelAction,
    LabelTrainingAction,
    ModelRating,
    PlannedAction,
)
from lodestream.domain.validation_settings import ValidationSettings
from lodestream.ml.health import Assessment
from lodestream.ml.rating import factor_weights
from lodestream.ml.validation_data import ValidationData

Floats = NDArray[np.float64]
Plan = tuple[tuple[PlannedAction, ...], ...]

_ACTIONS: Final = UUID("2f1c0f0e-6d2b-5f0a-9a53-0b8c7d1c9e44")
"""The name space of the ids of training actions."""
_WORD = re.compile(r"[^\W\d_]{3,}")
_MAX_TERM: Final = 128


def make_plan(
    data: ValidationData,
    rating: ModelRating,
    assessments: Sequence[Assessment],
    choice: Choice,
    settings: ValidationSettings,
) -> Plan:
    """Return what to do, the most useful first; an entry is one action or some to choose from.

    The same data gives the same plan, with the same ids.
    """
    draft = _Draft(data, rating, choice, settings)
    draft.preconditions()
    if draft.themes_left():
        draft.for_dataset("coverage", ("discover",))
    order = {label: -volume for label, volume in zip(data.labels, choice.volume, strict=True)}
    frequent = sorted(assessments, key=lambda one: order[one.label])
    for one in frequent:
        if one.need_pinned > 0:
            draft.for_label(one.label_actions()[: settings.max_actions_of_label], one)
    draft.for_weakest_factor({one.label: one for one in assessments})
    for one in frequent:
        if one.warnings and one.need_pinned == 0:
            draft.for_label(one.label_actions()[:1], one)
    factors = {factor.kind: factor for factor in rating.factors}
    if "shuffle" in factors["biased"].dataset_actions:
        draft.for_dataset("biased", ("shuffle",))
    return tuple(draft.entries)


@dataclass
class _Draft:
    """A plan in the making. What stands in it already is not put in again."""

    data: ValidationData
    rating: ModelRating
    choice: Choice
    settings: ValidationSettings
    entries: list[tuple[PlannedAction, ...]] = field(default_factory=list)
    taken: set[str] = field(default_factory=set)

    def preconditions(self) -> None:
        """Put in what a model cannot do without."""
        if self.data.size < self.settings.min_comments:
            self._custom("insufficient-verbatims")
        if not self.data.labels:
            self._custom("insufficient-labels")
        elif self.rating.quality == "none":
            self._custom("missing-model-rating")

    @property
    def full(self) -> bool:
        """Tell whether nothing more is put in."""
        return len(self.entries) >= self.settings.max_actions

    def themes_left(self) -> bool:
        """Tell whether there are themes that are worth a look."""
        themes = self.data.themes
        return themes.seen < min(self.settings.themes_wanted, len(themes.uids))

    def for_dataset(self, kind: FactorKind, plans: Iterable[DatasetActionKind]) -> None:
        """Put in steps for the whole dataset, for the sake of a factor."""
        quality = next(factor.quality for factor in self.rating.factors if factor.kind == kind)
        for plan in plans:
            if not self.full and self._new(plan):
                action = DatasetTrainingAction(self._id(plan), kind, quality, plan)
                self.entries.append((PlannedAction(action, self.choice.for_dataset(plan)),))

    def for_label(self, actions: Sequence[LabelAction], assessment: Assessment) -> None:
        """Put in steps for one label, as one entry."""
        planned = []
        for action in () if self.full else actions:
            name = f"{action.action.kind}/{action.label}/{action.action.label or ''}"
            if not self._new(name):
                continue
            term: str | UnsetType = UNSET
            if action.action.kind == "search_for_examples":
                term = self.choice.search_term(action.label) or UNSET
            step = LabelTrainingAction(
                id=self._id(name),
                sub_kind=action.action.kind,
                factor_kind=self._factor_of(action),
                quality=assessment.quality,
                plan=action,
                search_term=term,
            )
            planned.append(PlannedAction(step, self.choice.for_label(action)))
        if planned:
            self.entries.append(tuple(planned))

    def for_weakest_factor(self, assessments: dict[str, Assessment]) -> None:
        """Put in the steps of that factor by which most can be won."""
        weights = factor_weights(self.settings)
        able = [one for one in self.rating.factors if one.dataset_actions or one.label_actions]
        if not able:
            return
        weakest = max(able, key=lambda factor: weights[factor.kind] * (100 - factor.score))
        self.for_dataset(weakest.kind, weakest.dataset_actions)
        for action in weakest.label_actions:
            self.for_label([action], assessments[action.label])

    def _custom(self, plan: CustomActionKind) -> None:
        self.entries.append((PlannedAction(CustomTrainingAction(self._id(plan), plan)),))

    def _new(self, name: str) -> bool:
        if name in self.taken:
            return False
        self.taken.add(name)
        return True

    def _id(self, name: str) -> str:
        facts = self.data.facts
        return str(uuid5(_ACTIONS, f"{facts.dataset_id}/{facts.version}/{name}"))

    def _factor_of(self, action: LabelAction) -> FactorKind:
        kind = action.warning.kind if action.warning is not UNSET else None
        if kind == "biased":
            return "biased"
        if kind == "poor_coverage":
            return "coverage"
        lowest = next(one for one in self.rating.factors if one.kind == "lowest_label_health")
        worst = any(one.label == action.label for one in lowest.label_actions)
        return "lowest_label_health" if worst else "overall_label_health"


@dataclass(frozen=True)
class Choice:
    """Chooses comments for actions.

    `volume` (L,) is how frequent each label is thought to be, `weights` (L,) how much it says about
    a comment, `strangeness` (m,) the probability of an unreviewed comment to be one by the bias
    model, or None without such a model.
    """

    data: ValidationData
    volume: Floats
    weights: Floats
    strangeness: Floats | None
    settings: ValidationSettings

    def for_dataset(self, plan: DatasetActionKind) -> tuple[str, ...]:
        """Return the uids of the comments to look at, in order."""
        if plan == "discover":
            return self._of_themes()
        sample = self.data.unreviewed
        if plan == "shuffle":
            return self._shuffled()
        if plan == "bias":
            if self.strangeness is None:
                return self._shuffled()
            return self._uids(self._diverse(self.strangeness))
        known = np.zeros(len(sample.uids))
        if self.data.labels:
            known = (sample.probability * self.weights).max(axis=1)
        wordy = np.fromiter((bool(text.strip()) for text in sample.texts), np.bool_, len(known))
        order = np.argsort(known, kind="stable")
        return self._uids(order[wordy[order]])

    def for_label(self, action: LabelAction) -> tuple[str, ...]:
        """Return the uids of the comments to look at for a label, in order."""
        place = self.data.labels.index(action.label)
        score = self.data.unreviewed.probability[:, place]
        match action.action.kind:
            case "confirm_top_predicted":
                return self._uids(np.argsort(-score, kind="stable"))
            case "teach_unreviewed":
                centre = 2 / 3 if self.data.facts.has_sentiment else 0.5
                return self._uids(self._diverse(1 - np.abs(score - centre)))
            case "correct_label":
                return self._reviewed(self.data.assigned[:, place], place, descending=False)
            case "missing_label":
                return self._reviewed(self.data.refused[:, place], place, descending=True)
            case "search_for_examples":
                return self._searched(action.label, score)
            case "deconfuse":
                return self._between(place, self.data.labels.index(str(action.action.label)))
            case _:
                return ()  # A merge is decided by looking at two labels, not at comments.

    def search_term(self, label: str) -> str:
        """Return words that are typical of a label: those of its examples, else of its name."""
        if label in self.data.search_terms:
            return self.data.search_terms[label][:_MAX_TERM]
        place = self.data.labels.index(label)
        inside, outside = Counter[str](), self._word_counts
        for row in np.flatnonzero(self.data.assigned[:, place]).tolist():
            inside.update(_words(self.data.reviewed.texts[row]))
        ranked = sorted(inside, key=lambda word: (-(inside[word] ** 2) / (outside[word] + 1), word))
        found = ranked[: self.settings.search_words]
        return " ".join(found or [label.split(SEPARATOR)[-1]])[:_MAX_TERM]

    @cached_property
    def _sample_words(self) -> list[set[str]]:
        return [_words(text) for text in self.data.unreviewed.texts]

    @cached_property
    def _word_counts(self) -> Counter[str]:
        found = Counter[str]()
        for words in self._sample_words:
            found.update(words)
        for text in self.data.reviewed.texts:
            found.update(_words(text))
        return found

    def _searched(self, label: str, score: NDArray[np.float32]) -> tuple[str, ...]:
        terms, sample = _words(self.search_term(label)), self._sample_words
        hits = np.fromiter((len(terms & words) for words in sample), np.int64, len(sample))
        # Where no word is found, the likeliest comments are the next best thing.
        order = np.lexsort((-score, -hits))
        return self._uids(order[hits[order] > 0] if hits.any() else order)

    def _between(self, place: int, other: int) -> tuple[str, ...]:
        scores = self.data.unreviewed.probability[:, [place, other]]
        doubtful = np.flatnonzero(((scores >= 0.3) & (scores <= 0.7)).all(axis=1))
        distance = np.abs(scores[doubtful] - 0.5).sum(axis=1)
        return self._uids(doubtful[np.argsort(distance, kind="stable")])

    def _reviewed(
        self, rows: NDArray[np.bool_], place: int, *, descending: bool
    ) -> tuple[str, ...]:
        found = np.flatnonzero(rows)
        score = self.data.reviewed.left_out[found, place]
        order = found[np.argsort(-score if descending else score, kind="stable")]
        uids = self.data.reviewed.uids
        return tuple(uids[row] for row in order[: self.settings.action_comments].tolist())

    def _of_themes(self) -> tuple[str, ...]:
        themes = self.data.themes
        left = themes.uids[themes.seen :] or themes.uids
        longest = max((len(uids) for uids in left), default=0)
        # The most typical comment of each theme, then the next of each, and so on.
        found = dict.fromkeys(
            uids[rank] for rank in range(longest) for uids in left if rank < len(uids)
        )
        return tuple(found)[: self.settings.action_comments]

    def _shuffled(self) -> tuple[str, ...]:
        seed = f"{self.settings.seed}/{self.data.facts.version}/"
        order = sorted(
            self.data.unreviewed.uids, key=lambda uid: sha256((seed + uid).encode()).digest()
        )
        return tuple(order[: self.settings.action_comments])

    def _diverse(self, score: Floats | NDArray[np.float32]) -> NDArray[np.intp]:
        order = np.argsort(-score, kind="stable")[: self.settings.diversify_from]
        vectors = self.data.unreviewed.vectors
        if vectors is None:
            return order
        chosen = diversify(score[order], vectors[order], self.settings.action_comments)
        return np.asarray(order[chosen], np.intp)

    def _uids(self, order: NDArray[np.intp]) -> tuple[str, ...]:
        uids = self.data.unreviewed.uids
        return tuple(uids[row] for row in order[: self.settings.action_comments].tolist())


def diversify(
    score: Floats | NDArray[np.float32], vectors: NDArray[np.float32], count: int
) -> NDArray[np.intp]:
    """Choose rows that score well and differ from each other, in order of choice.

    Each time the row with the greatest `score × (1 − greatest cosine to those chosen)` is taken.
    `score`, shape (n,), is not negative; `vectors`, shape (n, d), have unit length.
    """
    nearest = np.zeros(len(score))
    left = np.ones(len(score), np.bool_)
    chosen: list[int] = []
    for _ in range(min(count, len(score))):
        value = np.where(left, score * (1 - nearest), -np.inf)
        best = int(np.argmax(value))
        chosen.append(best)
        left[best] = False
        nearest = np.clip(np.maximum(nearest, vectors @ vectors[best]), 0.0, 1.0)
    return np.asarray(chosen, np.intp)


def _words(text: str) -> set[str]:
    return set(_WORD.findall(text.lower()))
