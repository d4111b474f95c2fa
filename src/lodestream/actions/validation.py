"""Measure a version: train another on four fifths of what was reviewed, and test it on the rest."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Final

import msgspec

from lodestream.actions.derive import Deriver
from lodestream.actions.predict import Predictor
from lodestream.actions.training import Material, gather, targets_of, training_set
from lodestream.domain.comments import comment_of, uid_of
from lodestream.domain.models import Model, Thresholds, TrainingAction, Validated
from lodestream.domain.times import format_us
from lodestream.store import comments, derived, learning, models
from lodestream.store.db import Database

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from lodestream.domain.validation import OptimalThresholds, ValidationResult
    from lodestream.ml.validation_data import Reviewed, Unreviewed

    Floats = NDArray[np.float32]

SAMPLE_COMMENTS: Final = 4000
"""Coverage and balance are measured on a random sample of this many comments."""

MODEL_KIND: Final = "default"


class Validator:
    """Measures versions; one thread uses it."""

    def __init__(self, db: Database, predictor: Predictor, deriver: Deriver) -> None:
        self._db = db
        self._predictor = predictor
        self._deriver = deriver

    def validate(self, model: Model, note: Callable[[float], None]) -> Validated | None:
        """Measure a version; None if annotations changed since it was trained.

        `note` is told the progress, 0 to 1, and may raise.
        """
        from lodestream.ml.split import split_comments
        from lodestream.ml.validate import validate
        from lodestream.ml.validation_data import Facts, ValidationData

        with self._db.read() as tx:
            material = gather(tx, model.dataset_id)
        if material is None or material.revision != model.input_revision:
            return None
        vectors = self._vectors(model, material.positions, lambda part: note(0.3 * part))
        split = split_comments(material.uids, material.texts)
        tested = self._test(model, material, vectors, split.train.tolist(), split.test.tolist())
        note(0.5)
        everything, unreviewed, size = self._sample(
            model, set(material.positions), lambda part: note(0.5 + 0.4 * part)
        )
        data = ValidationData(
            labels=model.labels,
            reviewed=self._reviewed(model, material, vectors),
            split=split,
            test_probability=tested,
            everything=everything,
            unreviewed=unreviewed,
            size=size,
            facts=Facts(
                dataset_id=model.dataset_id,
                version=model.version,
                fingerprint=model.fingerprint,
                model_kind=MODEL_KIND,
                training_time_s=model.duration_s,
                input_updated_at=format_us(model.input_us),
                trained_time=format_us(model.trained_us),
                has_sentiment=model.has_sentiment,
            ),
        )
        found = validate(data)
        note(1.0)
        return _stored(found)

    def _vectors(
        self, model: Model, positions: Sequence[int], note: Callable[[float], None]
    ) -> Floats | None:
        """Return the vectors of stored comments, shape (n, dim); None for a model of words."""
        if model.space is None:
            return None
        from lodestream.ml.vectors import unpack

        dim = self._predictor.encoder_in(model.space).dim
        found = self._deriver.vectors(model.space, positions, note)
        gone = bytes(dim + 4)
        return unpack([found.get(pos, gone) for pos in positions], dim)

    def _test(
        self,
        model: Model,
        material: Material,
        vectors: Floats | None,
        train: Sequence[int],
        test: Sequence[int],
    ) -> Floats:
        """Return the probabilities of the test rows, from a model that saw the others alone."""
        from lodestream.ml import head

        encoder = None if model.space is None else self._predictor.encoder_in(model.space)
        fitted = head.train(training_set(material, encoder, vectors, train))
        texts = [material.texts[row] for row in test]
        return fitted.predict(texts, None if vectors is None else vectors[test]).probability

    def _reviewed(self, model: Model, material: Material, vectors: Floats | None) -> Reviewed:
        import numpy as np

        from lodestream.ml.artifact import load
        from lodestream.ml.validation_data import Reviewed

        targets, known, complete = targets_of(material)
        with self._db.read() as tx:
            body = models.find_file(tx, model.key, "left_out")
        shape = targets.shape
        left_out = np.zeros(shape, np.float32)
        if body is not None:
            _, arrays = load(body)
            if arrays["left_out"].shape == shape:
                left_out = arrays["left_out"].astype(np.float32)
        return Reviewed(
            uids=material.uids,
            texts=material.texts,
            targets=targets,
            known=known,
            complete=complete,
            origin=[one.origin for one in material.reviews],
            left_out=left_out,
            vectors=vectors,
        )

    def _sample(
        self, model: Model, reviewed: set[int], note: Callable[[float], None]
    ) -> tuple[Floats, Unreviewed, int]:
        """Return scores of a random sample, what of it nobody reviewed, and how many there are."""
        import numpy as np

        from lodestream.ml.scores import unpack
        from lodestream.ml.text import model_input
        from lodestream.ml.validation_data import Unreviewed

        with self._db.read() as tx:
            keys = [key for key, _ in learning.sources_of(tx, model.dataset_id)]
            places = np.asarray(derived.positions_of(tx, keys), np.int64)
            # The same version is measured on the same comments.
            order = np.random.default_rng(model.version).permutation(len(places))
            chosen = np.sort(places[order[:SAMPLE_COMMENTS]]).tolist()
            fronts = comments.read_fronts(tx, chosen)
        chosen = [pos for pos in chosen if pos in fronts]
        vectors = self._vectors(model, chosen, note)
        texts = [model_input(comment_of(fronts[pos])) for pos in chosen]
        packed = self._predictor.score(model, texts, vectors)
        scores, _ = unpack(packed, len(model.labels), has_sentiment=model.has_sentiment)
        rows = [row for row, pos in enumerate(chosen) if pos not in reviewed]
        return (
            scores,
            Unreviewed(
                uids=[uid_of(fronts[chosen[row]]) for row in rows],
                texts=[texts[row] for row in rows],
                probability=scores[rows],
                size=max(len(rows), len(places) - len(reviewed)),
                vectors=None if vectors is None else vectors[rows],
            ),
            len(places),
        )


def _stored(found: ValidationResult) -> Validated:
    from lodestream.ml.scores import shown_probability

    def shown(one: OptimalThresholds) -> Thresholds:
        # In the steps of stored probabilities, so that one that is a threshold reaches it.
        return Thresholds(*map(shown_probability, msgspec.structs.astuple(one)))

    encode = msgspec.json.encode
    return Validated(
        validation=encode(found.summary),
        statistics=encode(found.statistics),
        details=encode(found.details),
        thresholds={name: shown(one) for name, one in found.thresholds.items() if one is not None},
        labels={name: encode(one) for name, one in found.labels.items()},
        actions=tuple(
            TrainingAction(one.action.id, rank, choice, encode(one.action), one.comment_uids)
            for rank, entry in enumerate(found.plan)
            for choice, one in enumerate(entry)
        ),
    )
