"""The table of token vectors that is distilled from an encoder."""

from __future__ import annotations

import numpy as np

from lodestream.ml.encoder_graph import build_graph
from lodestream.ml.encoder_static import distil
from lodestream.ml.encoders import open_session
from tests.ml.tiny_bert import WIDTH, WORDS, forward, make_bert

SESSION = open_session(build_graph(make_bert(), bits=None))
TOKENS = np.arange(4, len(WORDS))


def table() -> np.ndarray:
    made: np.ndarray = distil(
        SESSION, TOKENS, first=2, last=3, size=len(WORDS), progress=lambda _: None
    )
    return made.astype(np.float64)


def test_tokens_that_are_no_text_have_no_vector() -> None:
    made = table()
    assert made.shape == (len(WORDS), WIDTH)
    assert not made[:4].any()
    assert made[4:].any(axis=1).all()


def test_vectors_are_the_encoders_own_turned_and_centred() -> None:
    # Principal components turn the vectors, which keeps every distance; weights only stretch them.
    own = np.stack([forward(make_bert(), [2, at, 3]) for at in TOKENS])
    own -= own.mean(axis=0)
    own /= np.linalg.norm(own, axis=1, keepdims=True)
    made = table()[TOKENS]
    made /= np.linalg.norm(made, axis=1, keepdims=True)
    np.testing.assert_allclose(made @ made.T, own @ own.T, atol=0.01)


def test_common_tokens_weigh_less() -> None:
    own = np.stack([forward(make_bert(), [2, at, 3]) for at in TOKENS])
    own -= own.mean(axis=0)
    weight = np.linalg.norm(table()[TOKENS], axis=1) / np.linalg.norm(own, axis=1)
    assert (np.diff(weight) > -1e-3 * weight[1:]).all()
    assert weight[-1] > 10 * weight[0]


def test_the_same_model_gives_the_same_table() -> None:
    np.testing.assert_array_equal(table(), table())


def test_progress_is_told_to_the_end() -> None:
    told: list[float] = []
    distil(SESSION, TOKENS, first=2, last=3, size=len(WORDS), progress=told.append)
    assert told[-1] == 1.0
