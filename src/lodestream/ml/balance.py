"""Whether the reviewed comments are a fair sample of all: the bias model."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final
from zlib import crc32

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import expit
from scipy.stats import rankdata

from lodestream.domain.validation_settings import ValidationSettings

Vectors = NDArray[np.float32]
Floats = NDArray[np.float64]

LEXICAL_DIM: Final = 256
_WORD = re.compile(r"\w+")


@dataclass(frozen=True)
class Bias:
    """How well reviewed and unreviewed comments can be told apart by what they say.

    `auc` is 0.5 when they cannot. `reviewed` and `unreviewed` hold, for each comment of either
    kind, the probability of being unreviewed, given by models that have not seen the comment.
    """

    auc: float
    reviewed: Floats
    unreviewed: Floats


@dataclass(frozen=True)
class Origins:
    """Shares of the reviewed comments by how they were first found."""

    shuffle: float
    rebalance: float
    search: float
    unknown: float


def origins_of(origins: Sequence[str | None]) -> Origins:
    """Count the origins of reviewed comments: the retrieval method of each, None if unknown."""
    size = max(len(origins), 1)
    return Origins(
        shuffle=sum(origin == "shuffle" for origin in origins) / size,
        rebalance=sum(origin == "rebalance" for origin in origins) / size,
        search=sum(is_search(origin) for origin in origins) / size,
        unknown=sum(origin is None for origin in origins) / size,
    )


def is_search(origin: str | None) -> bool:
    """Tell whether a comment was found by searching its text or its attachments."""
    return origin in ("text_search", "attachment_text_search")


def balance_score(model_score: float, origins: Origins, settings: ValidationSettings) -> float:
    """Return the Balance factor, 0 to 100, from the bias model's score and the origins."""
    if origins.unknown > 0.5:
        return 100 * model_score
    drawn = min(1.0, (origins.shuffle + origins.rebalance) / settings.shuffle_wanted)
    excess = (origins.search - settings.search_free) / settings.search_span
    method = drawn * (1 - min(max(excess, 0.0), 1.0))
    share = settings.bias_model_share
    return 100 * (share * model_score + (1 - share) * method)


def bias_model_score(auc: float) -> float:
    """Return 1 if the bias model is no better than chance, 0 if it is never wrong."""
    return 1 - 2 * max(0.0, auc - 0.5)


def lexical_vectors(texts: Sequence[str], dim: int = LEXICAL_DIM) -> Vectors:
    """Return unit vectors of hashed words, shape (n, dim), for where there is no encoder."""
    rows: list[int] = []
    cells: list[int] = []
    for row, text in enumerate(texts):
        words = {crc32(word.encode()) for word in _WORD.findall(text.lower())}
        rows += [row] * len(words)
        cells += words
    cell = np.asarray(cells, np.int64)
    sign = np.where(cell & (1 << 31), 1.0, -1.0)
    place = np.asarray(rows, np.int64) * dim + cell % dim
    found = np.bincount(place, sign, len(texts) * dim).reshape(len(texts), dim)
    length = np.linalg.norm(found, axis=1, keepdims=True)
    return np.asarray(found / np.maximum(length, 1e-12), np.float32)


