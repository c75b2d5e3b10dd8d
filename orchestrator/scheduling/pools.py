"""One pass over the pools: each gets as many slots as its model server can serve now."""

from datetime import datetime
from typing import NamedTuple

from orchestrator.domain.model_server import Observation, is_per_machine, live_slots
from orchestrator.storage.attempts.values import SILENT_AFTER
from orchestrator.storage.dispatch import ensure_slots
from orchestrator.storage.drains import take_hints_back
from orchestrator.storage.engine import Database
from orchestrator.storage.machines import resources
from orchestrator.storage.pools import PoolView, all_pools


class Change(NamedTuple):
    """A pool whose slots have changed."""

    resource: str
    before: int
    slots: int

    def __str__(self) -> str:
        return f"resource={self.resource} before={self.before} slots={self.slots}"


def wanted_slots(database: Database, now: datetime) -> dict[str, int]:
    """By resource, how many slots every pool should have."""
    return {
        f"pool:{server.name}": live_slots(server.slots, fresh(view, now), per_machine=is_per_machine(server.base_url))
        for view in all_pools(database)
        for server in [view.server]
    }


def fresh(view: PoolView, now: datetime) -> tuple[Observation, ...]:
    """The looks of the machines that still look."""
    return tuple(one for one in view.seen if now - one.seen_at <= SILENT_AFTER)


def settle(database: Database, now: datetime) -> list[Change]:
    """Open and close slots as the newest looks at the servers say. What runs is left alone.

    The hints of a pool that closes come back: nobody is to wait for a claim there.
    """
    wanted = wanted_slots(database, now)
    if not wanted:
        return []
    have = resources(database)
    changes = [Change(name, have.get(name, 0), slots) for name, slots in wanted.items() if have.get(name, 0) != slots]
    ensure_slots(database, {change.resource: change.slots for change in changes})
    for change in changes:
        if change.slots == 0:
            with database.write() as connection:
                take_hints_back(connection, change.resource)
    return changes
