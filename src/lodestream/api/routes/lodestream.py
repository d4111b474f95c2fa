"""The rows that are ours alone: how streams do, and how the server does."""

from __future__ import annotations

from lodestream.api import status, system
from lodestream.api.routing import PUBLIC, Guard, Needs, Route, needs_project
from lodestream.domain import access as a

_OURS = "/api/lodestream/v1"
_STREAMS = _OURS + "/datasets/{owner}/{dataset_name}/streams"

STATUS = (
    Route(
        "GET",
        _STREAMS,
        "listStreamStatus",
        "status",
        status.list_statuses,
        needs_project(a.STREAMS_READ, a.VOC_READONLY),
        reply=status.StatusesReply,
    ),
    Route(
        "GET",
        _STREAMS + "/{stream_name}/status",
        "getStreamStatus",
        "status",
        status.get_status,
        needs_project(a.STREAMS_READ, a.VOC_READONLY),
        reply=status.StatusReply,
    ),
)

SYSTEM = (
    Route("GET", "/healthz", "getHealth", "system", system.health, PUBLIC),
    Route("GET", "/readyz", "getReadiness", "system", system.ready, PUBLIC),
    Route(
        "GET",
        "/metrics",
        "getMetrics",
        "system",
        system.metrics,
        Needs(Guard.PUBLIC, rule=system.METRICS_RULE),
        reply_type="text/plain",
    ),
)
