"""The rows of sources and comments."""

from __future__ import annotations

from lodestream.api import comments, sources
from lodestream.api.routing import Query, Route, lists_where, needs_object, needs_project
from lodestream.domain import access as a
from lodestream.domain.comments import CommentBatch

_V1 = "/api/v1"
_PRIVATE = "/api/_private"
_SOURCE = "/sources/{owner}/{source_name}"
_NO_CHARGE = Query("no_charge", "boolean")

SOURCES = (
    Route(
        "PUT",
        _V1 + _SOURCE,
        "createSource",
        "sources",
        sources.create_source,
        needs_project(a.SOURCES_ADMIN),
        body=sources.SourceRequest,
        reply=sources.SourceReply,
    ),
    Route(
        "POST",
        _V1 + _SOURCE,
        "updateSource",
        "sources",
        sources.update_source,
        needs_project(a.SOURCES_ADMIN),
        body=sources.SourceRequest,
        reply=sources.SourceReply,
    ),
    Route(
        "GET",
        _V1 + _SOURCE,
        "getSource",
        "sources",
        sources.get_source,
        needs_project(a.SOURCES_READ),
        reply=sources.SourceReply,
    ),
    Route(
        "GET",
        _V1 + "/sources/id:{source_id}",
        "getSourceById",
        "sources",
        sources.get_source_by_id,
        needs_object(a.SOURCES_READ),
        reply=sources.SourceReply,
    ),
    Route(
        "DELETE",
        _V1 + "/sources/id:{source_id}",
        "deleteSource",
        "sources",
        sources.delete_source,
        needs_object(a.SOURCES_ADMIN),
    ),
    Route(
        "GET",
        _V1 + "/sources",
        "getAllSources",
        "sources",
        sources.list_sources,
        lists_where(a.SOURCES_READ),
        reply=sources.SourcesReply,
    ),
    Route(
        "GET",
        _V1 + "/sources/{owner}",
        "getAllSourcesInProject",
        "sources",
        sources.list_project_sources,
        needs_project(a.SOURCES_READ),
        reply=sources.SourcesReply,
    ),
)

COMMENTS = (
    Route(
        "POST",
        _V1 + _SOURCE + "/sync",
        "syncComments",
        "comments",
        comments.sync_comments,
        needs_project(a.SOURCES_ADD_COMMENTS),
        body=CommentBatch,
        checks_json=True,
        reply=comments.SyncReply,
        query=(_NO_CHARGE,),
    ),
    Route(
        "PUT",
        _PRIVATE + _SOURCE + "/comments",
        "addComments",
        "comments",
        comments.add_comments,
        needs_project(a.SOURCES_ADD_COMMENTS),
        body=CommentBatch,
        checks_json=True,
        query=(_NO_CHARGE,),
    ),
    Route(
        "GET",
        _PRIVATE + _SOURCE + "/comments",
        "getSourceComments",
        "comments",
        comments.list_comments,
        needs_project(a.SOURCES_READ),
        reply=comments.CommentPage,
        query=(
            Query("limit", "integer", minimum=1, maximum=256),
            Query("after"),
            Query("from_timestamp"),
            Query("to_timestamp"),
            Query("direction"),
            Query("include_markup", "boolean"),
            Query("include_thread_properties", "boolean"),
        ),
    ),
    Route(
        "GET",
        _V1 + _SOURCE + "/comments/{comment_id}",
        "getComment",
        "comments",
        comments.get_comment,
        needs_project(a.SOURCES_READ),
        reply=comments.CommentReply,
        query=(Query("include_markup", "boolean"),),
    ),
    Route(
        "DELETE",
        _V1 + _SOURCE + "/comments",
        "deleteComment",
        "comments",
        comments.delete_comments,
        needs_project(a.SOURCES_ADD_COMMENTS),
        query=(Query("id", repeated=True), Query("ids", repeated=True)),
    ),
)
