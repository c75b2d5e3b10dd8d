"""What is left of a run: rows of its database, its agents' own log, and the process table."""

import math
import os
import time
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import sqlalchemy as sa

from orchestrator.domain.errors import NotFound
from orchestrator.storage.artifacts import ArtifactStore
from orchestrator.storage.engine import Database
from orchestrator.storage.tables import artifacts, attempts, checks, jobs, leases, stages
from tests.support.processes import alive, command, marked


class Life(NamedTuple):
    """One agent process and its grandchild, from first to last sign, in seconds of boot time."""

    attempt: str
    session: str
    start: float
    last: float
    tree: str = ""


class Tried(NamedTuple):
    """An attempt's row. `ended` is boot time."""

    id: str
    job_id: int
    number: int
    fence: int
    state: str
    outcome: str | None
    ended: float | None
    final_sha: str | None
    wall_seconds: float | None
    # The attempt whose tree it took up, and the last stage there that it built on.
    resumed_from: str | None = None
    resumed_stages: int | None = None
    run_dir: str | None = None
    machine: str = ""


class Work(NamedTuple):
    """A job's row."""

    id: int
    state: str
    outcome: str | None
    fence: int
    needs: str


class Seen(NamedTuple):
    """An end as somebody read it while the run was going on."""

    attempt: str
    outcome: str
    wall_seconds: float | None
    final_sha: str | None


class Checked(NamedTuple):
    """A check's row."""

    attempt: str
    kind: str
    status: str
    reason: str | None = None


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """Everything that the oracle judges by."""

    lives: Sequence[Life]
    jobs: Sequence[Work]
    attempts: Sequence[Tried]
    expected_jobs: int
    capacities: Mapping[str, int]
    results: Collection[str] = ()  # attempts with artifacts or checks
    staged: Mapping[str, Sequence[int]] = field(default_factory=dict)  # ordinals of the stages of each attempt
    checked: Collection[Checked] = ()
    patches: Mapping[str, str] = field(default_factory=dict)
    held: Sequence[str] = ()
    seen: Collection[Seen] = ()
    survivors: Mapping[int, str] = field(default_factory=dict)


def boot_offset() -> float:
    """Wall clock minus boot clock."""
    return time.time() - time.clock_gettime(time.CLOCK_BOOTTIME)


def lives(log: Path) -> list[Life]:
    """Every life in the agents' log."""
    found: dict[tuple[str, str, str], list[float]] = {}
    for line in log.read_text().splitlines() if log.exists() else []:
        _, attempt, moment, session, tree = line.split(maxsplit=4)
        found.setdefault((attempt, session, tree), []).append(float(moment))
    return [Life(name, life, min(moments), max(moments), tree) for (name, life, tree), moments in found.items()]


def ends(connection: sa.Connection) -> set[Seen]:
    """The attempts that have ended by now."""
    kept = (attempts.c.id, attempts.c.outcome, attempts.c.wall_seconds, attempts.c.final_sha)
    return {Seen(*row) for row in connection.execute(sa.select(*kept).where(attempts.c.state == "ended"))}


def _boot(moment: datetime | None) -> float | None:
    return None if moment is None else moment.astimezone(UTC).timestamp() - boot_offset()


def rows(database: Database, seen_at: Mapping[str, float] | None = None) -> tuple[list[Work], list[Tried], list[str]]:
    """Jobs, attempts and held slots. `seen_at`: when ends were seen, where the clock that wrote the rows was set."""
    with database.read() as connection:
        works = connection.execute(
            sa.select(jobs.c.id, jobs.c.state, jobs.c.outcome, jobs.c.fence, jobs.c.needs).order_by(jobs.c.id)
        )
        tries = connection.execute(sa.select(attempts).order_by(attempts.c.job_id, attempts.c.number)).all()
        held = connection.execute(sa.select(leases).where(leases.c.attempt_id.is_not(None)))
        kept = [name for name in Tried._fields if name != "ended"]
        return (
            [Work(*row) for row in works],
            [Tried(ended=_ended(row, seen_at), **{name: row._mapping[name] for name in kept}) for row in tries],
            [f"{row.resource}/{row.slot} by {row.attempt_id}" for row in held],
        )


def _ended(row: Any, seen_at: Mapping[str, float] | None) -> float | None:
    if seen_at is None or row.ended_at is None:
        return _boot(row.ended_at)
    # An end that nobody has seen came after the last look: nothing that lived before can be held against it.
    return seen_at.get(row.id, math.inf)


def with_results(database: Database) -> set[str]:
    """Attempts that left artifacts or checks."""
    with database.read() as connection:
        kept = {*connection.execute(sa.select(artifacts.c.attempt_id)).scalars()}
        return kept | {*connection.execute(sa.select(checks.c.attempt_id)).scalars()}


def staged(database: Database) -> dict[str, list[int]]:
    """The ordinals of the stages of every attempt that has any."""
    found: dict[str, list[int]] = {}
    with database.read() as connection:
        query = sa.select(stages.c.attempt_id, stages.c.ordinal).order_by(stages.c.attempt_id, stages.c.ordinal)
        for row in connection.execute(query):
            found.setdefault(row.attempt_id, []).append(row.ordinal)
    return found


def checked(database: Database) -> list[Checked]:
    """Every check on record."""
    with database.read() as connection:
        return [
            Checked(*row)
            for row in connection.execute(
                sa.select(checks.c.attempt_id, checks.c.kind, checks.c.status, checks.c.reason)
            )
        ]


def patches(database: Database, stores: Sequence[Path]) -> dict[str, str]:
    """The stored patch of every attempt that has one, from the store of the machine that has it."""
    query = sa.select(artifacts.c.attempt_id, artifacts.c.sha256).where(artifacts.c.name == "changes.patch")
    with database.read() as connection:
        found = connection.execute(query).all()
    kept = {}
    for row in found:
        for store in map(ArtifactStore, stores):
            with suppress(NotFound):
                kept[row.attempt_id] = store.read(row.sha256).decode()
    return kept


def survivors(homes: Collection[Path], attempt_ids: Collection[str]) -> dict[int, str]:
    """Living processes of these attempts, and of whatever had one of these homes."""
    found = marked(attempt_ids)
    wanted = {f"BAKEOFF_HOME={home}".encode() for home in homes}
    for folder in Path("/proc").iterdir():
        if folder.name.isdecimal() and int(folder.name) != os.getpid():
            with suppress(OSError):
                if wanted.intersection((folder / "environ").read_bytes().split(b"\0")) and alive(int(folder.name)):
                    found[int(folder.name)] = command(int(folder.name))
    return found
