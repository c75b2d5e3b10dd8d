"""Fresh results databases of both kinds, each a copy of a migrated template."""

import itertools
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from orchestrator.storage.engine import Database
from tests.support.postgres import PostgresServer

_NUMBERS = itertools.count(1)


class SqliteDatabases:
    """Databases in files of a folder."""

    kind = "sqlite"

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._template = folder / "template.db"
        database = Database(f"sqlite:///{self._template}")
        database.migrate()
        database.close()

    def empty_url(self) -> str:
        """A database without any table."""
        return f"sqlite:///{self._folder / f'{next(_NUMBERS)}.db'}"

    @contextmanager
    def fresh(self) -> Iterator[Database]:
        """A migrated, empty database."""
        path = self._folder / f"{next(_NUMBERS)}.db"
        shutil.copyfile(self._template, path)
        database = Database(f"sqlite:///{path}")
        try:
            yield database
        finally:
            database.close()


class PostgresDatabases:
    """Databases of one server."""

    kind = "postgres"

    def __init__(self, server: PostgresServer) -> None:
        self.server = server
        server.execute("CREATE DATABASE template_bakeoff")
        database = Database(server.url("template_bakeoff"))
        database.migrate()
        database.close()

    def empty_url(self) -> str:
        """A database without any table."""
        name = f"t{next(_NUMBERS)}"
        self.server.execute(f"CREATE DATABASE {name} STRATEGY file_copy")
        return self.server.url(name)

    @contextmanager
    def fresh(self) -> Iterator[Database]:
        """A migrated, empty database, dropped at the end."""
        name = f"t{next(_NUMBERS)}"
        self.server.execute(f"CREATE DATABASE {name} TEMPLATE template_bakeoff STRATEGY file_copy")
        database = Database(self.server.url(name))
        try:
            yield database
        finally:
            database.close()
            self.server.execute(f"DROP DATABASE {name} WITH (FORCE)")


Databases = SqliteDatabases | PostgresDatabases
