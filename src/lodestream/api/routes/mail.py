"""The rows of e-mails, buckets and files of rows."""

from __future__ import annotations

from lodestream.api import emails
from lodestream.api.routing import TOKEN, Query, Route, needs_project
from lodestream.domain import access as a

_V1 = "/api/v1"
_PRIVATE = "/api/_private"
_SOURCE = "/sources/{owner}/{source_name}"
_NO_CHARGE = Query("no_charge", "boolean")

RAW_EMAILS = (
    Route(
        "POST",
        _V1 + _SOURCE + "/sync-raw-emails",
        "syncRawEmails",
        "comments",
        emails.sync_emails,
        needs_project(a.SOURCES_ADD_COMMENTS),
        body=emails.SyncEmailsRequest,
        reply=emails.SyncEmailsReply,
        query=(_NO_CHARGE,),
    ),
    Route(
        "GET",
        _PRIVATE + "/sources/email-transform/tag:{transform_tag}",
        "getEmailTransformTagInfo",
        "sources",
        emails.get_transform_tag,
        TOKEN,
        reply=emails.TransformTagReply,
        statuses=(422,),
    ),
)

MAIL = (*RAW_EMAILS,)