def fit_bias(reviewed: Vectors, unreviewed: Vectors, settings: ValidationSettings) -> Bias:
    """Fit the bias model and score every comment by models that have not seen it.

    Parameters
    ----------
    reviewed, unreviewed : ndarray of float32, shape (n, d) and (m, d)
        Vectors of length 1 (or 0). Of more than `bias_max` of a kind, so many are drawn at random
        to learn from; the others get the mean of all models.

    Raises
    ------
    ValueError
        If there are fewer of a kind than folds.
    """
    if min(len(reviewed), len(unreviewed)) < settings.bias_folds:
        raise ValueError("too few comments for a bias model")
    random = np.random.default_rng(settings.seed)
    drawn = [_drawn(len(vectors), settings.bias_max, random) for vectors in (reviewed, unreviewed)]
    rows = np.concatenate([reviewed[drawn[0]], unreviewed[drawn[1]]])
    is_new = np.repeat([False, True], [len(drawn[0]), len(drawn[1])])
    fold = np.concatenate([np.arange(len(part)) % settings.bias_folds for part in drawn])
    score = np.zeros(len(rows))
    weights = np.zeros(rows.shape[1] + 1)
    total = np.zeros_like(weights)
    for number in range(settings.bias_folds):
        held_out = fold == number
        # Folds share most of their rows, so the last one's solution is a good place to begin at.
        weights = fit_logistic(rows[~held_out], is_new[~held_out], c=settings.bias_c, start=weights)
        score[held_out] = _score(rows[held_out], weights)
        total += weights / settings.bias_folds
    found = []
    for vectors, part, fresh in zip((reviewed, unreviewed), drawn, (False, True), strict=True):
        all_scores = _score(vectors, total)
        all_scores[part] = score[is_new == fresh]
        found.append(np.asarray(expit(all_scores), np.float64))
    return Bias(area_under_curve(is_new, score), found[0], found[1])


def fit_logistic(
    rows: Vectors, positive: NDArray[np.bool_], *, c: float, start: Floats | None = None
) -> Floats:
    """Fit a logistic regression with an L2 penalty, both classes weighing the same.

    Minimises `|w|²/2 + c · Σ weight · log loss`, where the weight of a row is n / (2 · rows of its
    class). Returns the weights, shape (d,), and the intercept, which is not penalised, after them.
    """
    size = len(rows)
    share = np.where(positive, 0.5 / positive.sum(), 0.5 / (~positive).sum())
    sign = np.where(positive, 1.0, -1.0)
    penalty = 1 / (c * size)

    def loss(weights: Floats) -> tuple[float, Floats]:
        margin = sign * _score(rows, weights)
        slope = -sign * share * expit(-margin)
        gradient = np.empty_like(weights)
        gradient[:-1] = rows.T @ slope.astype(np.float32) + penalty * weights[:-1]
        gradient[-1] = slope.sum()
        value = share @ np.logaddexp(0, -margin) + penalty / 2 * (weights[:-1] @ weights[:-1])
        return float(value), gradient

    begin = np.zeros(rows.shape[1] + 1) if start is None else start
    # Single precision cannot tell losses closer than this; asking for more only costs rounds.
    limits = {"maxiter": 200, "ftol": 1e-10, "gtol": 1e-6}
    found = minimize(loss, begin, jac=True, method="L-BFGS-B", options=limits)
    return np.asarray(found.x, np.float64)


def area_under_curve(positive: NDArray[np.bool_], score: Floats) -> float:
    """Return the chance that a positive scores above a negative; ties count a half."""
    count = int(positive.sum())
    others = len(positive) - count
    ranks = float(rankdata(score)[positive].sum())
    return (ranks - count * (count + 1) / 2) / (count * others)


def sample_weights(unreviewed: Floats, settings: ValidationSettings) -> Floats:
    """Return how much each reviewed comment stands for among those as they come; mean 1.

    `unreviewed` is the probability of being unreviewed that the bias model gives it.
    """
    odds = unreviewed / np.maximum(1 - unreviewed, 1e-12)
    clipped = np.clip(odds, settings.weight_floor, settings.weight_ceiling)
    return np.asarray(clipped / clipped.mean(), np.float64)


def _score(rows: Vectors, weights: Floats) -> Floats:
    scores = rows @ weights[:-1].astype(np.float32)
    return np.asarray(scores.astype(np.float64) + weights[-1], np.float64)


def _drawn(size: int, most: int, random: np.random.Generator) -> NDArray[np.intp]:
    order = random.permutation(size)[:most]
    return np.asarray(order, np.intp)
