"""Two machines on one computer: a shared fleet over a real network, and what happens when a machine is cut off.

Network namespaces stand for machines, joined by a virtual cable each to a third one, which has PostgreSQL, the
broker, the scheduler and the scripted models. Needs root and the command `ip` (iproute2), and PostgreSQL from the
development requirements. Takes about a minute; everything is in a temporary directory and gone afterwards.
"""

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, TypeVar

import sqlalchemy as sa

_HERE = Path(__file__).resolve().parent
_ROOT = _HERE.parents[1]
sys.path.insert(0, str(_ROOT))

from orchestrator.embedded import EmbeddedBroker  # noqa: E402
from orchestrator.storage.engine import Database  # noqa: E402
from orchestrator.storage.tables import attempts, jobs  # noqa: E402
from tests.support.postgres import MissingWheel, PostgresServer  # noqa: E402
from tests.support.processes import marked  # noqa: E402
from tests.support.repos import make_repo  # noqa: E402

_MACHINES = ("left", "right")
_LEASE = {
    "BAKEOFF_LEASE_TTL_SECONDS": "6",
    "BAKEOFF_HEARTBEAT_SECONDS": "1",
    "BAKEOFF_LEASE_MARGIN_SECONDS": "2",
    "BAKEOFF_REHINT_SECONDS": "2",
}
_PATIENCE_SECONDS = 90.0
# The same from everywhere: an address of its own, to which both cables lead.
_HUB = "10.231.0.1"
_BAKEOFF = str(Path(sys.executable).with_name("bakeoff"))
T = TypeVar("T")
Row = sa.Row[Any]


def main() -> int:
    """Run it; 0 when everything was as it must be."""
    if os.geteuid() != 0 or shutil.which("ip") is None:
        print("two-machines: needs root and iproute2 (`ip`), to make network namespaces")
        return 4
    with ExitStack() as undo:
        try:
            play(undo)
        except MissingWheel as missing:
            print(f"two-machines: {missing}")
            return 4
        except OSError as error:
            print(f"two-machines: {error}")
            return 4
    return 0


def play(undo: ExitStack) -> None:
    """The whole story."""
    work = Path(tempfile.mkdtemp(prefix="bakeoff-two-"))
    undo.callback(shutil.rmtree, work, ignore_errors=True)
    network = Network(undo)
    server = PostgresServer()
    undo.callback(server.stop)
    server.execute("CREATE DATABASE fleet")
    fleet = Fleet(undo, work, network, server)
    fleet.begin()
    rows = until("jobs to run on both machines", lambda: _running(fleet.attempts()))
    print("\njob  machine  (running at the same time)")
    for row in rows:
        print(f"{row.job_id:>3}  {row.machine}")
    cut_off(fleet, network)


def _running(rows: list[Row]) -> list[Row]:
    working = [row for row in rows if row.state == "working" and marked([row.id])]
    return working if {row.machine for row in working} == set(_MACHINES) else []


def cut_off(fleet: "Fleet", network: "Network") -> None:
    """Pull one machine's cable for longer than the lease."""
    began = time.monotonic()
    network.cut("right")
    lost = [row for row in fleet.attempts() if row.machine == "right" and row.state != "ended"]
    print(f"\n{0:5.1f} s  the cable of 'right' is pulled; lease 6 s, margin 2 s")

    def say(text: str) -> None:
        print(f"{time.monotonic() - began:5.1f} s  {text}", flush=True)

    until("the cut machine's trees to end", lambda: not marked([row.id for row in lost]))
    still = [row.state for row in fleet.attempts() if row.id in {one.id for one in lost}]
    assert "ended" not in still, "a lease ran out before its holder had ended its tree"
    say("no process of its attempts is left (process table), and their leases still hold")
    until("the leases to run out", lambda: all(row.outcome == "lease_lost" for row in fleet.attempts(lost)))
    say("the scheduler has expired its attempts: lease_lost")
    again = until("the jobs to start again", lambda: fleet.later_than(lost))
    say(
        f"job {', '.join(str(row.job_id) for row in again)} runs again on {', '.join({row.machine for row in again})}"
    )
    until("every job to be done", fleet.all_done)
    say("every job is done")
    network.join("right")
    say("the cable is back")
    log = fleet.work / "right.log"
    until("the late results to be refused", lambda: log.read_text().count("result_refused") >= len(lost))
    say(f"'right' handed in {len(lost)} late results; all were refused:")
    for line in log.read_text().splitlines():
        if "result_refused" in line:
            print(f"         {line}")
    for row in fleet.attempts(lost):
        assert row.outcome == "lease_lost", row
    print("\njob  attempt  machine  outcome")
    for row in fleet.attempts():
        print(f"{row.job_id:>3}  {row.number:>7}  {row.machine:<7}  {row.outcome}")


def until(what: str, look: Callable[[], T]) -> T:
    """The first true value of `look`."""
    deadline = time.monotonic() + _PATIENCE_SECONDS
    while not (found := look()):
        if time.monotonic() > deadline:
            raise SystemExit(f"two-machines: waited {_PATIENCE_SECONDS:g} s for {what}")
        time.sleep(0.05)
    return found


