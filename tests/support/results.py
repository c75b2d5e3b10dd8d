"""Reads a lab's results database with nothing of the product between: plain SQLite, read-only."""

import sqlite3
from collections.abc import Iterable
from contextlib import closing
from pathlib import Path
from typing import Any

Row = dict[str, Any]

_JOBS = """
    SELECT jobs.*, cells.profile, cells.key, targets.label AS target
    FROM jobs JOIN cells ON cells.id = jobs.cell_id JOIN targets ON targets.id = cells.target_id ORDER BY jobs.id
"""


class Results:
    """The results in one home directory."""

    def __init__(self, home: Path) -> None:
        self._path = home / "bakeoff.db"

    def rows(self, query: str, values: Iterable[object] = ()) -> list[Row]:
        """Any query; empty while the database has no such table yet."""
        if not self._path.exists():
            return []
        with closing(sqlite3.connect(f"file:{self._path}?mode=ro", uri=True, timeout=30)) as connection:
            connection.row_factory = sqlite3.Row
            try:
                return [dict(row) for row in connection.execute(query, tuple(values))]
            except sqlite3.OperationalError as error:
                if "no such table" in str(error):
                    return []
                raise

    def jobs(self) -> list[Row]:
        """Every job with its profile and target."""
        return self.rows(_JOBS)

    def attempts(self) -> list[Row]:
        """Every attempt in the order in which they began."""
        return self.rows("SELECT * FROM attempts ORDER BY started_at, number")

    def outcomes(self) -> list[str]:
        """The outcomes of all attempts in the order in which they began; `live` for those that go on."""
        return [row["outcome"] or "live" for row in self.attempts()]

    def stages(self) -> list[Row]:
        """Every stage."""
        return self.rows("SELECT * FROM stages ORDER BY attempt_id, ordinal")

    def checks(self, kind: str) -> dict[str, str]:
        """Name to status of every check of a kind."""
        return {row["name"]: row["status"] for row in self.rows("SELECT * FROM checks WHERE kind = ?", [kind])}

    def held_slots(self) -> list[Row]:
        """Slots that somebody holds."""
        return self.rows("SELECT * FROM leases WHERE attempt_id IS NOT NULL")
