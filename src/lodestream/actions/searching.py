"""Searching the texts of comments.

There is no index: one would have to be kept while comments are stored, and storing them fast comes
first. So the newest comments that pass the filters are read, up to a bound.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from lodestream.actions import scanning
from lodestream.actions.scanning import Scan
from lodestream.domain.comments import attachments_of, messages_of
from lodestream.domain.search import Match, Search, parts_of, relevances
from lodestream.store.comments import read_fronts
from lodestream.store.db import Reader
from lodestream.store.statistics import Selection

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

MOST_SEARCHED: Final = 250_000
"""Of the comments that pass the filters, this many of the newest are searched."""

_READ_AT_ONCE: Final = 2048


def search(
    tx: Reader, selection: Selection, text: str, *, in_attachments: bool, threads: bool = False
) -> tuple[Scan, NDArray[np.float64]]:
    """Return the comments that match, and how relevant each is."""
    import numpy as np

    from lodestream.ml.ranking import best

    found = scanning.scan(tx, selection, threads=threads)
    places = np.arange(len(found.positions))
    if len(places) > MOST_SEARCHED:
        newest = best(found.timestamps_us, found.positions, MOST_SEARCHED)
        places = np.searchsorted(found.positions, np.sort(np.array([pos for _, pos in newest])))
    wanted = Search(text)
    matching: list[int] = []
    matches: list[Match] = []
    for start in range(0, len(places), _READ_AT_ONCE):
        part = places[start : start + _READ_AT_ONCE]
        fronts = read_fronts(tx, found.positions[part].tolist())
        for place in part.tolist():
            front = fronts.get(int(found.positions[place]))
            if front is None or not wanted.may_match(front):
                continue
            match = wanted.match(_texts(front, in_attachments=in_attachments))
            if match is not None:
                matching.append(place)
                matches.append(match)
    kept = np.array(matching, np.intp)
    scan = Scan(
        found.positions[kept],
        found.timestamps_us[kept],
        found.sources[kept],
        None if found.threads is None else found.threads[kept],
    )
    return scan, np.array(relevances(matches, len(places)), np.float64)


def _texts(front: bytes, *, in_attachments: bool) -> Sequence[str]:
    if in_attachments:
        return [one.name for one in attachments_of(front)]
    return [text for _, _, text in parts_of(messages_of(front))]
