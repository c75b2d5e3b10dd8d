"""What ended before, in every experiment of this database: how long, and up to where the order has come."""

import sqlalchemy as sa

from orchestrator.domain.expected import Ended, History, history_of
from orchestrator.domain.order import Turn
from orchestrator.domain.outcome import Outcome, OutcomeClass, outcome_class
from orchestrator.domain.states import JobState
from orchestrator.storage.dispatch import split_needs
from orchestrator.storage.engine import Database
from orchestrator.storage.tables import attempts, cells, is_in, jobs, targets

# Others say how long a fault took to show, not how long the work takes.
_TELLING = tuple(outcome for outcome in Outcome if outcome_class(outcome) is OutcomeClass.RESULT)


def history(database: Database) -> History:
    """Mean durations of attempts that ended with a result. Costs by attempts and returns cells: for submit only."""
    query = (
        sa.select(
            cells.c.cell_hash,
            targets.c.content_hash,
            cells.c.profile_hash,
            sa.func.count(),
            sa.func.sum(attempts.c.wall_seconds),
        )
        .select_from(attempts)
        .join(jobs, jobs.c.id == attempts.c.job_id)
        .join(cells, cells.c.id == jobs.c.cell_id)
        .join(targets, targets.c.id == cells.c.target_id)
        .where(attempts.c.outcome.in_(_TELLING), attempts.c.wall_seconds.is_not(None))
        .group_by(cells.c.cell_hash, targets.c.content_hash, cells.c.profile_hash)
    )
    with database.read() as connection:
        return history_of(Ended(row[0], row[1], row[2], row[3], row[4]) for row in connection.execute(query))


def turns(database: Database, priority: int = 0) -> dict[tuple[str, ...], Turn]:
    """By needs: where the order of all experiments of a priority has come. Costs by jobs: for submit only."""
    with database.read() as connection:
        return turns_among(connection, priority)


def turns_among(connection: sa.Connection, priority: int) -> dict[tuple[str, ...], Turn]:
    """As `turns`, within a transaction."""
    untried = sa.and_(is_in(jobs.c.state, JobState.READY), jobs.c.attempts == 0)
    query = (
        sa.select(jobs.c.needs, sa.func.min(sa.case((untried, jobs.c.position))), sa.func.max(jobs.c.position))
        .where(jobs.c.priority == priority)
        .group_by(jobs.c.needs)
    )
    return {split_needs(row[0]): Turn(row[1], row[2]) for row in connection.execute(query)}
