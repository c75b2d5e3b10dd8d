"""Ending attempts: the result is stored, slots go back and the job moves on, only while the attempt is still live.

Many ends make one transaction: the commit and its fsync are what a short job costs most.
"""

from collections.abc import Sequence
from dataclasses import asdict, fields
from datetime import datetime
from typing import Any, NamedTuple

import sqlalchemy as sa

from orchestrator.domain.breaker import MACHINE_BROKEN, POLICIES, EndFacts
from orchestrator.domain.errors import StaleAttempt
from orchestrator.domain.lease import Beat
from orchestrator.domain.outcome import Outcome, OutcomeClass, job_event, outcome_class
from orchestrator.domain.states import JOB_MOVES, AttemptState, JobState, move
from orchestrator.storage import breakers
from orchestrator.storage.attempts.extras import change_row, store_checks
from orchestrator.storage.attempts.slots import free_slots
from orchestrator.storage.attempts.values import UNKNOWN_RESET, AttemptResult
from orchestrator.storage.engine import Database, padded
from orchestrator.storage.tables import (
    artifacts,
    attempts,
    cells,
    experiments,
    is_in,
    is_live,
    jobs,
    protected_changes,
)


class End(NamedTuple):
    """An attempt's end. With `seen_heartbeat` it holds only while nobody has raised that number."""

    attempt_id: str
    result: AttemptResult
    now: datetime
    seen_heartbeat: int | None = None


_NOT_COLUMNS = ("checks", "artifacts", "changes", "wake_at", "resource", "answered")
_KNOWN_BEFORE = ("resumed_from", "resumed_stages")
_RESULT_COLUMNS = tuple(f.name for f in fields(AttemptResult) if f.name not in _NOT_COLUMNS)
_ENDING = (
    sa.select(
        attempts.c.id,
        attempts.c.heartbeat,
        attempts.c.machine,
        jobs.c.id.label("job_id"),
        jobs.c.needs,
        jobs.c.priority,
        jobs.c.position,
        jobs.c.infra_attempts,
        jobs.c.cancel_requested,
        jobs.c.pause_requested,
        cells.c.target_id,
        (experiments.c.name + "/" + cells.c.profile).label("profile"),
        cells.c.spec["limits"]["max_infra_attempts"].as_integer().label("max_infra_attempts"),
    )
    # The job must name this very attempt under its fencing number: an end that comes late finds no row.
    .join(
        jobs,
        sa.and_(
            jobs.c.id == attempts.c.job_id,
            jobs.c.attempt_id == attempts.c.id,
            jobs.c.fence == attempts.c.fence,
        ),
    )
    .join(cells, cells.c.id == jobs.c.cell_id)
    .join(experiments, experiments.c.id == cells.c.experiment_id)
    .where(attempts.c.id.in_(sa.bindparam("attempts", expanding=True)), is_live)
    # The order in which everybody locks jobs: two that lock many cannot wait for each other.
    .order_by(jobs.c.id)
    .with_for_update(of=[attempts, jobs])
)
_END = (
    attempts.update()
    .where(attempts.c.id == sa.bindparam("attempt"))
    .values(
        state=AttemptState.ENDED,
        waits_for=None,
        ended_at=sa.bindparam("now"),
        parked_until=sa.bindparam("parked_until"),
        **{name: sa.bindparam(f"new_{name}") for name in _RESULT_COLUMNS}
        # Who expires an attempt does not know: what it said itself stays.
        | {name: sa.func.coalesce(sa.bindparam(f"new_{name}"), attempts.c[name]) for name in _KNOWN_BEFORE},
    )
)
_MOVED_COLUMNS = ("state", "infra_attempts", "outcome", "detail", "waiting_reason", "wake_at", "finished_at")
_MOVE = (
    jobs.update()
    .where(jobs.c.id == sa.bindparam("job"))
    .values(attempt_id=None, pause_requested=False, **{name: sa.bindparam(f"new_{name}") for name in _MOVED_COLUMNS})
)
# A job that a machine may have broken goes behind as many others as stop that machine: a broken one meets them first,
# and is stopped before it has used up the tries of any.
_OTHERS = (
    sa.select(jobs.c.position)
    .where(
        is_in(jobs.c.state, JobState.READY),
        jobs.c.needs == sa.bindparam("of"),
        jobs.c.priority == sa.bindparam("at"),
        jobs.c.position > sa.bindparam("behind"),
    )
    .order_by(jobs.c.position)
    .limit(POLICIES["machine"].threshold)
)


def expire(database: Database, beat: Beat, detail: str, now: datetime, outcome: Outcome = Outcome.LEASE_LOST) -> bool:
    """End a silent attempt from outside; False when its heartbeat has moved or it has ended meanwhile."""
    result = AttemptResult(outcome=outcome, detail=detail)
    return finish_many(database, [End(beat.attempt_id, result, now, beat.heartbeat)])[0] is not None


