"""What the live page reads again and again: few columns of every job, and more only of those that move."""

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any, NamedTuple

import sqlalchemy as sa

from orchestrator.domain.check import CheckStatus
from orchestrator.domain.errors import NotFound
from orchestrator.domain.states import FINAL_JOB_STATES, AttemptState, JobState
from orchestrator.domain.usage import TokenUsage
from orchestrator.storage.engine import Database, padded
from orchestrator.storage.tables import attempts, cells, checks, experiments, is_in, jobs, stages, targets

# Ids in one statement.
_CHUNK = 512
_FINAL = tuple(sorted(FINAL_JOB_STATES))


class Listed(NamedTuple):
    """An experiment in the list of all, with its jobs by state."""

    name: str
    submitted_at: datetime
    counts: dict[JobState, int]


class Place(NamedTuple):
    """Where a job stands in its matrix, which never changes."""

    job_id: int
    target: str
    profile: str
    params: dict[str, Any]
    repeat: int


class Stand(NamedTuple):
    """How a job stands. `attempts` tells an end from another end of the same job."""

    job_id: int
    state: str
    outcome: str | None
    waiting_reason: str | None
    needs: str
    attempts: int


class Running(NamedTuple):
    """A job that runs: its newest stage, None before the first, and the tokens of its live attempt."""

    job_id: int
    attempt: int
    machine: str
    started_at: datetime
    checking: bool
    stage: str | None
    stage_ended: bool
    turns: int | None
    tokens: int | None
    context_tokens: int | None
    context_window: int | None


class Check(NamedTuple):
    """How one check of a job ended."""

    status: CheckStatus


class End(NamedTuple):
    """How the last attempt of a job ended, and the checks on its work."""

    outcome: str | None
    wall_seconds: float | None
    checks: tuple[Check, ...]


def listed(database: Database) -> list[Listed]:
    """Every experiment, newest submit first."""
    counted = sa.select(jobs.c.experiment_id, jobs.c.state, sa.func.count()).group_by(
        jobs.c.experiment_id, jobs.c.state
    )
    query = sa.select(experiments.c.id, experiments.c.name, experiments.c.submitted_at)
    with database.snapshot() as connection:
        counts: dict[int, dict[JobState, int]] = {}
        for found, state, count in connection.execute(counted):
            counts.setdefault(found, {})[JobState(state)] = count
        rows = connection.execute(query.order_by(experiments.c.submitted_at.desc(), experiments.c.id.desc()))
        return [Listed(row.name, row.submitted_at, counts.get(row.id, {})) for row in rows]


def experiment_id(connection: sa.Connection, name: str) -> int:
    """Raises NotFound."""
    found = connection.execute(sa.select(experiments.c.id).where(experiments.c.name == name)).scalar()
    if found is None:
        raise NotFound(f"no experiment {name!r}")
    return int(found)


def experiment_of(database: Database, job_id: int) -> str:
    """The name of a job's experiment. Raises NotFound."""
    query = sa.select(experiments.c.name).join(jobs, jobs.c.experiment_id == experiments.c.id)
    with database.read() as connection:
        found = connection.execute(query.where(jobs.c.id == job_id)).scalar()
    if found is None:
        raise NotFound(f"no job {job_id}")
    return str(found)


def places(connection: sa.Connection, experiment: int) -> list[Place]:
    """Every job's place, cell by cell in the order of the file."""
    query = (
        sa.select(jobs.c.id, targets.c.label, cells.c.profile, cells.c.params, jobs.c.repeat)
        .join(cells, cells.c.id == jobs.c.cell_id)
        .join(targets, targets.c.id == cells.c.target_id)
        .where(jobs.c.experiment_id == experiment)
        .order_by(cells.c.id, jobs.c.repeat)
    )
    return [Place(*row) for row in connection.execute(query)]


def stands(connection: sa.Connection, experiment: int) -> list[Stand]:
    """Every job as it stands. Costs by jobs, some microseconds each: it is one narrow scan."""
    columns = (jobs.c.id, jobs.c.state, jobs.c.outcome, jobs.c.waiting_reason, jobs.c.needs, jobs.c.attempts)
    query = sa.select(*columns).where(jobs.c.experiment_id == experiment)
    return [Stand._make(row) for row in connection.execute(query)]


