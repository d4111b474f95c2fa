"""A page of a dataset's comments in one of the orders (contract: training-validation, section 5).

An order that depends on scores reads those of every comment that passes the filters, and keeps one
number for each. Comments whose scores are not kept yet come last. A place in an order is a key and
a position, so a page is found again whatever came or went meanwhile.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import msgspec
from msgspec import UNSET, Struct

from lodestream.actions import scanning
from lodestream.actions.memo import Memo
from lodestream.actions.scanning import Scan
from lodestream.actions.searching import search
from lodestream.domain import orders
from lodestream.domain.datasets import Dataset
from lodestream.domain.errors import Unprocessable
from lodestream.domain.labels import is_below
from lodestream.domain.models import Model
from lodestream.store import derived, models, query, statistics
from lodestream.store.comments import read_fronts
from lodestream.store.db import Reader
from lodestream.store.statistics import Selection

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

CANDIDATES: Final = 200
"""Where an order avoids what is alike, it does so among this many of the best, and the next."""

MOST_KEPT: Final = 16_384
"""Of an order this many comments are kept for the pages to come."""

MOST_FOR_BIAS: Final = 2_000
"""Comments of either kind, reviewed and not, that the bias model looks at."""

_SHUFFLE: Final = 1  # seed of what is drawn for the bias model: any number, but always the same


class Place(Struct, frozen=True, array_like=True):
    """A place in an order: behind a comment, and `skip` comments of its candidates further."""

    after: tuple[int | float, int] | None = None
    skip: int = 0


@dataclass(frozen=True)
class Asked:
    """Whose comments in which order. `labels` are those of the request's label filters.

    `collapse` asks for one comment of each thread.
    """

    dataset: Dataset
    model: Model | None
    selection: Selection
    order: orders.Order
    collapse: bool = False
    labels: Sequence[str] = ()


@dataclass(frozen=True)
class Ordered:
    """A page: positions in order, how many comments there are in all, and where the next begins."""

    positions: list[int]
    total: int
    following: Place | None


@dataclass
class _Keyed:
    """A scan with the key of each comment; `alike` finds vectors if order avoids what is alike."""

    scan: Scan
    keys: NDArray[Any]
    alike: Callable[[Sequence[int]], NDArray[np.float32]] | None = None


_BY_TIME: Final = (orders.Recent, orders.LabelProperty)


@dataclass(frozen=True)
class Kept:
    """What follows a place in an order; `whole` tells that nothing comes after it."""

    after: tuple[int | float, int] | None
    rows: list[tuple[float, int]]
    whole: bool
    total: int

    def behind(self, after: Place, limit: int) -> list[tuple[float, int]] | None:
        """Return `limit` rows behind a place, fewer at the end; None if too few are here."""
        start = 0
        if after.after != self.after:
            if after.after is None:
                return None
            key, pos = after.after
            start = bisect_left(self.rows, (-key, -pos), key=lambda row: (-row[0], -row[1])) + 1
            if start > len(self.rows) or self.rows[start - 1] != (key, pos):
                return None
        rows = self.rows[start : start + limit]
        return rows if self.whole or len(rows) == limit else None


Rankings = Memo[Kept]


def read_page(
    tx: Reader,
    asked: Asked,
    *,
    after: Place,
    limit: int,
    total: int | None,
    rankings: Rankings,
    key: Hashable,
) -> Ordered:
    """Return the page behind a place; `total` is what an earlier page counted, None on the first.

    What comes soon after the page is kept in `rankings` under `key`, which tells whose comments
    are asked for in which order: so the next page costs no scan, unless anything changes.

    No label property is computed, so by these all comments are equal and the newest come first.

    Raises Unprocessable if the order names a label that the dataset does not have.
    """
    _check_labels(tx, asked)
    if isinstance(asked.order, _BY_TIME) and not asked.collapse:
        return _newest(tx, asked, after=after, limit=limit, total=total)
    stamp = query.content_stamp(tx, asked.dataset.id, asked.selection.keys)
    kept = rankings.find(key, stamp)
    rows = None if kept is None else kept.behind(after, limit + 1)
    if kept is None or rows is None:
        keyed = _keyed(tx, asked)
        if asked.collapse:
            _collapse(keyed)
        count = len(keyed.scan.positions)
        if keyed.alike is not None:
            return _spread_page(keyed, after, limit, count if total is None else total)
        kept = _ranked(keyed, after, limit, count)
        rankings.keep(key, stamp, kept)
        rows = kept.rows[: limit + 1]
    following = Place(rows[limit - 1]) if len(rows) > limit else None
    found = [pos for _, pos in rows[:limit]]
    return Ordered(found, kept.total if total is None else total, following)


def _ranked(keyed: _Keyed, after: Place, limit: int, total: int) -> Kept:
    from lodestream.ml.ranking import best

    size = max(limit + 1, MOST_KEPT)
    rows = best(keyed.keys, keyed.scan.positions, size, after.after)
    return Kept(after.after, rows, len(rows) < size, total)


def _check_labels(tx: Reader, asked: Asked) -> None:
    order = asked.order
    if isinstance(order, orders.ByLabel | orders.Learning) and order.label is not UNSET:
        label = order.label
        names = query.label_names(tx, asked.dataset.id).values()
        if not any(name == label or is_below(name, label) for name in names):
            raise Unprocessable(f"order.label: the dataset has no label {label!r}")


def _newest(tx: Reader, asked: Asked, *, after: Place, limit: int, total: int | None) -> Ordered:
    place = None if after.after is None else (int(after.after[0]), after.after[1])
    rows = query.newest(tx, asked.selection, after=place, limit=limit + 1)
    if total is None:
        total = statistics.measure(tx, asked.selection).comments
    following = Place(rows[limit - 1]) if len(rows) > limit else None
    return Ordered([pos for _, pos in rows[:limit]], total, following)


def _spread_page(keyed: _Keyed, after: Place, limit: int, total: int) -> Ordered:
    """Return a page of an order that avoids what is alike, candidates by candidates."""
    from lodestream.ml.ranking import best

    assert keyed.alike is not None
    keys, positions = keyed.keys, keyed.scan.positions
    found: list[int] = []
    start, skip = after.after, after.skip
    while True:
        block = best(keys, positions, CANDIDATES, start)
        taken = _spread(block, keyed.alike)[skip : skip + limit - len(found)]
        found += taken
        skip += len(taken)
        if skip < len(block):
            return Ordered(found, total, Place(start, skip))
        if not block:
            return Ordered(found, total, None)
        start, skip = block[-1], 0
        if len(found) == limit:
            more = best(keys, positions, 1, start)
            return Ordered(found, total, Place(start) if more else None)


def _spread(
    block: Sequence[tuple[float, int]],
    alike: Callable[[Sequence[int]], NDArray[np.float32]],
) -> list[int]:
    import numpy as np

    from lodestream.ml.ranking import diversified

    if not block:
        return []
    positions = [pos for _, pos in block]
    rank = np.maximum(np.array([key for key, _ in block], np.float64), 0.0)
    return [positions[row] for row in diversified(rank, alike(positions))]


def _collapse(keyed: _Keyed) -> None:
    import numpy as np

    from lodestream.ml.ranking import first_of_threads

    scan = keyed.scan
    assert scan.threads is not None
    kept = np.sort(first_of_threads(keyed.keys, scan.positions, scan.threads))
    keyed.keys = keyed.keys[kept]
    keyed.scan = Scan(
        scan.positions[kept], scan.timestamps_us[kept], scan.sources[kept], scan.threads[kept]
    )


def _keyed(tx: Reader, asked: Asked) -> _Keyed:
    """Give every comment of the selection its key in the order."""
    order = asked.order
    if isinstance(order, orders.Check | orders.Missed):
        return _doubtful(tx, asked, missed=isinstance(order, orders.Missed))
    if isinstance(order, orders.Learning):
        return _learning(tx, asked, order)
    if isinstance(order, orders.Diagnostic):
        return _diagnostic(tx, asked, order)
    if isinstance(order, orders.TextSearch | orders.AttachmentTextSearch):
        in_attachments = isinstance(order, orders.AttachmentTextSearch)
        return _Keyed(
            *search(
                tx,
                asked.selection,
                order.query,
                in_attachments=in_attachments,
                threads=asked.collapse,
            )
        )
    scan = scanning.scan(tx, asked.selection, threads=asked.collapse)
    if isinstance(order, orders.Sample):
        from lodestream.ml.ranking import shuffled

        return _Keyed(scan, shuffled(scan.positions, order.seed))
    if isinstance(order, orders.ByLabel):
        return _Keyed(scan, _by_label(tx, asked, scan, order))
    if isinstance(order, orders.AnyLabelAsc):
        return _Keyed(scan, _by_absence(tx, asked, scan))
    return _Keyed(scan, scan.timestamps_us)


def _unreviewed(tx: Reader, asked: Asked) -> Scan:
    where = [query.is_unreviewed(asked.dataset.id)]
    return scanning.scan(tx, asked.selection, where=where, threads=asked.collapse)


def _scored(
    tx: Reader,
    asked: Asked,
    scan: Scan,
    key: Callable[[NDArray[np.float32], NDArray[np.float32] | None], NDArray[Any]],
) -> NDArray[np.float64]:
    """Return the key of each comment by its scores; those without come last."""
    import numpy as np

    from lodestream.ml.ranking import LAST

    keys = np.full(len(scan.positions), LAST)
    for part in scanning.scores(tx, asked.model, scan.positions):
        keys[part.places] = key(part.probability, part.sentiment)
    return keys


def _columns(model: Model | None, label: str | msgspec.UnsetType) -> list[int]:
    if model is None:
        return []
    if label is UNSET:
        return list(range(len(model.labels)))
    return [place for place, name in enumerate(model.labels) if name == label]


def _by_label(tx: Reader, asked: Asked, scan: Scan, order: orders.ByLabel) -> NDArray[np.float64]:
    import numpy as np

    from lodestream.ml.ranking import FIRST, largest, presence

    columns = _columns(asked.model, order.label)
    wanted = None if order.sentiment is UNSET else order.sentiment
    keys = _scored(tx, asked, scan, lambda p, s: largest(presence(p, s, wanted=wanted)[:, columns]))
    assigned = [
        one.pos
        for one in query.assigned_labels(tx, asked.dataset.id, asked.selection)
        if any(
            (order.label is UNSET or name == order.label)
            and (wanted is None or negative is (wanted == "negative"))
            for name, negative in one.labels.items()
        )
    ]
    keys[np.isin(scan.positions, np.array(assigned, np.int64))] = FIRST
    return keys


def _by_absence(tx: Reader, asked: Asked, scan: Scan) -> NDArray[np.float64]:
    import numpy as np

    from lodestream.ml.ranking import largest, presence

    keys = _scored(tx, asked, scan, lambda p, s: -largest(presence(p, s)))
    labelled = query.assigned_labels(tx, asked.dataset.id, asked.selection)
    assigned = [one.pos for one in labelled if one.labels]
    keys[np.isin(scan.positions, np.array(assigned, np.int64))] = -1.0
    return keys


def _learning(tx: Reader, asked: Asked, order: orders.Learning) -> _Keyed:
    from lodestream.ml.ranking import uncertain

    scan, model = _unreviewed(tx, asked), asked.model
    # Where a sentiment is not known, present labels of either kind are as likely as absent ones.
    centre = 2 / 3 if model is not None and model.has_sentiment else 0.5
    columns = _columns(model, order.label)
    if order.label is UNSET and model is not None:
        learned = [one for one in columns if model.reviewed_counts.get(model.labels[one], 0) > 0]
        columns = learned or columns
    keys = _scored(tx, asked, scan, lambda p, _: uncertain(p, columns, centre))
    return _Keyed(scan, keys, _likeness(tx, asked) if order.label is UNSET else None)


def _diagnostic(tx: Reader, asked: Asked, order: orders.Diagnostic) -> _Keyed:
    import numpy as np

    from lodestream.ml.ranking import LAST, informative, largest, presence

    kind = order.diagnostic_kind
    if kind in orders.OF_FIELDS:
        return _nothing()  # no field is predicted
    scan = _unreviewed(tx, asked)
    if kind == "bias":
        return _Keyed(scan, _by_bias(tx, asked, scan), _likeness(tx, asked))
    if kind == "informative":
        keys = _scored(tx, asked, scan, lambda p, _: informative(p))
        return _Keyed(scan, keys, _likeness(tx, asked))
    weights = _informative_weights(tx, asked.model)

    def neglected(p: NDArray[np.float32], s: NDArray[np.float32] | None) -> NDArray[np.float64]:
        # Without text all scores are zero, and there is nothing to review.
        cover = -largest(presence(p, s), weights)
        return np.where(p.any(axis=1), cover, LAST)

    return _Keyed(scan, _scored(tx, asked, scan, neglected))


def _nothing() -> _Keyed:
    import numpy as np

    none = np.empty(0, np.int64)
    return _Keyed(Scan(none, none, none, none), none)


class _Weight(Struct):
    informative_weight: float = 1.0


class _Details(Struct):
    labels: dict[str, _Weight] = {}


def _informative_weights(tx: Reader, model: Model | None) -> list[float]:
    """Return how much each label says by itself, as the validation found; 1 before it."""
    if model is None:
        return []
    body = models.find_file(tx, model.key, "validation_details")
    found = _Details() if body is None else msgspec.json.decode(body, type=_Details)
    return [found.labels.get(name, _Weight()).informative_weight for name in model.labels]


def _doubtful(tx: Reader, asked: Asked, *, missed: bool) -> _Keyed:
    """Rank reviewed comments by what the model says of them without having learned from them.

    Looked at are the labels of the request's label filters, or all.
    """
    import numpy as np

    order, model = asked.order, asked.model
    assert isinstance(order, orders.Check | orders.Missed)
    body = None if model is None else models.find_file(tx, model.key, "left_out")
    if order.entity_def_id is not UNSET or model is None or body is None:
        return _nothing()
    from lodestream.ml.artifact import load

    _, arrays = load(body)
    row_of = {pos: row for row, pos in enumerate(arrays["positions"].tolist())}
    probability = arrays["left_out"]
    column = {
        name: place
        for place, name in enumerate(model.labels)
        if not asked.labels or name in asked.labels
    }
    keys: dict[int, float] = {}
    for one in query.assigned_labels(tx, asked.dataset.id, asked.selection):
        if one.pos in row_of:
            places = [at for name, at in column.items() if (name in one.labels) is not missed]
            if places:
                found = probability[row_of[one.pos], places].astype(np.float64)
                keys[one.pos] = float(found.max() if missed else -found.min())
    scan = scanning.scan(
        tx,
        asked.selection,
        where=[query.is_at(tx.dialect_name, keys)],
        threads=asked.collapse,
    )
    return _Keyed(scan, np.array([keys[pos] for pos in scan.positions.tolist()], np.float64))


def _likeness(tx: Reader, asked: Asked) -> Callable[[Sequence[int]], NDArray[np.float32]]:
    """Return a function from positions to vectors: kept ones, or of words where there are none."""
    return _Vectors(tx, asked.model).read


@dataclass
class _Vectors:
    tx: Reader
    model: Model | None
    _space: int | None = field(init=False)

    def __post_init__(self) -> None:
        name = None if self.model is None else self.model.space
        self._space = None if name is None else derived.find_space(self.tx, name)

    def read(self, positions: Sequence[int]) -> NDArray[np.float32]:
        """Return one row for each position, of unit length; zeros for what is not known yet."""
        import numpy as np

        from lodestream.ml import vectors
        from lodestream.ml.balance import lexical_vectors

        if self._space is None:
            texts = _texts(self.tx, positions)
            return lexical_vectors([texts.get(pos, "") for pos in positions])
        kept = derived.VECTORS.read(self.tx, self._space, positions)
        if not kept:
            return np.zeros((len(positions), 1), np.float32)
        dim = len(next(iter(kept.values()))) - 4  # four bytes are the scale
        table = np.zeros((len(positions), dim), np.float32)
        places = [place for place, pos in enumerate(positions) if pos in kept]
        table[places] = vectors.unpack([kept[positions[place]] for place in places], dim)
        return table


def _texts(tx: Reader, positions: Iterable[int]) -> dict[int, str]:
    from lodestream.domain.comments import comment_of
    from lodestream.ml.text import model_input

    fronts = read_fronts(tx, positions)
    return {pos: model_input(comment_of(front)) for pos, front in fronts.items()}


def _by_bias(tx: Reader, asked: Asked, scan: Scan) -> NDArray[np.float64]:
    """Rank by how unlike the reviewed comments each is; of many, only some are looked at."""
    import numpy as np

    from lodestream.domain.validation_settings import ValidationSettings
    from lodestream.ml.balance import fit_bias
    from lodestream.ml.ranking import LAST, best, shuffled

    keys = np.full(len(scan.positions), LAST)
    where = [query.is_reviewed(asked.dataset.id)]
    reviewed = scanning.scan(tx, asked.selection, where=where).positions
    drawn = [
        np.sort(np.array([pos for _, pos in best(shuffled(one, _SHUFFLE), one, MOST_FOR_BIAS)]))
        for one in (reviewed, scan.positions)
    ]
    settings = ValidationSettings()
    if min(map(len, drawn)) < settings.bias_folds:
        return keys
    known = len(drawn[0])
    vectors = _likeness(tx, asked)(np.concatenate(drawn).tolist())
    found = fit_bias(vectors[:known], vectors[known:], settings)
    keys[np.searchsorted(scan.positions, drawn[1])] = found.unreviewed
    return keys
