"""Attempts while they live: heartbeats, cancellations, progress through their states."""

from collections.abc import Sequence
from typing import NamedTuple

import sqlalchemy as sa

from orchestrator.domain.errors import StaleAttempt
from orchestrator.domain.lease import Beat
from orchestrator.domain.outcome import Outcome
from orchestrator.domain.states import ATTEMPT_MOVES, AttemptState, sources
from orchestrator.storage.attempts.slots import free_slots
from orchestrator.storage.attempts.values import WorkerIdentity
from orchestrator.storage.engine import Database, lock_in_order, padded
from orchestrator.storage.tables import attempts, cells, checks, experiments, is_live, jobs, stages, targets


class CellInfo(NamedTuple):
    """What a claim refers to; never changes once it is stored."""

    experiment: str
    key: str
    target_id: int
    profile_hash: str
    spec: dict[str, object]


def cell_info(database: Database, cell_id: int) -> CellInfo:
    """The cell of a claim."""
    query = (
        sa.select(experiments.c.name, cells.c.key, cells.c.target_id, cells.c.profile_hash, cells.c.spec)
        .join(experiments, experiments.c.id == cells.c.experiment_id)
        .where(cells.c.id == cell_id)
    )
    with database.read() as connection:
        return CellInfo(*connection.execute(query).one())


def renew(database: Database, attempt_ids: Sequence[str]) -> set[str]:
    """Raise the heartbeat of live attempts. Returns those that are still owned."""
    mine = sa.and_(attempts.c.id.in_(padded(attempt_ids)), is_live)
    change = attempts.update().where(mine).values(heartbeat=attempts.c.heartbeat + 1).returning(attempts.c.id)
    with database.write() as connection:
        lock_in_order(connection, attempts.c.job_id, mine)
        return set(connection.execute(change).scalars())


def attempts_on(database: Database, worker: WorkerIdentity, resource: str) -> list[str]:
    """The live attempts of this worker that are in a stage on this account or pool."""
    query = (
        sa.select(attempts.c.id)
        .join(stages, stages.c.attempt_id == attempts.c.id)
        .where(
            is_live,
            attempts.c.machine == worker.machine,
            attempts.c.boot_id == worker.boot_id,
            attempts.c.worker_pid == worker.pid,
            stages.c.resource == resource,
            stages.c.ended_at.is_(None),
        )
        .distinct()
    )
    with database.read() as connection:
        return list(connection.execute(query).scalars())


def orders_among(database: Database, attempt_ids: Sequence[str]) -> dict[str, Outcome]:
    """Those that shall end, and as what: cancelled, paused, or lost because they no longer own their job."""
    # By way of the attempts: there is no index of jobs by attempt, and workers ask every second.
    query = (
        sa.select(attempts.c.id, jobs.c.cancel_requested, jobs.c.pause_requested)
        .join(jobs, sa.and_(jobs.c.id == attempts.c.job_id, jobs.c.attempt_id == attempts.c.id))
        .where(attempts.c.id.in_(padded(attempt_ids)))
    )
    orders = dict.fromkeys(attempt_ids, Outcome.LEASE_LOST)
    with database.read() as connection:
        for row in connection.execute(query):
            del orders[row.id]
            if row.cancel_requested:
                orders[row.id] = Outcome.CANCELLED
            elif row.pause_requested:
                orders[row.id] = Outcome.PAUSED
    return orders


def retuned_among(database: Database, attempt_ids: Sequence[str]) -> dict[str, dict[str, float | int | None]]:
    """The limits that people changed for the jobs of these attempts; attempts of others are left out."""
    query = (
        sa.select(attempts.c.id, jobs.c.retuned)
        .join(jobs, jobs.c.id == attempts.c.job_id)
        .where(attempts.c.id.in_(padded(attempt_ids)), jobs.c.retuned.is_not(sa.null()))
    )
    with database.read() as connection:
        return {row.id: row.retuned for row in connection.execute(query)}


def advance(database: Database, attempt_id: str, event: str, **values: str | int | None) -> None:
    """Move a live attempt to its next state. Raises StaleAttempt when it is no longer live.

    When it begins to check its work no model is used any more: its slots go to the next job then, not at its end.
    """
    legal = sources(ATTEMPT_MOVES, event)
    target = next(state for (_, name), state in ATTEMPT_MOVES.items() if name == event)
    change = (
        attempts.update()
        .where(attempts.c.id == attempt_id, attempts.c.state.in_(legal))
        .values(state=target, **values)
    )
    with database.write() as connection:
        if connection.execute(change).rowcount != 1:
            raise StaleAttempt
        if target is AttemptState.CHECKING:
            free_slots(connection, [attempt_id])


def live_beats(database: Database) -> list[Beat]:
    """Every live attempt with its heartbeat number."""
    with database.read() as connection:
        rows = connection.execute(sa.select(attempts.c.id, attempts.c.heartbeat).where(is_live))
        return [Beat(row.id, row.heartbeat) for row in rows]


class LocalAttempt(NamedTuple):
    """A live attempt of this machine and boot, and the process that should hold it."""

    attempt_id: str
    heartbeat: int
    worker_pid: int
    worker_start_ticks: int


def local_attempts(database: Database, machine: str, boot_id: str) -> list[LocalAttempt]:
    """Live attempts that were claimed on this machine: since this boot, so their holders can be looked up."""
    query = sa.select(
        attempts.c.id, attempts.c.heartbeat, attempts.c.worker_pid, attempts.c.worker_start_ticks
    ).where(is_live, attempts.c.machine == machine, attempts.c.boot_id == boot_id)
    with database.read() as connection:
        return [LocalAttempt(*row) for row in connection.execute(query)]


def claim_baseline(database: Database, target_id: int, attempt_id: str) -> bool:
    """True for the one attempt that shall run the checks on the untouched base.

    An attempt that ended without leaving the baseline loses the right to it.
    """
    kept = sa.exists().where(checks.c.target_id == target_id, checks.c.kind == "baseline")
    holder_lives = sa.exists().where(attempts.c.id == targets.c.baseline_attempt_id, is_live)
    change = (
        targets.update()
        .where(targets.c.id == target_id, ~kept, targets.c.baseline_attempt_id.is_(None) | ~holder_lives)
        .values(baseline_attempt_id=attempt_id)
    )
    with database.write() as connection:
        return connection.execute(change).rowcount == 1
