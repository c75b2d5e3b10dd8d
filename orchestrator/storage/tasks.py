"""The task ledger of attempts: one row per task, written whole each time it changes, under a number that grows."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import NamedTuple

import sqlalchemy as sa

from orchestrator.storage.bulk import upsert_newer
from orchestrator.storage.engine import Database
from orchestrator.storage.tables import attempts, tasks


@dataclass(frozen=True, kw_only=True)
class TaskRecord:
    """A task as it stands by the record numbered `seq`; a higher one replaces a lower one.

    `position` is its place in the ledger, from 1. `planned` tells the plan's own tasks, whose number never changes;
    `done` those that are accepted, as a whole or in all their parts. `commit_sha` holds the accepted work; None when
    none was accepted or nothing had to change. `cause` is why it was refused last.
    """

    attempt_id: str
    task_id: str
    seq: int
    position: int
    parent: str | None
    planned: bool
    done: bool
    depth: int
    text: str
    state: str
    rejects: int
    commit_sha: str | None
    cause: str | None


class TaskCount(NamedTuple):
    """Tasks of a plan that are accepted, of how many, and how many of them at the first try."""

    accepted: int
    planned: int
    at_once: int


def store_tasks(connection: sa.Connection, records: Sequence[TaskRecord]) -> None:
    """Store these records; what is stored already, or newer, stays."""
    ordered = sorted(records, key=lambda one: (one.attempt_id, one.task_id))
    upsert_newer(connection, tasks, [asdict(one) for one in ordered], tasks.c.seq)


def task_counts(connection: sa.Connection, mine: sa.Select[tuple[int]]) -> dict[str, TaskCount]:
    """By attempt, of the attempts at these jobs that have a plan."""

    def number(condition: sa.ColumnElement[bool]) -> sa.ColumnElement[int]:
        return sa.func.sum(sa.case((condition, 1), else_=0))

    accepted = sa.and_(tasks.c.planned, tasks.c.done)
    at_once = sa.and_(accepted, tasks.c.rejects == 0)
    query = (
        sa.select(tasks.c.attempt_id, number(accepted), number(tasks.c.planned), number(at_once))
        .join(attempts, attempts.c.id == tasks.c.attempt_id)
        .where(attempts.c.job_id.in_(mine))
        .group_by(tasks.c.attempt_id)
    )
    return {row[0]: TaskCount(int(row[1]), int(row[2]), int(row[3])) for row in connection.execute(query)}


def tasks_of(database: Database, job_id: int) -> tuple[TaskRecord, ...]:
    """The ledger of a job's last attempt, in its order; empty while there is no plan."""
    last = sa.select(attempts.c.id).where(attempts.c.job_id == job_id).order_by(attempts.c.number.desc()).limit(1)
    query = sa.select(tasks).where(tasks.c.attempt_id == last.scalar_subquery()).order_by(tasks.c.position)
    with database.read() as connection:
        return tuple(TaskRecord(**row) for row in connection.execute(query).mappings())
