"""What stands between a hint and its claim besides slots: drains, breakers, and a machine that would be better."""

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa

from orchestrator.domain.breaker import admits, probing
from orchestrator.domain.outcome import RESUMABLE, Outcome, OutcomeClass, outcome_class
from orchestrator.domain.states import BreakerState
from orchestrator.storage import breakers
from orchestrator.storage.attempts.values import SILENT_AFTER, Drained, Elsewhere, Parked
from orchestrator.storage.tables import attempts, drains, jobs, machines

# All of these are judged by wall clocks, of which somebody may set one back by hours: what seems to lie in the future
# is as far away as what lies in the past.

# How long a job that broke on a machine waits for another one at least. They announce themselves every 10 s, and a
# free worker takes a hint within a second, so that this is over soon where all are busy.
_ELSEWHERE_FIRST = timedelta(seconds=20)

# How long a job whose work is kept on a machine waits for that one, from when it may go on.
_HOME_FIRST = timedelta(seconds=60)

_DRAINED = sa.select(drains.c.scope)
_LAST = (
    sa.select(
        attempts.c.machine, attempts.c.outcome, attempts.c.ended_at, attempts.c.parked_until, attempts.c.run_dir
    )
    .join(jobs, sa.and_(jobs.c.id == attempts.c.job_id, attempts.c.number == jobs.c.attempts))
    .where(jobs.c.id == sa.bindparam("job"))
)


class Gates:
    """The drains and breakers as one transaction of claims sees them."""

    def __init__(self, connection: sa.Connection, cell_ids: Iterable[int], now: datetime) -> None:
        """After the jobs and slots have been locked, never before: everybody locks in that order."""
        self._connection, self._now = connection, now
        self._drained = set(connection.execute(_DRAINED).scalars())
        self._breakers = breakers.lock(connection)
        stopped = any(scope.startswith("profile:") for scope in self._breakers)
        self._profiles = breakers.profile_scopes(connection, cell_ids) if stopped else {}
        self._probes: list[tuple[str, str]] = []

    def refusal(self, row: Any, needs: tuple[str, ...], machine: str) -> Drained | Parked | Elsewhere | None:
        """Why this job may not start there now; None when it may."""
        for scope in (*needs, f"machine:{machine}"):
            if scope in self._drained:
                return Drained(scope)
        for scope in self._scopes(row, needs, machine):
            breaker = self._breakers.get(scope)
            if breaker is not None and not admits(breaker):
                return Parked(scope, breaker)
        if row.attempts and self._better_elsewhere(row.id, needs, machine):
            return Elsewhere(machine)
        return None

    def enter(self, row: Any, needs: tuple[str, ...], machine: str, attempt_id: str) -> tuple[str, ...]:
        """The attempt starts. Returns the scopes for which it is the probe."""
        mine = []
        for scope in self._scopes(row, needs, machine):
            breaker = self._breakers.get(scope)
            if breaker is not None and breaker.state is BreakerState.HALF_OPEN:
                self._breakers[scope] = probing(breaker, attempt_id)
                mine.append(scope)
        self._probes += [(scope, attempt_id) for scope in mine]
        return tuple(mine)

    def store(self) -> None:
        """Write down who probes."""
        if self._probes:
            breakers.begin_probes(self._connection, self._probes, self._now)

    def _scopes(self, row: Any, needs: tuple[str, ...], machine: str) -> tuple[str, ...]:
        profile = self._profiles.get(row.cell_id)
        return (*needs, f"machine:{machine}", *([profile] if profile else []))

    def _better_elsewhere(self, job_id: int, needs: tuple[str, ...], machine: str) -> bool:
        """A job that broke here tries another machine first; one that was interrupted goes on where its tree is."""
        last = self._connection.execute(_LAST, {"job": job_id}).first()
        if last is None or last.ended_at is None or last.outcome is None:
            return False
        if outcome_class(Outcome(last.outcome)) is OutcomeClass.INFRA:
            if last.machine != machine:
                return False
            # As long as nothing has gone well here since, this machine must not take the job's other tries too.
            here = self._breakers.get(f"machine:{machine}")
            unproven = here is not None and here.failures > 0
            soon = abs(self._now - last.ended_at) < _ELSEWHERE_FIRST
            return (soon or unproven) and self._serves(needs, other_than=machine)
        if last.machine == machine or last.run_dir is None or last.outcome not in RESUMABLE:
            return False
        soon = abs(self._now - (last.parked_until or last.ended_at)) < _HOME_FIRST
        return soon and self._serves(needs, only=last.machine)

    def _serves(self, needs: tuple[str, ...], *, only: str | None = None, other_than: str | None = None) -> bool:
        """Whether a worker on such a machine, which takes new work, listens to the queue of such jobs."""
        query = sa.select(machines.c.name, machines.c.capabilities).where(
            machines.c.seen_at > self._now - SILENT_AFTER, machines.c.seen_at < self._now + SILENT_AFTER
        )
        query = query.where(machines.c.name == only if only is not None else machines.c.name != other_than)
        # `queue_of`: the account's queue when there is one. The first of the sorted needs is just that.
        for row in self._connection.execute(query):
            scope, told = f"machine:{row.name}", row.capabilities
            serves = told.get("resource") == needs[0] and not told.get("closed_for")
            if serves and scope not in self._drained and admits(self._breakers.get(scope)):
                return True
        return False
