"""Who runs the experiment on the first machine: `bakeoff run` with everything in it, or the services of a fleet."""

import subprocess
import sys
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import NamedTuple

import sqlalchemy as sa

from orchestrator.domain.errors import StorageError
from orchestrator.domain.states import FINAL_JOB_STATES
from orchestrator.embedded import EmbeddedBroker, tethered
from orchestrator.storage.engine import Database
from orchestrator.storage.tables import jobs, leaders
from tests.support.lab import BAKEOFF, Lab, interrupt
from tests.support.processes import alive, descendants, kill
from tests.support.waiting import until

_STOP_SECONDS = 60.0


class GaveUp(NamedTuple):
    """A part ended by itself without success."""

    code: int
    err: str


class Site(ABC):
    """One way to run it."""

    @abstractmethod
    def begin(self) -> None:
        """Start everything, or start it again."""

    @abstractmethod
    def tend(self) -> None:
        """Start again what this way's guardian would start again. Called often."""

    @abstractmethod
    def ended(self) -> bool:
        """Whether every job is final and told to be."""

    @abstractmethod
    def gave_up(self) -> GaveUp | None:
        """How it ended without success, None while it goes on."""

    @abstractmethod
    def schedulers(self) -> list[int]:
        """The schedulers; the one that acts first."""

    @abstractmethod
    def workers(self) -> list[int]:
        """The workers."""

    @abstractmethod
    def broker(self) -> int | None:
        """The message broker."""

    @abstractmethod
    def family(self) -> list[int]:
        """Every process."""

    @abstractmethod
    def interrupt(self, meanwhile: Callable[[], None]) -> None:
        """Ask everything to stop, and wait until it has; fails when it does not."""

    @abstractmethod
    def killed(self) -> None:
        """Everything was killed: take note of it."""

    @abstractmethod
    def finish(self) -> str:
        """After the end: stop everything. What was written to standard error."""


class RunSite(Site):
    """`bakeoff run`, which has broker, scheduler and workers as children."""

    def __init__(self, lab: Lab) -> None:
        self._lab = lab
        self.begin()

    def begin(self) -> None:
        self._process = self._lab.start("run", str(self._lab.file))

    def tend(self) -> None:
        """It is its own guardian."""

    def ended(self) -> bool:
        return self._process.poll() == 0

    def gave_up(self) -> GaveUp | None:
        code = self._process.poll()
        return None if code in (None, 0) else GaveUp(code, self._process.communicate()[1])

    def schedulers(self) -> list[int]:
        return [self._process.pid] if self._process.poll() is None else []

    def workers(self) -> list[int]:
        return list(self._lab.workers(self._process).values())

    def broker(self) -> int | None:
        return self._lab.broker(self._process)

    def family(self) -> list[int]:
        return [self._process.pid, *descendants(self._process.pid)]

    def interrupt(self, meanwhile: Callable[[], None]) -> None:
        interrupt(self._process)

        def heeded() -> bool:
            meanwhile()
            return self._process.poll() is not None

        until(heeded, "bakeoff run to heed Ctrl-C", _STOP_SECONDS)
        self._process.communicate()

    def killed(self) -> None:
        self._process.communicate()

    def finish(self) -> str:
        return self._process.communicate(timeout=1)[1]


class FleetSite(Site):
    """A broker, two schedulers and two workers, each started again by us when it dies, as systemd would."""

    def __init__(self, lab: Lab, database: Database) -> None:
        self._lab, self._database = lab, database
        self._broker = EmbeddedBroker(lab.home / "logs" / "broker.log")
        self._broker.announce(lab.home)
        self._parts: dict[str, subprocess.Popen[bytes]] = {}
        done = lab.bakeoff("submit", str(lab.file))
        assert done.code == 0, done.err
        self.begin()

    def begin(self) -> None:
        self.tend()

    def tend(self) -> None:
        if not self._broker.alive():
            self._broker.restart()
        bakeoff, worker = [str(BAKEOFF)], [sys.executable, "-m", "workers.main"]
        self._keep("scheduler-1", [*bakeoff, "scheduler"])
        self._keep("scheduler-2", [*bakeoff, "scheduler"])
        self._keep("cloud.cloud", [*worker, "cloud", "--account", "cloud"])
        self._keep("gpu.box", [*worker, "gpu", "--pool", "box"])

    def _keep(self, name: str, argv: list[str]) -> None:
        part = self._parts.get(name)
        if part is None or part.poll() is not None:
            env = self._lab.env | {"BAKEOFF_BROKER_URL": self._broker.url}
            with (self._lab.home / "logs" / f"{name}.log").open("ab") as log:
                self._parts[name] = subprocess.Popen(
                    tethered(argv), cwd=self._lab.root, env=env, stdin=subprocess.DEVNULL, stdout=log, stderr=log
                )

    def ended(self) -> bool:
        try:
            with self._database.read() as connection:
                states = set(connection.execute(sa.select(jobs.c.state)).scalars())
        except (StorageError, sa.exc.DatabaseError):
            return False
        return bool(states) and states <= {str(state) for state in FINAL_JOB_STATES}

    def gave_up(self) -> GaveUp | None:
        return None

    def schedulers(self) -> list[int]:
        found = self._living("scheduler-1", "scheduler-2")
        try:
            with self._database.read() as connection:
                leader = connection.execute(sa.select(leaders.c.pid)).scalar()
        except (StorageError, sa.exc.DatabaseError):
            leader = None
        return sorted(found, key=lambda pid: pid != leader)

    def workers(self) -> list[int]:
        return self._living("cloud.cloud", "gpu.box")

    def _living(self, *names: str) -> list[int]:
        found = [self._parts[name] for name in names if name in self._parts]
        return [part.pid for part in found if part.poll() is None]

    def broker(self) -> int | None:
        return self._broker.pid if alive(self._broker.pid) else None

    def family(self) -> list[int]:
        parts = self._living(*self._parts)
        return [self._broker.pid, *parts, *(pid for part in parts for pid in descendants(part))]

    def interrupt(self, meanwhile: Callable[[], None]) -> None:
        self._terminate()

        def heeded() -> bool:
            meanwhile()
            return not self._living(*self._parts)

        until(heeded, "the fleet to heed TERM", _STOP_SECONDS)

    def _terminate(self) -> None:
        for part in self._parts.values():
            if part.poll() is None:
                part.terminate()

    def killed(self) -> None:
        for part in self._parts.values():
            part.wait()

    def finish(self) -> str:
        self._terminate()
        for part in self._parts.values():
            part.wait(_STOP_SECONDS)
        self._broker.stop()
        return "\n".join(
            path.read_text(errors="replace") for path in (self._lab.home / "logs").glob("scheduler-*.log")
        )

    def close(self) -> None:
        """Kill what still runs."""
        for pid in self.family():
            kill(pid)
        self._broker.stop()
