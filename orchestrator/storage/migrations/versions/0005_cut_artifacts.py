"""How large a file was of which only the beginning was kept.

Revision: 0005, after 0001.
"""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("artifacts", sa.Column("full_bytes", sa.BigInteger(), nullable=True))
