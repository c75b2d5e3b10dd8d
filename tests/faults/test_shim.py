"""No process of an attempt outlives it: hostile trees against every end that a worker and a shim can meet.

The oracle is outside of what is tested: this process is a child subreaper, so that whatever escapes comes to it,
and is found in /proc whatever namespace, session or environment it gave itself. The chain that re-forks every 2 ms
can hide from any look; it holds a FIFO open, and the kernel tells when nobody does.
"""

import ctypes
import os
import select
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from orchestrator.clock import boot_seconds
from tests.faults import hostile_tree
from tests.support.waiting import until
from workers.agents.base import Launch
from workers.supervision import procfs
from workers.supervision.process import Isolation, ShimProcess, ShimReason
from workers.supervision.shim import works
from workers.supervision.sweep import find_leftovers, sweep

pytestmark = pytest.mark.faults

FENCED = [
    pytest.param(
        isolation, marks=pytest.mark.skipif(not works(isolation), reason="the kernel does not allow it here")
    )
    for isolation in (Isolation.PRIVILEGED, Isolation.USER)
]
WAYS = [*FENCED, Isolation.NONE]
# A process that re-forks can hide from one look; it cannot hide from looks over so long a time.
QUIET_SECONDS = 0.3


class Arena:
    """Starts workers, and counts what lives below this process."""

    def __init__(self, folder: Path) -> None:
        self._others: frozenset[int] = frozenset()
        self._others = frozenset(self.below())  # servers that other tests share
        self.fifo = folder / "fifo"
        os.mkfifo(self.fifo)
        self._started = False
        self._told = os.open(self.fifo, os.O_RDWR | os.O_NONBLOCK)
        os.mkfifo(f"{self.fifo}.life")
        self._life = os.open(f"{self.fifo}.life", os.O_RDONLY | os.O_NONBLOCK)
        self.launch = Launch(
            argv=(sys.executable, "-I", "-S", hostile_tree.__file__, str(self.fifo)),
            env={"PATH": os.environ["PATH"]},
            cwd=folder,
        )

    def shim(self, isolation: Isolation, *, seconds: float = 60.0, attempt_id: str = "a-1") -> ShimProcess:
        """Start the hostile tree from this very process, and wait until all of it runs."""
        shim = ShimProcess(self.launch, attempt_id=attempt_id, deadline=boot_seconds() + seconds, isolation=isolation)
        self.await_tree()
        return shim

    def worker(self, isolation: Isolation, *, seconds: float = 60.0, attempt_id: str = "a-1") -> tuple[int, int]:
        """Start the hostile tree from a worker of its own; returns the ids of worker and shim."""
        read, write = os.pipe()
        worker = os.fork()
        if worker == 0:
            deadline = boot_seconds() + seconds
            shim = ShimProcess(self.launch, attempt_id=attempt_id, deadline=deadline, isolation=isolation)
            os.write(write, str(shim.pid).encode())
            while True:
                signal.pause()
        self.await_tree()
        shim_pid = int(os.read(read, 32))
        os.close(read)
        os.close(write)
        return worker, shim_pid

    def await_tree(self) -> None:
        """Return when every kind of process has told that it runs."""
        missing, text, poller = set(hostile_tree.KINDS), b"", select.poll()
        poller.register(self._told, select.POLLIN)
        while missing:
            assert poller.poll(10_000), f"never ran: {sorted(missing)}"
            text += os.read(self._told, 65536)
            missing -= set(text.decode().split())
        self._started = True
        assert len(self.alive()) >= 12

    def let_agent_end(self) -> None:
        Path(f"{self.fifo}.go").touch()

    def below(self) -> list[int]:
        """Every process below this one, whatever it did to get away."""
        stats = {pid: stat for pid in procfs.pids() if (stat := procfs.stat(pid)) is not None}
        todo, found = [os.getpid()], []
        while todo:
            parent = todo.pop()
            children = [pid for pid, stat in stats.items() if stat.parent == parent and pid not in self._others]
            todo += children
            found += [pid for pid in children if stats[pid].alive]
        return found

    def stands_still(self) -> bool:
        """Whether every process but those of the shim is stopped."""
        found = [pid for pid in self.below() if "shim.py" not in procfs.command(pid)]
        return all(stat is None or stat.state == "T" for stat in map(procfs.stat, found))

    def alive(self, *, apart_from: tuple[int, ...] = ()) -> list[str]:
        """The living below this process, with their command lines."""
        found = [f"{pid} {procfs.command(pid)}" for pid in self.below() if pid not in apart_from]
        return found + ["0 the chain"] * self.chained()

    def chained(self) -> bool:
        """Whether the chain goes on."""
        poller = select.poll()
        poller.register(self._life, select.POLLIN)
        return not any(event & select.POLLHUP for _, event in poller.poll(0))

    def survivors(self, *, apart_from: tuple[int, ...] = (), within_seconds: float = 5.0) -> list[str]:
        """What lives after so long; returns early when nothing was seen for a while."""
        until, quiet_since = time.monotonic() + within_seconds, time.monotonic()
        while True:
            found, now = self.alive(apart_from=apart_from), time.monotonic()
            if found:
                quiet_since = now
            if now - quiet_since > QUIET_SECONDS or now > until:
                return found
            time.sleep(0.005)

    def close(self) -> None:
        """Kill what a failed test left, faster than the chain can fork."""
        until = time.monotonic() + 10
        while (self.below() or (self._started and self.chained())) and time.monotonic() < until:
            for pid in [*set(procfs.children(os.getpid())) - self._others, *self.below()]:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            with suppress(ChildProcessError):
                while os.waitpid(-1, os.WNOHANG)[0]:
                    continue
        os.close(self._told)
        os.close(self._life)


