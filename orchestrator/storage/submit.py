"""Storing an experiment: only what is not there yet, so that submitting again extends a matrix."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any, NamedTuple

import sqlalchemy as sa

from orchestrator.domain.errors import Conflict
from orchestrator.domain.fleet import Fleet
from orchestrator.domain.states import JobState
from orchestrator.storage.bulk import insert_many, insert_new, refresh_statistics
from orchestrator.storage.campaigns import WAITS, release
from orchestrator.storage.engine import Database, one_at_a_time
from orchestrator.storage.estimates import NewEstimates, insert_estimates
from orchestrator.storage.marks import mark_new
from orchestrator.storage.notices import expect_end, store_channels
from orchestrator.storage.quota import store_windows
from orchestrator.storage.races import end_raced_out
from orchestrator.storage.tables import accounts, cells, experiments, hidden_files, jobs, pools, targets

# So many new jobs change how their table is best read.
_MANY = 1000


@dataclass(frozen=True, kw_only=True)
class NewTarget:
    """A pinned target."""

    label: str
    sha: str
    content_hash: str
    spec: Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class NewPack:
    """Hidden files of a check, by their hash."""

    sha256: str
    size_bytes: int
    content: bytes


@dataclass(frozen=True, kw_only=True)
class NewCell:
    """A cell and the target it belongs to (by content hash)."""

    target_hash: str
    profile: str
    key: str
    cell_hash: str
    profile_hash: str
    params: Mapping[str, Any]
    spec: Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class NewJob:
    """A repeat of a cell (by hash) at its place in the order."""

    cell_hash: str
    repeat: int
    position: int
    needs: str
    queue: str
    priority: int = 0
    second_part: bool = False  # of a campaign: it waits until the first part has ended


class Existing(NamedTuple):
    """A job that an earlier submit stored."""

    job_id: int
    cell_hash: str
    repeat: int
    state: JobState
    position: int
    priority: int = 0


def existing_jobs(database: Database, experiment: str) -> list[Existing]:
    """What is stored of an experiment; empty for a new name."""
    query = (
        sa.select(jobs.c.id, cells.c.cell_hash, jobs.c.repeat, jobs.c.state, jobs.c.position, jobs.c.priority)
        .join(cells, cells.c.id == jobs.c.cell_id)
        .join(experiments, experiments.c.id == jobs.c.experiment_id)
        .where(experiments.c.name == experiment)
    )
    with database.read() as connection:
        return [
            Existing(row[0], row[1], row[2], JobState(row[3]), row[4], row[5]) for row in connection.execute(query)
        ]


def store_fleet(database: Database, fleet: Fleet) -> None:
    """Accounts and pools as the newest fleet file says; what their breakers say stays."""
    with database.write() as connection:
        one_at_a_time(connection, "fleet")
        for table, rows in (
            (
                accounts,
                {
                    name: a.model_dump(include={"base_url", "protocol", "concurrency"})
                    for name, a in fleet.accounts.items()
                },
            ),
            (
                pools,
                {
                    name: p.model_dump(include={"base_url", "protocol", "key", "slots"})
                    for name, p in fleet.pools.items()
                },
            ),
        ):
            known = set(connection.execute(sa.select(table.c.name)).scalars())
            for name, values in rows.items():
                if name in known:
                    connection.execute(table.update().where(table.c.name == name).values(**values))
                else:
                    connection.execute(table.insert().values(name=name, **values))
        store_windows(connection, fleet)
        if fleet.notify is not None:
            store_channels(connection, fleet.notify)


def store_experiment(
    database: Database,
    *,
    name: str,
    file_text: str,
    spec: Mapping[str, Any],
    seed: int,
    new_targets: Sequence[NewTarget],
    new_cells: Sequence[NewCell],
    new_jobs: Sequence[NewJob],
    now: datetime,
    new_packs: Sequence[NewPack] = (),
    new_estimates: Sequence[NewEstimates] = (),
) -> int:
    """Insert what is missing in one transaction; returns the number of jobs added. Safe to repeat."""
    with database.write() as connection:
        one_at_a_time(connection, f"experiment {name}")
        experiment_id = _upsert_experiment(connection, name, file_text, spec, seed, now)
        _insert_packs(connection, new_packs)
        target_ids = _insert_targets(connection, experiment_id, new_targets)
        cell_ids = _insert_cells(connection, experiment_id, target_ids, new_cells)
        have = _stored_repeats(connection, experiment_id)
        rows = (
            {
                "experiment_id": experiment_id,
                "cell_id": cell_ids[job.cell_hash],
                "repeat": job.repeat,
                "state": (JobState.BLOCKED if job.second_part else JobState.READY).value,
                "waiting_reason": WAITS if job.second_part else None,
                "priority": job.priority,
                "position": job.position,
                "needs": job.needs,
                "queue": job.queue,
                "created_at": now,
            }
            for job in new_jobs
            if (cell_ids[job.cell_hash], job.repeat) not in have
        )
        added = insert_many(connection, jobs, rows)
        end_raced_out(connection, experiment_id, now)
        release(connection, experiment_id, (spec.get("then") or {}).get("profiles", ()))
        insert_estimates(connection, new_estimates, cell_ids, now)
        mark_new(connection, name)
        if added:
            expect_end(connection, name, now)
    if added >= _MANY:
        refresh_statistics(database, jobs)
    return added


def _upsert_experiment(
    connection: sa.Connection, name: str, file_text: str, spec: Mapping[str, Any], seed: int, now: datetime
) -> int:
    values = {"file_text": file_text, "spec": dict(spec), "seed": seed, "submitted_at": now}
    query = sa.select(experiments.c.id, experiments.c.spec).where(experiments.c.name == name)
    found = connection.execute(query).one_or_none()
    if found is not None:
        if "imported" in found.spec:
            raise Conflict(f"the experiment {name!r} was imported: give the one that is to run another name")
        connection.execute(experiments.update().where(experiments.c.id == found.id).values(**values))
        return int(found.id)
    insert = experiments.insert().values(name=name, created_at=now, **values).returning(experiments.c.id)
    return int(connection.execute(insert).scalar_one())


def _insert_packs(connection: sa.Connection, new: Sequence[NewPack]) -> None:
    if new:  # experiments may share packs, and two may be submitted at once
        insert_new(connection, hidden_files, [asdict(one) for one in new])


def _insert_targets(connection: sa.Connection, experiment_id: int, new: Sequence[NewTarget]) -> dict[str, int]:
    query = sa.select(targets.c.content_hash, targets.c.id).where(targets.c.experiment_id == experiment_id)
    known = {row[0] for row in connection.execute(query)}
    rows = (
        {
            "experiment_id": experiment_id,
            "label": target.label,
            "sha": target.sha,
            "content_hash": target.content_hash,
            "spec": dict(target.spec),
        }
        for target in new
        if target.content_hash not in known
    )
    insert_many(connection, targets, rows)
    return {row[0]: row[1] for row in connection.execute(query)}


def _insert_cells(
    connection: sa.Connection, experiment_id: int, target_ids: Mapping[str, int], new: Sequence[NewCell]
) -> dict[str, int]:
    query = sa.select(cells.c.cell_hash, cells.c.id).where(cells.c.experiment_id == experiment_id)
    known = {row[0] for row in connection.execute(query)}
    rows = (
        {
            "experiment_id": experiment_id,
            "target_id": target_ids[cell.target_hash],
            "profile": cell.profile,
            "key": cell.key,
            "cell_hash": cell.cell_hash,
            "profile_hash": cell.profile_hash,
            "params": dict(cell.params),
            "spec": dict(cell.spec),
        }
        for cell in new
        if cell.cell_hash not in known
    )
    insert_many(connection, cells, rows)
    return {row[0]: row[1] for row in connection.execute(query)}


def _stored_repeats(connection: sa.Connection, experiment_id: int) -> set[tuple[int, int]]:
    query = sa.select(jobs.c.cell_id, jobs.c.repeat).where(jobs.c.experiment_id == experiment_id)
    return {(row[0], row[1]) for row in connection.execute(query)}
