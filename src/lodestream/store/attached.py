"""The predictions that a stream attaches, as they are kept ready to be sent."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy import bindparam

from lodestream.domain.models import Model, Thresholds
from lodestream.domain.predictions import thresholds_key
from lodestream.domain.streams import StreamModel
from lodestream.store import models
from lodestream.store.db import Database, Reader
from lodestream.store.dialect import Prepared
from lodestream.store.tables import changed_comment, rendered

_BIG = sa.BigInteger


class Attached:
    """What a stream with a model sends beside each comment."""

    def __init__(
        self,
        db: Database,
        model: Model,
        *,
        shown: str,
        rendering: int,
        automatic: dict[str, Thresholds],
    ) -> None:
        """`shown` is `thresholds_key` of the stream, `automatic` the version's own thresholds."""
        self.model = model
        self.shown = shown
        self.automatic = automatic
        self._db = db
        self._rendering = rendering
        self._ranged = Prepared(_range_query(), db.dialect_name)
        self._changed = Prepared(_changed_query(), db.dialect_name)

    def read(self, positions: Sequence[int], *, dense: bool) -> dict[int, bytes]:
        """Return the suffixes of those comments at `positions` that have theirs, by position.

        `positions` are in order. `dense` tells that about every comment between the first and the
        last is wanted.
        """
        if not positions:
            return {}
        probe, first, last = self._db.probe(), positions[0], positions[-1]
        if dense:
            found = dict(
                self._ranged.rows(probe, rendering=self._rendering, first=first, last=last)
            )
        else:
            found = self._read_some(probe, positions)
        for row in self._changed.rows(probe, first=first, last=last):
            found.pop(row[0], None)
        return found

    def _read_some(self, probe: Any, positions: Sequence[int]) -> dict[int, bytes]:
        head = "SELECT pos, body FROM rendered WHERE rendering = "
        if not self._db.is_sqlite:
            cursor = probe.cursor(binary=True)
            text = head + "%s AND pos = ANY(%s)"
            return dict(cursor.execute(text, (self._rendering, list(positions))).fetchall())
        found: dict[int, bytes] = {}
        for start in range(0, len(positions), 1024):
            chunk = positions[start : start + 1024]
            text = f"{head}? AND pos IN ({','.join('?' * len(chunk))})"
            found.update(probe.execute(text, (self._rendering, *chunk)).fetchall())
        return found


def attach(db: Database, tx: Reader, dataset_id: str, wanted: StreamModel) -> Attached | None:
    """Return what a stream with this model attaches; None if the version is gone."""
    model = models.find(tx, dataset_id, wanted.version)
    if model is None:
        return None
    shown = thresholds_key(wanted)
    rendering = models.find_rendering(tx, model.key, shown)
    return Attached(
        db,
        model,
        shown=shown,
        # Made with the stream; if it is missing all the same, nothing is ready.
        rendering=-1 if rendering is None else rendering,
        automatic=models.thresholds(tx, model.key),
    )


def _range_query() -> sa.Select[Any]:
    return (
        sa.select(rendered.c.pos, rendered.c.body)
        .where(rendered.c.rendering == bindparam("rendering", type_=_BIG))
        .where(rendered.c.pos >= bindparam("first", type_=_BIG))
        .where(rendered.c.pos <= bindparam("last", type_=_BIG))
    )


def _changed_query() -> sa.Select[Any]:
    return (
        sa.select(changed_comment.c.pos)
        .where(changed_comment.c.pos >= bindparam("first", type_=_BIG))
        .where(changed_comment.c.pos <= bindparam("last", type_=_BIG))
    )
