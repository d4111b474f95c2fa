"""Keys of comments: the newest entries apart from the rest."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

_INT = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Create the table of the newest entries."""
    op.create_table(
        "fresh_comment_key",
        sa.Column("hash", _INT, autoincrement=False, nullable=False),
        sa.Column("pos", _INT, autoincrement=False, nullable=False),
        sa.Column("digest", _INT, nullable=False),
        sa.PrimaryKeyConstraint("hash", "pos"),
        sqlite_with_rowid=False,
    )
