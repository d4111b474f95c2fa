"""Deliver the next comments of a stream to a sink, and note what became of them.

The order of things is the guarantee: read after the cursor, deliver, and only then, in one
transaction, move the cursor, tag what was given up and note the attempt. A process that dies in
between has the same comments delivered again.
"""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Sequence
from typing import Any, Final

from msgspec import Struct

from lodestream.actions.feeding import labelled, without_hidden
from lodestream.actions.predict import Predictor
from lodestream.domain.audit import DatasetRef, ProjectRef, Refs
from lodestream.domain.comments import uid_of
from lodestream.domain.deliveries import (
    Done,
    Failed,
    Gone,
    Outcome,
    Problem,
    Step,
    Tries,
    decide,
    give_up,
    probe_depth,
    wait_after,
)
from lodestream.domain.errors import LodestreamError, NotFound, Unavailable
from lodestream.domain.places import created_us
from lodestream.domain.sinks import Attempt, Sink, linger_s, most_at_once
from lodestream.domain.times import now_us
from lodestream.domain.users import SYSTEM_USER
from lodestream.sinks.results import Item, OpenSink
from lodestream.store import audit, lag, sinks, streams
from lodestream.store.catalogue import Catalogue, StreamPlan
from lodestream.store.db import Database, Writer
from lodestream.store.sinks import Placed

READ_AT_ONCE: Final = 1024
MOST_BYTES: Final = 64 << 20
"""About as much is read for one delivery at most."""
MOST_READ_S: Final = 5.0
MOST_REASON_CHARS: Final = 200
MOST_DETAIL_CHARS: Final = 1000

log = logging.getLogger("lodestream.sinks")


class Window(Struct):
    """The next comments of a sink. `end` is the last place that was examined."""

    items: list[Item]
    places: list[int]
    end: int
    at_end: bool


def find_plan(catalogue: Catalogue, place: Placed) -> StreamPlan | None:
    """Return what the stream of a sink delivers; None if it is no longer where it was.

    It is as current as the catalogue, which is to be refreshed before.
    """
    try:
        plan = catalogue.get_plan(place.project, place.dataset, place.stream)
    except NotFound:
        return None
    return plan if plan.stream.id == place.sink.stream_id else None


def read_window(
    db: Database, predictor: Predictor, plan: StreamPlan, sink: Sink, *, size: int
) -> Window:
    """Read up to `size` comments after a sink's cursor, as a fetch would return them.

    Raises Unprocessable if predictions are missing and cannot be computed here.
    """
    window = Window([], [], sink.position, at_end=False)
    size_bytes, until = 0, time.monotonic() + MOST_READ_S
    while len(window.items) < size and size_bytes < MOST_BYTES and time.monotonic() < until:
        after, wanted = window.end, min(size - len(window.items), READ_AT_ONCE)
        batch = plan.feed.read(after, wanted)
        suffixes = [b"},"] * len(batch.rows)
        if plan.attached is not None:
            found = labelled(
                db, predictor, plan, plan.attached, batch, position=after, max_filtered=None
            )
            batch, suffixes = found.batch, found.suffixes
        for (pos, front), suffix in zip(batch.rows, suffixes, strict=True):
            shown = front if sink.include_sensitive else without_hidden(plan, front)
            window.items.append(Item(uid_of(front), front[-33:-1].decode(), shown + suffix[:-1]))
            window.places.append(pos)
            size_bytes += len(shown)
        window.end, window.at_end = max(batch.end, after), batch.at_end
        if batch.at_end or window.end == after:
            break
    return window


