"""The rows of reading a dataset's comments in an order, and of comparing some with others."""

from __future__ import annotations

from lodestream.api import compare, query
from lodestream.api.routing import Query, Route, needs_project
from lodestream.api.tables import MOST_ROWS
from lodestream.domain import access as a

_PRIVATE = "/api/_private/datasets/{owner}/{dataset_name}"

QUERIES = (
    Route(
        "POST",
        _PRIVATE + "/query",
        "queryComments",
        "comments",
        query.query_comments,
        needs_project(a.VOC_READONLY, a.SOURCES_READ),
        body=query.QueryRequest,
        reply=query.QueryReply,
        query=(
            Query("limit", "integer", minimum=1, maximum=MOST_ROWS),
            Query("continuation"),
        ),
        body_optional=True,
        writes=False,
    ),
    Route(
        "POST",
        _PRIVATE + "/compare",
        "getComparison",
        "datasets",
        compare.compare,
        needs_project(a.VOC_READONLY),
        body=compare.ComparisonRequest,
        reply=compare.ComparisonReply,
        body_optional=True,
        writes=False,
    ),
)
