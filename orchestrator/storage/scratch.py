"""A results database that is gone when one is done with it: for looking at results that nobody wants to keep."""

import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from orchestrator.domain.errors import Unavailable
from orchestrator.storage.engine import Database


@contextmanager
def scratch_database() -> Iterator[Database]:
    """An empty database in a folder of its own, for this user alone. A file, so that size is bounded by the disk."""
    try:
        folder = tempfile.TemporaryDirectory(prefix="bakeoff-analyze-", ignore_cleanup_errors=True)
    except OSError as error:
        raise Unavailable(f"no temporary folder can be made: {error.strerror}; set TMPDIR") from None
    with folder, closing(Database(f"sqlite:///{Path(folder.name) / 'scratch.db'}")) as database:
        database.migrate()
        yield database
