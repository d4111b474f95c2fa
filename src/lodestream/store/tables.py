"""Every table and index, once, for both databases.

Times are microseconds since 1970 UTC. Columns that only pass JSON on are text. A comment is spread
over tables so that each path touches only what it needs:

- `comment`: narrow, clustered by (source, position): what listings, filters and scans read;
- `comment_text`: by position: the finished JSON of the comment, ready to be sent;
- `comment_key`: by a 64-bit hash of (source, comment id): finds a comment by its name, and tells
  by `digest` whether an upload changes anything, without touching the other two;
- `fresh_comment_key`: the newest entries of `comment_key`, before they are moved there
  (`store/keys.py`).
"""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql

metadata = sa.MetaData()

_INT = sa.BigInteger().with_variant(sa.Integer(), "sqlite")  # 64 bits on both
_JSON_TEXT = sa.Text()
_FACETS = sa.Text().with_variant(postgresql.JSONB(), "postgresql")

meta = sa.Table(
    "meta",
    metadata,
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column("value", sa.Text, nullable=False),
)

counter = sa.Table(
    "counter",
    metadata,
    # 'position': the last position handed out; 'catalogue': bumped by every change of anything
    # but comments and stream positions, so that one number tells whether a cache is fresh.
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column("value", _INT, nullable=False),
)

project = sa.Table(
    "project",
    metadata,
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("name", sa.Text, nullable=False, unique=True),
    sa.Column("title", sa.Text, nullable=False),
    sa.Column("description", sa.Text, nullable=False),
    sa.Column("user_auto_join", sa.Boolean, nullable=False),
    sa.Column("created_us", _INT, nullable=False),
    sa.Column("updated_us", _INT, nullable=False),
)

account = sa.Table(
    "account",
    metadata,
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("username", sa.Text, nullable=False, unique=True),
    sa.Column("email", sa.Text, nullable=False),
    sa.Column("email_folded", sa.Text, nullable=False, unique=True),
    sa.Column("global_permissions", _JSON_TEXT, nullable=False),  # JSON array of wire names
    sa.Column("created_us", _INT, nullable=False),
    sa.Column("last_login_us", _INT),
)

grant = sa.Table(
    "project_grant",
    metadata,
    sa.Column("user_id", sa.Text, sa.ForeignKey("account.id"), primary_key=True),
    sa.Column("project_id", sa.Text, sa.ForeignKey("project.id"), primary_key=True),
    sa.Column("permissions", _JSON_TEXT, nullable=False),  # JSON array of wire names, never empty
    sa.Index("project_grant_by_project", "project_id"),
)

token = sa.Table(
    "token",
    metadata,
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("user_id", sa.Text, sa.ForeignKey("account.id"), nullable=False),
    sa.Column("digest", sa.LargeBinary, nullable=False, unique=True),  # SHA-256 of the token
    sa.Column("label", sa.Text, nullable=False),
    sa.Column("created_us", _INT, nullable=False),
    sa.Index("token_by_user", "user_id"),
)

source = sa.Table(
    "source",
    metadata,
    sa.Column("key", _INT, primary_key=True, autoincrement=True),
    sa.Column("id", sa.Text, nullable=False, unique=True),
    sa.Column("project_id", sa.Text, sa.ForeignKey("project.id"), nullable=False),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("language", sa.Text, nullable=False),
    sa.Column("title", sa.Text, nullable=False),
    sa.Column("description", sa.Text, nullable=False),
    sa.Column("should_translate", sa.Boolean, nullable=False),
    sa.Column("sensitive_properties", _JSON_TEXT, nullable=False),  # JSON array
    sa.Column("kind", sa.Text, nullable=False),
    sa.Column("bucket_id", sa.Text),
    sa.Column("email_transform_tag", sa.Text),
    sa.Column("email_transform_version", _INT),
    sa.Column("created_us", _INT, nullable=False),
    sa.Column("updated_us", _INT, nullable=False),
    sa.UniqueConstraint("project_id", "name"),
    sqlite_autoincrement=True,
)

