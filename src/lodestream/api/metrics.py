"""What `GET /metrics` shows.

Requests and ingest are counted by each server process; where there are several, they share their
counts by files in one folder (`shared`), so that whichever answers shows the whole server's. What
is in the database, as the lag of streams and the jobs, is read from it when it is asked for, and
kept for a few seconds.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Histogram, ProcessCollector
from prometheus_client.exposition import generate_latest
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.multiprocess import MultiProcessCollector

from lodestream.domain.errors import NotFound
from lodestream.domain.times import now_us
from lodestream.store import comments, jobs, lag, mailboxes, sinks
from lodestream.store.catalogue import Catalogue
from lodestream.store.db import Database

CONTENT_TYPE: Final = b"text/plain; version=0.0.4; charset=utf-8"
KEPT_S: Final = 5.0
MOST_STREAMS: Final = 1000
MOST_MAILBOXES: Final = 1000
EXAMINED_IN_ALL: Final = 1_000_000
"""Comments that one scrape looks at to count what is unread, in all streams together."""

_BUCKETS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)


class Metrics:
    """Counters of one server process; `shared` is the folder it has in common with others."""

    def __init__(self, shared: str | None = None) -> None:
        self._shared = shared
        self.registry = CollectorRegistry()
        self._requests = Counter(
            "lodestream_requests",
            "Requests answered, by operation and status.",
            ("operation", "status"),
            registry=self.registry,
        )
        self._latency = Histogram(
            "lodestream_request_seconds",
            "Time from the request's first byte to the reply handed over.",
            ("operation",),
            buckets=_BUCKETS_S,
            registry=self.registry,
        )
        self._comments = Counter(
            "lodestream_comments",
            "Comments received and acknowledged, by what became of them.",
            ("result",),
            registry=self.registry,
        )
        self._results = {
            name: self._comments.labels(name) for name in ("new", "updated", "unchanged")
        }
        self._children: dict[tuple[str, int], tuple[Counter, Histogram]] = {}

    def observe(self, operation: str, status: int, took_s: float) -> None:
        """Count one answered request."""
        key = (operation, status)
        children = self._children.get(key)
        if children is None:
            children = (
                self._requests.labels(operation, str(status)),
                self._latency.labels(operation),
            )
            self._children[key] = children
        children[0].inc()
        children[1].observe(took_s)

    def ingested(self, *, new: int, updated: int, unchanged: int) -> None:
        """Count what a committed batch of comments did."""
        self._results["new"].inc(new)
        self._results["updated"].inc(updated)
        self._results["unchanged"].inc(unchanged)

    def exposition(self, figures: Figures) -> bytes:
        """Return everything in Prometheus's text format."""
        if self._shared is None:
            registry = self.registry
            own = CollectorRegistry()
            ProcessCollector(registry=own)
        else:
            registry = own = CollectorRegistry()
            MultiProcessCollector(registry, path=self._shared)  # type: ignore[no-untyped-call]
        text = generate_latest(registry)
        if own is not registry:
            text += generate_latest(own)
        return text + generate_latest(figures)


