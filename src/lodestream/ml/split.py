"""Which comments a model is measured on: a fifth, chosen by their uids, for ever."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Final

import numpy as np
from numpy.typing import NDArray

TEST_SHARE: Final = 0.2


@dataclass(frozen=True)
class Split:
    """Rows of a list of comments, each in one of three arrays of ascending indices.

    Only `train` may be shown to a model that is measured on `test`. `duplicates` are test comments
    whose text is also a training text: to know them proves nothing, so they are in neither.
    """

    train: NDArray[np.intp]
    test: NDArray[np.intp]
    duplicates: NDArray[np.intp]

    @property
    def size(self) -> int:
        """How many comments were split."""
        return len(self.train) + len(self.test) + len(self.duplicates)


def place(uid: str) -> float:
    """Return where a comment stands in [0, 1): evenly spread, and the same on every machine."""
    return int.from_bytes(sha256(uid.encode()).digest()[:8]) / 2.0**64


def is_test(uid: str) -> bool:
    """Tell whether models are measured on the comment; if not, they are trained on it.

    The answer follows from the uid alone, so editing, reviewing, copying into another dataset or
    moving to another database never change it.
    """
    return place(uid) < TEST_SHARE


def normalised(text: str) -> str:
    """Return the text in lower case with every run of white space as one space."""
    return " ".join(text.lower().split())


def split_comments(uids: Sequence[str], texts: Sequence[str]) -> Split:
    """Divide comments into training and test, at once, so that no row can get into both.

    Parameters
    ----------
    uids : sequence of str, length n
        `<source id>.<comment id>` of each comment.
    texts : sequence of str, length n
        What a model reads of each comment.

    Raises
    ------
    ValueError
        If there are not as many texts as uids.
    """
    if len(uids) != len(texts):
        raise ValueError(f"{len(uids)} uids, but {len(texts)} texts")
    test = np.fromiter((is_test(uid) for uid in uids), dtype=np.bool_, count=len(uids))
    plain = [normalised(text) for text in texts]
    trained = {text for text, tested in zip(plain, test, strict=True) if not tested}
    known = np.fromiter((text in trained for text in plain), dtype=np.bool_, count=len(plain))
    return Split(
        train=np.flatnonzero(~test),
        test=np.flatnonzero(test & ~known),
        duplicates=np.flatnonzero(test & known),
    )
