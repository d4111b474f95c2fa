"""Scores as they are stored, and as they are sent.

A comment's scores are one probability for each label of the model, in the model's order, in steps
of 1/65535, and, where the data set has sentiment, one sentiment each in steps of 1/127. Whatever
shows a probability shows the stored one, so that a stream and a call agree to the last digit.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any, Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from lodestream.domain.models import Thresholds

STEPS: Final = 65_535
SENTIMENT_STEPS: Final = 127

Floats = NDArray[np.float32]


def pack(probability: Floats, sentiment: Floats | None) -> list[bytes]:
    """Return one string of bytes for each row.

    Parameters
    ----------
    probability : ndarray of float32, shape (n_comments, n_labels)
        In [0, 1].
    sentiment : ndarray of float32, shape (n_comments, n_labels), or None
        In [-1, 1].
    """
    steps = np.rint(np.asarray(probability, np.float64) * STEPS).astype("<u2")
    if sentiment is None:
        return [row.tobytes() for row in steps]
    moods = np.rint(np.asarray(sentiment, np.float64) * SENTIMENT_STEPS).astype("i1")
    return [row.tobytes() + mood.tobytes() for row, mood in zip(steps, moods, strict=True)]


def unpack(
    rows: Sequence[bytes], labels: int, *, has_sentiment: bool
) -> tuple[Floats, Floats | None]:
    """Return probabilities and sentiments, each of shape (n_comments, n_labels), from `pack`."""
    steps, moods = _steps(rows, labels, has_sentiment=has_sentiment)
    probability = steps.astype(np.float32) / np.float32(STEPS)
    if moods is None:
        return probability, None
    return probability, moods.astype(np.float32) / np.float32(SENTIMENT_STEPS)


def settled(probability: Floats, sentiment: Floats | None) -> tuple[Floats, Floats | None]:
    """Return scores as they are once they were stored."""
    rows = pack(probability, sentiment)
    return unpack(rows, probability.shape[1], has_sentiment=sentiment is not None)


def _steps(
    rows: Sequence[bytes], labels: int, *, has_sentiment: bool
) -> tuple[NDArray[np.uint16], NDArray[np.int8] | None]:
    width = labels * (3 if has_sentiment else 2)
    raw = np.frombuffer(b"".join(rows), np.uint8).reshape(len(rows), width)
    steps = np.ascontiguousarray(raw[:, : 2 * labels]).view("<u2").reshape(len(rows), labels)
    if not has_sentiment:
        return steps, None
    return steps, np.ascontiguousarray(raw[:, 2 * labels :]).view("i1")


class Renderer:
    """Writes packed scores as JSON arrays of predicted labels, the most probable first.

    `thresholds` maps full label names to the least probability that is shown; labels that it does
    not name are not shown. None shows every label. With `auto` every label tells which of its
    automatic thresholds it reaches. A comment without text has no label. Names are lists of their
    levels, or with `joined_names` one text.
    (Contract: streams, sections 3 and 10; models-predictions, sections 3 and 4.)
    """

    def __init__(
        self,
        labels: Sequence[str],
        thresholds: Mapping[str, float] | None,
        *,
        has_sentiment: bool,
        auto: Mapping[str, Thresholds] | None = None,
        joined_names: bool = False,
    ) -> None:
        self._labels = len(labels)
        self._has_sentiment = has_sentiment
        self._heads = [
            b'{"name":%s,"probability":'
            % msgspec.json.encode(name if joined_names else name.split(" > "))
            for name in labels
        ]
        least = [0.0 if thresholds is None else thresholds.get(name, 2.0) for name in labels]
        self._least = np.asarray(least, np.float64)
        self._auto = None if auto is None else [auto.get(name) for name in labels]

    def render(self, rows: Sequence[bytes]) -> list[bytes]:
        """Return a JSON array for each row of packed scores."""
        if not rows:
            return []
        steps, moods = _steps(rows, self._labels, has_sentiment=self._has_sentiment)
        # Compared as they are shown, so that a threshold copied from an answer lets it pass.
        shown = np.round(steps / STEPS, 6) >= self._least
        # What has no text has only zeros, and nothing to say of any label.
        shown &= steps.any(axis=1, keepdims=True)
        order = np.argsort(-steps.astype(np.int32), axis=1, kind="stable")
        return [
            self._array(order[i][shown[i][order[i]]], steps[i], None if moods is None else moods[i])
            for i in range(len(rows))
        ]

    def _array(
        self, indices: NDArray[np.intp], steps: NDArray[np.uint16], moods: NDArray[np.int8] | None
    ) -> bytes:
        heads = self._heads
        if moods is None:
            parts = [b"%s%s}" % (heads[i], digits(int(steps[i]))) for i in indices]
        else:
            parts = [
                b'%s%s,"sentiment":%s}'
                % (heads[i], digits(int(steps[i])), sentiment_digits(int(moods[i])))
                for i in indices
            ]
        if self._auto is not None:
            parts = [
                b'%s,"auto_thresholds":%s}' % (part[:-1], _reached(self._auto[i], int(steps[i])))
                for i, part in zip(indices, parts, strict=True)
            ]
        return b"[%s]" % b",".join(parts)


def shown_probabilities(rows: Sequence[bytes], labels: int) -> list[list[bytes]]:
    """Return the probabilities of packed scores as they are shown, in the order of the labels."""
    width = 2 * labels
    return [[digits(steps) for steps in np.frombuffer(row[:width], "<u2").tolist()] for row in rows]


def shown_columns(rows: Sequence[bytes], labels: int, *, digits: bool) -> list[list[Any]]:
    """Return the probabilities of packed scores as they are shown, for each label of all rows.

    With `digits` as texts, else as floats; each is made once for all that are equal.
    """
    width = 2 * labels
    raw = np.frombuffer(b"".join([row[:width] for row in rows]), "<u2").reshape(len(rows), labels)
    columns: list[list[Any]] = _shown_values(as_digits=digits)[raw.T].tolist()
    return columns


@lru_cache(maxsize=2)
def _shown_values(*, as_digits: bool) -> NDArray[Any]:
    """Return what each stored probability is shown as, in order."""
    if not as_digits:
        return np.round(np.arange(STEPS + 1) / STEPS, 6)
    return np.array([digits(step).decode() for step in range(STEPS + 1)], object)


def total_sentiments(rows: Sequence[bytes], labels: int) -> list[float]:
    """Return how positive each comment is as a whole, from -1 to 1, with six digits.

    It is the mean of the sentiments of its labels, each weighted by its probability; 0 without any.
    The rows are packed with sentiments.
    """
    if not rows:
        return []
    steps, moods = _steps(rows, labels, has_sentiment=True)
    assert moods is not None
    weight = steps.astype(np.float64)
    sums = (weight * (moods / SENTIMENT_STEPS)).sum(axis=1)
    weights = weight.sum(axis=1)
    means = np.divide(sums, weights, out=np.zeros_like(sums), where=weights > 0)
    return [round(float(one), 6) + 0.0 for one in means]


def _reached(thresholds: Thresholds | None, steps: int) -> bytes:
    names = [] if thresholds is None else thresholds.reached(round(steps / STEPS, 6))
    return msgspec.json.encode(names)


def shown_probability(value: float) -> float:
    """Return a settled probability as it stands in answers: six digits."""
    return round(float(np.rint(value * STEPS)) / STEPS, 6)


@lru_cache(maxsize=STEPS + 1)
def digits(steps: int) -> bytes:
    """Return a stored probability as JSON, with six digits."""
    return _plain(steps / STEPS)


@lru_cache(maxsize=256)
def sentiment_digits(steps: int) -> bytes:
    """Return a stored sentiment as JSON, with six digits."""
    return _plain(steps / SENTIMENT_STEPS)


def _plain(value: float) -> bytes:
    text = f"{value:.6f}".rstrip("0")
    return (text + "0" if text.endswith(".") else text).encode()
