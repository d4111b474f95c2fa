"""Comments of any file into a source, and what people said of them into a dataset."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from hashlib import sha256
from itertools import islice
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

from msgspec import UNSET

from lodestream.cli.import_report import Report
from lodestream.client import Client, Refused
from lodestream.client.calls import full_name
from lodestream.domain.comments import CommentNew, Incoming, prepare
from lodestream.domain.errors import InvalidInput
from lodestream.formats.found import Bad, FoundComment
from lodestream.formats.seen import Seen

BATCH: Final = 1024
LARGEST_BATCH_BYTES: Final = 8 << 20
_ANNOTATED_AT_ONCE: Final = 4
_OF_THE_CONTENT: Final = (400, 413, 422)


@dataclass(frozen=True, slots=True)
class Ready:
    """A comment that was read and checked."""

    found: FoundComment
    incoming: Incoming


@dataclass(frozen=True, slots=True)
class Target:
    """Where comments go: a source; and their annotations: a dataset, if one is named."""

    source: str
    source_id: str
    dataset: str | None = None


class FileFolder:
    """Files that comments name, as `re get comments --attachments` leaves them.

    In the folder there is one for each comment, by its id, and in that the files, by number and
    name.
    """

    def __init__(self, client: Client, folder: Path, source_id: str, report: Report) -> None:
        self._client = client
        self._folder = folder
        self._path = f"/api/_private/sources/id:{source_id}/comments"
        self._report = report

    def claim(self, comment: CommentNew) -> None:
        """Store the files of a comment, and let it name them."""
        if comment.attachments is UNSET or "/" in comment.id or comment.id in (".", ".."):
            return
        for number, attachment in enumerate(comment.attachments):
            file = next((self._folder / comment.id).glob(f"{number}.*"), None)
            content = b"" if file is None else file.read_bytes()
            if not content:
                continue
            path = f"{self._path}/{quote(comment.id, safe='')}/attachments/{number}"
            try:
                if not self._report.is_dry:
                    self._client.call("PUT", path, content)
            except Refused as error:
                if error.status not in _OF_THE_CONTENT:
                    raise
                self._report.note(f"{file} is left out: {error.message}")
                continue
            attachment.content_hash = sha256(content).hexdigest()
            self._report.counts["attachments"] += 1


class CommentSender:
    """Sends comments in batches: one is sent while the next is read."""

    def __init__(
        self, client: Client, target: Target, report: Report, *, files: Path | None = None
    ) -> None:
        self._client = client
        self._report = report
        self._files = None
        if files is not None and files.is_dir():
            self._files = FileFolder(client, files, target.source_id, report)
        named = full_name(target.source)
        ours = f"/api/lodestream/v1/sources/{named}/foresee"
        self._path = ours if report.is_dry else f"/api/v1/sources/{named}/sync"
        self._labellings: str | None = None
        if target.dataset is not None:
            dataset = full_name(target.dataset)
            self._labellings = f"/api/_private/datasets/{dataset}/labellings/{target.source_id}."

    def send(self, items: Iterable[FoundComment | Bad], *, once: bool = False) -> None:
        """Store comments; with `once` the second of an id is refused, else it replaces the first.

        What is refused is in the report. Raises Refused for what is no comment's fault.
        """
        under_way: Future[None] | None = None
        with ThreadPoolExecutor(1) as sender:
            for batch in _batches(self._checked(items, once=once)):
                if under_way is not None:
                    under_way.result()
                under_way = sender.submit(self._store, batch)
            if under_way is not None:
                under_way.result()

    def _checked(self, items: Iterable[FoundComment | Bad], *, once: bool) -> Iterator[Ready]:
        seen = Seen() if once else None
        waiting = iter(items)
        while chunk := list(islice(waiting, BATCH)):
            self._report.read += len(chunk)
            ready = [one for item in chunk if (one := self._ready(item)) is not None]
            if seen is None:
                yield from ready
                continue
            repeated = seen.add([one.incoming.key_hash for one in ready])
            for one, is_repeated in zip(ready, repeated, strict=True):
                if is_repeated:
                    reason = f"the id {one.incoming.id!r} stands in an earlier row"
                    self._refuse(_bad(one.found, reason))
                else:
                    yield one

    def _ready(self, item: FoundComment | Bad) -> Ready | None:
        if isinstance(item, Bad):
            self._refuse(item)
            return None
        if item.left_out:
            self._report.leave_out(item.left_out)
        if self._files is not None:
            self._files.claim(item.comment)
        try:
            return Ready(item, prepare(item.comment, salt=0, tag=0))
        except InvalidInput as error:
            self._refuse(_bad(item, error.message))
            return None

    def _refuse(self, bad: Bad) -> None:
        self._report.refuse(bad)
        self._report.progress.advance(0, step=bad.size_bytes)

    def _store(self, batch: list[Ready]) -> None:
        """Store a batch. One that is refused is halved until the comments at fault stand alone."""
        stored: list[Ready] = []
        waiting = [batch]
        while waiting:
            part = waiting.pop()
            try:
                reply = self._call(part)
            except Refused as error:
                # Only what lies in the comments themselves is worth another try in parts.
                if error.status not in _OF_THE_CONTENT:
                    raise
                if len(part) > 1:
                    middle = len(part) // 2
                    waiting += [part[middle:], part[:middle]]
                    continue
                self._report.refuse(_bad(part[0].found, error.message))
            else:
                if reply:
                    self._report.count(reply)
                stored += part
            step = sum(one.found.size_bytes for one in part)
            self._report.progress.advance(len(part), step=step)
        if self._labellings is not None:
            self._annotate([one for one in stored if one.found.annotations])

    def _call(self, part: list[Ready]) -> dict[str, Any]:
        body = b'{"comments":[' + b",".join(one.incoming.core for one in part) + b"]}"
        try:
            # Sending the same comments again changes nothing.
            return self._client.call("POST", self._path, body, idempotent=True)
        except Refused as error:
            if self._report.is_dry and error.status in (404, 405) and "source" not in error.message:
                self._report.counts["unknown"] += len(part)
                return {}
            raise

    def _annotate(self, annotated: list[Ready]) -> None:
        self._report.counts["annotated"] += len(annotated)
        if self._report.is_dry:
            return
        with ThreadPoolExecutor(_ANNOTATED_AT_ONCE) as pool:
            for bad in pool.map(self._annotate_one, annotated):
                if bad is not None:
                    self._report.counts["annotated"] -= 1
                    self._report.refuse(bad, is_stored=True)

    def _annotate_one(self, one: Ready) -> Bad | None:
        path = f"{self._labellings}{quote(one.incoming.id, safe='')}"
        try:
            # They replace what was there: twice is as once.
            self._client.call("POST", path, dict(one.found.annotations), idempotent=True)
        except Refused as error:
            if error.status not in (*_OF_THE_CONTENT, 404):
                raise
            return _bad(one.found, f"annotations: {error.message}")
        return None


def _bad(item: FoundComment, reason: str) -> Bad:
    return Bad(item.where, reason, item.content, item.size_bytes)


def _batches(comments: Iterator[Ready]) -> Iterator[list[Ready]]:
    batch: list[Ready] = []
    size = 0
    for one in comments:
        # The largest body is a setting of the server; smaller ones are as fast.
        length = len(one.incoming.core)
        if batch and (len(batch) == BATCH or size + length > LARGEST_BATCH_BYTES):
            yield batch
            batch, size = [], 0
        batch.append(one)
        size += length
    if batch:
        yield batch
