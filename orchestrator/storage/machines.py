"""The registry of machines and their workers, and the slots that the fleet file gave a resource."""

from collections.abc import Iterable, Mapping
from datetime import datetime
from importlib.metadata import version
from typing import Any, NamedTuple

import sqlalchemy as sa

from orchestrator.storage.attempts import WorkerIdentity
from orchestrator.storage.attempts.values import SILENT_AFTER as SILENT_AFTER
from orchestrator.storage.engine import Database
from orchestrator.storage.tables import attempts, leases, machines


class WorkerView(NamedTuple):
    """A registered worker."""

    machine: str
    worker: str
    version: str
    capabilities: dict[str, Any]
    seen_at: datetime


def announce(
    database: Database, identity: WorkerIdentity, worker: str, capabilities: Mapping[str, Any], now: datetime
) -> None:
    """Say that a worker is here. Idempotent; repeated as a sign of life."""
    values = {
        "boot_id": identity.boot_id,
        "pid": identity.pid,
        "version": version("bakeoff"),
        "capabilities": dict(capabilities),
        "seen_at": now,
    }
    same = sa.and_(machines.c.name == identity.machine, machines.c.worker == worker)
    with database.write() as connection:
        change = machines.update().where(same).values(heartbeat=machines.c.heartbeat + 1, **values)
        if connection.execute(change).rowcount == 0:
            connection.execute(machines.insert().values(name=identity.machine, worker=worker, **values))


def withdraw(database: Database, machine: str, worker: str) -> None:
    """Take a worker out of the registry."""
    with database.write() as connection:
        connection.execute(machines.delete().where(machines.c.name == machine, machines.c.worker == worker))


def workers(database: Database) -> list[WorkerView]:
    """Every registered worker."""
    query = sa.select(
        machines.c.name, machines.c.worker, machines.c.version, machines.c.capabilities, machines.c.seen_at
    ).order_by(machines.c.name, machines.c.worker)
    with database.read() as connection:
        return [WorkerView(*row) for row in connection.execute(query)]


def known_machines(database: Database) -> list[str]:
    """Every machine that has a worker, or has run an attempt."""
    query = sa.union(sa.select(machines.c.name), sa.select(attempts.c.machine))
    with database.read() as connection:
        return sorted(connection.execute(query).scalars())


def capacity(database: Database, resource: str) -> int:
    """Slots of a resource; 0 when nobody has submitted a fleet with it yet."""
    query = sa.select(sa.func.count()).where(leases.c.resource == resource, leases.c.retired.is_(False))
    with database.read() as connection:
        return int(connection.execute(query).scalar_one())


def resources(database: Database) -> dict[str, int]:
    """Every resource with its slots."""
    query = (
        sa.select(leases.c.resource, sa.func.count()).where(leases.c.retired.is_(False)).group_by(leases.c.resource)
    )
    with database.read() as connection:
        return {row[0]: int(row[1]) for row in connection.execute(query)}


def live_workers(database: Database, now: datetime) -> dict[str, list[WorkerView]]:
    """The live workers by the resource whose queue they listen to, those that take nothing new included."""
    found: dict[str, list[WorkerView]] = {}
    for worker in workers(database):
        if now - worker.seen_at <= SILENT_AFTER and "resource" in worker.capabilities:
            found.setdefault(worker.capabilities["resource"], []).append(worker)
    return found


def unserved(database: Database, wanted: Iterable[str], now: datetime) -> list[str]:
    """Those of the resources that no live worker serves."""
    return sorted(set(wanted) - set(live_workers(database, now)))


def closed_words(found: Iterable[WorkerView]) -> list[str]:
    """For each of these workers that takes no new jobs: that it does not, and why."""
    return [
        f"worker {one.worker} on {one.machine} takes no new jobs: {one.capabilities['closed_for']}"
        for one in found
        if one.capabilities.get("closed_for")
    ]


def closed_resources(database: Database, now: datetime) -> dict[str, str]:
    """The resources whose live workers all take no new jobs, and why in words."""
    found = {resource: (len(there), closed_words(there)) for resource, there in live_workers(database, now).items()}
    return {resource: "; ".join(words) for resource, (count, words) in found.items() if len(words) == count}
