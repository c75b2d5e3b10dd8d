"""What jobs were expected to take when they were submitted.

Revision: 0007, after 0005.
"""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "estimates",
        sa.Column("cell_id", sa.Integer(), sa.ForeignKey("cells.id", name="fk_estimates_cell_id"), nullable=False),
        sa.Column("made_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("took", sa.JSON(none_as_null=True), nullable=False),
        sa.PrimaryKeyConstraint("cell_id", "made_at", name="pk_estimates"),
    )
