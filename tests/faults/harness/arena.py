"""A lab whose experiment takes long enough to be hurt, on SQLite or PostgreSQL, with the handles that faults need."""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path

import sqlalchemy as sa
from celery import Celery

from orchestrator.broker import celery_app
from orchestrator.domain.errors import StorageError
from orchestrator.embedded import running_broker_url, tethered
from orchestrator.settings import load_settings
from orchestrator.storage.dispatch import Hint, open_hints
from orchestrator.storage.engine import Database
from tests.faults.harness import evidence
from tests.faults.harness.evidence import Evidence, Seen
from tests.support.lab import SHORT_LEASE, Lab
from tests.support.postgres import PostgresServer
from tests.support.processes import children

_AGENT = Path(__file__).with_name("agent.py")
# More than twice the lease, so that half of it is longer than the lease.
_LONG_SECONDS = 8.0
_CAPACITIES = {"account:cloud": 1, "pool:box": 2}
_LOOK_SECONDS = 0.1
# Setup and checks take a moment, so that faults meet them too.
_TARGET = {
    "repo": "target",
    "base": "main",
    "task": "TASK.md",
    "setup": "sleep 0.1",
    "checks": {"works": "sleep 0.2; [ -e work.txt ]"},
}


class Arena(Lab):
    """One experiment of `2 * repeats` jobs: half of them on an account, half on a pool of two slots."""

    def __init__(self, root: Path, server: PostgresServer | None, repeats: int) -> None:
        super().__init__(root)
        self.server = server
        self.env |= SHORT_LEASE | {"BAKEOFF_REHINT_SECONDS": "1"}
        if server is not None:
            name = f"faults_{os.urandom(4).hex()}"
            server.execute(f"CREATE DATABASE {name}")
            self.env["BAKEOFF_DATABASE_URL"] = server.url(name)
        self.repeats = repeats
        # What a fault that waits is to do meanwhile: end those that last.
        self.meanwhile: Callable[[], None] = lambda: None
        self.write_fleet(models={"local": {}})
        self.write(
            agent="busy",
            agents={"busy": {"command": self._command(), "version": ["echo", "1"]}},
            targets=[_TARGET],
            profiles={"one": "model", "two": "local"},
            repeats=repeats,
            # What the harness breaks is no fault of a job; how often it does is not the matter here.
            limits={"grace": "300ms", "max_infra_attempts": 1000},
        )
        self.settings = load_settings(self.env)
        self.database = Database(self.settings.database_url)
        self.recorder = Recorder(self.database)
        self._others: dict[str, subprocess.Popen[bytes]] = {}
        self._others_url: str | None = None
        self.process = self.start("run", str(self.file))

    def _command(self) -> list[str]:
        return [sys.executable, "-I", "-S", str(_AGENT), str(self.log), str(_LONG_SECONDS)]

    @property
    def database_file(self) -> Path:
        """SQLite's file."""
        return self.home / "bakeoff.db"

    def again(self) -> None:
        """Start the same run again."""
        self.process = self.start("run", str(self.file))

    def tend_others(self) -> None:
        """Keep the second machine's workers on the broker that runs now: who else would run what a frozen worker
        has lost?"""
        url = running_broker_url(self.home)
        if url is None:
            return
        if url != self._others_url:
            self._kill_others()
            self._others_url = url
        for resource in ("cloud --account cloud", "gpu --pool box"):
            other = self._others.get(resource)
            if other is None or other.poll() is not None:
                self._others[resource] = self._start_other(resource.split(), url)

    def _start_other(self, arguments: list[str], url: str) -> "subprocess.Popen[bytes]":
        env = self.env | {"BAKEOFF_BROKER_URL": url, "BAKEOFF_MACHINE": "other"}
        env["BAKEOFF_DATABASE_URL"] = self.settings.database_url
        (self.home / "logs").mkdir(parents=True, exist_ok=True)
        with (self.home / "logs" / f"other-{arguments[0]}.log").open("ab") as log:
            return subprocess.Popen(
                tethered([sys.executable, "-m", "workers.main", *arguments]),
                cwd=self.root,
                env=env,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def _kill_others(self) -> None:
        for other in self._others.values():
            other.kill()
            other.wait()

    def every_worker(self) -> list[int]:
        """The workers of both machines; those that run an agent alone, when there are any."""
        pids = [*self.workers(self.process).values(), *(o.pid for o in self._others.values() if o.poll() is None)]
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

    def celery(self) -> Celery | None:
        """A client of the run's queue, None when no broker runs."""
        url = running_broker_url(self.home)
        return celery_app(replace(self.settings, broker_url=url)) if url else None

    def evidence(self) -> Evidence:
        """What is left, after the end."""
        jobs, attempts, held = evidence.rows(self.database)
        results, staged = evidence.with_results(self.database)
        lives = evidence.lives(self.log)
        names = {one.id for one in attempts} | {life.attempt for life in lives}
        return Evidence(
            lives=lives,
            jobs=jobs,
            attempts=attempts,
            expected_jobs=2 * self.repeats,
            capacities=_CAPACITIES,
            results=results,
            staged=staged,
            checked=evidence.checked(self.database),
            patches=evidence.patches(self.database, self.settings.artifacts),
            held=held,
            seen=self.recorder.ends,
            survivors=evidence.survivors(self.home, names),
        )

    def stop_others(self) -> None:
        """End the second machine, whose broker has just gone. Fails when it does not stop."""
        for other in self._others.values():
            other.terminate()
        for other in self._others.values():
            other.wait(30)

    def close(self) -> None:
        """Kill what still runs, also what is frozen."""
        self.recorder.stop()
        self._kill_others()
        super().close()
        for pid in evidence.survivors(self.home, {life.attempt for life in evidence.lives(self.log)}):
            os.kill(pid, signal.SIGKILL)
        self.database.close()


def _shims(worker: int) -> list[int]:
    return [pid for pid, line in children(worker).items() if "shim.py" in line]


class Recorder:
    """Reads along: every hint that was ever open, to be sent late, and every end, which must never change."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._hints: dict[Hint, None] = {}
        self.ends: set[Seen] = set()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="recorder", daemon=True)
        self._thread.start()

    @property
    def hints(self) -> list[Hint]:
        """In the order in which they were first seen."""
        return list(self._hints)

    def stop(self) -> None:
        """No more."""
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stop.wait(_LOOK_SECONDS):
            try:
                self._look()
            except (StorageError, sa.exc.DatabaseError):
                continue  # not migrated yet, or away: that is what a fault is

    def _look(self) -> None:
        with self._database.read() as connection:
            self._remember(open_hints(connection), evidence.ends(connection))

    def _remember(self, hints: Iterable[Hint], ends: set[Seen]) -> None:
        self._hints |= dict.fromkeys(hints)
        self.ends |= ends