@pytest.fixture
def arena(tmp_path: Path) -> Iterator[Arena]:
    prctl: Callable[..., int] = ctypes.CDLL(None).prctl
    prctl(hostile_tree.SUBREAPER, 1, 0, 0, 0)
    arena = Arena(tmp_path)
    yield arena
    arena.close()
    prctl(hostile_tree.SUBREAPER, 0, 0, 0, 0)


@pytest.mark.parametrize("isolation", WAYS)
def test_a_normal_end_leaves_nothing(arena: Arena, isolation: Isolation) -> None:
    with arena.shim(isolation) as shim:
        arena.let_agent_end()
        end = shim.wait(10)
        assert arena.alive() == []
    assert (end.reason, end.exit_code, end.signal, end.isolation) == (ShimReason.EXIT, 0, None, isolation)
    assert end.killed >= 12


@pytest.mark.parametrize("isolation", WAYS)
def test_an_order_to_kill_leaves_nothing(arena: Arena, isolation: Isolation) -> None:
    with arena.shim(isolation) as shim:
        ordered = time.monotonic()
        shim.kill(0.4)
        end = shim.wait(10)
        took = time.monotonic() - ordered
        assert arena.alive() == []
    assert (end.reason, end.exit_code, end.signal) == (ShimReason.KILLED, None, signal.SIGTERM)
    assert took < 1.4


@pytest.mark.parametrize("isolation", WAYS)
def test_a_frozen_tree_can_be_killed_and_thawed(arena: Arena, isolation: Isolation) -> None:
    with arena.shim(isolation) as shim:
        shim.freeze()
        until(arena.stands_still, "the order to reach every process")
        arena.let_agent_end()
        with pytest.raises(TimeoutError):
            shim.wait(0.3)
        shim.thaw()
        assert shim.wait(10).reason is ShimReason.EXIT
    assert arena.survivors() == []


@pytest.mark.parametrize("isolation", WAYS)
def test_letting_go_leaves_nothing(arena: Arena, isolation: Isolation) -> None:
    shim = arena.shim(isolation)
    shim.close()
    assert arena.survivors() == []


@pytest.mark.parametrize("isolation", WAYS)
def test_a_killed_worker_leaves_nothing(arena: Arena, isolation: Isolation) -> None:
    worker, _ = arena.worker(isolation)
    os.kill(worker, signal.SIGKILL)
    assert arena.survivors() == []


