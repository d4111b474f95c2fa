"""What handlers work with: the database, what is kept of it, and the settings they need."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from lodestream.actions.integrations import Opener, Outside
from lodestream.actions.memo import Memo
from lodestream.actions.ordering import Rankings
from lodestream.actions.predict import Predictor
from lodestream.actions.sinks import Reach
from lodestream.api.metrics import Figures, Metrics
from lodestream.connectors.open import open_mailbox
from lodestream.domain.secrets import Keyring
from lodestream.store.activity import ActivityLog
from lodestream.store.blobs import BlobStore
from lodestream.store.catalogue import Catalogue
from lodestream.store.db import Database
from lodestream.store.dialect import Prepared
from lodestream.store.streams import advance_statement, position_statement

_T = TypeVar("_T")


@dataclass(frozen=True)
class Limits:
    """Bounds on what callers may ask of the server; 0 means no bound where it says so."""

    body_bytes: int = 64 << 20
    upload_bytes: int = 128 << 20
    file_bytes: int = 4096 << 20  # files of rows, which wait on disk
    concurrent_requests: int = 256
    held_bytes: int = 512 << 20  # bodies over 1 MiB, all together
    streams: int = 8  # answers that are sent while they are made
    requests_per_s: float = 0.0  # for each token; 0: no bound


@dataclass
class Service:
    """One server process's things, made once."""

    db: Database
    blobs: BlobStore
    limits: Limits = field(default_factory=Limits)
    threads: int = 8
    poison_fetches: int = 5
    metrics: Metrics = field(default_factory=Metrics)
    encoders: Path = Path("encoders")  # folder of the installed encoders
    reach: Reach = field(default_factory=lambda: Reach(Keyring()))
    any_transform_tag: bool = False  # whether tags that nobody knows are taken as the default
    spool: Path | None = None  # where large uploads wait; the system's folder if None
    outside: Outside = field(default_factory=lambda: Outside(Keyring()))
    opener: Opener = open_mailbox

    def __post_init__(self) -> None:
        self.catalogue = Catalogue(self.db)
        self.figures = Figures(self.db, self.catalogue)
        self.activity = ActivityLog()
        self.counts: Memo[Any] = Memo()
        self.rankings: Rankings = Memo(8)
        self.predictor = Predictor(self.db, self.encoders)
        self.advance: Prepared = advance_statement(self.db.dialect_name)
        self.position: Prepared = position_statement(self.db.dialect_name)
        # On SQLite one thread writes: a queue in order of arrival, where a lock would be unfair.
        self.writers = ThreadPoolExecutor(
            1 if self.db.is_sqlite else self.threads, thread_name_prefix="write"
        )
        self._decoders: dict[type, msgspec.json.Decoder[Any]] = {}

    def in_turn(self, work: Callable[[], _T]) -> Future[_T]:
        """Begin a write, in line with those of all other requests."""
        return self.writers.submit(work)

    def decoder(self, kind: type[_T]) -> msgspec.json.Decoder[_T]:
        """Return the decoder of a struct, made once."""
        found = self._decoders.get(kind)
        if found is None:
            found = self._decoders[kind] = msgspec.json.Decoder(kind)
        return found


def data_folder_blobs(data: Path) -> BlobStore:
    """Return the store of uploaded files inside a data folder."""
    return BlobStore(data / "files")
