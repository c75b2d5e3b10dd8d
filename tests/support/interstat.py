"""Databases as interstat makes them, of every schema that it had."""

import sqlite3
from collections.abc import Iterable, Mapping
from contextlib import closing
from pathlib import Path

# The first table, and what later schemas added to it. PRAGMA user_version: 1, then 2 up to the fifth, then 7.
_FIRST = (
    "id INTEGER PRIMARY KEY AUTOINCREMENT, timestamp TEXT NOT NULL, session_id TEXT NOT NULL,"
    " agent_name TEXT NOT NULL, invocation_id TEXT, wall_clock_ms INTEGER, result_length INTEGER,"
    " input_tokens INTEGER, output_tokens INTEGER, cache_read_tokens INTEGER, cache_creation_tokens INTEGER,"
    " total_tokens INTEGER, model TEXT, parsed_at TEXT"
)
_ADDED = {
    2: ("subagent_type TEXT", "description TEXT", "bead_id TEXT DEFAULT ''", "phase TEXT DEFAULT ''"),
    7: ("api_equivalent_cost_usd REAL", "source_path TEXT", "pricing_unknowns TEXT"),
}
AT = "2026-02-28T10:00:00Z"


def make_interstat(path: Path, rows: Iterable[Mapping[str, object]], *, version: int = 2) -> Path:
    """A database with these rows, which need no time, session or parse time of their own."""
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        columns = [_FIRST, *(one for since, added in _ADDED.items() if since <= version for one in added)]
        connection.execute(f"CREATE TABLE agent_runs ({', '.join(columns)})")
        connection.execute(f"PRAGMA user_version = {version}")
        add_rows(connection, rows)
    return path


def add_rows(connection: sqlite3.Connection, rows: Iterable[Mapping[str, object]]) -> None:
    """Insert and commit."""
    for row in rows:
        row = {"timestamp": AT, "session_id": "s1", "agent_name": "main-session", "parsed_at": AT} | dict(row)
        places = ", ".join("?" * len(row))
        connection.execute(f"INSERT INTO agent_runs ({', '.join(row)}) VALUES ({places})", tuple(row.values()))
    connection.commit()
