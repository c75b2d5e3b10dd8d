"""What people do to jobs: cancel, pause, hold, resume, requeue, prioritize."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa

from orchestrator.domain.order import joins_after
from orchestrator.domain.outcome import Outcome
from orchestrator.domain.states import FINAL_JOB_STATES, JOB_MOVES, JobState, sources
from orchestrator.storage.dispatch import split_needs
from orchestrator.storage.engine import Database, lock_in_order, one_at_a_time
from orchestrator.storage.history import turns_among
from orchestrator.storage.imports import IMPORTED_QUEUE
from orchestrator.storage.races import cells_out
from orchestrator.storage.tables import attempts, cells, experiments, is_in, jobs
from orchestrator.storage.waiting import end_waiting


@dataclass(frozen=True, kw_only=True)
class Selection:
    """Which jobs: all conditions that are given must hold.

    `resources` (`account:NAME`, `pool:NAME`): jobs that need one of them. `machine`: jobs whose last attempt ran
    there; what waits is on no machine, so cancelling and pausing by machine concerns running jobs only.
    """

    experiment: str | None = None
    profile: str | None = None
    target: str | None = None
    job_ids: Sequence[int] | None = None
    resources: Sequence[str] = ()
    machine: str | None = None


def locked(connection: sa.Connection, selection: Selection) -> sa.ColumnElement[bool]:
    """The selection, with its rows locked: no job can slip from one state to another between two statements."""
    chosen = _selected(selection)
    lock_in_order(connection, jobs.c.id, chosen)
    return chosen


def _selected(selection: Selection) -> sa.ColumnElement[bool]:
    query = sa.select(jobs.c.id).join(cells, cells.c.id == jobs.c.cell_id)
    query = query.join(experiments, experiments.c.id == jobs.c.experiment_id)
    if selection.experiment is not None:
        query = query.where(experiments.c.name == selection.experiment)
    if selection.profile is not None:
        query = query.where(cells.c.profile == selection.profile)
    if selection.target is not None:
        query = query.where(cells.c.spec["target"]["label"].as_string() == selection.target)
    if selection.job_ids is not None:
        query = query.where(jobs.c.id.in_(list(selection.job_ids)))
    if selection.resources:
        listed = sa.literal(",") + jobs.c.needs + ","
        query = query.where(sa.or_(*(listed.contains(f",{one},", autoescape=True) for one in selection.resources)))
    if selection.machine is not None:
        last = sa.and_(attempts.c.job_id == jobs.c.id, attempts.c.number == jobs.c.attempts)
        query = query.join(attempts, last).where(attempts.c.machine == selection.machine)
    return jobs.c.id.in_(query)


def _waiting(selection: Selection, event: str) -> list[JobState]:
    """The states from which `event` moves a job that does not run; none for a selection of what is on a machine."""
    return [] if selection.machine is not None else sorted(sources(JOB_MOVES, event) - {JobState.RUNNING})


def cancel(database: Database, selection: Selection, reason: str, now: datetime) -> tuple[int, int]:
    """Cancel what waits and ask what runs to end. Returns (cancelled now, asked to end). Idempotent."""
    waiting = _waiting(selection, "cancel")
    with database.write() as connection:
        chosen = locked(connection, selection)
        ended = end_waiting(connection, sa.and_(chosen, jobs.c.state.in_(waiting)), Outcome.CANCELLED, reason, now)
        asked = connection.execute(
            jobs.update().where(chosen, jobs.c.state == JobState.RUNNING).values(cancel_requested=True)
        ).rowcount
    return ended, asked


def requeue(database: Database, selection: Selection) -> int:
    """Give ended jobs another try; their earlier attempts stay on record. Returns how many.

    What was imported stays as it is: it was never run here. So do jobs of profiles that a race has stopped.
    """
    ended = sources(JOB_MOVES, "requeue") - {JobState.RUNNING}
    with database.write() as connection:
        return connection.execute(
            jobs.update()
            .where(
                locked(connection, selection),
                jobs.c.state.in_(ended),
                jobs.c.queue != IMPORTED_QUEUE,
                jobs.c.cell_id.not_in(cells_out()),
            )
            .values(
                state=JobState.READY,
                cancel_requested=False,
                infra_attempts=0,
                outcome=None,
                detail=None,
                waiting_reason=None,
                wake_at=None,
                passed_over=0,
                finished_at=None,
            )
        ).rowcount


def prioritize(database: Database, selection: Selection, priority: int) -> int:
    """Give jobs that have not ended another priority. Idempotent. Returns how many had another one.

    Within the new priority they take turns with what waits there, from where those jobs are now.
    """
    with database.write() as connection:
        one_at_a_time(connection, "priorities")
        others = sa.and_(
            locked(connection, selection), jobs.c.state.not_in(FINAL_JOB_STATES), jobs.c.priority != priority
        )
        turns = turns_among(connection, priority)
        first = sa.select(jobs.c.needs, sa.func.min(jobs.c.position)).where(others).group_by(jobs.c.needs)
        count = 0
        for needs, lowest in connection.execute(first).all():
            shift = joins_after(split_needs(needs), turns) + 1 - lowest
            change = jobs.update().where(others, jobs.c.needs == needs)
            moved = change.values(priority=priority, position=jobs.c.position + shift)
            count += connection.execute(moved).rowcount
        return count


def hold(database: Database, selection: Selection, reason: str) -> int:
    """Hold back what has not started; what runs goes on. Returns how many."""
    with database.write() as connection:
        return _hold(connection, locked(connection, selection), _waiting(selection, "pause"), reason)


def pause(database: Database, selection: Selection, reason: str) -> tuple[int, int]:
    """Hold back what has not started, and ask what runs to end with its work committed. Idempotent.

    Returns (paused now, asked to end).
    """
    with database.write() as connection:
        chosen = locked(connection, selection)
        held = _hold(connection, chosen, _waiting(selection, "pause"), reason)
        running = jobs.update().where(chosen, is_in(jobs.c.state, JobState.RUNNING))
        return held, connection.execute(running.values(pause_requested=True)).rowcount


def _hold(connection: sa.Connection, chosen: sa.ColumnElement[bool], waiting: Sequence[JobState], reason: str) -> int:
    change = jobs.update().where(chosen, jobs.c.state.in_(waiting))
    values = {"state": JobState.PAUSED, "order_token": None, "waiting_reason": reason, "wake_at": None}
    return connection.execute(change.values(values)).rowcount


def resume(database: Database, selection: Selection, now: datetime, *, parked: bool = False) -> int:
    """Let paused jobs go on, and those that were asked to pause and still run. Returns how many.

    With `parked` also those that wait for a reset: a person says that it is over.
    """
    states = sources(JOB_MOVES, "resume") | (sources(JOB_MOVES, "wake") if parked else frozenset())
    with database.write() as connection:
        chosen = locked(connection, selection)
        # An attempt that already ends as paused finds the request gone, and its job becomes ready again.
        going = jobs.update().where(chosen, is_in(jobs.c.state, JobState.RUNNING), jobs.c.pause_requested)
        count = connection.execute(going.values(pause_requested=False)).rowcount
        back = sa.and_(chosen, jobs.c.state.in_(sorted(states)))
        # What is on record about how long they were parked ends here too.
        mine = sa.select(jobs.c.id).where(back)
        over = attempts.update().where(attempts.c.job_id.in_(mine), attempts.c.parked_until > now)
        connection.execute(over.values(parked_until=now))
        values = {"state": JobState.READY, "waiting_reason": None, "wake_at": None}
        return count + connection.execute(jobs.update().where(back).values(values)).rowcount
