"""Who was stopped by a race, and on what evidence.

Revision: 0006, after 0005.
"""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "race_stops",
        sa.Column("experiment_id", sa.Integer(), nullable=False),
        sa.Column("profile_hash", sa.String(length=64), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("against", sa.String(length=64), nullable=False),
        sa.Column("targets", sa.Integer(), nullable=False),
        sa.Column("better", sa.Integer(), nullable=False),
        sa.Column("worse", sa.Integer(), nullable=False),
        sa.Column("repeat", sa.Integer(), nullable=False),
        sa.Column("evidence", sa.Float(), nullable=False),
        sa.Column("needed", sa.Float(), nullable=False),
        sa.Column("arms", sa.Integer(), nullable=False),
        sa.Column("rules", sa.JSON(none_as_null=True), nullable=False),
        sa.ForeignKeyConstraint(["experiment_id"], ["experiments.id"], name=op.f("fk_race_stops_experiment_id")),
        sa.PrimaryKeyConstraint("experiment_id", "profile_hash", name=op.f("pk_race_stops")),
    )