@pytest.mark.parametrize("isolation", WAYS)
def test_a_copy_of_the_pipe_in_another_process_keeps_nothing_alive(arena: Arena, isolation: Isolation) -> None:
    read, write = os.pipe()
    worker = os.fork()
    if worker == 0:
        deadline = boot_seconds() + 60
        shim = ShimProcess(arena.launch, attempt_id="a-1", deadline=deadline, isolation=isolation)
        sibling = os.fork()  # has the control pipe's end, and never closes it
        if sibling == 0:
            signal.pause()
        os.write(write, f"{sibling} {shim.pid}".encode())
        while True:
            signal.pause()
    arena.await_tree()
    sibling = int(os.read(read, 64).split()[0])
    os.kill(worker, signal.SIGKILL)
    assert arena.survivors(apart_from=(sibling,)) == []


@pytest.mark.parametrize("isolation", WAYS)
def test_a_stopped_worker_loses_the_tree_at_the_leases_end(arena: Arena, isolation: Isolation) -> None:
    worker, _ = arena.worker(isolation, seconds=3.0)
    os.kill(worker, signal.SIGSTOP)
    assert len(arena.alive()) >= 12
    assert arena.survivors(apart_from=(worker,)) == []


@pytest.mark.parametrize("isolation", WAYS)
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_shim_that_is_told_to_stop_leaves_nothing(
    arena: Arena, isolation: Isolation, number: signal.Signals
) -> None:
    shim = ShimProcess(arena.launch, attempt_id="a-1", deadline=None, grace_seconds=0.1, isolation=isolation)
    with shim:
        arena.await_tree()
        os.kill(shim.pid, number)
        assert shim.wait(10).reason is ShimReason.SIGNAL
    assert arena.survivors() == []


@pytest.mark.parametrize("isolation", WAYS)
def test_a_killed_guard_leaves_nothing(arena: Arena, isolation: Isolation) -> None:
    with arena.shim(isolation) as shim:
        os.kill(shim.pid, signal.SIGKILL)
        assert arena.survivors() == []
        assert shim.wait(5).reason in (ShimReason.LOST, ShimReason.ORPHANED)


@pytest.mark.parametrize("isolation", WAYS)
def test_a_killed_keeper_leaves_nothing(arena: Arena, isolation: Isolation) -> None:
    with arena.shim(isolation) as shim:
        os.kill(keeper_of(shim.pid), signal.SIGKILL)
        assert shim.wait(5).reason is ShimReason.LOST
        assert arena.survivors() == []


@pytest.mark.parametrize("isolation", FENCED)
def test_worker_and_both_halves_of_the_shim_killed_at_once(arena: Arena, isolation: Isolation) -> None:
    worker, guard = arena.worker(isolation)
    for pid in (keeper_of(guard), guard, worker):
        os.kill(pid, signal.SIGKILL)
    assert arena.survivors() == []


def test_without_a_namespace_the_same_is_a_hole_that_the_sweep_closes(arena: Arena) -> None:
    worker, guard = arena.worker(Isolation.NONE)
    keeper = keeper_of(guard)
    for pid in (keeper, guard, worker):  # stopped first, or one would see the other's end
        os.kill(pid, signal.SIGSTOP)
    for pid in (keeper, guard, worker):
        os.kill(pid, signal.SIGKILL)
    left = arena.survivors(within_seconds=1.0)
    assert len(left) >= 8, "the known hole is gone: say so in the documentation"
    assert sweep(live_attempts={"a-1"}, visible=arena.below) == []
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # reap orphans at once, as the machine's init does
    swept = sweep(live_attempts=(), visible=arena.below)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    assert arena.survivors() == []
    assert len(swept) >= 8
    assert {leftover.attempt_id for leftover in swept} <= {"a-1", ""}


def test_the_sweep_touches_nothing_of_a_living_worker(arena: Arena) -> None:
    with arena.shim(Isolation.NONE) as shim:
        before = len(arena.alive())
        for _ in range(20):  # while processes are born, replace themselves and die
            assert find_leftovers((), arena.below) == []
        assert sweep(live_attempts=(), visible=arena.below) == []
        assert len(arena.alive()) >= before - 1  # the chain may be between two of its processes
        shim.kill(0)
        shim.wait(5)


def keeper_of(guard: int) -> int:
    """The guard's only child."""
    (keeper,) = [pid for pid in procfs.pids() if (stat := procfs.stat(pid)) and stat.parent == guard]
    return keeper
