"""What rarely changes and every request needs, kept in memory and never stale.

Every committed change of anything but comments and positions bumps one number, the *epoch*. What
was loaded is kept with the epoch it was loaded at, and is used only after the database has been
asked, in this very request, whether the epoch is still the same. So a revoked token, a changed
permission or a new filter holds for the next request, on every process.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

import sqlalchemy as sa

from lodestream.domain.access import Actor
from lodestream.domain.errors import NotFound
from lodestream.domain.filters import parse_filter
from lodestream.domain.sources import Source, hidden_properties
from lodestream.domain.streams import Stream
from lodestream.store import accounts, sources, streams
from lodestream.store.attached import Attached, attach
from lodestream.store.db import Database, Reader
from lodestream.store.dialect import Prepared
from lodestream.store.feed import Feed
from lodestream.store.filters import FilterScope, compile_filter
from lodestream.store.tables import counter, dataset, dataset_source, meta, project, source

_T = TypeVar("_T")
_MOST_ENTRIES = 10_000


@dataclass(frozen=True)
class DatasetName:
    """Where a dataset is found."""

    id: str
    project_id: str
    owner: str
    name: str
    title: str


@dataclass(frozen=True)
class StreamPlan:
    """All that a fetch needs but the position.

    `hidden` maps a source id to the user properties that need an extra permission; `attached` is
    None for a stream without model.
    """

    stream: Stream
    dataset: DatasetName
    feed: Feed
    hidden: dict[str, frozenset[str]]
    attached: Attached | None


class _Entries:
    """Everything loaded at one epoch."""

    __slots__ = ("epoch", "kept")

    def __init__(self, epoch: int) -> None:
        self.epoch = epoch
        self.kept: dict[object, object] = {}


class Catalogue:
    """Loads tokens, projects, sources and stream plans, and knows when they are stale."""

    def __init__(self, db: Database) -> None:
        self._db = db
        self._entries = _Entries(-1)
        query = sa.select(counter.c.value).where(counter.c.name == "catalogue")
        self._epoch = Prepared(query, db.dialect_name)
        self._salt: int | None = None

    @property
    def epoch(self) -> int:
        """The epoch of what is kept; current only if the database says so."""
        return self._entries.epoch

    def refresh(self) -> None:
        """Ask the database for the epoch and forget everything if it has moved."""
        self.saw(self._epoch.rows(self._db.probe())[0][0])

    def saw(self, epoch: int) -> bool:
        """Note the epoch that a query returned; tell whether what is kept is current."""
        if epoch == self._entries.epoch:
            return True
        self._entries = _Entries(epoch)
        return False

    def salt(self) -> int:
        """The instance's secret that enters the hashes of comment ids."""
        if self._salt is None:
            with self._db.read() as tx:
                query = sa.select(meta.c.value).where(meta.c.name == "key_salt")
                self._salt = int(tx.execute(query).scalar_one(), 16)
        return self._salt

    def find_kept_actor(self, token_digest: bytes) -> Actor | None:
        """Return the token's holder if it is kept, without asking the database."""
        kept = self._entries.kept.get(("token", token_digest))
        return kept if isinstance(kept, Actor) else None

    def find_actor(self, token_digest: bytes) -> Actor | None:
        """Return who holds the token with this SHA-256, or None.

        Only digests are looked up and compared, so timing tells nothing about a token.
        """
        return self._load(("token", token_digest), lambda tx: accounts.find_actor(tx, token_digest))

    def find_project_id(self, name: str) -> str | None:
        """Return the id of the project with this name, or None."""

        def load(tx: Reader) -> str | None:
            query = sa.select(project.c.id).where(project.c.name == name)
            found: str | None = tx.execute(query).scalar_one_or_none()
            return found

        return self._load(("project", name), load)

    def find_source(self, owner: str, name: str) -> Source | None:
        """Return the source of this full name, or None; its counts may be old."""
        return self._load(("source", owner, name), lambda tx: sources.find_by_name(tx, owner, name))

    def find_dataset(self, owner: str, name: str) -> DatasetName | None:
        """Return where the dataset of this full name is, or None."""

        def load(tx: Reader) -> DatasetName | None:
            query = (
                sa.select(dataset.c.id, dataset.c.project_id, dataset.c.title)
                .join(project, project.c.id == dataset.c.project_id)
                .where(project.c.name == owner, dataset.c.name == name)
            )
            row = tx.execute(query).first()
            if row is None:
                return None
            return DatasetName(row.id, row.project_id, owner, name, row.title)

        return self._load(("dataset", owner, name), load)

    def find_kept_plan(self, owner: str, dataset_name: str, name: str) -> StreamPlan | None:
        """Return the plan of a stream if it is kept, without asking the database."""
        kept = self._entries.kept.get(("plan", owner, dataset_name, name))
        return kept if isinstance(kept, StreamPlan) else None

    def get_plan(self, owner: str, dataset_name: str, name: str) -> StreamPlan:
        """Return the plan of a stream. Raises NotFound."""
        found = self.find_dataset(owner, dataset_name)
        if found is None:
            raise NotFound(f"No such dataset: {owner}/{dataset_name}")
        where = found

        def load(tx: Reader) -> StreamPlan | None:
            stream = streams.find(tx, where.id, name)
            return None if stream is None else make_plan(self._db, tx, where, stream)

        plan = self._load(("plan", owner, dataset_name, name), load)
        if plan is None:
            raise NotFound(f"No such stream: {name}")
        return plan

    def _load(self, key: object, load: Callable[[Reader], _T | None]) -> _T | None:
        entries = self._entries
        if key in entries.kept:
            return entries.kept[key]  # type: ignore[return-value]
        with self._db.read() as tx:
            value = load(tx)
        if value is not None and len(entries.kept) < _MOST_ENTRIES:
            entries.kept[key] = value
        return value


def make_plan(db: Database, tx: Reader, where: DatasetName, stream: Stream) -> StreamPlan:
    """Compile what a stream delivers."""
    rows = tx.execute(
        sa.select(source.c.key, source.c.id, source.c.sensitive_properties)
        .join(dataset_source, dataset_source.c.source == source.c.key)
        .where(dataset_source.c.dataset_id == where.id)
        .order_by(dataset_source.c.rank)
    ).all()
    scope = FilterScope(
        source_keys={row.id: row.key for row in rows},
        stream_ids={s.name: s.id for s in streams.list_streams(tx, [where.id])},
        dataset_id=where.id,
    )
    condition = compile_filter(
        parse_filter(stream.comment_filter), dialect_name=db.dialect_name, scope=scope
    )
    hidden = {
        row.id: hidden_properties(sources.decode_names(row.sensitive_properties))
        for row in rows
        if row.sensitive_properties != "[]"
    }
    feed = Feed(db, [row.key for row in rows], condition)
    attached = None if stream.model is None else attach(db, tx, where.id, stream.model)
    return StreamPlan(stream, where, feed, hidden, attached)
