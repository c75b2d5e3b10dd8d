"""Which of several schedulers acts: the holder of a row raises a number; others may take it over when that stops.

Judged as attempts are, by watching the number from the watcher's own boot clock: no two machines' clocks are
compared. Nothing depends on there being one leader at most, since every change that a scheduler makes is a
compare-and-set; it keeps two of them from doing the same work and from sending the same hints.
"""

import os
import secrets
from importlib.metadata import version

import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError

from orchestrator.clock import boot_id, boot_seconds, start_ticks, utc_now
from orchestrator.domain.lease import Beat, Observer
from orchestrator.storage.engine import Database
from orchestrator.storage.tables import leaders

_PART = "scheduler"
# A leader raises its number this often; with the silence below, a takeover after a SIGKILL elsewhere takes 4 to 5 s.
BEAT_SECONDS = 1.0
_SILENT_SECONDS = 4.0


class Leadership:
    """One process's standing for election. Not for several threads."""

    def __init__(self, database: Database, machine: str) -> None:
        pid = os.getpid()
        self._database = database
        self.holder = secrets.token_hex(16)
        self._mine = {
            "holder": self.holder,
            "machine": machine,
            "boot_id": boot_id(),
            "pid": pid,
            "start_ticks": start_ticks(pid) or 0,
            "version": version("bakeoff"),
        }
        self._observer = Observer(ttl_seconds=_SILENT_SECONDS, max_gap_seconds=_SILENT_SECONDS / 2)
        self._next_look = 0.0
        self._leads = False
        self._passes, self._pass_seconds = 0, 0.0

    def count_pass(self, seconds: float) -> None:
        """A pass was made as leader: stored with the next beat."""
        self._passes, self._pass_seconds = self._passes + 1, self._pass_seconds + seconds

    def lead(self) -> bool:
        """Whether this process leads; asks the database at most once per beat. Raises StorageError.

        A process that was stopped for longer than a beat asks before it acts again.
        """
        now = boot_seconds()
        if now >= self._next_look:
            self._leads = False  # also when the database does not answer
            self._leads = self._renew() or self._take_over(now)
            self._next_look = now + BEAT_SECONDS
        return self._leads

    def resign(self) -> None:
        """Let another one lead at once. Nothing happens when this one does not."""
        self._leads = False
        with self._database.write() as connection:
            connection.execute(leaders.delete().where(leaders.c.part == _PART, leaders.c.holder == self.holder))

    def _renew(self) -> bool:
        mine = leaders.update().where(leaders.c.part == _PART, leaders.c.holder == self.holder)
        done = {"passes": self._passes, "pass_seconds": self._pass_seconds}
        with self._database.write() as connection:
            return connection.execute(mine.values(heartbeat=leaders.c.heartbeat + 1, **done)).rowcount == 1

    def _take_over(self, asked_at: float) -> bool:
        self._passes, self._pass_seconds = 0, 0.0
        with self._database.read() as connection:
            row = connection.execute(sa.select(leaders).where(leaders.c.part == _PART)).one_or_none()
        if row is None:
            return self._insert()
        beat = Beat(row.holder, row.heartbeat)
        silent = beat in self._observer.look([beat], asked_at=asked_at, read_at=boot_seconds())
        if not silent and not self._provably_dead(row):
            return False
        unchanged = sa.and_(
            leaders.c.part == _PART, leaders.c.holder == row.holder, leaders.c.heartbeat == row.heartbeat
        )
        change = (
            leaders.update()
            .where(unchanged)
            .values(heartbeat=0, passes=0, pass_seconds=0.0, since=utc_now(), **self._mine)
        )
        with self._database.write() as connection:
            return connection.execute(change).rowcount == 1

    def _insert(self) -> bool:
        try:
            with self._database.write() as connection:
                connection.execute(leaders.insert().values(part=_PART, since=utc_now(), **self._mine))
        except IntegrityError:  # another one was first
            return False
        return True

    def _provably_dead(self, row: sa.Row[tuple[object, ...]]) -> bool:
        here = (row.machine, row.boot_id) == (self._mine["machine"], self._mine["boot_id"])
        return here and start_ticks(row.pid) != row.start_ticks


def fleet_version(database: Database) -> str | None:
    """The program version of the scheduler that leads or led last; None before the first one."""
    with database.read() as connection:
        return connection.execute(sa.select(leaders.c.version).where(leaders.c.part == _PART)).scalar()
