"""Vectors, predictions and rendered predictions of all comments, kept up to date.

For each version in use, every source is walked in order of position; how far the walk came is
stored with what it made. A comment that changes behind it is noted (`changed_comment`) and made
anew. Each step is one short transaction, and repeating one does no harm.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final

from lodestream.actions.predict import Predictor
from lodestream.domain.comments import comment_of, source_id_of
from lodestream.domain.models import Model
from lodestream.domain.predictions import thresholds_key
from lodestream.store import comments, derived, learning, models
from lodestream.store.db import Database, Reader, Writer
from lodestream.store.derived import PREDICTIONS, RENDERED, VECTORS, Shelf

STEP_COMMENTS: Final = 512
STEP_VECTORS: Final = 256
STEP_RENDERINGS: Final = 4096
DROPPED_AT_ONCE: Final = 5000


class Stopped(Exception):
    """Raised by `go_on` to end the work: what is left is done another time."""


class Deriver:
    """Makes what is missing; one thread uses it. `go_on` may raise to stop between two steps."""

    def __init__(
        self, db: Database, predictor: Predictor, go_on: Callable[[], None] = lambda: None
    ) -> None:
        self._db = db
        self._predictor = predictor
        self._go_on = go_on

    def is_behind(self, dataset_id: str) -> bool:
        """Tell whether a comment of the dataset lacks a prediction that is to be kept."""
        with self._db.read() as tx:
            last = _last_positions(tx, dataset_id)
            for model in models.active(tx, dataset_id):
                if _behind(PREDICTIONS, tx, model.key, last):
                    return True
                keys = [models.find_rendering(tx, model.key, one) for one in _shown(tx, model)]
                if any(key is None or _behind(RENDERED, tx, key, last) for key in keys):
                    return True
        return False

    def catch_up(self, dataset_id: str, *, for_s: float) -> None:
        """Make predictions that are missing, for about `for_s` seconds; streams come first."""
        until = time.monotonic() + for_s
        with self._db.read() as tx:
            active = models.active(tx, dataset_id)
            last = _last_positions(tx, dataset_id)
        for model in active:
            for source in sorted(last):
                while time.monotonic() < until:
                    self._go_on()
                    if not self._predict_step(model, source):
                        break
            for thresholds in self._shown(model):
                self._render(model, thresholds, sorted(last), until)

    def settle_changes(self, dataset_ids: Iterable[str]) -> bool:
        """Make anew what belongs to comments that changed; tell whether there were any."""
        with self._db.read() as tx:
            changes = derived.changed(tx, limit=STEP_COMMENTS)
            if not changes:
                return False
            fronts = comments.read_fronts(tx, [pos for pos, _ in changes])
            spaces = derived.list_spaces(tx)
            active = [one for name in dataset_ids for one in models.active(tx, name)]
        positions = [pos for pos, _ in changes]
        with self._db.write(catalogue=False) as tx:
            _forget(tx, spaces, active, positions)
        for model in active:
            self._go_on()
            self._predict_again(model, fronts)
        with self._db.write(catalogue=False) as tx:
            derived.settle(tx, changes)
        return True

    def drop_unused(self, dataset_ids: Iterable[str]) -> bool:
        """Remove a step of what belongs to versions not in use; tell whether there was any."""
        with self._db.read() as tx:
            active = [one.key for name in dataset_ids for one in models.active(tx, name)]
            old = [key for key in PREDICTIONS.owners(tx) if key not in active]
            wanted = {
                key
                for name in dataset_ids
                for model in models.active(tx, name)
                for thresholds in _shown(tx, model)
                if (key := models.find_rendering(tx, model.key, thresholds)) is not None
            }
            unshown = [key for key, _, _ in models.list_renderings(tx) if key not in wanted]
        for key in old:
            self._drop(PREDICTIONS, key)
        for key in unshown:
            if self._drop(RENDERED, key):
                with self._db.write(catalogue=False) as tx:
                    models.delete_rendering(tx, key)
        return bool(old or unshown)

    def _drop(self, shelf: Shelf, key: int) -> bool:
        """Remove a step of an owner's rows; tell whether none is left."""
        self._go_on()
        with self._db.write(catalogue=False) as tx:
            return shelf.drop(tx, key, limit=DROPPED_AT_ONCE) < DROPPED_AT_ONCE

    def vectors(
        self,
        space: str,
        positions: Sequence[int],
        note: Callable[[float], None] = lambda _: None,
    ) -> dict[int, bytes]:
        """Return the packed vectors of stored comments by position; make and keep those missing.

        `note` is told the progress, 0 to 1, and may raise. A comment that is gone has none.
        """
        with self._db.read() as tx:
            found = self._stored_vectors(tx, space, positions)
        missing = [pos for pos in positions if pos not in found]
        for start in range(0, len(missing), STEP_VECTORS):
            note(start / len(missing))
            with self._db.read() as tx:
                fronts = comments.read_fronts(tx, missing[start : start + STEP_VECTORS])
            fresh = self._encode(space, fronts)
            found.update(fresh)
            with self._db.write(catalogue=False) as tx:
                if comments.read_fronts(tx, list(fronts)) == fronts:
                    VECTORS.write(tx, self._space(tx, space), list(fresh.items()))
        return found

    def _predict_step(self, model: Model, source: int) -> bool:
        """Predict the next comments of a source; tell whether there were any."""
        with self._db.read() as tx:
            after = PREDICTIONS.reached(tx, model.key).get(source, -1)
            fronts = dict(derived.fronts_after(tx, source, after=after, limit=STEP_COMMENTS))
            stored = self._stored_vectors(tx, model.space, list(fronts))
        if not fronts:
            return False
        scores, fresh = self._scores(model, fronts, stored)
        with self._db.write(catalogue=False) as tx:
            # A comment that changed meanwhile may have been settled already: then do it again.
            if comments.read_fronts(tx, list(fronts)) == fronts:
                if model.space is not None:
                    VECTORS.write(tx, self._space(tx, model.space), list(fresh.items()))
                PREDICTIONS.write(tx, model.key, list(scores.items()))
                PREDICTIONS.reach(tx, model.key, source, max(fronts))
        return True

    def _predict_again(self, model: Model, fronts: Mapping[int, bytes]) -> None:
        """Predict changed comments that belong to the model's dataset and were passed already."""
        with self._db.read() as tx:
            reached = PREDICTIONS.reached(tx, model.key)
            keys = {name: key for key, name in learning.sources_of(tx, model.dataset_id)}
            mine = {
                pos: front
                for pos, front in fronts.items()
                if reached.get(keys.get(source_id_of(front), -1), -1) >= pos
            }
        if not mine:
            return
        scores, fresh = self._scores(model, mine, {})
        with self._db.write(catalogue=False) as tx:
            if model.space is not None:
                VECTORS.write(tx, self._space(tx, model.space), list(fresh.items()))
            PREDICTIONS.write(tx, model.key, list(scores.items()))
            for thresholds in _shown(tx, model):
                key = models.take_rendering(tx, model.key, thresholds)
                bodies = self._predictor.render(model, thresholds, list(scores.values()))
                RENDERED.write(tx, key, list(zip(scores, bodies, strict=True)))

    def _scores(
        self, model: Model, fronts: Mapping[int, bytes], stored: Mapping[int, bytes]
    ) -> tuple[dict[int, bytes], dict[int, bytes]]:
        """Return packed scores by position, and the vectors that had to be made for them."""
        known = dict(stored)
        fresh: dict[int, bytes] = {}
        if model.space is not None:
            missing = {pos: front for pos, front in fronts.items() if pos not in known}
            fresh = self._encode(model.space, missing)
            known.update(fresh)
        places = {place: known[pos] for place, pos in enumerate(fronts) if pos in known}
        scores = self._predictor.predict(model, _texts(fronts), known=places)
        return dict(zip(fronts, scores, strict=True)), fresh

    def _encode(self, space: str, fronts: Mapping[int, bytes]) -> dict[int, bytes]:
        return dict(zip(fronts, self._predictor.encode(space, _texts(fronts)), strict=True))

    def _stored_vectors(
        self, tx: Reader, space: str | None, positions: Sequence[int]
    ) -> dict[int, bytes]:
        key = None if space is None else derived.find_space(tx, space)
        if key is None:
            return {}
        found = VECTORS.read(tx, key, positions)
        for pos in derived.changed_among(tx, list(found)):
            del found[pos]
        return found

    def _space(self, tx: Writer, space: str) -> int:
        return derived.take_space(tx, space, self._predictor.encoder_in(space).dim)

    def _shown(self, model: Model) -> list[str]:
        with self._db.read() as tx:
            return _shown(tx, model)

    def _render(self, model: Model, thresholds: str, sources: Sequence[int], until: float) -> None:
        with self._db.write(catalogue=False) as tx:
            key = models.take_rendering(tx, model.key, thresholds)
        for source in sources:
            while time.monotonic() < until:
                self._go_on()
                with self._db.read() as tx:
                    after = RENDERED.reached(tx, key).get(source, -1)
                    done = PREDICTIONS.reached(tx, model.key).get(source, -1)
                    rows = derived.scores_between(
                        tx, model.key, source, after=after, until=done, limit=STEP_RENDERINGS
                    )
                upto = rows[-1][0] if len(rows) == STEP_RENDERINGS else done
                if upto <= after:
                    break
                packed = [scores for _, scores in rows]
                bodies = self._predictor.render(model, thresholds, packed)
                with self._db.write(catalogue=False) as tx:
                    positions = [pos for pos, _ in rows]
                    RENDERED.write(tx, key, list(zip(positions, bodies, strict=True)))
                    RENDERED.reach(tx, key, source, upto)


