"""Opening the results database: SQLite (WAL) or PostgreSQL behind one small object, with errors in plain words."""

import json
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

import pydantic_core
import sqlalchemy as sa
from sqlalchemy.exc import ArgumentError, DBAPIError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from orchestrator.domain.errors import Conflict, StorageError
from orchestrator.storage.tables import metadata

T = TypeVar("T")

# The newest migration. `migrate` compares it before it imports Alembic, which costs 0.2 s.
HEAD = "0008"

_HINTS = (
    ("database is locked", "another process holds the database; end it or wait, then run the same command again"),
    ("deadlock detected", "the database is busy; run the same command again"),
    ("canceling statement", "the database is busy or hangs; run the same command again"),
    ("permission denied", "the database user may not do this; grant it the rights of the schema's owner"),
    ("no space left", "the disk is full; free some space and run the same command again"),
    ("malformed", "the file is damaged; restore a copy, or set BAKEOFF_HOME to another folder"),
    ("readonly database", "the file or its folder is not writable; change its permissions or set BAKEOFF_HOME"),
    ("read-only", "the database is read-only; change its permissions or set BAKEOFF_HOME"),
    ("database or disk is full", "the disk is full; free some space and run the same command again"),
    ("disk i/o error", "the disk is full or failing; free some space and run the same command again"),
    ("unable to open database file", "the folder does not exist or is not writable; set BAKEOFF_HOME"),
    ("not a database", "this file is not a Bakeoff database; set BAKEOFF_HOME to another folder"),
    ("connection", "the database server cannot be reached; check BAKEOFF_DATABASE_URL and that it runs"),
)


class Database:
    """One results database. Threads may share it; after a fork each process needs its own."""

    def __init__(self, url: str, *, statement_timeout_seconds: float = 15.0) -> None:
        """Open without touching the file or server yet. `url` is any SQLAlchemy URL of the two dialects.

        Raises StorageError for anything else.
        """
        self.url = _parse(url)
        self.sqlite = self.url.get_backend_name() == "sqlite"
        if self.sqlite:
            self.engine = _sqlite_engine(self.url, statement_timeout_seconds)
        else:
            self.engine = _postgres_engine(self.url, statement_timeout_seconds)
        self._snapshot = self.engine.execution_options(isolation_level=_SNAPSHOTS[self.sqlite], snapshot=True)
        self._reader = self.engine.execution_options(isolation_level="AUTOCOMMIT")

    def __repr__(self) -> str:
        return f"database {self.url.render_as_string(hide_password=True)}"

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

    @contextmanager
    def snapshot(self) -> Iterator[sa.Connection]:
        """Statements that only read, all seeing the same moment."""
        with self._translated(), self._snapshot.begin() as connection:
            yield connection

    def migrate(self) -> None:
        """Bring the schema to HEAD; nothing happens when it is there. Raises Conflict for a newer schema."""
        if self.sqlite and self.url.database:
            self._make_folder(Path(self.url.database).parent)
        current = self.revision()
        if current == HEAD:
            return
        if current is not None and current > HEAD:
            raise Conflict(f"the database is at schema {current}, newer than this program's {HEAD}; update Bakeoff")
        from orchestrator.storage.migrate import upgrade

        with self._translated():
            upgrade(self.engine, HEAD)

    def _make_folder(self, folder: Path) -> None:
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StorageError(f"{self!r}: {error}: set BAKEOFF_HOME to a folder that can be made") from error

    def exists(self) -> bool:
        """Whether there is something to read: opening an SQLite file that is not there would make one."""
        return not self.sqlite or self.url.database is None or Path(self.url.database).exists()

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
            if not _is_outside(error):
                raise
            text = str(error.orig).strip()
            hint = next((hint for sign, hint in _HINTS if sign in text.lower()), "see the database's own log")
            raise StorageError(f"{self!r}: {text}: {hint}") from error


