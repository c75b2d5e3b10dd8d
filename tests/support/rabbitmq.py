"""A private RabbitMQ in the foreground, for tests on machines that have one installed."""

import os
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
from pathlib import Path

from orchestrator.embedded import tethered
from tests.support.waiting import until

# Debian's program in PATH changes the user and the folders; this one does as the environment says.
_PLACES = ("/usr/lib/rabbitmq/bin/rabbitmq-server", "/opt/rabbitmq/sbin/rabbitmq-server")


class MissingRabbit(Exception):
    """RabbitMQ is not installed."""


class Rabbit:
    """One server with one user, who may do everything; make it in a thread that outlives it."""

    def __init__(self) -> None:
        self._server = next((place for place in _PLACES if os.access(place, os.X_OK)), None)
        epmd = shutil.which("epmd")
        if self._server is None or epmd is None:
            raise MissingRabbit("RabbitMQ is not installed (Debian: apt-get install rabbitmq-server)")
        self._folder = Path(tempfile.mkdtemp(prefix="bakeoff-mq-"))
        self._password = secrets.token_urlsafe(12)
        names_port, self._port = _free_port(), _free_port()
        self._env = {
            "PATH": os.environ["PATH"],
            "HOME": str(self._folder),
            "LANG": "C.UTF-8",
            "ERL_EPMD_PORT": str(names_port),
            "ERL_EPMD_ADDRESS": "127.0.0.1",
            "RABBITMQ_NODENAME": f"bakeoff{os.getpid()}@localhost",
            "RABBITMQ_DIST_PORT": str(_free_port()),
            "RABBITMQ_CONFIG_FILE": str(self._folder / "rabbitmq"),
            "RABBITMQ_MNESIA_BASE": str(self._folder / "data"),
            "RABBITMQ_LOG_BASE": str(self._folder / "log"),
            "RABBITMQ_LOGS": "-",
            "RABBITMQ_PID_FILE": str(self._folder / "pid"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(self._folder / "plugins"),
            # One scheduler thread is plenty, and the busy wait of idle ones costs a core.
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "+S 1:1 +sbwt none",
        }
        (self._folder / "rabbitmq.conf").write_text(
            f"listeners.tcp.1 = 127.0.0.1:{self._port}\ndefault_user = bakeoff\ndefault_pass = {self._password}\n"
            # A machine with little free memory or disk is not what is tested.
            "disk_free_limit.absolute = 1MB\n"
        )
        # Otherwise the server starts one that outlives everything.
        self._names = self._spawn(epmd, "-port", str(names_port))
        self.start()

    @property
    def url(self) -> str:
        """The broker's URL, password included."""
        return f"amqp://bakeoff:{self._password}@127.0.0.1:{self._port}//"

    def start(self) -> None:
        """Start it (again), and wait until it takes connections."""
        assert self._server is not None
        self._process = self._spawn(self._server)
        until(self._listens, "RabbitMQ to take connections", 120)

    def _spawn(self, *argv: str) -> "subprocess.Popen[bytes]":
        with (self._folder / "out").open("ab") as log:
            return subprocess.Popen(
                tethered(argv),
                env=self._env,
                cwd=self._folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def _listens(self) -> bool:
        assert self._process.poll() is None, (self._folder / "out").read_text()[-3000:]
        try:
            with socket.create_connection(("127.0.0.1", self._port), 1) as client:
                client.sendall(b"AMQP\x00\x00\x09\x01")
                return bool(client.recv(1))
        except OSError:
            return False

    def wipe(self) -> None:
        """Kill it at once, with every message, queue and user that it had."""
        _kill(self._process)
        shutil.rmtree(self._folder / "data", ignore_errors=True)

    def stop(self) -> None:
        """End it and remove everything."""
        for process in (self._process, self._names):
            _kill(process)
        shutil.rmtree(self._folder, ignore_errors=True)


def _kill(process: "subprocess.Popen[bytes]") -> None:
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