class Figures:
    """What is read from the database, once in `KEPT_S` seconds at most."""

    def __init__(self, db: Database, catalogue: Catalogue) -> None:
        self._db = db
        self._catalogue = catalogue
        self._lock = threading.Lock()
        self._kept: list[Metric] = []
        self._until = 0.0

    def collect(self) -> Iterable[Metric]:
        """Return the figures. Raises Unavailable if the database cannot be reached."""
        with self._lock:
            if time.monotonic() >= self._until:
                self._kept = [
                    *self._jobs(),
                    *self._streams(),
                    *self._sinks(),
                    *self._mailboxes(),
                ]
                self._until = time.monotonic() + KEPT_S
            return self._kept

    def forget(self) -> None:
        """Read anew when asked next."""
        self._until = 0.0

    def _jobs(self) -> list[Metric]:
        with self._db.read() as tx:
            counts = jobs.count_by_kind(tx)
            stored = comments.total_comments(tx)
        total = GaugeMetricFamily("lodestream_comments_stored", "Comments in the database.")
        total.add_metric((), stored)
        number = GaugeMetricFamily(
            "lodestream_jobs",
            "Background jobs: waiting, running, and failing (tried in vain at least once).",
            labels=("kind", "state"),
        )
        overdue = GaugeMetricFamily(
            "lodestream_job_overdue_seconds",
            "How long the job that has been due longest has waited for a worker.",
            labels=("kind",),
        )
        for one in counts:
            number.add_metric((one.kind, "waiting"), one.waiting)
            number.add_metric((one.kind, "running"), one.running)
            number.add_metric((one.kind, "failing"), one.failing)
            waited_us = 0 if one.oldest_due_us is None else now_us() - one.oldest_due_us
            overdue.add_metric((one.kind,), waited_us / 1e6)
        return [total, number, overdue]

    def _streams(self) -> list[Metric]:
        labels = ("project", "dataset", "stream")
        unread = GaugeMetricFamily(
            "lodestream_stream_unread",
            "Comments that a stream has not been advanced past; a lower bound if many are.",
            labels=labels,
        )
        oldest = GaugeMetricFamily(
            "lodestream_stream_oldest_unread_seconds",
            "Age of the oldest comment that a stream has not been advanced past; 0 if none is.",
            labels=labels,
        )
        exact = GaugeMetricFamily(
            "lodestream_stream_unread_is_exact",
            "1 if the number of unread comments is exact, 0 if it is a lower bound.",
            labels=labels,
        )
        self._catalogue.refresh()
        with self._db.read() as tx:
            places = lag.list_places(tx, limit=MOST_STREAMS)
        for place in places:
            try:
                feed = self._catalogue.get_plan(place.project, place.dataset, place.name).feed
            except NotFound:
                continue  # deleted since it was listed
            measured = lag.measure(
                self._db,
                feed.sources,
                feed.condition,
                position=place.position,
                examine=EXAMINED_IN_ALL // len(places),
            )
            names = (place.project, place.dataset, place.name)
            age_us = 0 if measured.oldest_us is None else now_us() - measured.oldest_us
            unread.add_metric(names, measured.unread)
            oldest.add_metric(names, max(0, age_us) / 1e6)
            exact.add_metric(names, int(measured.is_exact))
        return [unread, oldest, exact]

    def _sinks(self) -> list[Metric]:
        labels = ("project", "dataset", "stream", "sink")
        gauges = {
            name: GaugeMetricFamily(f"lodestream_sink_{name}", text, labels=labels)
            for name, text in (
                ("enabled", "1 if a sink is enabled, 0 if not."),
                ("unread", "Comments that a sink's target does not have; a lower bound if many."),
                (
                    "oldest_unread_seconds",
                    "Age of the oldest comment that a sink's target does not have; 0 if none is.",
                ),
            )
        }
        counters = {
            name: CounterMetricFamily(f"lodestream_sink_{name}", text, labels=labels)
            for name, text in (
                ("delivered", "Comments that a sink's target acknowledged."),
                ("failed_attempts", "Deliveries of a sink that did not get to their end."),
                ("dead_letters", "Comments that a sink gave up."),
            )
        }
        with self._db.read() as tx:
            places = sinks.list_placed(tx, limit=MOST_STREAMS)
        for place in places:
            names = (place.project, place.dataset, place.stream, place.sink.name)
            try:
                feed = self._catalogue.get_plan(*names[:3]).feed
            except NotFound:
                continue  # deleted since it was listed
            measured = lag.measure(
                self._db,
                feed.sources,
                feed.condition,
                position=place.sink.position,
                examine=EXAMINED_IN_ALL // len(places),
            )
            age_us = 0 if measured.oldest_us is None else now_us() - measured.oldest_us
            gauges["enabled"].add_metric(names, int(place.sink.enabled))
            gauges["unread"].add_metric(names, measured.unread)
            gauges["oldest_unread_seconds"].add_metric(names, max(0, age_us) / 1e6)
            counters["delivered"].add_metric(names, place.sink.delivered)
            counters["failed_attempts"].add_metric(names, place.sink.failed)
            counters["dead_letters"].add_metric(names, place.sink.dead_letters)
        return [*gauges.values(), *counters.values()]

    def _mailboxes(self) -> list[Metric]:
        labels = ("project", "integration", "mailbox")
        emails = CounterMetricFamily(
            "lodestream_mailbox_emails",
            "E-mails of a mailbox, by whether they were stored or could not be.",
            labels=(*labels, "result"),
        )
        lag_s = GaugeMetricFamily(
            "lodestream_mailbox_lag_seconds",
            "How long ago an enabled mailbox was last read to its end.",
            labels=labels,
        )
        failures = GaugeMetricFamily(
            "lodestream_mailbox_failures",
            "How often in a row a mailbox could not be read.",
            labels=labels,
        )
        enabled = GaugeMetricFamily(
            "lodestream_mailbox_enabled",
            "1 if a mailbox is read, 0 if it or its integration is disabled.",
            labels=labels,
        )
        now = now_us()
        with self._db.read() as tx:
            found = mailboxes.list_states(tx, now_us=now, limit=MOST_MAILBOXES)
        for one in found:
            names = (one.project, one.integration, one.email)
            emails.add_metric((*names, "stored"), one.emails_read)
            emails.add_metric((*names, "failed"), one.emails_failed)
            failures.add_metric(names, one.failures)
            enabled.add_metric(names, int(one.active))
            if one.active:
                lag_s.add_metric(names, one.lag_us(now) / 1e6)
        return [emails, lag_s, failures, enabled]
