"""What a stream delivers: the comments of a batch, with predictions beside them.

What is kept ready is joined as it is. What is missing, because a comment has just come, is computed
on the spot, up to a bound; a batch ends before a comment that would go beyond it. So no comment of
a stream with a model is ever delivered without its predictions.

Fetches over HTTP and sinks read through here, so both deliver the same bytes.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from msgspec import Struct

from lodestream.actions.predict import Predictor
from lodestream.domain.comments import SEQUENCE_BYTES, comment_of, source_id_of, without_properties
from lodestream.store.attached import Attached
from lodestream.store.catalogue import StreamPlan
from lodestream.store.db import Database
from lodestream.store.feed import Batch

MOST_ON_THE_SPOT: Final = 128
"""Most comments of one call whose predictions are computed in it: about half a second's work."""


class Labelled(Struct):
    """A batch with what follows the front of each comment (`domain.predictions`), in order."""

    batch: Batch
    suffixes: list[bytes]


def ready_suffixes(plan: StreamPlan, attached: Attached, batch: Batch) -> list[bytes] | None:
    """Return what follows each front of a batch, or None if some have yet to be computed."""
    found = _kept(plan, attached, batch)
    try:
        return [found[pos] for pos, _ in batch.rows]
    except KeyError:
        return None


def labelled(
    db: Database,
    predictor: Predictor,
    plan: StreamPlan,
    attached: Attached,
    batch: Batch,
    *,
    position: int,
    max_filtered: int | None,
) -> Labelled:
    """Return a batch with its labels; shorter than it was if too many had to be computed.

    Takes as long as the model needs, so it is no work for the event loop.
    """
    found = _kept(plan, attached, batch)
    missing = [pos for pos, _ in batch.rows if pos not in found]
    if len(missing) > MOST_ON_THE_SPOT:
        size = [pos for pos, _ in batch.rows].index(missing[MOST_ON_THE_SPOT])
        batch = plan.feed.read(position, size, max_filtered=max_filtered)
        missing = [pos for pos, _ in batch.rows if pos not in found]
    if missing:
        fronts = dict(batch.rows)
        found.update(_computed(db, predictor, attached, {pos: fronts[pos] for pos in missing}))
    return Labelled(batch, [found[pos] for pos, _ in batch.rows])


def without_hidden(plan: StreamPlan, front: bytes) -> bytes:
    """Return a front without the user properties that need an extra permission."""
    hidden = plan.hidden.get(source_id_of(front))
    if hidden is None:
        return front
    shown = without_properties(comment_of(front), hidden)
    return b'{"comment":' + shown + front[-SEQUENCE_BYTES:]


def _kept(plan: StreamPlan, attached: Attached, batch: Batch) -> dict[int, bytes]:
    dense = plan.feed.condition is None
    return attached.read([pos for pos, _ in batch.rows], dense=dense)


def _computed(
    db: Database, predictor: Predictor, attached: Attached, fronts: Mapping[int, bytes]
) -> dict[int, bytes]:
    with db.read() as tx:
        scores = predictor.scores_at(tx, attached.model, fronts)
    suffixes = predictor.render(attached.model, attached.shown, list(scores.values()))
    return dict(zip(scores, suffixes, strict=True))
