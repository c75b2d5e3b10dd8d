"""What people do to jobs: cancel, pause, resume, requeue."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa

from orchestrator.domain.states import JOB_MOVES, JobState, sources
from orchestrator.storage.engine import Database, lock_in_order
from orchestrator.storage.tables import cells, experiments, jobs


@dataclass(frozen=True, kw_only=True)
class Selection:
    """Which jobs: all conditions that are given must hold."""

    experiment: str | None = None
    profile: str | None = None
    target: str | None = None
    job_ids: Sequence[int] | None = None


def _locked(connection: sa.Connection, selection: Selection) -> sa.ColumnElement[bool]:
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
    return jobs.c.id.in_(query)


def cancel(database: Database, selection: Selection, reason: str, now: datetime) -> tuple[int, int]:
    """Cancel what waits and ask what runs to end. Returns (cancelled now, asked to end). Idempotent."""
    waiting = sources(JOB_MOVES, "cancel") - {JobState.RUNNING}
    with database.write() as connection:
        chosen = _locked(connection, selection)
        ended = connection.execute(
            jobs.update()
            .where(chosen, jobs.c.state.in_(waiting))
            .values(
                state=JobState.CANCELLED,
                order_token=None,
                outcome="cancelled",
                detail=reason,
                waiting_reason=None,
                wake_at=None,
                finished_at=now,
            )
        ).rowcount
        asked = connection.execute(
            jobs.update().where(chosen, jobs.c.state == JobState.RUNNING).values(cancel_requested=True)
        ).rowcount
    return ended, asked


def requeue(database: Database, selection: Selection) -> int:
    """Give ended jobs another try; their earlier attempts stay on record. Returns how many."""
    ended = sources(JOB_MOVES, "requeue") - {JobState.RUNNING}
    with database.write() as connection:
        return connection.execute(
            jobs.update()
            .where(_locked(connection, selection), jobs.c.state.in_(ended))
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


def pause(database: Database, selection: Selection, reason: str) -> int:
    """Hold back what has not started. Returns how many."""
    waiting = sources(JOB_MOVES, "pause") - {JobState.RUNNING}
    with database.write() as connection:
        return connection.execute(
            jobs.update()
            .where(_locked(connection, selection), jobs.c.state.in_(waiting))
            .values(state=JobState.PAUSED, order_token=None, waiting_reason=reason, wake_at=None)
        ).rowcount


def resume(database: Database, selection: Selection) -> int:
    """Let paused jobs go on. Returns how many."""
    with database.write() as connection:
        return connection.execute(
            jobs.update()
            .where(_locked(connection, selection), jobs.c.state.in_(sources(JOB_MOVES, "resume")))
            .values(state=JobState.READY, waiting_reason=None)
        ).rowcount
