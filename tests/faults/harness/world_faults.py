"""Faults of what everything stands on: the database, a machine's disk, clock and network, and all of it at once."""

import random
import sqlite3
from contextlib import suppress

from tests.faults.harness.arena import Arena
from tests.faults.harness.process_faults import LONG_SECONDS, SHORT_SECONDS, Lasting, NoTarget, freeze
from tests.support.processes import descendants, kill

_HOUR_SECONDS = 3600
# Long enough for so many broken jobs that the machine is stopped.
_FULL_SECONDS = (4.0, 10.0)


# -- SQLite --


def _hold_write_lock(arena: Arena, seconds: float) -> Lasting:
    with suppress(sqlite3.OperationalError):
        held = sqlite3.connect(arena.database_file, timeout=5, isolation_level=None, check_same_thread=False)
        held.execute("BEGIN IMMEDIATE")
        return Lasting(seconds, held.close)
    raise NoTarget


def hold_write_lock_short(arena: Arena, rng: random.Random) -> Lasting:
    """Another program writes to SQLite and takes its time: less than a lease."""
    return _hold_write_lock(arena, rng.uniform(*SHORT_SECONDS))


def hold_write_lock_long(arena: Arena, rng: random.Random) -> Lasting:
    """The same for longer than a lease."""
    return _hold_write_lock(arena, rng.uniform(*LONG_SECONDS))


# -- PostgreSQL --


def _postgres(arena: Arena) -> list[int]:
    assert arena.server is not None  # only offered on PostgreSQL
    first = int((arena.server.folder / "data" / "postmaster.pid").read_text().split()[0])
    return [first, *descendants(first)]


def _kill_postgres(arena: Arena, seconds: float) -> Lasting:
    server = arena.server
    assert server is not None
    for pid in _postgres(arena):
        kill(pid)
    server.crash()
    return Lasting(seconds, server.start)


def kill_postgres(arena: Arena, rng: random.Random) -> Lasting:
    """SIGKILL of every process of the server, which is started again at once."""
    return _kill_postgres(arena, 0.0)


def stop_postgres_short(arena: Arena, rng: random.Random) -> Lasting:
    """Away for less than ttl - margin: nobody has to be ended."""
    return _kill_postgres(arena, rng.uniform(*SHORT_SECONDS))


def stop_postgres_long(arena: Arena, rng: random.Random) -> Lasting:
    """Away for longer: every running attempt ends, by its own clock."""
    return _kill_postgres(arena, rng.uniform(*LONG_SECONDS))


def freeze_postgres_short(arena: Arena, rng: random.Random) -> Lasting:
    """It holds its connections and answers nothing, for less than a lease."""
    return freeze(_postgres(arena), rng.uniform(*SHORT_SECONDS))


def freeze_postgres_long(arena: Arena, rng: random.Random) -> Lasting:
    """The same for longer than a lease."""
    return freeze(_postgres(arena), rng.uniform(*LONG_SECONDS))


# -- a machine --


def _cut(arena: Arena, seconds: float) -> Lasting:
    cable = arena.other.cable
    assert cable is not None  # only offered where there is one
    if arena.other.away:
        raise NoTarget
    cable.cut()
    return Lasting(seconds, cable.join)


def cut_network_short(arena: Arena, rng: random.Random) -> Lasting:
    """The second machine's cable is pulled for less than the lease."""
    return _cut(arena, rng.uniform(*SHORT_SECONDS))


def cut_network_long(arena: Arena, rng: random.Random) -> Lasting:
    """The same for longer: it ends its trees, others run its jobs, and its late results are refused."""
    return _cut(arena, rng.uniform(*LONG_SECONDS))


def fill_disk(arena: Arena, rng: random.Random) -> Lasting:
    """A machine's disk is full to the last byte: the worker waits for room, or breaks every job that it takes."""
    disk = arena.disk if arena.other.away else rng.choice((arena.disk, arena.other.disk))
    assert disk is not None  # only offered where there is one
    disk.fill()
    return Lasting(rng.uniform(*_FULL_SECONDS), disk.empty)


def jump_clock(arena: Arena, rng: random.Random) -> Lasting:
    """Somebody sets the wall clock of one machine or of both by an hour, forth or back, and later right again."""
    clocks = rng.choice(([arena.clock], [arena.other.clock], [arena.clock, arena.other.clock]))
    ahead = rng.choice((_HOUR_SECONDS, -_HOUR_SECONDS))
    for clock in clocks:
        clock.set_ahead(ahead)

    def right() -> None:
        for clock in clocks:
            clock.set_ahead(0)

    return Lasting(rng.uniform(0.3, LONG_SECONDS[1]), right)


def kill_everything(arena: Arena, rng: random.Random) -> None:
    """Both machines' processes, the broker, and a PostgreSQL server in one instant; then the same again."""
    family = [*arena.site.family(), *arena.other.family()]
    if arena.server is not None:
        family += _postgres(arena)
    for pid in rng.sample(family, len(family)):
        kill(pid)
    if arena.server is not None:
        arena.server.crash()
        arena.server.start()
    arena.site.killed()
    arena.site.begin()
