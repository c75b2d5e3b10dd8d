"""A whole fleet on this machine: broker, scheduler and workers, started, watched over, and taken down."""

import fcntl
import logging
import os
import sys
import threading
from collections.abc import Iterable, Sequence
from dataclasses import replace
from types import TracebackType
from typing import Self

from orchestrator.broker import celery_app
from orchestrator.clock import boot_seconds
from orchestrator.daemon import Scheduler
from orchestrator.domain.errors import BakeoffError, Conflict, Unavailable
from orchestrator.embedded import Child, EmbeddedBroker
from orchestrator.settings import Settings, child_environment
from orchestrator.storage.engine import Database

log = logging.getLogger("bakeoff.local")

# A worker that is told to stop ends its agents (TERM, grace, KILL), commits, archives and gives its jobs back.
_STOP_SECONDS = 30.0
# A worker that dies again so soon after its start, so often, is not started any more.
_QUICK_DEATH_SECONDS = 5.0
_MOST_QUICK_DEATHS = 5


class HomeLock:
    """Keeps two embedded fleets out of one home directory. The kernel frees it however the process ends."""

    def __init__(self, settings: Settings) -> None:
        settings.home.mkdir(parents=True, exist_ok=True)
        self._file = (settings.home / "run.lock").open("a+")
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self._file.seek(0)
            holder = self._file.read().strip() or "unknown"
            self._file.close()
            raise Conflict(
                f"another run (pid {holder}) uses {settings.home}; wait for it, or set BAKEOFF_HOME to another folder"
            ) from None
        self._file.truncate(0)
        self._file.write(str(os.getpid()))
        self._file.flush()

    def release(self) -> None:
        """Let the next one in."""
        self._file.close()


class _Worker:
    """A worker process that is started again when it dies."""

    def __init__(self, name: str, arguments: Sequence[str], settings: Settings) -> None:
        self.name, self._arguments, self._settings = name, arguments, settings
        self._quick_deaths = 0
        self.start()

    def start(self) -> None:
        """Start, or start again."""
        self._started_at = boot_seconds()
        env = child_environment(
            BAKEOFF_HOME=str(self._settings.home),
            BAKEOFF_DATABASE_URL=self._settings.database_url,
            BAKEOFF_BROKER_URL=self._settings.broker_url or "",
            BAKEOFF_MACHINE=self._settings.machine,
        )
        argv = [sys.executable, "-m", "workers.main", *self._arguments]
        self.child = Child(self.name, argv, env=env, log=self._settings.home / "logs" / f"{self.name}.log")

    def keep_alive(self) -> None:
        """Start it again if it has died. Raises Unavailable when it keeps dying at once."""
        code = self.child.poll()
        if code is None:
            return
        quick = boot_seconds() - self._started_at < _QUICK_DEATH_SECONDS
        self._quick_deaths = self._quick_deaths + 1 if quick else 0
        if self._quick_deaths >= _MOST_QUICK_DEATHS:
            raise Unavailable(f"worker {self.name} does not stay up (exit code {code}):\n{self.child.log_tail()}")
        log.warning("worker_restarted name=%s exit_code=%d", self.name, code)
        self.start()


class LocalFleet:
    """Broker, scheduler and one worker per resource, as a context manager. Make it in a thread that outlives it:
    the children die with the thread that started them."""

    def __init__(self, settings: Settings, database: Database, resources: Iterable[str]) -> None:
        self._lock = HomeLock(settings)
        self._broker: EmbeddedBroker | None = None
        self._workers: list[_Worker] = []
        self._stop = threading.Event()
        try:
            if settings.broker_url is None:
                self._broker = EmbeddedBroker(settings.home / "logs" / "broker.log")
                self._broker.announce(settings.home)
                settings = replace(settings, broker_url=self._broker.url)
            self.settings = settings
            self._app = celery_app(settings)
            self._scheduler = Scheduler(settings, database, self._app)
            self._thread = threading.Thread(target=self._scheduler.run, args=(self._stop,), name="scheduler")
            for resource in sorted(resources):
                kind, _, name = resource.partition(":")
                arguments = ["cloud", "--account", name] if kind == "account" else ["gpu", "--pool", name]
                self._workers.append(
                    _Worker(f"{'cloud' if kind == 'account' else 'gpu'}.{name}", arguments, settings)
                )
            self._thread.start()
        except BaseException:
            self.stop()
            raise

    @property
    def broker(self) -> EmbeddedBroker | None:
        """The embedded broker; None when the settings name one."""
        return self._broker

    @property
    def worker_pids(self) -> dict[str, int]:
        """Process ids of the workers by name."""
        return {worker.name: worker.child.pid for worker in self._workers}

    def keep_alive(self) -> None:
        """Start again what has died. Call it often, from the thread that made the fleet."""
        if self._broker is not None and not self._broker.alive():
            log.warning("broker_restarted")
            self._broker.restart()
        if not self._thread.is_alive():
            raise BakeoffError("the scheduler has ended by itself: this is a bug; its error is in the log")
        for worker in self._workers:
            worker.keep_alive()

    def stop(self) -> None:
        """Take everything down; running jobs go back to the queue. Idempotent."""
        self._stop.set()
        threads = [
            threading.Thread(target=worker.child.stop, args=(_STOP_SECONDS,), name=f"stop {worker.name}")
            for worker in self._workers
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        if hasattr(self, "_thread") and self._thread.ident is not None:
            self._thread.join(timeout=15)
        if self._broker is not None:
            self._broker.stop()
            self._broker = None
        self._workers = []
        self._lock.release()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
