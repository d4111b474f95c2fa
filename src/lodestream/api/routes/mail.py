"""The rows of e-mails, buckets and files of rows."""

from __future__ import annotations

from lodestream.api import attachments, buckets, emails
from lodestream.api.routing import (
    TOKEN,
    Guard,
    Needs,
    Query,
    Route,
    lists_where,
    needs_object,
    needs_project,
)
from lodestream.domain import access as a

_V1 = "/api/v1"
_PRIVATE = "/api/_private"
_SOURCE = "/sources/{owner}/{source_name}"
_BUCKET = "/buckets/{owner}/{bucket_name}"
_BY_ID = "/buckets/id:{raw_bucket_id}"
_STATE = "/bucket-sync-state/{owner}/{bucket_name}"
_FEEDS = Needs(Guard.OBJECT_ANY, (a.BUCKETS_APPEND, a.BUCKETS_WRITE))
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

BUCKETS = (
    Route(
        "PUT",
        _PRIVATE + _BUCKET,
        "createBucket",
        "buckets",
        buckets.create_bucket,
        needs_project(a.BUCKETS_WRITE),
        body=buckets.CreateBucketRequest,
        reply=buckets.BucketReply,
    ),
    Route(
        "POST",
        _PRIVATE + _BUCKET,
        "updateBucket",
        "buckets",
        buckets.update_bucket,
        needs_project(a.BUCKETS_WRITE),
        body=buckets.UpdateBucketRequest,
        reply=buckets.BucketReply,
    ),
    Route(
        "DELETE",
        _PRIVATE + _BY_ID,
        "deleteBucket",
        "buckets",
        buckets.delete_bucket,
        needs_object(a.BUCKETS_WRITE),
    ),
    Route(
        "GET",
        _PRIVATE + _BUCKET,
        "getBucket",
        "buckets",
        buckets.get_bucket,
        needs_project(a.BUCKETS_READ),
        reply=buckets.BucketReply,
    ),
    Route(
        "GET",
        _PRIVATE + "/buckets/id:{bucket_id}",
        "getBucketById",
        "buckets",
        buckets.get_bucket_by_id,
        needs_object(a.BUCKETS_READ),
        reply=buckets.BucketReply,
    ),
    Route(
        "GET",
        _PRIVATE + "/buckets",
        "getAllBuckets",
        "buckets",
        buckets.list_buckets,
        lists_where(a.BUCKETS_READ),
        reply=buckets.BucketsReply,
    ),
    Route(
        "GET",
        _PRIVATE + "/buckets/{owner}",
        "getBucketsByOwner",
        "buckets",
        buckets.list_project_buckets,
        needs_project(a.BUCKETS_READ),
        reply=buckets.BucketsReply,
    ),
    Route(
        "GET",
        _PRIVATE + _BUCKET + "/statistics",
        "getBucketStatistics",
        "buckets",
        buckets.get_statistics,
        needs_project(a.BUCKETS_READ),
        reply=buckets.BucketStatisticsReply,
    ),
    Route(
        "PUT",
        _PRIVATE + _BUCKET + "/emails",
        "addEmailsToBucket",
        "emails",
        buckets.add_emails,
        needs_project(a.BUCKETS_APPEND),
        body=buckets.AddEmailsRequest,
        query=(_NO_CHARGE,),
    ),
    Route(
        "POST",
        _PRIVATE + _BUCKET + "/emails",
        "getBucketEmails",
        "emails",
        buckets.list_emails,
        needs_project(a.BUCKETS_ITEMS_READ),
        body=buckets.ListEmailsRequest,
        body_optional=True,
        reply=buckets.EmailPage,
        writes=False,
    ),
    Route(
        "GET",
        _PRIVATE + _BUCKET + "/emails",
        "getEmailFromBucketById",
        "emails",
        buckets.get_email,
        needs_project(a.BUCKETS_ITEMS_READ),
        reply=buckets.EmailPage,
        query=(Query("id", required=True),),
    ),
    Route(
        "PUT",
        _PRIVATE + "/buckets/id:{bucket_id}/emails/{email_id}/attachments/{attachment_index}",
        "uploadEmailAttachment",
        "emails",
        buckets.upload_attachment,
        needs_object(a.BUCKETS_APPEND),
        raw_body="multipart/form-data",
        reply=attachments.UploadReply,
    ),
    Route(
        "GET",
        _PRIVATE + _STATE,
        "getBucketSyncState",
        "buckets",
        buckets.get_sync_state,
        needs_project(a.BUCKETS_READ),
        reply=buckets.SyncStateReply,
    ),
    Route(
        "PUT",
        _PRIVATE + _STATE,
        "storeBucketSyncState",
        "buckets",
        buckets.store_sync_state,
        needs_project(a.BUCKETS_APPEND),
        body=buckets.SyncStateRequest,
    ),
    Route(
        "GET",
        _PRIVATE + _BY_ID + "/keyed-sync-states/",
        "listKeyedSyncStates",
        "buckets",
        buckets.list_keyed_states,
        needs_object(a.BUCKETS_READ),
        reply=buckets.KeyedSyncStatesReply,
    ),
    Route(
        "GET",
        _PRIVATE + _BY_ID + "/keyed-sync-state/{sync_state_key}",
        "getKeyedSyncState",
        "buckets",
        buckets.get_keyed_state,
        needs_object(a.BUCKETS_READ),
        reply=buckets.KeyedSyncStateReply,
    ),
    Route(
        "PUT",
        _PRIVATE + _BY_ID + "/keyed-sync-state/{sync_state_key}",
        "storeKeyedSyncState",
        "buckets",
        buckets.store_keyed_state,
        _FEEDS,
        body=buckets.KeyedSyncStateRequest,
    ),
    Route(
        "DELETE",
        _PRIVATE + _BY_ID + "/keyed-sync-state/{sync_state_key}",
        "deleteKeyedSyncState",
        "buckets",
        buckets.delete_keyed_state,
        _FEEDS,
    ),
    Route(
        "POST",
        _PRIVATE + _BY_ID + "/keyed-sync-state-ids",
        "queryKeyedSyncStateIds",
        "buckets",
        buckets.list_keyed_state_ids,
        _FEEDS,
        body=buckets.MailboxRequest,
        reply=buckets.KeyedSyncStateIdsReply,
        writes=False,
    ),
)

MAIL = (*RAW_EMAILS, *BUCKETS)
