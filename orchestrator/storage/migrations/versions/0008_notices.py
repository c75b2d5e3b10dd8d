"""Who is told of what: channels, what is known of each condition, and messages until they have been sent. And how
long the leading scheduler's passes take.

Revision: 0008, after 0005.
"""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

_TIME = sa.DateTime(timezone=True)


def upgrade() -> None:
    op.create_table(
        "notice_channels",
        sa.Column("name", sa.String(64), nullable=False),
        sa.Column("spec", sa.JSON(), nullable=False),
        sa.PrimaryKeyConstraint("name", name="pk_notice_channels"),
    )
    op.create_table(
        "notice_marks",
        sa.Column("kind", sa.String(24), nullable=False),
        sa.Column("subject", sa.String(220), nullable=False),
        sa.Column("bad", sa.Boolean(), nullable=False),
        sa.Column("since", _TIME, nullable=False),
        sa.Column("unsaid", sa.Integer(), nullable=False),
        sa.Column("told_at", _TIME, nullable=True),
        sa.PrimaryKeyConstraint("kind", "subject", name="pk_notice_marks"),
    )
    op.create_table(
        "notices",
        sa.Column("id", sa.String(32), nullable=False),
        sa.Column("kind", sa.String(24), nullable=False),
        sa.Column("subject", sa.String(220), nullable=False),
        sa.Column("at", _TIME, nullable=False),
        sa.Column("title", sa.Text(), nullable=False),
        sa.Column("text", sa.Text(), nullable=False),
        sa.Column("next_step", sa.Text(), nullable=False),
        sa.Column("times", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_notices"),
    )
    op.create_index("ix_notices_at", "notices", ["at"])
    op.create_table(
        "notice_deliveries",
        sa.Column("notice_id", sa.String(32), nullable=False),
        sa.Column("channel", sa.String(64), nullable=False),
        sa.Column("state", sa.String(12), nullable=False),
        sa.Column("tries", sa.Integer(), server_default="0", nullable=False),
        sa.Column("due_at", _TIME, nullable=False),
        sa.Column("claim", sa.String(32), nullable=True),
        sa.Column("error", sa.Text(), nullable=True),
        sa.Column("ended_at", _TIME, nullable=True),
        sa.ForeignKeyConstraint(["notice_id"], ["notices.id"], name="fk_notice_deliveries_notice_id"),
        sa.PrimaryKeyConstraint("notice_id", "channel", name="pk_notice_deliveries"),
    )
    waiting = sa.text("state = 'waiting'")
    op.create_index(
        "ix_notice_deliveries_waiting",
        "notice_deliveries",
        ["due_at"],
        sqlite_where=waiting,
        postgresql_where=waiting,
    )
    op.add_column("leaders", sa.Column("passes", sa.BigInteger(), server_default="0", nullable=False))
    op.add_column("leaders", sa.Column("pass_seconds", sa.Float(), server_default="0", nullable=False))
