"""Encoders: which one is found, and what its vectors depend on."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from lodestream.domain.errors import Unavailable
from lodestream.ml import encoders
from lodestream.ml.encoder_install import install
from lodestream.ml.encoders import MAX_TOKENS, Encoder, Encoders, find_encoder
from tests.ml.tiny_bert import WIDTH, forward, make_bert, make_recipe, published, write_files

BERT = make_bert()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the tiny model as `minilm` and, with other weights, as `multilingual`."""
    root = tmp_path_factory.mktemp("encoders")
    for name, bert in (("minilm", BERT), ("multilingual", make_bert(1))):
        files = published(bert)
        recipe = make_recipe(files, name=name, static=name == "minilm")
        install(name, root, source=write_files(root / "files", files), recipes={name: recipe})
    return root


@pytest.fixture(params=["model", "static"])
def encoder(folder: Path, request: pytest.FixtureRequest) -> Encoder:
    found = find_encoder(folder, "english", prefer_static=request.param == "static")
    assert found is not None
    return found


TEXTS = ["w1 w2 w3", "w4", "W1 w2 w3 " * 30, "unheard of", "w5 " * 500]


@pytest.mark.parametrize(
    ("family", "name"),
    [
        ("english", "minilm"),
        ("english-dev", "minilm"),
        ("transformer-english", "minilm"),
        ("german", "multilingual"),
        ("german-dev", "multilingual"),
        ("transformer-xlm", "multilingual"),
        ("something new", "minilm"),
    ],
)
def test_a_model_family_has_its_encoder(folder: Path, family: str, name: str) -> None:
    found = find_encoder(folder, family)
    assert found is not None
    assert found.name == name
    assert found.space.startswith(f"{name}-")
    assert found.dim == WIDTH


@pytest.mark.parametrize("installed", ["minilm", "multilingual"])
@pytest.mark.parametrize("family", ["english", "german"])
def test_where_the_best_encoder_is_missing_the_other_is_taken(
    folder: Path, tmp_path: Path, installed: str, family: str
) -> None:
    (tmp_path / installed).symlink_to(folder / installed)
    found = find_encoder(tmp_path, family)
    assert found is not None
    assert found.name == installed


def test_the_family_random_has_no_encoder(folder: Path) -> None:
    assert find_encoder(folder, "random") is None


def test_without_an_encoder_none_is_found(tmp_path: Path) -> None:
    assert find_encoder(tmp_path, "english") is None
    assert find_encoder(tmp_path / "missing", "english") is None


def test_the_table_is_taken_only_where_there_is_one(folder: Path) -> None:
    english = find_encoder(folder, "english", prefer_static=True)
    german = find_encoder(folder, "german", prefer_static=True)
    assert english is not None
    assert german is not None
    assert (english.name, german.name) == ("static", "multilingual")


def test_a_manifest_of_another_format_is_not_read(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "minilm").mkdir()
    manifest = (folder / "minilm" / encoders.MANIFEST).read_text()
    newer = manifest.replace('"format": 1', '"format": 2')
    assert newer != manifest
    (tmp_path / "minilm" / encoders.MANIFEST).write_text(newer)
    assert find_encoder(tmp_path, "english") is None


def test_vectors_are_those_of_the_model(folder: Path) -> None:
    found = find_encoder(folder, "english")
    assert found is not None
    vectors = found.encode(["w0 w1", "w59"])
    expected = np.stack([forward(BERT, [2, 4, 5, 3]), forward(BERT, [2, 63, 3])])
    assert (vectors * expected).sum(axis=1).min() > 0.99


def test_a_vector_does_not_depend_on_what_is_encoded_with_it(encoder: Encoder) -> None:
    together = encoder.encode(TEXTS)
    assert together.shape == (len(TEXTS), encoder.dim)
    assert together.dtype == np.float32
    for text, vector in zip(TEXTS, together, strict=True):
        np.testing.assert_array_equal(encoder.encode([text])[0], vector)


def test_threads_change_nothing(folder: Path) -> None:
    one = find_encoder(folder, "english")
    four = find_encoder(folder, "english", threads=4)
    assert one is not None
    assert four is not None
    np.testing.assert_array_equal(one.encode(TEXTS * 10), four.encode(TEXTS * 10))


def test_rows_have_unit_length(encoder: Encoder) -> None:
    lengths = np.linalg.norm(encoder.encode(TEXTS[:3]), axis=1)
    np.testing.assert_allclose(lengths, 1, atol=1e-5)


@pytest.mark.parametrize("text", ["", " \n\t ", "\u2003"])
def test_an_empty_text_is_a_row_of_zeros(encoder: Encoder, text: str) -> None:
    vectors = encoder.encode(["w1", text])
    assert vectors[0].any()
    assert not vectors[1].any()


def test_nothing_gives_nothing(encoder: Encoder) -> None:
    assert encoder.encode([]).shape == (0, encoder.dim)


def test_a_text_is_cut(encoder: Encoder) -> None:
    read = "w1 " * (MAX_TOKENS - (0 if encoder.name == "static" else 2))
    np.testing.assert_array_equal(*encoder.encode([read, read + "w2 " * 10]))


@pytest.mark.parametrize("text", ["\ud800", "a\ud800b", "😀" * 10, "\x00", "x" * 1_000_000])
def test_odd_texts_give_finite_vectors(encoder: Encoder, text: str) -> None:
    assert np.isfinite(encoder.encode([text])).all()


def test_a_damaged_file_is_told(folder: Path, tmp_path: Path) -> None:
    write_files(
        tmp_path / "minilm", {one.name: one.read_bytes() for one in (folder / "minilm").iterdir()}
    )
    (tmp_path / "minilm" / encoders.MODEL).write_bytes(b"something else")
    found = find_encoder(tmp_path, "english")
    assert found is not None
    with pytest.raises(Unavailable, match="damaged; install it again"):
        found.encode(["w1"])


def test_a_missing_file_is_told(folder: Path, tmp_path: Path) -> None:
    write_files(
        tmp_path / "minilm",
        {encoders.MANIFEST: (folder / "minilm" / encoders.MANIFEST).read_bytes()},
    )
    found = find_encoder(tmp_path, "english")
    assert found is not None
    with pytest.raises(Unavailable, match="incomplete; install it again"):
        found.encode(["w1"])


def test_encoders_of_a_folder_are_opened_once(folder: Path) -> None:
    kept = Encoders(folder)
    assert kept.find("english") is kept.find("transformer-english")
    assert kept.find("english") is not kept.find("german")
    assert kept.find("random") is None
