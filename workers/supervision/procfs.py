"""What /proc tells about processes: who they are, whose they are, and who started them."""

import os
from pathlib import Path
from typing import NamedTuple

ATTEMPT_VARIABLE = "BAKEOFF_ATTEMPT"
OWNER_VARIABLE = "BAKEOFF_OWNER"
_PROC = Path("/proc")


class Owner(NamedTuple):
    """A worker process, named so that no later process can be taken for it.

    `start_ticks` is its start in clock ticks since boot; `namespace` the inode of its PID namespace, in which
    alone `pid` means anything.
    """

    pid: int
    start_ticks: int
    namespace: int

    def __str__(self) -> str:
        return f"{self.pid}:{self.start_ticks}:{self.namespace}"

    @classmethod
    def parse(cls, text: str) -> "Owner | None":
        """The owner in a marker's text; None when it is not one."""
        parts = text.split(":")
        return cls(*map(int, parts)) if len(parts) == 3 and all(part.isdecimal() for part in parts) else None


class Stat(NamedTuple):
    """The part of /proc/<pid>/stat that identifies a process."""

    state: str
    parent: int
    start_ticks: int

    @property
    def alive(self) -> bool:
        """False for a zombie: it runs nothing and waits for its parent."""
        return self.state not in "ZX"


def pids() -> list[int]:
    """Every process that this one can see."""
    return [int(entry.name) for entry in _PROC.iterdir() if entry.name.isdecimal()]


def stat(pid: int) -> Stat | None:
    """Identity of a process; None when it is gone."""
    try:
        fields = (_PROC / str(pid) / "stat").read_text(errors="replace").rpartition(")")[2].split()
    except OSError:
        return None
    return Stat(fields[0], int(fields[1]), int(fields[19]))


def environ(pid: int) -> dict[str, str]:
    """The environment with which a process was started; empty when it is gone or not ours to read."""
    try:
        text = (_PROC / str(pid) / "environ").read_bytes().decode(errors="replace")
    except OSError:
        return {}
    return dict(item.split("=", 1) for item in text.split("\0") if "=" in item)


def command(pid: int) -> str:
    """Command line for a log, at most 200 characters; empty when the process is gone."""
    try:
        return (_PROC / str(pid) / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")[:200].strip()
    except OSError:
        return ""


def pid_namespace() -> int:
    """The inode of this process's PID namespace."""
    return (_PROC / "self" / "ns" / "pid").stat().st_ino


def this_worker() -> Owner:
    """This process as an owner."""
    own = stat(os.getpid())
    return Owner(os.getpid(), own.start_ticks if own else 0, pid_namespace())
