"""What a worker process tells and is told while it lives: its registration, drains, versions, and dead neighbours."""

import logging
import threading
from collections.abc import Callable
from importlib.metadata import version

from orchestrator.clock import boot_seconds, utc_now
from orchestrator.domain.breaker import admits, describe
from orchestrator.domain.errors import Conflict, StorageError
from orchestrator.settings import Settings
from orchestrator.storage import breakers, drains, machines
from orchestrator.storage.engine import HEAD, Database
from orchestrator.storage.leader import fleet_version
from workers.context import WorkerContext
from workers.pressure import Floor, room, too_full

log = logging.getLogger("bakeoff.worker")

_ANNOUNCE_SECONDS = 10.0
_LOOK_SECONDS = 1.0


def require_fit(database: Database, settings: Settings) -> None:
    """Raises Conflict, with the fix, when this program does not fit the fleet's schema or its scheduler's version.

    An empty database is migrated. One at an older schema is not: other workers may still be using it.
    """
    revision = database.revision()
    if revision is not None and revision < HEAD:
        raise Conflict(
            f"the database is at schema {revision}, this worker needs {HEAD}: stop the fleet, update it everywhere, "
            "and start `bakeoff scheduler` first, which migrates"
        )
    if revision is not None and revision > HEAD:
        raise Conflict(
            f"the database is at schema {revision}, newer than this worker's {HEAD}: install the version of the "
            "fleet's scheduler here, and start the worker again"
        )
    database.migrate()
    if (fault := wrong_version(database, settings)) is not None:
        raise Conflict(fault)


def wrong_version(database: Database, settings: Settings) -> str | None:
    """What is wrong with this program's version, and the fix; None when it is the scheduler's."""
    mine, fleet = version("bakeoff"), fleet_version(database)
    # An embedded fleet is one installation; a row that an earlier scheduler left says nothing about it.
    if fleet in (mine, None) or (settings.broker_url or "").startswith("redis+socket:"):
        return None
    return (
        f"this worker is Bakeoff {mine}, the fleet's scheduler is {fleet}: pip install bakeoff=={fleet} here "
        "(or update the scheduler), and start the worker again"
    )


class Registrar:
    """The housekeeping thread of a worker.

    `consume` switches its queue on and off; False when nobody has confirmed it yet.
    """

    def __init__(
        self,
        context: WorkerContext,
        worker: str,
        capabilities: dict[str, object],
        *,
        consume: Callable[[bool], bool],
        recover: Callable[[], None],
    ) -> None:
        self._context, self._worker = context, worker
        self._capabilities = capabilities | {"schema": HEAD}
        self._consume, self._recover = consume, recover
        self._next_announcement = 0.0
        self._closed_for: str | None = None
        self._consumes = True  # as Celery's consumer begins
        self._full: str | None = None
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="registrar", daemon=True)

    def start(self) -> None:
        """Announce the worker, and begin to look. It takes no job before the first look."""
        self._context.desk.admit(False)
        self._thread.start()

    def stop(self) -> None:
        """Take the worker out of the registry."""
        self._stop.set()
        self._thread.join(timeout=5)

    def _run(self) -> None:
        while not self._stop.is_set():
            try:
                self._look()
            except StorageError as error:
                log.warning("look_failed error=%s", error)
            except Exception:
                # A broker that is away raises what its transport likes; the next look comes in a second.
                log.exception("look_failed")
            self._stop.wait(_LOOK_SECONDS)
        try:
            machines.withdraw(self._context.database, self._context.identity.machine, self._worker)
        except StorageError as error:
            log.warning("withdraw_failed error=%s", error)

    def _look(self) -> None:
        database, identity = self._context.database, self._context.identity
        if boot_seconds() >= self._next_announcement:
            machines.announce(database, identity, self._worker, self._capabilities, utc_now())
            self._next_announcement = boot_seconds() + _ANNOUNCE_SECONDS
        closed_for = self._why_closed(f"machine:{identity.machine}")
        self._context.desk.admit(closed_for is None)
        if (closed_for is None) != (self._closed_for is None):
            log.warning("worker_%s reason=%s", "takes_no_new_jobs" if closed_for else "takes_jobs_again", closed_for)
            # So that people who ask why a job waits hear of it at once.
            self._capabilities["closed_for"] = closed_for
            self._next_announcement = 0.0
        self._closed_for = closed_for
        self._recover()
        if self._consumes != (closed_for is None) and self._consume(closed_for is None):
            self._consumes = closed_for is None

    def _why_closed(self, machine: str) -> str | None:
        """Why this worker may take no new jobs now; None when it may."""
        database = self._context.database
        drain = drains.drained(database).get(machine)
        if drain is not None:
            return f"drained: {drain.reason}"
        breaker = breakers.all_breakers(database).get(machine)
        if breaker is not None and not admits(breaker):
            return describe(machine, breaker)
        return wrong_version(database, self._context.settings) or self._too_full()

    def _too_full(self) -> str | None:
        settings = self._context.settings
        floor = Floor(
            disk_mib=settings.min_free_disk_mib,
            memory_mib=settings.min_free_memory_mib,
            load_per_core=settings.max_load_per_core,
        )
        left = room(settings.home)
        self._capabilities["disk_free_bytes"] = left.disk_bytes
        self._full = too_full(left, floor, was_full=self._full is not None)
        return self._full
