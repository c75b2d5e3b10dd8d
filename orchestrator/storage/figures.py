"""Figures of the whole fleet for monitoring: what is so now, and sums over everything that has ended."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, NamedTuple

import sqlalchemy as sa

from orchestrator.storage.dispatch import Slots, slots
from orchestrator.storage.engine import Database
from orchestrator.storage.tables import (
    attempts,
    breaker_events,
    breakers,
    drains,
    experiments,
    is_live,
    jobs,
    leaders,
    machines,
    notice_deliveries,
    stages,
)

# Seconds: a job of a matrix takes minutes, a night of waiting hours.
BUCKETS = (10.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1800.0, 3600.0, 7200.0, 21600.0)
TOKENS = ("input", "output", "cache_read", "cache_write", "reasoning")


class JobCount(NamedTuple):
    """Jobs of an experiment in a state; `experiment_id` grows with age of creation."""

    experiment_id: int
    experiment: str
    state: str
    number: int


class WorkerFigure(NamedTuple):
    """A registered worker. `disk_free_bytes` None: it has not told yet."""

    machine: str
    worker: str
    seen_at: datetime
    closed: bool
    disk_free_bytes: int | None


class Leader(NamedTuple):
    """The scheduler that leads or led last; `heartbeats` grow while it lives."""

    machine: str
    version: str
    heartbeats: int
    passes: int
    pass_seconds: float


class Present(NamedTuple):
    """What is so now. `deliveries`: notices by channel and state; `database_bytes` None where it is not told."""

    jobs: list[JobCount]
    slots: dict[str, Slots]
    live: list[tuple[str, int]]  # machine, attempts
    breakers: list[tuple[str, str]]  # scope, state
    drains: list[str]
    workers: list[WorkerFigure]
    leader: Leader | None
    deliveries: list[tuple[str, str, int]]
    database_bytes: int | None


class Distribution(NamedTuple):
    """Counts up to each of `BUCKETS` (each includes the ones before), all of them, and their sum in seconds."""

    up_to: tuple[int, ...]
    number: int
    sum_seconds: float


class AttemptFigure(NamedTuple):
    """Ended attempts of an experiment. Sums are over those that are known."""

    experiment_id: int
    experiment: str
    outcome: str
    number: int
    wall_seconds: float
    lease_wait_seconds: float
    rate_limit_wait_seconds: float


class StageFigure(NamedTuple):
    """Ended stages of one agent with one model in one kind of stage. Tokens in the order of `TOKENS`.

    `unpriced`: stages whose cost is unknown; `cost_usd_micros` is the sum of the others.
    """

    agent: str
    model: str
    stage: str
    number: int
    unpriced: int
    cost_usd_micros: int
    requests: int
    requests_without_usage: int
    tokens: tuple[int, ...]
    working: Distribution


class Past(NamedTuple):
    """Sums over everything that ended. `errors`: agent, kind, stages."""

    attempts: list[AttemptFigure]
    stages: list[StageFigure]
    errors: list[tuple[str, str, int]]
    breaker_moves: list[tuple[str, str, int]]  # kind of scope, new state, moves
    queue_wait: Distribution


def present(database: Database) -> Present:
    """Costs by jobs, but only by their index, and by slots, workers and open hints."""
    by_state = sa.select(jobs.c.experiment_id, jobs.c.state, sa.func.count().label("many"))
    counted = by_state.group_by(jobs.c.experiment_id, jobs.c.state).subquery()
    of_jobs = sa.select(experiments.c.id, experiments.c.name, counted.c.state, counted.c.many).join(
        counted, counted.c.experiment_id == experiments.c.id
    )
    live = sa.select(attempts.c.machine, sa.func.count()).where(is_live).group_by(attempts.c.machine)
    sent = sa.select(notice_deliveries.c.channel, notice_deliveries.c.state, sa.func.count())
    columns = (leaders.c[name] for name in ("machine", "version", "heartbeat", "passes", "pass_seconds"))
    with database.read() as connection:
        leader = connection.execute(sa.select(*columns)).first()
        return Present(
            jobs=[JobCount(*row) for row in connection.execute(of_jobs)],
            slots=slots(connection),
            live=[(row[0], int(row[1])) for row in connection.execute(live)],
            breakers=[(row.scope, row.state) for row in connection.execute(sa.select(breakers))],
            drains=sorted(connection.execute(sa.select(drains.c.scope)).scalars()),
            workers=[_worker(row) for row in connection.execute(sa.select(machines))],
            leader=None if leader is None else Leader(*leader),
            deliveries=[
                (row[0], row[1], int(row[2]))
                for row in connection.execute(sent.group_by(notice_deliveries.c.channel, notice_deliveries.c.state))
            ],
            database_bytes=_database_bytes(connection),
        )


def _worker(row: Any) -> WorkerFigure:
    free = row.capabilities.get("disk_free_bytes")
    return WorkerFigure(row.name, row.worker, row.seen_at, bool(row.capabilities.get("closed_for")), free)


def _database_bytes(connection: sa.Connection) -> int | None:
    if connection.dialect.name == "postgresql":
        return int(connection.execute(sa.text("SELECT pg_database_size(current_database())")).scalar_one())
    pages = connection.exec_driver_sql("PRAGMA page_count").scalar_one()
    return int(pages) * int(connection.exec_driver_sql("PRAGMA page_size").scalar_one())


def past(database: Database) -> Past:
    """Costs by all attempts and stages: not for every scrape."""
    with database.read() as connection:
        return Past(
            attempts=[AttemptFigure(*row[:4], *map(float, row[4:])) for row in connection.execute(_ATTEMPTS)],
            stages=[_stage(row) for row in connection.execute(_STAGES)],
            errors=[(row[0], row[1], int(row[2])) for row in connection.execute(_ERRORS)],
            breaker_moves=[(row[0], row[1], int(row[2])) for row in connection.execute(_MOVES)],
            queue_wait=_distribution(list(connection.execute(_QUEUE_WAIT).one())),
        )


def _sum(column: sa.ColumnElement[Any]) -> sa.ColumnElement[Any]:
    return sa.func.coalesce(sa.func.sum(column), 0)


def _spread(seconds: sa.ColumnElement[Any]) -> list[sa.ColumnElement[Any]]:
    """Counts up to each bucket, of all, and the sum."""
    counted = [_sum(sa.case((seconds <= edge, 1), else_=0)) for edge in BUCKETS]
    return [*counted, sa.func.count(seconds), _sum(seconds)]


def _distribution(values: Sequence[Any]) -> Distribution:
    *up_to, count, total = values
    return Distribution(tuple(map(int, up_to)), int(count), float(total))


_ATTEMPTS = (
    sa.select(
        experiments.c.id,
        experiments.c.name,
        attempts.c.outcome,
        sa.func.count(),
        _sum(attempts.c.wall_seconds),
        _sum(attempts.c.lease_wait_seconds),
        _sum(attempts.c.rate_limit_wait_seconds),
    )
    .select_from(attempts)
    .join(jobs, jobs.c.id == attempts.c.job_id)
    .join(experiments, experiments.c.id == jobs.c.experiment_id)
    .where(attempts.c.outcome.is_not(None))
    .group_by(experiments.c.id, experiments.c.name, attempts.c.outcome)
)
_STAGES = (
    sa.select(
        stages.c.agent,
        stages.c.model_asked,
        stages.c.stage,
        sa.func.count(),
        _sum(sa.case((stages.c.cost_usd_micros.is_(None), 1), else_=0)),
        _sum(stages.c.cost_usd_micros),
        _sum(stages.c.requests),
        _sum(stages.c.requests_without_usage),
        *(_sum(stages.c[f"{name}_tokens"]) for name in TOKENS),
        *_spread(stages.c.working_seconds),
    )
    .where(stages.c.ended_at.is_not(None))
    .group_by(stages.c.agent, stages.c.model_asked, stages.c.stage)
)
_ERRORS = (
    sa.select(stages.c.agent, stages.c.error_kind, sa.func.count())
    .where(stages.c.error_kind.is_not(None))
    .group_by(stages.c.agent, stages.c.error_kind)
)
_KIND = sa.case(
    *((breaker_events.c.scope.startswith(f"{kind}:"), kind) for kind in ("account", "pool", "machine")),
    else_="profile",
)
_MOVES = sa.select(_KIND, breaker_events.c.to_state, sa.func.count()).group_by(_KIND, breaker_events.c.to_state)
# From its submission to the first start of a job.
_WAITED = (
    sa.select((sa.extract("epoch", attempts.c.started_at) - sa.extract("epoch", jobs.c.created_at)).label("seconds"))
    .join(jobs, jobs.c.id == attempts.c.job_id)
    .where(attempts.c.number == 1)
    .subquery()
)
_QUEUE_WAIT = sa.select(*_spread(_WAITED.c.seconds))


def _stage(row: Any) -> StageFigure:
    values = list(row)
    head, tokens, working = values[:8], values[8 : 8 + len(TOKENS)], values[8 + len(TOKENS) :]
    names = StageFigure._fields[3:8]
    return StageFigure(
        agent=head[0],
        model=head[1],
        stage=head[2],
        tokens=tuple(map(int, tokens)),
        working=_distribution(working),
        **{name: int(value) for name, value in zip(names, head[3:], strict=True)},
    )
