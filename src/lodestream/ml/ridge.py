"""Kernel ridge regression with analytic leave-one-out scores, all labels at once.

With `G = (K + ridge * I)^-1` the dual weights are `A = G Y`, and the score that text i would get
from a model trained without it is `Y[i] - A[i] / G[i, i]`: no refitting. Pairs of text and label
that say nothing have dual weight 0; their targets are found by conjugate gradients, which gives
exactly the model of the remaining pairs from one factorisation.

References
----------
Rifkin and Lippert, Notes on Regularized Least Squares (2007), section 4.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import linalg

_STEPS = 60
_EXACT = 1e-5
_BLOCK = 1024
_LEAST_LEFT = 0.05


@dataclass(frozen=True)
class Fit:
    """Dual weights of a kernel ridge regression, and its leave-one-out scores.

    Attributes
    ----------
    dual : ndarray of float32, shape (n, n_labels)
        Score of a new text: its kernel with the n texts, times `dual`, plus `offset`.
    offset : ndarray of float32, shape (n_labels,)
    held_out : ndarray of float32, shape (n, n_labels)
        The score of each text by the model of the others.
    """

    dual: NDArray[np.float32]
    offset: NDArray[np.float32]
    held_out: NDArray[np.float32]


def inverse(kernel: NDArray[np.float32], ridge: float) -> NDArray[np.float32]:
    """Return `(kernel + ridge * I)^-1`; the kernel is used up.

    Raises numpy.linalg.LinAlgError if the kernel is not positive definite with that ridge.
    """
    kernel.flat[:: len(kernel) + 1] += ridge
    # The transpose of a symmetric matrix is itself, in the order of LAPACK: nothing is copied.
    factor = linalg.cholesky(kernel.T, lower=True, overwrite_a=True, check_finite=False)
    result, fault = linalg.lapack.spotri(factor, lower=1, overwrite_c=True)
    if fault:
        raise np.linalg.LinAlgError("the kernel is not positive definite")
    whole: NDArray[np.float32] = np.asarray(result).T
    # LAPACK gives one half; seen from here it is the upper one.
    for at in range(0, len(whole), _BLOCK):
        end = min(at + _BLOCK, len(whole))
        corner = np.triu(whole[at:end, at:end])
        whole[at:end, at:end] = corner + np.triu(corner, 1).T
        whole[end:, at:end] = whole[at:end, end:].T
    return whole


def solve(
    inverse: NDArray[np.float32],
    target: NDArray[np.floating],
    known: NDArray[np.bool_] | None = None,
) -> Fit:
    """Fit every label.

    Parameters
    ----------
    inverse : ndarray of float32, shape (n, n)
        What `inverse` returned.
    target : ndarray, shape (n, n_labels)
        What the scores should be; the value is ignored where `known` is False.
    known : ndarray of bool, shape (n, n_labels), optional
        False where a text says nothing about a label; None when all are known.

    Returns
    -------
    Fit
        Exact, but for the leave-one-out scores of labels with unknown pairs, whose correction is
        approximated (by the diagonal of the part of `inverse` that belongs to the unknown texts).
        The held-out score of an unknown pair is the model's score for it.
    """
    diagonal = np.diagonal(inverse).copy()[:, None]
    if known is None or known.all():
        offset = target.mean(0, dtype=np.float64).astype(np.float32)
        centred = (target - offset).astype(np.float32)
        dual = inverse @ centred
        return Fit(dual, offset, target.astype(np.float32) - dual / diagonal)
    mask = known.astype(np.float32)
    count = np.maximum(mask.sum(0, dtype=np.float64), 1)
    offset = ((target * mask).sum(0, dtype=np.float64) / count).astype(np.float32)
    centred = ((target - offset) * mask).astype(np.float32)
    filled = centred + _complete(inverse, diagonal, centred, mask)
    dual = (inverse @ filled) * mask
    # Without the unknown texts the inverse has a smaller diagonal: subtract what they took part in.
    partial = (1 - mask) / diagonal
    left = np.maximum(diagonal - _squared_product(inverse, partial), _LEAST_LEFT * diagonal)
    held_out = np.where(known, centred - dual / left, filled) + offset
    return Fit(dual, offset, held_out.astype(np.float32))


def _squared_product(
    inverse: NDArray[np.float32], partial: NDArray[np.float32]
) -> NDArray[np.float32]:
    result = np.empty((len(inverse), partial.shape[1]), np.float32)
    for at in range(0, len(inverse), _BLOCK):
        result[at : at + _BLOCK] = np.square(inverse[at : at + _BLOCK]) @ partial
    return result


def _complete(
    inverse: NDArray[np.float32],
    diagonal: NDArray[np.float32],
    centred: NDArray[np.float32],
    mask: NDArray[np.float32],
) -> NDArray[np.float32]:
    """Find the targets of unknown pairs for which their dual weights are 0.

    They solve `G_mm x = -G_mo y`, a positive definite system for each label; conjugate gradients
    with the diagonal as preconditioner, all labels in one matrix product a step.
    """
    absent = 1 - mask
    x = np.zeros_like(centred)
    residual = -(inverse @ centred) * absent
    z = residual / diagonal
    direction = z.copy()
    size = (residual * z).sum(0)
    start = np.maximum(size, 1e-20)
    for _ in range(_STEPS):
        image = (inverse @ direction) * absent
        length = size / np.maximum((direction * image).sum(0), 1e-20)
        x += length * direction
        residual -= length * image
        z = residual / diagonal
        grown = (residual * z).sum(0)
        if (grown <= _EXACT**2 * start).all():
            break
        direction = z + grown / np.maximum(size, 1e-20) * direction
        size = grown
    return x
