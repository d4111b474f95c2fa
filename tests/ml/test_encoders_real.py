"""Checks of the real encoders, where `LODESTREAM_TEST_ENCODERS` names a folder that holds them."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from lodestream.ml.encoder_recipes import RECIPES
from lodestream.ml.encoders import Encoder, find_encoder, read_manifest
from lodestream.ml.vectors import pack, unpack

FOLDER = os.environ.get("LODESTREAM_TEST_ENCODERS")
pytestmark = pytest.mark.skipif(
    not FOLDER, reason="LODESTREAM_TEST_ENCODERS names no folder with installed encoders"
)


def find(family: str, name: str, *, static: bool = False) -> Encoder:
    found = find_encoder(Path(FOLDER or ""), family, prefer_static=static)
    if found is None or found.name != name:
        pytest.skip(f"the encoder {name} is not installed in {FOLDER}")
    return found


@pytest.mark.parametrize(("name", "family"), [("minilm", "english"), ("multilingual", "german")])
def test_cosines_are_those_of_the_published_weights(name: str, family: str) -> None:
    encoder = find(family, name)
    for one, other, cosine in RECIPES[name].references:
        vectors = encoder.encode([one, other])
        assert float(vectors[0] @ vectors[1]) == pytest.approx(cosine, abs=0.04)


@pytest.mark.parametrize("static", [False, True])
def test_like_texts_are_nearer_than_others(static: bool) -> None:
    encoder = find("english", "static" if static else "minilm", static=static)
    texts = ["Where is my parcel?", "The package has not been delivered.", "I forgot my password."]
    vectors = unpack(pack(encoder.encode(texts)), encoder.dim)
    assert vectors[0] @ vectors[1] > vectors[0] @ vectors[2] + 0.1


def test_translations_are_nearer_than_other_texts() -> None:
    encoder = find("transformer-xlm", "multilingual")
    english = encoder.encode(["Where is my parcel?", "I forgot my password."])
    others = [
        ("Wo ist mein Paket?", "Ich habe mein Passwort vergessen."),
        ("我的包裹在哪里？", "我忘记了密码。"),
        ("¿Dónde está mi paquete?", "He olvidado mi contraseña."),
        ("荷物はどこですか。", "パスワードを忘れました。"),
        ("أين طردي؟", "لقد نسيت كلمة المرور."),
    ]
    for pair in others:
        cosines = english @ encoder.encode(pair).T
        assert np.trace(cosines) > np.trace(cosines[::-1])


@pytest.mark.parametrize("name", ["minilm", "multilingual"])
def test_the_vocabulary_knows_what_an_english_word_is(name: str) -> None:
    encoder = find("english" if name == "minilm" else "german", name)
    assert encoder.encode(["invoice"]).any()
    assert not encoder.encode(["", " \u200b\n"]).any()


def test_a_text_has_one_vector_whatever_is_beside_it() -> None:
    encoder = find("english", "minilm")
    texts = ["short", "a somewhat longer text about nothing " * 8, "Ünïcödé 客服 😀"]
    together = encoder.encode(texts)
    alone = np.concatenate([encoder.encode([text]) for text in texts])
    np.testing.assert_array_equal(together, alone)


def test_the_manifest_names_what_it_was_made_from() -> None:
    find("english", "minilm")
    manifest = read_manifest(Path(FOLDER or "", "minilm"))
    assert manifest is not None
    assert manifest.licence == "Apache-2.0"
    assert manifest.sources == {part.name: part.sha256 for part in RECIPES["minilm"].parts}
