"""From a job's kind to the action that does it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

import msgspec
from msgspec import Struct

from lodestream.actions.buckets import purge_bucket, read_bucket
from lodestream.actions.files import collect_files
from lodestream.actions.purge import purge_dataset, purge_source
from lodestream.actions.reset import JOB as RESET_ANNOTATIONS
from lodestream.actions.reset import ResetJob, reset_annotations
from lodestream.store.blobs import BlobStore
from lodestream.store.buckets import READ_BUCKET
from lodestream.store.db import Database

COLLECT_EVERY_S: Final = 6 * 3600.0


class Interrupted(Exception):
    """The worker has to stop, or lost the job: what is left goes on another time."""


@dataclass(frozen=True)
class Work:
    """One run of a job, as a handler sees it."""

    db: Database
    blobs: BlobStore
    payload: bytes
    stop: threading.Event
    lost: threading.Event

    def go_on(self) -> None:
        """Call between two steps that may each be the last. Raises Interrupted."""
        if self.stop.is_set() or self.lost.is_set():
            raise Interrupted


Handler = Callable[[Work], float | None]
"""Does a job. Returns in how many seconds it is to run again; None: it is done."""


class _SourcePayload(Struct):
    source: int


def _purge_source(work: Work) -> None:
    key = msgspec.json.decode(work.payload, type=_SourcePayload).source
    purge_source(work.db, key, between=work.go_on)


class _DatasetPayload(Struct):
    dataset_id: str


def _purge_dataset(work: Work) -> None:
    dataset_id = msgspec.json.decode(work.payload, type=_DatasetPayload).dataset_id
    purge_dataset(work.db, dataset_id, between=work.go_on)


def _reset_annotations(work: Work) -> None:
    reset_annotations(work.db, msgspec.json.decode(work.payload, type=ResetJob))


class _BucketPayload(Struct):
    bucket: int


def _purge_bucket(work: Work) -> None:
    key = msgspec.json.decode(work.payload, type=_BucketPayload).bucket
    purge_bucket(work.db, work.blobs, key, between=work.go_on)


def _read_bucket(work: Work) -> float | None:
    key = msgspec.json.decode(work.payload, type=_SourcePayload).source
    return read_bucket(work.db, work.blobs, key, between=work.go_on)


def _collect_files(work: Work) -> float:
    collect_files(work.db, work.blobs, between=work.go_on)
    return COLLECT_EVERY_S


HANDLERS: Final[Mapping[str, Handler]] = {
    "purge_source": _purge_source,
    "purge_dataset": _purge_dataset,
    "purge_bucket": _purge_bucket,
    READ_BUCKET: _read_bucket,
    RESET_ANNOTATIONS: _reset_annotations,
    "collect_files": _collect_files,
}

PERIODIC: Final = ("collect_files",)
"""Kinds of which there is always one job."""
