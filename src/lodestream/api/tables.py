"""Comments as a table: a row for each, with its metadata and the probability of every label."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

import msgspec
from msgspec import UNSET, Struct

from lodestream.actions.ordering import Asked
from lodestream.api.calls import Call
from lodestream.api.comments import shown
from lodestream.api.predicted import scores_of
from lodestream.api.selections import readable_sources
from lodestream.domain.comments import Message, source_id_of
from lodestream.domain.labels import with_parents
from lodestream.domain.models import Model
from lodestream.domain.sources import Source
from lodestream.store import comments, derived, query, statistics
from lodestream.store.db import Reader

MOST_ROWS: Final = 150_000
MOST_ON_THE_SPOT: Final = 512
"""Of this many comments of a table the scores are computed if they are not kept yet."""

FIXED_COLUMNS: Final = ("Date", "ID", "Source", "Subject", "Message", "From", "To")

_ROWS_AT_ONCE: Final = 256


class _Shown(Struct):
    id: str
    timestamp: str
    messages: list[Message]
    user_properties: dict[str, str | int | float]


_decode = msgspec.json.Decoder(_Shown).decode


def comment_table(
    call: Call[Any], tx: Reader, asked: Asked, positions: Sequence[int]
) -> Iterator[bytes]:
    """Return the comments at some positions as CSV (RFC 4180), a header first, part by part.

    Columns are found in `tx`; each part of the rows is read in a transaction of its own, so that a
    slow reader holds nothing up, and comments that are deleted meanwhile are left out.
    """
    properties = statistics.count_properties(tx, asked.selection, most_values=0)
    names = [one.full_name for one in properties]
    labels = with_parents(query.label_names(tx, asked.dataset.id).values())
    sources = {source.id: source for source in readable_sources(call, tx, asked.dataset.id)}
    return _Table(call, asked.model, sources, names, labels).parts(positions)


class _Table:
    def __init__(
        self,
        call: Call[Any],
        model: Model | None,
        sources: Mapping[str, Source],
        properties: Sequence[str],
        labels: Sequence[str],
    ) -> None:
        self._call = call
        self._model = model
        self._sources = sources
        self._properties = properties
        self._labels = labels
        place_of = {} if model is None else {name: i for i, name in enumerate(model.labels)}
        self._places = [place_of.get(name) for name in labels]
        self._budget = MOST_ON_THE_SPOT

    def parts(self, positions: Sequence[int]) -> Iterator[bytes]:
        """Return the table in parts."""
        yield _lines([[*FIXED_COLUMNS, *self._properties, *self._labels]])
        for start in range(0, len(positions), _ROWS_AT_ONCE):
            chunk = positions[start : start + _ROWS_AT_ONCE]
            with self._call.service.db.read() as tx:
                fronts = comments.read_fronts(tx, chunk)
                scores = self._scores(tx, fronts)
            rows = [self._row(fronts[pos], scores.get(pos)) for pos in chunk if pos in fronts]
            yield _lines(rows)

    def _scores(self, tx: Reader, fronts: Mapping[int, bytes]) -> dict[int, Sequence[bytes]]:
        """Return the digits of the scores of the comments, in the model's order of labels."""
        model = self._model
        if model is None:
            return {}
        from lodestream.ml.scores import shown_probabilities

        packed = derived.PREDICTIONS.read(tx, model.key, fronts)
        missing = [pos for pos in fronts if pos not in packed][: self._budget]
        if missing:
            self._budget -= len(missing)
            computed = scores_of(self._call, tx, model, {pos: fronts[pos] for pos in missing})
            packed.update(computed)
        rows = shown_probabilities(list(packed.values()), len(model.labels))
        return dict(zip(packed, rows, strict=True))

    def _row(self, front: bytes, scores: Sequence[bytes] | None) -> list[str]:
        source = self._sources[source_id_of(front)]
        one = _decode(shown(self._call, source, front, markup=False))
        senders = [m.from_ for m in one.messages if m.from_ is not UNSET]
        recipients = [to for m in one.messages if m.to is not UNSET for to in m.to]
        subjects = [m.subject.text for m in one.messages if m.subject is not UNSET]
        return [
            one.timestamp,
            one.id,
            source.name,
            subjects[0] if subjects else "",
            "\n\n".join(m.body.text for m in one.messages),
            "; ".join(dict.fromkeys(senders)),
            "; ".join(dict.fromkeys(recipients)),
            *(_plain(one.user_properties.get(name)) for name in self._properties),
            *(
                "0" if scores is None or place is None else scores[place].decode()
                for place in self._places
            ),
        ]


def _plain(value: str | float | None) -> str:
    return "" if value is None else str(value)


def _lines(rows: Sequence[Sequence[str]]) -> bytes:
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator="\r\n").writerows(rows)
    return text.getvalue().encode()
