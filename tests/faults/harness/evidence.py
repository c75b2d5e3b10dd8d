"""What is left of a run: rows of its database, its agents' own log, and the process table."""

import os
import time
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

import sqlalchemy as sa

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


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """Everything that the oracle judges by."""

    lives: Sequence[Life]
    jobs: Sequence[Work]
    attempts: Sequence[Tried]
    expected_jobs: int
    capacities: Mapping[str, int]
    results: Collection[str] = ()  # attempts with artifacts or checks
    staged: Collection[str] = ()  # attempts with stages
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
    found: dict[tuple[str, str], list[float]] = {}
    for line in log.read_text().splitlines() if log.exists() else []:
        _, attempt, moment, session = line.split()
        found.setdefault((attempt, session), []).append(float(moment))
    return [Life(*key, min(moments), max(moments)) for key, moments in found.items()]


def ends(connection: sa.Connection) -> set[Seen]:
    """The attempts that have ended by now."""
    kept = (attempts.c.id, attempts.c.outcome, attempts.c.wall_seconds, attempts.c.final_sha)
    return {Seen(*row) for row in connection.execute(sa.select(*kept).where(attempts.c.state == "ended"))}


def _boot(moment: datetime | None) -> float | None:
    return None if moment is None else moment.astimezone(UTC).timestamp() - boot_offset()


def rows(database: Database) -> tuple[list[Work], list[Tried], list[str]]:
    """Jobs, attempts and held slots."""
    with database.read() as connection:
        works = connection.execute(
            sa.select(jobs.c.id, jobs.c.state, jobs.c.outcome, jobs.c.fence, jobs.c.needs).order_by(jobs.c.id)
        )
        tries = connection.execute(sa.select(attempts).order_by(attempts.c.job_id, attempts.c.number))
        held = connection.execute(sa.select(leases).where(leases.c.attempt_id.is_not(None)))
        return (
            [Work(*row) for row in works],
            [
                Tried(
                    row.id,
                    row.job_id,
                    row.number,
                    row.fence,
                    row.state,
                    row.outcome,
                    _boot(row.ended_at),
                    row.final_sha,
                    row.wall_seconds,
                )
                for row in tries
            ],
            [f"{row.resource}/{row.slot} by {row.attempt_id}" for row in held],
        )


def with_results(database: Database) -> tuple[set[str], set[str]]:
    """Attempts that left artifacts or checks, and attempts that left stages."""
    with database.read() as connection:
        kept = {*connection.execute(sa.select(artifacts.c.attempt_id)).scalars()}
        kept |= {*connection.execute(sa.select(checks.c.attempt_id)).scalars()}
        return kept, {*connection.execute(sa.select(stages.c.attempt_id)).scalars()}


def checked(database: Database) -> list[Checked]:
    """Every check on record."""
    with database.read() as connection:
        return [
            Checked(*row)
            for row in connection.execute(sa.select(checks.c.attempt_id, checks.c.kind, checks.c.status))
        ]


def patches(database: Database, store: Path) -> dict[str, str]:
    """The stored patch of every attempt that has one."""
    query = sa.select(artifacts.c.attempt_id, artifacts.c.sha256).where(artifacts.c.name == "changes.patch")
    with database.read() as connection:
        found = connection.execute(query).all()
    kept = ArtifactStore(store)
    return {row.attempt_id: kept.read(row.sha256).decode() for row in found}


def survivors(home: Path, attempt_ids: Collection[str]) -> dict[int, str]:
    """Living processes of these attempts, and of the run that had this home."""
    found = marked(attempt_ids)
    wanted = f"BAKEOFF_HOME={home}".encode()
    for folder in Path("/proc").iterdir():
        if folder.name.isdecimal() and int(folder.name) != os.getpid():
            with suppress(OSError):
                if wanted in (folder / "environ").read_bytes().split(b"\0") and alive(int(folder.name)):
                    found[int(folder.name)] = command(int(folder.name))
    return found
