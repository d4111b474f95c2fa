"""Kernel ridge regression on many texts, by way of a few thousand of them.

Scores are kernels with m landmark texts. With `R R^T = K_mm` the landmarks give each text the
features `phi = K_nm R^-T` (Nystroem), and ridge regression on those needs memory for m x m numbers
however many texts there are. Texts pass by in blocks, twice.

The leave-one-out formula is that of any ridge regression. Its leverages `phi_i A^-1 phi_i^T` are
squared lengths. For landmarks they are computed; for the other texts, where they are small, they
are estimated by a random projection.

References
----------
Williams and Seeger, Using the Nystroem method to speed up kernel machines (2001).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray
from scipy import linalg

from lodestream.ml.kernels import Kernel, Rows, gram
from lodestream.ml.ridge import Fit

_BLOCK = 4096
_PROBES = 512
_JITTER = 1e-3
_ROUNDS = 4
_LARGEST_LEVERAGE = 0.95


def solve(
    kernel: Kernel,
    rows: Rows,
    chosen: NDArray[np.intp],
    target: NDArray[np.float32],
    known: NDArray[np.bool_],
    *,
    strength: float,
    progress: Callable[[float], None],
) -> Fit:
    """Fit every label; the dual weights are those of the landmarks.

    Parameters
    ----------
    rows : Rows
        All n texts.
    chosen : ndarray of int, shape (m,)
        Which of them are landmarks.
    target, known : ndarray, shape (n, n_labels)
        As for `ridge.solve`. Unknown pairs are filled in with their held-out scores, a few times
        over, which comes close to leaving them out.
    strength : float
        The ridge.
    progress : callable
        Is called with the share that is done, in [0, 1].
    """
    marks = rows[chosen]
    mask = known.astype(np.float32)
    count = np.maximum(mask.sum(0, dtype=np.float64), 1)
    offset = ((target * mask).sum(0, dtype=np.float64) / count).astype(np.float32)
    centred = (target - offset) * mask
    corner = gram(kernel, marks).astype(np.float64)
    corner.flat[:: len(corner) + 1] += _JITTER
    root = linalg.cholesky(corner, lower=True, overwrite_a=True, check_finite=False)
    squares = np.zeros((len(chosen), len(chosen)), order="F")
    sums = np.zeros((len(chosen), target.shape[1]))
    for at, block in _blocks(kernel, rows, marks):
        wide = block.astype(np.float64)
        # In single precision the noise, magnified by the inverse of the corner, would be seen.
        squares = linalg.blas.dsyrk(1.0, wide.T, beta=1.0, c=squares, lower=1, overwrite_c=1)
        sums += wide.T @ centred[at : at + _BLOCK]
        progress(0.5 * at / len(rows))
    squares = np.tril(squares) + np.tril(squares, -1).T
    inverse_factor = _factor(root, squares, strength)
    spread = _spread(root, inverse_factor)
    noise = np.random.default_rng(len(root)).standard_normal((len(root), _PROBES))
    probes = spread @ (noise / np.sqrt(_PROBES)).astype(np.float32)
    dual = _dual(root, inverse_factor, sums)
    held_out = np.empty_like(centred)
    leverage = np.empty((len(rows), 1), np.float32)
    for at, block in _blocks(kernel, rows, marks):
        held_out[at : at + _BLOCK] = block @ dual
        leverage[at : at + _BLOCK, 0] = np.square(block @ probes).sum(1)
        progress(0.6 + 0.3 * at / len(rows))
    # A landmark is a basis of its own: its leverage is large, and no estimate is near enough.
    leverage[chosen, 0] = np.square(gram(kernel, marks) @ spread).sum(1)
    np.minimum(leverage, _LARGEST_LEVERAGE, out=leverage)
    if not known.all():
        filled = centred
        for _ in range(_ROUNDS):
            fresh = (held_out - leverage * filled) / (1 - leverage)
            filled = np.where(known, centred, fresh)
            sums = np.zeros_like(sums)
            for at, block in _blocks(kernel, rows, marks):
                sums += block.T @ filled[at : at + _BLOCK]
            dual = _dual(root, inverse_factor, sums)
            for at, block in _blocks(kernel, rows, marks):
                held_out[at : at + _BLOCK] = block @ dual
            progress(0.9)
        centred = filled
    held_out -= leverage * centred
    held_out /= 1 - leverage
    held_out += offset
    progress(1.0)
    return Fit(dual, offset, held_out)


def _blocks(kernel: Kernel, rows: Rows, marks: Rows) -> Iterator[tuple[int, NDArray[np.float32]]]:
    for at in range(0, len(rows), _BLOCK):
        yield at, gram(kernel, rows[slice(at, at + _BLOCK)], marks)


def _factor(
    root: NDArray[np.float64], squares: NDArray[np.float64], strength: float
) -> NDArray[np.float64]:
    """Return the Cholesky factor of `A = phi^T phi + ridge`."""
    half = linalg.solve_triangular(root, squares, lower=True, check_finite=False)
    whole = linalg.solve_triangular(root, half.T, lower=True, check_finite=False)
    whole = (whole + whole.T) / 2
    whole.flat[:: len(whole) + 1] += strength
    factor = linalg.cholesky(whole, lower=True, overwrite_a=True, check_finite=False)
    return np.asarray(factor, np.float64)


def _spread(root: NDArray[np.float64], factor: NDArray[np.float64]) -> NDArray[np.float32]:
    """Return the matrix S for which a text's leverage is the squared length of `k S`."""
    inner = linalg.lapack.dtrtri(factor, lower=1)[0].T
    spread = linalg.solve_triangular(root, inner, lower=True, trans="T", check_finite=False)
    return np.asarray(spread, np.float32)


def _dual(
    root: NDArray[np.float64], factor: NDArray[np.float64], sums: NDArray[np.float64]
) -> NDArray[np.float32]:
    right = linalg.solve_triangular(root, sums, lower=True, check_finite=False)
    weights = linalg.cho_solve((factor, True), right, check_finite=False)
    dual = linalg.solve_triangular(root, weights, lower=True, trans="T", check_finite=False)
    return np.asarray(dual, np.float32)
