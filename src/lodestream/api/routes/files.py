"""The rows of attachments and recordings."""

from __future__ import annotations

from lodestream.api import attachments
from lodestream.api.routing import Route, needs_hidden_object, needs_object
from lodestream.domain import access as a

_COMMENT = "/api/_private/sources/id:{source_id}/comments/{comment_id}"

FILES = (
    Route(
        "PUT",
        _COMMENT + "/attachments/{attachment_index}",
        "uploadCommentAttachment",
        "comments",
        attachments.upload_attachment,
        needs_object(a.SOURCES_ADD_COMMENTS),
        raw_body="multipart/form-data",
        reply=attachments.UploadReply,
    ),
    Route(
        "GET",
        "/api/v1/attachments/{attachment_reference}",
        "getAttachment",
        "attachments",
        attachments.get_attachment,
        needs_hidden_object(a.SOURCES_READ),
        reply_type="application/octet-stream",
        statuses=(206, 416),
    ),
    Route(
        "PUT",
        _COMMENT + "/audio",
        "setCommentAudio",
        "comments",
        attachments.set_audio,
        needs_object(a.SOURCES_ADD_COMMENTS),
        raw_body="multipart/form-data",
    ),
    Route(
        "GET",
        _COMMENT + "/audio",
        "getCommentAudio",
        "comments",
        attachments.get_audio,
        needs_object(a.SOURCES_READ),
        reply_type="audio/*",
        statuses=(206, 416),
    ),
)
