"""What `GET /metrics` shows of requests; the rest is read from the database when it is asked."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Histogram

_BUCKETS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)


class Metrics:
    """Counters of one server process."""

    def __init__(self) -> None:
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
