"""Labels within labels: `Parent > Child`."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

_LEVEL = " > "


def raise_parents(probability: NDArray[np.float32], labels: Sequence[str]) -> None:
    """Raise, in place, each parent's probability to the largest of its descendants'.

    `p_parent = max(own p_parent, p of each child)`, from the leaves up; ancestors that are no
    labels themselves are stepped over.
    """
    place = {label: at for at, label in enumerate(labels)}
    for label in sorted(labels, key=lambda name: -name.count(_LEVEL)):
        parent = label.rpartition(_LEVEL)[0]
        while parent and parent not in place:
            parent = parent.rpartition(_LEVEL)[0]
        if parent:
            column = probability[:, place[parent]]
            np.maximum(column, probability[:, place[label]], out=column)


def leaves(labels: Sequence[str]) -> NDArray[np.bool_]:
    """Return which labels are no ancestors of other labels."""
    ancestors = set()
    for label in labels:
        parent = label.rpartition(_LEVEL)[0]
        while parent and parent not in ancestors:
            ancestors.add(parent)
            parent = parent.rpartition(_LEVEL)[0]
    return np.array([label not in ancestors for label in labels], np.bool_)
