"""How alike texts are: the kernel of the model, and the texts it compares with."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from lodestream.ml import vectors

_BLOCK = 2048


@dataclass(frozen=True)
class Kernel:
    """The mixture `(1 - lexical) * vectors + lexical * (words and characters)`.

    Attributes
    ----------
    sharpness : float
        0: cosines as they are; b > 0: `exp(b * (cosine - 1))`. It bends the cosine of the vectors
        or, where there are none, that of the lexical part.
    lexical : float
        Share of the lexical part; 1 without vectors.
    words : float
        Share of words in the lexical part; character runs have the rest.
    """

    sharpness: float
    lexical: float
    words: float

    def bend(self, cosine: NDArray[np.float32]) -> NDArray[np.float32]:
        """Apply the sharpness, in place."""
        if self.sharpness:
            cosine -= np.float32(1)
            cosine *= np.float32(self.sharpness)
            np.exp(cosine, out=cosine)
        return cosine

    @property
    def plain(self) -> bool:
        """Whether the lexical part is an inner product, which can be summed up in weights."""
        return self.lexical < 1 or self.sharpness == 0


@dataclass(frozen=True)
class Rows:
    """Texts as the kernel sees them.

    Attributes
    ----------
    words, characters : csr_array of float32, shape (n, n_features)
        TF-IDF, from `Lexicon.transform`.
    vectors : ndarray of float32, shape (n, dim), or None
        Sentence vectors.
    """

    words: sparse.csr_array
    characters: sparse.csr_array
    vectors: NDArray[np.float32] | None

    def __len__(self) -> int:
        return int(self.words.shape[0])

    def __getitem__(self, chosen: NDArray[np.intp] | slice) -> Rows:
        vector = None if self.vectors is None else self.vectors[chosen]
        return Rows(self.words[chosen], self.characters[chosen], vector)

    def mixed(self, kernel: Kernel) -> sparse.csr_array:
        """Weigh words and characters as the kernel says; their columns are different ones."""
        word = np.float32(np.sqrt(kernel.words))
        character = np.float32(np.sqrt(1 - kernel.words))
        return (self.words * word + self.characters * character).tocsr()


@dataclass(frozen=True)
class Parts:
    """What the kernels of one set of texts are mixed from, so that each costs little more.

    Attributes
    ----------
    words, characters : ndarray of float32, shape (n, n)
        Inner products of the lexical blocks.
    cosine : ndarray of float32, shape (n, n), or None
        Inner products of the vectors.
    """

    words: NDArray[np.float32]
    characters: NDArray[np.float32]
    cosine: NDArray[np.float32] | None

    @classmethod
    def of(cls, rows: Rows) -> Parts:
        """Compute all inner products of some texts."""
        return cls(
            inner(rows.words, rows.words.T.tocsr()),
            inner(rows.characters, rows.characters.T.tocsr()),
            None if rows.vectors is None else rows.vectors @ rows.vectors.T,
        )

    def gram(self, kernel: Kernel) -> NDArray[np.float32]:
        """Mix them: the same as `gram`, but for the order of additions."""
        alike = self.words * np.float32(kernel.words)
        alike += self.characters * np.float32(1 - kernel.words)
        if self.cosine is None:
            return kernel.bend(alike)
        alike *= np.float32(kernel.lexical)
        bent = kernel.bend(self.cosine.copy())
        bent *= np.float32(1 - kernel.lexical)
        alike += bent
        return alike


def gram(kernel: Kernel, left: Rows, right: Rows | None = None) -> NDArray[np.float32]:
    """Return the kernel of each text on the left with each on the right (by default: the same)."""
    lexical_left = left.mixed(kernel)
    lexical_right = lexical_left if right is None else right.mixed(kernel)
    other = left if right is None else right
    alike = inner(lexical_left, lexical_right.T.tocsr())
    if left.vectors is None or other.vectors is None:
        return kernel.bend(alike)
    if kernel.lexical >= 1:
        return alike
    alike *= np.float32(kernel.lexical)
    bent = kernel.bend(left.vectors @ other.vectors.T)
    bent *= np.float32(1 - kernel.lexical)
    alike += bent
    return alike


def inner(left: sparse.csr_array, turned: sparse.csr_array) -> NDArray[np.float32]:
    """Multiply sparse rows with a sparse matrix, block by block, into a dense result."""
    result = np.empty((left.shape[0], turned.shape[1]), np.float32)
    for at in range(0, left.shape[0], _BLOCK):
        result[at : at + _BLOCK] = (left[at : at + _BLOCK] @ turned).toarray()
    return result


def as_stored(rows: Rows) -> Rows:
    """Round everything as a model file does, so that training sees what prediction will see."""
    vector = rows.vectors
    if vector is not None:
        vector = vectors.unpack(vectors.pack(vector), vector.shape[1])
    return Rows(_rounded(rows.words), _rounded(rows.characters), vector)


def _rounded(block: sparse.csr_array) -> sparse.csr_array:
    values = block.data.astype(np.float16).astype(np.float32)
    return sparse.csr_array((values, block.indices, block.indptr), shape=block.shape)
