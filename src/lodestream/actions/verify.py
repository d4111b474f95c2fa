"""Read the order of stored comments again and report what is wrong with it.

What is looked for: comments without text or without an entry in the index of their ids, texts and
entries without a comment, one id twice in a source, places that disagree with the `created_at` or
the sequence id that clients are shown, places beyond the last one handed out, streams that stand
beyond it, and counts that are wrong.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Final

import msgspec
from msgspec import Struct

from lodestream.domain.comments import key_hash, source_tag
from lodestream.domain.ids import split_uid
from lodestream.domain.places import TIES_PER_US, created_us, parse_sequence_id
from lodestream.domain.times import format_us
from lodestream.store import order
from lodestream.store import verify as store
from lodestream.store.catalogue import Catalogue
from lodestream.store.db import Database, Reader
from lodestream.store.verify import CheckedComment, CheckedSource

AT_ONCE: Final = 256
MOST_LISTED: Final = 1000

Progress = Callable[[int], None]
"""Told now and then how many more rows were read."""


class Finding(Struct, frozen=True):
    """Something wrong; `kind` is one of the keys of `KINDS`."""

    kind: str
    what: str
    source_id: str | None = None
    position: int | None = None


KINDS: Final = {
    "text-missing": "a comment has no text",
    "key-missing": "a comment is not in the index of ids",
    "text-left": "a text belongs to no comment",
    "key-left": "an entry of the index of ids belongs to no comment",
    "wrong-text": "the text at a comment's place is another comment's",
    "duplicate": "one id is stored twice in a source",
    "wrong-place": "created_at or sequence id disagree with the place in the order",
    "beyond": "a comment lies beyond the last place handed out",
    "stream-beyond": "a stream stands beyond the last place handed out",
    "count": "the number of a source's comments is wrong",
    "source-missing": "comments belong to no source, and no job is due that removes them",
}


class Report(Struct):
    """What was read and what was found; no more than `MOST_LISTED` findings are listed."""

    comments: int = 0
    streams: int = 0
    found: dict[str, int] = {}
    findings: list[Finding] = []

    @property
    def is_clean(self) -> bool:
        """Whether nothing was found."""
        return not self.found


class _Shown(Struct):
    """The members of a stored comment that tell its identity and its place."""

    uid: str
    id: str
    source_id: str
    created_at: str


class _Front(Struct):
    comment: _Shown
    sequence_id: str


def verify(
    db: Database, *, dataset_id: str | None = None, progress: Progress = lambda _rows: None
) -> Report:
    """Read the comments of a dataset, or of the whole instance, and report what is wrong.

    Needs memory for one page of rows only, and may run while the server does.
    Raises Unavailable if the database cannot be reached.
    """
    check = _Check(db, progress)
    with store.snapshot(db) as tx:
        sources = store.list_sources(tx, dataset_id)
    for one in sources:
        check.source(one)
    if dataset_id is None:
        ids = {one.id: one.key for one in sources if one.id is not None}
        check.texts(ids)
        check.keys(ids)
    check.streams(dataset_id)
    check.report.found = dict(sorted(check.counts.items()))
    return check.report


class _Check:
    """One reading of the database."""

    def __init__(self, db: Database, progress: Progress) -> None:
        self._db = db
        self._progress = progress
        self._salt = Catalogue(db).salt()
        self.counts: Counter[str] = Counter()
        self.report = Report()

    def source(self, one: CheckedSource) -> None:
        """Walk a source's comments in order."""
        after = -1
        while True:
            with store.snapshot(self._db) as tx:
                page = store.page_of_source(tx, one, after=after, limit=AT_ONCE, hash_of=self._hash)
                last = order.last_position(tx)
                left = one.id is None and not store.is_purge_due(tx)
            if left and page:
                self._add("source-missing", f"source {one.key}", one, page[0].pos)
            for comment in page:
                self._comment(one, comment, last)
            self.report.comments += len(page)
            self._progress(len(page))
            if len(page) < AT_ONCE:
                break
            after = page[-1].pos
        if one.id is not None:
            self._count(one)

    def _comment(self, one: CheckedSource, comment: CheckedComment, last: int) -> None:
        named = f"comment {comment.id!r}"
        if not comment.has_key:
            self._add("key-missing", named, one, comment.pos)
        if any(twin < comment.pos for twin in comment.twins):
            self._add("duplicate", named, one, comment.pos)
        if comment.pos > last:
            self._add("beyond", named, one, comment.pos)
        if comment.front is None:
            self._add("text-missing", named, one, comment.pos)
            return
        front = _read(comment.front)
        uid = None if one.id is None else f"{one.id}.{comment.id}"
        if front is None or front.comment.id != comment.id or uid not in (None, front.comment.uid):
            self._add("wrong-text", named, one, comment.pos)
        elif not _is_placed(front, comment.pos):
            self._add("wrong-place", named, one, comment.pos)

    def _count(self, one: CheckedSource) -> None:
        with store.snapshot(self._db) as tx:
            held, kept = store.counts_of(tx, one.key)
        if kept is not None and held != kept:
            self._add("count", f"{held} comments are stored, {kept} were counted", one, None)

    def texts(self, ids: dict[str, int]) -> None:
        """Walk every text and look for its comment."""
        after = -1
        while True:
            with store.snapshot(self._db) as tx:
                page = store.page_of_texts(tx, after=after, limit=AT_ONCE)
                lonely = [row.pos for row in page if not self._has_comment(tx, ids, row)]
            for pos in lonely:
                self._add("text-left", f"text at {pos}", None, pos)
            self._progress(len(page))
            if len(page) < AT_ONCE:
                return
            after = page[-1].pos

    def _has_comment(self, tx: Reader, ids: dict[str, int], row: store.TextRow) -> bool:
        front = _read(row.front)
        if front is None:
            return False
        key = ids.get(front.comment.source_id)
        if key is None:
            # Of a source that is gone and whose comments a job removes, or of one that came after
            # the sources were listed.
            return store.is_of_unlisted_source(tx, front.comment.source_id)
        return store.has_comment(tx, key, row.pos, front.comment.id)

    def keys(self, ids: dict[str, int]) -> None:
        """Walk the index of comment ids and look for the comments."""
        after: tuple[int, int] | None = None
        while True:
            with store.snapshot(self._db) as tx:
                page = store.page_of_keys(tx, after=after, limit=AT_ONCE)
            for row in page:
                if not self._is_key_of(ids, row):
                    self._add("key-left", f"entry at {row.pos}", None, row.pos)
            self._progress(len(page))
            if len(page) < AT_ONCE:
                return
            after = (page[-1].hash, page[-1].pos)

    def _is_key_of(self, ids: dict[str, int], row: store.KeyRow) -> bool:
        front = None if row.front is None else _read(row.front)
        if front is None:
            return False
        key = ids.get(front.comment.source_id)
        return key is None or self._hash(key, front.comment.id) == row.hash

    def streams(self, dataset_id: str | None) -> None:
        """Compare where streams stand with the last place handed out."""
        with store.snapshot(self._db) as tx:
            last = order.last_position(tx)
            found = store.stream_positions(tx, dataset_id)
        for stream_id, name, position in found:
            # A reset may name any instant to come: such a place ends just before a microsecond.
            by_reset = (position + 1) % TIES_PER_US == 0
            if position > last and not by_reset:
                self._add("stream-beyond", f"stream {name} ({stream_id})", None, position)
        self.report.streams = len(found)

    def _hash(self, source_key: int, comment_id: str) -> int:
        return key_hash(comment_id, salt=self._salt, source_tag=source_tag(source_key))

    def _add(self, kind: str, what: str, one: CheckedSource | None, pos: int | None) -> None:
        self.counts[kind] += 1
        if len(self.report.findings) < MOST_LISTED:
            source_id = None if one is None else one.id
            self.report.findings.append(Finding(kind, f"{what}: {KINDS[kind]}", source_id, pos))


_DECODER = msgspec.json.Decoder(_Front)


def _read(front: bytes) -> _Front | None:
    try:
        found = _DECODER.decode(front + b"}")
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
    return found if split_uid(found.comment.uid) is not None else None


def _is_placed(front: _Front, pos: int) -> bool:
    try:
        place = parse_sequence_id(front.sequence_id)
    except ValueError:
        return False
    return place == pos and front.comment.created_at == format_us(created_us(pos))
