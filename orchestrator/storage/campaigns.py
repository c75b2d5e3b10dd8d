"""The second part of campaigns: its jobs exist from the start and wait, and go on or end in one transaction."""

from collections.abc import Collection, Mapping
from datetime import datetime
from typing import NamedTuple

import sqlalchemy as sa

from orchestrator.domain.campaign import Then
from orchestrator.domain.outcome import Outcome
from orchestrator.domain.states import FINAL_JOB_STATES, JOB_MOVES, JobState, move
from orchestrator.storage.engine import Database, lock_in_order, one_at_a_time
from orchestrator.storage.tables import cells, experiments, is_in, jobs, targets
from orchestrator.storage.waiting import end_waiting

WAITS = "waits for the first part of its experiment to end"
_FREE = {"state": move(JOB_MOVES, JobState.BLOCKED, "unblock"), "waiting_reason": None}


class Due(NamedTuple):
    """An experiment whose first part has ended while its second part waits."""

    experiment_id: int
    name: str
    rules: Then


def release(connection: sa.Connection, experiment_id: int, waiting: Collection[str]) -> None:
    """Let go what waits of profiles other than these: the newest file does not count them to the second part."""
    mine = sa.and_(jobs.c.experiment_id == experiment_id, is_in(jobs.c.state, JobState.BLOCKED))
    held = sa.select(cells.c.id).where(cells.c.experiment_id == experiment_id, cells.c.profile.in_(sorted(waiting)))
    connection.execute(jobs.update().where(mine, jobs.c.cell_id.not_in(held)).values(_FREE))


def due_campaigns(database: Database) -> list[Due]:
    """Campaigns whose second part can be settled now. Costs next to nothing while none waits."""
    blocked = sa.exists().where(jobs.c.experiment_id == experiments.c.id, is_in(jobs.c.state, JobState.BLOCKED))
    query = sa.select(experiments.c.id, experiments.c.name, experiments.c.spec).where(
        experiments.c.spec["then"]["top"].as_integer().is_not(None), blocked
    )
    with database.read() as connection:
        found = [Due(row.id, row.name, Then.model_validate(row.spec["then"])) for row in connection.execute(query)]
        return [due for due in found if not _first_part_open(connection, due)]


def _first_part_open(connection: sa.Connection, due: Due) -> bool:
    query = (
        sa.select(jobs.c.id)
        .join(cells, cells.c.id == jobs.c.cell_id)
        .where(
            jobs.c.experiment_id == due.experiment_id,
            jobs.c.state.not_in(FINAL_JOB_STATES),
            cells.c.profile.not_in(due.rules.profiles),
        )
        .limit(1)
    )
    return connection.execute(query).first() is not None


def settle_campaign(
    database: Database, due: Due, chosen: Collection[str], passed: Mapping[str, str], now: datetime
) -> tuple[int, int]:
    """What waits on the `chosen` targets may start; on those that were `passed` over (target to reason) it ends.

    Nothing happens when the first part has open jobs again. Safe to repeat: only jobs that wait are touched.
    Returns (ready, ended).
    """
    with database.write() as connection:
        one_at_a_time(connection, f"experiment {due.name}")
        if _first_part_open(connection, due):
            return 0, 0
        mine = sa.and_(jobs.c.experiment_id == due.experiment_id, is_in(jobs.c.state, JobState.BLOCKED))
        lock_in_order(connection, jobs.c.id, mine)
        go = sa.and_(mine, jobs.c.cell_id.in_(_on(due, chosen)))
        ready = connection.execute(jobs.update().where(go).values(_FREE)).rowcount
        ended = 0
        for target, reason in passed.items():
            on_it = sa.and_(mine, jobs.c.cell_id.in_(_on(due, [target])))
            ended += end_waiting(connection, on_it, Outcome.CANCELLED, reason, now)
        return ready, ended


def _on(due: Due, labels: Collection[str]) -> sa.Select[tuple[int]]:
    query = sa.select(cells.c.id).join(targets, targets.c.id == cells.c.target_id)
    return query.where(cells.c.experiment_id == due.experiment_id, targets.c.label.in_(sorted(labels)))
