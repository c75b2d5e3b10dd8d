"""Ends what dead workers of this machine left behind. Run at a worker's start, before it claims anything.

A process is a leftover when it carries the mark of an attempt, that attempt is not said to be live, and the worker
that started it is dead. Processes of living workers are never touched, whoever they belong to; nor are those whose
worker lived in another PID namespace, whose death cannot be seen from here.
"""

import os
import signal
import time
from collections.abc import Callable, Collection
from contextlib import suppress
from typing import NamedTuple

from workers.supervision import procfs
from workers.supervision.marks import ATTEMPT_VARIABLE, OWNER_VARIABLE, Owner, Tag

# A living shim needs milliseconds to end its own tree, and does it better than a scan can.
_PATIENCE_SECONDS = 1.0
_ROUND_SECONDS = 0.02
# A process that forks and exits for ever can be between two lives when one look at /proc passes by.
_EMPTY_LOOKS, _EMPTY_LOOKS_AFTER_FIND = 2, 10


class Leftover(NamedTuple):
    """A process that outlived its worker. `attempt_id` is empty when the process had dropped its environment."""

    pid: int
    start_ticks: int
    parent: int
    attempt_id: str
    command: str


def sweep(
    *,
    live_attempts: Collection[str],
    timeout_seconds: float = 10.0,
    visible: Callable[[], Collection[int]] = procfs.pids,
) -> list[Leftover]:
    """End every leftover, and return what had to be ended. Idempotent.

    Args:
        live_attempts: Attempts that are left alone even though their worker seems dead.
        timeout_seconds: Gives up then: a process in uninterruptible sleep cannot be ended by anybody.
        visible: The processes that may be touched, asked for anew in each round; by default all of this machine.
    """
    began = time.monotonic()
    while time.monotonic() - began < _PATIENCE_SECONDS and find_leftovers(live_attempts, visible):
        time.sleep(_ROUND_SECONDS)
    judge = _Judge(live_attempts)
    ended: dict[tuple[int, int], Leftover] = {}
    reapers: set[int] = set()
    innocent: set[int] = set()
    empty = 0
    while empty < (_EMPTY_LOOKS_AFTER_FIND if ended else _EMPTY_LOOKS) and time.monotonic() - began < timeout_seconds:
        found = find_leftovers(live_attempts, visible)
        for number in (signal.SIGSTOP, signal.SIGKILL):
            for leftover in found:
                _send(leftover, number)
        reapers |= {leftover.parent for leftover in found}
        found += _chase(reapers, innocent, judge)
        ended.update({(leftover.pid, leftover.start_ticks): leftover for leftover in found})
        empty = 0 if found else empty + 1
    return list(ended.values())


def _chase(reapers: Collection[int], innocent: set[int], judge: "_Judge") -> list[Leftover]:
    """KILL leftovers as they become orphans: their reaper's children are one short file, /proc is thousands."""
    until = time.monotonic() + _ROUND_SECONDS
    ended = []
    while time.monotonic() < until:
        for pid in [child for reaper in reapers for child in reversed(procfs.children(reaper))]:
            if pid in innocent:
                continue
            attempt_id, stat = judge(pid), procfs.stat(pid)
            if isinstance(attempt_id, str) and stat is not None and stat.alive:
                ended.append(Leftover(pid, stat.start_ticks, stat.parent, attempt_id, procfs.command(pid)))
                _send(ended[-1], signal.SIGKILL)
            else:
                innocent.add(pid)
        time.sleep(0.0002)
    return ended


def find_leftovers(
    live_attempts: Collection[str], visible: Callable[[], Collection[int]] = procfs.pids
) -> list[Leftover]:
    """Every leftover and its descendants, youngest first: a shim must not die before what it owns."""
    judge = _Judge(live_attempts)
    stats, verdicts = {}, {}
    for pid in visible():
        if (stat := procfs.stat(pid)) is not None and stat.alive:
            stats[pid], verdicts[pid] = stat, judge(pid)
    spared = _line_of(os.getpid(), stats)
    found = []
    for pid in stats:
        # The nearest mark decides: a process that dropped its own belongs to whoever started it.
        attempt_id = next(
            (verdict for above in _line_of(pid, stats) if (verdict := verdicts[above]) is not None), None
        )
        if isinstance(attempt_id, str) and pid not in spared:
            found.append(Leftover(pid, stats[pid].start_ticks, stats[pid].parent, attempt_id, procfs.command(pid)))
    return sorted(found, key=lambda leftover: leftover.start_ticks, reverse=True)


class _Judge:
    """Of one process: an attempt's id when it is a leftover, False when it is somebody's, None when unmarked."""

    def __init__(self, live_attempts: Collection[str]) -> None:
        self._live = frozenset(live_attempts)
        self._namespace = procfs.pid_namespace()

    def __call__(self, pid: int) -> str | bool | None:
        environ = procfs.environ(pid)
        owner = Owner.parse(environ.get(OWNER_VARIABLE, ""))
        if owner is not None:
            attempt_id = environ.get(ATTEMPT_VARIABLE, "")
            dead = owner.namespace == self._namespace and not self._lives(Tag.of("", owner))
            return attempt_id if dead and attempt_id not in self._live else False
        tag = Tag.parse(procfs.realtime_limit(pid) or 0)
        if tag is None or procfs.pid_namespace(pid) != self._namespace:
            return None
        live = any(Tag.of(attempt_id, Owner(0, 0, 0)).attempt == tag.attempt for attempt_id in self._live)
        return False if live or self._lives(tag) else ""

    @staticmethod
    def _lives(tag: Tag) -> bool:
        stat = procfs.stat(tag.pid)
        return stat is not None and stat.alive and Tag.of("", Owner(tag.pid, stat.start_ticks, 0)).start == tag.start


def _line_of(pid: int, stats: dict[int, procfs.Stat]) -> list[int]:
    """A process and those above it, nearest first."""
    line = []
    while pid in stats and pid not in line:
        line.append(pid)
        pid = stats[pid].parent
    return line


def _send(leftover: Leftover, number: int) -> None:
    """Signal it, unless its id has meanwhile gone to another process."""
    with suppress(ProcessLookupError, PermissionError):
        fd = os.pidfd_open(leftover.pid)
        try:
            stat = procfs.stat(leftover.pid)
            if stat is not None and stat.start_ticks == leftover.start_ticks:
                signal.pidfd_send_signal(fd, number)
        finally:
            os.close(fd)