# By whether it is SQLite, whose transactions are snapshots anyway.
_SNAPSHOTS = {True: "SERIALIZABLE", False: "REPEATABLE READ"}
# Of PostgreSQL's faults that are no OperationalError: a read-only transaction, a missing right.
_OUTSIDE = frozenset({"25006", "42501"})


def _parse(url: str) -> sa.URL:
    try:
        parsed = sa.make_url(url)
    except ArgumentError:
        parsed = None
    if parsed is None or parsed.get_backend_name() not in ("sqlite", "postgresql"):
        # Without the text itself: it may hold a password.
        raise StorageError(
            "BAKEOFF_DATABASE_URL is no database that Bakeoff can use; "
            "accepted: sqlite:////a/file.db, postgresql://user:password@host/name"
        )
    return parsed


def _is_outside(error: DBAPIError) -> bool:
    """Whether the fault lies with the database or its machine, and not with a statement of ours."""
    if isinstance(error, OperationalError) or error.connection_invalidated:
        return True
    # Raised as such, and not as a subclass, for a file that is no database, or is damaged.
    return type(error.orig) is sqlite3.DatabaseError or getattr(error.orig, "sqlstate", None) in _OUTSIDE


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
        options = connection.get_execution_options()
        if options.get("isolation_level") != "AUTOCOMMIT":
            connection.exec_driver_sql("BEGIN" if options.get("snapshot") else "BEGIN IMMEDIATE")

    return engine


# A machine that is cut off in the middle of a transaction holds its row locks until the server notices. Our
# transactions wait for nothing but the server, and others' leases must not run out behind such a lock.
_IDLE_MILLISECONDS = 3000


def _as_json(value: object) -> str:
    try:
        return pydantic_core.to_json(value).decode()
    except pydantic_core.PydanticSerializationError:
        return json.dumps(value)  # a lone surrogate can be escaped, but not encoded


def _postgres_engine(url: sa.URL, timeout_seconds: float) -> sa.Engine:
    milliseconds = round(timeout_seconds * 1000)
    return sa.create_engine(
        url.set(drivername="postgresql+psycopg"),
        pool_size=8,
        max_overflow=16,
        # The connection that was used last has the statements prepared.
        pool_use_lifo=True,
        # Four times as fast as json.dumps, which is a tenth of what shipping an event costs.
        json_serializer=_as_json,
        connect_args={
            "connect_timeout": 5,
            # A hung server or a cut network must end as an error well before a lease does.
            "tcp_user_timeout": 10_000,
            # Planning costs more than most of our statements: it is saved from the second time on.
            "prepare_threshold": 1,
            "keepalives_idle": 5,
            "keepalives_interval": 2,
            "keepalives_count": 3,
            "options": f"-c statement_timeout={milliseconds} -c lock_timeout={milliseconds} "
            f"-c idle_in_transaction_session_timeout={_IDLE_MILLISECONDS} -c timezone=UTC",
        },
    )


def one_at_a_time(connection: sa.Connection, what: str) -> None:
    """Wait until no other transaction is in here for the same `what`. SQLite has one writer at a time anyway."""
    if connection.dialect.name == "postgresql":
        connection.execute(sa.select(sa.func.pg_advisory_xact_lock(sa.func.hashtext(what))))


def lock_in_order(connection: sa.Connection, key: sa.Column[int], condition: sa.ColumnElement[bool]) -> None:
    """Lock the rows that several statements will change, always in the same order, so that two transactions that
    change many rows cannot wait for each other. On SQLite the transaction has the whole database already."""
    if connection.dialect.name == "postgresql":
        connection.execute(sa.select(key).where(condition).order_by(key).with_for_update())


def padded(values: Sequence[T]) -> list[T]:
    """The values, the last one repeated up to a power of two: lists in statements then have few lengths, so that
    these statements are compiled, prepared and planned once and not for every length."""
    length = 1 << max(0, len(values) - 1).bit_length()
    return [*values, *[values[-1]] * (length - len(values))] if values else []


def table_names() -> tuple[str, ...]:
    """The names of every table, in creation order."""
    return tuple(table.name for table in metadata.sorted_tables)
