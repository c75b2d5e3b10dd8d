"""The faults, each a function that does it to an arena now. To add one: write it here and name it in `FAULTS`."""

import random
import signal
import sqlite3
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import NamedTuple

import redis
from kombu.exceptions import OperationalError

from orchestrator.broker import publish
from orchestrator.domain.errors import StorageError
from orchestrator.embedded import running_broker_url
from orchestrator.storage.dispatch import Hint, open_hints
from tests.faults.harness.arena import Arena
from tests.support.lab import interrupt
from tests.support.processes import descendants, kill, send

# The lease of the arena is 3 s; its holder gives up after 2.3 s.
_SHORT_SECONDS = (0.3, 1.8)
_LONG_SECONDS = (3.5, 6.0)
_OUTAGE_SECONDS = (0.5, 5.0)
_STOP_SECONDS = 60.0
# A message that nothing in the database knows.
_FORGED = Hint(1, "0123456789abcdef", "gpu.box")


class NoTarget(Exception):
    """There is nothing now to which this could be done."""


class Lasting(NamedTuple):
    """A fault that goes on until `undo` is called after `seconds`."""

    seconds: float
    undo: Callable[[], None]


Fault = Callable[[Arena, random.Random], Lasting | None]


def _one(found: list[int], rng: random.Random) -> int:
    if not found:
        raise NoTarget
    return rng.choice(sorted(found))


def _freeze(pids: list[int], seconds: float) -> Lasting:
    if not pids:
        raise NoTarget
    for pid in pids:
        send(pid, signal.SIGSTOP)

    def thaw() -> None:
        for pid in pids:
            send(pid, signal.SIGCONT)

    return Lasting(seconds, thaw)


def _broker(arena: Arena) -> int:
    pid = arena.broker(arena.process)
    if pid is None:
        raise NoTarget
    return pid


# -- processes --


def kill_worker(arena: Arena, rng: random.Random) -> None:
    """The worker; its shims must end what it owned."""
    kill(_one(arena.every_worker(), rng))


def kill_guard(arena: Arena, rng: random.Random) -> None:
    """The outer shim."""
    kill(_one(arena.guards(), rng))


def kill_keeper(arena: Arena, rng: random.Random) -> None:
    """The inner shim, the agent's parent."""
    kill(_one(arena.keepers(), rng))


def kill_agent(arena: Arena, rng: random.Random) -> None:
    """The agent itself."""
    kill(_one(arena.agents(), rng))


def kill_worker_and_shims(arena: Arena, rng: random.Random) -> None:
    """A worker and everything that could clean up behind it, in one instant."""
    worker = _one(arena.every_worker(), rng)
    family = [pid for pid, line in descendants(worker).items() if "shim.py" in line]
    for pid in (worker, *family):
        kill(pid)


def kill_run(arena: Arena, rng: random.Random) -> None:
    """`bakeoff run` itself, which is also the scheduler; then the same command again."""
    arena.process.kill()
    arena.process.communicate()
    time.sleep(rng.uniform(0, 0.5))
    arena.again()


def kill_everything(arena: Arena, rng: random.Random) -> None:
    """The run and all below it in one instant; then the same command again."""
    family = [*descendants(arena.process.pid)]
    for pid in (arena.process.pid, *rng.sample(family, len(family))):
        kill(pid)
    arena.process.communicate()
    arena.again()


def interrupt_run(arena: Arena, rng: random.Random) -> None:
    """Ctrl-C; then the same command again."""
    interrupt(arena.process)
    deadline = time.monotonic() + _STOP_SECONDS
    while arena.process.poll() is None:
        assert time.monotonic() < deadline, f"bakeoff run has not heeded Ctrl-C for {_STOP_SECONDS:g} s"
        arena.meanwhile()
        time.sleep(0.05)
    arena.process.communicate()
    arena.again()


def freeze_worker_short(arena: Arena, rng: random.Random) -> Lasting:
    """For less than its lease."""
    return _freeze([_one(arena.every_worker(), rng)], rng.uniform(*_SHORT_SECONDS))


