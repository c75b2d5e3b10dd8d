"""Reads along during a round: hints to be sent late, ends that must never change, and how long breakers wait."""

import threading
import time
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta

import sqlalchemy as sa

from orchestrator.domain.errors import StorageError
from orchestrator.storage.dispatch import Hint, open_hints
from orchestrator.storage.engine import Database
from orchestrator.storage.tables import breakers
from tests.faults.harness import evidence
from tests.faults.harness.evidence import Seen

_LOOK_SECONDS = 0.1
# Faults break jobs in a row and so stop machines and profiles, for minutes. That this ends by itself is to be seen,
# so the wait is made short: everything after it (half open, the probe, closed or open again) is the product's own.
_BREAKER_SECONDS = 3.0


class Recorder:
    """Reads every `_LOOK_SECONDS`; a database that is away is asked again."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._hints: dict[Hint, None] = {}
        # When each attempt was first seen ended, on the boot clock: never earlier than it ended.
        self.seen_at: dict[str, float] = {}
        self.ends: set[Seen] = set()
        self.breakers_opened: set[tuple[str, datetime]] = set()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="recorder", daemon=True)
        self._thread.start()

    @property
    def hints(self) -> list[Hint]:
        """In the order in which they were first seen."""
        return list(self._hints)

    def stop(self) -> None:
        """No more."""
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stop.wait(_LOOK_SECONDS):
            try:
                self._look()
            except (StorageError, sa.exc.DatabaseError):
                continue  # not migrated yet, or away: that is what a fault is

    def _look(self) -> None:
        with self._database.read() as connection:
            self._remember(open_hints(connection), evidence.ends(connection))
            opened = connection.execute(sa.select(breakers).where(breakers.c.state == "open")).all()
        new = [row for row in opened if (row.scope, row.opened_at) not in self.breakers_opened]
        if new:
            soon = datetime.now(UTC) + timedelta(seconds=_BREAKER_SECONDS)
            change = breakers.update().where(breakers.c.scope == sa.bindparam("which"), breakers.c.state == "open")
            with self._database.write() as connection:
                connection.execute(change.values(until=soon), [{"which": row.scope} for row in new])
            self.breakers_opened |= {(row.scope, row.opened_at) for row in new}

    def _remember(self, hints: Iterable[Hint], ends: set[Seen]) -> None:
        self._hints |= dict.fromkeys(hints)
        self.ends |= ends
        now = time.clock_gettime(time.CLOCK_BOOTTIME)
        for end in ends:
            self.seen_at.setdefault(end.attempt, now)
