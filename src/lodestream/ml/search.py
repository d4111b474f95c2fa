"""The search for the kernel that suits a dataset."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray

from lodestream.ml import combine, ridge
from lodestream.ml.hierarchy import leaves
from lodestream.ml.kernels import Kernel, Parts, Rows


def sample(truth: NDArray[np.float32], size: int) -> NDArray[np.intp]:
    """Choose that many rows at random, but first a few of each label, so that no label is lost."""
    rows = len(truth)
    if rows <= size:
        return np.arange(rows)
    order = np.random.default_rng(rows).permutation(rows)
    shuffled = truth[order] > 0
    quota = max(1, size // (2 * max(truth.shape[1], 1)))
    first = (shuffled & (np.cumsum(shuffled, axis=0, dtype=np.int32) <= quota)).any(1)
    ranked = np.concatenate([order[first], order[~first]])
    return np.sort(ranked[:size])


def choose(
    rows: Rows,
    truth: NDArray[np.float32],
    known: NDArray[np.bool_],
    labels: tuple[str, ...],
    *,
    search_rows: int,
    final_rows: int,
    progress: Callable[[float], None],
) -> tuple[Kernel, float]:
    """Choose the kernel and the ridge whose leave-one-out scores have the least log loss.

    A coarse grid first, then one number at a time. The loss is that of one sigmoid for all labels,
    which ranks candidates as the full calibration does and costs a fraction of it.

    Parameters
    ----------
    rows : Rows
        The n texts.
    truth : ndarray of float32, shape (n, n_labels)
        1 where a label is assigned, else 0.
    known : ndarray of bool, shape (n, n_labels)
        False where a text says nothing about a label.
    labels : tuple of str, length n_labels
        Full names: those without children may exclude one another.
    search_rows, final_rows : int
        Number of texts candidates are judged on, at first and in the final.
    progress : callable
        Is called with the share that is done, after each candidate.

    Returns
    -------
    kernel : Kernel
    strength : float
        The ridge.
    """
    with_vectors = rows.vectors is not None
    best = Kernel(1.0, 0.3, 0.5) if with_vectors else Kernel(0.0, 1.0, 0.5)
    strength = 0.1
    given: NDArray[np.bool_] = np.asarray((truth > 0).any(0), np.bool_)
    if len(rows) < _FEWEST or not given.any():
        return best, strength
    tips = leaves(labels) & given
    judge = _Judge(rows, truth, known, given, tips, search_rows)
    for candidates in _steps(with_vectors):
        # The first of equals wins, so the order of candidates decides, not the order of a set.
        tried = []
        for at in candidates(best, strength):
            tried.append((judge(*at), at))
            progress(min(1.0, len(judge.losses) / _USUAL_CANDIDATES))
        best, strength = min(tried, key=lambda pair: pair[0])[1]
    if len(rows) > search_rows:
        finalists = judge.best_of_each_sharpness()
        judge = _Judge(rows, truth, known, given, tips, final_rows)
        tried = []
        for at in finalists:
            tried.append((judge(*at), at))
            progress(1.0)
        best, strength = min(tried, key=lambda pair: pair[0])[1]
    return best, strength


class _Judge:
    """Measures candidates by the loss of their leave-one-out scores on some of the texts."""

    def __init__(
        self,
        rows: Rows,
        truth: NDArray[np.float32],
        known: NDArray[np.bool_],
        given: NDArray[np.bool_],
        tips: NDArray[np.bool_],
        size: int,
    ) -> None:
        chosen = sample(truth, size)
        self.losses: dict[_Candidate, float] = {}
        self._parts = Parts.of(rows[chosen])
        self._truth, self._known = truth[chosen][:, given], known[chosen][:, given]
        self._weight = self._known.astype(np.float32)
        single = combine.almost_single(self._truth, tips[given])
        self._competes = tips[given] if single else None

    def __call__(self, kernel: Kernel, strength: float) -> float:
        """Return the loss of a candidate; each is measured once."""
        key = (kernel, strength)
        if key not in self.losses:
            inverse = ridge.inverse(self._parts.gram(kernel), strength)
            fit = ridge.solve(inverse, self._truth, self._known)
            self.losses[key] = combine.pooled_loss(
                fit.held_out, self._truth, self._weight, self._competes
            )
        return self.losses[key]

    def best_of_each_sharpness(self) -> list[_Candidate]:
        """Return the best candidate of each sharpness, in rising order."""
        best: dict[float, tuple[float, _Candidate]] = {}
        for candidate, loss in self.losses.items():
            sharpness = candidate[0].sharpness
            if sharpness not in best or loss < best[sharpness][0]:
                best[sharpness] = (loss, candidate)
        return [best[sharpness][1] for sharpness in sorted(best)]


_FEWEST = 4
_USUAL_CANDIDATES = 24

_Candidate = tuple[Kernel, float]


def _steps(
    with_vectors: bool,
) -> list[Callable[[Kernel, float], Iterator[_Candidate]]]:
    def coarse(kernel: Kernel, strength: float) -> Iterator[_Candidate]:
        for sharpness in (0.0, 1.0, 2.0, 4.0) if with_vectors else (0.0, 1.0, 2.0, 3.0):
            for share in (0.1, 0.3, 0.5) if with_vectors else (1.0,):
                yield Kernel(sharpness, share, kernel.words), strength

    def ridges(kernel: Kernel, strength: float) -> Iterator[_Candidate]:
        for other in (strength, 0.05, 0.2, 0.4, 1.0):
            yield kernel, other

    def word_shares(kernel: Kernel, strength: float) -> Iterator[_Candidate]:
        for words in (kernel.words, 0.35, 0.65):
            yield dataclasses.replace(kernel, words=words), strength

    def shares(kernel: Kernel, strength: float) -> Iterator[_Candidate]:
        for share in (kernel.lexical, 0.2, 0.4, 0.65) if with_vectors else (1.0,):
            yield dataclasses.replace(kernel, lexical=share), strength

    return [coarse, ridges, word_shares, shares]
