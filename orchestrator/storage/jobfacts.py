"""Everything on record about one job, for people who ask why it stands where it stands."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from orchestrator.domain.errors import NotFound
from orchestrator.domain.states import JobState
from orchestrator.storage.dispatch import split_needs
from orchestrator.storage.engine import Database
from orchestrator.storage.tables import attempts, cells, experiments, is_in, jobs, stages


@dataclass(frozen=True, kw_only=True)
class AttemptFacts:
    """One try. `stages` are those that it began; None is unknown or still open."""

    number: int
    state: str
    machine: str
    worker_pid: int
    started_at: datetime
    ended_at: datetime | None
    outcome: str | None
    detail: str | None
    waits_for: str | None
    stages: int


@dataclass(frozen=True, kw_only=True)
class JobFacts:
    """One job. `ahead` are the ready jobs with the same needs that go before it; None unless it is ready itself."""

    job_id: int
    experiment: str
    key: str
    repeat: int
    state: JobState
    priority: int
    position: int
    needs: tuple[str, ...]
    queue: str
    wake_at: datetime | None
    outcome: str | None
    detail: str | None
    finished_at: datetime | None
    retuned: dict[str, float | int | None]
    cancel_requested: bool
    pause_requested: bool
    ahead: int | None
    attempts: tuple[AttemptFacts, ...]

    @property
    def label(self) -> str:
        """`target/profile#repeat`, with the swept values where there are any."""
        return f"{self.key}#{self.repeat}"


def job_facts(database: Database, job_id: int) -> JobFacts:
    """The job as it stands now. Raises NotFound."""
    query = (
        sa.select(jobs, cells.c.key, experiments.c.name.label("experiment"))
        .join(cells, cells.c.id == jobs.c.cell_id)
        .join(experiments, experiments.c.id == jobs.c.experiment_id)
        .where(jobs.c.id == job_id)
    )
    with database.snapshot() as connection:
        row = connection.execute(query).one_or_none()
        if row is None:
            raise NotFound(f"no job {job_id} in {database!r}; `bakeoff status` lists the ids")
        return JobFacts(
            job_id=row.id,
            experiment=row.experiment,
            key=row.key,
            repeat=row.repeat,
            state=JobState(row.state),
            priority=row.priority,
            position=row.position,
            needs=split_needs(row.needs),
            queue=row.queue,
            wake_at=row.wake_at,
            outcome=row.outcome,
            detail=row.detail,
            finished_at=row.finished_at,
            retuned=row.retuned or {},
            cancel_requested=row.cancel_requested,
            pause_requested=row.pause_requested,
            ahead=_ahead(connection, row) if row.state == JobState.READY else None,
            attempts=tuple(_attempts(connection, job_id)),
        )


def _ahead(connection: sa.Connection, row: Any) -> int:
    earlier = sa.and_(jobs.c.priority == row.priority, jobs.c.position < row.position)
    query = sa.select(sa.func.count()).where(
        is_in(jobs.c.state, JobState.READY),
        jobs.c.needs == row.needs,
        sa.or_(jobs.c.priority > row.priority, earlier),
    )
    return int(connection.execute(query).scalar_one())


def _attempts(connection: sa.Connection, job_id: int) -> list[AttemptFacts]:
    begun = sa.select(sa.func.count()).where(stages.c.attempt_id == attempts.c.id).scalar_subquery()
    query = sa.select(attempts, begun.label("begun")).where(attempts.c.job_id == job_id).order_by(attempts.c.number)
    return [
        AttemptFacts(
            number=row.number,
            state=row.state,
            machine=row.machine,
            worker_pid=row.worker_pid,
            started_at=row.started_at,
            ended_at=row.ended_at,
            outcome=row.outcome,
            detail=row.detail,
            waits_for=row.waits_for,
            stages=row.begun,
        )
        for row in connection.execute(query)
    ]


def job_labels(database: Database, experiment: str) -> dict[str, int]:
    """The ids of an experiment's jobs by `target/profile#repeat`."""
    query = (
        sa.select(cells.c.key, jobs.c.repeat, jobs.c.id)
        .join(cells, cells.c.id == jobs.c.cell_id)
        .join(experiments, experiments.c.id == jobs.c.experiment_id)
        .where(experiments.c.name == experiment)
    )
    with database.read() as connection:
        return {f"{row.key}#{row.repeat}": row.id for row in connection.execute(query)}
