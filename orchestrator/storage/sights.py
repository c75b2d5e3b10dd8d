"""What people may want to be told of, as the database has it now: experiments, breakers, machines.

Costs by experiments, breakers, workers and open hints, never by what waits.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import NamedTuple

import sqlalchemy as sa

from orchestrator.domain.breaker import Breaker
from orchestrator.domain.campaign import Then
from orchestrator.domain.notices import Mark, NoticeKind
from orchestrator.domain.outcome import Outcome
from orchestrator.domain.states import FINAL_JOB_STATES, BreakerState, JobState
from orchestrator.storage import breakers
from orchestrator.storage.attempts.values import SILENT_AFTER
from orchestrator.storage.dispatch import Slots, ready_classes, slots, split_needs
from orchestrator.storage.engine import Database
from orchestrator.storage.notices import Key, Sight
from orchestrator.storage.tables import cells, drains, experiments, is_in, jobs, machines

_OPEN = [state for state in JobState if state not in FINAL_JOB_STATES]


class Worker(NamedTuple):
    """A registered worker, as notices speak of it."""

    machine: str
    worker: str
    seen_at: datetime
    closed_for: str | None


class Seen(NamedTuple):
    """Everything that one look has found. `workers` by the subject of their notices."""

    sights: list[Sight]
    breakers: dict[str, Breaker]
    workers: dict[str, Worker]
    slots: dict[str, Slots]


def look(database: Database, known: Mapping[Key, Mark], now: datetime) -> Seen:
    """Look at all of it. What is gone from the database and was bad is over."""
    with database.read() as connection:
        gates, workers, places = breakers.load(connection), _workers(connection), slots(connection)
        held = {*gates, *connection.execute(sa.select(drains.c.scope)).scalars()}
        sights = [*_experiments(connection, places), *_breakers(gates)]
    for subject, worker in workers.items():
        silent = now - worker.seen_at > SILENT_AFTER
        sights.append(Sight(NoticeKind.MACHINE_LOST, subject, silent))
        # A person knows what he drained, and a breaker is told of itself.
        full = bool(worker.closed_for) and not silent and f"machine:{worker.machine}" not in held
        sights.append(Sight(NoticeKind.MACHINE_FULL, subject, full))
    here = {sight.key for sight in sights}
    sights += [Sight(*key, False) for key, mark in known.items() if mark.bad and key not in here]
    return Seen(sights, gates, workers, places)


def _breakers(gates: dict[str, Breaker]) -> list[Sight]:
    # An account whose limit is used up does what was planned; its experiments say that they wait for it.
    stopped = {BreakerState.OPEN: True, BreakerState.HALF_OPEN: None, BreakerState.CLOSED: False}
    return [
        Sight(NoticeKind.BREAKER_OPEN, scope, stopped[gate.state] if gate.failures else None)
        for scope, gate in gates.items()
    ]


def _workers(connection: sa.Connection) -> dict[str, Worker]:
    query = sa.select(machines.c.name, machines.c.worker, machines.c.seen_at, machines.c.capabilities)
    return {
        f"worker:{row.name}/{row.worker}": Worker(
            row.name, row.worker, row.seen_at, row.capabilities.get("closed_for")
        )
        for row in connection.execute(query)
    }


def _experiments(connection: sa.Connection, places: dict[str, Slots]) -> list[Sight]:
    """Each experiment with jobs: has it ended, and does all that is open of it stand still?"""

    def has(*states: JobState) -> sa.ColumnElement[bool]:
        # One probe of the index per state. With `EXISTS`, or states as parameters, PostgreSQL reads the whole table.
        mine = [sa.and_(jobs.c.experiment_id == experiments.c.id, is_in(jobs.c.state, state)) for state in states]
        probes = [sa.select(jobs.c.id).where(one).limit(1).correlate(experiments).scalar_subquery() for one in mine]
        return sa.or_(*(probe.is_not(None) for probe in probes))

    query = sa.select(
        experiments.c.id,
        experiments.c.name,
        has(*_OPEN).label("open"),
        has(JobState.RUNNING, JobState.QUEUED).label("goes_on"),
        has(JobState.READY).label("ready"),
        has(*sorted(FINAL_JOB_STATES)).label("over"),
    )
    rows = connection.execute(query).all()
    still = [row for row in rows if row.open and not row.goes_on and row.ready]
    startable = [one for one in ready_classes(connection) if _may_start(one, places)] if still else []
    found = []
    for row in rows:
        subject = f"experiment:{row.name}"
        if row.open or row.over:
            found.append(Sight(NoticeKind.EXPERIMENT_ENDED, subject, not row.open))
        waits = row.open and not row.goes_on and not (row.ready and _any_ready(connection, row.id, startable))
        found.append(Sight(NoticeKind.EXPERIMENT_WAITING, subject, bool(waits)))
    return found


def _may_start(needs: str, places: dict[str, Slots]) -> bool:
    return all(need in places and places[need].total > 0 for need in split_needs(needs))


def _any_ready(connection: sa.Connection, experiment_id: int, classes: list[str]) -> bool:
    mine = sa.and_(jobs.c.experiment_id == experiment_id, is_in(jobs.c.state, JobState.READY))
    return any(
        connection.execute(sa.select(jobs.c.id).where(mine, jobs.c.needs == needs).limit(1)).first() is not None
        for needs in classes
    )


class Counts(NamedTuple):
    """An experiment's jobs by state, and the earliest moment at which a parked one is ready again.

    Of the cancelled ones, `raced` were ended by the race, and `second` are of a second part.
    """

    states: dict[JobState, int]
    raced: int
    second: int
    wakes_at: datetime | None
    needs: tuple[str, ...]


def counts(database: Database, experiment: str) -> Counts:
    """Costs by jobs: only for what is told."""
    mine = experiments.c.name == experiment
    joined = jobs.join(experiments, experiments.c.id == jobs.c.experiment_id)
    by_state = sa.select(jobs.c.state, sa.func.count()).select_from(joined).where(mine).group_by(jobs.c.state)
    parked = sa.select(sa.func.min(jobs.c.wake_at)).select_from(joined).where(mine, jobs.c.state == JobState.PARKED)
    cancelled = sa.and_(mine, jobs.c.state == JobState.CANCELLED)
    raced = sa.select(sa.func.count()).select_from(joined).where(cancelled, jobs.c.outcome == Outcome.RACED_OUT)
    ready = sa.select(jobs.c.needs).distinct().select_from(joined).where(mine, jobs.c.state == JobState.READY)
    with database.read() as connection:
        states = {JobState(row[0]): int(row[1]) for row in connection.execute(by_state)}
        needs = {need for row in connection.execute(ready) for need in split_needs(row.needs)}
        return Counts(
            states,
            int(connection.execute(raced).scalar_one()),
            _of_second_part(connection, experiment, cancelled) if states.get(JobState.CANCELLED) else 0,
            connection.execute(parked).scalar(),
            tuple(sorted(needs)),
        )


def _of_second_part(connection: sa.Connection, experiment: str, chosen: sa.ColumnElement[bool]) -> int:
    spec = connection.execute(sa.select(experiments.c.spec).where(experiments.c.name == experiment)).scalar() or {}
    then = spec.get("then")
    if not then:
        return 0
    joined = jobs.join(experiments, experiments.c.id == jobs.c.experiment_id).join(
        cells, cells.c.id == jobs.c.cell_id
    )
    mine = sa.and_(chosen, cells.c.profile.in_(Then.model_validate(then).profiles))
    return int(connection.execute(sa.select(sa.func.count()).select_from(joined).where(mine)).scalar_one())
