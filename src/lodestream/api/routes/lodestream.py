"""The rows that are ours alone: annotations, how streams do, and how the server does."""

from __future__ import annotations

from lodestream.api import downloads, labellings, status, system
from lodestream.api.routing import PUBLIC, Guard, Needs, Query, Route, needs_project
from lodestream.domain import access as a

_OURS = "/api/lodestream/v1"
_DATASET = _OURS + "/datasets/{owner}/{dataset_name}"
_STREAMS = _DATASET + "/streams"

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

ANNOTATIONS = (
    Route(
        "POST",
        _DATASET + "/annotate",
        "annotateComments",
        "annotations",
        labellings.annotate,
        needs_project(a.DATASETS_REVIEW),
        body=labellings.AnnotateRequest,
        reply=labellings.AnnotateReply,
    ),
    Route(
        "GET",
        _DATASET + "/history",
        "getAnnotationHistory",
        "annotations",
        labellings.get_history,
        needs_project(a.VOC_READONLY, a.SOURCES_READ),
        reply=labellings.HistoryReply,
        query=(
            Query("comment_uid", required=True),
            Query("limit", "integer", minimum=1, maximum=labellings.MOST_EVENTS),
            Query("older_than_revision", "integer", minimum=0),
        ),
    ),
    Route(
        "POST",
        _DATASET + "/undo",
        "undoAnnotation",
        "annotations",
        labellings.undo,
        needs_project(a.DATASETS_REVIEW),
        body=labellings.UndoRequest,
        reply=labellings.UndoReply,
    ),
)

DOWNLOADS = (
    Route(
        "POST",
        _DATASET + "/export",
        "downloadDataset",
        "datasets",
        downloads.download_dataset,
        needs_project(a.DATASETS_EXPORT),
        body=downloads.DownloadRequest,
        body_optional=True,
        # Reads, but for one audit entry: it must not stand in the way of writers.
        writes=False,
        reply_type="application/octet-stream",
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
