"""A table of token vectors distilled from an encoder: fast vectors for texts.

Each token of the vocabulary is encoded alone, the vectors are reduced to their principal
components, and weighed down by how common the token is, as for a smooth inverse frequency with
Zipf's law in place of counts: vocabularies are in order of frequency.

References
----------
Arora, Liang and Ma, A simple but tough-to-beat baseline for sentence embeddings, 2017.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

DIM: Final = 256
RECIPE: Final = 1
"""The number of the procedure; raised when it gives other vectors for the same encoder."""

_COMMON: Final = 1e-3
_AT_ONCE: Final = 256


def distil(
    session: Any,
    tokens: NDArray[np.int64],
    *,
    first: int,
    last: int,
    size: int,
    progress: Callable[[float], None],
) -> NDArray[np.float16]:
    """Return a vector for each token.

    Parameters
    ----------
    session : onnxruntime.InferenceSession
        A float32 graph of `encoder_graph.build_graph`.
    tokens : ndarray of int64, shape (n,)
        Tokens that stand for text, the most common first.
    first, last : int
        Marks for the begin and the end of a text.
    size : int
        The size of the vocabulary.
    progress : callable
        Told the share that is done, in [0, 1].

    Returns
    -------
    ndarray of float16, shape (size, at most DIM)
        Zeros for what is not in `tokens`.
    """
    parts = []
    for at in range(0, len(tokens), _AT_ONCE):
        some = tokens[at : at + _AT_ONCE]
        texts = np.stack([np.full_like(some, first), some, np.full_like(some, last)], axis=1)
        parts.append(session.run(None, {"tokens": texts})[0])
        progress(min(1.0, (at + len(some)) / len(tokens)))
    reduced = _principal(np.concatenate(parts).astype(np.float64))
    rank = np.arange(1, len(tokens) + 1)
    share = 1 / rank / (1 / rank).sum()
    table = np.zeros((size, reduced.shape[1]), np.float16)
    table[tokens] = reduced * (_COMMON / (_COMMON + share))[:, None]
    return table


def _principal(vectors: NDArray[np.float64]) -> NDArray[np.float64]:
    centred = vectors - vectors.mean(axis=0)
    _, directions = np.linalg.eigh(centred.T @ centred)
    best = directions[:, ::-1][:, :DIM]
    # A direction's sign is arbitrary; its largest part is made positive.
    signs = np.sign(best[np.abs(best).argmax(axis=0), np.arange(best.shape[1])])
    reduced: NDArray[np.float64] = centred @ (best * signs)
    return reduced
