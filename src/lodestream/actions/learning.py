"""Learning, step by step: train what is stale, then bring vectors and predictions up to date.

Nothing tells a learner what to do: it looks at what there is (`store.learning`) and does what is
missing, so that whatever was interrupted is taken up again. A dataset is claimed for a while, so
that no two processes train it at once. Everything is computed outside of transactions; a version
appears in one, complete.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from lodestream.actions.derive import Deriver, Stopped
from lodestream.actions.predict import Predictor
from lodestream.actions.training import Material, gather, training_set, version_of
from lodestream.actions.validation import Validator
from lodestream.domain.errors import Unavailable
from lodestream.domain.models import Model
from lodestream.domain.times import now_us
from lodestream.store import derived, learning, models
from lodestream.store.db import Database, Writer
from lodestream.store.learning import Learning

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from lodestream.ml.head import Head, TrainingSet

log = logging.getLogger("lodestream.learning")

KEPT_VERSIONS: Final = 3
"""Of the versions that are not pinned, this many of the newest are kept."""

LEASE_S: Final = 30.0
SLICE_S: Final = 2.0
NOTE_EVERY_S: Final = 1.0


@dataclass(frozen=True)
class Pace:
    """When a stale dataset is trained.

    It is trained when nothing changed for `quiet_s` (or a quarter of the time that its last
    training took, if that is longer), or has been stale for `most_s`, whichever comes first.
    """

    quiet_s: float = 1.0
    most_s: float = 60.0
    first_pause_s: float = 5.0
    longest_pause_s: float = 3600.0


class Superseded(Exception):
    """Newer annotations make the training under way pointless."""


class Lost(Exception):
    """The claim on the dataset ran out and another process has it."""


class Learner:
    """Does what is to be learned, for every dataset of the database; one thread uses it."""

    def __init__(
        self,
        db: Database,
        predictor: Predictor,
        *,
        name: str,
        pace: Pace = Pace(),
        go_on: Callable[[], None] = lambda: None,
    ) -> None:
        """`go_on` is called between steps and may raise Stopped."""
        self._db = db
        self._predictor = predictor
        self._deriver = Deriver(db, predictor, go_on)
        self._validator = Validator(db, predictor, self._deriver)
        self._name = name
        self._pace = pace
        self._go_on = go_on

    def run_once(self) -> bool:
        """Do one round of what is to be done; tell whether there was anything."""
        with self._db.read() as tx:
            missing = learning.any_missing(tx)
        if missing:
            with self._db.write(catalogue=False) as tx:
                learning.start_missing(tx)
        with self._db.read() as tx:
            rows = learning.list_all(tx)
            idle = not rows and not derived.derives_anything(tx)
        if idle:
            return False
        names = [row.dataset_id for row in rows]
        busy = self._deriver.settle_changes(names)
        for row in rows:
            self._go_on()
            if now_us() >= row.retry_us:
                busy |= self._attend(row)
        return self._deriver.drop_unused(names) or busy

    def _attend(self, row: Learning) -> bool:
        if self._should_train(row):
            return self._under_claim(row, self._train)
        if self._to_validate(row) is not None and self._under_claim(row, self._validate):
            return True
        if self._deriver.is_behind(row.dataset_id):
            return self._under_claim(row, self._catch_up)
        return False

    def _under_claim(self, row: Learning, work: Callable[[Learning], bool]) -> bool:
        with self._db.write(catalogue=False) as tx:
            if not learning.claim(tx, row.dataset_id, by=self._name, lease_s=LEASE_S):
                return False
        try:
            return work(row)
        except (Superseded, Lost):
            return True
        except (Stopped, Unavailable):
            raise
        except Exception as error:
            log.exception("learning failed for dataset %s", row.dataset_id)
            pause_s = min(self._pace.first_pause_s * 2.0**row.failures, self._pace.longest_pause_s)
            with self._db.write(catalogue=False) as tx:
                learning.note_failure(
                    tx,
                    row.dataset_id,
                    by=self._name,
                    error=f"{type(error).__name__}: {error}",
                    retry_us=now_us() + int(pause_s * 1e6),
                )
            return False
        finally:
            with self._db.write(catalogue=False) as tx:
                learning.release(tx, row.dataset_id, by=self._name)

    # Training

    def _should_train(self, row: Learning) -> bool:
        with self._db.read() as tx:
            family = learning.model_family(tx, row.dataset_id)
            newest = models.find_newest(tx, row.dataset_id)
        if family is None:
            return False
        if not row.is_stale:
            return newest is not None and self._has_better_encoder(family, newest)
        if newest is None:
            quiet_s = self._pace.quiet_s
        else:
            quiet_s = max(self._pace.quiet_s, newest.duration_s / 4)
        now = now_us()
        quiet = now - row.changed_us >= quiet_s * 1e6
        return quiet or now - row.stale_us >= self._pace.most_s * 1e6

    def _has_better_encoder(self, family: str, newest: Model) -> bool:
        encoder = self._predictor.encoder_for(family)
        return encoder is not None and encoder.space != newest.space

    def _train(self, row: Learning) -> bool:
        started = time.monotonic()
        with self._db.read() as tx:
            material = gather(tx, row.dataset_id)
        if material is None:
            return False
        encoder = self._predictor.encoder_for(material.family)
        space = None if encoder is None else encoder.space
        with self._stage(row, "training", material) as note:
            vectors = self._vectors(space, material, note)
            # With vectors to be made, they are counted as the first half.
            begun = 0.0 if vectors is None else 0.5
            head = self._fit(
                training_set(material, encoder, vectors),
                lambda part: note(begun + (1 - begun) * part),
            )
        values, body, left_out = version_of(
            material, head, space, duration_s=time.monotonic() - started
        )
        # Streams attach pinned versions only, so no cache depends on a new one.
        with self._db.write(catalogue=False) as tx:
            version = learning.publish(
                tx, row.dataset_id, by=self._name, revision=material.revision
            )
            if version is None:
                raise Lost
            key = models.insert(tx, values, version=version, head=body)
            models.save_file(tx, key, "left_out", left_out)
            _delete_old_versions(tx, row.dataset_id)
        log.info(
            "dataset %s: version %d from %d reviewed comments in %.1f s",
            row.dataset_id,
            version,
            len(material.positions),
            values.duration_s,
        )
        return True

    def _vectors(
        self, space: str | None, material: Material, note: Callable[[float], None]
    ) -> NDArray[np.float32] | None:
        """Return the vectors of the reviewed comments, shape (n, dim); None without encoder."""
        if space is None:
            return None
        from lodestream.ml.vectors import unpack  # here, as all of `ml`: see `actions.predict`

        found = self._deriver.vectors(space, material.positions, lambda part: note(part / 2))
        dim = self._predictor.encoder_in(space).dim
        gone = bytes(dim + 4)
        return unpack([found.get(pos, gone) for pos in material.positions], dim)

    def _fit(self, data: TrainingSet, note: Callable[[float], None]) -> Head:
        from lodestream.ml.head import train

        return train(data, progress=note)

    @contextmanager
    def _stage(
        self, row: Learning, stage: str, material: Material | None = None
    ) -> Iterator[Callable[[float], None]]:
        """Yield a function to be told the progress, which keeps the claim and may stop the work."""
        started_us = now_us()
        last = 0.0

        def note(progress: float) -> None:
            nonlocal last
            self._go_on()
            if time.monotonic() - last < NOTE_EVERY_S:
                return
            last = time.monotonic()
            with self._db.write(catalogue=False) as tx:
                learning.claim(tx, row.dataset_id, by=self._name, lease_s=LEASE_S)
                kept = learning.note_stage(
                    tx,
                    row.dataset_id,
                    by=self._name,
                    stage=stage,
                    progress=progress,
                    started_us=started_us,
                )
                now = learning.find(tx, row.dataset_id)
            if not kept or now is None:
                raise Lost
            if material is not None and self._is_pointless(now, material, progress):
                raise Superseded

        note(0.0)
        yield note

    def _is_pointless(self, now: Learning, material: Material, progress: float) -> bool:
        """Tell whether to begin anew: something changed and less than half of the way is done."""
        if now.revision == material.revision or progress >= 0.5:
            return False
        return now_us() - now.stale_us < self._pace.most_s * 1e6

    # Validation

    def _to_validate(self, row: Learning) -> Model | None:
        """Return the newest version, if it was not measured yet and nothing changed since."""
        with self._db.read() as tx:
            newest = models.find_newest(tx, row.dataset_id)
        if newest is None or newest.validated or newest.input_revision != row.revision:
            return None
        return newest

    def _validate(self, row: Learning) -> bool:
        model = self._to_validate(row)
        if model is None:
            return False
        with self._stage(row, "validating") as note:
            found = self._validator.validate(model, note)
        if found is None:
            return False
        # Streams show which automatic thresholds a label reaches: their plans change.
        with self._db.write() as tx:
            if models.find(tx, row.dataset_id, model.version) is not None:
                models.save_validation(tx, model.key, found)
        return True

    def _catch_up(self, row: Learning) -> bool:
        with self._stage(row, "predicting"):
            self._deriver.catch_up(row.dataset_id, for_s=SLICE_S)
        return True


def _delete_old_versions(tx: Writer, dataset_id: str) -> None:
    """Delete versions that nothing refers to, but for the newest few."""
    tagged = {tag.version for tag in models.list_tags(tx, dataset_id)}
    loose = [
        one
        for one in models.list_models(tx, dataset_id)
        if not one.pinned and not one.used and one.version not in tagged
    ]
    for model in loose[KEPT_VERSIONS:]:
        models.delete_files(tx, model.key)