class Courier:
    """Delivers to one sink that this process has claimed as `worker`."""

    def __init__(
        self,
        db: Database,
        catalogue: Catalogue,
        predictor: Predictor,
        *,
        worker: str,
        place: Placed,
        target: OpenSink,
    ) -> None:
        self._db = db
        self._catalogue = catalogue
        self._predictor = predictor
        self._worker = worker
        self._place = place
        self._target = target

    def step(self, sink: Sink) -> Sink | None:
        """Deliver the next comments; return the sink as it is then.

        None: there is nothing to deliver now, or the sink has to wait, or it is another's.
        """
        self._catalogue.refresh()
        plan = find_plan(self._catalogue, self._place)
        if plan is None:
            return None
        try:
            window = read_window(self._db, self._predictor, plan, sink, size=_size_of(sink))
        except Unavailable:
            raise
        except LodestreamError as error:
            postpone(self._db, sink, worker=self._worker, reason=error.message)
            return None
        if not window.items:
            return None if window.end == sink.position else self._skip(sink, window.end)
        if _is_too_early(sink, window):
            return None
        return self._deliver(plan, sink, window)

    def _skip(self, sink: Sink, end: int) -> Sink | None:
        """Move past comments that the filter leaves out."""
        with self._db.write(catalogue=False) as tx:
            changes = {"position": end}
            return sinks.move(tx, sink, worker=self._worker, changes=changes, attempts=())

    def _deliver(self, plan: StreamPlan, sink: Sink, window: Window) -> Sink | None:
        began = time.monotonic()
        at_us = now_us()
        try:
            outcomes = self._send(window.items)
        except Gone as error:
            self._disable(sink, error.reason, at_us=at_us, comments=len(window.items))
            return None
        step = decide(_tries(sink), window.places, outcomes)
        if step.wants_proof and self._accepts_another(plan, sink, step):
            assert step.problem is not None
            step = give_up(step.problem)
        took_ms = int((time.monotonic() - began) * 1000)
        attempts = _attempts(sink, window, step, at_us, took_ms)
        changes = _changes(sink, window, step, at_us, len(attempts))
        with self._db.write(catalogue=False) as tx:
            moved = sinks.move(tx, sink, worker=self._worker, changes=changes, attempts=attempts)
            if moved is not None and step.dead:
                _tag(tx, plan, sink, window, step)
        if moved is None:
            return None
        self._tell(sink, window, step)
        return None if step.wait_s else moved

    def _send(self, items: Sequence[Item]) -> list[Outcome]:
        """Deliver; raises Gone."""
        try:
            outcomes = self._target.deliver(items)
        except Gone:
            raise
        except Exception as error:
            # Whatever it is: one comment must not stop all others, nor be lost for it.
            log.exception("sink failed", extra={"sink": self._place.sink.name})
            return [Failed(f"cannot be sent: {type(error).__name__}")] * len(items)
        assert len(outcomes) == len(items)
        return outcomes

    def _accepts_another(self, plan: StreamPlan, sink: Sink, step: Step) -> bool:
        """Tell whether the target accepts a comment behind the one that fails."""
        depth = probe_depth(step.failures, sink.max_failures)
        window = read_window(self._db, self._predictor, plan, sink, size=depth + 1)
        if len(window.items) < 2:
            return False
        return isinstance(self._send(window.items[-1:])[0], Done)

    def _disable(self, sink: Sink, reason: str, *, at_us: int, comments: int) -> None:
        number = sink.attempts + 1
        attempt = Attempt(number, at_us, 0, comments, 0, "disabled", reason, None, None)
        changes = {
            "enabled": False,
            "disabled_reason": f"the target wants no more: {reason}",
            "attempts": number,
            "failed": sink.failed + 1,
            "failed_us": at_us,
            "error": reason,
        }
        with self._db.write(catalogue=False) as tx:
            sinks.move(tx, sink, worker=self._worker, changes=changes, attempts=(attempt,))
        log.warning("sink disabled", extra={"sink": sink.name, "reason": reason})

    def _tell(self, sink: Sink, window: Window, step: Step) -> None:
        told = {"sink": sink.name, "stream": self._place.stream}
        for dead in step.dead:
            uid = window.items[dead.index].uid
            log.warning("dead letter", extra={**told, "uid": uid, "reason": dead.problem.reason})
        if step.wait_s and step.problem is not None:
            wait_s = round(step.wait_s, 1)
            reason = step.problem.reason
            log.warning("sink waits", extra={**told, "reason": reason, "pause_s": wait_s})


def postpone(db: Database, sink: Sink, *, worker: str, reason: str) -> None:
    """Note that nothing could be sent, for no fault of a comment, and wait."""
    at_us, number, waits = now_us(), sink.attempts + 1, sink.waits + 1
    changes = {
        "waits": waits,
        "attempts": number,
        "failed": sink.failed + 1,
        "failed_us": at_us,
        "error": reason,
        "due_us": _due_us(wait_after(waits)),
    }
    attempt = Attempt(number, at_us, 0, 0, 0, "waiting", reason, None, None)
    with db.write(catalogue=False) as tx:
        sinks.move(tx, sink, worker=worker, changes=changes, attempts=(attempt,))
    log.warning("sink waits", extra={"sink": sink.name, "reason": reason})


