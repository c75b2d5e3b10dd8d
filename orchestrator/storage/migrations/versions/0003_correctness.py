"""Runs and cases of checks, changes to what judges the work, hidden files.

Revision: 0003, after 0001.
"""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    with op.batch_alter_table("attempts", schema=None) as batch_op:
        batch_op.add_column(sa.Column("protected_changes", sa.Integer(), nullable=True))
        batch_op.add_column(sa.Column("protected_counted", sa.Integer(), nullable=True))
    with op.batch_alter_table("checks", schema=None) as batch_op:
        batch_op.add_column(sa.Column("hidden", sa.Boolean(), server_default=sa.false(), nullable=False))
        batch_op.add_column(sa.Column("runs", sa.Integer(), nullable=True))
        batch_op.add_column(sa.Column("passed_runs", sa.Integer(), nullable=True))
        batch_op.add_column(sa.Column("replaced", sa.JSON(), nullable=True))
    op.create_table(
        "check_runs",
        sa.Column("attempt_id", sa.String(length=32), nullable=False),
        sa.Column("kind", sa.String(length=12), nullable=False),
        sa.Column("name", sa.String(length=64), nullable=False),
        sa.Column("run", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("status", sa.String(length=12), nullable=False),
        sa.Column("exit_code", sa.Integer(), nullable=True),
        sa.Column("seconds", sa.Float(), nullable=True),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("log_sha256", sa.String(length=64), nullable=True),
        sa.Column("case_format", sa.String(length=12), nullable=True),
        sa.Column("cases_complete", sa.Boolean(), nullable=True),
        sa.Column("report_fault", sa.Text(), nullable=True),
        sa.ForeignKeyConstraint(["attempt_id"], ["attempts.id"], name=op.f("fk_check_runs_attempt_id")),
        sa.PrimaryKeyConstraint("attempt_id", "kind", "name", "run", name=op.f("pk_check_runs")),
    )
    op.create_table(
        "check_cases",
        sa.Column("attempt_id", sa.String(length=32), nullable=False),
        sa.Column("kind", sa.String(length=12), nullable=False),
        sa.Column("name", sa.String(length=64), nullable=False),
        sa.Column("run", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("ordinal", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("case_name", sa.Text(), nullable=False),
        sa.Column("status", sa.String(length=8), nullable=False),
        sa.Column("seconds", sa.Float(), nullable=True),
        sa.ForeignKeyConstraint(["attempt_id"], ["attempts.id"], name=op.f("fk_check_cases_attempt_id")),
        sa.PrimaryKeyConstraint("attempt_id", "kind", "name", "run", "ordinal", name=op.f("pk_check_cases")),
    )
    op.create_table(
        "protected_changes",
        sa.Column("attempt_id", sa.String(length=32), nullable=False),
        sa.Column("ordinal", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("path", sa.Text(), nullable=False),
        sa.Column("kind", sa.String(length=12), nullable=False),
        sa.Column("status", sa.String(length=1), nullable=False),
        sa.Column("counts", sa.Boolean(), nullable=False),
        sa.Column("lines_added", sa.Integer(), nullable=True),
        sa.Column("lines_removed", sa.Integer(), nullable=True),
        sa.Column("tests_removed", sa.Integer(), nullable=True),
        sa.Column("skips_added", sa.Integer(), nullable=True),
        sa.Column("asserts_removed", sa.Integer(), nullable=True),
        sa.ForeignKeyConstraint(["attempt_id"], ["attempts.id"], name=op.f("fk_protected_changes_attempt_id")),
        sa.PrimaryKeyConstraint("attempt_id", "ordinal", name=op.f("pk_protected_changes")),
    )
    op.create_table(
        "hidden_files",
        sa.Column("sha256", sa.String(length=64), nullable=False),
        sa.Column("size_bytes", sa.BigInteger(), nullable=False),
        sa.Column("content", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("sha256", name=op.f("pk_hidden_files")),
    )


def downgrade() -> None:
    for table in ("hidden_files", "protected_changes", "check_cases", "check_runs"):
        op.drop_table(table)
    with op.batch_alter_table("checks", schema=None) as batch_op:
        for column in ("replaced", "passed_runs", "runs", "hidden"):
            batch_op.drop_column(column)
    with op.batch_alter_table("attempts", schema=None) as batch_op:
        batch_op.drop_column("protected_counted")
        batch_op.drop_column("protected_changes")
