"""The part of the model that learns: from texts, vectors and labels to calibrated probabilities."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from lodestream.ml import calibration, lexical, ridge, vectors
from lodestream.ml.calibration import Platt

_FORMAT = 1
_BATCH = 2048


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
    """What can be set about training; all of it goes into the manifest.

    Attributes
    ----------
    search_rows : int
        The kernel is chosen on at most this many texts.
    platt_strength : float
        Number of positives at which a label's own sigmoid says as much as the common one.
    """

    search_rows: int = 1000
    platt_strength: float = 10.0


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


def _ignore(_: float) -> None:
    pass


@dataclass(frozen=True)
class Kernel:
    """How alike two texts are: `(1 - lexical) * vectors + lexical * words and characters`.

    Attributes
    ----------
    sharpness : float
        0: the cosine of the vectors; b > 0: exp(b * (cosine - 1)).
    lexical : float
        Share of the lexical part; 1 without vectors.
    words : float
        Share of words in the lexical part, characters have the rest.
    """

    sharpness: float
    lexical: float
    words: float

    def of_cosine(self, cosine: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the part of the vectors, unweighted."""
        if self.sharpness == 0:
            return cosine
        alike: NDArray[np.float32] = np.exp(np.float32(self.sharpness) * (cosine - np.float32(1)))
        return alike