def _texts(fronts: Mapping[int, bytes]) -> list[str]:
    from lodestream.ml.text import model_input  # here, as all of `ml`: see `actions.predict`

    return [model_input(comment_of(front)) for front in fronts.values()]


def _last_positions(tx: Reader, dataset_id: str) -> dict[int, int]:
    return derived.last_positions(tx, [key for key, _ in learning.sources_of(tx, dataset_id)])


def _behind(shelf: Shelf, tx: Reader, owner: int, last: Mapping[int, int]) -> bool:
    reached = shelf.reached(tx, owner)
    return any(reached.get(source, -1) < pos for source, pos in last.items())


def _shown(tx: Reader, model: Model) -> list[str]:
    """Return the thresholds of the streams that attach this version, each once."""
    found = models.stream_models(tx, model.dataset_id)
    return sorted({thresholds_key(one) for _, one in found if one.version == model.version})


def _forget(
    tx: Writer,
    spaces: Sequence[tuple[int, str]],
    active: Sequence[Model],
    positions: Sequence[int],
) -> None:
    for key, _ in spaces:
        VECTORS.forget(tx, key, positions)
    for model in active:
        PREDICTIONS.forget(tx, model.key, positions)
        for thresholds in _shown(tx, model):
            found = models.find_rendering(tx, model.key, thresholds)
            if found is not None:
                RENDERED.forget(tx, found, positions)
