"""The hidden files of checks, which machines get from the database alone."""

import sqlalchemy as sa

from orchestrator.domain.check import HiddenPack
from orchestrator.domain.errors import NotFound
from orchestrator.domain.hidden import HiddenFile, unpack
from orchestrator.storage.engine import Database
from orchestrator.storage.tables import hidden_files


def load_hidden(database: Database, pack: HiddenPack) -> tuple[HiddenFile, ...]:
    """The files of a pack. Raises NotFound, and StorageError when they are not what was submitted."""
    query = sa.select(hidden_files.c.content).where(hidden_files.c.sha256 == pack.sha256)
    with database.read() as connection:
        found = connection.execute(query).scalar()
    if found is None:
        raise NotFound(f"the database has no hidden files {pack.sha256}; submit the experiment again")
    return unpack(pack, found)
