"""Small reads for views that look again and again."""

from collections import Counter

import sqlalchemy as sa

from orchestrator.domain.states import AttemptState, JobState
from orchestrator.storage.dispatch import Slots, slots, split_needs
from orchestrator.storage.engine import Database
from orchestrator.storage.tables import attempts, experiments, jobs


def needs_of(database: Database, experiment: str) -> dict[int, tuple[str, ...]]:
    """The resources of every job of an experiment."""
    query = (
        sa.select(jobs.c.id, jobs.c.needs)
        .join(experiments, experiments.c.id == jobs.c.experiment_id)
        .where(experiments.c.name == experiment)
    )
    with database.read() as connection:
        return {row.id: split_needs(row.needs) for row in connection.execute(query)}


def checking(database: Database, experiment: str) -> frozenset[int]:
    """The jobs of an experiment whose stages are over and whose checks run."""
    query = (
        sa.select(jobs.c.id)
        .join(attempts, attempts.c.id == jobs.c.attempt_id)
        .join(experiments, experiments.c.id == jobs.c.experiment_id)
        .where(experiments.c.name == experiment, attempts.c.state == AttemptState.CHECKING)
    )
    with database.read() as connection:
        return frozenset(connection.execute(query).scalars())


def slots_now(database: Database) -> dict[str, Slots]:
    """Every resource's slots."""
    with database.read() as connection:
        return slots(connection)


def state_counts(database: Database, experiment: str) -> Counter[JobState]:
    """How many jobs are in which state."""
    query = (
        sa.select(jobs.c.state, sa.func.count())
        .join(experiments, experiments.c.id == jobs.c.experiment_id)
        .where(experiments.c.name == experiment)
        .group_by(jobs.c.state)
    )
    with database.read() as connection:
        return Counter({JobState(row[0]): row[1] for row in connection.execute(query)})
