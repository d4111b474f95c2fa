"""Model versions of a dataset."""

from __future__ import annotations

from lodestream.store.db import Reader


def is_pinned(_tx: Reader, _dataset_id: str, _version: int) -> bool:
    """Tell whether a dataset has a pinned model of this version.

    No operation of this version trains or pins models, so no version is pinned.
    """
    return False
