"""Running the Alembic migrations from inside the program: no configuration file to find, no command to know."""

from pathlib import Path

import sqlalchemy as sa
from alembic import command
from alembic.config import Config

# Any constant: the advisory lock that keeps two starting processes from migrating at once on PostgreSQL.
_LOCK = 7_214_051


def alembic_config() -> Config:
    """Alembic's configuration for this package's migrations."""
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    config.set_main_option("path_separator", "os")
    return config


def upgrade(engine: sa.Engine, revision: str) -> None:
    """Migrate to `revision` in one transaction, safely against other processes that start at the same time."""
    with engine.begin() as connection:
        if engine.dialect.name == "postgresql":
            connection.execute(sa.text("SELECT pg_advisory_xact_lock(:key)"), {"key": _LOCK})
        config = alembic_config()
        config.attributes["connection"] = connection
        command.upgrade(config, revision)