def running(connection: sa.Connection, experiment: int) -> list[Running]:
    """The jobs that run. Costs by these and by their stages."""
    mine = sa.select(jobs.c.attempt_id).where(
        jobs.c.experiment_id == experiment, is_in(jobs.c.state, JobState.RUNNING)
    )
    kinds = ("input", "output", "cache_read", "cache_write", "reasoning")
    sums = [sa.func.sum(stages.c[f"{kind}_tokens"]).label(kind) for kind in kinds]
    summed = (
        sa.select(stages.c.attempt_id, sa.func.max(stages.c.ordinal).label("newest"), *sums)
        .where(stages.c.attempt_id.in_(mine))
        .group_by(stages.c.attempt_id)
        .subquery()
    )
    newest = sa.and_(stages.c.attempt_id == attempts.c.id, stages.c.ordinal == summed.c.newest)
    query = (
        sa.select(
            *(attempts.c[name] for name in ("job_id", "number", "machine", "started_at", "state")),
            *(stages.c[name] for name in ("stage", "ended_at", "turns", "context_tokens", "context_window")),
            *(summed.c[kind] for kind in kinds),
        )
        .select_from(attempts)
        .outerjoin(summed, summed.c.attempt_id == attempts.c.id)
        .outerjoin(stages, newest)
        .where(attempts.c.id.in_(mine))
        .order_by(attempts.c.started_at, attempts.c.job_id)
    )
    return [_running(row, kinds) for row in connection.execute(query)]


def _running(row: Any, kinds: Sequence[str]) -> Running:
    # PostgreSQL sums wide integers as decimals.
    usage = {kind: None if (value := getattr(row, kind)) is None else int(value) for kind in kinds}
    return Running(
        job_id=row.job_id,
        attempt=row.number,
        machine=row.machine,
        started_at=row.started_at,
        checking=row.state == AttemptState.CHECKING,
        stage=row.stage,
        stage_ended=row.ended_at is not None,
        turns=row.turns,
        tokens=TokenUsage(**usage).total,
        context_tokens=row.context_tokens,
        context_window=row.context_window,
    )


def ends(connection: sa.Connection, experiment: int, wanted: Sequence[int] | None = None) -> dict[int, End]:
    """How these jobs of an experiment ended, or all that are final; by job. Costs by these."""
    mine = sa.and_(jobs.c.experiment_id == experiment, jobs.c.state.in_(_FINAL))
    if wanted is None:
        return _ends(connection, mine)
    found: dict[int, End] = {}
    for chunk in _chunks(wanted):
        found |= _ends(connection, sa.and_(mine, jobs.c.id.in_(padded(chunk))))
    return found


def _ends(connection: sa.Connection, mine: sa.ColumnElement[bool]) -> dict[int, End]:
    last = sa.select(sa.func.max(attempts.c.number)).where(attempts.c.job_id == jobs.c.id).correlate(jobs)
    joined = sa.and_(attempts.c.job_id == jobs.c.id, attempts.c.number == last.scalar_subquery())
    query = sa.select(jobs.c.id, attempts.c.outcome, attempts.c.wall_seconds).join(attempts, joined).where(mine)
    judged = (
        sa.select(jobs.c.id, checks.c.status)
        .join(attempts, joined)
        .join(checks, checks.c.attempt_id == attempts.c.id)
        .where(mine, checks.c.kind == "final")
    )
    statuses: dict[int, list[Check]] = {}
    for job_id, status in connection.execute(judged):
        statuses.setdefault(job_id, []).append(Check(CheckStatus(status)))
    return {row[0]: End(row[1], row[2], tuple(statuses.get(row[0], ()))) for row in connection.execute(query)}


def _chunks(values: Sequence[int]) -> Iterator[Sequence[int]]:
    for start in range(0, len(values), _CHUNK):
        yield values[start : start + _CHUNK]
