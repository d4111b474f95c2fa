"""The graph of an encoder gives what a plain forward pass gives."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lodestream.ml.encoder_graph import build_graph
from lodestream.ml.encoder_install import products_saturate
from lodestream.ml.encoders import open_session
from tests.ml.tiny_bert import WIDTH, WORDS, forward, make_bert

BERT = make_bert()
SESSIONS = {bits: open_session(build_graph(BERT, bits=bits)) for bits in (None, 8, 7)}

tokens = st.lists(st.integers(0, len(WORDS) - 1), min_size=1, max_size=200)


def run(bits: int | None, *texts: list[int]) -> np.ndarray:
    vectors: np.ndarray = SESSIONS[bits].run(None, {"tokens": np.array(texts, np.int64)})[0]
    return vectors


@settings(deadline=None, max_examples=50)
@given(tokens)
def test_the_float_graph_agrees_with_the_plain_forward_pass(text: list[int]) -> None:
    np.testing.assert_allclose(run(None, text)[0], forward(BERT, text), atol=1e-5)


@pytest.mark.parametrize(("bits", "mean"), [(8, 0.999), (7, 0.998)])
def test_rounded_weights_keep_the_direction(bits: int, mean: float) -> None:
    if bits == 8 and products_saturate():
        pytest.skip("products of bytes saturate on this processor: encoders get seven bits")
    random = np.random.default_rng(0)
    texts = [random.integers(0, len(WORDS), length).tolist() for length in range(1, 200)]
    vectors = np.concatenate([run(bits, text) for text in texts])
    cosines = (vectors * np.stack([forward(BERT, text) for text in texts])).sum(axis=1)
    assert cosines.min() > 0.97
    assert cosines.mean() > mean
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)


def test_the_float_graph_reads_several_texts_of_one_length() -> None:
    texts = [[2, 5, 3], [2, 40, 3], [2, 2, 2]]
    alone = np.concatenate([run(None, text) for text in texts])
    np.testing.assert_allclose(run(None, *texts), alone, atol=1e-6)


def test_the_centre_is_taken_from_every_vector() -> None:
    centre = forward(BERT, [2, 7, 3]).astype(np.float32)
    session = open_session(build_graph(BERT, bits=None, centre=centre))
    moved = forward(BERT, [2, 8, 9, 3]) - centre
    vector = session.run(None, {"tokens": np.array([[2, 8, 9, 3]])})[0][0]
    np.testing.assert_allclose(vector, moved / np.linalg.norm(moved), atol=1e-5)


def test_the_same_weights_give_the_same_bytes() -> None:
    assert build_graph(BERT, bits=8) == build_graph(make_bert(), bits=8)
    assert build_graph(BERT, bits=8) != build_graph(make_bert(1), bits=8)


def test_the_shape_is_read_from_the_weights() -> None:
    assert (BERT.dim, BERT.max_tokens) == (WIDTH, 200)
