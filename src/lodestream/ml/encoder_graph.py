"""A BERT encoder as an ONNX graph: token numbers of one text in, its unit vector out.

The graph reads one text at a time. The ranges by which activations are rounded to eight bits are
taken from what is in the graph at that moment, so a text read together with others would get
another vector than alone; and a single text needs neither padding nor a mask.

Two things keep the rounding error small without any calibration text. Activations after a layer
norm differ in size from channel to channel by the norm's own parameters, which are known: they are
evened out there, and the matrix that follows takes the difference up (as SmoothQuant does with
measured sizes). And the channels of the attention's values are evened out by their weights.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

Array = NDArray[np.float32]

RECIPE: Final = 1
"""The number of the procedure below; raised when it gives other vectors for the same weights."""

OPSET: Final = 17
LARGEST_PRODUCT: Final = 64 * 255 * 127
"""The largest sum of products of 64 pairs of bytes, of which one of each is signed."""
_FUSED: Final = "com.microsoft"
_EVENED: Final = 0.7
"""How much of the difference between channels goes to the weights; 0.5 to 0.9 are as good."""
_LARGE: Final = 3.0
"""The value of a normalised activation that counts as large, in standard deviations."""


@dataclass(frozen=True)
class Bert:
    """Weights of a BERT model, under the names that published models use, and its shape."""

    tensors: Mapping[str, Array]
    layers: int
    heads: int
    epsilon: float = 1e-12

    @property
    def dim(self) -> int:
        """The length of a vector."""
        return int(self.tensors["embeddings.word_embeddings.weight"].shape[1])

    @property
    def max_tokens(self) -> int:
        """The number of tokens for which there are positions."""
        return int(self.tensors["embeddings.position_embeddings.weight"].shape[0])

    def pair(self, name: str) -> tuple[Array, Array]:
        """Return weight and bias of a layer."""
        return self.tensors[f"{name}.weight"], self.tensors[f"{name}.bias"]


def build_graph(bert: Bert, *, bits: int | None, centre: Array | None = None) -> bytes:
    """Return a serialised ONNX model with input `tokens` (1, length) and output `vector` (1, dim).

    `bits` is the width of the weights of matrices: 8, or 7 for processors whose products of bytes
    saturate, or None for float32. The float32 graph also reads batches of texts of one length.
    `centre` is taken from every unit vector, which then gets unit length again.
    """
    return _Builder(bert, bits).build(centre)


def build_largest_product() -> bytes:
    """Return a model whose output `y` is `LARGEST_PRODUCT`, unless products of bytes saturate."""
    count = LARGEST_PRODUCT // (255 * 127)
    weight = numpy_helper.from_array(np.full((count, 1), 127, np.int8), "weight")
    inputs = [helper.make_tensor_value_info("x", TensorProto.UINT8, [1, count])]
    outputs = [helper.make_tensor_value_info("y", TensorProto.INT32, [1, 1])]
    node = helper.make_node("MatMulInteger", ["x", "weight"], ["y"])
    graph = helper.make_graph([node], "largest", inputs, outputs, [weight])
    return _serialised(graph)


class _Builder:
    """Collects nodes and constants, layer by layer."""

    def __init__(self, bert: Bert, bits: int | None) -> None:
        self._bert = bert
        self._limit = None if bits is None else 2 ** (bits - 1) - 1
        self._nodes: list[onnx.NodeProto] = []
        self._constants: list[onnx.TensorProto] = []

    def build(self, centre: Array | None) -> bytes:
        bert = self._bert
        scale = self._evened_after("embeddings.LayerNorm", 0)
        x = self._embed(scale)
        for at in range(bert.layers):
            layer = f"encoder.layer.{at}"
            mixed = self._attend(layer, x, scale)
            weight, bias = bert.pair(f"{layer}.intermediate.dense")
            norm = f"{layer}.attention.output.LayerNorm"
            inner = self._even(norm, [weight])
            x = self._add_and_norm(norm, mixed, x, was=scale, becomes=inner)
            widened = self._product(f"{layer}.wide", x, weight * inner, bias)
            bent = self._node("Gelu", [widened], domain=_FUSED)
            narrowed = self._product(f"{layer}.narrow", bent, *bert.pair(f"{layer}.output.dense"))
            norm = f"{layer}.output.LayerNorm"
            scale = self._evened_after(norm, at + 1)
            x = self._add_and_norm(norm, narrowed, x, was=inner, becomes=scale)
        mean = self._node("ReduceMean", [x], axes=[1], keepdims=0)
        if centre is not None:
            unit = self._node("LpNormalization", [mean], axis=-1, p=2)
            mean = self._node("Sub", [unit, self._constant("centre", centre)])
        self._node("LpNormalization", [mean], out="vector", axis=-1, p=2)
        return self._model()

    def _embed(self, scale: Array) -> str:
        tensors = self._bert.tensors
        table = tensors["embeddings.word_embeddings.weight"]
        if self._limit is None:
            words = self._node("Gather", [self._constant("words", table), "tokens"])
        else:
            # Rounded by rows, always to eight bits: rows are only looked up, not multiplied.
            # A part at a time, because a table may be larger than everything else together.
            parts = np.array_split(table, max(1, len(table) // 16_384))
            rounded = [_rounded(part, axis=1, limit=127) for part in parts]
            whole = np.concatenate([one for one, _ in rounded])
            row_scale = np.concatenate([one for _, one in rounded])
            found = self._node("Gather", [self._constant("words", whole), "tokens"])
            scales = self._node("Gather", [self._constant("words.scale", row_scale), "tokens"])
            wide = self._node("Cast", [found], to=TensorProto.FLOAT)
            words = self._node("Mul", [wide, scales])
        # There is one segment; its vector belongs to every position.
        places = (
            tensors["embeddings.position_embeddings.weight"]
            + tensors["embeddings.token_type_embeddings.weight"][0]
        )
        length = self._node("Shape", ["tokens"], start=1, end=2)
        first = self._constant("zero", np.zeros(1, np.int64))
        ours = self._node("Slice", [self._constant("places", places), first, length, first])
        gain, shift = self._bert.pair("embeddings.LayerNorm")
        return self._node(
            "LayerNormalization",
            [
                self._node("Add", [words, ours]),
                self._constant("embed.gain", gain / scale),
                self._constant("embed.shift", shift / scale),
            ],
            epsilon=self._bert.epsilon,
        )

    def _attend(self, layer: str, x: str, scale: Array) -> str:
        pairs = [
            self._bert.pair(f"{layer}.attention.self.{part}") for part in ("query", "key", "value")
        ]
        after, after_bias = self._bert.pair(f"{layer}.attention.output.dense")
        # A mean of values keeps their channels apart, so a channel may be shrunk before and grown
        # again after.
        largest = np.abs(pairs[2][0] * scale).max(axis=1)
        channel: Array = np.sqrt(_centred(np.maximum(largest, 1e-6)))
        pairs[2] = (pairs[2][0] / channel[:, None], pairs[2][1] / channel)
        weight = np.concatenate([one for one, _ in pairs]) * scale
        bias = self._constant(f"{layer}.qkv.b", np.concatenate([one for _, one in pairs]))
        heads = self._bert.heads
        if self._limit is None:
            inputs = [x, self._constant(f"{layer}.qkv", weight.T), bias]
            mixed = self._node("Attention", inputs, domain=_FUSED, num_heads=heads)
        else:
            names = [f"{layer}.x", f"{layer}.x.s", f"{layer}.x.z"]
            self._nodes.append(helper.make_node("DynamicQuantizeLinear", [x], names))
            whole, scales, zeros = self._matrix(f"{layer}.qkv", weight)
            inputs = [names[0], whole, bias, names[1], scales, "", names[2], zeros]
            mixed = self._node("QAttention", inputs, domain=_FUSED, num_heads=heads)
        return self._product(f"{layer}.mix", mixed, after * channel, after_bias)

    def _product(self, name: str, x: str, weight: Array, bias: Array) -> str:
        """Multiply by a matrix given as (outputs, inputs), and add the bias."""
        added = self._constant(f"{name}.b", bias)
        if self._limit is None:
            return self._node(
                "Add", [self._node("MatMul", [x, self._constant(name, weight.T)]), added]
            )
        inputs = [x, *self._matrix(name, weight), added]
        return self._node("DynamicQuantizeMatMul", inputs, domain=_FUSED)

    def _matrix(self, name: str, weight: Array) -> tuple[str, str, str]:
        assert self._limit is not None
        whole, scales = _rounded(weight.T, axis=0, limit=self._limit)
        return (
            self._constant(name, whole),
            self._constant(f"{name}.s", scales[0]),
            self._constant(f"{name}.z", np.zeros(len(weight), np.int8)),
        )

    def _add_and_norm(self, norm: str, added: str, x: str, *, was: Array, becomes: Array) -> str:
        gain, shift = self._bert.pair(norm)
        residual = self._node("Mul", [x, self._constant(f"{norm}.was", was)])
        # The operator that does both at once is several times slower than the two.
        inputs = [
            self._node("Add", [added, residual]),
            self._constant(f"{norm}.gain", gain / becomes),
            self._constant(f"{norm}.shift", shift / becomes),
        ]
        return self._node("LayerNormalization", inputs, epsilon=self._bert.epsilon)

    def _evened_after(self, norm: str, layer: int) -> Array:
        """Return the scales of what the attention of a layer reads; ones after the last layer."""
        if layer == self._bert.layers:
            return np.ones(self._bert.dim, np.float32)
        parts = (f"encoder.layer.{layer}.attention.self.{one}" for one in ("query", "key", "value"))
        return self._even(norm, [self._bert.pair(part)[0] for part in parts])

    def _even(self, norm: str, readers: Sequence[Array]) -> Array:
        gain, shift = self._bert.pair(norm)
        size = np.maximum(np.abs(shift) + _LARGE * np.abs(gain), 1e-6)
        weight = np.maximum(np.max([np.abs(one).max(axis=0) for one in readers], axis=0), 1e-6)
        return _centred(size**_EVENED / weight ** (1 - _EVENED))

    def _constant(self, name: str, value: NDArray[Any]) -> str:
        self._constants.append(numpy_helper.from_array(np.ascontiguousarray(value), name))
        return name

    def _node(
        self, kind: str, inputs: Sequence[str], *, out: str = "", domain: str = "", **rest: Any
    ) -> str:
        out = out or f"v{len(self._nodes)}"
        self._nodes.append(helper.make_node(kind, inputs, [out], domain=domain, **rest))
        return out

    def _model(self) -> bytes:
        graph = helper.make_graph(
            self._nodes,
            "encoder",
            [helper.make_tensor_value_info("tokens", TensorProto.INT64, ["texts", "length"])],
            [helper.make_tensor_value_info("vector", TensorProto.FLOAT, ["texts", self._bert.dim])],
            self._constants,
        )
        return _serialised(graph)


def _serialised(graph: onnx.GraphProto) -> bytes:
    sets = [helper.make_opsetid("", OPSET), helper.make_opsetid(_FUSED, 1)]
    model = helper.make_model(graph, opset_imports=sets, ir_version=8)
    serialised: bytes = model.SerializeToString(deterministic=True)
    return serialised


def _centred(values: NDArray[Any]) -> Array:
    """Divide by the geometric mean, so that sizes stay where they were on the whole."""
    centred: Array = (values / np.exp(np.log(values).mean())).astype(np.float32)
    return centred


def _rounded(values: Array, *, axis: int, limit: int) -> tuple[NDArray[np.int8], Array]:
    """Round to whole numbers up to `limit`, with one scale for all values along `axis`."""
    scale = np.abs(values).max(axis=axis, keepdims=True) / limit
    scale[scale == 0] = 1
    return np.rint(values / scale).astype(np.int8), scale.astype(np.float32)
