"""Transactions that annotate: who writes, what is locked, which labels are created.

A label that does not exist yet is created with those above it. That changes what caches hold, so
such a piece of work is run again as a change of the catalogue.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TypeVar

from lodestream.domain import access
from lodestream.domain.access import Actor
from lodestream.domain.annotations import (
    Author,
)
from lodestream.domain.audit import ProjectRef, Refs
from lodestream.domain.datasets import Dataset
from lodestream.domain.errors import NotFound
from lodestream.domain.times import format_us, now_us
from lodestream.store import audit, datasets, quotas, sources
from lodestream.store.annotations import (
    count_reviewed,
    find_keys,
    hold,
    lock_comments,
    lock_dataset,
)
from lodestream.store.db import Database, Writer
from lodestream.store.definitions import add_labels
from lodestream.store.marks import Change, write_changes
from lodestream.store.uids import CommentPlace, find_places

_T = TypeVar("_T")


class _LabelsMissing(Exception):
    """A label has to be created, which this transaction may not do."""


class Session:
    """One transaction of annotations: who writes, in which dataset, and what it may do."""

    def __init__(
        self, tx: Writer, actor: Actor, dataset_id: str, *, project_id: str, creates: bool
    ) -> None:
        self.tx = tx
        self.dataset_id = dataset_id
        self.has_sentiment = lock_dataset(tx, dataset_id)
        self.now_us = now_us()
        self._actor = actor
        self._creates = creates
        trusted = access.DATASETS_ADMIN in access.permissions_in(actor, project_id)
        self.author = Author(actor.user_id, format_us(self.now_us), trusted)

    def lock_places(
        self, uids: Iterable[str], *, salt: int, project_id: str
    ) -> dict[str, CommentPlace]:
        """Return where the comments are, and keep them there.

        Raises NotFound if one is not in the dataset, or in a source that the caller may not read.
        """
        wanted = list(uids)
        keys = {
            one.id: one.key
            for one in sources.list_in_dataset(self.tx, self.dataset_id)
            if one.project_id == project_id
            or access.SOURCES_READ in access.permissions_in(self._actor, one.project_id)
        }
        found = find_places(self.tx, wanted, source_keys=keys, salt=salt)
        by_source: dict[int, list[int]] = {}
        for place in found.values():
            by_source.setdefault(place.source, []).append(place.pos)
        there = {
            pos
            for source in sorted(by_source)
            for pos in lock_comments(self.tx, source, by_source[source])
        }
        for uid in wanted:
            if uid not in found or found[uid].pos not in there:
                raise NotFound(f"No such comment in the dataset: {uid[:200]}")
        return found

    def hold(self) -> None:
        """Make other annotations of the dataset wait."""
        hold(self.tx, self.dataset_id, now_us=self.now_us)

    def keys_of(self, names: Iterable[str]) -> dict[str, int]:
        """Return the key of every label; those that do not exist are created.

        Raises QuotaExceeded.
        """
        wanted = set(names)
        found = find_keys(self.tx, self.dataset_id, wanted)
        missing = sorted(wanted - found.keys())
        if missing:
            if not self._creates:
                raise _LabelsMissing
            dataset = datasets.get(self.tx, self.dataset_id)
            user_id = self.author.user_id
            add_labels(self.tx, dataset, missing, user_id=user_id, now_us=self.now_us)
            record(self.tx, user_id, "create_label_defs_bulk", dataset)
            found = find_keys(self.tx, self.dataset_id, wanted)
        return found

    def save(self, changes: Sequence[Change]) -> dict[int, int]:
        """Store what differs; return the new revision of each comment that changed.

        Raises QuotaExceeded.
        """
        changed = [one for one in changes if one.after != one.state_before]
        fresh = sum(one.after.is_reviewed and not one.state_before.is_reviewed for one in changed)
        if fresh:
            limit = quotas.get(self.tx, "reviewed_comments_per_dataset").hard_limit
            # Every reviewed comment took a revision once, so there is seldom need to count.
            if hold(self.tx, self.dataset_id, now_us=self.now_us) + fresh > limit:
                there = count_reviewed(self.tx, self.dataset_id)
                quotas.require_room(self.tx, "reviewed_comments_per_dataset", there + fresh)
        return write_changes(
            self.tx, self.dataset_id, changed, user_id=self.author.user_id, now_us=self.now_us
        )


def annotating(
    db: Database,
    actor: Actor,
    dataset_id: str,
    work: Callable[[Session], _T],
    *,
    project_id: str,
) -> _T:
    """Do a piece of work in one transaction, at first without changing the catalogue."""
    try:
        with db.write(catalogue=False) as tx:
            return work(Session(tx, actor, dataset_id, project_id=project_id, creates=False))
    except _LabelsMissing:
        with db.write() as tx:
            return work(Session(tx, actor, dataset_id, project_id=project_id, creates=True))


def record(tx: Writer, user_id: str, event_type: str, dataset: Dataset) -> None:
    """Note in the audit log what annotations did to a dataset."""
    refs = Refs(projects=(ProjectRef(dataset.project_id, dataset.owner),), datasets=(dataset.ref,))
    audit.record(tx, actor_id=user_id, event_type=event_type, refs=refs)
