"""Predictions: a version's model with the encoder that it was trained on."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

from lodestream.domain.comments import comment_of
from lodestream.domain.errors import Unprocessable
from lodestream.domain.models import Model
from lodestream.domain.predictions import suffix_of, thresholds_of
from lodestream.store import derived, models
from lodestream.store.db import Database, Reader

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from lodestream.ml.encoders import Encoder
    from lodestream.ml.head import Head

# The modules of `ml` load numeric libraries, which a server that predicts nothing never needs: so
# they are imported where they are used.

MOST_HEADS: Final = 4
"""How many models a process keeps ready."""


class Predictor:
    """Keeps models and encoders ready; any thread may use it."""

    def __init__(self, db: Database, encoders: Path) -> None:
        self._db = db
        self._folder = encoders
        self._heads: OrderedDict[int, Head] = OrderedDict()
        self._encoders: dict[str, Encoder] = {}
        self._lock = threading.Lock()

    def encoder_for(self, family: str) -> Encoder | None:
        """Return the best installed encoder for a model family; None: words alone."""
        from lodestream.ml.encoders import find_encoder

        found = find_encoder(self._folder, family)
        if found is None:
            return None
        with self._lock:
            return self._encoders.setdefault(found.space, found)

    def encoder_in(self, space: str) -> Encoder:
        """Return the encoder of a vector space. Raises Unprocessable if it is not installed."""
        from lodestream.ml.encoders import open_encoder, read_manifest

        with self._lock:
            if space in self._encoders:
                return self._encoders[space]
            for folder in sorted(self._folder.glob("*/")):
                manifest = read_manifest(folder)
                if manifest is None:
                    continue
                static = manifest.static is not None and manifest.static.space == space
                if static or manifest.space == space:
                    found = open_encoder(folder, manifest, static=static)
                    return self._encoders.setdefault(space, found)
        raise Unprocessable(f"the encoder {space} of this model is not installed here")

    def head(self, model: Model) -> Head:
        """Return a version's trained head."""
        from lodestream.ml.artifact import load
        from lodestream.ml.head import Head

        with self._lock:
            if model.key in self._heads:
                self._heads.move_to_end(model.key)
                return self._heads[model.key]
        with self._db.read() as tx:
            body = models.find_file(tx, model.key, "head")
        if body is None:
            raise Unprocessable(f"model version {model.version} is gone")
        head = Head.from_arrays(*load(body))
        with self._lock:
            self._heads[model.key] = head
            while len(self._heads) > MOST_HEADS:
                self._heads.popitem(last=False)
        return head

    def encode(self, space: str, texts: Sequence[str]) -> list[bytes]:
        """Return the packed vector of each text (`ml.vectors`)."""
        from lodestream.ml.vectors import pack

        return pack(self.encoder_in(space).encode(texts)) if texts else []

    def predict(
        self, model: Model, texts: Sequence[str], *, known: Mapping[int, bytes] | None = None
    ) -> list[bytes]:
        """Return the packed scores of each text (`ml.scores`).

        `known` maps places in `texts` to packed vectors that are at hand.
        """
        if not texts:
            return []
        vectors = None if model.space is None else self._fill(model.space, texts, known or {})
        return self.score(model, texts, vectors)

    def score(
        self, model: Model, texts: Sequence[str], vectors: NDArray[np.float32] | None
    ) -> list[bytes]:
        """Return the packed scores of each text, from its vectors, shape (n_texts, dim)."""
        from lodestream.ml.scores import pack

        scores = self.head(model).predict(texts, vectors)
        return pack(scores.probability, scores.sentiment)

    def _fill(
        self, space: str, texts: Sequence[str], known: Mapping[int, bytes]
    ) -> NDArray[np.float32]:
        from lodestream.ml.vectors import unpack

        missing = [place for place in range(len(texts)) if place not in known]
        fresh = self.encode(space, [texts[place] for place in missing])
        packed = dict(known) | dict(zip(missing, fresh, strict=True))
        return unpack([packed[place] for place in range(len(texts))], self.encoder_in(space).dim)

    def render(self, model: Model, thresholds: str, scores: Sequence[bytes]) -> list[bytes]:
        """Return packed scores as streams with these thresholds send them.

        `thresholds` is `domain.predictions.thresholds_key` of the stream.
        """
        from lodestream.ml.scores import Renderer

        least = thresholds_of(thresholds)
        renderer = Renderer(model.labels, least, has_sentiment=model.has_sentiment)
        return [suffix_of(labels) for labels in renderer.render(scores)]

    def scores_at(self, tx: Reader, model: Model, fronts: Mapping[int, bytes]) -> dict[int, bytes]:
        """Return the packed scores of stored comments by position: what is kept, or computed.

        `fronts` maps positions to the stored comments, read in the same transaction.
        """
        from lodestream.ml.text import model_input

        positions = list(fronts)
        stale = derived.changed_among(tx, positions)
        found = derived.PREDICTIONS.read(tx, model.key, positions)
        missing = [pos for pos in positions if pos not in found or pos in stale]
        known: dict[int, bytes] = {}
        key = None if model.space is None else derived.find_space(tx, model.space)
        if key is not None:
            stored = derived.VECTORS.read(tx, key, [pos for pos in missing if pos not in stale])
            known = {place: stored[pos] for place, pos in enumerate(missing) if pos in stored}
        texts = [model_input(comment_of(fronts[pos])) for pos in missing]
        found.update(zip(missing, self.predict(model, texts, known=known), strict=True))
        return found
