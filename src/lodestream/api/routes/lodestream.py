"""The rows that are ours alone: annotations, how streams do, and how the server does."""

from __future__ import annotations

from lodestream.api import comments, downloads, labellings, sinks, status, system
from lodestream.api.routing import PUBLIC, Guard, Needs, Query, Route, needs_project
from lodestream.domain import access as a
from lodestream.domain.comments import CommentBatch

_OURS = "/api/lodestream/v1"
_DATASET = _OURS + "/datasets/{owner}/{dataset_name}"
_STREAMS = _DATASET + "/streams"
_SINKS = _STREAMS + "/{stream_name}/sinks"

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

SINKS = (
    Route(
        "PUT",
        _SINKS,
        "createSink",
        "sinks",
        sinks.create_sink,
        needs_project(a.STREAMS_ADMIN, a.STREAMS_CONSUME, a.VOC_READONLY, a.SOURCES_READ),
        body=sinks.CreateSinkRequest,
        reply=sinks.CreateSinkReply,
    ),
    Route(
        "GET",
        _SINKS,
        "listSinks",
        "sinks",
        sinks.list_sinks,
        needs_project(a.STREAMS_READ, a.VOC_READONLY),
        reply=sinks.SinksReply,
    ),
    Route(
        "GET",
        _SINKS + "/{sink_name}",
        "getSink",
        "sinks",
        sinks.get_sink,
        needs_project(a.STREAMS_READ, a.VOC_READONLY),
        reply=sinks.SinkReply,
    ),
    Route(
        "POST",
        _SINKS + "/{sink_name}",
        "updateSink",
        "sinks",
        sinks.update_sink,
        needs_project(a.STREAMS_ADMIN, a.STREAMS_CONSUME, a.VOC_READONLY, a.SOURCES_READ),
        body=sinks.UpdateSinkRequest,
        reply=sinks.SinkReply,
    ),
    Route(
        "DELETE",
        _SINKS + "/{sink_name}",
        "deleteSink",
        "sinks",
        sinks.delete_sink,
        needs_project(a.STREAMS_ADMIN, a.VOC_READONLY),
    ),
    Route(
        "POST",
        _SINKS + "/{sink_name}/reset",
        "resetSink",
        "sinks",
        sinks.reset_sink,
        needs_project(a.STREAMS_CONSUME, a.VOC_READONLY, a.SOURCES_READ),
        body=sinks.ResetSinkRequest,
        reply=sinks.SinkReply,
    ),
    Route(
        "GET",
        _SINKS + "/{sink_name}/attempts",
        "listSinkAttempts",
        "sinks",
        sinks.list_attempts,
        needs_project(a.STREAMS_READ, a.VOC_READONLY, a.SOURCES_READ),
        reply=sinks.SinkAttemptsReply,
        query=(Query("limit", "integer", minimum=1, maximum=sinks.MOST_ATTEMPTS),),
    ),
    Route(
        "POST",
        _SINKS + "/{sink_name}/test",
        "testSink",
        "sinks",
        sinks.test_sink,
        needs_project(a.STREAMS_ADMIN, a.STREAMS_CONSUME, a.VOC_READONLY),
        reply=sinks.TestSinkReply,
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

FORESIGHT = (
    Route(
        "POST",
        _OURS + "/sources/{owner}/{source_name}/foresee",
        "foreseeComments",
        "comments",
        comments.foresee_comments,
        needs_project(a.SOURCES_ADD_COMMENTS),
        body=CommentBatch,
        checks_json=True,
        reply=comments.SyncReply,
        writes=False,
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
