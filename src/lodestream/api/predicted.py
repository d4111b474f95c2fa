"""What the newest model says of comments, as labellings and queries show it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

import msgspec
from msgspec import Raw

from lodestream.api.annotated import Predicted
from lodestream.api.calls import Call
from lodestream.domain.errors import Unprocessable
from lodestream.domain.labels import with_parents
from lodestream.domain.models import Model
from lodestream.store import comments, derived, models
from lodestream.store.db import Reader
from lodestream.store.query import label_names

LEAST_SHOWN: Final = 0.01
"""Labels that are less probable are not listed."""

_decode_labels = msgspec.json.Decoder(list[Raw]).decode


def newest_predictions(
    call: Call[Any],
    tx: Reader,
    dataset_id: str,
    positions: Sequence[int],
    *,
    fronts: Mapping[int, bytes] | None = None,
) -> dict[int, Predicted]:
    """Return what the newest model says of the comments at some positions; nothing without one.

    What is not kept yet is computed on the spot. Labels that the dataset no longer has are left
    out. `fronts` are the stored comments, if they were read already.
    """
    model = models.find_newest(tx, dataset_id)
    if model is None or not positions:
        return {}
    if fronts is None:
        fronts = comments.read_fronts(tx, positions)
    found = scores_of(call, tx, model, fronts)
    from lodestream.ml.scores import Renderer  # here, as all of `ml`: see `actions.predict`

    least = dict.fromkeys(with_parents(label_names(tx, dataset_id).values()), LEAST_SHOWN)
    renderer = Renderer(model.labels, least, has_sentiment=model.has_sentiment, joined_names=True)
    rendered = renderer.render(list(found.values()))
    return {
        pos: Predicted(model.version, _decode_labels(labels))
        for pos, labels in zip(found, rendered, strict=True)
    }


def newest_sentiments(tx: Reader, dataset_id: str, positions: Iterable[int]) -> dict[int, float]:
    """Return how positive comments are as a whole, from -1 to 1, by the newest model's scores.

    Only comments whose scores are kept, and of a model that knows sentiments.
    """
    model = models.find_newest(tx, dataset_id)
    if model is None or not model.has_sentiment:
        return {}
    from lodestream.ml.scores import total_sentiments

    found = derived.PREDICTIONS.read(tx, model.key, positions)
    return dict(zip(found, total_sentiments(list(found.values()), len(model.labels)), strict=True))


def scores_of(
    call: Call[Any], tx: Reader, model: Model, fronts: Mapping[int, bytes]
) -> dict[int, bytes]:
    """Return the packed scores of stored comments by position, computed where they are not kept.

    Where a model cannot compute any, because its encoder is not installed here, only kept ones.
    """
    try:
        return call.service.predictor.scores_at(tx, model, fronts)
    except Unprocessable:
        return derived.PREDICTIONS.read(tx, model.key, fronts)
