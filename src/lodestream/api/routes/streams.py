"""The rows of streams, and of triggers: the same objects under their old name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from lodestream.api import streams
from lodestream.api.routing import Query, Route, needs_project
from lodestream.domain import access as a

_V1 = "/api/v1"

_RESULTS_QUERY = (
    Query("max_results", "integer", minimum=1, maximum=streams.MOST_RESULTS),
    Query("max_filtered", "integer", minimum=1, maximum=streams.MOST_RESULTS),
)


def _stream_routes(
    word: str, operations: dict[str, str], wire: dict[str, type]
) -> tuple[Route, ...]:
    """The rows of streams, under one of their two names."""
    many = _V1 + "/datasets/{owner}/{dataset_name}/" + word + "s"
    one = many + "/{" + word + "_name}"
    handlers: dict[str, tuple[Callable[[Any], Any], ...]] = {
        "stream": (
            streams.create_stream,
            streams.update_stream,
            streams.get_stream,
            streams.list_streams,
            streams.reset_stream,
        ),
        "trigger": (
            streams.create_trigger,
            streams.update_trigger,
            streams.get_trigger,
            streams.list_triggers,
            streams.reset_trigger,
        ),
    }
    create, update, get, list_all, reset = handlers[word]
    area = word + "s"
    return (
        Route(
            "PUT",
            many,
            operations["create"],
            area,
            create,
            needs_project(a.STREAMS_ADMIN, a.VOC_READONLY),
            body=wire["request"],
            reply=wire["reply"],
        ),
        Route(
            "POST",
            one,
            operations["update"],
            area,
            update,
            needs_project(a.STREAMS_WRITE, a.VOC_READONLY),
            body=wire["request"],
            reply=wire["reply"],
        ),
        Route(
            "GET",
            one,
            operations["get"],
            area,
            get,
            needs_project(a.STREAMS_READ, a.VOC_READONLY),
            reply=wire["reply"],
        ),
        Route(
            "GET",
            many,
            operations["list"],
            area,
            list_all,
            needs_project(a.STREAMS_READ, a.VOC_READONLY),
            reply=wire["list"],
        ),
        Route(
            "DELETE",
            one,
            operations["delete"],
            area,
            streams.delete_stream,
            needs_project(a.STREAMS_ADMIN, a.VOC_READONLY),
        ),
        Route(
            "POST",
            one + "/fetch",
            operations["fetch"],
            area,
            streams.fetch,
            needs_project(a.STREAMS_CONSUME, a.VOC_READONLY, a.SOURCES_READ),
            body=streams.FetchRequest,
            reply=streams.FetchReply,
            writes=False,
            fast=streams.fast_fetch,
        ),
        Route(
            "POST",
            one + "/advance",
            operations["advance"],
            area,
            streams.advance_stream,
            needs_project(a.STREAMS_CONSUME, a.VOC_READONLY),
            body=streams.AdvanceRequest,
            reply=streams.AdvanceReply,
            fast=streams.fast_advance,
        ),
        Route(
            "POST",
            one + "/reset",
            operations["reset"],
            area,
            reset,
            needs_project(a.STREAMS_CONSUME, a.VOC_READONLY),
            body=streams.ResetRequest,
            reply=wire["reset"],
        ),
        Route(
            "PUT",
            one + "/exceptions",
            operations["tag"],
            area,
            streams.store_exceptions,
            needs_project(a.STREAMS_CONSUME, a.SOURCES_READ),
            body=streams.ExceptionsRequest,
        ),
        Route(
            "DELETE",
            one + "/exceptions",
            operations["untag"],
            area,
            streams.delete_exceptions,
            needs_project(a.STREAMS_CONSUME, a.SOURCES_READ),
            query=(Query("uid", repeated=True, required=True),),
        ),
    )


STREAMS = (
    *_stream_routes(
        "stream",
        {
            "create": "createStream",
            "update": "updateStream",
            "get": "getStreamByName",
            "list": "getAllStreams",
            "delete": "deleteStream",
            "fetch": "fetchFromStream",
            "advance": "advanceStream",
            "reset": "resetStream",
            "tag": "storeException",
            "untag": "deleteException",
        },
        {
            "request": streams.StreamRequest,
            "reply": streams.StreamReply,
            "list": streams.StreamsReply,
            "reset": streams.ResetReply,
        },
    ),
    *(
        Route(
            "GET",
            base + "/datasets/{owner}/{dataset_name}/streams/{stream_name}/results",
            operation,
            "streams",
            streams.results,
            needs_project(a.STREAMS_CONSUME, a.VOC_READONLY, a.SOURCES_READ),
            reply=streams.ResultsReply,
            query=_RESULTS_QUERY,
        )
        for base, operation in (
            (_V1, "getStreamResults"),
            ("/api/preview", "getStreamResultsPreview"),
        )
    ),
)

TRIGGERS = _stream_routes(
    "trigger",
    {
        "create": "createTrigger",
        "update": "updateTrigger",
        "get": "getTrigger",
        "list": "getAllTriggersInDataset",
        "delete": "deleteTrigger",
        "fetch": "pollTrigger",
        "advance": "advanceTrigger",
        "reset": "resetTrigger",
        "tag": "storeTriggerException",
        "untag": "deleteTriggerException",
    },
    {
        "request": streams.TriggerRequest,
        "reply": streams.TriggerReply,
        "list": streams.TriggersReply,
        "reset": streams.TriggerResetReply,
    },
)
