"""Accounts, pools, workers and breakers as the live page shows them, read at most every few seconds for everybody."""

import threading
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from orchestrator.clock import boot_seconds
from orchestrator.domain.breaker import describe
from orchestrator.domain.errors import StorageError
from orchestrator.storage.breakers import all_breakers
from orchestrator.storage.dispatch import Slots
from orchestrator.storage.drains import Drain, drained
from orchestrator.storage.engine import HEAD, Database
from orchestrator.storage.live import slots_now
from orchestrator.storage.machines import SILENT_AFTER, WorkerView, closed_resources, workers
from orchestrator.storage.pools import PoolView, all_pools
from orchestrator.storage.quota import AccountQuota, quotas

_REST_SECONDS = 2.0
# What one reading has met, the others need not wait for: a database that hangs would keep each of them for seconds.
_FAULT_SECONDS = 0.5


@dataclass(frozen=True, kw_only=True)
class FleetView:
    """The fleet at one moment. `closed` are resources whose workers all take nothing, with the reason."""

    slots: Mapping[str, Slots]
    closed: Mapping[str, str]
    quotas: tuple[AccountQuota, ...]
    stopped: tuple[str, ...]
    drains: tuple[Drain, ...]
    pools: tuple[PoolView, ...]
    workers: tuple[tuple[WorkerView, str], ...]


class FleetReader:
    """One reading for all threads."""

    def __init__(self, database: Database) -> None:
        self._database, self._turn = database, threading.Lock()
        self._known: FleetView | StorageError | None = None
        self._until = 0.0

    def look(self, now: datetime) -> FleetView:
        """The fleet, not older than some seconds. Raises StorageError, also for a schema that is not ours."""
        with self._turn:
            if self._known is None or boot_seconds() >= self._until:
                self._known = self._read(now)
                broken = isinstance(self._known, StorageError)
                self._until = boot_seconds() + (_FAULT_SECONDS if broken else _REST_SECONDS)
            if isinstance(self._known, StorageError):
                raise StorageError(str(self._known))
            return self._known

    def _read(self, now: datetime) -> FleetView | StorageError:
        try:
            require_schema(self._database)
            return read_fleet(self._database, now)
        except StorageError as error:
            return error


def require_schema(database: Database) -> None:
    """Raises StorageError when the database is not there yet or of another schema. Makes and changes nothing."""
    if not database.exists():
        raise StorageError(f"{database!r} is not there yet: `bakeoff submit` or `bakeoff run` makes it")
    revision = database.revision()
    if revision is None:
        raise StorageError(f"{database!r} is empty: `bakeoff submit` or `bakeoff run` fills it")
    if revision != HEAD:
        raise StorageError(f"the database is at schema {revision}, this page needs {HEAD}: update and restart it")


def read_fleet(database: Database, now: datetime) -> FleetView:
    """Everything about the fleet, from the database."""
    return FleetView(
        slots=slots_now(database),
        closed=closed_resources(database, now),
        quotas=tuple(quotas(database, now)),
        stopped=tuple(
            text for scope, breaker in all_breakers(database).items() if (text := describe(scope, breaker))
        ),
        drains=tuple(drained(database).values()),
        pools=tuple(all_pools(database)),
        workers=tuple((worker, _standing(worker, now)) for worker in workers(database)),
    )


def _standing(worker: WorkerView, now: datetime) -> str:
    """What is wrong with a worker, in words; empty for a good one."""
    closed = worker.capabilities.get("closed_for")
    if now - worker.seen_at > SILENT_AFTER:
        return f"silent since {worker.seen_at:%Y-%m-%d %H:%M:%S} UTC"
    return f"takes no new jobs: {closed}" if closed else ""
