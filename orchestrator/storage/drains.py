"""What is drained: accounts, pools and machines on which what runs may end, but nothing new starts."""

from collections.abc import Iterable
from datetime import datetime
from typing import NamedTuple

import sqlalchemy as sa

from orchestrator.domain.states import JOB_MOVES, JobState, move
from orchestrator.storage.engine import Database, lock_in_order
from orchestrator.storage.tables import drains, is_in, jobs


class Drain(NamedTuple):
    """Something that takes no new work. `scope` is `account:NAME`, `pool:NAME` or `machine:NAME`."""

    scope: str
    reason: str
    since: datetime


def drain(database: Database, scopes: Iterable[str], reason: str, now: datetime) -> int:
    """Start nothing new there, and take back the hints that nobody has claimed. Idempotent.

    Returns how many scopes were not drained before.
    """
    added = 0
    with database.write() as connection:
        for scope in sorted(scopes):
            same = drains.update().where(drains.c.scope == scope).values(reason=reason)
            if connection.execute(same).rowcount == 0:
                connection.execute(drains.insert().values(scope=scope, reason=reason, since=now))
                added += 1
            if not scope.startswith("machine:"):
                take_hints_back(connection, scope)
    return added


def take_hints_back(connection: sa.Connection, resource: str) -> None:
    """Jobs that need this resource and that nobody has claimed yet are ready again."""
    listed = (sa.literal(",") + jobs.c.needs + ",").contains(f",{resource},", autoescape=True)
    hinted = sa.and_(is_in(jobs.c.state, JobState.QUEUED), listed)
    lock_in_order(connection, jobs.c.id, hinted)
    back = jobs.update().where(hinted)
    connection.execute(back.values(state=move(JOB_MOVES, JobState.QUEUED, "withdraw"), order_token=None))


def lift(database: Database, scopes: Iterable[str]) -> int:
    """Let new work start there again. Returns how many were drained."""
    with database.write() as connection:
        return connection.execute(drains.delete().where(drains.c.scope.in_(sorted(scopes)))).rowcount


def drained(database: Database) -> dict[str, Drain]:
    """Everything that is drained, by scope."""
    query = sa.select(drains.c.scope, drains.c.reason, drains.c.since).order_by(drains.c.scope)
    with database.read() as connection:
        return {row.scope: Drain(*row) for row in connection.execute(query)}