def _size_of(sink: Sink) -> int:
    return max(1, min(sink.size, most_at_once(sink.configuration)))


def _tries(sink: Sink) -> Tries:
    most = most_at_once(sink.configuration)
    return Tries(sink.head, sink.failures, sink.waits, _size_of(sink), most, sink.max_failures)


def _is_too_early(sink: Sink, window: Window) -> bool:
    """Tell whether more comments are waited for before these are delivered."""
    linger_us = linger_s(sink.configuration) * 1_000_000
    is_full = not window.at_end or len(window.items) >= _size_of(sink)
    return not is_full and now_us() - created_us(window.places[0]) < linger_us


def _due_us(wait_s: float) -> int:
    # Jitter, so that sinks which failed together do not come back together; never too early.
    return now_us() + int(wait_s * random.uniform(1.0, 1.25) * 1e6)  # noqa: S311 (no secret)


def _changes(sink: Sink, window: Window, step: Step, at_us: int, attempts: int) -> dict[str, Any]:
    """Return what a step changes of a sink."""
    position = sink.position
    if step.passed:
        # What the filter left out behind the last comment is passed with it.
        whole = step.passed == len(window.items)
        position = window.end if whole else window.places[step.passed - 1]
    changes: dict[str, Any] = {
        "position": position,
        "head": step.head,
        "failures": step.failures,
        "waits": step.waits,
        "size": step.size,
        "due_us": _due_us(step.wait_s),
        "attempts": sink.attempts + attempts,
        "delivered": sink.delivered + step.delivered,
        "dead_letters": sink.dead_letters + len(step.dead),
        "error": None,
    }
    if step.delivered:
        changes["succeeded_us"] = now_us()
    if step.problem is not None:
        changes.update(failed=sink.failed + 1, failed_us=at_us, error=step.problem.reason)
    return changes


def _attempts(sink: Sink, window: Window, step: Step, at_us: int, took_ms: int) -> list[Attempt]:
    """Return what is noted of a step: the attempt, and each comment that was given up."""
    number = sink.attempts + 1
    result: Any = "delivered"
    if step.problem is not None:
        result = "waiting" if step.wait_s else "split"
    noted: list[Attempt] = []
    if step.delivered or step.wait_s or not step.dead:
        stopped = step.problem is not None and step.passed < len(window.items)
        uid = window.items[step.passed].uid if stopped else None
        reason, detail = _said(step.problem)
        count = len(window.items)
        noted.append(
            Attempt(number, at_us, took_ms, count, step.delivered, result, reason, detail, uid)
        )
    for dead in step.dead:
        reason, detail = _said(dead.problem)
        uid = window.items[dead.index].uid
        number = sink.attempts + 1 + len(noted)
        noted.append(Attempt(number, at_us, took_ms, 1, 0, "dead_letter", reason, detail, uid))
    return noted


def _said(problem: Problem | None) -> tuple[str | None, str | None]:
    if problem is None:
        return None, None
    detail = problem.detail[:MOST_DETAIL_CHARS].replace("\0", "")
    return problem.reason[:MOST_REASON_CHARS], detail or None


def _tag(tx: Writer, plan: StreamPlan, sink: Sink, window: Window, step: Step) -> None:
    """Tag what was given up as exceptions of the stream."""
    for dead in step.dead:
        kind = f"sink {sink.name}: {dead.problem.reason}"[:MOST_REASON_CHARS]
        pos = window.places[dead.index]
        if lag.find_uid(tx, plan.feed.sources, pos) is not None:
            streams.tag(tx, sink.stream_id, pos=pos, kind=kind, now_us=now_us(), by=SYSTEM_USER)
    where = plan.dataset
    refs = Refs(
        projects=(ProjectRef(where.project_id, where.owner),),
        datasets=(DatasetRef(where.id, where.name, where.title, where.project_id),),
        streams=(plan.stream.ref,),
        details={"sink": sink.name, "exceptions": len(step.dead)},
    )
    audit.record(tx, actor_id=SYSTEM_USER, event_type="store_exception", refs=refs)
