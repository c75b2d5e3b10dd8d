"""Databases of interstat as rows: a private copy is opened, so that the user's files stay as they are to the byte."""

import shutil
import sqlite3
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import NamedTuple

from orchestrator.domain.errors import InvalidInput, Unavailable
from orchestrator.interop.input_file import open_input, refused

# What interstat writes as PRAGMA user_version. It stayed at 2 while columns were added up to its fifth schema, so
# that what is there is seen from the columns.
KNOWN_VERSIONS = (1, 2, 7)
_NEEDED = ("id", "timestamp", "session_id", "agent_name")
_READ = (
    *_NEEDED,
    *("subagent_type", "invocation_id", "wall_clock_ms", "input_tokens", "output_tokens", "cache_read_tokens"),
    *("cache_creation_tokens", "total_tokens", "model", "api_equivalent_cost_usd", "parsed_at", "bead_id", "phase"),
)
# Rows of other tables of interstat's, which are counted and not stored.
_OTHERS = ("tool_selection_events", "local_routing_shadow")
_MAX_VALUE_BYTES = 1024 * 1024
_TRIES = 3

Row = Mapping[str, object]


class Database(NamedTuple):
    """An open database of interstat's. `others` are the rows of its tables that are not read, by table."""

    version: int
    columns: Sequence[str]
    others: Mapping[str, int]
    rows: Iterator[Row]


@contextmanager
def open_database(path: Path) -> Iterator[Database]:
    """Open a copy. Raises NotFound, InvalidInput for what is no such database, Unavailable while it is written."""
    with tempfile.TemporaryDirectory(prefix="bakeoff-interstat-") as folder:
        copy = Path(folder, "metrics.db")
        _copy(path, copy)
        try:
            with closing(sqlite3.connect(f"{copy.as_uri()}?mode=rw", uri=True)) as connection:
                yield _look(connection, path)
        except sqlite3.Error as error:
            raise refused(path, f"is no whole SQLite database: {error}; import a backup of it") from None


def _copy(path: Path, copy: Path) -> None:
    """The database and what SQLite keeps beside it (not beside a link to it), as of one moment."""
    path = path.resolve() if path.exists() else path
    with open_input(path) as file:
        if file.read(16) != b"SQLite format 3\0":
            raise refused(path, "is no SQLite database; interstat's is ~/.claude/interstat/metrics.db")
    beside = {path: copy} | {
        path.with_name(path.name + end): copy.with_name(copy.name + end) for end in ("-wal", "-journal")
    }
    for _ in range(_TRIES):
        before = _state(beside)
        try:
            for source, target in beside.items():
                target.unlink(missing_ok=True)
                if source.exists():
                    with open_input(source) as read, target.open("wb") as write:
                        shutil.copyfileobj(read, write)
        except OSError as error:
            raise Unavailable(f"{path} cannot be copied to {copy.parent}: {error.strerror}") from None
        if _state(beside) == before:
            return
    raise Unavailable(f"{path} is being written: import it when interstat is at rest")


def _state(files: Mapping[Path, Path]) -> list[tuple[int, int] | None]:
    def one(path: Path) -> tuple[int, int] | None:
        try:
            about = path.stat()
        except OSError:
            return None
        return about.st_size, about.st_mtime_ns

    return [one(path) for path in files]


def _look(connection: sqlite3.Connection, path: Path) -> Database:
    # Nothing that a made-up database says is run: no functions of its views and triggers, no endless values.
    connection.execute("PRAGMA trusted_schema = OFF")
    connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, _MAX_VALUE_BYTES)
    connection.text_factory = lambda data: data.decode("utf-8", "replace")
    tables = {
        name: str(text or "")
        for name, text in connection.execute("SELECT name, sql FROM sqlite_schema WHERE type = 'table'")
    }
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    _check(path, version, tables.get("agent_runs"))
    (whole,) = connection.execute("PRAGMA quick_check(1)").fetchone()
    if whole != "ok":
        raise refused(path, f"is damaged: {whole}; import a backup of it")
    there = [row[1] for row in connection.execute("PRAGMA table_info(agent_runs)")]
    missing = [name for name in _NEEDED if name not in there]
    if missing:
        raise refused(path, f"its table agent_runs has no column {', '.join(missing)}")
    columns = [name for name in _READ if name in there]
    # Once to the end, so that nothing is stored of a database that cannot be read to its end.
    for _ in _rows(connection, columns):
        pass
    others = {name: _count(connection, name) for name in _OTHERS if name in tables}
    return Database(version, columns, others, _rows(connection, columns))


def _check(path: Path, version: int, table: str | None) -> None:
    if table is None or table.upper().startswith("CREATE VIRTUAL"):
        raise refused(path, "has no table agent_runs: it is no database of interstat's")
    if version not in KNOWN_VERSIONS:
        known = ", ".join(map(str, KNOWN_VERSIONS))
        raise _unknown(path, f"has schema version {version}, and known are {known}", version)


def _unknown(path: Path, message: str, version: int) -> InvalidInput:
    older = "interstat's own scripts/init-db.sh brings it up to date"
    newer = "a newer Bakeoff may know it; nothing of it was read"
    return refused(path, f"{message}: {newer if version > max(KNOWN_VERSIONS) else older}")


def _count(connection: sqlite3.Connection, table: str) -> int:
    # The name is one of ours.
    return int(connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0])  # noqa: S608


def _rows(connection: sqlite3.Connection, columns: Sequence[str]) -> Iterator[Row]:
    query = f"SELECT {', '.join(columns)} FROM agent_runs ORDER BY id"  # noqa: S608 - names of ours again
    for row in connection.execute(query):
        yield dict(zip(columns, row, strict=True))