source_content = sa.Table(
    "source_content",
    metadata,
    # What ingest changes on a source; apart, so that ingest does not make the catalogue stale.
    sa.Column("source", _INT, primary_key=True, autoincrement=False),
    sa.Column("comments", _INT, nullable=False),
    sa.Column("modified_us", _INT, nullable=False),
)

comment = sa.Table(
    "comment",
    metadata,
    sa.Column("source", _INT, primary_key=True, autoincrement=False),
    sa.Column("pos", _INT, primary_key=True, autoincrement=False),
    sa.Column("timestamp_us", _INT, nullable=False),
    sa.Column("facets", _FACETS),  # domain/facets.py: what filters test; NULL when there is nothing
    sa.Column("id", sa.Text, nullable=False),
    sa.Column("thread_id", sa.Text),
    sa.Index("comment_by_timestamp", "source", "timestamp_us", "pos"),
    sa.Index(
        "comment_by_thread",
        "source",
        "thread_id",
        "timestamp_us",
        "pos",
        sqlite_where=sa.text("thread_id IS NOT NULL"),
        postgresql_where=sa.text("thread_id IS NOT NULL"),
    ),
    sqlite_with_rowid=False,
)

comment_text = sa.Table(
    "comment_text",
    metadata,
    sa.Column("pos", _INT, primary_key=True, autoincrement=False),
    sa.Column("body", sa.LargeBinary, nullable=False),  # domain/comments.py: result front
)

comment_key = sa.Table(
    "comment_key",
    metadata,
    sa.Column("hash", _INT, primary_key=True, autoincrement=False),
    sa.Column("pos", _INT, primary_key=True, autoincrement=False),
    sa.Column("digest", _INT, nullable=False),  # 64-bit hash of the comment as it was sent
    sqlite_with_rowid=False,
)

fresh_comment_key = sa.Table(
    "fresh_comment_key",
    metadata,
    sa.Column("hash", _INT, primary_key=True, autoincrement=False),
    sa.Column("pos", _INT, primary_key=True, autoincrement=False),
    sa.Column("digest", _INT, nullable=False),
    sqlite_with_rowid=False,
)

stored_file = sa.Table(
    "stored_file",
    metadata,
    # Bytes that were uploaded for a source; the content lies in the data folder under its hash.
    sa.Column("source", _INT, primary_key=True, autoincrement=False),
    sa.Column("hash", sa.Text, primary_key=True),  # SHA-256, 64 hex digits
    sa.Column("size_bytes", _INT, nullable=False),
    sa.Column("content_type", sa.Text, nullable=False),
    sa.Column("created_us", _INT, nullable=False),
)

