"""What /proc tells about processes: who they are, whose they are, and who started them."""

import os
from pathlib import Path
from typing import NamedTuple

from workers.supervision.marks import Owner

_PROC = Path("/proc")
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


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
    """Every process that this one can see, the newest first: the shorter a life, the sooner it must be looked at."""
    return sorted((int(entry.name) for entry in _PROC.iterdir() if entry.name.isdecimal()), reverse=True)


def children(pid: int) -> list[int]:
    """Direct children of a process; empty when it is gone or the kernel does not list them."""
    try:
        return [int(child) for child in (_PROC / str(pid) / "task" / str(pid) / "children").read_text().split()]
    except OSError:
        return []


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


def realtime_limit(pid: int) -> int | None:
    """The hard RLIMIT_RTTIME of a process in microseconds; None when it is unlimited or the process is gone."""
    try:
        text = (_PROC / str(pid) / "limits").read_text()
    except OSError:
        return None
    values = [line.split()[4] for line in text.splitlines() if line.startswith("Max realtime timeout")]
    return int(values[0]) if values and values[0].isdecimal() else None


def own_memory_bytes(pid: int) -> int:
    """Resident memory of a process that it shares with no file; 0 when it is gone."""
    try:
        resident, shared = (_PROC / str(pid) / "statm").read_text().split()[1:3]
    except OSError:
        return 0
    return (int(resident) - int(shared)) * _PAGE_BYTES


def pid_namespace(pid: int | None = None) -> int | None:
    """The inode of a process's PID namespace, by default of this one's; None when it cannot be read."""
    try:
        return (_PROC / ("self" if pid is None else str(pid)) / "ns" / "pid").stat().st_ino
    except OSError:
        return None


def this_worker() -> Owner:
    """This process as an owner."""
    own = stat(os.getpid())
    return Owner(os.getpid(), own.start_ticks if own else 0, pid_namespace() or 0)
