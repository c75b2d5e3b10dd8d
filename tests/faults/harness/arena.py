"""A lab whose experiment takes long enough to be hurt, on two machines, with the handles that faults need."""

import os
import random
import signal
import sys
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

from celery import Celery

from orchestrator.broker import celery_app
from orchestrator.embedded import running_broker_url
from orchestrator.settings import load_settings
from orchestrator.storage.engine import Database
from tests.faults.harness import disk, evidence
from tests.faults.harness.evidence import Evidence
from tests.faults.harness.machine import OtherMachine
from tests.faults.harness.recorder import Recorder
from tests.faults.harness.sites import FleetSite, RunSite, Site
from tests.faults.harness.wallclock import WallClock
from tests.support.lab import SHORT_LEASE, Lab
from tests.support.postgres import PostgresServer
from tests.support.processes import children

_AGENT = Path(__file__).with_name("agent.py")
# More than twice the lease, so that half of it is longer than the lease.
_LONG_SECONDS = 8.0
_CAPACITIES = {"account:cloud": 1, "pool:box": 2}
# The share of rounds without a second machine: there a machine that is stopped must come back by itself.
_ALONE = 0.3
# Setup and checks take a moment, so that faults meet them too.
_TARGET = {
    "repo": "target",
    "base": "main",
    "task": "TASK.md",
    "setup": "sleep 0.1",
    "checks": {"works": "sleep 0.2; [ -e work.txt ]"},
}


class Arena(Lab):
    """One experiment of `2 * repeats` jobs: half of them on an account, half on a pool of two slots.

    `fleet`: services instead of `bakeoff run`. On a `server`, else on SQLite.
    """

    def __init__(
        self, root: Path, server: PostgresServer | None, repeats: int, rng: random.Random, *, fleet: bool = False
    ) -> None:
        super().__init__(root)
        self.server, self.repeats = server, repeats
        self._undo = ExitStack()
        self.clock = WallClock(root, "here")
        self.disk = disk.Disk(self.home) if disk.can_be_made() else None
        if self.disk is not None:
            self._undo.callback(self.disk.close)
        self.env |= SHORT_LEASE | {"BAKEOFF_REHINT_SECONDS": "1"}
        database = self._make_database(server)
        # Half of the machines do not look at their disk, and fail job after job when it is full.
        free, other_free = (rng.choice((0, 4)) if disk.can_be_made() else 0 for _ in range(2))
        away = rng.random() < _ALONE
        self.other = OtherMachine(root, self.env, self._undo, database, min_free_mib=other_free, away=away)
        self.env |= self.clock.environment | {"BAKEOFF_MIN_FREE_DISK_MIB": str(free)}
        # What a fault that waits is to do meanwhile: end those that last.
        self.meanwhile: Callable[[], None] = lambda: None
        self._write()
        self.settings = load_settings(self.env)
        self.database = Database(self.settings.database_url)
        self.recorder = Recorder(self.database)
        self.site: Site = FleetSite(self, self.database) if fleet else RunSite(self)

    def _make_database(self, server: PostgresServer | None) -> tuple[str, str] | None:
        if server is None:
            self.env["BAKEOFF_DATABASE_URL"] = f"sqlite:///{self.database_file}"
            return None
        name = f"faults_{os.urandom(4).hex()}"
        server.execute(f"CREATE DATABASE {name}")
        self.env["BAKEOFF_DATABASE_URL"] = server.url(name)
        return f"{server.folder}/.s.PGSQL.5432", f"postgresql://postgres@{{}}/{name}"

    def _write(self) -> None:
        self.write_fleet(models={"local": {}})
        self.other.serve(int(self._pool_url().rpartition(":")[2]))
        command = [sys.executable, "-I", "-S", str(_AGENT), str(self.log), str(_LONG_SECONDS)]
        self.write(
            agent="busy",
            agents={"busy": {"command": command, "version": ["echo", "1"]}},
            targets=[_TARGET],
            profiles={"one": "model", "two": "local"},
            repeats=self.repeats,
            # What the harness breaks is no fault of a job; how often it does is not the matter here.
            limits={"grace": "300ms", "max_infra_attempts": 1000},
        )

    @property
    def database_file(self) -> Path:
        """SQLite's file, on a disk that is never full."""
        return self.root / "bakeoff.db"

    def tend(self) -> None:
        """Keep up what is to be up."""
        self.site.tend()
        self.other.tend(running_broker_url(self.home))

    def every_worker(self) -> list[int]:
        """The workers of both machines; those that run an agent alone, when there are any."""
        pids = [*self.site.workers(), *self.other.living()]
        return [pid for pid in pids if _shims(pid)] or pids

    def guards(self) -> list[int]:
        """The outermost shim of every agent."""
        return [pid for worker in self.every_worker() for pid in _shims(worker)]

    def keepers(self) -> list[int]:
        """The shim that is the agent's parent, of every agent."""
        return [pid for guard in self.guards() for pid, line in children(guard).items() if "shim.py" in line]

    def agents(self) -> list[int]:
        """Every agent process."""
        return [pid for keeper in self.keepers() for pid, line in children(keeper).items() if str(_AGENT) in line]

    def broker_url(self) -> str | None:
        """Of the broker that runs now, as the client library of Redis reads it."""
        url = running_broker_url(self.home)
        return None if url is None else url.partition("?")[0].replace("redis+socket", "unix")

    def celery(self) -> Celery | None:
        """A client of the queue, None when no broker runs."""
        url = running_broker_url(self.home)
        return celery_app(replace(self.settings, broker_url=url)) if url else None

    def evidence(self) -> Evidence:
        """What is left, after the end."""
        set_clocks = self.clock.was_set or self.other.clock.was_set
        jobs, attempts, held = evidence.rows(self.database, self.recorder.seen_at if set_clocks else None)
        lives = evidence.lives(self.log)
        stores = [self.settings.artifacts, self.other.home / "artifacts"]
        return Evidence(
            lives=lives,
            jobs=jobs,
            attempts=attempts,
            expected_jobs=2 * self.repeats,
            capacities=_CAPACITIES,
            results=evidence.with_results(self.database),
            staged=evidence.staged(self.database),
            checked=evidence.checked(self.database),
            patches=evidence.patches(self.database, stores),
            held=held,
            seen=self.recorder.ends,
            survivors=evidence.survivors(self._homes, {one.id for one in attempts} | {one.attempt for one in lives}),
        )

    @property
    def _homes(self) -> list[Path]:
        return [self.home, self.other.home]

    def logs(self) -> str:
        return f"{super().logs()}\n{self.other.logs()}"

    def close(self) -> None:
        """Kill what still runs, also what is frozen."""
        self.recorder.stop()
        if isinstance(self.site, FleetSite):
            self.site.close()
        super().close()
        self.other.kill()
        for pid in evidence.survivors(self._homes, {life.attempt for life in evidence.lives(self.log)}):
            os.kill(pid, signal.SIGKILL)
        self.database.close()
        self._undo.close()


def _shims(worker: int) -> list[int]:
    return [pid for pid, line in children(worker).items() if "shim.py" in line]
