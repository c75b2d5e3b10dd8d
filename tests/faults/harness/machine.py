"""The second machine: its own home on a small disk, its own clock, and a cable to everything else where root is."""

import subprocess
import sys
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path

from orchestrator.embedded import tethered
from tests.faults.harness import disk, network
from tests.faults.harness.wallclock import WallClock
from tests.support.processes import descendants

NAME = "other"


class OtherMachine:
    """Two workers that serve the same queues: who else would run what a frozen worker has lost?

    `database`: the socket and the URL of a server, with `{}` for its address; None = a file, which no cable reaches.
    """

    def __init__(
        self,
        root: Path,
        env: Mapping[str, str],
        undo: ExitStack,
        database: tuple[str, str] | None,
        *,
        min_free_mib: int,
        away: bool,
    ) -> None:
        # The first machine has to do without it, whatever happens to it.
        self.away = away
        self.home = root / NAME
        self.disk = disk.Disk(self.home) if disk.can_be_made() else None
        if self.disk is not None:
            undo.callback(self.disk.close)
        self.cable = network.Cable() if database is not None and network.can_be_made() else None
        if self.cable is not None:
            undo.callback(self.cable.close)
        undo.callback(self.kill)
        self.clock = WallClock(root, NAME)
        self._root, self._database, self._url = root, database, ""
        self._logs = root / "logs-of-other"
        self._logs.mkdir()
        own = {"BAKEOFF_HOME": str(self.home), "BAKEOFF_MACHINE": NAME}
        own["BAKEOFF_MIN_FREE_DISK_MIB"] = str(min_free_mib)
        self._env = {**env, **own, **self.clock.environment}
        self._workers: dict[str, subprocess.Popen[bytes]] = {}

    def serve(self, port: int) -> None:
        """Have what listens at this port of our loopback on its own, too."""
        if self.cable is not None:
            self.cable.serve(port, self._logs)

    def tend(self, broker_url: str | None) -> None:
        """Keep its workers on the broker that runs now."""
        if broker_url is None or self.away:
            return
        if broker_url != self._url:
            self.kill()
            self._url = broker_url
        for resource in ("cloud --account cloud", "gpu --pool box"):
            worker = self._workers.get(resource)
            if worker is None or worker.poll() is not None:
                self._workers[resource] = self._start(resource.split())

    def _start(self, arguments: list[str]) -> "subprocess.Popen[bytes]":
        inside = self.cable.inside() if self.cable is not None else []
        with (self._logs / f"{arguments[0]}.log").open("ab") as log:
            return subprocess.Popen(
                tethered([*inside, sys.executable, "-m", "workers.main", *arguments]),
                cwd=self._root,
                env=self._env | self._addresses(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def _addresses(self) -> dict[str, str]:
        if self.cable is None or self._database is None:
            return {"BAKEOFF_BROKER_URL": self._url}
        secret, _, socket = self._url.partition("://")[2].partition("?")[0].partition("@")
        broker = self.cable.reach(6379, socket)
        database = self.cable.reach(5432, self._database[0])
        return {
            "BAKEOFF_BROKER_URL": f"redis://{secret}@{broker}/0",
            "BAKEOFF_DATABASE_URL": self._database[1].format(database),
        }

    def living(self) -> list[int]:
        """Its workers."""
        return [worker.pid for worker in self._workers.values() if worker.poll() is None]

    def family(self) -> list[int]:
        """Every process."""
        return [*self.living(), *(pid for worker in self.living() for pid in descendants(worker))]

    def stop(self) -> None:
        """End it, its broker having just gone. Fails when it does not stop."""
        for worker in self._workers.values():
            worker.terminate()
        for worker in self._workers.values():
            worker.wait(30)

    def kill(self) -> None:
        """End it at once; the next `tend` starts it again."""
        for worker in self._workers.values():
            worker.kill()
            worker.wait()

    def logs(self) -> str:
        """The end of its logs."""
        paths = sorted(self._logs.iterdir())
        return "\n".join(f"== other {path.name}\n{path.read_text(errors='replace')[-6000:]}" for path in paths)
