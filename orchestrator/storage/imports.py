"""Results that another program made: stored as an experiment of their own that nothing here ever runs."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from itertools import islice
from typing import Any, NamedTuple

import sqlalchemy as sa

from orchestrator.domain.errors import Conflict
from orchestrator.domain.outcome import Outcome
from orchestrator.domain.states import AttemptState, JobState
from orchestrator.storage.bulk import insert_many
from orchestrator.storage.engine import Database, one_at_a_time
from orchestrator.storage.tables import attempts, cells, checks, events, experiments, jobs, stages, targets

# No worker serves it, and no job in it can be asked for another try.
IMPORTED_QUEUE = "imported"


@dataclass(frozen=True, kw_only=True)
class ImportedStage:
    """A stage as a row, and the original record of it, None where the run's own tells it."""

    values: Mapping[str, Any]
    record: Mapping[str, Any] | None


@dataclass(frozen=True, kw_only=True)
class ImportedRun:
    """A run that ended elsewhere. `attempt_id` is made from its own name, so that it is stored once.

    `target` and `cell` are what is stored of them, by their hashes; `values` are columns of the attempt, `check`
    those of what judged its work, None where nothing did, and `record` the original summary, None without one.
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
    stages: tuple[ImportedStage, ...] = ()
    check: Mapping[str, Any] | None = None


class Stored(NamedTuple):
    """What an import added, and what was there already."""

    added: int
    known: int


# Runs per transaction: a scheduler on the same database waits for no more than these.
_BATCH = 1000


def store_imported(
    database: Database, *, name: str, source: str, runs: Iterable[ImportedRun], now: datetime
) -> Stored:
    """Store the runs that are not there yet. Safe to repeat: what an interrupted import left out is added then.

    `runs` may be an iterator that is read as it goes; all of them have the same columns.
    Raises Conflict for the name of an experiment that is none of `source`'s.
    """
    given, added, count = iter(runs), 0, 0
    places = _Places()
    batch = list(islice(given, _BATCH))
    while True:
        with database.write() as connection:
            one_at_a_time(connection, f"experiment {name}")
            added += _store_batch(connection, _experiment(connection, name, source, now), batch, places)
        count += len(batch)
        batch = list(islice(given, _BATCH))
        if not batch:
            return Stored(added, count - added)


def _experiment(connection: sa.Connection, name: str, source: str, now: datetime) -> int:
    found = connection.execute(
        sa.select(experiments.c.id, experiments.c.spec).where(experiments.c.name == name)
    ).one_or_none()
    if found is None:
        values = {"name": name, "file_text": "", "spec": {"imported": source}, "seed": 0}
        insert = experiments.insert().values(created_at=now, submitted_at=now, **values)
        return int(connection.execute(insert.returning(experiments.c.id)).scalar_one())
    there = found.spec.get("imported")
    if there != source:
        made = f"was imported from {there}" if there else "was run here"
        raise Conflict(f"there is an experiment {name!r} that {made}: --name gives the import another name")
    return int(found.id)


@dataclass(frozen=True)
class _Places:
    """Ids of targets and cells by their hashes, as far as they were needed."""

    targets: dict[str, int] = field(default_factory=dict)
    cells: dict[str, int] = field(default_factory=dict)


def _store_batch(connection: sa.Connection, experiment_id: int, batch: Sequence[ImportedRun], places: _Places) -> int:
    """Store the new ones of a batch; returns how many."""
    there = sa.select(attempts.c.id).where(attempts.c.id.in_([run.attempt_id for run in batch]))
    known = set(connection.execute(there).scalars())
    new = list({run.attempt_id: run for run in batch if run.attempt_id not in known}.values())
    if not new:
        return 0
    _find_places(connection, experiment_id, new, places)
    ids = _insert_jobs(connection, experiment_id, new, [places.cells[run.cell_hash] for run in new])
    insert_many(connection, attempts, (_attempt(run, job_id) for run, job_id in zip(new, ids, strict=True)))
    insert_many(
        connection, stages, ({"attempt_id": run.attempt_id, **one.values} for run in new for one in run.stages)
    )
    insert_many(connection, checks, (_check(run, places) for run in new if run.check))
    insert_many(connection, events, (record for run in new for record in _records(run)))
    return len(new)


def _find_places(connection: sa.Connection, experiment_id: int, runs: Sequence[ImportedRun], places: _Places) -> None:
    """Add the places of these runs, made where they are not there."""
    wanted = {run.target_hash: run.target for run in runs if run.target_hash not in places.targets}
    places.targets.update(_ids(connection, targets.c.content_hash, experiment_id, wanted))
    cell_rows = {
        run.cell_hash: {"target_id": places.targets[run.target_hash], **run.cell}
        for run in runs
        if run.cell_hash not in places.cells
    }
    places.cells.update(_ids(connection, cells.c.cell_hash, experiment_id, cell_rows))


def _ids(
    connection: sa.Connection, key: sa.Column[str], experiment_id: int, rows: Mapping[str, Mapping[str, Any]]
) -> dict[str, int]:
    """The ids of an experiment's rows by this key; those that are not there are made."""
    table = key.table
    query = sa.select(key, table.c.id).where(table.c.experiment_id == experiment_id, key.in_(list(rows)))

    def there() -> dict[str, int]:
        return {row[0]: int(row[1]) for row in connection.execute(query)}

    found = there() if rows else {}
    new = [{"experiment_id": experiment_id, key.name: name, **rows[name]} for name in rows if name not in found]
    if not new:
        return found
    connection.execute(sa.insert(table), new)
    return there()


