"""Learning: annotations, vectors, models, predictions."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

_INT = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Create the tables of learning, and give every label a key of its own."""
    _give_labels_keys()
    op.create_table(
        "annotated_comment",
        sa.Column("dataset_id", sa.Text(), nullable=False),
        sa.Column("pos", _INT, autoincrement=False, nullable=False),
        sa.Column("source", _INT, nullable=False),
        sa.Column("revision", _INT, nullable=False),
        sa.Column("reviewed", sa.Boolean(), nullable=False),
        sa.Column("uninformative", sa.Text(), nullable=True),
        sa.Column("moon_forms", sa.Text(), nullable=True),
        sa.Column("origin", sa.Text(), nullable=True),
        sa.Column("labelled_us", _INT, nullable=True),
        sa.Column("updated_us", _INT, nullable=False),
        sa.PrimaryKeyConstraint("dataset_id", "pos"),
        sqlite_with_rowid=False,
    )
    op.create_index("annotated_comment_by_pos", "annotated_comment", ["pos"], unique=False)
    op.create_index(
        "annotated_comment_by_source",
        "annotated_comment",
        ["dataset_id", "source", "pos"],
        unique=False,
    )
    op.create_table(
        "annotation_event",
        sa.Column("dataset_id", sa.Text(), nullable=False),
        sa.Column("revision", _INT, autoincrement=False, nullable=False),
        sa.Column("pos", _INT, nullable=True),
        sa.Column("at_us", _INT, nullable=False),
        sa.Column("user_id", sa.Text(), nullable=False),
        sa.Column("before", sa.Text(), nullable=False),
        sa.Column("after", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("dataset_id", "revision"),
        sqlite_with_rowid=False,
    )
    op.create_index(
        "annotation_event_by_pos",
        "annotation_event",
        ["dataset_id", "pos", "revision"],
        unique=False,
    )
    op.create_table(
        "changed_comment",
        sa.Column("pos", _INT, autoincrement=False, nullable=False),
        sa.Column("stamp", _INT, nullable=False),
        sa.PrimaryKeyConstraint("pos"),
    )
    op.create_table(
        "comment_vector",
        sa.Column("space", _INT, autoincrement=False, nullable=False),
        sa.Column("pos", _INT, autoincrement=False, nullable=False),
        sa.Column("vector", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("space", "pos"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "field_mark",
        sa.Column("dataset_id", sa.Text(), nullable=False),
        sa.Column("pos", _INT, autoincrement=False, nullable=False),
        sa.Column("rank", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("entity_def_id", sa.Text(), nullable=False),
        sa.Column("dismissed", sa.Boolean(), nullable=False),
        sa.Column("body", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("dataset_id", "pos", "rank"),
        sqlite_with_rowid=False,
    )
    op.create_index(
        "field_mark_by_def", "field_mark", ["dataset_id", "entity_def_id", "pos"], unique=False
    )
    op.create_table(
        "label_mark",
        sa.Column("dataset_id", sa.Text(), nullable=False),
        sa.Column("pos", _INT, autoincrement=False, nullable=False),
        sa.Column("label", _INT, autoincrement=False, nullable=False),
        sa.Column("dismissed", sa.Boolean(), nullable=False),
        sa.Column("negative", sa.Boolean(), nullable=False),
        sa.Column("body", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("dataset_id", "pos", "label"),
        sqlite_with_rowid=False,
    )
    op.create_index("label_mark_by_label", "label_mark", ["label", "pos"], unique=False)
    op.create_table(
        "label_validation",
        sa.Column("model", _INT, autoincrement=False, nullable=False),
        sa.Column("label", sa.Text(), nullable=False),
        sa.Column("body", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("model", "label"),
    )
    op.create_table(
        "learning",
        sa.Column("dataset_id", sa.Text(), nullable=False),
        sa.Column("revision", _INT, nullable=False),
        sa.Column("changed_us", _INT, nullable=False),
        sa.Column("stale_us", _INT, nullable=False),
        sa.Column("trained_revision", _INT, nullable=False),
        sa.Column("version", _INT, nullable=False),
        sa.Column("claimed_by", sa.Text(), nullable=True),
        sa.Column("claimed_until_us", _INT, nullable=True),
        sa.Column("stage", sa.Text(), nullable=True),
        sa.Column("progress", sa.Float(), nullable=True),
        sa.Column("stage_started_us", _INT, nullable=True),
        sa.Column("failures", sa.Integer(), nullable=False),
        sa.Column("retry_us", _INT, nullable=False),
        sa.Column("error", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("dataset_id"),
    )
    op.create_table(
        "model",
        sa.Column("key", _INT, autoincrement=True, nullable=False),
        sa.Column("dataset_id", sa.Text(), nullable=False),
        sa.Column("version", _INT, nullable=False),
        sa.Column("trained_us", _INT, nullable=False),
        sa.Column("duration_s", sa.Float(), nullable=False),
        sa.Column("input_us", _INT, nullable=False),
        sa.Column("input_revision", _INT, nullable=False),
        sa.Column("fingerprint", sa.Text(), nullable=False),
        sa.Column("space", sa.Text(), nullable=True),
        sa.Column("has_sentiment", sa.Boolean(), nullable=False),
        sa.Column("labels", sa.Text(), nullable=False),
        sa.Column("definitions", sa.Text(), nullable=False),
        sa.Column("reviewed_counts", sa.Text(), nullable=False),
        sa.Column("thresholds", sa.Text(), nullable=True),
        sa.Column("validation", sa.Text(), nullable=True),
        sa.Column("statistics", sa.Text(), nullable=True),
        sa.Column("pinned", sa.Boolean(), nullable=False),
        sa.Column("deleted", sa.Boolean(), nullable=False),
        sa.Column("starred", sa.Boolean(), nullable=False),
        sa.Column("description", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("key"),
        sa.UniqueConstraint("dataset_id", "version"),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "model_file",
        sa.Column("model", _INT, autoincrement=False, nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("model", "kind"),
    )
    op.create_table(
        "model_tag",
        sa.Column("dataset_id", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("version", _INT, nullable=False),
        sa.Column("updated_us", _INT, nullable=False),
        sa.PrimaryKeyConstraint("dataset_id", "name"),
    )
    op.create_table(
        "prediction",
        sa.Column("model", _INT, autoincrement=False, nullable=False),
        sa.Column("pos", _INT, autoincrement=False, nullable=False),
        sa.Column("scores", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("model", "pos"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "prediction_progress",
        sa.Column("model", _INT, autoincrement=False, nullable=False),
        sa.Column("source", _INT, autoincrement=False, nullable=False),
        sa.Column("upto", _INT, nullable=False),
        sa.PrimaryKeyConstraint("model", "source"),
    )
    op.create_table(
        "seen_comment",
        sa.Column("action_id", sa.Text(), nullable=False),
        sa.Column("uid", sa.Text(), nullable=False),
        sa.Column("seen_us", _INT, nullable=False),
        sa.PrimaryKeyConstraint("action_id", "uid"),
    )
    op.create_table(
        "training_action",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("model", _INT, nullable=False),
        sa.Column("rank", sa.Integer(), nullable=False),
        sa.Column("choice", sa.Integer(), nullable=False),
        sa.Column("body", sa.Text(), nullable=False),
        sa.Column("uids", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("training_action_by_model", "training_action", ["model", "rank"], unique=False)
    op.create_table(
        "vector_progress",
        sa.Column("space", _INT, autoincrement=False, nullable=False),
        sa.Column("source", _INT, autoincrement=False, nullable=False),
        sa.Column("upto", _INT, nullable=False),
        sa.PrimaryKeyConstraint("space", "source"),
    )
    op.create_table(
        "vector_space",
        sa.Column("key", _INT, autoincrement=True, nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("dim", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("key"),
        sa.UniqueConstraint("name"),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "rendering",
        sa.Column("key", _INT, autoincrement=True, nullable=False),
        sa.Column("model", _INT, nullable=False),
        sa.Column("thresholds", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("key"),
        sa.UniqueConstraint("model", "thresholds"),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "rendered",
        sa.Column("rendering", _INT, autoincrement=False, nullable=False),
        sa.Column("pos", _INT, autoincrement=False, nullable=False),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("rendering", "pos"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "rendering_progress",
        sa.Column("rendering", _INT, autoincrement=False, nullable=False),
        sa.Column("source", _INT, autoincrement=False, nullable=False),
        sa.Column("upto", _INT, nullable=False),
        sa.PrimaryKeyConstraint("rendering", "source"),
    )


def _give_labels_keys() -> None:
    op.create_table(
        "label_def_keyed",
        sa.Column("key", _INT, autoincrement=True, nullable=False),
        sa.Column("dataset_id", sa.Text(), nullable=False),
        sa.Column("group_name", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("rank", sa.Integer(), nullable=False),
        sa.Column("body", sa.Text(), nullable=False),
        sa.Column("created_us", _INT, nullable=False),
        sa.ForeignKeyConstraint(
            ["dataset_id", "group_name"], ["label_group.dataset_id", "label_group.name"]
        ),
        sa.PrimaryKeyConstraint("key"),
        sa.UniqueConstraint("dataset_id", "group_name", "name"),
        sqlite_autoincrement=True,
    )
    columns = "dataset_id, group_name, name, rank, body, created_us"
    op.execute(
        f"INSERT INTO label_def_keyed ({columns}) SELECT {columns} FROM label_def"  # noqa: S608
        " ORDER BY dataset_id, group_name, rank, name"
    )
    op.drop_table("label_def")
    op.rename_table("label_def_keyed", "label_def")
