"""`bakeoff` commands without the second that Python takes to load them: a process that has them forks for each.

What forks is a process like any other, with a session, environment, folder and files of its own. It need not read
its modules from disk. Workers and servers are started like anybody's.
"""

import atexit
import functools
import gc
import importlib
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

_ROOT = Path(__file__).parents[2]
_REQUEST_BYTES = 1 << 18
_MODULES = (
    *("cli.control", "cli.doctor", "cli.export", "cli.gc", "cli.interop", "cli.plan", "cli.report", "cli.reprice"),
    *("cli.run", "cli.simulate", "cli.status", "cli.timeline", "cli.watching", "cli.why"),
    *("embedded", "local", "reports.html", "scheduling.asking", "storage.migrate"),
)


class Ended(NamedTuple):
    """A command's end; the code is negative for a signal."""

    code: int
    out: str
    err: str


class Forker:
    """The process that forks. It ends with this one."""

    def __init__(self) -> None:
        self._socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._lock = threading.Lock()
        # Not with -m: click would say that this module is the program.
        argv = [sys.executable, "-c", "from tests.support.forked import serve; serve()", str(theirs.fileno())]
        self.env = {"PATH": os.environ["PATH"], "LANG": "C.UTF-8", "PYTHONPATH": str(_ROOT)}
        with theirs:
            self._process = subprocess.Popen(
                argv, cwd=_ROOT, env=self.env, pass_fds=[theirs.fileno()], stdin=subprocess.DEVNULL
            )

    def close(self) -> None:
        """End it."""
        self._socket.close()
        self._process.wait()

    def run(self, arguments: Sequence[str], *, cwd: Path, env: Mapping[str, str], seconds: float) -> Ended | None:
        """Run one command to its end; None while another runs. Raises TimeoutError, with the command killed."""
        if not self._lock.acquire(blocking=False):
            return None
        try:
            asked = json.dumps({"arguments": list(arguments), "cwd": str(cwd), "env": dict(env)}).encode()
            return self._run(asked, seconds)
        finally:
            self._lock.release()

    def _run(self, asked: bytes, seconds: float) -> Ended:
        with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
            socket.send_fds(self._socket, [asked], [out.fileno(), err.fileno()])
            pid = int(self._socket.recv(64))
            self._socket.settimeout(seconds)
            try:
                code = int(self._socket.recv(64))
            except TimeoutError:
                os.killpg(pid, signal.SIGKILL)
                self._socket.settimeout(None)
                self._socket.recv(64)
                raise
            finally:
                self._socket.settimeout(None)
            return Ended(code, *(_text(file.fileno()) for file in (out, err)))


def _text(descriptor: int) -> str:
    return os.pread(descriptor, os.fstat(descriptor).st_size, 0).decode()


@functools.cache
def forker() -> Forker:
    """The one of this process."""
    one = Forker()
    atexit.register(one.close)
    return one


def can_run(arguments: Sequence[str], env: Mapping[str, str]) -> bool:
    """Whether a fork is the same as a start: nothing is served, and Python itself is told nothing else."""
    ours = {"LANG": "C.UTF-8", "PYTHONPATH": str(_ROOT)}
    told = {name: text for name, text in env.items() if name.startswith(("PYTHON", "LC_", "LANG"))}
    serves = not {"worker", "scheduler", "flower", "watch"}.isdisjoint(arguments[:1])
    return told == ours and (not serves or "--help" in arguments)


def _serve(channel: socket.socket) -> None:
    """Fork for each request, until the other end is closed. Returns in the forked process, when all is in place."""
    while True:
        data, files, _, _ = socket.recv_fds(channel, _REQUEST_BYTES, 2)
        if not data:
            sys.exit(0)
        if (pid := os.fork()) == 0:
            os.setsid()
            channel.close()
            _become(json.loads(data), files)
            return
        for descriptor in files:
            os.close(descriptor)
        channel.send(str(pid).encode())
        channel.send(str(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])).encode())


def _become(asked: Mapping[str, object], files: Sequence[int]) -> None:
    for number, descriptor in enumerate(files, start=1):
        os.dup2(descriptor, number)
        os.close(descriptor)
    os.chdir(str(asked["cwd"]))
    env, arguments = asked["env"], asked["arguments"]
    assert isinstance(env, dict)
    assert isinstance(arguments, list)
    os.environ.clear()
    os.environ.update(env)
    sys.argv = [str(Path(sys.executable).with_name("bakeoff")), *arguments]


def serve() -> None:
    """Load every command, then fork; in each fork this is the command's main program."""
    from orchestrator.cli import main

    for module in _MODULES:
        importlib.import_module(f"orchestrator.{module}")
    gc.freeze()  # what is loaded is not looked through, which would copy all of it into each fork
    _serve(socket.socket(fileno=int(sys.argv[1])))
    main()