def _insert_jobs(
    connection: sa.Connection, experiment_id: int, runs: Sequence[ImportedRun], cell_ids: Sequence[int]
) -> list[int]:
    """One job for each run, as the next repeat of its cell; returns their ids."""
    mine = jobs.c.cell_id.in_(set(cell_ids))
    last = sa.select(jobs.c.cell_id, sa.func.max(jobs.c.repeat)).where(mine).group_by(jobs.c.cell_id)
    repeats = Counter({row[0]: row[1] for row in connection.execute(last)})
    # Found without counting; of positions the order alone matters, and it never goes back.
    position = int(connection.execute(sa.select(sa.func.coalesce(sa.func.max(jobs.c.id), 0))).scalar_one())
    keys, rows = [], []
    for place, (run, cell_id) in enumerate(zip(runs, cell_ids, strict=True), position):
        repeats[cell_id] += 1
        keys.append((cell_id, repeats[cell_id]))
        rows.append(
            {
                "experiment_id": experiment_id,
                "cell_id": cell_id,
                "repeat": repeats[cell_id],
                "state": run.state,
                "position": place,
                "needs": "",
                "queue": IMPORTED_QUEUE,
                "attempts": 1,
                "outcome": run.outcome,
                "detail": run.detail,
                "created_at": run.started_at,
                "finished_at": run.ended_at,
            }
        )
    insert_many(connection, jobs, rows)
    # By the key alone: other conditions would let a planner read every earlier job of these cells.
    made = sa.select(jobs.c.cell_id, jobs.c.repeat, jobs.c.id).where(jobs.c.id > position)
    ids = {(row[0], row[1]): int(row[2]) for row in connection.execute(made)}
    return [ids[key] for key in keys]


def _attempt(run: ImportedRun, job_id: int) -> dict[str, Any]:
    return {
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


def _check(run: ImportedRun, places: _Places) -> dict[str, Any]:
    target = places.targets[run.target_hash]
    return {"attempt_id": run.attempt_id, "kind": "final", "target_id": target, **(run.check or {})}


def _records(run: ImportedRun) -> list[dict[str, Any]]:
    """The original lines as events: what has no column of its own is not lost."""
    rows = [("InnerRunRecord", None, run.record)] if run.record is not None else []
    rows += [("InnerStageRecord", stage.values["ordinal"], stage.record) for stage in run.stages if stage.record]
    return [
        {
            "attempt_id": run.attempt_id,
            "seq": seq,
            "stage_ordinal": ordinal,
            "at": run.ended_at,
            "kind": kind,
            "data": dict(record),
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
