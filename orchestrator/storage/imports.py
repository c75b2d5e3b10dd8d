"""Results that another program made: stored as an experiment of their own that nothing here ever runs."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple

import sqlalchemy as sa

from orchestrator.domain.errors import Conflict
from orchestrator.domain.outcome import Outcome
from orchestrator.domain.states import AttemptState, JobState
from orchestrator.storage.bulk import insert_many
from orchestrator.storage.engine import Database, one_at_a_time
from orchestrator.storage.tables import attempts, cells, events, experiments, jobs, stages, targets

# No worker serves it, and no job in it can be asked for another try.
IMPORTED_QUEUE = "imported"


@dataclass(frozen=True, kw_only=True)
class ImportedStage:
    """A stage as a row, and the original record of it."""

    values: Mapping[str, Any]
    record: Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class ImportedRun:
    """A run that ended elsewhere. `attempt_id` is made from its own name, so that it is stored once.

    `target` and `cell` are what is stored of them, by their hashes; `values` are columns of the attempt and
    `record` the original summary, None when there was none.
    """

    attempt_id: str
    target_hash: str
    target: Mapping[str, Any]
    cell_hash: str
    cell: Mapping[str, Any]
    state: JobState
    outcome: Outcome
    detail: str
    started_at: datetime
    ended_at: datetime
    values: Mapping[str, Any]
    record: Mapping[str, Any] | None
    stages: tuple[ImportedStage, ...]


class Stored(NamedTuple):
    """What an import added, and what was there already."""

    added: int
    known: int


def store_imported(
    database: Database, *, name: str, source: str, runs: Sequence[ImportedRun], now: datetime
) -> Stored:
    """Store the runs that are not there yet, in one transaction. Safe to repeat.

    Raises Conflict for the name of an experiment that is none of `source`'s.
    """
    with database.write() as connection:
        one_at_a_time(connection, f"experiment {name}")
        experiment_id = _experiment(connection, name, source, now)
        mine = sa.select(jobs.c.id).where(jobs.c.experiment_id == experiment_id)
        known = set(connection.execute(sa.select(attempts.c.id).where(attempts.c.job_id.in_(mine))).scalars())
        new = [run for run in runs if run.attempt_id not in known]
        for run in new:
            _store_run(connection, experiment_id, run)
    return Stored(len(new), len(runs) - len(new))


def _experiment(connection: sa.Connection, name: str, source: str, now: datetime) -> int:
    found = connection.execute(
        sa.select(experiments.c.id, experiments.c.spec).where(experiments.c.name == name)
    ).one_or_none()
    if found is None:
        values = {"name": name, "file_text": "", "spec": {"imported": source}, "seed": 0}
        insert = experiments.insert().values(created_at=now, submitted_at=now, **values)
        return int(connection.execute(insert.returning(experiments.c.id)).scalar_one())
    if found.spec.get("imported") != source:
        raise Conflict(f"there is an experiment {name!r} that was run here: --name gives the import another name")
    return int(found.id)


def _store_run(connection: sa.Connection, experiment_id: int, run: ImportedRun) -> None:
    target_id = _the_one(
        connection,
        targets,
        {"experiment_id": experiment_id, "content_hash": run.target_hash},
        run.target,
    )
    cell_id = _the_one(
        connection,
        cells,
        {"experiment_id": experiment_id, "cell_hash": run.cell_hash},
        {"target_id": target_id, **run.cell},
    )
    repeats = sa.select(sa.func.coalesce(sa.func.max(jobs.c.repeat), 0)).where(jobs.c.cell_id == cell_id)
    places = sa.select(sa.func.count()).where(jobs.c.experiment_id == experiment_id)
    job = {
        "experiment_id": experiment_id,
        "cell_id": cell_id,
        "repeat": connection.execute(repeats).scalar_one() + 1,
        "state": run.state,
        "position": connection.execute(places).scalar_one(),
        "needs": "",
        "queue": IMPORTED_QUEUE,
        "attempts": 1,
        "outcome": run.outcome,
        "detail": run.detail,
        "created_at": run.started_at,
        "finished_at": run.ended_at,
    }
    job_id = connection.execute(jobs.insert().values(job).returning(jobs.c.id)).scalar_one()
    attempt = {
        "id": run.attempt_id,
        "job_id": job_id,
        "number": 1,
        "fence": 0,
        "state": AttemptState.ENDED,
        # Nothing here has ever held it: these identify no process.
        "machine": IMPORTED_QUEUE,
        "boot_id": "",
        "worker_pid": 0,
        "worker_start_ticks": 0,
        "started_at": run.started_at,
        "ended_at": run.ended_at,
        "outcome": run.outcome,
        "detail": run.detail,
        **run.values,
    }
    connection.execute(attempts.insert().values(attempt))
    insert_many(connection, stages, ({"attempt_id": run.attempt_id, **stage.values} for stage in run.stages))
    insert_many(connection, events, _records(run))


def _the_one(connection: sa.Connection, table: sa.Table, key: Mapping[str, Any], values: Mapping[str, Any]) -> int:
    """The id of the row with this key; made with these values when it is not there."""
    where = [table.c[name] == value for name, value in key.items()]
    found = connection.execute(sa.select(table.c.id).where(*where)).scalar()
    if found is None:
        insert = table.insert().values(**key, **values).returning(table.c.id)
        found = connection.execute(insert).scalar_one()
    return int(found)


def _records(run: ImportedRun) -> list[dict[str, Any]]:
    """The original lines as events: what has no column of its own is not lost."""
    rows = [("InnerRunRecord", None, run.record)] if run.record is not None else []
    rows += [("InnerStageRecord", stage.values["ordinal"], stage.record) for stage in run.stages]
    return [
        {
            "attempt_id": run.attempt_id,
            "seq": seq,
            "stage_ordinal": ordinal,
            "at": run.ended_at,
            "kind": kind,
            "data": dict(record or {}),
        }
        for seq, (kind, ordinal, record) in enumerate(rows, 1)
    ]


class KeptRecord(NamedTuple):
    """An original record: of a run, or of the stage with this ordinal."""

    attempt_id: str
    ordinal: int | None
    record: Mapping[str, Any]


def kept_records(database: Database, experiment: str) -> list[KeptRecord]:
    """The original records of an experiment that was imported, run by run, in the order in which they were stored."""
    query = (
        sa.select(events.c.attempt_id, events.c.stage_ordinal, events.c.data)
        .join(attempts, attempts.c.id == events.c.attempt_id)
        .join(jobs, jobs.c.id == attempts.c.job_id)
        .join(experiments, experiments.c.id == jobs.c.experiment_id)
        .where(experiments.c.name == experiment, events.c.kind.in_(["InnerRunRecord", "InnerStageRecord"]))
        .order_by(jobs.c.position, events.c.seq)
    )
    with database.read() as connection:
        return [KeptRecord(row[0], row[1], row[2]) for row in connection.execute(query)]
