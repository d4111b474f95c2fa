"""Training: from what reviewers said to a model with calibrated probabilities."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lodestream.ml import calibration, combine, landmarks, lexical, ridge, search, zero_shot
from lodestream.ml.hierarchy import leaves, raise_parents
from lodestream.ml.kernels import Kernel, Rows, as_stored, gram, inner
from lodestream.ml.model import (
    Calibrated,
    Descriptions,
    Head,
    Mood,
    Near,
    Scores,
    rounded_dual,
)

__all__ = ["Head", "HeadSettings", "Scores", "TrainingSet", "train"]


@dataclass(frozen=True)
class TrainingSet:
    """What reviewers said about some comments.

    Attributes
    ----------
    texts : sequence of str, length n
        What the model reads of each comment (`ml.text`).
    vectors : ndarray of float32, shape (n, dim), or None
        Their sentence vectors of unit length (zero for an empty text); None without an encoder.
    labels : tuple of str, length n_labels
        Full names (`Parent > Child`), parents included, sorted.
    targets : ndarray of int8, shape (n, n_labels)
        1 assigned, -1 assigned with negative sentiment, 0 not assigned.
    known : ndarray of bool, shape (n, n_labels)
        False where a comment says nothing about a label: its target is ignored.
    has_sentiment : bool
        Whether the dataset's labels carry a sentiment.
    label_texts : sequence of str, length n_labels
        Name and instructions of each label, for scores before the first example.
    label_vectors : ndarray of float32, shape (n_labels, dim), or None
        Their sentence vectors.
    """

    texts: Sequence[str]
    vectors: NDArray[np.float32] | None
    labels: tuple[str, ...]
    targets: NDArray[np.int8]
    known: NDArray[np.bool_]
    has_sentiment: bool
    label_texts: Sequence[str]
    label_vectors: NDArray[np.float32] | None


@dataclass(frozen=True)
class HeadSettings:
    """What can be set about training.

    Attributes
    ----------
    search_rows : int
        The kernel is searched for on at most this many texts.
    final_rows : int
        The best kernel of each sharpness is judged again on at most this many: the more texts, the
        sharper a kernel may be.
    exact_rows : int
        Up to this many texts every text supports the model; above, `landmarks` do.
    landmarks : int
        Number of texts that support a model of many.
    platt_strength : float
        Number of positives, roughly, at which a label's own sigmoid says as much as the common one.
    inertia : float
        Number of positives at which the model counts as much as the label's description, in the
        mixture of the two (`zero_shot.blend`). The description is evidence for the model itself
        too, with a weight that was measured, so little is left for a fixed rule to do.
    """

    search_rows: int = 1000
    final_rows: int = 3000
    exact_rows: int = 10_000
    landmarks: int = 4_000
    platt_strength: float = 30.0
    inertia: float = 1.0


def _ignore(_: float) -> None:
    pass


def train(
    data: TrainingSet,
    settings: HeadSettings = HeadSettings(),
    *,
    progress: Callable[[float], None] = _ignore,
) -> Head:
    """Train on what reviewers said.

    The same data and settings give the same model, bit for bit, on one machine with one number of
    threads of the linear algebra library.

    Parameters
    ----------
    data : TrainingSet
        May be empty: the model then has only the labels' descriptions to go by.
    settings : HeadSettings
    progress : callable
        Is called with the share that is done, often; what it raises ends the training and passes
        through.
    """
    progress(0.0)
    said = np.flatnonzero([bool(text.strip()) for text in data.texts])
    lexicon, rows, described = _read(data, said)
    progress(0.05)
    targets, known = data.targets[said], data.known[said]
    truth = ((targets != 0) & known).astype(np.float32)
    kernel, strength = search.choose(
        rows,
        truth,
        known,
        data.labels,
        search_rows=settings.search_rows,
        final_rows=settings.final_rows,
        progress=lambda done: progress(0.05 + 0.4 * done),
    )
    support, fit = _solve(
        kernel,
        rows,
        _columns(targets, known, data.has_sentiment),
        strength,
        settings,
        lambda done: progress(0.45 + 0.4 * done),
    )
    progress(0.85)
    count = len(data.labels)
    descriptions, near = _describe(rows, described, truth, known)
    progress(0.9)
    calibrated = _calibrate(fit.held_out[:, :count], near, truth, known, data.labels, settings)
    progress(0.95)
    left_out = np.zeros((len(data.texts), count), np.float32)
    left_out[said] = calibrated(fit.held_out[:, :count], near, descriptions.weights)
    raise_parents(left_out, data.labels)
    mood = _mood(fit.held_out[:, count:], targets, truth) if data.has_sentiment else None
    head = Head(
        labels=data.labels,
        has_sentiment=data.has_sentiment,
        kernel=kernel,
        lexicon=lexicon,
        support=support,
        dual=rounded_dual(fit.dual),
        offset=fit.offset,
        descriptions=descriptions,
        calibrated=calibrated,
        mood=mood,
        needs_vectors=data.vectors is not None,
        left_out=left_out,
    )
    progress(1.0)
    return head


def _read(data: TrainingSet, said: NDArray[np.intp]) -> tuple[lexical.Lexicon, Rows, Rows]:
    """Return the features of the texts that say something, and of the labels' descriptions."""
    counts = lexical.count([data.texts[row] for row in said])
    of_labels = lexical.count(data.label_texts)
    lexicon = lexical.Lexicon.fit(counts, of_labels)
    vector = None if data.vectors is None else data.vectors[said].astype(np.float32)
    label_vector = data.label_vectors if data.vectors is not None else None
    rows = as_stored(Rows(*lexicon.transform(counts), vector))
    described = as_stored(Rows(*lexicon.transform(of_labels), label_vector))
    return lexicon, rows, described