@dataclass(frozen=True)
class Head:
    """A trained model."""

    labels: tuple[str, ...]
    has_sentiment: bool
    zero_shot: tuple[bool, ...]
    kernel: Kernel
    lexicon: lexical.Lexicon
    support: NDArray[np.uint8]
    dual: NDArray[np.float32]
    lexical_weights: NDArray[np.float32]
    offset: NDArray[np.float32]
    platt: Platt
    left_out: NDArray[np.float32]

    def predict(self, texts: Sequence[str], vectors: NDArray[np.float32] | None) -> Scores:
        """Score texts; `vectors`, shape (n, dim), are needed if the model was trained on some.

        Raises ValueError if vectors are missing or have another width.
        """
        blocks = [
            self._predict(
                texts[at : at + _BATCH], None if vectors is None else vectors[at : at + _BATCH]
            )
            for at in range(0, len(texts), _BATCH)
        ]
        probability = np.concatenate([np.zeros((0, len(self.labels)), np.float32), *blocks])
        sentiment = np.ones_like(probability) if self.has_sentiment else None
        return Scores(probability, sentiment)

    def _predict(
        self, texts: Sequence[str], vector: NDArray[np.float32] | None
    ) -> NDArray[np.float32]:
        words, characters = self.lexicon.transform(lexical.count(texts))
        both = mixed(words, characters, self.kernel)
        score = both @ self.lexical_weights + self.offset
        if len(self.support):
            if vector is None:
                raise ValueError("this model was trained on vectors and needs them")
            dim = self.support.shape[1] - 4
            if vector.shape[1] != dim:
                raise ValueError(f"vectors have {vector.shape[1]} numbers, the model needs {dim}")
            known = vectors.unpack([row.tobytes() for row in self.support], dim)
            score = score + self.kernel.of_cosine(vector @ known.T) @ self.dual
        probability = self.platt(score).astype(np.float32)
        raise_parents(probability, self.labels)
        probability[[not text.strip() for text in texts]] = 0
        return probability

    def to_arrays(self) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
        """Return manifest and arrays, for `artifact.dump`."""
        manifest: dict[str, Any] = {
            "format": _FORMAT,
            "labels": list(self.labels),
            "has_sentiment": self.has_sentiment,
            "zero_shot": list(self.zero_shot),
            "kernel": [self.kernel.sharpness, self.kernel.lexical, self.kernel.words],
            "unseen": self.lexicon.unseen,
        }
        arrays: dict[str, NDArray[Any]] = {
            "features": self.lexicon.features,
            "idf": self.lexicon.idf,
            "support": self.support,
            "dual": self.dual,
            "lexical_weights": self.lexical_weights,
            "offset": self.offset,
            "slope": self.platt.slope,
            "intercept": self.platt.intercept,
        }
        return manifest, arrays

    @classmethod
    def from_arrays(cls, manifest: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> Head:
        """Build the model again that `to_arrays` took apart; it has no left-out scores.

        Raises ValueError if the manifest has another format.
        """
        if manifest.get("format") != _FORMAT:
            raise ValueError(f"unknown model format {manifest.get('format')!r}")
        labels = tuple(manifest["labels"])
        return cls(
            labels=labels,
            has_sentiment=manifest["has_sentiment"],
            zero_shot=tuple(manifest["zero_shot"]),
            kernel=Kernel(*manifest["kernel"]),
            lexicon=lexical.Lexicon(arrays["features"], arrays["idf"], manifest["unseen"]),
            support=arrays["support"],
            dual=arrays["dual"],
            lexical_weights=arrays["lexical_weights"],
            offset=arrays["offset"],
            platt=Platt(arrays["slope"], arrays["intercept"]),
            left_out=np.zeros((0, len(labels)), np.float32),
        )


def mixed(
    words: sparse.csr_array, characters: sparse.csr_array, kernel: Kernel
) -> sparse.csr_array:
    """Weigh the two lexical blocks as the kernel says; their columns are different ones."""
    return (
        words * np.sqrt(np.float32(kernel.lexical * kernel.words))
        + characters * np.sqrt(np.float32(kernel.lexical * (1 - kernel.words)))
    ).tocsr()


def raise_parents(probability: NDArray[np.float32], labels: tuple[str, ...]) -> None:
    """Raise, in place, each parent's probability to the largest of its descendants'."""
    place = {label: at for at, label in enumerate(labels)}
    for label in sorted(labels, key=lambda name: -name.count(" > ")):
        parent = label.rpartition(" > ")[0]
        if parent in place:
            column = probability[:, place[parent]]
            np.maximum(column, probability[:, place[label]], out=column)


def train(
    data: TrainingSet,
    settings: HeadSettings = HeadSettings(),
    *,
    progress: Callable[[float], None] = _ignore,
) -> Head:
    """Train on what reviewers said.

    `progress` is called with the share that is done, often; what it raises ends the training and
    passes through.
    """
    progress(0.0)
    counts = lexical.count(data.texts)
    lexicon = lexical.Lexicon.fit(counts)
    blocks = lexicon.transform(counts)
    target = (data.targets != 0).astype(np.float32)
    kernel, strength = _choose(data, blocks, target, settings, progress)
    matrix = _gram(kernel, blocks, data.vectors)
    progress(0.7)
    rows = len(data.texts)
    if rows:
        fit = ridge.solve(ridge.inverse(matrix, strength), target, data.known)
    else:
        none = np.zeros((0, len(data.labels)), np.float32)
        fit = ridge.Fit(none, np.zeros(len(data.labels), np.float32), none)
    progress(0.9)
    platt = calibration.fit_platt(
        fit.held_out, target, data.known.astype(np.float32), strength=settings.platt_strength
    )
    left_out = platt(fit.held_out).astype(np.float32)
    raise_parents(left_out, data.labels)
    with_vectors = data.vectors is not None and kernel.lexical < 1 and rows > 0
    support = np.zeros((0, 0), np.uint8)
    if with_vectors and data.vectors is not None:
        packed = vectors.pack(data.vectors)
        support = np.frombuffer(b"".join(packed), np.uint8).reshape(rows, -1)
    head = Head(
        labels=data.labels,
        has_sentiment=data.has_sentiment,
        zero_shot=tuple(bool(n == 0) for n in (target * data.known).sum(0)),
        kernel=kernel,
        lexicon=lexicon,
        support=support,
        dual=(fit.dual * np.float32(1 - kernel.lexical)),
        lexical_weights=np.asarray(mixed(*blocks, kernel).T @ fit.dual, np.float32),
        offset=fit.offset,
        platt=platt,
        left_out=left_out,
    )
    progress(1.0)
    return head


def _gram(
    kernel: Kernel,
    blocks: tuple[sparse.csr_array, sparse.csr_array],
    vector: NDArray[np.float32] | None,
) -> NDArray[np.float32]:
    both = mixed(*blocks, kernel)
    matrix = np.asarray((both @ both.T).todense(), np.float32)
    if vector is not None and kernel.lexical < 1:
        matrix += np.float32(1 - kernel.lexical) * kernel.of_cosine(vector @ vector.T)
    return matrix


def _choose(
    data: TrainingSet,
    blocks: tuple[sparse.csr_array, sparse.csr_array],
    target: NDArray[np.float32],
    settings: HeadSettings,
    progress: Callable[[float], None],
) -> tuple[Kernel, float]:
    rows = len(data.texts)
    shapes = [(0.0, 1.0)]
    if data.vectors is not None:
        shapes = list(itertools.product((0.0, 2.0, 4.0), (0.1, 0.3, 0.5)))
    candidates = [Kernel(b, w, words) for (b, w), words in itertools.product(shapes, (0.4, 0.7))]
    best = (np.inf, candidates[0], 0.3)
    if rows < 3 or not len(data.labels):
        return best[1], best[2]
    chosen = np.arange(rows)
    if rows > settings.search_rows:
        chosen = np.sort(np.random.default_rng(7).permutation(rows)[: settings.search_rows])
    vector = None if data.vectors is None else data.vectors[chosen]
    part = (blocks[0][chosen], blocks[1][chosen])
    known = data.known[chosen]
    for number, kernel in enumerate(candidates):
        matrix = _gram(kernel, part, vector)
        for strength in (0.1, 0.3, 1.0):
            fit = ridge.solve(ridge.inverse(matrix.copy(), strength), target[chosen], known)
            loss = calibration.pooled_sigmoid(fit.held_out, target[chosen], known.astype("f4"))[2]
            if loss < best[0]:
                best = (loss, kernel, strength)
        progress(0.6 * (number + 1) / len(candidates))
    return best[1], best[2]
