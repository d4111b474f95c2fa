"""Which ids were met already, among more of them than memory should hold."""

from __future__ import annotations

import tempfile
from typing import Final

import numpy as np
from numpy.typing import NDArray

_KEPT: Final = 1 << 17


class Seen:
    """Numbers that were met, those of ids. The latest are in memory, older ones in sorted files.

    The files have no names and are gone with the object. They are mapped, so what is in memory of
    them is the system's cache.
    """

    def __init__(self, *, kept: int = _KEPT) -> None:
        self._most = kept
        self._latest: set[int] = set()
        self._runs: list[NDArray[np.int64]] = []

    def add(self, numbers: list[int]) -> list[bool]:
        """Note signed 64-bit numbers, in order; tell of each whether it was met before."""
        before = self._in_runs(numbers)
        found: list[bool] = []
        for number, is_old in zip(numbers, before, strict=True):
            found.append(is_old or number in self._latest)
            self._latest.add(number)
        if len(self._latest) >= self._most:
            self._put_away()
        return found

    def _in_runs(self, numbers: list[int]) -> list[bool]:
        wanted = np.array(numbers, np.int64)
        met = np.zeros(len(numbers), np.bool_)
        for run in self._runs:
            at = np.searchsorted(run, wanted)
            at[at == len(run)] = 0
            met |= run[at] == wanted
        return met.tolist()

    def _put_away(self) -> None:
        numbers = np.fromiter(self._latest, np.int64, len(self._latest))
        numbers.sort()
        with tempfile.TemporaryFile() as file:
            numbers.tofile(file)
            file.flush()
            self._runs.append(np.memmap(file, np.int64, "r"))
        self._latest = set()