file_claim = sa.Table(
    "file_claim",
    metadata,
    # The comments whose attachments (slot >= 0) or audio (slot -1) are a stored file.
    sa.Column("source", _INT, primary_key=True, autoincrement=False),
    sa.Column("pos", _INT, primary_key=True, autoincrement=False),
    sa.Column("slot", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("hash", sa.Text, nullable=False),
    sa.Index("file_claim_by_hash", "source", "hash"),
)

dataset = sa.Table(
    "dataset",
    metadata,
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("project_id", sa.Text, sa.ForeignKey("project.id"), nullable=False),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("title", sa.Text, nullable=False),
    sa.Column("description", sa.Text, nullable=False),
    sa.Column("model_family", sa.Text, nullable=False),
    sa.Column("has_sentiment", sa.Boolean, nullable=False),
    sa.Column("settings", _JSON_TEXT, nullable=False),  # JSON object: flags, zone, locales, ...
    sa.Column("created_us", _INT, nullable=False),
    sa.Column("updated_us", _INT, nullable=False),
    sa.UniqueConstraint("project_id", "name"),
)

dataset_source = sa.Table(
    "dataset_source",
    metadata,
    sa.Column("dataset_id", sa.Text, sa.ForeignKey("dataset.id"), primary_key=True),
    sa.Column("source", _INT, sa.ForeignKey("source.key"), primary_key=True),
    sa.Column("rank", sa.Integer, nullable=False),  # place in the list as it was set
    sa.Index("dataset_source_by_source", "source"),
)

label_group = sa.Table(
    "label_group",
    metadata,
    sa.Column("dataset_id", sa.Text, sa.ForeignKey("dataset.id"), primary_key=True),
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column("rank", sa.Integer, nullable=False),
    sa.Column("body", _JSON_TEXT, nullable=False),  # JSON object as sent, but for the labels
)

label_def = sa.Table(
    "label_def",
    metadata,
    # Annotations name a label by its key, so that renaming one is one row.
    sa.Column("key", _INT, primary_key=True, autoincrement=True),
    sa.Column("dataset_id", sa.Text, nullable=False),
    sa.Column("group_name", sa.Text, nullable=False),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("rank", sa.Integer, nullable=False),
    sa.Column("body", _JSON_TEXT, nullable=False),  # JSON object as sent
    sa.Column("created_us", _INT, nullable=False),
    sa.ForeignKeyConstraint(
        ["dataset_id", "group_name"], ["label_group.dataset_id", "label_group.name"]
    ),
    sa.UniqueConstraint("dataset_id", "group_name", "name"),
    sqlite_autoincrement=True,
)

entity_def = sa.Table(
    "entity_def",
    metadata,
    sa.Column("dataset_id", sa.Text, sa.ForeignKey("dataset.id"), primary_key=True),
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("rank", sa.Integer, nullable=False),
    sa.Column("body", _JSON_TEXT, nullable=False),
)

general_field = sa.Table(
    "general_field",
    metadata,
    sa.Column("dataset_id", sa.Text, sa.ForeignKey("dataset.id"), primary_key=True),
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("api_name", sa.Text, nullable=False),
    sa.Column("rank", sa.Integer, nullable=False),
    sa.Column("body", _JSON_TEXT, nullable=False),
)

stream = sa.Table(
    "stream",
    metadata,
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("dataset_id", sa.Text, sa.ForeignKey("dataset.id"), nullable=False),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("title", sa.Text, nullable=False),
    sa.Column("description", sa.Text, nullable=False),
    sa.Column("comment_filter", _JSON_TEXT, nullable=False),  # JSON object as sent
    sa.Column("model", _JSON_TEXT),  # JSON object {version, label_thresholds}, or NULL
    sa.Column("created_us", _INT, nullable=False),
    sa.Column("updated_us", _INT, nullable=False),
    sa.Column("position", _INT, nullable=False),
    sa.Column("advanced_us", _INT),
    sa.Column("advanced_by", sa.Text),
    sa.UniqueConstraint("dataset_id", "name"),
)

stream_activity = sa.Table(
    "stream_activity",
    metadata,
    # Hints gathered in memory and written about once a second; never part of a guarantee.
    sa.Column("stream_id", sa.Text, primary_key=True),
    sa.Column("fetched_us", _INT, nullable=False),
    sa.Column("fetched_by", sa.Text, nullable=False),
    sa.Column("head", _INT),  # position of the first comment of the last non-empty fetch
    sa.Column("head_fetches", _INT, nullable=False),  # fetches in a row that began with it
)

stream_exception = sa.Table(
    "stream_exception",
    metadata,
    sa.Column("stream_id", sa.Text, sa.ForeignKey("stream.id"), primary_key=True),
    sa.Column("pos", _INT, primary_key=True, autoincrement=False),
    sa.Column("type", sa.Text, nullable=False),
    sa.Column("tagged_us", _INT, nullable=False),
    sa.Column("tagged_by", sa.Text, nullable=False),
    sa.Index("stream_exception_by_pos", "pos"),
)

annotated_comment = sa.Table(
    "annotated_comment",
    metadata,
    # A comment that was ever annotated in a dataset; its labels are in `label_mark`.
    sa.Column("dataset_id", sa.Text, primary_key=True),
    sa.Column("pos", _INT, primary_key=True, autoincrement=False),
    sa.Column("source", _INT, nullable=False),
    sa.Column("revision", _INT, nullable=False),  # of the dataset, as of the last change here
    sa.Column("reviewed", sa.Boolean, nullable=False),  # there is an annotation now
    sa.Column("uninformative", _JSON_TEXT),  # JSON object {mode, metadata}, or NULL
    sa.Column("moon_forms", _JSON_TEXT),  # JSON array as stored, or NULL
    sa.Column("origin", sa.Text),  # retrieval method of the event that made it reviewed
    sa.Column("labelled_us", _INT),  # when its labels were last set; NULL: never
    sa.Column("updated_us", _INT, nullable=False),
    sa.Index("annotated_comment_by_source", "dataset_id", "source", "pos"),
    sa.Index("annotated_comment_by_pos", "pos"),
    sqlite_with_rowid=False,
)

label_mark = sa.Table(
    "label_mark",
    metadata,
    # A label assigned to, or dismissed from, a comment.
    sa.Column("dataset_id", sa.Text, primary_key=True),
    sa.Column("pos", _INT, primary_key=True, autoincrement=False),
    sa.Column("label", _INT, primary_key=True, autoincrement=False),  # label_def.key
    sa.Column("dismissed", sa.Boolean, nullable=False),
    sa.Column("negative", sa.Boolean, nullable=False),  # the sentiment, if the dataset has it
    sa.Column("body", _JSON_TEXT, nullable=False),  # JSON object: instructions, metadata
    sa.Index("label_mark_by_label", "label", "pos"),
    sqlite_with_rowid=False,
)

field_mark = sa.Table(
    "field_mark",
    metadata,
    # A field ("entity") assigned to, or dismissed from, a comment.
    sa.Column("dataset_id", sa.Text, primary_key=True),
    sa.Column("pos", _INT, primary_key=True, autoincrement=False),
    sa.Column("rank", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("entity_def_id", sa.Text, nullable=False),
    sa.Column("dismissed", sa.Boolean, nullable=False),
    sa.Column("body", _JSON_TEXT, nullable=False),  # JSON object: value, field, spans, metadata
    sa.Index("field_mark_by_def", "dataset_id", "entity_def_id", "pos"),
    sqlite_with_rowid=False,
)

annotation_event = sa.Table(
    "annotation_event",
    metadata,
    # Every change of annotations or of what they refer to: history, undo, going back to a model.
    sa.Column("dataset_id", sa.Text, primary_key=True),
    sa.Column("revision", _INT, primary_key=True, autoincrement=False),
    sa.Column("pos", _INT),  # NULL: the taxonomy changed
    sa.Column("at_us", _INT, nullable=False),
    sa.Column("user_id", sa.Text, nullable=False),
    sa.Column("before", _JSON_TEXT, nullable=False),  # JSON object: all annotations of the comment
    sa.Column("after", _JSON_TEXT, nullable=False),
    sa.Index("annotation_event_by_pos", "dataset_id", "pos", "revision"),
    sqlite_with_rowid=False,
)

learning = sa.Table(
    "learning",
    metadata,
    # What is to be learned for a dataset and who is at it. A dataset is stale while `revision` is
    # ahead of `trained_revision`; each change takes the next revision while it holds this row.
    sa.Column("dataset_id", sa.Text, primary_key=True),
    sa.Column("revision", _INT, nullable=False),
    sa.Column("changed_us", _INT, nullable=False),  # when `revision` was taken
    sa.Column("stale_us", _INT, nullable=False),  # first change since the last training began
    sa.Column("trained_revision", _INT, nullable=False),
    sa.Column("version", _INT, nullable=False),  # the newest model's; 0: none
    sa.Column("claimed_by", sa.Text),
    sa.Column("claimed_until_us", _INT),
    sa.Column("stage", sa.Text),  # what the claimant is doing
    sa.Column("progress", sa.Float),  # of the stage, 0 to 1
    sa.Column("stage_started_us", _INT),
    sa.Column("failures", sa.Integer, nullable=False),  # in a row
    sa.Column("retry_us", _INT, nullable=False),  # not before
    sa.Column("error", sa.Text),
)

vector_space = sa.Table(
    "vector_space",
    metadata,
    sa.Column("key", _INT, primary_key=True, autoincrement=True),
    sa.Column("name", sa.Text, nullable=False, unique=True),  # the encoder and what determines it
    sa.Column("dim", sa.Integer, nullable=False),
    sqlite_autoincrement=True,
)

comment_vector = sa.Table(
    "comment_vector",
    metadata,
    sa.Column("space", _INT, primary_key=True, autoincrement=False),
    sa.Column("pos", _INT, primary_key=True, autoincrement=False),
    sa.Column("vector", sa.LargeBinary, nullable=False),  # ml/vectors.py: packed
    sqlite_with_rowid=False,
)

vector_progress = sa.Table(
    "vector_progress",
    metadata,
    # Every comment of a source up to this position has its vector, or a `changed_comment` row.
    sa.Column("space", _INT, primary_key=True, autoincrement=False),
    sa.Column("source", _INT, primary_key=True, autoincrement=False),
    sa.Column("upto", _INT, nullable=False),
)

changed_comment = sa.Table(
    "changed_comment",
    metadata,
    # Comments whose text changed, or that are gone, since vectors and predictions were made.
    sa.Column("pos", _INT, primary_key=True, autoincrement=False),
    sa.Column("stamp", _INT, nullable=False),  # which change: a newer one must not be lost
)

model = sa.Table(
    "model",
    metadata,
    sa.Column("key", _INT, primary_key=True, autoincrement=True),
    sa.Column("dataset_id", sa.Text, nullable=False),
    sa.Column("version", _INT, nullable=False),
    sa.Column("trained_us", _INT, nullable=False),
    sa.Column("duration_s", sa.Float, nullable=False),
    sa.Column("input_us", _INT, nullable=False),  # time of the last change that it learned from
    sa.Column("input_revision", _INT, nullable=False),
    sa.Column("fingerprint", sa.Text, nullable=False),
    sa.Column("space", sa.Text),  # vector_space.name, or NULL: words alone
    sa.Column("has_sentiment", sa.Boolean, nullable=False),
    sa.Column("labels", _JSON_TEXT, nullable=False),  # JSON array: names, in the order of scores
    sa.Column("definitions", _JSON_TEXT, nullable=False),  # JSON object: label groups, entity defs
    sa.Column("reviewed_counts", _JSON_TEXT, nullable=False),  # JSON object: label to number
    sa.Column("thresholds", _JSON_TEXT),  # JSON object: label to its three automatic thresholds
    sa.Column("validation", _JSON_TEXT),  # JSON object as answered, or NULL: not validated
    sa.Column("statistics", _JSON_TEXT),  # JSON object: the same in the public form
    sa.Column("pinned", sa.Boolean, nullable=False),
    sa.Column("deleted", sa.Boolean, nullable=False),  # its files and predictions are gone
    sa.Column("starred", sa.Boolean, nullable=False),
    sa.Column("description", sa.Text, nullable=False),
    sa.UniqueConstraint("dataset_id", "version"),
    sqlite_autoincrement=True,
)

model_file = sa.Table(
    "model_file",
    metadata,
    sa.Column("model", _INT, primary_key=True, autoincrement=False),
    sa.Column("kind", sa.Text, primary_key=True),  # 'head', 'left_out'
    sa.Column("body", sa.LargeBinary, nullable=False),  # ml/artifact.py: manifest and arrays
)

model_tag = sa.Table(
    "model_tag",
    metadata,
    sa.Column("dataset_id", sa.Text, primary_key=True),
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column("version", _INT, nullable=False),
    sa.Column("updated_us", _INT, nullable=False),
)

label_validation = sa.Table(
    "label_validation",
    metadata,
    sa.Column("model", _INT, primary_key=True, autoincrement=False),
    sa.Column("label", sa.Text, primary_key=True),
    sa.Column("body", _JSON_TEXT, nullable=False),  # JSON object as answered
)

training_action = sa.Table(
    "training_action",
    metadata,
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("model", _INT, nullable=False),
    sa.Column("rank", sa.Integer, nullable=False),
    sa.Column("choice", sa.Integer, nullable=False),  # place among actions of which one will do
    sa.Column("body", _JSON_TEXT, nullable=False),  # JSON object as answered
    sa.Column("uids", _JSON_TEXT, nullable=False),  # JSON array: the comments to look at, in order
    sa.Index("training_action_by_model", "model", "rank"),
)

seen_comment = sa.Table(
    "seen_comment",
    metadata,
    sa.Column("action_id", sa.Text, primary_key=True),
    sa.Column("uid", sa.Text, primary_key=True),
    sa.Column("seen_us", _INT, nullable=False),
)

prediction = sa.Table(
    "prediction",
    metadata,
    sa.Column("model", _INT, primary_key=True, autoincrement=False),
    sa.Column("pos", _INT, primary_key=True, autoincrement=False),
    sa.Column("scores", sa.LargeBinary, nullable=False),  # domain/predictions.py
    sqlite_with_rowid=False,
)

prediction_progress = sa.Table(
    "prediction_progress",
    metadata,
    # Every comment of a source up to this position has its prediction, or a `changed_comment` row.
    sa.Column("model", _INT, primary_key=True, autoincrement=False),
    sa.Column("source", _INT, primary_key=True, autoincrement=False),
    sa.Column("upto", _INT, nullable=False),
)

rendering = sa.Table(
    "rendering",
    metadata,
    # One way to show a model's predictions: what streams with these thresholds send.
    sa.Column("key", _INT, primary_key=True, autoincrement=True),
    sa.Column("model", _INT, nullable=False),
    sa.Column("thresholds", _JSON_TEXT, nullable=False),  # JSON array of [name, threshold]
    sa.UniqueConstraint("model", "thresholds"),
    sqlite_autoincrement=True,
)

rendered = sa.Table(
    "rendered",
    metadata,
    sa.Column("rendering", _INT, primary_key=True, autoincrement=False),
    sa.Column("pos", _INT, primary_key=True, autoincrement=False),
    sa.Column(
        "body", sa.LargeBinary, nullable=False
    ),  # domain/predictions.py: suffix, ready to send
    sqlite_with_rowid=False,
)

rendering_progress = sa.Table(
    "rendering_progress",
    metadata,
    # Every comment of a source up to this position is rendered, or has a `changed_comment` row.
    sa.Column("rendering", _INT, primary_key=True, autoincrement=False),
    sa.Column("source", _INT, primary_key=True, autoincrement=False),
    sa.Column("upto", _INT, nullable=False),
)

audit_event = sa.Table(
    "audit_event",
    metadata,
    sa.Column("id", _INT, primary_key=True, autoincrement=True),
    sa.Column("type", sa.Text, nullable=False),
    sa.Column("at_us", _INT, nullable=False),
    sa.Column("actor_id", sa.Text, nullable=False),
    # Copies, so that deleted things keep their names: of the actor (NULL if the user was deleted
    # while the request ran), and as a JSON object of all that the event refers to.
    sa.Column("actor_username", sa.Text),
    sa.Column("actor_email", sa.Text),
    sa.Column("refs", _JSON_TEXT, nullable=False),
    sa.Index("audit_event_by_time", "at_us", "id"),
    sqlite_autoincrement=True,
)

quota = sa.Table(
    "quota",
    metadata,
    sa.Column("kind", sa.Text, primary_key=True),
    sa.Column("hard_limit", _INT, nullable=False),
    sa.Column("auto_increase_up_to", _INT),
)

job = sa.Table(
    "job",
    metadata,
    sa.Column("id", _INT, primary_key=True, autoincrement=True),
    sa.Column("kind", sa.Text, nullable=False),
    sa.Column("payload", _JSON_TEXT, nullable=False),
    sa.Column("due_us", _INT, nullable=False),
    sa.Column("claimed_by", sa.Text),
    sa.Column("claimed_until_us", _INT),
    sa.Column("attempts", sa.Integer, nullable=False),
    sa.Column("error", sa.Text),
    sa.Index("job_by_due", "due_us"),
    sqlite_autoincrement=True,
)

bucket = sa.Table(
    "bucket",
    metadata,
    sa.Column("key", _INT, primary_key=True, autoincrement=True),
    sa.Column("id", sa.Text, nullable=False, unique=True),
    sa.Column("project_id", sa.Text, sa.ForeignKey("project.id"), nullable=False),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("title", sa.Text, nullable=False),
    sa.Column("last_updated_by", _JSON_TEXT),  # JSON object as sent, or NULL
    sa.Column("created_us", _INT, nullable=False),
    sa.Column("updated_us", _INT, nullable=False),
    sa.Column("emails", _INT, nullable=False),  # how many it holds
    sa.Column("stamp", _INT, nullable=False),  # of the last e-mail that was stored or replaced
    sa.UniqueConstraint("project_id", "name"),
    sqlite_autoincrement=True,
)

bucket_email = sa.Table(
    "bucket_email",
    metadata,
    # Each store of an e-mail takes the bucket's next stamp while it holds the bucket's row, so
    # stamps become visible in order. `seq` is the stamp of the first time.
    sa.Column("bucket", _INT, primary_key=True, autoincrement=False),
    sa.Column("seq", _INT, primary_key=True, autoincrement=False),
    sa.Column("stamp", _INT, nullable=False),
    sa.Column("id_hash", sa.Text, nullable=False),  # domain/buckets.py: name_hash of its id
    sa.Column("mailbox_hash", sa.Text, nullable=False),
    sa.Column("created_us", _INT, nullable=False),
    sa.Column("updated_us", _INT),  # when it was replaced; NULL: never
    sa.Column("body", sa.LargeBinary, nullable=False),  # JSON object as sent
    sa.UniqueConstraint("bucket", "id_hash", "mailbox_hash"),
    sa.Index("bucket_email_by_stamp", "bucket", "stamp"),
)

bucket_file = sa.Table(
    "bucket_file",
    metadata,
    # Content of attachments that was uploaded for a bucket; it stays as long as the bucket.
    sa.Column("bucket", _INT, primary_key=True, autoincrement=False),
    sa.Column("hash", sa.Text, primary_key=True),  # SHA-256, 64 hex digits
    sa.Column("size_bytes", _INT, nullable=False),
    sa.Column("content_type", sa.Text, nullable=False),
    sa.Index("bucket_file_by_hash", "hash"),
)

bucket_reading = sa.Table(
    "bucket_reading",
    metadata,
    # How far a source has read its bucket. A new generation starts over from the first e-mail.
    sa.Column("source", _INT, primary_key=True, autoincrement=False),
    sa.Column("bucket", _INT, nullable=False),
    sa.Column("generation", _INT, nullable=False),
    sa.Column("upto", _INT, nullable=False),  # stamp of the last e-mail that was read
    sa.Column("read_by", sa.Text),
    sa.Column("read_until_us", _INT),  # one reader at a time, for as long as this lasts
    sa.Index("bucket_reading_by_bucket", "bucket"),
)

bucket_sync_state = sa.Table(
    "bucket_sync_state",
    metadata,
    sa.Column("bucket", _INT, primary_key=True, autoincrement=False),
    sa.Column("body", _JSON_TEXT, nullable=False),  # JSON object as answered
)

keyed_sync_state = sa.Table(
    "keyed_sync_state",
    metadata,
    sa.Column("bucket", _INT, primary_key=True, autoincrement=False),
    sa.Column("key", sa.Text, primary_key=True),
    sa.Column("mailbox_hash", sa.Text, nullable=False),  # of the name in lower case
    sa.Column("body", _JSON_TEXT, nullable=False),  # JSON object as answered
    sa.Index("keyed_sync_state_by_mailbox", "bucket", "mailbox_hash"),
)

sink = sa.Table(
    "sink",
    metadata,
    # What a sink is, and how far it came: domain/sinks.py says what each column means.
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("stream_id", sa.Text, sa.ForeignKey("stream.id"), nullable=False),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("configuration", _JSON_TEXT, nullable=False),  # JSON object without secrets
    sa.Column("sealed", sa.Text),  # the secrets, encrypted (domain/secrets.py); NULL: none
    sa.Column("enabled", sa.Boolean, nullable=False),
    sa.Column("disabled_reason", sa.Text),
    sa.Column("max_failures", _INT, nullable=False),
    sa.Column("include_sensitive", sa.Boolean, nullable=False),
    sa.Column("created_us", _INT, nullable=False),
    sa.Column("updated_us", _INT, nullable=False),
    sa.Column("position", _INT, nullable=False),  # of the last comment that the target has
    sa.Column("head", _INT),
    sa.Column("failures", _INT, nullable=False),
    sa.Column("waits", _INT, nullable=False),
    sa.Column("size", _INT, nullable=False),
    sa.Column("due_us", _INT, nullable=False),
    sa.Column("attempts", _INT, nullable=False),
    sa.Column("delivered", _INT, nullable=False),
    sa.Column("failed", _INT, nullable=False),
    sa.Column("dead_letters", _INT, nullable=False),
    sa.Column("succeeded_us", _INT),
    sa.Column("failed_us", _INT),
    sa.Column("error", sa.Text),
    sa.Column("claimed_by", sa.Text),
    sa.Column("claimed_until_us", _INT),  # one process delivers at a time, for as long as this
    sa.UniqueConstraint("stream_id", "name"),
)

sink_attempt = sa.Table(
    "sink_attempt",
    metadata,
    # The last attempts of each sink, numbered from 1; older ones are deleted.
    sa.Column("sink_id", sa.Text, sa.ForeignKey("sink.id"), primary_key=True),
    sa.Column("number", _INT, primary_key=True, autoincrement=False),
    sa.Column("at_us", _INT, nullable=False),
    sa.Column("took_ms", _INT, nullable=False),
    sa.Column("comments", _INT, nullable=False),
    sa.Column("delivered", _INT, nullable=False),
    sa.Column("result", sa.Text, nullable=False),
    sa.Column("reason", sa.Text),
    sa.Column("detail", sa.Text),
    sa.Column("uid", sa.Text),
)

integration = sa.Table(
    "integration",
    metadata,
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("project_id", sa.Text, sa.ForeignKey("project.id"), nullable=False),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("title", sa.Text, nullable=False),
    sa.Column("type", sa.Text, nullable=False),
    sa.Column("enabled", sa.Boolean, nullable=False),
    sa.Column("disabled_reason", sa.Text),
    sa.Column("connection", _JSON_TEXT),  # JSON object without its secrets, or NULL
    sa.Column("sealed", sa.Text),  # domain/secrets.py: its secrets, encrypted
    sa.Column("created_us", _INT, nullable=False),
    sa.Column("updated_us", _INT, nullable=False),
    sa.UniqueConstraint("project_id", "name"),
)

mailbox = sa.Table(
    "mailbox",
    metadata,
    # A mailbox of an integration, and how reading it does.
    sa.Column("integration_id", sa.Text, sa.ForeignKey("integration.id"), primary_key=True),
    sa.Column("email_hash", sa.Text, primary_key=True),  # of the address in lower case
    sa.Column("place", _INT, nullable=False),  # in the integration's list
    sa.Column("settings", _JSON_TEXT, nullable=False),  # JSON object as answered
    sa.Column("enabled", sa.Boolean, nullable=False),
    sa.Column("begun_us", _INT, nullable=False),  # when it was last enabled
    sa.Column("due_us", _INT, nullable=False),
    sa.Column("claimed_by", sa.Text),
    sa.Column("claimed_until_us", _INT),  # one reader at a time, for as long as this lasts
    sa.Column("synced_us", _INT),  # when it was last read to its end
    sa.Column("failures", _INT, nullable=False),  # in a row
    sa.Column("error", sa.Text),  # of the last try, if that failed
    sa.Column("emails_read", _INT, nullable=False),
    sa.Column("emails_failed", _INT, nullable=False),
    sa.Index("mailbox_by_due", "due_us"),
)

integration_error = sa.Table(
    "integration_error",
    metadata,
    sa.Column("key", _INT, primary_key=True, autoincrement=True),
    sa.Column("id", sa.Text, nullable=False, unique=True),
    sa.Column("integration_id", sa.Text, sa.ForeignKey("integration.id"), nullable=False),
    sa.Column("kind", sa.Text, nullable=False),
    sa.Column("text", sa.Text, nullable=False),
    sa.Column("mailbox_name", sa.Text),  # NULL: the whole integration was disabled
    sa.Column("bucket_id", sa.Text),
    sa.Column("created_us", _INT, nullable=False),
    sa.Index("integration_error_by_integration", "integration_id", "key"),
    sqlite_autoincrement=True,
)

appliance_config = sa.Table(
    "appliance_config",
    metadata,
    # A configuration that a connector elsewhere fetches; it may hold secrets, so it is sealed.
    sa.Column("project_id", sa.Text, sa.ForeignKey("project.id"), primary_key=True),
    sa.Column("key", sa.Text, primary_key=True),
    sa.Column("sealed", sa.Text, nullable=False),
    sa.Column("updated_us", _INT, nullable=False),
)
