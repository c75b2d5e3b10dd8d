"""Stages that another program ran: how long their prompts were, and in which window, may be unknown.

Revision: 0004, after 0002.
"""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:

    with op.batch_alter_table("stages") as stages:
        stages.alter_column("context_window", existing_type=sa.BigInteger(), nullable=True)
        stages.alter_column("prompt_bytes", existing_type=sa.BigInteger(), nullable=True)
