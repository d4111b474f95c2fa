"""Whether a label is more frequent in one group of comments than in another."""

from __future__ import annotations

import math
from typing import Final

from msgspec import Struct

SIGNIFICANT: Final = 1.96
"""Standard errors from which a difference counts: one in twenty would be as large by chance."""


class Difference(Struct, frozen=True):
    """How much larger the odds are in the second group, as a logarithm; positive if larger."""

    log_odds_ratio: float
    is_significant: bool


def difference(
    having_a: float, comments_a: float, having_b: float, comments_b: float
) -> Difference:
    """Compare `having_b` of `comments_b` with `having_a` of `comments_a`; expected numbers will do.

    Half a comment is added everywhere, so that nothing divides by zero.

    References
    ----------
    Agresti, Categorical Data Analysis, section 3.1 (log odds ratio and its standard error).
    """
    cells = [
        having_a + 0.5,
        max(comments_a - having_a, 0.0) + 0.5,
        having_b + 0.5,
        max(comments_b - having_b, 0.0) + 0.5,
    ]
    ratio = math.log(cells[2] / cells[3]) - math.log(cells[0] / cells[1])
    error = math.sqrt(sum(1 / cell for cell in cells))
    return Difference(ratio, abs(ratio) / error > SIGNIFICANT)
