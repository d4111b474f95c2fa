"""Words and pieces of words as sparse vectors, made with numpy alone.

A text becomes two blocks of hashed counts: words with pairs of neighbouring words, and runs of 3 to
5 characters inside a word (its edges included). Both are weighted by TF-IDF and brought to unit
length each, so that the many character runs do not drown the few words.
"""

from __future__ import annotations

import functools
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

BUCKETS = 1 << 20
"""Hash values of each of the two blocks."""
LONGEST = 16_384
"""Characters of a text that are read; what follows says little more and costs much."""

_SHORTEST_RUN, _LONGEST_RUN = 3, 5
_SPACE = np.uint64(32)
_STEP = np.uint64(0x9E3779B97F4A7C15)
_MIX = np.uint64(0xD6E8FEB86659FD93)
_KEY_BITS = np.uint64(64 - 20)
_ALONE, _IN_WORD = 2, 1


@dataclass(frozen=True)
class Lexicon:
    """The features that a training set has, and their weights.

    Attributes
    ----------
    features : ndarray of int32, shape (n_features,)
        Bucket of each column, rising; those from `BUCKETS` on belong to the block of characters.
    idf : ndarray of float32, shape (n_features,)
        Weight of each column, at least 1.
    unseen : float
        Weight of a feature that no training text has. It counts in the length of a text, so that a
        text of unknown words is near to nothing; leave-one-out scores see the same.
    """

    features: NDArray[np.int32]
    idf: NDArray[np.float32]
    unseen: float

    @classmethod
    def fit(cls, *counts: sparse.csr_array) -> Lexicon:
        """Learn the columns and weights from counts (`count`) of training texts."""
        in_texts = np.zeros(2 * BUCKETS, np.intp)
        for part in counts:
            in_texts += np.bincount(part.indices, minlength=2 * BUCKETS)
        features = np.flatnonzero(in_texts).astype(np.int32)
        rows = sum(part.shape[0] for part in counts)
        idf = np.log((1 + rows) / (1 + in_texts[features])) + 1
        unseen = float(np.float32(np.log((1 + rows) / 2) + 1))
        return cls(features, idf.astype(np.float32), max(unseen, 1.0))

    def transform(self, counts: sparse.csr_array) -> tuple[sparse.csr_array, sparse.csr_array]:
        """Weigh counts by TF-IDF.

        Returns
        -------
        words, characters : csr_array of float32, shape (n_texts, n_features)
            Each row has unit length, or less if the text has features never seen in training.
        """
        rows = counts.shape[0]
        column, weight = self._lookup
        places = column[counts.indices]
        values = (1 + np.log(counts.data)) * weight[counts.indices]
        row = np.repeat(np.arange(rows), np.diff(counts.indptr))
        in_characters = counts.indices >= BUCKETS
        length = np.sqrt(
            np.bincount(2 * row + in_characters, weights=values * values, minlength=2 * rows)
        )
        values = (values / np.maximum(length, 1e-12)[2 * row + in_characters]).astype(np.float32)
        return (
            self._block(rows, row, places, values, (places >= 0) & ~in_characters),
            self._block(rows, row, places, values, (places >= 0) & in_characters),
        )

    def _block(
        self,
        rows: int,
        row: NDArray[np.intp],
        places: NDArray[np.int32],
        values: NDArray[np.float32],
        chosen: NDArray[np.bool_],
    ) -> sparse.csr_array:
        starts = np.zeros(rows + 1, np.int32)
        np.cumsum(np.bincount(row[chosen], minlength=rows), out=starts[1:])
        shape = (rows, len(self.features))
        return sparse.csr_array((values[chosen], places[chosen], starts), shape=shape)

    @functools.cached_property
    def _lookup(self) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
        column = np.full(2 * BUCKETS, -1, np.int32)
        column[self.features] = np.arange(len(self.features), dtype=np.int32)
        weight = np.full(2 * BUCKETS, self.unseen, np.float32)
        weight[self.features] = self.idf
        return column, weight


def count(texts: Sequence[str]) -> sparse.csr_array:
    """Count the hashed features of each text.

    Returns
    -------
    csr_array of float32, shape (n_texts, 2 * BUCKETS)
        Words and pairs of words first, then character runs. Sorted, without duplicates; a text
        without letters, digits or symbols has an empty row.
    """
    blocks = [_count(texts[at : at + _BATCH]) for at in range(0, len(texts), _BATCH)]
    if not blocks:
        return sparse.csr_array((0, 2 * BUCKETS), dtype=np.float32)
    return blocks[0] if len(blocks) == 1 else sparse.vstack(blocks, format="csr")


_BATCH = 2048


