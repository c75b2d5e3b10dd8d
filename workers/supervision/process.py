"""One agent under its shim: start, renew, freeze, kill, wait. No policy; `supervisor` decides, this carries out."""

import json
import os
import select
import subprocess
import sys
import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from types import TracebackType
from typing import IO, Self

from workers.agents.base import Launch
from workers.supervision.marks import ATTEMPT_VARIABLE, OWNER_VARIABLE, Tag
from workers.supervision.procfs import this_worker

_SHIM = Path(__file__).with_name("shim.py")
_REAP_SECONDS = 5.0


class Isolation(StrEnum):
    """How the tree is fenced. AUTO takes the first of the others, in this order, that the kernel allows."""

    AUTO = "auto"
    PRIVILEGED = "privileged"  # PID namespace made with root's rights
    USER = "user"  # PID namespace inside a user namespace that keeps the user's id
    NONE = "none"  # child subreaper only


class ShimReason(StrEnum):
    """Why the tree ended."""

    EXIT = "exit"  # the agent ended by itself
    KILLED = "killed"  # ordered by the worker
    LEASE = "lease"  # not renewed in time
    ORPHANED = "orphaned"  # the worker died or let go
    SIGNAL = "signal"  # somebody sent the shim TERM, INT or HUP
    EXEC_FAILED = "exec_failed"  # the command could not be started; `detail` says why
    LOST = "lost"  # the shim died without a full record


@dataclass(frozen=True, kw_only=True)
class ShimEnd:
    """The shim's record, written when every process of the tree is gone.

    `exit_code` and `signal` are the agent's own, both None when it never ran or its end is not known.
    `killed` counts processes that had to be killed, `seconds` is what that took after the grace period.
    """

    reason: ShimReason
    exit_code: int | None = None
    signal: int | None = None
    killed: int = 0
    seconds: float = 0.0
    isolation: str = ""
    detail: str = ""


