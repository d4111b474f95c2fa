"""A trained model: what it holds, and how it scores texts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from lodestream.ml import lexical, vectors, zero_shot
from lodestream.ml.calibration import Platt, sigmoid
from lodestream.ml.combine import Combination
from lodestream.ml.hierarchy import raise_parents
from lodestream.ml.kernels import Kernel, Rows, inner
from lodestream.ml.zero_shot import Yardstick

_FORMAT = 1
_BATCH = 2048
_MOST_WEIGHTS = 40_000_000
_SCALE_BYTES = 4

Near = tuple[NDArray[np.float32] | None, NDArray[np.float32] | None]
"""Nearness of texts to labels' descriptions, by vector and by words: each (n, n_labels) or None."""


@dataclass(frozen=True)
class Scores:
    """Predictions.

    Attributes
    ----------
    probability : ndarray of float32, shape (n, n_labels)
        In [0, 1]; a parent's is never below its children's. All zero for an empty text.
    sentiment : ndarray of float32, shape (n, n_labels), or None
        From -1 (negative) to 1 (positive), given that the label applies.
    """

    probability: NDArray[np.float32]
    sentiment: NDArray[np.float32] | None


@dataclass(frozen=True)
class Descriptions:
    """What is known of the labels from their names and instructions.

    Attributes
    ----------
    rows : Rows
        The descriptions as texts.
    by_vector, by_words : Yardstick or None
        What nearness is usual.
    weights : ndarray of float64, shape (3,)
        From nearness to the logit of the zero-shot score.
    """

    rows: Rows
    by_vector: Yardstick | None
    by_words: Yardstick
    weights: NDArray[np.float64]

    def near(self, texts: Rows) -> Near:
        """Return how near each text is to each label's description."""
        words = self.by_words(inner(texts.characters, self.rows.characters.T.tocsr()))
        if self.by_vector is None or texts.vectors is None or self.rows.vectors is None:
            return None, words
        labels = vectors.Whole.of(self.rows.vectors)
        return self.by_vector(vectors.Whole.of(texts.vectors).cosines(labels)), words


@dataclass(frozen=True)
class Mood:
    """How a sentiment comes from scores: `q = sigmoid(own * signed + overall * general + base)`.

    Attributes
    ----------
    weights : ndarray of float64, shape (2,)
        Of the label's signed score and of the text's general one.
    base : ndarray of float64, shape (n_labels,)
    """

    weights: NDArray[np.float64]
    base: NDArray[np.float64]

    def __call__(self, signed: NDArray[np.floating]) -> NDArray[np.float32]:
        """Turn scores, shape (n, n_labels + 1), the general one last, into [-1, 1]."""
        logits = self.weights[0] * signed[:, :-1] + self.weights[1] * signed[:, -1:] + self.base
        return (2 * sigmoid(logits) - 1).astype(np.float32)


@dataclass(frozen=True)
class Calibrated:
    """From a label's score and nearness to its probability.

    Attributes
    ----------
    platt : Platt
        The sigmoid of each label.
    combination : Combination
        Weights of the evidence.
    positives : ndarray of float64, shape (n_labels,)
        Examples each label has.
    inertia : float
        Number of examples at which the model counts as much as the description.
    """

    platt: Platt
    combination: Combination
    positives: NDArray[np.float64]
    inertia: float

    def __call__(
        self, score: NDArray[np.float32], near: Near, weights: NDArray[np.float64]
    ) -> NDArray[np.float32]:
        """Return probabilities, shape (n, n_labels), before parents are raised."""
        by_model = sigmoid(self.combination(self.platt.logits(score), near))
        by_name = zero_shot.probability(near, weights)
        mixed = zero_shot.blend(by_model, by_name, self.positives, self.inertia)
        return mixed.astype(np.float32)


def _product(left: NDArray[np.float32], right: NDArray[np.float32]) -> NDArray[np.float32]:
    """Multiply in double precision, so that the number of rows leaves the result as it is.

    The order of additions depends on it; what that changes is lost when the result is rounded.
    """
    return (left.astype(np.float64) @ right.astype(np.float64)).astype(np.float32)


