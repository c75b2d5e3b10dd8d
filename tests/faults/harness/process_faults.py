"""Faults of our own processes: killed, frozen, asked to stop, on both machines."""

import random
import signal
import time
from collections.abc import Callable
from typing import NamedTuple

from tests.faults.harness.arena import Arena
from tests.support.processes import descendants, kill, send

# The lease of the arena is 3 s; its holder gives up after 2.3 s.
SHORT_SECONDS = (0.3, 1.8)
LONG_SECONDS = (3.5, 6.0)
# A scheduler that stands by waits for 4 s of silence.
_TAKEOVER_SECONDS = (5.0, 7.0)


class NoTarget(Exception):
    """There is nothing now to which this could be done."""


class Lasting(NamedTuple):
    """A fault that goes on until `undo` is called after `seconds`."""

    seconds: float
    undo: Callable[[], None]


Fault = Callable[[Arena, random.Random], Lasting | None]


def one_of(found: list[int], rng: random.Random) -> int:
    """One of these processes. Raises NoTarget."""
    if not found:
        raise NoTarget
    return rng.choice(sorted(found))


def freeze(pids: list[int], seconds: float) -> Lasting:
    """SIGSTOP now and SIGCONT later. Raises NoTarget."""
    if not pids:
        raise NoTarget
    for pid in pids:
        send(pid, signal.SIGSTOP)

    def thaw() -> None:
        for pid in pids:
            send(pid, signal.SIGCONT)

    return Lasting(seconds, thaw)


def kill_worker(arena: Arena, rng: random.Random) -> None:
    """The worker, and the gateway in it; its shims must end what it owned."""
    kill(one_of(arena.every_worker(), rng))


def kill_guard(arena: Arena, rng: random.Random) -> None:
    """The outer shim, the worker's child."""
    kill(one_of(arena.guards(), rng))


def kill_keeper(arena: Arena, rng: random.Random) -> None:
    """The inner shim, the agent's parent."""
    kill(one_of(arena.keepers(), rng))


def kill_agent(arena: Arena, rng: random.Random) -> None:
    """The agent itself."""
    kill(one_of(arena.agents(), rng))


def kill_worker_and_shims(arena: Arena, rng: random.Random) -> None:
    """A worker and everything that could clean up behind it, in one instant."""
    worker = one_of(arena.every_worker(), rng)
    family = [pid for pid, line in descendants(worker).items() if "shim.py" in line]
    for pid in (worker, *family):
        kill(pid)


def kill_run(arena: Arena, rng: random.Random) -> None:
    """`bakeoff run` itself, which is the scheduler and ends its children with it; then the same command again."""
    kill(one_of(arena.site.schedulers(), rng))
    arena.site.killed()
    time.sleep(rng.uniform(0, 0.5))
    arena.site.begin()


def interrupt_everything(arena: Arena, rng: random.Random) -> None:
    """Ctrl-C, or TERM to every service; then the same again."""
    arena.site.interrupt(arena.meanwhile)
    arena.site.begin()


def freeze_worker_short(arena: Arena, rng: random.Random) -> Lasting:
    """For less than its lease."""
    return freeze([one_of(arena.every_worker(), rng)], rng.uniform(*SHORT_SECONDS))


def freeze_worker_long(arena: Arena, rng: random.Random) -> Lasting:
    """For longer than its lease; when it wakes, its results are stale."""
    return freeze([one_of(arena.every_worker(), rng)], rng.uniform(*LONG_SECONDS))


def freeze_guard(arena: Arena, rng: random.Random) -> Lasting:
    """The outer shim, so that renewals and orders do not arrive."""
    return freeze([one_of(arena.guards(), rng)], rng.uniform(*LONG_SECONDS))


def freeze_run(arena: Arena, rng: random.Random) -> Lasting:
    """The scheduler, which must not take its own sleep for the workers' silence."""
    return freeze(arena.site.schedulers(), rng.uniform(*LONG_SECONDS))


# -- a fleet's schedulers --


def kill_leader(arena: Arena, rng: random.Random) -> None:
    """The scheduler that acts; the other one takes over."""
    kill(one_of(arena.site.schedulers()[:1], rng))


def kill_standby(arena: Arena, rng: random.Random) -> None:
    """The scheduler that stands by."""
    kill(one_of(arena.site.schedulers()[1:], rng))


def kill_schedulers(arena: Arena, rng: random.Random) -> None:
    """Both."""
    for pid in arena.site.schedulers():
        kill(pid)


def freeze_leader(arena: Arena, rng: random.Random) -> Lasting:
    """For longer than the other one waits; when it wakes, it leads no more."""
    return freeze(arena.site.schedulers()[:1], rng.uniform(*_TAKEOVER_SECONDS))