def _columns(
    targets: NDArray[np.int8], known: NDArray[np.bool_], has_sentiment: bool
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Return what the scores should be: presence, and with sentiment also signs and a general one.

    The general sentiment of a text is the mean of its labels' signs; texts without labels say
    nothing about it.
    """
    presence = (targets != 0).astype(np.float32)
    if not has_sentiment:
        return presence, known
    signed = (targets * known).astype(np.float32)
    given = np.abs(signed).sum(1, keepdims=True)
    general = signed.sum(1, keepdims=True) / np.maximum(given, 1)
    return np.hstack([presence, signed, general]), np.hstack([known, known, given > 0])


def _solve(
    kernel: Kernel,
    rows: Rows,
    columns: tuple[NDArray[np.float32], NDArray[np.bool_]],
    strength: float,
    settings: HeadSettings,
    progress: Callable[[float], None],
) -> tuple[Rows, ridge.Fit]:
    """Return the supporting texts, and the fit of all labels on them."""
    target, known = columns
    if not len(rows):
        return rows, ridge.Fit(target, np.zeros(target.shape[1], np.float32), target)
    if len(rows) <= settings.exact_rows:
        matrix = gram(kernel, rows)
        progress(0.2)
        inverse = ridge.inverse(matrix, strength)
        progress(0.7)
        return rows, ridge.solve(inverse, target, known)
    chosen = search.sample(target * known, settings.landmarks)
    fit = landmarks.solve(kernel, rows, chosen, target, known, strength=strength, progress=progress)
    return rows[chosen], fit


def _describe(
    rows: Rows, described: Rows, truth: NDArray[np.float32], known: NDArray[np.bool_]
) -> tuple[Descriptions, Near]:
    """Learn what nearness to the labels' descriptions is worth; also return it for the texts."""
    few = len(described) <= _COMPARABLE
    turned = described.characters.T.tocsr()
    words = zero_shot.Yardstick.fit(
        inner(rows.characters, turned), inner(described.characters, turned) if few else None
    )
    vector = None
    if rows.vectors is not None and described.vectors is not None:
        vector = zero_shot.Yardstick.fit(
            rows.vectors @ described.vectors.T,
            described.vectors @ described.vectors.T if few else None,
        )
    unfitted = Descriptions(described, vector, words, np.zeros(3))
    near = unfitted.near(rows)
    some = _some(truth)
    weights = zero_shot.fit_weights(_part(near, some), truth[some], known[some])
    return dataclasses.replace(unfitted, weights=weights), near


_COMPARABLE = 2000
_PAIRS = 1_000_000


def _some(truth: NDArray[np.float32]) -> NDArray[np.intp]:
    """Choose rows that are enough to fit what all labels share."""
    rows, labels = truth.shape
    count = max(1, min(rows, _PAIRS // max(labels, 1)))
    return np.linspace(0, max(rows - 1, 0), count if rows else 0).astype(np.intp)


def _part(near: Near, some: NDArray[np.intp]) -> Near:
    by_vector, by_words = near
    return (
        None if by_vector is None else by_vector[some],
        None if by_words is None else by_words[some],
    )


def _calibrate(
    held_out: NDArray[np.float32],
    near: Near,
    truth: NDArray[np.float32],
    known: NDArray[np.bool_],
    labels: tuple[str, ...],
    settings: HeadSettings,
) -> Calibrated:
    weight = known.astype(np.float32)
    platt = calibration.fit_platt(held_out, truth, weight, strength=settings.platt_strength)
    positives = truth.sum(0, dtype=np.float64)
    some = _some(truth)
    given = positives > 0
    # Labels without examples have nothing to say about the evidence, and would say "no".
    combination = combine.fit(
        platt.logits(held_out[some]),
        _part(near, some),
        truth[some],
        weight[some] * given,
        leaves(labels) & given,
    )
    return Calibrated(platt, combination, positives, settings.inertia)


def _mood(
    held_out: NDArray[np.float32], targets: NDArray[np.int8], truth: NDArray[np.float32]
) -> Mood:
    """Fit the sentiment of assigned labels on the scores of texts that were left out."""
    labels = targets.shape[1]
    row, label = np.nonzero(truth)
    positive = (targets[row, label] > 0).astype(np.float64)
    signed, general = held_out[row, label], held_out[row, -1]
    evidence = np.stack([signed, general, np.ones(len(row))], axis=1).astype(np.float64)
    common = calibration.fit_logistic(
        evidence,
        positive,
        np.ones(len(row)),
        prior=np.array([1.0, 1.0, 0.0]),
        firmness=np.array([1.0, 1.0, 1.0]),
    )
    weights = np.maximum(common[:2], 0.0)
    base = np.full(labels, common[2])
    for at in np.unique(label):
        mine = label == at
        # One step of Newton's method on the label's own intercept, drawn to the common one.
        p = calibration.sigmoid(evidence[mine, :2] @ weights + common[2])
        base[at] += (positive[mine] - p).sum() / ((p * (1 - p)).sum() + _MOOD_FIRMNESS)
    return Mood(weights, base)


_MOOD_FIRMNESS = 3.0