class Head:
    """A trained model.

    Attributes
    ----------
    labels : tuple of str
        Full names, in the order of the columns of all results.
    has_sentiment : bool
    zero_shot : tuple of bool
        Labels that have no example yet: their scores come from their descriptions alone.
    kernel : Kernel
        What leave-one-out scores chose.
    left_out : ndarray of float32, shape (n, n_labels)
        Probability of each training row by a model without that row; no rows in a loaded model.
    """

    def __init__(
        self,
        *,
        labels: tuple[str, ...],
        has_sentiment: bool,
        kernel: Kernel,
        lexicon: lexical.Lexicon,
        support: Rows,
        dual: NDArray[np.float32],
        offset: NDArray[np.float32],
        descriptions: Descriptions,
        calibrated: Calibrated,
        mood: Mood | None,
        needs_vectors: bool,
        left_out: NDArray[np.float32],
    ) -> None:
        self.labels = labels
        self.has_sentiment = has_sentiment
        self.kernel = kernel
        self.lexicon = lexicon
        self.left_out = left_out
        self.zero_shot = tuple(bool(count == 0) for count in calibrated.positives)
        self._support = support
        self._dual = dual
        self._offset = offset
        self._descriptions = descriptions
        self._calibrated = calibrated
        self._mood = mood
        self._needs_vectors = needs_vectors
        self._prepare()

    def _prepare(self) -> None:
        """Sum up what is linear, so that a prediction need not touch each supporting text."""
        kernel = self.kernel
        self._lexical_weights: NDArray[np.float32] | None = None
        self._vector_weights: NDArray[np.float32] | None = None
        self._mixed = self._support.mixed(kernel)
        share = np.float32(kernel.lexical)
        if kernel.plain and self._mixed.shape[1] * self._dual.shape[1] <= _MOST_WEIGHTS:
            self._lexical_weights = (
                np.asarray(self._mixed.T.tocsr() @ self._dual, np.float32) * share
            )
        else:
            self._turned = self._mixed.T.tocsr()
        if self._support.vectors is None:
            return
        if kernel.sharpness == 0:
            self._vector_weights = self._support.vectors.T @ self._dual
        else:
            self._whole = vectors.Whole.of(self._support.vectors)

    def predict(self, texts: Sequence[str], vectors: NDArray[np.float32] | None) -> Scores:
        """Score texts.

        Parameters
        ----------
        texts : sequence of str, length n
        vectors : ndarray of float32, shape (n, dim), or None
            Needed if the model was trained on some, ignored otherwise.

        Raises
        ------
        ValueError
            If vectors are missing or have another shape.
        """
        if self._needs_vectors:
            self._check(len(texts), vectors)
        probability = np.zeros((len(texts), len(self.labels)), np.float32)
        sentiment = np.zeros_like(probability) if self.has_sentiment else None
        for at in range(0, len(texts), _BATCH):
            part = slice(at, at + _BATCH)
            said = [bool(text.strip()) for text in texts[part]]
            vector = vectors[part] if self._needs_vectors and vectors is not None else None
            found, mood = self._predict(texts[part], vector)
            probability[part][said] = found[said]
            if sentiment is not None and mood is not None:
                sentiment[part][said] = mood[said]
        return Scores(probability, sentiment)

    def _check(self, count: int, given: NDArray[np.float32] | None) -> None:
        if given is None:
            raise ValueError("this model was trained on vectors and needs them")
        expected = (count, _width(self._support, self._descriptions.rows))
        if given.shape != expected:
            raise ValueError(f"vectors have the shape {given.shape}, the model needs {expected}")

    def _predict(
        self, texts: Sequence[str], vector: NDArray[np.float32] | None
    ) -> tuple[NDArray[np.float32], NDArray[np.float32] | None]:
        rows = Rows(*self.lexicon.transform(lexical.count(texts)), vector)
        score = self._score(rows)
        labels = len(self.labels)
        near = self._descriptions.near(rows)
        found = self._calibrated(score[:, :labels], near, self._descriptions.weights)
        raise_parents(found, self.labels)
        return found, None if self._mood is None else self._mood(score[:, labels:])

    def _score(self, rows: Rows) -> NDArray[np.float32]:
        kernel = self.kernel
        mixed = rows.mixed(kernel)
        if self._lexical_weights is not None:
            score = np.asarray(mixed @ self._lexical_weights, np.float32)
        else:
            alike = inner(mixed, self._turned)
            if rows.vectors is None:
                kernel.bend(alike)
            score = _product(alike, self._dual * np.float32(kernel.lexical))
        if rows.vectors is not None and self._support.vectors is not None and kernel.lexical < 1:
            share = np.float32(1 - kernel.lexical)
            if self._vector_weights is not None:
                score += share * _product(rows.vectors, self._vector_weights)
            else:
                bent = kernel.bend(vectors.Whole.of(rows.vectors).cosines(self._whole))
                score += share * _product(bent, self._dual)
        return score + self._offset

    def to_arrays(self) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
        """Return manifest and arrays, for `artifact.dump`; `left_out` is not among them."""
        calibrated, descriptions = self._calibrated, self._descriptions
        manifest: dict[str, Any] = {
            "format": _FORMAT,
            "labels": list(self.labels),
            "has_sentiment": self.has_sentiment,
            "zero_shot": list(self.zero_shot),
            "kernel": [self.kernel.sharpness, self.kernel.lexical, self.kernel.words],
            "unseen": self.lexicon.unseen,
            "needs_vectors": self._needs_vectors,
            "inertia": calibrated.inertia,
            "combination": calibrated.combination.weights.tolist(),
            "zero_shot_weights": descriptions.weights.tolist(),
            "spreads": [
                None if descriptions.by_vector is None else descriptions.by_vector.spread,
                descriptions.by_words.spread,
            ],
        }
        arrays: dict[str, NDArray[Any]] = {
            "features": self.lexicon.features,
            "idf": self.lexicon.idf,
            **_packed_dual(self._dual),
            "offset": self._offset,
            **_packed_rows("support", self._support),
            **_packed_rows("label", descriptions.rows),
            "usual_words": descriptions.by_words.mean,
            "slope": calibrated.platt.slope,
            "intercept": calibrated.platt.intercept,
            "competes": calibrated.combination.competes,
            "positives": calibrated.positives,
        }
        if descriptions.by_vector is not None:
            arrays["usual_vector"] = descriptions.by_vector.mean
        if self._mood is not None:
            arrays |= {"mood_weights": self._mood.weights, "mood_base": self._mood.base}
        return manifest, arrays

    @classmethod
    def from_arrays(cls, manifest: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> Head:
        """Build the model again that `to_arrays` took apart; it has no left-out scores.

        Raises ValueError if the manifest has another format.
        """
        if manifest.get("format") != _FORMAT:
            raise ValueError(f"unknown model format {manifest.get('format')!r}")
        labels = tuple(manifest["labels"])
        lexicon = lexical.Lexicon(arrays["features"], arrays["idf"], manifest["unseen"])
        by_vector, by_words = manifest["spreads"]
        combination = Combination(np.array(manifest["combination"]), arrays["competes"])
        return cls(
            labels=labels,
            has_sentiment=manifest["has_sentiment"],
            kernel=Kernel(*manifest["kernel"]),
            lexicon=lexicon,
            support=_unpacked_rows("support", arrays, lexicon),
            dual=_unpacked_dual(arrays),
            offset=arrays["offset"],
            descriptions=Descriptions(
                _unpacked_rows("label", arrays, lexicon),
                None if by_vector is None else Yardstick(arrays["usual_vector"], by_vector),
                Yardstick(arrays["usual_words"], by_words),
                np.array(manifest["zero_shot_weights"]),
            ),
            calibrated=Calibrated(
                Platt(arrays["slope"], arrays["intercept"]),
                combination,
                arrays["positives"],
                manifest["inertia"],
            ),
            mood=Mood(arrays["mood_weights"], arrays["mood_base"])
            if "mood_base" in arrays
            else None,
            needs_vectors=manifest["needs_vectors"],
            left_out=np.zeros((0, len(labels)), np.float32),
        )


def rounded_dual(dual: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return dual weights as a model file gives them back."""
    return _unpacked_dual(_packed_dual(dual))


def _packed_dual(dual: NDArray[np.float32]) -> dict[str, NDArray[Any]]:
    # Each column is brought to at most 1, a power of two apart, where half floats are densest.
    largest = np.abs(dual).max(axis=0, initial=0.0)
    scale = np.exp2(np.ceil(np.log2(np.where(largest > 0, largest, 1.0)))).astype(np.float32)
    return {"dual": (dual / scale).astype(np.float16), "dual_scale": scale}


def _unpacked_dual(arrays: Mapping[str, NDArray[Any]]) -> NDArray[np.float32]:
    return np.asarray(arrays["dual"].astype(np.float32) * arrays["dual_scale"], np.float32)


def _width(*several: Rows) -> int:
    return next((rows.vectors.shape[1] for rows in several if rows.vectors is not None), 0)


def _packed_rows(name: str, rows: Rows) -> dict[str, NDArray[Any]]:
    both = (rows.words + rows.characters).tocsr()
    both.sort_indices()
    arrays: dict[str, NDArray[Any]] = {
        f"{name}_starts": both.indptr.astype(np.int32),
        f"{name}_columns": both.indices.astype(np.int32),
        f"{name}_values": both.data.astype(np.float16),
    }
    if rows.vectors is not None:
        packed = b"".join(vectors.pack(rows.vectors))
        width = rows.vectors.shape[1] + _SCALE_BYTES
        arrays[f"{name}_vectors"] = np.frombuffer(packed, np.uint8).reshape(-1, width)
    return arrays


def _unpacked_rows(name: str, arrays: Mapping[str, NDArray[Any]], lexicon: lexical.Lexicon) -> Rows:
    starts, columns = arrays[f"{name}_starts"], arrays[f"{name}_columns"]
    values = arrays[f"{name}_values"].astype(np.float32)
    shape = (len(starts) - 1, len(lexicon.features))
    row = np.repeat(np.arange(shape[0]), np.diff(starts))
    of_words = lexicon.features[columns] < lexical.BUCKETS
    words, characters = (
        sparse.csr_array((values[chosen], (row[chosen], columns[chosen])), shape=shape)
        for chosen in (of_words, ~of_words)
    )
    stored = arrays.get(f"{name}_vectors")
    vector = None
    if stored is not None:
        rows = [row.tobytes() for row in stored]
        vector = vectors.unpack(rows, stored.shape[1] - _SCALE_BYTES)
    return Rows(words, characters, vector)