def finish(database: Database, attempt_id: str, result: AttemptResult, now: datetime) -> JobState:
    """Store the result, free the slots and move the job on. Returns the job's new state.

    Raises StaleAttempt, and stores nothing, when the attempt no longer owns its job.
    """
    state = finish_many(database, [End(attempt_id, result, now)])[0]
    if state is None:
        raise StaleAttempt
    return state


def finish_many(database: Database, ends: Sequence[End]) -> list[JobState | None]:
    """End each of these attempts in one transaction. The jobs' new states; None where the end came too late."""
    with database.write() as connection:
        found = connection.execute(_ENDING, {"attempts": padded([end.attempt_id for end in ends])})
        rows = {row.id: row for row in found}
        valid: list[tuple[End, Any]] = []
        states: list[JobState | None] = []
        for end in ends:
            row = rows.pop(end.attempt_id, None)
            if row is None or (end.seen_heartbeat is not None and row.heartbeat != end.seen_heartbeat):
                states.append(None)
                continue
            valid.append((end, row))
            states.append(_next_state(end.result, row))
        if valid:
            _store(connection, valid, [state for state in states if state is not None])
    return states


def _next_state(result: AttemptResult, row: Any) -> JobState:
    event = job_event(
        result.outcome,
        infra_attempts=row.infra_attempts + _infra(result),
        max_infra_attempts=row.max_infra_attempts or 1,
    )
    if row.cancel_requested and (event in ("requeue", "park", "pause") or _infra(result)):
        event = "cancel"
    elif row.pause_requested and event in ("requeue", "park"):
        event = "pause"
    elif event == "pause" and not row.pause_requested:
        event = "requeue"  # resumed while it was ending
    return move(JOB_MOVES, JobState.RUNNING, event)


def _infra(result: AttemptResult) -> int:
    return 1 if outcome_class(result.outcome) is OutcomeClass.INFRA else 0


def _store(connection: sa.Connection, valid: Sequence[tuple[End, Any]], states: Sequence[JobState]) -> None:
    connection.execute(
        _END,
        [
            {f"new_{name}": getattr(end.result, name) for name in _RESULT_COLUMNS}
            | {
                "attempt": end.attempt_id,
                "now": end.now,
                "parked_until": _wake_at(end) if state is JobState.PARKED else None,
            }
            for (end, _), state in zip(valid, states, strict=True)
        ],
    )
    free_slots(connection, [end.attempt_id for end, _ in valid])
    for end, row in valid:
        _store_extras(connection, end, row.target_id)
    breakers.heed_ends(connection, [_ended(end, row) for end, row in valid])
    connection.execute(_MOVE, [_moved(end, row, state) for (end, row), state in zip(valid, states, strict=True)])
    for (end, row), state in zip(valid, states, strict=True):
        if state is JobState.READY and end.result.outcome in MACHINE_BROKEN:
            _let_others_pass(connection, row)


def _let_others_pass(connection: sa.Connection, row: Any) -> None:
    values = {"of": row.needs, "at": row.priority, "behind": row.position}
    others = connection.execute(_OTHERS, values).scalars().all()
    if others:
        connection.execute(jobs.update().where(jobs.c.id == row.job_id).values(position=others[-1] + 1))


def _moved(end: End, row: Any, state: JobState) -> dict[str, Any]:
    result = end.result
    final = state not in (JobState.READY, JobState.PARKED, JobState.PAUSED)
    moved = {
        "state": state,
        "infra_attempts": row.infra_attempts + _infra(result),
        "outcome": result.outcome if final else None,
        "detail": result.detail if final else None,
        "waiting_reason": None if final else f"{result.outcome}: {result.detail}",
        "wake_at": _wake_at(end) if state is JobState.PARKED else None,
        "finished_at": end.now if final else None,
    }
    return {"job": row.job_id} | {f"new_{name}": value for name, value in moved.items()}


def _store_extras(connection: sa.Connection, end: End, target_id: int) -> None:
    result, key = end.result, {"attempt_id": end.attempt_id}
    store_checks(connection, end.attempt_id, target_id, result.checks)
    if result.changes:
        rows = [key | change_row(ordinal, change) for ordinal, change in enumerate(result.changes, start=1)]
        connection.execute(protected_changes.insert(), rows)
    if result.artifacts:
        connection.execute(artifacts.insert(), [key | asdict(record) for record in result.artifacts])


def _wake_at(end: End) -> datetime:
    return end.result.wake_at or end.now + UNKNOWN_RESET


def _ended(end: End, row: Any) -> breakers.Ended:
    facts = EndFacts(
        outcome=end.result.outcome,
        profile=row.profile,
        machine=row.machine,
        job_id=row.job_id,
        target_id=row.target_id,
        resource=end.result.resource,
        answered=end.result.answered,
    )
    return breakers.Ended(end.attempt_id, facts, end.result.detail, end.now, _wake_at(end))
