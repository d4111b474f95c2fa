"""Encoders: texts in, vectors of unit length out.

There are none, one or several in a folder, each with its own folder below it; `encoder_install`
puts them there. Without any the rest of learning works on words alone.

A text's vector depends on the text alone, not on what is encoded with it or by how many threads.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Protocol

import msgspec
import numpy as np
from numpy.typing import NDArray

from lodestream.domain.errors import Unavailable

MAX_TOKENS: Final = 192
"""What follows in a text is not encoded; marks for begin and end are counted."""

MANIFEST: Final = "encoder.json"
FORMAT: Final = 1
MODEL: Final = "model.onnx"
TOKENIZER: Final = "tokenizer.json"
TABLE: Final = "static.safetensors"

_FAMILIES: Final = {
    "english": ("minilm", "multilingual"),
    "english-dev": ("minilm", "multilingual"),
    "transformer-english": ("minilm", "multilingual"),
    "german": ("multilingual", "minilm"),
    "german-dev": ("multilingual", "minilm"),
    "transformer-xlm": ("multilingual", "minilm"),
    "random": (),
}
"""Encoders for each model family, the best first; a family that is not known is English."""

# Of a longer text the tokenizer would look at what is cut off afterwards. No script or jargon
# takes so many characters for a token; a text that does is cut a little earlier.
_MAX_CHARS: Final = MAX_TOKENS * 20


class Encoder(Protocol):
    """Turns texts into vectors."""

    @property
    def name(self) -> str:
        """What it is called: `minilm`, `multilingual` or `static`."""

    @property
    def space(self) -> str:
        """The identity of the vector space: vectors can be compared only if theirs is the same."""

    @property
    def dim(self) -> int:
        """The length of a vector."""

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Return the vectors of texts.

        Parameters
        ----------
        texts : sequence of str
            n texts; each is read up to `MAX_TOKENS`.

        Returns
        -------
        ndarray of float32, shape (n, dim)
            Rows of unit length; zeros for a text without a word or sign.

        Raises
        ------
        Unavailable
            If the encoder's files are gone or damaged.
        """


class StaticPart(msgspec.Struct, frozen=True):
    """The table of token vectors that was distilled from an encoder."""

    space: str
    dim: int


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of an installed encoder; stands beside its files."""

    format: int
    name: str
    space: str
    dim: int
    prefix: str
    """Put before every text, as the model was trained."""
    licence: str
    origin: str
    """The package or file that the weights were taken from."""
    experimental: bool
    bits: int
    sources: dict[str, str]
    """SHA-256 of the weights and the tokenizer as they were published."""
    files: dict[str, str]
    """SHA-256 of the encoder's own files."""
    made_with: dict[str, str]
    """Versions of the program and the libraries that made them."""
    static: StaticPart | None = None


def find_encoder(
    folder: Path, family: str, *, prefer_static: bool = False, threads: int = 1
) -> Encoder | None:
    """Return the best installed encoder for a dataset's model family; None if there is none.

    `prefer_static` asks for the table distilled from the encoder, where there is one: twenty times
    faster and less exact. An encoder loads its files when it is first used; keep it.
    """
    for name in _FAMILIES.get(family, _FAMILIES["english"]):
        manifest = read_manifest(folder / name)
        if manifest is not None:
            return open_encoder(folder / name, manifest, static=prefer_static, threads=threads)
    return None


class Encoders:
    """The encoders of a folder, each opened once and shared by all threads of a process."""

    def __init__(self, folder: Path, *, prefer_static: bool = False, threads: int = 1) -> None:
        self._folder = folder
        self._prefer_static = prefer_static
        self._threads = threads
        self._opened: dict[str, Encoder] = {}
        self._lock = threading.Lock()

    def find(self, family: str) -> Encoder | None:
        """Return the best encoder for a model family that is installed now; None without any."""
        found = find_encoder(
            self._folder, family, prefer_static=self._prefer_static, threads=self._threads
        )
        if found is None:
            return None
        with self._lock:
            # By space, so that an encoder that was installed anew replaces the old one.
            return self._opened.setdefault(found.space, found)


def open_encoder(
    folder: Path, manifest: Manifest, *, static: bool = False, threads: int = 1
) -> Encoder:
    """Return the encoder in a folder: its table if `static` and there is one, else the model."""
    if static and manifest.static is not None:
        return StaticEncoder("static", manifest.static.space, manifest.static.dim, folder, manifest)
    return ModelEncoder(manifest.name, manifest.space, manifest.dim, folder, manifest, threads)


def read_manifest(folder: Path) -> Manifest | None:
    """Return what is known of the encoder in a folder; None if there is none that we can read."""
    try:
        manifest = msgspec.json.decode((folder / MANIFEST).read_bytes(), type=Manifest)
    except (OSError, msgspec.DecodeError):
        return None
    return manifest if manifest.format == FORMAT else None


