"""Opening the results database: SQLite (WAL) or PostgreSQL behind one small object, with errors in plain words."""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from orchestrator.domain.errors import Conflict, StorageError
from orchestrator.storage.tables import metadata

# The newest migration. `migrate` compares it before it imports Alembic, which costs 0.2 s.
HEAD = "0001"

_HINTS = (
    ("database is locked", "another process holds the database; end it or wait, then run the same command again"),
    ("readonly database", "the file or its folder is not writable; change its permissions or set BAKEOFF_HOME"),
    ("read-only", "the database is read-only; change its permissions or set BAKEOFF_HOME"),
    ("database or disk is full", "the disk is full; free some space and run the same command again"),
    ("disk I/O error", "the disk is full or failing; free some space and run the same command again"),
    ("unable to open database file", "the folder does not exist or is not writable; set BAKEOFF_HOME"),
    ("not a database", "this file is not a Bakeoff database; set BAKEOFF_HOME to another folder"),
    ("connection", "the database server cannot be reached; check BAKEOFF_DATABASE_URL and that it runs"),
)


class Database:
    """One results database. Threads may share it; after a fork each process needs its own."""

    def __init__(self, url: str, *, statement_timeout_seconds: float = 15.0) -> None:
        """Open without touching the file or server yet. `url` is any SQLAlchemy URL of the two dialects."""
        self.url = sa.make_url(url)
        self.sqlite = self.url.get_backend_name() == "sqlite"
        if self.sqlite:
            self.engine = _sqlite_engine(self.url, statement_timeout_seconds)
        else:
            self.engine = _postgres_engine(self.url, statement_timeout_seconds)
        self._reader = self.engine.execution_options(isolation_level="AUTOCOMMIT")

    def __repr__(self) -> str:
        return f"Database({self.url.render_as_string(hide_password=True)})"

    @contextmanager
    def write(self) -> Iterator[sa.Connection]:
        """A transaction. On SQLite it takes the write lock at once, so that it never fails half way."""
        with self._translated(), self.engine.begin() as connection:
            yield connection

    @contextmanager
    def read(self) -> Iterator[sa.Connection]:
        """Statements that only read, each seeing what is committed."""
        with self._translated(), self._reader.connect() as connection:
            yield connection

    def migrate(self) -> None:
        """Bring the schema to HEAD; nothing happens when it is there. Raises Conflict for a newer schema."""
        if self.sqlite and self.url.database:
            Path(self.url.database).parent.mkdir(parents=True, exist_ok=True)
        current = self.revision()
        if current == HEAD:
            return
        if current is not None and current > HEAD:
            raise Conflict(f"the database is at schema {current}, newer than this program's {HEAD}; update Bakeoff")
        from orchestrator.storage.migrate import upgrade

        with self._translated():
            upgrade(self.engine, HEAD)

    def revision(self) -> str | None:
        """The schema's revision; None for an empty database."""
        with self.read() as connection:
            if not sa.inspect(connection).has_table("alembic_version"):
                return None
            return connection.execute(sa.text("SELECT version_num FROM alembic_version")).scalar()

    def close(self) -> None:
        """Close every connection."""
        self.engine.dispose()

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except PoolTimeout as error:
            raise StorageError(f"{self!r}: no free connection: {error}") from error
        except DBAPIError as error:
            if not isinstance(error, OperationalError) and not error.connection_invalidated:
                raise
            text = str(error.orig).strip()
            hint = next((hint for sign, hint in _HINTS if sign in text.lower()), "see the database's own log")
            raise StorageError(f"{self!r}: {text}: {hint}") from error


def _sqlite_engine(url: sa.URL, timeout_seconds: float) -> sa.Engine:
    engine = sa.create_engine(url, connect_args={"timeout": timeout_seconds, "isolation_level": None}, pool_size=20)

    @sa.event.listens_for(engine, "connect")
    def _configure(connection: sqlite3.Connection, _record: object) -> None:
        # WAL: readers never wait for the writer. FULL: a committed claim survives a power cut.
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=FULL")
        connection.execute("PRAGMA foreign_keys=ON")

    @sa.event.listens_for(engine, "begin")
    def _begin(connection: sa.Connection) -> None:
        if connection.get_execution_options().get("isolation_level") != "AUTOCOMMIT":
            connection.exec_driver_sql("BEGIN IMMEDIATE")

    return engine


def _postgres_engine(url: sa.URL, timeout_seconds: float) -> sa.Engine:
    milliseconds = round(timeout_seconds * 1000)
    return sa.create_engine(
        url.set(drivername="postgresql+psycopg"),
        pool_pre_ping=True,
        pool_size=8,
        max_overflow=16,
        connect_args={
            "connect_timeout": 5,
            # A hung server or a cut network must end as an error well before a lease does.
            "tcp_user_timeout": 10_000,
            "keepalives_idle": 5,
            "keepalives_interval": 2,
            "keepalives_count": 3,
            "options": f"-c statement_timeout={milliseconds} -c lock_timeout={milliseconds} "
            f"-c idle_in_transaction_session_timeout={2 * milliseconds} -c timezone=UTC",
        },
    )


def one_at_a_time(connection: sa.Connection, what: str) -> None:
    """Wait until no other transaction is in here for the same `what`. SQLite has one writer at a time anyway."""
    if connection.dialect.name == "postgresql":
        connection.execute(sa.select(sa.func.pg_advisory_xact_lock(sa.func.hashtext(what))))


def table_names() -> tuple[str, ...]:
    """The names of every table, in creation order."""
    return tuple(table.name for table in metadata.sorted_tables)
