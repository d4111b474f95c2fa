"""Every table and index, once, for both databases.

Times are microseconds since 1970 UTC. Columns that only pass JSON on are text. A comment is spread
over three tables so that each path touches only what it needs:

- `comment`: narrow, clustered by (source, position): what listings, filters and scans read;
- `comment_text`: by position: the finished JSON of the comment, ready to be sent;
- `comment_key`: by a 64-bit hash of (source, comment id): finds a comment by its name, and tells
  by `digest` whether an upload changes anything, without touching the other two.
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
    sa.Column("dataset_id", sa.Text, primary_key=True),
    sa.Column("group_name", sa.Text, primary_key=True),
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column("rank", sa.Integer, nullable=False),
    sa.Column("body", _JSON_TEXT, nullable=False),  # JSON object as sent
    sa.Column("created_us", _INT, nullable=False),
    sa.ForeignKeyConstraint(
        ["dataset_id", "group_name"], ["label_group.dataset_id", "label_group.name"]
    ),
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
