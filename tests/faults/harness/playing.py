"""A round in a process of its own, which plays many."""

import atexit
import tempfile
from pathlib import Path
from typing import NamedTuple

from tests.faults.harness.faults import World
from tests.faults.harness.rounds import Report, Round
from tests.support.postgres import PostgresServer


class Plan(NamedTuple):
    """One round to be played."""

    seed: str
    number: int
    world: World
    faults: int
    only: frozenset[str] | None


# One for all rounds of this process; it ends with the process.
_SERVERS: list[PostgresServer] = []


def play(plan: Plan) -> Report:
    """Play it."""
    server = None
    if plan.world.postgres:
        if not _SERVERS:
            _SERVERS.append(PostgresServer())
            atexit.register(_SERVERS[0].stop)
        server = _SERVERS[0]
    with tempfile.TemporaryDirectory(prefix="bakeoff-faults-", ignore_cleanup_errors=True) as folder:
        seed = f"{plan.seed}:{plan.number}:{plan.world}"
        return Round(Path(folder), seed, plan.world, server, plan.faults, only=plan.only).play()
