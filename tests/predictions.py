"""Models whose predictions a test writes down itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import sqlalchemy as sa

from lodestream.domain.models import Definitions, NewModel
from lodestream.ml.artifact import dump
from lodestream.ml.scores import pack
from lodestream.store import derived, models
from lodestream.store.db import Database
from lodestream.store.tables import comment

Row = Mapping[str, float] | Mapping[str, tuple[float, float]] | Mapping[str, Any]


def positions_of(db: Database) -> dict[str, int]:
    """Return the positions of all comments by id; ids must be unique."""
    with db.read() as tx:
        return {row.id: row.pos for row in tx.execute(sa.select(comment.c.id, comment.c.pos))}


def insert_model(
    db: Database,
    dataset_id: str,
    labels: Sequence[str],
    scores: Mapping[str, Row],
    *,
    version: int = 1,
    has_sentiment: bool = False,
    left_out: Mapping[str, Mapping[str, float]] | None = None,
) -> int:
    """Store a model with what it predicts for comments by id; return its key.

    A score is a probability, or with sentiment a pair of probability and sentiment; 0 where none
    is given. Comments that are left out have no prediction, and none can be computed: the encoder
    of the model is not there. `left_out` are the probabilities
    that the model gives reviewed comments which it did not learn from.
    """
    new = NewModel(
        dataset_id=dataset_id,
        trained_us=1,
        duration_s=0.0,
        input_us=1,
        input_revision=1,
        fingerprint="f",
        space="not installed",
        has_sentiment=has_sentiment,
        labels=tuple(labels),
        definitions=Definitions((), ()),
        reviewed_counts=dict.fromkeys(labels, 1),
    )
    places = positions_of(db)
    probability = np.zeros((len(scores), len(labels)), np.float32)
    sentiment = np.zeros_like(probability)
    for row, found in enumerate(scores.values()):
        for column, name in enumerate(labels):
            score = found.get(name, 0.0)
            pair = score if isinstance(score, tuple) else (score, 0.0)
            probability[row, column], sentiment[row, column] = pair
    packed = pack(probability, sentiment if has_sentiment else None)
    with db.write() as tx:
        key = models.insert(tx, new, version=version, head=b"")
        rows = [(places[name], one) for name, one in zip(scores, packed, strict=True)]
        derived.PREDICTIONS.write(tx, key, rows)
        if left_out is not None:
            table = [[one.get(name, 0.0) for name in labels] for one in left_out.values()]
            arrays: dict[str, Any] = {
                "positions": np.array([places[name] for name in left_out], np.int64),
                "left_out": np.array(table, np.float16).reshape(len(left_out), len(labels)),
            }
            models.save_file(tx, key, "left_out", dump({}, arrays))
    return key