class ShimProcess:
    """A running shim. Close it, or use it as a context manager: closing ends the tree at once.

    `stdout` and `stderr` are the agent's streams, `report_fd` becomes readable when the tree is gone.
    `renew_until`, `kill`, `freeze` and `thaw` may be called from any thread, also after the end.
    """

    def __init__(
        self,
        launch: Launch,
        *,
        attempt_id: str,
        deadline: float | None,
        grace_seconds: float = 5.0,
        isolation: Isolation = Isolation.AUTO,
    ) -> None:
        """Start `launch` now.

        Args:
            launch: The command, its whole environment and its working directory.
            attempt_id: Goes into the environment, so that `sweep` can find what remains.
            deadline: Boot time in seconds at which the tree dies unless `renew_until` moves it; None = never.
            grace_seconds: Between TERM and KILL when the shim itself is told to stop by a signal.
            isolation: A fixed kind is for tests; where the kernel refuses it nothing is started.

        Raises:
            OSError: The shim itself could not be started. A command that cannot is `EXEC_FAILED`.
        """
        self._lock = threading.Lock()
        self._closed = False
        self._end: ShimEnd | None = None
        self._record = b""
        control_read, self._control = os.pipe()
        self.report_fd, report_write = os.pipe()
        worker = os.pidfd_open(os.getpid())
        owner = this_worker()
        # The child's ends are inheritable in this child alone: a shim started by another thread gets none of them.
        inherited = (control_read, report_write, worker)
        options: dict[str, object] = {
            "control": control_read,
            "report": report_write,
            "worker": worker,
            "deadline": deadline or 0,
            "grace": grace_seconds,
            "isolation": isolation,
            "tag": int(Tag.of(attempt_id, owner)),
            "cwd": launch.cwd,
        }
        arguments = [text for name, value in options.items() for text in (f"--{name}", str(value))]
        try:
            os.set_blocking(self._control, False)
            with (launch.stdin_file or Path(os.devnull)).open("rb") as stdin:
                self._popen = subprocess.Popen(
                    [sys.executable, "-I", "-S", str(_SHIM), *arguments, "--", *launch.argv],
                    env={**launch.env, ATTEMPT_VARIABLE: attempt_id, OWNER_VARIABLE: str(owner)},
                    cwd="/",
                    stdin=stdin,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.PIPE,
                    bufsize=0,
                    pass_fds=inherited,
                    start_new_session=True,
                )
        except BaseException:
            os.close(self._control)
            os.close(self.report_fd)
            raise
        finally:
            for fd in inherited:
                os.close(fd)
        self.pid = self._popen.pid

    @property
    def stdout(self) -> IO[bytes]:
        """The agent's standard output, unbuffered."""
        assert self._popen.stdout is not None
        return self._popen.stdout

    @property
    def stderr(self) -> IO[bytes]:
        """The agent's standard error, unbuffered."""
        assert self._popen.stderr is not None
        return self._popen.stderr

    def renew_until(self, deadline: float) -> None:
        """The tree may live until this boot time. Absolute, so that a delay on the way cannot lengthen it."""
        self._order(f"renew {deadline:.6f}")

    def renew(self, seconds: float) -> None:
        """The tree may live for so many seconds from now."""
        self.renew_until(time.clock_gettime(time.CLOCK_BOOTTIME) + seconds)

    def kill(self, grace_seconds: float) -> None:
        """TERM now, KILL after the grace (0 = at once). Again with a shorter grace shortens it."""
        self._order(f"kill {grace_seconds:.6f}")

    def freeze(self) -> None:
        """STOP every process of the tree. Its lease goes on running."""
        self._order("freeze")

    def thaw(self) -> None:
        """Let a frozen tree go on."""
        self._order("thaw")

    def force(self) -> None:
        """Kill the shim itself: for a shim that does not obey. Its keeper or its namespace ends the tree."""
        with suppress(ProcessLookupError):
            self._popen.kill()

    def wait(self, timeout_seconds: float | None = None) -> ShimEnd:
        """The record of the end, waiting for it. Idempotent. Raises TimeoutError when there is none in time."""
        if self._end is None:
            self._read_record(timeout_seconds)
            self._end = _parse(self._record, self._reap())
        return self._end

    def close(self) -> None:
        """End the tree if it lives, and give every descriptor back. Idempotent."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
            os.close(self._control)
        for stream in (self.stdout, self.stderr):
            stream.close()
        self._reap()
        os.close(self.report_fd)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _order(self, line: str) -> None:
        # The lock keeps an order from reaching whatever next gets the number of a closed descriptor. A shim that
        # is gone takes no orders; one that has left 64 KiB of them unread is stopped, and its deadline decides.
        with self._lock, suppress(BrokenPipeError, BlockingIOError):
            if not self._closed:
                os.write(self._control, f"{line}\n".encode())

    def _reap(self) -> int:
        """The shim's own exit status. It ends within milliseconds unless somebody stopped it."""
        try:
            return self._popen.wait(_REAP_SECONDS)
        except subprocess.TimeoutExpired:
            self._popen.kill()
            return self._popen.wait()

    def _read_record(self, timeout_seconds: float | None) -> None:
        until = None if timeout_seconds is None else time.monotonic() + timeout_seconds
        poller = select.poll()
        poller.register(self.report_fd, select.POLLIN)
        while not self._record.endswith(b"\n"):
            left = None if until is None else max(0.0, until - time.monotonic()) * 1000
            if not poller.poll(left):
                raise TimeoutError(f"no end record of shim {self.pid} in {timeout_seconds} s")
            data = os.read(self.report_fd, 65536)
            if not data:
                return
            self._record += data


def _parse(record: bytes, status: int) -> ShimEnd:
    if not record.endswith(b"\n"):
        return ShimEnd(reason=ShimReason.LOST, detail=f"the shim ended with {status} and left no record")
    fields = json.loads(record.splitlines()[0])
    return ShimEnd(**{**fields, "reason": ShimReason(fields["reason"])})
