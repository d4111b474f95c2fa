"""Buckets: e-mails as they came, how far sources have read them, and where connectors are."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

_INT = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Create the tables of buckets."""
    op.create_table(
        "bucket",
        sa.Column("key", _INT, autoincrement=True, nullable=False),
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("project_id", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("title", sa.Text(), nullable=False),
        sa.Column("last_updated_by", sa.Text(), nullable=True),
        sa.Column("created_us", _INT, nullable=False),
        sa.Column("updated_us", _INT, nullable=False),
        sa.Column("emails", _INT, nullable=False),
        sa.Column("stamp", _INT, nullable=False),
        sa.ForeignKeyConstraint(["project_id"], ["project.id"]),
        sa.PrimaryKeyConstraint("key"),
        sa.UniqueConstraint("id"),
        sa.UniqueConstraint("project_id", "name"),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "bucket_email",
        sa.Column("bucket", _INT, autoincrement=False, nullable=False),
        sa.Column("seq", _INT, autoincrement=False, nullable=False),
        sa.Column("stamp", _INT, nullable=False),
        sa.Column("id_hash", sa.Text(), nullable=False),
        sa.Column("mailbox_hash", sa.Text(), nullable=False),
        sa.Column("created_us", _INT, nullable=False),
        sa.Column("updated_us", _INT, nullable=True),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("bucket", "seq"),
        sa.UniqueConstraint("bucket", "id_hash", "mailbox_hash"),
    )
    op.create_index("bucket_email_by_stamp", "bucket_email", ["bucket", "stamp"], unique=False)
    op.create_table(
        "bucket_file",
        sa.Column("bucket", _INT, autoincrement=False, nullable=False),
        sa.Column("hash", sa.Text(), nullable=False),
        sa.Column("size_bytes", _INT, nullable=False),
        sa.Column("content_type", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("bucket", "hash"),
    )
    op.create_index("bucket_file_by_hash", "bucket_file", ["hash"], unique=False)
    op.create_table(
        "bucket_reading",
        sa.Column("source", _INT, autoincrement=False, nullable=False),
        sa.Column("bucket", _INT, nullable=False),
        sa.Column("generation", _INT, nullable=False),
        sa.Column("upto", _INT, nullable=False),
        sa.Column("read_by", sa.Text(), nullable=True),
        sa.Column("read_until_us", _INT, nullable=True),
        sa.PrimaryKeyConstraint("source"),
    )
    op.create_index("bucket_reading_by_bucket", "bucket_reading", ["bucket"], unique=False)
    op.create_table(
        "bucket_sync_state",
        sa.Column("bucket", _INT, autoincrement=False, nullable=False),
        sa.Column("body", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("bucket"),
    )
    op.create_table(
        "keyed_sync_state",
        sa.Column("bucket", _INT, autoincrement=False, nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("mailbox_hash", sa.Text(), nullable=False),
        sa.Column("body", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("bucket", "key"),
    )
    op.create_index(
        "keyed_sync_state_by_mailbox", "keyed_sync_state", ["bucket", "mailbox_hash"], unique=False
    )