def _count(texts: Sequence[str]) -> sparse.csr_array:
    characters, token, rows = _tokens(texts)
    keys, owner = [], []
    if len(rows):
        starts = np.searchsorted(token, np.arange(len(rows)))
        for key, of in (_words(characters, starts, rows), _runs(characters, token, starts, rows)):
            keys.append(key)
            owner.append(of)
    columns = np.concatenate([np.zeros(0, np.int32), *keys])
    owners = np.concatenate([np.zeros(0, np.intp), *owner])
    counts = sparse.coo_array(
        (np.ones(len(columns), np.float32), (owners, columns)), shape=(len(texts), 2 * BUCKETS)
    ).tocsr()
    counts.sum_duplicates()
    return counts


def _tokens(
    texts: Sequence[str],
) -> tuple[NDArray[np.uint64], NDArray[np.intp], NDArray[np.intp]]:
    """Split texts into tokens: characters, the token of each, and the text of each token."""
    pieces = [text[:LONGEST].lower() + "\n" for text in texts]
    codes = np.frombuffer("".join(pieces).encode("utf-32-le", "surrogatepass"), np.uint32)
    kinds = np.where(codes < _PLANE, _kinds()[np.minimum(codes, _PLANE - 1)], _ALONE)
    inside = np.flatnonzero(kinds)
    if not len(inside):
        return np.zeros(0, np.uint64), np.zeros(0, np.intp), np.zeros(0, np.intp)
    joined = np.zeros(len(inside), np.bool_)
    joined[1:] = (
        (np.diff(inside) == 1) & (kinds[inside[1:]] == _IN_WORD) & (kinds[inside[:-1]] == _IN_WORD)
    )
    token = np.cumsum(~joined) - 1
    ends = np.cumsum([len(piece) for piece in pieces])
    rows = np.searchsorted(ends, inside[~joined], side="right")
    return codes[inside].astype(np.uint64), token, rows


def _words(
    characters: NDArray[np.uint64], starts: NDArray[np.intp], rows: NDArray[np.intp]
) -> tuple[NDArray[np.int32], NDArray[np.intp]]:
    lengths = np.diff(np.append(starts, len(characters)))
    place = np.arange(len(characters)) - np.repeat(starts, lengths)
    word = np.add.reduceat(characters * _powers(int(place.max()) + 1)[place], starts)
    together = rows[1:] == rows[:-1]
    pair = (_scramble(word[:-1]) * _MIX + word[1:])[together]
    keys = np.concatenate([_bucket(word), _bucket(pair + _STEP)])
    return keys, np.concatenate([rows, rows[1:][together]])


def _runs(
    characters: NDArray[np.uint64],
    token: NDArray[np.intp],
    starts: NDArray[np.intp],
    rows: NDArray[np.intp],
) -> tuple[NDArray[np.int32], NDArray[np.intp]]:
    tokens = len(rows)
    padded = np.full(len(characters) + 2 * tokens, _SPACE)
    padded[np.arange(len(characters)) + 2 * token + 1] = characters
    lengths = np.diff(np.append(starts, len(characters))) + 2
    of_place = np.repeat(np.arange(tokens), lengths)
    left = np.cumsum(lengths)[of_place] - np.arange(len(padded))
    keys, owners = [], []
    key = padded
    for size in range(2, _LONGEST_RUN + 1):
        key = key[:-1] * _STEP + padded[size - 1 :]
        if size >= _SHORTEST_RUN:
            whole = left[: len(key)] >= size
            keys.append(_bucket(key[whole] + np.uint64(size)) + np.int32(BUCKETS))
            owners.append(rows[of_place[: len(key)][whole]])
    return np.concatenate(keys), np.concatenate(owners)


def _bucket(key: NDArray[np.uint64]) -> NDArray[np.int32]:
    return (_scramble(key) >> _KEY_BITS).astype(np.int32)


def _scramble(key: NDArray[np.uint64]) -> NDArray[np.uint64]:
    key = (key ^ (key >> np.uint64(32))) * _MIX
    key = (key ^ (key >> np.uint64(29))) * _STEP
    scrambled: NDArray[np.uint64] = key ^ (key >> np.uint64(32))
    return scrambled


def _powers(length: int) -> NDArray[np.uint64]:
    return np.cumprod(np.full(length, _STEP), dtype=np.uint64)


_PLANE = 1 << 16


@functools.cache
def _kinds() -> NDArray[np.uint8]:
    """Say of each character of the basic plane whether it is in a word, a word alone, or neither.

    Scripts that write no spaces give one token a character: pairs of tokens are then what pairs of
    characters are, which is how such texts are best searched. So are symbols; and all that is
    beyond the basic plane, which is emoji and rare ideographs mostly.
    """
    kinds = np.zeros(_PLANE, np.uint8)
    for code in range(_PLANE):
        group = unicodedata.category(chr(code))[0]
        kinds[code] = _IN_WORD if group in "LMN" else _ALONE if group == "S" else 0
    for first, last in _ALONE_RANGES:
        kinds[first : last + 1] = _ALONE
    return kinds


# Kana, CJK extension A, unified ideographs, compatibility ideographs.
_ALONE_RANGES = ((0x3041, 0x30FF), (0x3400, 0x4DBF), (0x4E00, 0x9FFF), (0xF900, 0xFAFF))