class Network:
    """Three namespaces: `hub`, and each machine with a cable to it. Names carry our process id."""

    def __init__(self, undo: ExitStack) -> None:
        self._tag = str(os.getpid())
        for name in ("hub", *_MACHINES):
            _ip("netns", "add", self._space(name))
            undo.callback(_ip, "netns", "del", self._space(name))
            self._in(name, "link", "set", "lo", "up")
        for number, name in enumerate(_MACHINES, start=1):
            here, there = f"bk{self._tag}{number}", "eth0"
            _ip(
                "link",
                "add",
                here,
                "netns",
                self._space("hub"),
                "type",
                "veth",
                "peer",
                there,
                "netns",
                self._space(name),
            )
            self._in("hub", "addr", "add", f"10.231.{number}.1/24", "dev", here)
            self._in(name, "addr", "add", f"10.231.{number}.2/24", "dev", there)
            self._in("hub", "link", "set", here, "up")
            self._in(name, "link", "set", there, "up")
            self._in(name, "route", "add", "default", "via", f"10.231.{number}.1")
        self._in("hub", "addr", "add", f"{_HUB}/32", "dev", "lo")

    def _space(self, name: str) -> str:
        return f"bakeoff-{self._tag}-{name}"

    def _in(self, name: str, *arguments: str) -> None:
        _ip("-n", self._space(name), *arguments)

    def inside(self, name: str) -> list[str]:
        """What to put before a command that runs on this machine."""
        return ["ip", "netns", "exec", self._space(name)]

    def cut(self, name: str) -> None:
        """Pull the cable at the hub's end: packets vanish, and nobody is told."""
        self._in("hub", "link", "set", f"bk{self._tag}{_MACHINES.index(name) + 1}", "down")

    def join(self, name: str) -> None:
        """Put it back."""
        self._in("hub", "link", "set", f"bk{self._tag}{_MACHINES.index(name) + 1}", "up")


def _ip(*arguments: str) -> None:
    done = subprocess.run(["ip", *arguments], capture_output=True, text=True, check=False)
    if done.returncode:
        raise OSError(f"ip {' '.join(arguments)}: {done.stderr.strip()}")


class Fleet:
    """The processes on the machines, and what the database says of them."""

    def __init__(self, undo: ExitStack, work: Path, network: Network, server: PostgresServer) -> None:
        self._undo, self.work, self._network, self._server = undo, work, network, server
        self._env = dict(os.environ)
        self.database = Database(server.url("fleet"))
        undo.callback(self.database.close)

    def begin(self) -> None:
        """Submit the experiment and start everything."""
        make_repo(self.work / "target")
        broker = EmbeddedBroker(self.work / "broker.log")
        self._undo.callback(broker.stop)
        password, _, place = broker.url.partition("://")[2].partition("@")
        self._relay(5432, f"{self._server.folder}/.s.PGSQL.5432")
        self._relay(6379, place.partition("?")[0])
        self._env = {
            **os.environ,
            **_LEASE,
            "PYTHONPATH": str(_ROOT),
            "BAKEOFF_DATABASE_URL": f"postgresql://postgres@{_HUB}/fleet",
            "BAKEOFF_BROKER_URL": f"redis://{password}@{_HUB}:6379/0",
        }
        self._models()
        shutil.copy(_HERE / "experiment.yaml", self.work)
        shutil.copy(_HERE / "fleet.toml", self.work)
        submit = self._start("hub", "submit", _BAKEOFF, "submit", str(self.work / "experiment.yaml"))
        if submit.wait():
            raise SystemExit((self.work / "submit.log").read_text())
        self._start("hub", "scheduler", _BAKEOFF, "scheduler")
        for name in _MACHINES:
            self._start(name, name, _BAKEOFF, "worker", "gpu", "--pool", "box", "--slots", "2")

    def _relay(self, port: int, socket: str) -> None:
        self._start("hub", f"relay-{port}", str(_HERE / "relay.py"), _HUB, str(port), socket)

    def _models(self) -> None:
        port = self.work / "models.port"
        arguments = [
            "--script",
            str(_HERE / "models.yaml"),
            "--port-file",
            str(port),
            "--parent-pid",
            str(os.getpid()),
        ]
        self._start("hub", "models", "-m", "workers.gateway.scripted", *arguments, "--port", "0")
        until("the scripted models", lambda: port.exists() and port.read_text().strip())
        self._start("hub", "relay-models", str(_HERE / "relay.py"), _HUB, "8000", port.read_text().strip())

    def _start(self, machine: str, name: str, *arguments: str) -> "subprocess.Popen[bytes]":
        env = {**self._env, "BAKEOFF_HOME": str(self.work / f"home-{machine}"), "BAKEOFF_MACHINE": machine}
        with (self.work / f"{name}.log").open("wb") as log:
            process = subprocess.Popen(
                [*self._network.inside(machine), sys.executable, *arguments],
                cwd=self.work,
                env=env,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        self._undo.callback(_end, process)
        return process

    def attempts(self, among: Sequence[Row] = ()) -> list[Row]:
        """Every attempt, or these again."""
        query = sa.select(attempts).order_by(attempts.c.started_at)
        if among:
            query = query.where(attempts.c.id.in_([row.id for row in among]))
        with self.database.read() as connection:
            return list(connection.execute(query))

    def later_than(self, lost: Sequence[Row]) -> list[Row]:
        """The next attempts at the jobs of the lost ones, once every one of them has one."""
        jobs_of = {row.job_id: row.number for row in lost}
        later = [row for row in self.attempts() if row.number > jobs_of.get(row.job_id, row.number)]
        return later if len(later) == len(lost) else []

    def all_done(self) -> bool:
        """Whether every job is done."""
        with self.database.read() as connection:
            return set(connection.execute(sa.select(jobs.c.state)).scalars()) == {"done"}


def _end(process: "subprocess.Popen[bytes]") -> None:
    if process.poll() is None:
        process.terminate()
    try:
        process.wait(20)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


if __name__ == "__main__":
    sys.exit(main())