def freeze_worker_long(arena: Arena, rng: random.Random) -> Lasting:
    """For longer than its lease; when it wakes, its results are stale."""
    return _freeze([_one(arena.every_worker(), rng)], rng.uniform(*_LONG_SECONDS))


def freeze_guard(arena: Arena, rng: random.Random) -> Lasting:
    """The outer shim, so that renewals and orders do not arrive."""
    return _freeze([_one(arena.guards(), rng)], rng.uniform(*_LONG_SECONDS))


def freeze_run(arena: Arena, rng: random.Random) -> Lasting:
    """The scheduler, which must not take its own sleep for the workers' silence."""
    return _freeze([arena.process.pid], rng.uniform(*_LONG_SECONDS))


# -- the queue --


def kill_broker(arena: Arena, rng: random.Random) -> None:
    """The run starts another one, which knows nothing."""
    kill(_broker(arena))


def freeze_broker(arena: Arena, rng: random.Random) -> Lasting:
    """Connections stay open and nothing comes."""
    return _freeze([_broker(arena)], rng.uniform(*_OUTAGE_SECONDS))


def wipe_broker(arena: Arena, rng: random.Random) -> None:
    """FLUSHALL, under the feet of everybody."""
    url = running_broker_url(arena.home)
    if url is None:
        raise NoTarget
    try:
        with redis.Redis.from_url(url.partition("?")[0].replace("redis+socket", "unix")) as client:
            client.flushall()
    except (redis.RedisError, OSError):
        raise NoTarget from None


def duplicate_messages(arena: Arena, rng: random.Random) -> None:
    """Every open hint twice more, every hint of the past once more, and a forged one."""
    app, late = arena.celery(), arena.recorder.hints
    if app is None or not late:
        raise NoTarget
    try:
        with arena.database.read() as connection:
            late += open_hints(connection) * 2
        rng.shuffle(late)
        publish(app, [*late, _FORGED], {})
    except (StorageError, redis.RedisError, OperationalError, OSError):
        raise NoTarget from None


# -- the database --


def hold_write_lock(arena: Arena, rng: random.Random) -> Lasting:
    """Another program writes to SQLite and takes its time."""
    with suppress(sqlite3.OperationalError):
        held = sqlite3.connect(arena.database_file, timeout=5, isolation_level=None, check_same_thread=False)
        held.execute("BEGIN IMMEDIATE")
        return Lasting(rng.uniform(*_OUTAGE_SECONDS), held.close)
    raise NoTarget


def _postgres(arena: Arena) -> list[int]:
    assert arena.server is not None  # only offered on PostgreSQL
    first = int((arena.server.folder / "data" / "postmaster.pid").read_text().split()[0])
    return [first, *descendants(first)]


def kill_postgres(arena: Arena, rng: random.Random) -> Lasting:
    """Every process of the server in one instant, and nobody there for a while."""
    server = arena.server
    assert server is not None
    for pid in _postgres(arena):
        kill(pid)
    server.crash()
    return Lasting(rng.uniform(0, 4), server.start)


def freeze_postgres(arena: Arena, rng: random.Random) -> Lasting:
    """It holds its connections and answers nothing."""
    return _freeze(_postgres(arena), rng.uniform(*_OUTAGE_SECONDS))


_ANYWHERE: Mapping[str, Fault] = {
    fault.__name__: fault
    for fault in (
        kill_worker,
        kill_guard,
        kill_keeper,
        kill_agent,
        kill_worker_and_shims,
        kill_run,
        kill_everything,
        interrupt_run,
        freeze_worker_short,
        freeze_worker_long,
        freeze_guard,
        freeze_run,
        kill_broker,
        freeze_broker,
        wipe_broker,
        duplicate_messages,
    )
}
FAULTS: Mapping[str, Mapping[str, Fault]] = {
    "sqlite": {**_ANYWHERE, "hold_write_lock": hold_write_lock},
    "postgres": {**_ANYWHERE, "kill_postgres": kill_postgres, "freeze_postgres": freeze_postgres},
}
# While one of these lasts nobody can be asked to start a run.
DATABASE_FAULTS = frozenset({"hold_write_lock", "kill_postgres", "freeze_postgres"})
