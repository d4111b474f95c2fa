"""Vectors as they are stored: one signed byte for each dimension, and a scale for the row.

A packed row is `dim + 4` bytes: the scale as a little-endian float32, then the bytes `q`. The
vector is `scale * q`, where the scale is chosen so that it has unit length. Everything that
compares vectors uses unpacked ones, fresh or stored, so both agree to the last bit.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

_SCALE_BYTES: Final = 4
_LARGEST: Final = 127


def pack(vectors: NDArray[np.float32]) -> list[bytes]:
    """Return each row as bytes to be stored; its length is not kept, only its direction.

    Packing what `unpack` returned gives the same bytes again.

    Parameters
    ----------
    vectors : ndarray of float32, shape (n, dim)
        Of any length. A row of zeros stays a row of zeros.

    Returns
    -------
    list of bytes
        n rows of `dim + 4` bytes. With `m` the largest absolute value of a row of unit length, the
        sine of the angle between it and the unpacked row is at most `m * sqrt(dim) / 254`.

    Raises
    ------
    ValueError
        If a value is not finite, or the shape is not two-dimensional.
    """
    if vectors.ndim != 2:
        raise ValueError(f"vectors must have two dimensions, not {vectors.ndim}")
    if not np.isfinite(vectors).all():
        raise ValueError("a vector holds a value that is not a finite number")
    count, dim = vectors.shape
    wide = vectors.astype(np.float64)
    largest = np.abs(wide).max(axis=1, initial=0.0, keepdims=True)
    # Divided twice, because 127 / m overflows where m is a denormal number.
    whole = np.rint(wide / np.where(largest > 0, largest, 1.0) * _LARGEST).astype(np.int8)
    rows = np.zeros((count, _SCALE_BYTES + dim), np.uint8)
    rows[:, _SCALE_BYTES:] = whole.view(np.uint8)
    rows[:, :_SCALE_BYTES] = _scales(whole).astype("<f4")[:, None].view(np.uint8)
    return [row.tobytes() for row in rows]


def unpack(rows: Sequence[bytes], dim: int) -> NDArray[np.float32]:
    """Return the vectors of packed rows.

    Parameters
    ----------
    rows : sequence of bytes
        n rows as `pack` made them.
    dim : int
        Dimensions of each vector.

    Returns
    -------
    ndarray of float32, shape (n, dim)
        Rows of unit length, or zeros.

    Raises
    ------
    ValueError
        If a row is not `dim + 4` bytes long.
    """
    if any(len(row) != dim + _SCALE_BYTES for row in rows):
        raise ValueError(f"a packed vector of {dim} dimensions has {dim + _SCALE_BYTES} bytes")
    table = np.frombuffer(b"".join(rows), np.uint8).reshape(len(rows), dim + _SCALE_BYTES)
    scales = table[:, :_SCALE_BYTES].copy().view("<f4")
    whole = table[:, _SCALE_BYTES:].view(np.int8)
    unpacked: NDArray[np.float32] = np.multiply(whole, scales, dtype=np.float32)
    return unpacked


def _scales(whole: NDArray[np.int8]) -> NDArray[np.float64]:
    lengths = np.sqrt(np.square(whole.astype(np.float64)).sum(axis=1))
    scales: NDArray[np.float64] = np.divide(
        1.0, lengths, out=np.zeros_like(lengths), where=lengths > 0
    )
    return scales


@dataclass(frozen=True)
class Whole:
    """Vectors as they are packed: whole numbers, and what makes each row one of unit length.

    Attributes
    ----------
    numbers : ndarray of float32, shape (n, dim)
        Whole numbers from -127 to 127.
    scales : ndarray of float32, shape (n, 1)
    """

    numbers: NDArray[np.float32]
    scales: NDArray[np.float32]

    @classmethod
    def of(cls, vectors: NDArray[np.float32]) -> Whole:
        """Take vectors apart; of those that `unpack` returned nothing is lost."""
        largest = np.abs(vectors).max(axis=1, initial=0.0, keepdims=True)
        numbers = np.rint(vectors / np.where(largest > 0, largest, 1) * np.float32(_LARGEST))
        scales = _scales(numbers.astype(np.int8))[:, None]
        return cls(numbers, scales.astype(np.float32))

    def cosines(self, others: Whole) -> NDArray[np.float32]:
        """Return the cosine of each vector with each of others, shape (n, n_others).

        The sums are of whole numbers below 2**24 (up to 1,040 dimensions), which float32 holds
        exactly: so a result depends on its two vectors alone, and not, as the last bit of a matrix
        product does, on how many rows are multiplied at once.
        """
        exact = self.numbers @ others.numbers.T
        exact *= self.scales
        exact *= others.scales.T
        return exact