class _Tokenizer:
    """Texts as token numbers, up to `MAX_TOKENS` of them."""

    def __init__(self, data: bytes, *, prefix: str, marks: bool) -> None:
        # A heavy library, which the command line must not pay for when it only lists encoders.
        from tokenizers import Tokenizer

        self._tokenizer = Tokenizer.from_str(data.decode())
        self._tokenizer.no_padding()
        self._tokenizer.enable_truncation(MAX_TOKENS)
        self._prefix = prefix
        self._marks = marks
        # What a prefix alone becomes, with and without the blank after it.
        self._nothing = (self._numbers(""), self._numbers(" "))

    def numbers(self, text: str) -> list[int]:
        """Return the numbers of a text's tokens; none if there is nothing but marks."""
        # A lone surrogate cannot be encoded as UTF-8, which the tokenizer works on.
        sound = text[:_MAX_CHARS].encode("utf-8", "replace").decode()
        numbers = self._numbers(sound) if sound and not sound.isspace() else []
        return [] if numbers in self._nothing else numbers

    def _numbers(self, text: str) -> list[int]:
        encoded = self._tokenizer.encode(self._prefix + text, add_special_tokens=self._marks)
        numbers: list[int] = encoded.ids
        return numbers


@dataclass
class _Loading:
    """Reads an encoder's files once, when they are first needed."""

    name: str
    space: str
    dim: int
    folder: Path
    manifest: Manifest

    def __post_init__(self) -> None:
        self._lock = threading.Lock()
        self._loaded: Any = None

    def _files(self) -> Any:
        with self._lock:
            if self._loaded is None:
                self._loaded = self._load()
            return self._loaded

    def _load(self) -> Any:
        raise NotImplementedError

    def _read(self, name: str) -> bytes:
        again = f"install it again: `lodestream encoder install {self.manifest.name}`"
        try:
            data = (self.folder / name).read_bytes()
        except OSError as error:
            raise Unavailable(f"the encoder {self.manifest.name} is incomplete; {again}") from error
        if hashlib.sha256(data).hexdigest() != self.manifest.files.get(name):
            raise Unavailable(f"the encoder {self.manifest.name} is damaged; {again}")
        return data


@dataclass
class ModelEncoder(_Loading):
    """Runs a transformer, one text at a time on each of `threads` threads."""

    threads: int = 1

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Return the vectors of texts; see `Encoder.encode`."""
        vectors = np.zeros((len(texts), self.dim), np.float32)
        if not texts:
            return vectors
        tokenizer, session = self._files()

        def one(at: int) -> None:
            numbers = tokenizer.numbers(texts[at])
            if numbers:
                vectors[at] = session.run(None, {"tokens": np.array([numbers], np.int64)})[0][0]

        if self.threads > 1 and len(texts) > 1:
            # The session lets go of the interpreter while it computes.
            with ThreadPoolExecutor(min(self.threads, len(texts))) as pool:
                list(pool.map(one, range(len(texts))))
        else:
            for at in range(len(texts)):
                one(at)
        return vectors

    def _load(self) -> Any:
        tokenizer = _Tokenizer(self._read(TOKENIZER), prefix=self.manifest.prefix, marks=True)
        return tokenizer, open_session(self._read(MODEL))


@dataclass
class StaticEncoder(_Loading):
    """Adds up the vectors of a text's tokens; much faster than a model, and less exact."""

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Return the vectors of texts; see `Encoder.encode`."""
        # A heavy library that only this kind of encoder needs.
        from scipy.sparse import csr_array

        if not texts:
            return np.zeros((0, self.dim), np.float32)
        tokenizer, table = self._files()
        numbers = [tokenizer.numbers(text) for text in texts]
        ends = np.cumsum([0, *(len(one) for one in numbers)])
        flat = np.fromiter((at for one in numbers for at in one), np.int64, int(ends[-1]))
        # A row's sum is made in the order of its own tokens, whatever the other rows are.
        counts = csr_array(
            (np.ones(len(flat), np.float32), flat, ends), shape=(len(texts), len(table))
        )
        sums: NDArray[np.float32] = np.asarray(counts @ table, np.float32)
        lengths = np.sqrt(np.einsum("ij,ij->i", sums, sums, dtype=np.float64))
        lengths[lengths == 0] = 1
        unit: NDArray[np.float32] = (sums / lengths[:, None]).astype(np.float32)
        return unit

    def _load(self) -> Any:
        # Deferred for the same reason as the tokenizer.
        from safetensors.numpy import load

        table = load(self._read(TABLE))["vectors"].astype(np.float32)
        return _Tokenizer(self._read(TOKENIZER), prefix="", marks=False), table


def open_session(model: bytes, *, threads: int = 1) -> Any:
    """Return an onnxruntime session for a serialised model."""
    # A heavy library, which the command line must not pay for when it only lists encoders.
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    # The graph is as it should be; joining a sum and a layer norm would make it slower.
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
