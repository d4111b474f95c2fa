"""Sinks: where the comments of streams are sent to, and what became of each attempt."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

_INT = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Create the tables of sinks."""
    op.create_table(
        "sink",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("stream_id", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("configuration", sa.Text(), nullable=False),
        sa.Column("sealed", sa.Text(), nullable=True),
        sa.Column("enabled", sa.Boolean(), nullable=False),
        sa.Column("disabled_reason", sa.Text(), nullable=True),
        sa.Column("max_failures", _INT, nullable=False),
        sa.Column("include_sensitive", sa.Boolean(), nullable=False),
        sa.Column("created_us", _INT, nullable=False),
        sa.Column("updated_us", _INT, nullable=False),
        sa.Column("position", _INT, nullable=False),
        sa.Column("head", _INT, nullable=True),
        sa.Column("failures", _INT, nullable=False),
        sa.Column("waits", _INT, nullable=False),
        sa.Column("size", _INT, nullable=False),
        sa.Column("due_us", _INT, nullable=False),
        sa.Column("attempts", _INT, nullable=False),
        sa.Column("delivered", _INT, nullable=False),
        sa.Column("failed", _INT, nullable=False),
        sa.Column("dead_letters", _INT, nullable=False),
        sa.Column("succeeded_us", _INT, nullable=True),
        sa.Column("failed_us", _INT, nullable=True),
        sa.Column("error", sa.Text(), nullable=True),
        sa.Column("claimed_by", sa.Text(), nullable=True),
        sa.Column("claimed_until_us", _INT, nullable=True),
        sa.ForeignKeyConstraint(["stream_id"], ["stream.id"]),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("stream_id", "name"),
    )
    op.create_table(
        "sink_attempt",
        sa.Column("sink_id", sa.Text(), nullable=False),
        sa.Column("number", _INT, autoincrement=False, nullable=False),
        sa.Column("at_us", _INT, nullable=False),
        sa.Column("took_ms", _INT, nullable=False),
        sa.Column("comments", _INT, nullable=False),
        sa.Column("delivered", _INT, nullable=False),
        sa.Column("result", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("detail", sa.Text(), nullable=True),
        sa.Column("uid", sa.Text(), nullable=True),
        sa.ForeignKeyConstraint(["sink_id"], ["sink.id"]),
        sa.PrimaryKeyConstraint("sink_id", "number"),
    )
