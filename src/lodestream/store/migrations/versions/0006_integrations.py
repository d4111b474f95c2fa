"""Integrations: connections to mail systems, the mailboxes read through them, their errors."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

_INT = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Create the tables of integrations."""
    op.create_table(
        "integration",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("project_id", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("title", sa.Text(), nullable=False),
        sa.Column("type", sa.Text(), nullable=False),
        sa.Column("enabled", sa.Boolean(), nullable=False),
        sa.Column("disabled_reason", sa.Text(), nullable=True),
        sa.Column("connection", sa.Text(), nullable=True),
        sa.Column("sealed", sa.Text(), nullable=True),
        sa.Column("created_us", _INT, nullable=False),
        sa.Column("updated_us", _INT, nullable=False),
        sa.ForeignKeyConstraint(["project_id"], ["project.id"]),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("project_id", "name"),
    )
    op.create_table(
        "mailbox",
        sa.Column("integration_id", sa.Text(), nullable=False),
        sa.Column("email_hash", sa.Text(), nullable=False),
        sa.Column("place", _INT, nullable=False),
        sa.Column("settings", sa.Text(), nullable=False),
        sa.Column("enabled", sa.Boolean(), nullable=False),
        sa.Column("begun_us", _INT, nullable=False),
        sa.Column("due_us", _INT, nullable=False),
        sa.Column("claimed_by", sa.Text(), nullable=True),
        sa.Column("claimed_until_us", _INT, nullable=True),
        sa.Column("synced_us", _INT, nullable=True),
        sa.Column("failures", _INT, nullable=False),
        sa.Column("error", sa.Text(), nullable=True),
        sa.Column("emails_read", _INT, nullable=False),
        sa.Column("emails_failed", _INT, nullable=False),
        sa.ForeignKeyConstraint(["integration_id"], ["integration.id"]),
        sa.PrimaryKeyConstraint("integration_id", "email_hash"),
    )
    op.create_index("mailbox_by_due", "mailbox", ["due_us"], unique=False)
    op.create_table(
        "integration_error",
        sa.Column("key", _INT, autoincrement=True, nullable=False),
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("integration_id", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("text", sa.Text(), nullable=False),
        sa.Column("mailbox_name", sa.Text(), nullable=True),
        sa.Column("bucket_id", sa.Text(), nullable=True),
        sa.Column("created_us", _INT, nullable=False),
        sa.ForeignKeyConstraint(["integration_id"], ["integration.id"]),
        sa.PrimaryKeyConstraint("key"),
        sa.UniqueConstraint("id"),
        sqlite_autoincrement=True,
    )
    op.create_index(
        "integration_error_by_integration",
        "integration_error",
        ["integration_id", "key"],
        unique=False,
    )
    op.create_table(
        "appliance_config",
        sa.Column("project_id", sa.Text(), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("sealed", sa.Text(), nullable=False),
        sa.Column("updated_us", _INT, nullable=False),
        sa.ForeignKeyConstraint(["project_id"], ["project.id"]),
        sa.PrimaryKeyConstraint("project_id", "key"),
    )
