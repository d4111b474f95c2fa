"""How many comments have each label: those that people gave it, and those that a model expects.

Of a reviewed comment counts what people assigned, with every label above; of any other one the
probabilities of the newest model, as far as they are kept. (Contract: training-validation,
section 12.)
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from lodestream.actions import scanning
from lodestream.actions.scanning import Scan
from lodestream.domain.labels import with_parents
from lodestream.domain.models import Model
from lodestream.store import models, query
from lodestream.store.db import Reader
from lodestream.store.statistics import Selection

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from lodestream.ml.volumes import Groups, Sums

_REVIEWED_AT_ONCE: Final = 4096


@dataclass(frozen=True, slots=True)
class Volume:
    """How many comments are expected to have a label, with either sentiment."""

    positive: float = 0.0
    negative: float = 0.0

    @property
    def total(self) -> float:
        """How many are expected to have it at all."""
        return self.positive + self.negative


@dataclass(frozen=True)
class GroupVolumes:
    """Expected numbers by group; the outer lists have an item for each group.

    `labels` holds a volume for each of the labels asked for; `any_label` how many comments have a
    label at all.
    """

    labels: list[list[Volume]]
    any_label: list[Volume]


@dataclass(frozen=True)
class Reviews:
    """What people assigned: rising positions, and 1 where a label has either sentiment."""

    positions: NDArray[np.int64]
    positive: NDArray[np.float64]
    negative: NDArray[np.float64]


class Counter:
    """Counts the labels of a selection of a dataset's comments."""

    def __init__(self, tx: Reader, dataset_id: str, selection: Selection) -> None:
        self._tx = tx
        self._dataset_id = dataset_id
        self._selection = selection
        self._model = models.find_newest(tx, dataset_id)
        self._scan: Scan | None = None
        self.labels = with_parents(query.label_names(tx, dataset_id).values())
        """The labels of the dataset, each after the one above it."""
        self._volumes: dict[str, Volume] | None = None

    @property
    def scan(self) -> Scan:
        """Positions, times and sources of the comments; read when first asked for."""
        if self._scan is None:
            self._scan = scanning.scan(self._tx, self._selection)
        return self._scan

    def count(self) -> dict[str, Volume]:
        """Return the volume of every label; counted once, by this or by `count_by`."""
        if self._volumes is None:
            self._sums((), ())
        assert self._volumes is not None
        return self._volumes

    def count_by(self, groupings: Sequence[Groups], labels: Sequence[str]) -> list[GroupVolumes]:
        """Return the volumes of some labels in the groups of each grouping; unknown ones are 0."""
        import numpy as np

        from lodestream.ml.volumes import shown

        place_of = {name: place for place, name in enumerate(self.labels)}
        known = [name for name in dict.fromkeys(labels) if name in place_of]
        sums = self._sums([place_of[name] for name in known], groupings)
        found = []
        for groups, sides, any_sides in zip(
            groupings, sums.by_group, sums.any_by_group, strict=True
        ):
            tables = [np.zeros((groups.size, len(labels))) for _ in sides]
            for table, side in zip(tables, sides, strict=True):
                for column, name in enumerate(labels):
                    if name in place_of:
                        table[:, column] = side[:, known.index(name)]
            rows = zip(*map(shown, tables), strict=True)
            any_rows = zip(*map(shown, any_sides), strict=True)
            found.append(
                GroupVolumes(
                    [[Volume(*pair) for pair in zip(*row, strict=True)] for row in rows],
                    [Volume(*pair) for pair in any_rows],
                )
            )
        return found

    def _sums(self, columns: Sequence[int], groupings: Sequence[Groups]) -> Sums:
        import numpy as np

        from lodestream.ml.volumes import Sums, shown, sides

        sums = Sums(len(self.labels), columns, groupings)
        reviewed: list[NDArray[np.int64]] = [np.empty(0, np.int64)]
        for part in self._reviews():
            sums.add(part.positions, part.positive, part.negative)
            reviewed.append(part.positions)
        if self._model is not None and self.labels:
            there = self.scan.positions
            unreviewed = there[~np.isin(there, np.concatenate(reviewed), assume_unique=True)]
            columns_of = self._columns(self._model)
            for scored in scanning.scores(self._tx, self._model, unreviewed):
                positive, negative = sides(scored.probability, scored.sentiment)
                sums.add(
                    unreviewed[scored.places],
                    _rearranged(positive, columns_of),
                    None if negative is None else _rearranged(negative, columns_of),
                )
        totals = zip(self.labels, shown(sums.positive), shown(sums.negative), strict=True)
        self._volumes = {name: Volume(up, down) for name, up, down in totals}
        return sums

    def _columns(self, model: Model) -> list[int]:
        """Return the model's column of each label of the dataset; -1 where it has none."""
        place_of = {name: place for place, name in enumerate(model.labels)}
        return [place_of.get(name, -1) for name in self.labels]

    def _reviews(self) -> Iterator[Reviews]:
        place_of = {name: place for place, name in enumerate(self.labels)}
        rows: list[query.Assigned] = []
        for one in query.assigned_labels(self._tx, self._dataset_id, self._selection):
            rows.append(one)
            if len(rows) == _REVIEWED_AT_ONCE:
                yield _reviews(rows, place_of)
                rows = []
        if rows:
            yield _reviews(rows, place_of)


def _reviews(rows: Sequence[query.Assigned], place_of: dict[str, int]) -> Reviews:
    import numpy as np

    positive = np.zeros((len(rows), len(place_of)))
    negative = np.zeros_like(positive)
    for row, one in enumerate(rows):
        for name, is_negative in one.labels.items():
            (negative if is_negative else positive)[row, place_of[name]] = 1.0
    return Reviews(np.array([one.pos for one in rows], np.int64), positive, negative)


def _rearranged(values: NDArray[np.float64], columns: Sequence[int]) -> NDArray[np.float64]:
    import numpy as np

    if list(columns) == list(range(values.shape[1])):
        return values
    # What the model does not know gets a column of zeros, which stands behind all others.
    return np.pad(values, ((0, 0), (0, 1)))[:, list(columns)]


def count_assigned(tx: Reader, dataset_id: str, selection: Selection) -> dict[str, tuple[int, int]]:
    """Return how many comments people gave each label, as (positive, negative); 0 left out."""
    counts: dict[str, tuple[int, int]] = {}
    for one in query.assigned_labels(tx, dataset_id, selection):
        for name, is_negative in one.labels.items():
            up, down = counts.get(name, (0, 0))
            counts[name] = (up, down + 1) if is_negative else (up + 1, down)
    return counts
